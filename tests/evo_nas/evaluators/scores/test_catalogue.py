"""Zero-cost scores: worked out by hand for tiny networks, and without a trace in the training that follows."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from analysis.frames import load_metrics
from evo_nas.api.searches import search
from evo_nas.errors import UsageError
from evo_nas.evaluators.base import Job, Placement, weights_file
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.evaluators.scores.catalogue import (
    IMAGES,
    SCORES,
    measure_scores,
    mini_batches,
    place_among,
)
from evo_nas.evaluators.scores.passes import Batch, Passes
from evo_nas.phenotypes.edges import build_edges
from evo_nas.phenotypes.kinds import build_network
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.training.loop import Examples
from genotypes.catalogue import build_space
from genotypes.edge_cell import EdgeCell

SPACE = build_space("nasnet(blocks=2,combines=add+add_layer_norm)")
GENOTYPE = SPACE.sample(np.random.default_rng(0))
SMALL: dict[str, Any] = {"dataset": "digits", "filters": 4, "epochs": 1, "validation_images": 200, "train_images": 128}
GUIDE = Path(__file__).parents[4] / "docs" / "scores.md"
BOTH = ("synflow", "naswot")
COUNTS = {"scores_missing", "scores_seconds"}


@pytest.fixture
def network() -> CellNetwork:
    torch.manual_seed(0)
    return CellNetwork(SPACE.decode(GENOTYPE), cells_per_stack=1, filters=4, classes=10, channels=1, dropout=0.5)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def batches(images: Tensor, count: int = 1) -> list[Batch]:
    """Make batches of the same images with classes of their own."""
    return [(images, (torch.arange(len(images)) + shift) % 2) for shift in range(count)]


def score(name: str, network: nn.Module, images: Tensor, **options: Any) -> float:
    """Compute one score alone."""
    return SCORES[name](Passes(network, batches(images, 2), **options))


def synflow(network: nn.Module, images: Tensor) -> float:
    return score("synflow", network, images)


def naswot(network: nn.Module, images: Tensor) -> float:
    return score("naswot", network, images, wants_gradients=False)


def linear(*rows: list[float], bias: float = 0.0) -> nn.Linear:
    """Make a layer of these weights."""
    layer = nn.Linear(len(rows[0]), len(rows))
    layer.weight.data, layer.bias.data = torch.tensor(rows), torch.full((len(rows),), bias)
    return layer


def test_synflow_of_two_linear_layers_is_twice_what_flows_through() -> None:
    network = nn.Sequential(linear([1.0, -2.0], [-3.0, 4.0]), nn.ReLU(), linear([-5.0, 6.0]))
    # 1 + 2 = 3 and 3 + 4 = 7 flow into the hidden units, 5 * 3 + 6 * 7 = 57 out; each layer's weights sum up to that.
    assert synflow(network, torch.zeros(4, 2)) == pytest.approx(math.log(2 * 57))


def test_a_bias_is_a_weight_too() -> None:
    assert synflow(linear([2.0], bias=-3.0), torch.zeros(1, 1)) == pytest.approx(math.log(2 + 3))


def test_norms_hand_the_flow_on_whatever_they_have_seen() -> None:
    def convolution(*norms: nn.Module) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), *norms, nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False))

    norms = nn.BatchNorm2d(4), nn.GroupNorm(1, 4)
    for norm in norms:
        norm.weight.data.fill_(7.0)
        norm.bias.data.fill_(-7.0)
    norms[0].running_mean = torch.full((4,), 100.0)
    shape = torch.zeros(1, 1, 5, 5)
    assert synflow(convolution(*norms), shape) == synflow(convolution(), shape)


def test_synflow_knows_neither_signs_nor_pixels(network: CellNetwork, images: Tensor) -> None:
    flow = synflow(network, images)
    assert synflow(network, torch.zeros_like(images)) == flow
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(torch.where(torch.rand_like(weight) < 0.5, -1.0, 1.0))
    assert synflow(network, images) == flow
    with torch.no_grad():
        network.classifier.weight.mul_(2)  # all that flows goes through it, so that everything is doubled
    assert synflow(network, images) == pytest.approx(flow + math.log(2))


def test_naswot_is_the_determinant_worked_out_by_hand() -> None:
    images = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    # Codes 11, 10, 00: K = [[2, 1, 0], [1, 2, 1], [0, 1, 2]], whose determinant is 4.
    assert naswot(nn.ReLU(), images) == pytest.approx(math.log(4))


class TwoReadings(nn.Module):
    """Two ReLUs read the same input, one of them a module."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) + self.relu(x)


