"""Replay of a history: a resumed search is told it again, and listeners ask it for counts."""

from __future__ import annotations

import json
import logging
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from shutil import copy2
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

from evo_nas.errors import RunFolderError
from evo_nas.storage.checksums import is_untouched
from evo_nas.storage.connection import connect
from evo_nas.storage.opening import check, describe_damage, explain_errors, has_tables, looking_mode, was_begun
from evo_nas.storage.run_folder import repair_command, resume_command
from genotypes.genotype import Genotype
from genotypes.individual import COSTS, Evaluation, Individual, Outcome, Proposal
from genotypes.population import BEST_KEPT, Population

_LARGE: Final = 100 << 20
"""Bytes of a history that take more than a moment to read."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pending:
    """An ask that is recorded and not yet told."""

    id: int
    proposal: Proposal
    key: str
    brief: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """A training that paused after so many epochs, with a score, a fraction in [0, 1]."""

    trial: int
    epoch: int
    score: float


@dataclass(frozen=True, slots=True)
class LastAsk:
    """The youngest ask: its id and event, what was proposed, and the proposals that were pending then."""

    id: int
    event: int
    proposal: Proposal
    waiting: tuple[Proposal, ...]


@dataclass(frozen=True, slots=True)
class KnownResult:
    """The result of a network that was evaluated before."""

    outcome: Outcome
    fitness: float | None
    test_fitness: float | None
    metrics: Mapping[str, float]
    error: str | None

    def answer(self, kept: Sequence[str]) -> Evaluation:
        """Return the answer to another ask for it: its fitness and the metrics to be kept, or its failure."""
        metrics = {name: self.metrics[name] for name in kept if name in self.metrics}
        outcome = Outcome.REUSED if self.fitness is not None else self.outcome
        return Evaluation(outcome, self.fitness, self.test_fitness, seconds=None, metrics=metrics, error=self.error)


@dataclass(frozen=True, slots=True)
class Told:
    """The end of an ask, for readers that follow a run: event ``event`` of it, ``at`` seconds since the epoch.

    ``fitness`` is a fraction in [0, 1] and missing after a failure; ``seconds`` is missing for what was not trained.
    ``notes`` are the strategy's own numbers.
    """

    event: int
    at: float
    id: int
    genotype: str
    outcome: Outcome
    fitness: float | None
    seconds: float | None
    metrics: Mapping[str, float]
    notes: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Refusals:
    """Networks that were beyond a limit: how many, and the fewest parameters and mult-adds that any of them had."""

    count: int
    parameters: int | None
    mult_adds: int | None


class Replay:
    """A history that is open: what happened in it, in the order in which it happened."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, writes: bool) -> None:
        self._db = connection
        self._db.row_factory = sqlite3.Row
        self.path = path
        self._writes = writes
        self._copies: TemporaryDirectory[str] | None = None
        positions = self._last_events()
        if not all(isinstance(position, int) for position in positions):
            raise describe_damage(path, "its events are not numbered", connection)
        self._event: int = max(positions)

    @staticmethod
    def exists(path: Path, *, locks: bool = True) -> bool:
        """Return whether there is a history at all; a start that is killed early leaves none, or a file without tables.

        Raises:
            RunFolderError: if there was one, and its tables are gone.
        """
        if not path.is_file():
            return False
        with path.open("rb") as file:
            journals = file.read(20)[18:]
        if not {*journals} <= {1, 2}:  # SQLite reads on, and only refuses to write
            raise describe_damage(path, "its header is not what SQLite writes")
        with explain_errors(path), closing(connect(path, looking_mode(path), locks, True)) as connection:
            begun = has_tables(connection)
        if not begun and was_begun(path):
            raise describe_damage(path, "its tables are gone")
        return begun

    @classmethod
    def read(cls, path: Path, *, checked: bool = True) -> Self:
        """Open an existing history read-only, also while a run is writing it, also on a read-only file system.

        ``checked=False`` believes it, for a quick look at a run that is being written.

        Raises:
            RunFolderError: if there is none, it is damaged, or it is of another version.
        """
        if not path.is_file() or os.access(path.parent, os.W_OK):
            return cls._existing(path, "ro", True, checked=checked)
        # WAL wants files beside the history that cannot be made there: look at a copy.
        with ExitStack() as stack:
            copies = TemporaryDirectory(prefix="evo_nas-")
            stack.callback(copies.cleanup)
            for file in path.parent.glob(f"{path.name}*"):
                copy2(file, copies.name)
            history = cls._existing(path, "rw", True, checked=checked, copy=Path(copies.name) / path.name)
            history._copies, history._writes = copies, False
            stack.pop_all()
        return history

    @classmethod
    def _existing(
        cls,
        path: Path,
        mode: str,
        locks: bool,
        durable: bool = True,
        *,
        checked: bool = True,
        copy: Path | None = None,
    ) -> Self:
        if not path.is_file():
            if any(path.parent.glob("history.damaged-*.db")):
                raise RunFolderError(
                    f"a repair of {path.parent} was cut short; repeat it with: {repair_command(path.parent)}"
                )
            raise RunFolderError(f"{path.parent} holds no run: {path.name} is not there")
        untouched = not checked or is_untouched(path)  # looked at before SQLite touches anything
        if not untouched and (size := path.stat().st_size) > _LARGE:
            _log.info("%s was not closed in order: all of its %d MB are read and compared", path, size >> 20)
        with ExitStack() as stack, explain_errors(path):
            connection = stack.enter_context(closing(connect(copy or path, mode, locks, durable)))
            if not has_tables(connection) and not was_begun(path):
                raise RunFolderError(
                    f"{path} holds no trial: the run was stopped before it began; resume with: "
                    f"{resume_command(path.parent)}"
                )
            check(path, connection, untouched, locks)
            history = cls(connection, path, writes=mode == "rw")
            stack.pop_all()
        return history

    def close(self) -> None:
        """Close the file, which nobody has written to."""
        self._db.close()
        if self._copies is not None:
            self._copies.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def last_id(self) -> int:
        """Id of the last ask; 0 before the first."""
        return self._one("SELECT max(id) FROM trial") or 0

    @property
    def last_event(self) -> int:
        """The youngest event; 0 before the first. What came before it has its notes too."""
        return max(self._last_events())

    def _last_events(self) -> list[int]:
        """Return the position of the youngest ask, tell and pause, 0 for none."""
        # A query each, because SQLite answers max() from an index only if it stands alone.
        queries = ("SELECT max(asked) FROM trial", "SELECT max(told) FROM trial", "SELECT max(event) FROM rung")
        return [self._one(query) or 0 for query in queries]

    def read_tells(self, after: int = 0) -> Iterator[Individual]:
        """Yield what was told after event ``after``, in the order in which it was told."""
        yield from self._individuals("told > ? ORDER BY told", after)

    def follow(self, after: int = 0, most: int | None = None) -> Iterator[Told]:
        """Yield how the next ``most`` asks ended after event ``after``, in that order, with what the strategy noted."""
        columns = "id, told, told_at, genotype, outcome, fitness, seconds, parameters, mult_adds, metrics"
        limit = -1 if most is None else most
        for row in self._rows(f"SELECT {columns} FROM trial WHERE told > ? ORDER BY told LIMIT ?", after, limit):
            id = row["id"]
            notes = {name: float(value) for name, value in self._rows(_NOTES, id)}
            with explain_errors(self.path, id):
                outcome, metrics = Outcome(row["outcome"]), metrics_of(row)
            told, fitness, seconds = row["told"], row["fitness"], row["seconds"]
            yield Told(told, row["told_at"], id, row["genotype"], outcome, fitness, seconds, metrics, notes)

    def count_tells(self, event: int) -> int:
        """Count what was told after an event."""
        return int(self._one("SELECT count(*) FROM trial WHERE told > ?", event))

    def horizon(self, memory: int) -> int:
        """Find the event after which ``memory`` individuals with a fitness were told; 0 if there are no more."""
        rows = self._rows(
            "SELECT told FROM trial WHERE told IS NOT NULL AND fitness IS NOT NULL ORDER BY told DESC LIMIT 1 OFFSET ?",
            memory,
        )
        return next((row["told"] for row in rows), 0)

    def population(self, window: int, until: int) -> Population:
        """Return the population as it was when event ``until`` was told, but for its youngest."""
        told = self._one("SELECT count(*) FROM trial WHERE told <= ?", until)
        failed = self._one("SELECT count(*) FROM trial WHERE told <= ? AND fitness IS NULL", until)
        best = self._individuals("told <= ? AND outcome = 'ok' ORDER BY fitness DESC, told LIMIT ?", until, BEST_KEPT)
        return Population(window, alive=told - failed, failed=failed, best=tuple(best))

    def _individuals(self, which: str, *values: object) -> Iterator[Individual]:
        columns = "id, genotype, outcome, fitness, parent, memo, seconds, parameters, mult_adds, metrics"
        for row in self._rows(f"SELECT {columns} FROM trial WHERE {which}", *values):
            id, memo, fitness = row["id"], row["memo"], row["fitness"]
            with explain_errors(self.path, id):
                if fitness is not None and not 0.0 <= fitness <= 1.0:
                    raise ValueError(f"its fitness is {fitness}")
                individual = Individual(
                    id,
                    Genotype.parse(row["genotype"]),
                    Outcome(row["outcome"]),
                    fitness,
                    row["parent"],
                    () if memo == "[]" else tuple(json.loads(memo)),
                    metrics_of(row),
                    () if row["seconds"] is None else self.curve(id),
                )
            yield individual

    def curve(self, id: int) -> tuple[float, ...]:
        """Return the learning curve of a trial; empty if it has none."""
        rows = self._rows("SELECT accuracy FROM curve WHERE trial = ? ORDER BY epoch", id)
        return tuple(float(accuracy) for (accuracy,) in rows)

    def pending(self) -> list[Pending]:
        """List the asks that are not told yet, by ascending id."""
        pending = []
        for row in self._rows(
            "SELECT id, genotype, parent, memo, key, brief FROM trial WHERE told IS NULL ORDER BY id"
        ):
            with explain_errors(self.path, row["id"]):
                pending.append(Pending(row["id"], _proposal_of(row), row["key"], tuple(json.loads(row["brief"]))))
        return pending

    def read_pauses(self) -> Iterator[Pause]:
        """Yield every pause of a training, in the order in which they came."""
        for row in self._rows("SELECT trial, epoch, score FROM rung ORDER BY event"):
            with explain_errors(self.path, row["trial"]):
                pause = Pause(int(row["trial"]), int(row["epoch"]), float(row["score"]))
            yield pause

    def find_pauses(self) -> dict[int, bool]:
        """Return which trials that are not told have paused before, and whether they pause now: else they went on."""
        rows = self._rows(
            "SELECT DISTINCT rung.trial AS id, (SELECT outcome = 'ok' FROM attempt WHERE attempt.trial = rung.trial "
            "ORDER BY number DESC LIMIT 1) AS pauses FROM rung JOIN trial ON trial.id = rung.trial WHERE told IS NULL"
        )
        return {row["id"]: bool(row["pauses"]) for row in rows}

    def find_result_so_far(self, id: int) -> Evaluation | None:
        """Return the result of a trial as it was at its last pause; ``None`` if it has never paused."""
        columns = "score, test, seconds, metrics, curve"
        row = next(self._rows(f"SELECT {columns} FROM rung WHERE trial = ? ORDER BY epoch DESC LIMIT 1", id), None)
        if row is None:
            return None
        with explain_errors(self.path, id):
            curve, metrics = tuple(json.loads(row["curve"])), json.loads(row["metrics"])
            return Evaluation(Outcome.OK, row["score"], row["test"], row["seconds"], curve, metrics)

    def find_last_ask(self) -> LastAsk | None:
        """Return the youngest ask; ``None`` if there is none, or events are missing, as after a repair."""
        asks, tells = (self._one(f"SELECT count({event}) FROM trial") for event in ("*", "told"))
        if not asks or asks + tells + self._one("SELECT count(*) FROM rung") != self._event:
            return None
        event = self._one("SELECT max(asked) FROM trial")
        proposals = {}
        for row in self._rows(
            "SELECT id, genotype, parent, memo FROM trial WHERE told IS NULL OR told > ? ORDER BY id", event
        ):
            with explain_errors(self.path, row["id"]):
                proposals[row["id"]] = _proposal_of(row)
        id, proposal = proposals.popitem()
        return LastAsk(id, event, proposal, tuple(proposals.values()))

    def find(self, key: str) -> KnownResult | None:
        """Return the result of the first training of this network; a success goes before a failure."""
        rows = self._rows(
            "SELECT id, outcome, fitness, test, parameters, mult_adds, metrics, error FROM trial "
            "WHERE key = ? AND seconds IS NOT NULL "
            "ORDER BY outcome <> 'ok', told LIMIT 1",
            key,
        )
        row = next(rows, None)
        if row is None:
            return None
        with explain_errors(self.path, row["id"]):
            return KnownResult(Outcome(row["outcome"]), row["fitness"], row["test"], metrics_of(row), row["error"])

    def find_training(self, id: int) -> int | None:
        """Return the trial in which the network of a trial was trained: its own, else the first success; or nothing."""
        rows = self._rows(
            "SELECT other.id AS id FROM trial AS one JOIN trial AS other ON other.key = one.key "
            "WHERE one.id = ? AND other.seconds IS NOT NULL "
            "ORDER BY other.id <> one.id, other.outcome <> 'ok', other.told LIMIT 1",
            id,
        )
        row = next(rows, None)
        return None if row is None else int(row["id"])

    def count_trainings(self) -> int:
        """Count the trainings that ended, failed ones included and retries not: what a budget of trials limits."""
        return int(self._one("SELECT count(*) FROM trial WHERE seconds IS NOT NULL"))

    def crashes(self, id: int) -> int:
        """Count the attempts of a trial that took their processes down."""
        return int(self._one("SELECT count(*) FROM attempt WHERE trial = ? AND outcome = 'crash'", id))

    def find_open_attempt(self, id: int) -> tuple[int, float] | None:
        """Return number and start of the last attempt of a trial, if it has no end; the start in seconds since 1970."""
        rows = self._rows(
            "SELECT number, started_at, outcome FROM attempt WHERE trial = ? ORDER BY number DESC LIMIT 1", id
        )
        row = next(rows, None)
        if row is None or row["outcome"] is not None:
            return None
        with explain_errors(self.path, id):
            number, start = int(row["number"]), float(row["started_at"])
            if not math.isfinite(start):
                raise ValueError(f"an attempt started at {start}")
        return number, start

    def count_asks_since_training(self) -> int:
        """Count the last asks in a row that were answered without a training."""
        return int(
            self._one(
                "SELECT count(*) FROM trial WHERE told IS NOT NULL "
                "AND id > (SELECT coalesce(max(trial), 0) FROM attempt)"
            )
        )

    def find_refusals_since_training(self) -> Refusals:
        """Return the refusals among the asks since the last training."""
        (row,) = self._rows(
            "SELECT count(*), min(parameters), min(mult_adds) FROM trial WHERE outcome = 'refused' "
            "AND id > (SELECT coalesce(max(trial), 0) FROM attempt)"
        )
        return Refusals(*row)

    def _rows(self, query: str, *values: object) -> Iterator[sqlite3.Row]:
        with explain_errors(self.path):
            # Not `yield from`: it closes the cursor when a reader stops early, which can be after the history.
            for row in self._db.execute(query, values):  # noqa: UP028
                yield row

    def _one(self, query: str, *values: object) -> Any:
        with explain_errors(self.path):
            return self._db.execute(query, values).fetchone()[0]


_NOTES: Final = "SELECT name, value FROM note WHERE trial = ? ORDER BY name"


def _proposal_of(row: sqlite3.Row) -> Proposal:
    """Put a proposal together again."""
    return Proposal(Genotype.parse(row["genotype"]), row["parent"], tuple(json.loads(row["memo"])))


def metrics_of(row: sqlite3.Row) -> dict[str, float]:
    """Return the metrics of a trial, put together again."""
    costs = {name: float(row[name]) for name in COSTS if row[name] is not None}
    return costs if row["metrics"] == "{}" else {**costs, **json.loads(row["metrics"])}
