"""What is recorded, and what must hold after a power cut: searches, studies, trainings, outputs and caches.

    python -m benchmarks.crash.subjects NAME FOLDER

does what the subject of that name does, below a folder: this is what is recorded.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from benchmarks.crash.disk import read_tree
from benchmarks.crash.recording import mark
from benchmarks.kills import DIARIST, Record, recorded
from evo_nas.manager import Listener
from evo_nas.run import build, load_config, read_stored_config, resume, start
from evo_nas.storage.run_folder import RunFolder
from genotypes.individual import Evaluation, Individual
from genotypes.population import Population

Mark = Callable[[str], object]


class Subject(ABC):
    """Something that writes, and what it promises."""

    name: str

    def prepare(self, root: Path) -> None:  # noqa: B027  # most have nothing to do
        """Make what lies on the disk before; nothing by default."""

    @abstractmethod
    def act(self, root: Path, mark: Mark) -> None:
        """Do it, and mark what is promised from then on."""

    @abstractmethod
    def problems(self, root: Path, marks: Sequence[str], whole: Path) -> list[str]:
        """List what is wrong after a power cut: open what is there, go on with it, compare it with the whole."""


# Searches ------------------------------------------------------------------------------------------------------------


class Told(Listener):
    """Tells which trials have ended, once it is said to everybody."""

    def __init__(self, tell: Callable[[int], object]) -> None:
        self._tell = tell

    def told(self, individual: Individual, evaluation: Evaluation, population: Population, trained: int) -> None:
        """Tell of a trial."""
        self._tell(individual.id)


@contextmanager
def without_locks() -> Iterator[None]:
    """Have a file system without locks."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with patch.object(fcntl, "flock", flock), patch("sys.stderr", StringIO()):
        yield


@dataclass
class Search(Subject):
    """A search: a new one, or one that goes on after ``before``, a ``kill`` or the ``end`` of a smaller budget."""

    name: str
    before: str = ""
    locks: bool = True
    strategy: str = DIARIST
    trials: int = 12

    def prepare(self, root: Path) -> None:
        """Search half of the way."""
        half = self.trials // 2

        def kill(id: int) -> None:
            if self.before == "kill" and id == half:  # what a kill would leave
                shutil.copytree(root / "before", root / "run", ignore=shutil.ignore_patterns("*-shm"))

        if self.before:
            with self._file_system():
                self._start(root / "before", half if self.before == "end" else self.trials, kill)
            if self.before == "end":
                (root / "before").rename(root / "run")
            else:
                shutil.rmtree(root / "before")

    def act(self, root: Path, mark: Mark) -> None:
        """Search, and mark each trial that ended."""
        self._go_on(root / "run", lambda id: mark(str(id)))

    def problems(self, root: Path, marks: Sequence[str], whole: Path) -> list[str]:
        """Check that what was told is there, and is not trained again; and that the search becomes the same."""
        acknowledged, path = set(map(int, marks)), root / "run"
        whole_record, record = _record(whole / "run"), recorded(path)
        if acknowledged and record is None:
            return ["the history is gone"]
        if record is not None:
            lost = [id for id in acknowledged if record.told.get(id) != whole_record.told[id]]
            if lost:
                return [f"lost: trials {lost}"]
        told: list[int] = []
        self._go_on(path, told.append)
        found = [f"trial {id} was trained again" for id in acknowledged.intersection(told)]
        after, before = _record(path).science(), whole_record.science()
        return found + [f"table {name} is that of another search" for name in before if after[name] != before[name]]

    def _go_on(self, path: Path, tell: Callable[[int], object]) -> None:
        with self._file_system():
            if not (path / "run.toml").exists():
                self._start(path, self.trials, tell)
                return
            config = read_stored_config(path, {"run": {"trials": self.trials}}, (DIARIST,))
            with RunFolder.open(path) as folder:
                resume(config, folder, build(config), listeners=[Told(tell)])

    def _start(self, path: Path, trials: int, tell: Callable[[int], object]) -> None:
        flags = {
            "strategy": self.strategy,
            "evaluator": "toy",
            "space": "nasnet(blocks=1)",
            "trials": trials,
            "workers": 1,
        }
        config = load_config(flags, settings=["strategy.population=4", "strategy.sample=2"], environ={})
        with RunFolder.create(path) as folder:
            start(config, folder, build(config), listeners=[Told(tell)])

    def _file_system(self) -> Any:
        return nullcontext() if self.locks else without_locks()


def _record(path: Path) -> Record:
    record = recorded(path)
    assert record is not None
    return record


