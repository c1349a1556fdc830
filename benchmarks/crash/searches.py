"""Searches, repairs and studies that are recorded."""

from __future__ import annotations

import errno
import fcntl
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.crash.subject import Mark, Subject
from benchmarks.kills import DIARIST, Record, recorded
from evo_nas.loop.listener import Listener
from evo_nas.run.parts import build, load_config, read_stored_config
from evo_nas.run.search import resume, start
from evo_nas.storage.run_folder import RunFolder
from genotypes.individual import Evaluation, Individual
from genotypes.population import Population


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
    flags: Mapping[str, Any] = field(default_factory=dict)
    settings: Sequence[str] = ()

    def prepare(self, root: Path) -> None:
        """Search half of the way."""
        half = self.trials // 2

        def kill(id: int) -> None:
            if self.before == "kill" and id == half:  # what a kill would leave
                shutil.copytree(root / "before", root / "run", ignore=shutil.ignore_patterns("*-shm"))

        if self.before:
            with self._file_system():
                self.begin(root / "before", half if self.before == "end" else self.trials, kill)
            if self.before == "end":
                (root / "before").rename(root / "run")
            else:
                shutil.rmtree(root / "before")

    def act(self, root: Path, mark: Mark) -> None:
        """Search, and mark each trial that ended."""
        self.go_on(root / "run", lambda id: mark(str(id)))

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
        self.go_on(path, told.append)
        found = [f"trial {id} was trained again" for id in acknowledged.intersection(told)]
        after, before = _record(path).science(), whole_record.science()
        return found + [f"table {name} is that of another search" for name in before if after[name] != before[name]]

    def go_on(self, path: Path, tell: Callable[[int], object]) -> None:
        """Search there, or resume what is there."""
        with self._file_system():
            if not (path / "run.toml").exists():
                self.begin(path, self.trials, tell)
                return
            config = read_stored_config(path, {"run": {"trials": self.trials}}, (DIARIST,))
            with RunFolder.open(path) as folder:
                resume(config, folder, build(config), listeners=[Told(tell)])

    def begin(self, path: Path, trials: int, tell: Callable[[int], object]) -> None:
        """Search in a new folder."""
        flags = {
            "strategy": self.strategy,
            "evaluator": "toy",
            "space": "nasnet(blocks=1)",
            "trials": trials,
            "workers": 1,
            **self.flags,
        }
        config = load_config(flags, settings=["strategy.population=4", "strategy.sample=2", *self.settings], environ={})
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
        Search("run").begin(root / "run", 8, lambda id: None)
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
        from evo_nas.studies import list_open_tasks, open_study, plan_study, run_all

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