def test_relus_of_one_input_count_twice_and_need_not_be_modules() -> None:
    images = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    assert naswot(TwoReadings(), images) == pytest.approx(math.log(2**3 * 4))


def test_a_kernel_that_rounding_alone_keeps_from_being_singular_is_singular() -> None:
    images = torch.cartesian_prod(*4 * [torch.tensor([-1.0, 1.0])])  # 16 different codes, of 4 units: the rank is 5
    assert naswot(nn.ReLU(), images) == -math.inf


def test_naswot_counts_every_relu_of_a_cell_network(network: CellNetwork, images: Tensor) -> None:
    codes: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(lambda _, inputs: codes.append(inputs[0].flatten(1) > 0))
    # The last ReLU is no module: it reads what the last cell puts out.
    network.cells[-1].register_forward_hook(lambda _, __, output: codes.append(output.flatten(1) > 0))
    network.dropout.p = 0.0
    network.train()(images)
    bits = torch.cat(codes, dim=1).numpy()
    kernel = bits.shape[1] * (1 - cdist(bits, bits, "hamming"))
    for module in network.modules():
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()
    assert naswot(network, images) == pytest.approx(np.linalg.slogdet(kernel).logabsdet)


def test_batch_norms_take_the_statistics_of_the_mini_batch(images: Tensor) -> None:
    bright = images.abs() + 1
    assert naswot(nn.ReLU(), bright) == -math.inf, "everything passes, and all codes are alike"
    assert math.isfinite(naswot(nn.Sequential(nn.BatchNorm2d(1), nn.ReLU()), bright))


def test_a_score_that_is_not_finite_is_left_out(images: Tensor) -> None:
    huge = nn.Sequential(*(linear([1e200]).double() for _ in range(2)))
    assert set(measure_scores(huge, batches(torch.zeros(2, 1)), ["synflow"])) == COUNTS
    assert set(measure_scores(linear([0.0]), batches(torch.zeros(2, 1)), ["synflow"])) == COUNTS
    equal = torch.cat([images, images[:1]])
    assert set(measure_scores(nn.ReLU(), batches(equal), ["naswot"])) == COUNTS
    assert set(measure_scores(nn.ReLU(), batches(images), ["naswot"])) == {"naswot"} | COUNTS


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("training", [True, False])
def test_a_score_is_the_same_again_and_leaves_everything_as_it_was(
    name: str, training: bool, network: CellNetwork, images: Tensor
) -> None:
    network.train(training)
    network(images).sum().backward()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    gradients = [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]
    state = torch.get_rng_state()
    first, second = (score(name, network, images) for _ in range(2))
    assert math.isfinite(first)
    assert first == second
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
    kept = [weight.grad for weight in network.parameters() if weight.grad is not None]
    assert all(map(torch.equal, gradients, kept))
    assert len(gradients) == len(kept) > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert {module.training for module in network.modules()} == {training}
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("count", [3, IMAGES, 2 * IMAGES - 1, 10 * IMAGES + 5])
def test_mini_batches_are_spread_over_all_images_and_share_none(count: int) -> None:
    pixels = torch.arange(count, dtype=torch.float32).reshape(-1, 1, 1, 1)
    train = Examples(pixels, torch.arange(count), (0.0,), (1.0,))
    ((_, indices),) = mini_batches(train, ["naswot"])
    step = count // IMAGES or 1
    assert indices.tolist() == list(range(count))[::step][:IMAGES]
    first, *others = mini_batches(train, ["zico", "naswot"])
    assert torch.equal(first[1], indices)
    assert len(others) == (count > IMAGES)
    assert not set(indices.tolist()) & {index for _, more in others for index in more.tolist()}