class Repair(Subject):
    """A repair of a damaged history."""

    name = "repair"

    def prepare(self, root: Path) -> None:
        """Search, and damage the results of three trials."""
        Search("run")._start(root / "run", 8, lambda id: None)
        with closing(sqlite3.connect(root / "run" / "history.db")) as connection:
            connection.executescript("UPDATE trial SET fitness = fitness / 2 WHERE id IN (2, 5, 6)")

    def act(self, root: Path, mark: Mark) -> None:
        """Repair, and mark that it is done."""
        from evo_nas.storage.repair import repair

        repair(root / "run")
        mark("repaired")

    def problems(self, root: Path, marks: Sequence[str], whole: Path) -> list[str]:
        """Check that all is saved, by this repair or another."""
        if not marks:
            self.act(root, lambda text: None)
        record = recorded(root / "run")
        same = record is not None and record.damage is None and record.trial == _record(whole / "run").trial
        return [] if same else ["other trials are saved"]


class Study(Subject):
    """A study of two strategies, of which both have tried everything before their trials are spent."""

    name = "study"

    def act(self, root: Path, mark: Mark) -> None:
        """Run the study."""
        from evo_nas.study import list_open_tasks, open_study, plan_study, run_all

        flags = {"evaluator": "toy", "space": "bits(length=3)", "trials": 30, "max_repeats": 20}
        strategies: list[tuple[str, Mapping[str, Any]]] = [("random", {}), ("local", {})]
        study = plan_study(strategies, flags, seeds=range(1), environ={})
        with open_study(study, root / "studies" / "study") as filled:
            ended = run_all(list_open_tasks(filled, root / "studies" / "study"), 1, lambda result, left: None)
        for result in ended:
            if result.error:
                raise RuntimeError(result.error)

    def problems(self, root: Path, marks: Sequence[str], whole: Path) -> list[str]:
        """Check that the study ends as it would have; the last events of its runs may be repeated."""
        self.act(root, lambda text: None)
        runs = sorted(path.parent.relative_to(whole) for path in whole.glob("studies/study/*/history.db"))
        assert len(runs) == 2
        return [
            f"{run} is another search"
            for run in runs
            if _record(root / run).science() != _record(whole / run).science()
        ]


# Trainings -----------------------------------------------------------------------------------------------------------


class Train(Subject):
    """A training of three epochs."""

    name = "train"

    def act(self, root: Path, mark: Mark) -> None:
        """Train, and mark each epoch and the result."""
        from evo_nas.training.resumable import train
        from evo_nas.training.train_task import TrainPlacement

        train(self._task, root / "deep" / "train", TrainPlacement(), lambda epoch, done: mark(f"epoch {done}"))
        mark("result")

    def problems(self, root: Path, marks: Sequence[str], whole: Path) -> list[str]:
        """Check that no epoch is trained again, and that the training becomes the same."""
        from evo_nas.phenotypes.blueprint import load_network
        from evo_nas.training.resumable import result_of

        known = result_of(root / "deep" / "train")
        again: list[str] = []
        self.act(root, again.append)
        found = [f"{text} was trained again" for text in marks if text in again and text != "result"]
        here, there = (path / "deep" / "train" for path in (root, whole))
        a, b = result_of(here), result_of(there)
        assert a is not None
        assert b is not None
        if replace(a, seconds=0) != replace(b, seconds=0) or ("result" in marks and known != b):
            found.append("the result is another")
        for file in there.glob("*.safetensors"):
            (_, mine), (_, true) = load_network(here / file.name), load_network(file)
            if mine.keys() != true.keys() or not all(mine[name].equal(true[name]) for name in true):
                found.append(f"{file.name} is another")
        left = {path.name for path in here.iterdir()} - {path.name for path in there.iterdir()}
        return found + [f"{name} is left behind" for name in sorted(left)]

    @cached_property
    def _task(self) -> Any:
        from evo_nas.commands.cell_sources import CellSource
        from evo_nas.commands.training_plan import TrainOptions, plan_training
        from genotypes.cell import Block, Cell, CellPair, Edge

        pools = Cell.join_leaves([Block(Edge(0, "max_pool_3x3"), Edge(1, "identity"))])
        small = {"cells_per_stack": 1, "filters": 2, "epochs": 3, "train_images": 64, "validation_images": 20}
        wanted = TrainOptions(preset="cpu", dataset="digits", image=8, **small)
        return plan_training(CellSource(CellPair(pools, pools), "pools"), wanted)


# Outputs -------------------------------------------------------------------------------------------------------------


