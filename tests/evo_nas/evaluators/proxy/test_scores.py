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
from evo_nas.evaluators.proxy.scores import IMAGES, SCORES, measure_scores, mini_batch, naswot, synflow
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.training.loop import Examples
from genotypes.catalogue import build_space

SPACE = build_space("nasnet(blocks=2,combines=add+add_layer_norm)")
GENOTYPE = SPACE.sample(np.random.default_rng(0))
SMALL: dict[str, Any] = {"dataset": "digits", "filters": 4, "epochs": 1, "validation_images": 200, "train_images": 128}
GUIDE = Path(__file__).parents[4] / "docs" / "scores.md"
BOTH = ("synflow", "naswot")


@pytest.fixture
def network() -> CellNetwork:
    torch.manual_seed(0)
    return CellNetwork(SPACE.decode(GENOTYPE), cells_per_stack=1, filters=4, classes=10, channels=1, dropout=0.5)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))


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
    score = synflow(network, images)
    assert synflow(network, torch.zeros_like(images)) == score
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(torch.where(torch.rand_like(weight) < 0.5, -1.0, 1.0))
    assert synflow(network, images) == score
    with torch.no_grad():
        network.classifier.weight.mul_(2)  # all that flows goes through it, so that everything is doubled
    assert synflow(network, images) == pytest.approx(score + math.log(2))


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
    assert set(measure_scores(huge, torch.zeros(2, 1), ["synflow"])) == {"scores_seconds"}
    assert set(measure_scores(linear([0.0]), torch.zeros(2, 1), ["synflow"])) == {"scores_seconds"}
    equal = torch.cat([images, images[:1]])
    assert set(measure_scores(nn.ReLU(), equal, ["naswot"])) == {"scores_seconds"}
    assert set(measure_scores(nn.ReLU(), images, ["naswot"])) == {"naswot", "scores_seconds"}


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
    first, second = (SCORES[name](network, images) for _ in range(2))
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
def test_the_mini_batch_is_spread_over_all_images(count: int) -> None:
    pixels = torch.arange(count).remainder(256).to(torch.uint8).reshape(-1, 1, 1, 1)
    batch = mini_batch(Examples(pixels, torch.zeros(count, dtype=torch.int64), (0.0,), (1.0,)))
    step = count // IMAGES or 1
    expected = pixels[::step][:IMAGES] / 255
    assert len(batch) == min(count, IMAGES)
    assert torch.allclose(batch, expected)


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
    assert set(scored.metrics) - set(without.metrics) == {*BOTH, "scores_seconds"}
    assert 0 < scored.metrics["scores_seconds"] < scored.seconds
    one, _ = trained(tmp_path / "one", scores=("naswot",))
    assert one.metrics["naswot"] == scored.metrics["naswot"]
    assert "synflow" not in one.metrics


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (("synflow", "grad_norm"), "there is no score 'grad_norm'; the scores are: synflow, naswot"),
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
    assert not set(load_metrics(tmp_path / "plain")["name"]) & {*BOTH, "scores_seconds"}
    with pytest.raises(UsageError, match="there is no score 'snip'"):
        search(run_dir=tmp_path / "unknown", settings=[*settings, "evaluator.scores=snip"], **flags)