def convolution(*channels: int, kernel: int = 1) -> nn.Conv2d:
    return nn.Conv2d(*channels, kernel, padding=kernel // 2, bias=False)


class Parts(nn.Module):
    """A classifier whose dead end and constant branch no signal passes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(1, 2, kernel=3)
        self.left, self.right = convolution(2, 2), nn.Sequential(convolution(2, 2), convolution(2, 2))
        self.end, self.constant = convolution(2, 2), convolution(2, 2)
        self.classifier = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        self.end(x)
        y = self.left(x) + self.right(x) + self.constant(torch.zeros_like(x))
        logits: Tensor = self.classifier(y.mean((2, 3)))
        return logits


def test_live_parts_are_those_on_a_path_from_the_image_to_the_logits() -> None:
    images = torch.rand(2, 1, 4, 4)
    weights = 18 + 3 * 4
    assert score("live_parameters", Parts(), images) == weights + 6 + 3
    assert score("live_mult_adds", Parts(), images) == 16 * weights + 6
    assert score("depth", Parts(), images) == 3


def test_zico_is_the_sum_of_logarithms_of_means_over_deviations() -> None:
    layer = linear([0.0], [0.0])
    # Both logits are 0, so each class has the probability 1/2: the gradients are -1/2 and 1/2 times the image.
    one, two = torch.tensor([[1.0]]), torch.tensor([[3.0]])
    passes = Passes(layer, [(one, torch.tensor([0])), (two, torch.tensor([0]))])
    # For both weights |g| is 1/2 and 3/2: the mean is 1, the deviation 1/2, and their ratios sum up to 4.
    assert SCORES["zico"](passes) == pytest.approx(math.log(4))
    assert math.isnan(SCORES["zico"](Passes(layer, [(one, torch.tensor([0]))]))), "one batch has no deviation"
    assert math.isnan(score("zico", nn.ReLU(), one)), "there are no weights"


class Scale(nn.Module):
    """Multiplies the channels of images by numbers."""

    def __init__(self, *factors: float) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.tensor(factors).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factors


def test_signals_of_blocks_are_those_worked_out_by_hand() -> None:
    network = nn.Sequential(Scale(1.0, 1.0), Scale(0.5, 0.5), Scale(1.0, 0.0))
    images = torch.zeros(1, 2, 8, 8)
    # Noise of equal variance has two equal shares, whose entropy is log 2; with one channel left it is 0.
    assert score("expressivity", network, images) == pytest.approx(2 * math.log(2), abs=1e-3)
    assert score("progressivity", network, images) == pytest.approx(-math.log(2), abs=1e-3)
    # The signs of 64 * 64 places are nearly independent of each other: s is 1/2 (2 - 1/2 - 2 = -1/2), then 1.
    assert score("trainability", network, images) == pytest.approx((-0.5 + 0.0) / 2, abs=0.03)


def test_an_identity_and_constant_features_have_no_place() -> None:
    images = torch.zeros(1, 2, 8, 8)
    network = nn.Sequential(Scale(1.0, 1.0), nn.Identity())
    assert score("trainability", network, images) == -math.inf
    assert math.isfinite(score("progressivity", network, images))
    dead = nn.Sequential(Scale(1.0, 1.0), Scale(0.0, 0.0))
    assert math.isnan(score("expressivity", dead, images))
    assert math.isnan(score("progressivity", dead, images))
    assert math.isnan(score("trainability", nn.Sequential(Scale(1.0, 1.0)), images)), "there is one block"


def edge_network(*ops: str, live_only: bool = True) -> nn.Module:
    torch.manual_seed(0)
    return build_edges(EdgeCell(ops), cells_per_stack=1, filters=4, classes=2, channels=1, live_only=live_only)


@pytest.mark.parametrize("name", SCORES)
def test_isomorphic_cells_score_alike(name: str, images: Tensor) -> None:
    # Nodes 1 and 2 change places; both have one edge from the input and one to the output.
    first = edge_network("nor_conv_3x3", "nor_conv_1x1", "none", "skip_connect", "avg_pool_3x3", "nor_conv_3x3")
    second = edge_network("nor_conv_1x1", "nor_conv_3x3", "none", "skip_connect", "nor_conv_3x3", "avg_pool_3x3")
    twin = {0: 1, 1: 0, 2: 2, 3: 4, 4: 3}
    state = {}
    for key, tensor in first.state_dict().items():
        head, middle, tail = key.partition(".edges.")
        index, _, rest = tail.partition(".")
        state[f"{head}{middle}{twin[int(index)]}.{rest}" if middle else key] = tensor
    second.load_state_dict(state)
    assert score(name, first, images) == pytest.approx(score(name, second, images), rel=1e-3)


@pytest.mark.parametrize("name", ["depth", "live_parameters", "live_mult_adds"])
def test_dead_edges_do_not_count(name: str, images: Tensor) -> None:
    ops = ("nor_conv_3x3", "nor_conv_3x3", "nor_conv_1x1", "nor_conv_1x1", "none", "none")
    whole, live = (score(name, edge_network(*ops, live_only=live_only), images) for live_only in (False, True))
    assert whole == live


def test_a_dead_cell_has_sizes_and_no_signals(images: Tensor) -> None:
    dead = edge_network(*["none"] * 6)
    found = measure_scores(dead, batches(images, 2), SCORES)
    assert {"depth", "live_parameters", "live_mult_adds"} <= found.keys()
    assert found["depth"] == 0
    assert not {"naswot", "expressivity", "progressivity", "trainability"} & found.keys()


@pytest.mark.parametrize("space", ["nasnet", "amoebanet", "pnas", "darts", "nasbench201"])
def test_every_space_with_networks_has_all_scores(space: str) -> None:
    torch.manual_seed(0)
    built, rng = build_space(space), np.random.default_rng(1)
    images = torch.rand(64, 3, 16, 16)
    network = build_network(
        *(built, built.sample(rng)), cells_per_stack=1, filters=8, classes=2, channels=3, image_size=16
    )
    found = measure_scores(network, [(images[:32], torch.arange(32) % 2), (images[32:], torch.arange(32) % 2)], SCORES)
    assert set(found) == {*SCORES} | COUNTS


def test_the_noise_comes_from_the_seed(network: CellNetwork, images: Tensor) -> None:
    values = [score("expressivity", network, images, seed=seed) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert values[0] == pytest.approx(values[2], rel=0.1)


def test_places_share_ties_and_what_is_undefined_is_worst() -> None:
    yardstick = np.array([1.0, 2.0, 2.0, np.nan])
    values = np.array([3.0, 2.0, 0.0, np.nan, -np.inf])
    # Of five places: above four; above two and among two others; above one; among one other.
    assert place_among(values, yardstick).tolist() == [1.0, 0.8, 0.4, 0.3, 0.3]


def trained(directory: Path, **options: Any) -> tuple[Any, dict[str, Tensor]]:
    """Train the genotype, and give the evaluation and the weights."""
    directory.mkdir()
    evaluator = ProxyEvaluator(**{**SMALL, "drop_path_keep": 0.6, **options})
    evaluator.bind(SPACE, Placement(device="cpu", keep_weights=True))
    evaluator.prepare(directory)
    evaluation = evaluator.evaluate(Job(1, GENOTYPE, 0))
    assert set(evaluation.metrics) == set(evaluator.metrics)
    return evaluation, load_file(weights_file(directory, 1))


def test_a_training_is_the_same_to_the_bit_with_and_without_scores(tmp_path: Path) -> None:
    without, weights = trained(tmp_path / "without")
    scored, same = trained(tmp_path / "scored", scores=BOTH)
    assert scored.curve == without.curve
    assert scored.metrics["train_loss"] == without.metrics["train_loss"]
    assert weights.keys() == same.keys()
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert set(scored.metrics) - set(without.metrics) == {*BOTH} | COUNTS
    assert 0 < scored.metrics["scores_seconds"] < scored.seconds
    one, _ = trained(tmp_path / "one", scores=("naswot",))
    assert one.metrics["naswot"] == scored.metrics["naswot"]
    assert "synflow" not in one.metrics


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (
            ("synflow", "grad_norm"),
            "there is no score 'grad_norm'; the scores are: synflow, naswot, zico, expressivity,",
        ),
        (("naswot", "naswot"), "scores names each score once"),
    ],
)
def test_impossible_scores_are_refused(scores: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ProxyEvaluator(scores=scores)


def test_a_search_records_them_if_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags: dict[str, Any] = {
        "strategy": "random",
        "evaluator": "proxy",
        "trials": 2,
        "executor": "serial",
        "threads": 1,
    }
    options = {**SMALL, "preset": "digits"}
    settings = [f"evaluator.{name}={value}" for name, value in options.items() if name != "dataset"]
    settings += ["space.blocks=1"]
    flags |= {"dataset": "digits", "device": "cpu"}
    monkeypatch.chdir(tmp_path)
    folder = Path("runs/scores-0")
    search(run_dir=folder, settings=[*settings, "evaluator.scores=synflow,naswot"], **flags)
    metrics = load_metrics(folder).pivot(index="trial", columns="name", values="value")
    assert len(metrics) == 2
    assert np.isfinite(metrics[["synflow", "naswot", "scores_seconds"]]).all(axis=None)
    assert metrics["synflow"].nunique() == metrics["naswot"].nunique() == 2
    assert 'scores = ["synflow", "naswot"]' in (folder / "run.toml").read_text()

    (example,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), flags=re.DOTALL)
    exec(example, {})
    shown = capsys.readouterr().out.split()
    assert [word for word in shown if word in BOTH] == list(BOTH)

    search(run_dir=tmp_path / "plain", settings=settings, **flags)
    assert not set(load_metrics(tmp_path / "plain")["name"]) & ({*BOTH} | COUNTS)
    with pytest.raises(UsageError, match="there is no score 'snip'"):
        search(run_dir=tmp_path / "unknown", settings=[*settings, "evaluator.scores=snip"], **flags)
