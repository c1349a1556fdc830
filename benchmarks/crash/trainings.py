"""Trainings that are recorded: one, the best of a search, and those of a search that keeps weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from benchmarks.crash.disk import read_tree
from benchmarks.crash.searches import Search
from benchmarks.crash.subject import Mark, Subject

_SMALL: Final = {"cells_per_stack": 1, "filters": 2, "epochs": 3, "train_images": 64, "validation_images": 20}


def compare_weights(here: Path, there: Path) -> list[str]:
    """List which files of weights below a folder are not those below another one."""
    from evo_nas.phenotypes.blueprint import load_network

    found = []
    for name in sorted({file.relative_to(at) for at in (here, there) for file in at.rglob("*.safetensors")}):
        if not (here / name).exists() or not (there / name).exists():
            found.append(f"{name} is at one of two places")
            continue
        (_, mine), (_, true) = load_network(here / name), load_network(there / name)
        if mine.keys() != true.keys() or not all(mine[tensor].equal(true[tensor]) for tensor in true):
            found.append(f"{name} is another")
    return found


class Trainings(Subject):
    """Trainings of three epochs each, below a folder."""

    folder: str

    def problems(self, root: Path, marks: Sequence[str], whole: Path) -> list[str]:
        """Check that no epoch is trained again, and that each training becomes the same."""
        from evo_nas.training.resumable import result_of

        here, there = root / self.folder, whole / self.folder
        folders = sorted(file.parent.relative_to(there) for file in there.rglob("result.json"))
        assert folders
        known = {folder: result_of(here / folder) for folder in folders}
        again: list[str] = []
        self.act(root, again.append)
        found = [f"{text} was trained again" for text in marks if text in again and text != "result"]
        for folder in folders:
            a, b = result_of(here / folder), result_of(there / folder)
            assert a is not None
            assert b is not None
            if replace(a, seconds=0) != replace(b, seconds=0) or ("result" in marks and known[folder] != b):
                found.append(f"the result of {folder} is another")
        found += compare_weights(here, there)
        left = read_tree(here).keys() - read_tree(there).keys()
        return found + [f"{name} is left behind" for name in sorted(left)]


class Train(Trainings):
    """One training."""

    name = "train"
    folder = "deep/train"

    def act(self, root: Path, mark: Mark) -> None:
        """Train, and mark each epoch and the result."""
        from evo_nas.training.resumable import train
        from evo_nas.training.train_task import TrainPlacement

        train(self._task, root / self.folder, TrainPlacement(), lambda epoch, done: mark(f"epoch {done}"))
        mark("result")

    @cached_property
    def _task(self) -> Any:
        from evo_nas.commands.cell_sources import CellSource
        from evo_nas.commands.train_options import TrainOptions
        from evo_nas.commands.training_plan import plan_training
        from genotypes.cell import Block, Cell, CellPair, Edge

        pools = Cell.join_leaves([Block(Edge(0, "max_pool_3x3"), Edge(1, "identity"))])
        return plan_training(
            CellSource(CellPair(pools, pools), "pools"), TrainOptions(preset="cpu", dataset="digits", image=8, **_SMALL)
        )


class TrainTop(Trainings):
    """The two best of a search, one after the other."""

    name = "train-top"
    folder = "deep/top"

    def prepare(self, root: Path) -> None:
        """Search."""
        Search("run").begin(root / "run", 6, lambda id: None)

    def act(self, root: Path, mark: Mark) -> None:
        """Train, and mark each epoch and the result."""
        from evo_nas.commands.cell_sources import best_of_run
        from evo_nas.commands.train_options import TrainOptions
        from evo_nas.commands.training_plan import plan_top, train_top
        from evo_nas.training.train_task import TrainPlacement

        tasks = plan_top(best_of_run(root / "run", 2), TrainOptions(preset="cpu", dataset="digits", image=8, **_SMALL))
        train_top(
            tasks, root / self.folder, TrainPlacement(), lambda task, _, done: mark(f"{task.label}, epoch {done}")
        )
        mark("result")


class Weights(Search):
    """A search that trains, and keeps the weights of its two best."""

    def __init__(self) -> None:
        flags = {"evaluator": "proxy", "dataset": "digits", "keep_weights": 2, "executor": "serial", "threads": 1}
        settings = ("evaluator.epochs=1", "evaluator.train_images=64", "evaluator.filters=2")
        super().__init__("weights", strategy="evolution", trials=5, flags=flags, settings=settings)

    def problems(self, root: Path, marks: Sequence[str], whole: Path) -> list[str]:
        """Check that what was told is not trained again, and that the same weights are there, whole."""
        told: list[int] = []
        self.go_on(root / "run", told.append)
        found = [f"trial {id} was trained again" for id in set(map(int, marks)).intersection(told)]
        return found + compare_weights(root / "run" / "weights", whole / "run" / "weights")
