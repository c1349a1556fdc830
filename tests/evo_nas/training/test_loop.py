"""The training loop, on data so small that what it does can be followed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from evo_nas.training.devices import resolve_device, seeded
from evo_nas.training.loop import Diverged, Examples, Training, evaluate
from evo_nas.training.recipes import Recipe
from evo_nas.training.sgd import Descent

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
    assert evaluate(Scripted(), examples([i % 10 for i in range(1203)], wrong=3)) == 1200 / 1203


def test_incomplete_batches_are_left_out_and_small_sets_make_one() -> None:
    network = Scripted()
    list(Training(network, RECIPE, generator()).epochs(examples([0] * 11), examples([0])))  # type: ignore[arg-type]
    assert network.batches == [4, 4, 4, 4]
    network = Scripted()
    list(Training(network, RECIPE, generator()).epochs(examples([0] * 3), examples([0])))  # type: ignore[arg-type]
    assert network.batches == [3, 3]


def test_drop_path_is_told_how_far_the_training_has_come() -> None:
    network = Scripted()
    list(Training(network, RECIPE, generator()).epochs(examples([0] * 8), examples([0])))  # type: ignore[arg-type]
    assert network.progress == [0.0, 0.25, 0.5, 0.75]


def test_the_learning_rate_follows_one_period_of_a_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = Descent.step

    def recorded(self: Descent, learning_rate: float) -> None:
        rates.append(learning_rate)
        step(self, learning_rate)

    monkeypatch.setattr(Descent, "step", recorded)
    recipe = replace(RECIPE, epochs=5)
    list(Training(Scripted(), recipe, generator()).epochs(examples([0] * 8), examples([0])))  # type: ignore[arg-type]
    assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * i / 10)) for i in range(10)])


def test_a_loss_that_is_no_number_stops_before_the_step() -> None:
    network = Scripted()
    with torch.no_grad():
        network.weight.fill_(math.inf)
    with pytest.raises(Diverged, match="training loss became"):
        list(Training(network, RECIPE, generator()).epochs(examples([0] * 8), examples([0])))  # type: ignore[arg-type]
    assert network.batches == [4]


def test_an_output_that_is_no_number_is_no_accuracy() -> None:
    network = Scripted()
    with torch.no_grad():
        network.weight.fill_(math.nan)
    with pytest.raises(Diverged, match="no finite number"):
        evaluate(network, examples([1, 2, 3]))


def test_the_gradient_is_clipped() -> None:
    moves = []
    for norm in (0.0, 1e-3):
        network = Scripted()
        recipe = replace(RECIPE, gradient_norm=norm, momentum=0.0, epochs=1)
        list(Training(network, recipe, generator()).epochs(examples([0] * 4, wrong=4), examples([0])))  # type: ignore[arg-type]
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
    with seeded(5, torch.device("cpu"), threads=1):
        first = torch.rand(2)
        assert torch.get_num_threads() == 1
    with seeded(5, torch.device("cpu"), threads=1):
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
    training = Training(Linear(), recipe, generator())  # type: ignore[arg-type]
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
    (epoch,) = Training(Linear(), one, generator()).epochs(examples(LABELS), None)  # type: ignore[arg-type]
    images, labels = examples(LABELS).batch(slice(None))
    targets = nn.functional.one_hot(labels, 10) * 0.9 + 0.01
    logits = Linear()(images)
    main, early = (-(targets * scaled.log_softmax(1)).sum(1).mean() for scaled in (logits, logits / 2))
    assert epoch.loss == pytest.approx((main + 0.4 * early).item(), rel=1e-5)
    assert epoch.accuracy is None