class Outputs(Subject):
    """Files that are made with ``-o``: new ones in new folders, and one that is there already."""

    name = "output"

    def prepare(self, root: Path) -> None:
        """Search, and make the older file."""
        Search("run")._start(root / "run", 6, lambda id: None)
        (root / "old.csv").write_text("what was there before\n")

    def act(self, root: Path, mark: Mark) -> None:
        """Make every output, and mark those that are made."""
        from evo_nas.cli import main

        commands = {
            "old.csv": "table",
            "new/table.json": "table",
            "new/deep/report.html": "report",
            "pictures/curve.svg": "plot",
        }
        for name, command in commands.items():
            with redirect_stdout(StringIO()):
                if code := main([command, str(root / "run"), "-o", str(root / name)]):
                    raise RuntimeError(f"{command} ended with {code}")
            mark(name)

    def problems(self, root: Path, marks: Sequence[str], whole: Path) -> list[str]:
        """Check that every file is the old or the new one, and the new one if it was told to be made."""
        found = []
        for name in ("old.csv", "new/table.json", "new/deep/report.html", "pictures/curve.svg"):
            old = b"what was there before\n" if name == "old.csv" else None
            is_there = (root / name).read_bytes() if (root / name).exists() else None
            if is_there != (whole / name).read_bytes() and (name in marks or is_there != old):
                what = "gone" if is_there is None else "the old one" if is_there == old else "a part"
                found.append(f"{name} is {what}")
        return found


# Data and caches -----------------------------------------------------------------------------------------------------


def _paint(folder: Path) -> None:
    """Make an image folder of two classes."""
    from PIL import Image

    for part in ("train", "test"):
        for number, name in enumerate(("ants", "bees")):
            (folder / part / name).mkdir(parents=True)
            for i in range(3):
                color = (40 * i, 90 * number, 7)
                Image.new("RGB", (40, 40), color).save(folder / part / name / f"{i}.bmp")


class Fetch(Subject):
    """A data set that is fetched from an archive."""

    name = "fetch"

    def prepare(self, root: Path) -> None:
        """Make the archive."""
        _paint(root / "images")
        shutil.make_archive(str(root / "images"), "tar", root / "images")
        shutil.rmtree(root / "images")

    def act(self, root: Path, mark: Mark) -> None:
        """Fetch it, and mark that it is there."""
        from evo_nas.data.sources.fetch import fetch

        fetch("folder", root / "sets" / "data", root / "images.tar")
        mark("fetched")

    def problems(self, root: Path, marks: Sequence[str], whole: Path) -> list[str]:
        """Check that the set is complete, or can be fetched again."""
        if not marks:
            self.act(root, lambda text: None)
        mine, true = ({n: b for n, b in read_tree(at / "sets").items() if "/." not in n} for at in (root, whole))
        return [f"{name} is another" for name in true if mine.get(name, 0) != true[name]]


class Caches(Subject):
    """What is kept for later runs: decoded images, groundwork, a verdict on this machine."""

    name = "caches"

    def prepare(self, root: Path) -> None:
        """Make images."""
        _paint(root / "images")

    def act(self, root: Path, mark: Mark) -> None:
        """Fill the caches.

        Raises:
            RuntimeError: if they hold something else than was put there.
        """
        import numpy as np

        from evo_nas.data.decoded import open_decoded_copy
        from evo_nas.data.sources.locate import locate
        from evo_nas.evaluators.groundwork import build_once
        from evo_nas.phenotypes.self_check import find_fault
        from evo_nas.system.atomic import write_whole

        with patch.dict(os.environ, EVO_NAS_CACHE=str(root / "cache"), XDG_CACHE_HOME=str(root / "xdg")):
            source = locate("folder", root / "images")
            images = open_decoded_copy(source, "train", 32, 3).images
            if not np.array_equal(images, np.concatenate(list(source.batches("train", 32, 3)))):
                raise RuntimeError("other images were decoded")
            place = build_once("table", {"of": 3}, lambda folder: write_whole(folder / "table", "3\n" * 999), print)
            if (place / "table").read_text() != "3\n" * 999:
                raise RuntimeError("the groundwork is another")
            if (fault := find_fault("none", lambda: "it is wrong")) != "it is wrong":
                raise RuntimeError(f"the verdict is another: {fault}")

    def problems(self, root: Path, marks: Sequence[str], whole: Path) -> list[str]:
        """Check that what is there is right, or is made again."""
        with patch("sys.stderr", StringIO()):
            self.act(root, lambda text: None)
        return []


SUBJECTS: Final[Mapping[str, Subject]] = {
    subject.name: subject
    for subject in (
        Caches(),
        Fetch(),
        Outputs(),
        Train(),
        Repair(),
        Search("resume-after-kill", "kill"),
        Search("resume-after-end", "end"),
        Search("run"),
        # Without notes the last commit of a trial is the one by which it ended.
        Search("resume-after-kill-without-locks", "kill", locks=False, strategy="evolution"),
        Search("run-without-locks", locks=False, strategy="evolution"),
        Study(),
    )
}
"""Those first that have the fewest states."""

if __name__ == "__main__":
    SUBJECTS[sys.argv[1]].act(Path(sys.argv[2]), mark)
