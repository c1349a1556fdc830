"""The measurement of the proxy trainer's speed, on the digits: a fair baseline, tricks that can be switched off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from benchmarks import shares
from benchmarks.baseline import Loaded, train_plainly
from benchmarks.shares import ALL, TRICKS, Trick, steps_timed
from benchmarks.throughput import (
    BASELINE,
    OURS,
    BaselineEvaluator,
    Contender,
    Forgetful,
    Lap,
    Picked,
    groups,
    main,
    throughput_tables,
)
from evo_nas.evaluators.base import Job, Placement
from evo_nas.evaluators.pace import random_examples
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.evaluators.toy import ToyEvaluator
from evo_nas.phenotypes.fast.kernels import functions as compiled
from evo_nas.phenotypes.fast.kernels import trust
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.training import devices
from evo_nas.training.classification import Classification
from evo_nas.training.loop import Training
from evo_nas.training.optimizers import SGD
from evo_nas.training.recipes import Recipe
from evo_nas.training.task import Batch
from genotypes.catalogue import build_space
from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.individual import Evaluation, Outcome

pytestmark = pytest.mark.slow

QUICK = (
    *("--dataset", "digits", "--preset", "digits", "--genotypes", "1", "--rounds", "1", "--cores", "1"),
    *("--epochs", "1", "--train-images", "64", "--validation-images", "60"),
)
CELL = Cell(
    (
        Block(Edge(0, "avg_pool_3x3"), Edge(1, "max_pool_5x5")),
        Block(Edge(0, "sep_conv_5x5"), Edge(2, "conv_1x1")),
        Block(Edge(1, "conv_3x3"), Edge(0, "max_pool_3x3")),
    ),
    (3, 4),
)
"""Takes every shortcut that there is."""
EXAMPLES = random_examples(32, image_size=12, channels=3, classes=10, device=torch.device("cpu"))
RECIPE = Recipe(epochs=2, batch_size=32, learning_rate=0.05, padding=0, flip=False)
"""All images in one batch, unchanged: then the order of images makes no difference."""


def network() -> CellNetwork:
    torch.manual_seed(0)
    made = CellNetwork(CellPair(CELL, CELL), cells_per_stack=1, filters=4, classes=10)
    return made.to(memory_format=torch.channels_last)


def evaluated(kind: type[ProxyEvaluator], tmp_path: Path, **options: Any) -> Evaluation:
    evaluator = kind("digits", **{"validation_images": 60, **options})
    space = Picked(1)
    evaluator.bind(space, Placement("cpu"))
    evaluator.prepare(tmp_path)
    return evaluator.evaluate(Job(2, space.genotype([1]), seed=3))


class Double(Loaded):
    """Yields numbers of which rounding leaves enough to compare trainings after several steps."""

    def draw_batches(
        self, batch_size: int, recipe: Recipe, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        return ((images.double(), labels) for images, labels in super().draw_batches(batch_size, recipe, generator))

    def in_order(self) -> Iterator[Batch]:
        return ((images.double(), labels) for images, labels in super().in_order())


def test_the_baseline_trains_as_the_trainer_does() -> None:
    loaded, recipe = Double(EXAMPLES, 32), replace(RECIPE, batch_size=8)
    base, ours = network().double(), network().double()
    mine = Training(ours, Classification(), recipe, torch.Generator().manual_seed(1)).epochs(loaded, loaded)
    theirs = train_plainly(base, recipe, loaded, loaded, torch.Generator().manual_seed(1))
    for one, other in zip(mine, theirs, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-6)
        assert one.score == other.score
    for name, tensor in ours.state_dict().items():
        assert torch.allclose(tensor, base.state_dict()[name], rtol=1e-4, atol=1e-6), name


def test_the_baseline_has_the_same_images_and_first_weights(tmp_path: Path) -> None:
    # One step over all images: their order makes no difference, and the loss is that of the first weights.
    options = {"train_images": 64, "batch_size": 64, "epochs": 1, "padding": 0, "flip": False}
    base, ours = (evaluated(kind, tmp_path, **options) for kind in (BaselineEvaluator, ProxyEvaluator))
    for name in ("parameters", "train_loss"):
        assert base.metrics[name] == pytest.approx(ours.metrics[name], rel=1e-5)


def test_the_baseline_takes_as_many_steps(tmp_path: Path) -> None:
    options = {"train_images": 80, "batch_size": 32, "epochs": 2}
    for kind, owner in ((BaselineEvaluator, torch.optim.SGD), (ProxyEvaluator, SGD)):
        with mock.patch.object(owner, "step", autospec=True, side_effect=owner.step) as step:
            evaluated(kind, tmp_path, **options)
        assert step.call_count == 4


def test_the_baseline_learns() -> None:
    loaded = Loaded(EXAMPLES, 32)
    losses = [epoch.loss for epoch in train_plainly(network(), replace(RECIPE, epochs=5), loaded, loaded)]
    assert losses[-1] < losses[0] - 0.5


def test_the_baseline_augments_with_crops_and_flips_and_shuffles() -> None:
    loaded = Loaded(EXAMPLES, 32)
    torch.manual_seed(0)
    plain = next(loaded.draw_batches(32, RECIPE, torch.Generator().manual_seed(1)))[0]
    as_they_are = torch.cat([images for images, _ in loaded.in_order()])
    assert not torch.equal(plain, as_they_are)
    assert torch.equal(plain.sum((1, 2, 3)).sort().values, as_they_are.sum((1, 2, 3)).sort().values)
    for recipe in (replace(RECIPE, padding=2), replace(RECIPE, flip=True)):
        seen = [next(loaded.draw_batches(32, recipe, torch.Generator().manual_seed(1)))[0] for _ in range(5)]
        assert any(not torch.equal(images, plain) for images in seen)


def test_the_baseline_refuses_what_it_does_not_know() -> None:
    loaded = Loaded(EXAMPLES, 32)
    with pytest.raises(ValueError, match="cutout"):
        next(train_plainly(network(), replace(RECIPE, cutout=4), loaded, loaded))


def test_without_any_trick_the_same_is_trained() -> None:
    epochs = steps_timed(network(), RECIPE, EXAMPLES, EXAMPLES, steps=1, blocks=2, tricks=(ALL, *TRICKS))
    assert list(epochs) == [ALL.title, *(trick.title for trick in TRICKS)]
    for title, some in epochs.items():
        losses = [epoch.loss for epoch in some]
        assert losses == pytest.approx([epoch.loss for epoch in epochs[ALL.title]], rel=1e-2), title
        assert losses[1] < losses[0]


REPLACED = [(trick, index) for trick in TRICKS for index in range(len(trick.plain))]


@pytest.mark.parametrize(("trick", "index"), REPLACED, ids=lambda value: getattr(value, "title", value))
def test_what_a_trick_replaces_is_in_use(trick: Trick, index: int) -> None:
    class Reached(Exception):
        pass

    def reach(*arguments: Any, **options: Any) -> None:
        raise Reached

    owner, name, stand_in = trick.plain[index]
    if (owner is compiled or name == "_unit") and not trust.are_there(torch.zeros(1)):
        pytest.skip("there are no compiled kernels here")
    trap: Any = property(reach) if isinstance(stand_in, property) else reach
    others = [place for number, place in enumerate(trick.plain) if number != index]
    trapped = Trick("trapped", (*others, (owner, name, trap)))
    with pytest.raises(Reached):
        steps_timed(network(), RECIPE, EXAMPLES, EXAMPLES, steps=1, blocks=1, tricks=[trapped])


def lap(seconds: float, each: Sequence[float], ids: Sequence[int]) -> Lap:
    results = {
        id: Evaluation(Outcome.OK, fitness=0.5, seconds=own, metrics={"parameters": 1000 * id, "cpu_seconds": own / 2})
        for id, own in zip(ids, each, strict=True)
    }
    return Lap(seconds, results)


def test_the_ratio_is_that_of_all_seconds_and_waiting_counts() -> None:
    laps = {
        BASELINE: [lap(30.0, [10.0, 20.0], [1, 2]), lap(20.0, [20.0], [3])],
        OURS: [lap(6.0, [3.0, 6.0], [1, 2]), lap(4.0, [4.0], [3])],
    }
    text = "\n".join(throughput_tables(laps, Picked(2), slots=2))
    assert "| baseline | 216 | 16.7 | 0.50 | 50.0 % |" in text
    assert "| evo_nas | 1,080 | 3.3 | 0.65 | 50.0 % |" in text
    assert "**5.00 times** the baseline" in text
    assert "idle for 35 %" in text, "7 of 20 seconds"
    assert "| random 2 | 3,000 | 20.0 | 4.0 | 50.0 % | 50.0 % |" in text


@pytest.mark.parametrize(("kind", "keeps"), [(ProxyEvaluator, True), (Forgetful, False), (BaselineEvaluator, False)])
def test_the_baseline_leaves_the_memory_alone(kind: type[ProxyEvaluator], keeps: bool, tmp_path: Path) -> None:
    with mock.patch.object(devices, "keep_freed_memory") as keep:
        evaluated(kind, tmp_path, train_images=64, epochs=1, validation_images=20)
    assert keep.called == keeps


def test_a_queue_goes_through_all_slots() -> None:
    toy, space = ToyEvaluator(), build_space("nasnet(blocks=1)")
    toy.bind(space)
    with closing(Contender("toy", toy, 2)) as contender:
        lap = contender.train([Job(id, space.sample(np.random.default_rng(id)), seed=0) for id in range(1, 6)])
    assert sorted(lap.results) == [1, 2, 3, 4, 5]
    assert lap.seconds >= lap.busy / 2


def test_each_round_trains_every_network_once_from_other_weights() -> None:
    space = Picked(4)
    parts = list(groups(space, 2, 2))
    assert [len(part) for part in parts] == [2, 2, 1, 2, 2, 1]
    jobs = [job for part in parts for job in part]
    assert sorted((job.seed, job.genotype.choices[0]) for job in jobs) == [(s, n) for s in (0, 1) for n in range(5)]
    assert all(job.id == job.genotype.choices[0] + 1 for job in jobs)
    assert [len(part) for part in groups(Picked(10), 1, 6)] == [6, 5]


@pytest.mark.soak
def test_both_ways_are_measured_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(QUICK) == 0
    lines = capsys.readouterr().out.splitlines()
    first = [line.split(" | ")[0] for line in lines if line.startswith("| ")]
    assert first[1:] == ["| ---", "| baseline", "| evo_nas", "| network", "| ---", "| NASNet-A", "| random 1"]
    assert "NASNet-A and 1 random genotypes" in lines[0]
    assert "1 epochs on 64 images of 8x8, batch 32, 60 validation images" in lines[0]


@pytest.mark.soak
def test_shares_are_measured_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    few = TRICKS[3:5]
    with mock.patch.object(shares, "TRICKS", few):
        assert main([*QUICK, "--shares", "--steps", "1", "--blocks", "1"]) == 0
    rows = [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    processes = ["1 workers of one thread, not one of 1", "freed memory kept"]
    assert rows[2:] == [f"| {title}" for title in (*(trick.title for trick in few), *processes)]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--data-dir", "/nowhere"], 4, "/nowhere"),
        ([*QUICK, "--preset", "tpu"], 2, "tpu"),
        ([*QUICK, "--rounds", "0"], 2, "--rounds must be at least 1"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line(words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == code
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("throughput: ")
    assert said in last
