"""The training loop, on data so small that what it does can be followed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evo_nas.training import devices
from evo_nas.training.classification import Classification
from evo_nas.training.devices import resolve_device, seed_torch, warn_of_slow_precision
from evo_nas.training.loop import Examples, Training, measure
from evo_nas.training.optimizers import SGD
from evo_nas.training.recipes import Recipe
from evo_nas.training.task import Batch, Data, Diverged, Task

RECIPE = Recipe(
    epochs=2,
    batch_size=4,
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=0.0,
    gradient_norm=0.0,
    padding=0,
    flip=False,
    cutout=0,
)


class Scripted(nn.Module):
    """A network that only says which class the first pixel names, and records what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.batches: list[int] = []
        self.progress: list[float] = []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.batches.append(len(images))
        classes = (images[:, 0, 0, 0] * 255).round().long().clamp(0, 9)
        return nn.functional.one_hot(classes, 10).float() * self.weight * 20

    def set_drop_path(self, progress: float) -> None:
        self.progress.append(progress)


def examples(labels: list[int], wrong: int = 0) -> Examples:
    """One-pixel images that name their class; the last ``wrong`` of them name another."""
    values = [label if i < len(labels) - wrong else (label + 1) % 10 for i, label in enumerate(labels)]
    images = torch.tensor(values, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    return Examples(images, torch.tensor(labels), mean=(0.0,), std=(1.0,))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_accuracy_counts_every_example_once() -> None:
    measured = measure(Classification(), Scripted(), examples([i % 10 for i in range(1203)], wrong=3))
    assert measured["accuracy"] == 1200 / 1203
    assert set(measured) == {"accuracy", "loss"}


def test_incomplete_batches_are_left_out_and_small_sets_make_one() -> None:
    network = Scripted()
    list(Training(network, Classification.of(RECIPE), RECIPE, generator()).epochs(examples([0] * 11), examples([0])))
    assert network.batches == [4, 4, 4, 4]
    network = Scripted()
    list(Training(network, Classification.of(RECIPE), RECIPE, generator()).epochs(examples([0] * 3), examples([0])))
    assert network.batches == [3, 3]


def test_drop_path_is_told_how_far_the_training_has_come() -> None:
    network = Scripted()
    list(Training(network, Classification.of(RECIPE), RECIPE, generator()).epochs(examples([0] * 8), examples([0])))
    assert network.progress == [0.0, 0.25, 0.5, 0.75]


def test_the_learning_rate_follows_one_period_of_a_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = SGD.step

    def recorded(self: SGD, learning_rate: float) -> None:
        rates.append(learning_rate)
        step(self, learning_rate)

    monkeypatch.setattr(SGD, "step", recorded)
    recipe = replace(RECIPE, epochs=5)
    list(Training(Scripted(), Classification.of(recipe), recipe, generator()).epochs(examples([0] * 8), examples([0])))
    assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * i / 10)) for i in range(10)])


def test_images_grow_to_their_full_size() -> None:
    recipe = replace(RECIPE, epochs=10, smallest_image=20)
    sides = [recipe.side_at(step / 100, 32) for step in range(101)]
    assert sides == [20] * 24 + [24] * 23 + [28] * 23 + [32] * 31  # at thirds of 70 steps
    assert {recipe.side_at(step / 100, 18) for step in range(101)} == {18}  # smaller ones are never enlarged
    assert recipe.side_at(0.69, 30) == 28
    assert recipe.side_at(0.7, 30) == 30
    assert {RECIPE.side_at(step / 100, 32) for step in range(101)} == {32}


def test_the_network_gets_small_images_at_first_and_is_measured_on_whole_ones() -> None:
    seen: list[tuple[bool, tuple[int, ...]]] = []
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))
    network.register_forward_pre_hook(lambda module, args: seen.append((module.training, tuple(args[0].shape))))
    pictures = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    data = Examples(pictures, torch.arange(8), (0.5,) * 3, (0.5,) * 3)
    recipe = replace(RECIPE, smallest_image=8)
    list(Training(network, Classification.of(recipe), recipe, generator()).epochs(data, data))
    assert [shape[2:] for training, shape in seen if training] == [(8, 8), (8, 8), (12, 12), (16, 16)]
    assert {shape[2:] for training, shape in seen if not training} == {(16, 16)}


def test_small_images_are_refused_beside_an_auxiliary_classifier() -> None:
    with pytest.raises(ValueError, match="smallest_image goes without auxiliary_weight"):
        replace(RECIPE, smallest_image=16, auxiliary_weight=0.4)


def test_a_precision_is_what_a_network_computes_in_and_its_weights_stay_float32() -> None:
    def train(precision: str) -> tuple[set[torch.dtype], list[Tensor]]:
        torch.manual_seed(0)
        seen: set[torch.dtype] = set()
        network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten(), nn.Linear(4, 10))
        network[0].register_forward_hook(lambda module, args, output: seen.add(output.dtype))
        recipe = replace(RECIPE, precision=precision)
        list(Training(network, Classification.of(recipe), recipe, generator()).epochs(examples([*range(8)]), None))
        return seen, list(network.parameters())

    (exact, weights), (half, others), (usual, same) = map(train, ("float32", "bfloat16", "auto"))
    assert (exact, half, usual) == ({torch.float32}, {torch.bfloat16}, {torch.float32})
    assert all(torch.equal(a, b) for a, b in zip(weights, same, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(weights, others, strict=True))
    for a, b in zip(weights, others, strict=True):
        assert b.dtype == torch.float32
        assert torch.allclose(a, b, atol=0.02)
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16, not 'half'"):
        replace(RECIPE, precision="half")


@pytest.mark.parametrize(("flags", "warns"), [("avx2 avx512f", True), ("avx512f avx512_bf16", False), ("", False)])
def test_a_precision_that_is_slow_on_this_processor_is_said_to_be(
    flags: str, warns: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "processor", lambda: ("a processor", flags))
    warn_of_slow_precision(torch.device("cpu"), "bfloat16")
    assert ("no instructions for bfloat16" in caplog.text) == warns
    caplog.clear()
    warn_of_slow_precision(torch.device("cpu"), "auto")
    assert not caplog.text


def test_a_loss_that_is_no_number_stops_before_the_step() -> None:
    network = Scripted()
    with torch.no_grad():
        network.weight.fill_(math.inf)
    with pytest.raises(Diverged, match="training loss became"):
        list(Training(network, Classification.of(RECIPE), RECIPE, generator()).epochs(examples([0] * 8), examples([0])))
    assert network.batches == [4]


def test_an_output_that_is_no_number_is_no_accuracy() -> None:
    network = Scripted()
    with torch.no_grad():
        network.weight.fill_(math.nan)
    with pytest.raises(Diverged, match="no finite number"):
        measure(Classification(), network, examples([1, 2, 3]))


def test_the_gradient_is_clipped() -> None:
    moves = []
    for norm in (0.0, 1e-3):
        network = Scripted()
        recipe = replace(RECIPE, gradient_norm=norm, momentum=0.0, epochs=1)
        list(
            Training(network, Classification.of(recipe), recipe, generator()).epochs(
                examples([0] * 4, wrong=4), examples([0])
            )
        )
        moves.append(abs(network.weight.item() - 1))
    assert moves[0] > 0.5
    assert moves[1] == pytest.approx(0.1 * 1e-3, rel=1e-2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tpu", "unknown device 'tpu'"),
        ("cpu:1", "unknown device"),
        ("cuda:x", "unknown device"),
        ("cuda:99", "is not there: torch sees"),
    ],
)
def test_a_device_that_is_not_there_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_device(name)


def test_auto_takes_what_is_there() -> None:
    found = resolve_device("auto").type
    assert (found == "cuda") == torch.cuda.is_available()
    assert resolve_device("cpu") == torch.device("cpu")


def test_seeding_is_undone() -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    with seed_torch(5, torch.device("cpu"), threads=1):
        first = torch.rand(2)
        assert torch.get_num_threads() == 1
    with seed_torch(5, torch.device("cpu"), threads=1):
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads


class Linear(nn.Module):
    """A network without batch norm, whose auxiliary classifier is its classifier once more, but of half the size."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 20).reshape(2, 10))
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.flatten(1)  # (n, 1)
        return torch.cat([pixels, pixels**2], dim=1) @ self.weight

    def forward_both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self(images)
        return logits, logits / 2

    def set_drop_path(self, progress: float) -> None:
        self.seen.append(self.weight.detach().clone())


LABELS = [3, 1, 4, 1, 5, 9, 2, 6]


def trained(recipe: Recipe) -> Training:
    training = Training(Linear(), Classification.of(recipe), recipe, generator())
    list(training.epochs(examples(LABELS), examples(LABELS)))
    return training


def test_a_batch_in_parts_is_the_same_step() -> None:
    whole, parts = (trained(replace(RECIPE, accumulate=parts)).network for parts in (1, 2))
    torch.testing.assert_close(parts.weight, whole.weight)
    assert not torch.equal(whole.weight, Linear().weight)


def test_the_average_of_weights_has_a_short_memory_at_first() -> None:
    training = trained(replace(RECIPE, ema_decay=0.5))
    network: Linear = training.network  # type: ignore[assignment]
    steps = [*network.seen[1:], network.weight.detach()]  # the weights after each step
    average = steps[0]
    for n, weight in enumerate(steps[1:], start=1):
        decay = min(0.5, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(training.measured.weight, average)
    assert trained(RECIPE).measured is not None


def test_the_loss_counts_the_auxiliary_classifier_and_smooths_labels() -> None:
    one = replace(RECIPE, epochs=1, batch_size=8, learning_rate=0.0, auxiliary_weight=0.4, label_smoothing=0.1)
    (epoch,) = Training(Linear(), Classification.of(one), one, generator()).epochs(examples(LABELS), None)
    images, labels = examples(LABELS).batch(slice(None))
    targets = nn.functional.one_hot(labels, 10) * 0.9 + 0.01
    logits = Linear()(images)
    main, early = (-(targets * scaled.log_softmax(1)).sum(1).mean() for scaled in (logits, logits / 2))
    assert epoch.loss == pytest.approx((main + 0.4 * early).item(), rel=1e-5)
    assert (epoch.score, epoch.measures) == (None, {})


def test_balanced_classes_count_the_same_in_the_loss() -> None:
    recipe = replace(RECIPE, epochs=1, batch_size=4, learning_rate=0.0, class_weights="balanced")
    some = examples([0, 0, 0, 1])
    (epoch,) = Training(Linear(), Classification.of(recipe, some.labels), recipe, generator()).epochs(some, None)
    images, labels = some.batch(slice(None))
    losses = nn.functional.cross_entropy(Linear()(images), labels, reduction="none")
    assert epoch.loss == pytest.approx(((losses[:3].mean() + losses[3]) / 2).item(), rel=1e-5)
    with pytest.raises(ValueError, match="needs the labels"):
        Classification.of(recipe)


def test_another_metric_is_the_goal_and_the_accuracy_stays() -> None:
    task = Classification(metric="balanced_accuracy")
    assert task.goal == "metric"
    measured = measure(task, Scripted(), examples([1, 0, 0, 0], wrong=1))
    assert (measured["accuracy"], measured["metric"]) == (3 / 4, pytest.approx(5 / 6))
    confusion = task.report()["confusion"]
    assert (confusion[0][0], confusion[1][1], sum(map(sum, confusion))) == (2, 1, 4)


class Brightness(Task):
    """Maps images to their brightness: a task without classes, whose targets are no tensor."""

    goal = "closeness"

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        images, targets = batch
        return (network(images).flatten() - torch.tensor([target["value"] for target in targets])).square().mean()

    def measure(self, network: nn.Module, data: Data) -> dict[str, float]:
        error = sum(self.loss(network, batch).item() for batch in data.in_order())
        return {"error": error, "closeness": 1 / (1 + error)}


class Shades:
    """Eight images of one pixel, in batches of four, with a dictionary each for a target."""

    device = torch.device("cpu")

    def __len__(self) -> int:
        return 8

    def draw_batches(self, batch_size: int, recipe: Recipe, generator: torch.Generator) -> Iterator[Batch]:
        order = torch.randperm(8, generator=generator).tolist()
        for start in range(0, 8, batch_size):
            values = [index / 8 for index in order[start : start + batch_size]]
            yield torch.tensor(values).reshape(-1, 1, 1, 1), [{"value": 0.5 * value} for value in values]

    def in_order(self) -> Iterator[Batch]:
        yield from self.draw_batches(8, RECIPE, generator())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_task_without_classes_is_trained_and_measured(optimizer: str, parts: int) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 1))
    recipe = replace(RECIPE, epochs=60, optimizer=optimizer, accumulate=parts)
    epochs = list(Training(network, Brightness(), recipe, generator()).epochs(Shades(), Shades()))
    assert epochs[-1].loss < 1e-3 < epochs[0].loss
    assert epochs[-1].score == epochs[-1].measures["closeness"] > 0.99
    assert set(epochs[-1].measures) == {"error", "closeness"}


@pytest.mark.parametrize("options", [{}, {"momentum": 0.0}, {"optimizer": "adamw", "weight_decay": 0.1}])
def test_a_training_goes_on_from_its_state_as_if_it_had_never_stopped(options: dict[str, Any]) -> None:
    recipe = replace(RECIPE, epochs=4, ema_decay=0.9, **options)

    def begin() -> Training:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(1, 1))
        return Training(network, Brightness(), recipe, generator())

    whole, first = begin(), begin()
    list(whole.epochs(Shades(), None))
    steps = first.epochs(Shades(), None)
    next(steps), next(steps)
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    second = begin()
    second.restore(state, 2)
    list(second.epochs(Shades(), None))
    assert whole.state().keys() == second.state().keys()
    for name, tensor in whole.state().items():
        assert torch.equal(second.state()[name], tensor), name


def test_a_state_of_another_optimizer_is_refused() -> None:
    adamw = trained(replace(RECIPE, optimizer="adamw"))
    plain = replace(RECIPE)
    with pytest.raises(ValueError, match=r"not one of this training: mean\.0 does not fit"):
        Training(Linear(), Classification(), plain, generator()).restore(adamw.state(), 2)
    without_steps = {name: tensor for name, tensor in adamw.state().items() if name != "steps"}
    adamw_too = Training(Linear(), Classification(), adamw.recipe, generator())
    with pytest.raises(ValueError, match="not one of this training: 'steps'"):
        adamw_too.restore(without_steps, 2)
