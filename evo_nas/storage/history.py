"""The history of a run: one SQLite file, one writer, one transaction an event.

The tables are documented, with types and units, in ``docs/history.md``; analyses read them from there, not from here.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import copy2
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from evo_nas.errors import RunFolderError
from evo_nas.storage import schema
from evo_nas.storage.checksums import file_sum, is_untouched, row_sum, sum_file
from evo_nas.storage.opening import check, connect, describe_damage, explain_errors, has_tables, looking_mode, was_begun
from evo_nas.storage.run_folder import repair_command, resume_command
from evo_nas.storage.schema import ASK, TELL
from evo_nas.system.atomic import write_whole
from evo_nas.system.failpoints import Failpoint, reach
from genotypes.genotype import Genotype
from genotypes.individual import Evaluation, Individual, Outcome, Proposal
from genotypes.population import BEST_KEPT, Population

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LOOKED_AT: Final = 10_000
"""Trials that are compared at a time."""

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
class KnownResult:
    """What is known of a network that was evaluated before."""

    outcome: Outcome
    fitness: float | None
    test_fitness: float | None
    metrics: Mapping[str, float]
    error: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """How an ask ended, for whoever follows a run: event ``event`` of it, ``at`` seconds since the epoch.

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
class Refused:
    """Networks that were beyond a limit: how many, and the fewest parameters and mult-adds that any of them had."""

    count: int
    parameters: int | None
    mult_adds: int | None


@dataclass(frozen=True, slots=True)
class TopTrial:
    """One of the best trials, as ``show`` prints it."""

    id: int
    genotype: str
    cell: dict[str, Any]
    fitness: float
    parameters: int | None
    mult_adds: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class FrontTrial:
    """A trial of the Pareto front, as ``show`` prints it; ``costs`` holds the metrics that were asked for, by name."""

    id: int
    genotype: str
    fitness: float
    costs: dict[str, float]


class History:
    """One run's record: :meth:`create` it, :meth:`open` it to write on, or :meth:`read` it beside a writer.

    What is committed survives the death of the process in any case. If ``durable``, a commit is on the disk before it
    returns, so that it survives a power cut too. If not, a power cut may take back the last commits, never one
    without those after it: the file stays sound, and the run goes on from there as the same search.

    Closed in order, a history gets a checksum of the whole file beside it, and is believed while that agrees. One that
    was cut short is read completely when it is opened next, and refused if a row of it is not what was written. Damage
    in its write-ahead log is no reason to refuse it: from the first bad page on SQLite drops the log, as after a power
    cut, so that what opens is exactly what the history was some events before.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, *, writes: bool) -> None:
        self._db = connection
        self._db.row_factory = sqlite3.Row
        self.path = path
        self._writes = writes
        self._copies: TemporaryDirectory[str] | None = None
        # Two queries, because SQLite answers max() from an index only if it stands alone.
        positions = [self._one(f"SELECT max({event}) FROM trial") or 0 for event in ("asked", "told")]
        if not all(isinstance(position, int) for position in positions):
            raise describe_damage(path, "its events are not numbered", connection)
        self._event: int = max(positions)

    @classmethod
    def create(cls, path: Path, *, locks: bool = True, durable: bool = True) -> History:
        """Make an empty history; ``locks=False`` for a file system without file locks.

        Raises:
            RunFolderError: if the file exists or cannot be written.
        """
        if path.exists():
            raise RunFolderError(f"{path} exists already; continue it with: {resume_command(path.parent)}")
        return cls._new(path, locks, durable)

    @classmethod
    def open(cls, path: Path, *, locks: bool = True, durable: bool = True) -> History:
        """Open an existing history to go on writing it.

        One whose making was cut short is made now.

        Raises:
            RunFolderError: if there is none, it is damaged, or it is of another version.
        """
        if path.is_file() and not cls.begun(path, locks=locks):
            return cls._new(path, locks, durable)
        # Read without writing first: SQLite tidies up when it closes a file, and one that is refused stays as it is.
        cls._existing(path, looking_mode(path), locks).close()
        history = cls._existing(path, "rw", locks, durable, checked=False)
        with ExitStack() as stack, explain_errors(path):
            stack.callback(history._db.close)
            sum_file(path).unlink(missing_ok=True)
            stack.pop_all()
        reach(Failpoint.SUM_REMOVED)
        return history

    @classmethod
    def _new(cls, path: Path, locks: bool, durable: bool) -> History:
        """Make the tables, all of them or none."""
        with explain_errors(path):
            connection = connect(path, "rwc", locks, durable)
            # WAL lets readers look on while we write, but needs shared memory, which comes with locks only.
            connection.execute(f"PRAGMA journal_mode = {'WAL' if locks else 'DELETE'}")
            schema.make(connection)
        reach(Failpoint.HISTORY_MADE)
        return cls(connection, path, writes=True)

    @staticmethod
    def begun(path: Path, *, locks: bool = True) -> bool:
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
    def read(cls, path: Path, *, checked: bool = True) -> History:
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
    ) -> History:
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
                    f"{path} holds no trial: the run was stopped before it began; go on with: "
                    f"{resume_command(path.parent)}"
                )
            check(path, connection, believed=untouched)
            history = cls(connection, path, writes=mode == "rw")
            stack.pop_all()
        return history

    def close(self) -> None:
        """Close the file; what is committed stays. If nobody stands in the way it gets the sum of its bytes."""
        complete = False
        if self._writes:
            # A reader can hold the log back, a full disk the sum: then the next to open it reads it all.
            with suppress(sqlite3.Error):
                busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                complete = not busy and not self._db.in_transaction
            reach(Failpoint.CHECKPOINTED)
        self._db.close()
        if complete:
            with suppress(OSError):
                write_whole(sum_file(self.path), file_sum(self.path) + "\n")
        if self._copies is not None:
            self._copies.cleanup()

    def __enter__(self) -> History:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing: one transaction an event ------------------------------------------------------------------------

    def ask(
        self,
        id: int,
        proposal: Proposal,
        key: str,
        cell: Mapping[str, Any],
        seed: int,
        brief: tuple[float, ...],
        *,
        attempt: bool = False,
        answer: Evaluation | None = None,
    ) -> None:
        """Record an ask as the next event.

        In the same transaction, the first ``attempt`` if its training starts with it, or the tell, as the event after
        it, if it had its ``answer`` already.
        """
        now = time.time()
        row = {
            "id": id,
            "parent": proposal.parent,
            "genotype": str(proposal.genotype),
            "key": str(key),
            "seed": seed,
            "memo": _json(proposal.memo),
            "brief": _json(brief),
            "asked": self._event + 1,
            "asked_at": now,
            "cell": _json(cell),
        }
        assert tuple(row) == ASK
        with explain_errors(self.path), self._db:
            self._db.execute(_INSERT_ASK, (*row.values(), row_sum(*row.values())))
            reach(Failpoint.ASKING)
            if attempt:
                self._attempt(id, 1, now)
            if answer is not None:
                self._tell(id, answer, self._event + 2)
        self._event += 1 if answer is None else 2
        reach(Failpoint.ASKED)

    def attempt(self, id: int) -> None:
        """Record that a training starts; the number of the attempt counts from 1."""
        last = "SELECT coalesce(max(number), 0) FROM attempt WHERE trial = ?"  # a repair can have dropped earlier ones
        with explain_errors(self.path), self._db:
            self._attempt(id, 1 + self._one(last, id), time.time())

    def _attempt(self, id: int, number: int, now: float) -> None:
        row = (id, number, now, None, None)
        self._db.execute(schema.ATTEMPT.insert(), (*row, row_sum(*row)))

    def crashed(self, id: int) -> None:
        """Record that an attempt took its process down; the trial stays pending."""
        with explain_errors(self.path), self._db:
            self._end_attempt(id, Outcome.CRASH, time.time())
        reach(Failpoint.CRASHED)

    def _end_attempt(self, id: int, outcome: Outcome, now: float) -> None:
        """Record how the last attempt ended. Earlier ones without an end were cut short with the run."""
        last = self._db.execute(
            "SELECT number, started_at FROM attempt WHERE trial = ? ORDER BY number DESC LIMIT 1", (id,)
        ).fetchone()
        if last is not None:
            row = (id, *last, now, str(outcome))
            self._db.execute(schema.ATTEMPT.insert(verb="REPLACE"), (*row, row_sum(*row)))

    def tell(self, id: int, evaluation: Evaluation) -> None:
        """Record how an ask ended, with its learning curve and the end of its attempt, as the next event."""
        with explain_errors(self.path), self._db:
            self._tell(id, evaluation, self._event + 1)
        self._event += 1
        reach(Failpoint.TOLD)

    def _tell(self, id: int, evaluation: Evaluation, event: int) -> None:
        metrics = dict(evaluation.metrics)
        costs = [int(metrics.pop(name)) if name in metrics else None for name in _COSTS]
        now = time.time()
        row = {
            "id": id,
            "told": event,
            "outcome": str(evaluation.outcome),
            "fitness": _stored(evaluation.fitness),
            "test": _stored(evaluation.test_fitness),
            "seconds": _stored(evaluation.seconds),
            "parameters": costs[0],
            "mult_adds": costs[1],
            "metrics": _json(metrics),
            "error": None if evaluation.error is None else str(evaluation.error),
            "told_at": now,
        }
        assert tuple(row) == TELL
        curve = [(id, epoch, _stored(accuracy)) for epoch, accuracy in enumerate(evaluation.curve, start=1)]
        updated = self._db.execute(_UPDATE_TELL, {**row, "told_sum": row_sum(*row.values(), len(curve))})
        assert updated.rowcount == 1, f"trial {id} was told twice or never asked"
        reach(Failpoint.TELLING)
        summed = [(*point, row_sum(*point)) for point in curve]
        self._db.executemany(_INSERT_CURVE, summed)
        if evaluation.seconds is not None:
            self._end_attempt(id, evaluation.outcome, now)

    def note(self, id: int, notes: Mapping[str, float]) -> None:
        """Record what the strategy noted when it was told; noting it again changes nothing.

        What is not finite is left out: a note is no reason to end a search, and no number to keep.
        """
        rows = [(id, str(name), _stored(float(value))) for name, value in notes.items() if math.isfinite(value)]
        with explain_errors(self.path), self._db:
            self._db.executemany(schema.NOTE.insert(verb="REPLACE"), [(*row, row_sum(*row)) for row in rows])
        reach(Failpoint.NOTED)

    # Reading ---------------------------------------------------------------------------------------------------

    @property
    def last_id(self) -> int:
        """Id of the last ask; 0 before the first."""
        return self._one("SELECT max(id) FROM trial") or 0

    def told(self, after: int = 0) -> Iterator[Individual]:
        """Yield what was told after event ``after``, in the order in which it was told."""
        yield from self._individuals("told > ? ORDER BY told", after)

    def follow(self, after: int = 0) -> Iterator[Told]:
        """Yield how asks ended after event ``after``, in that order, with what the strategy noted."""
        columns = "id, told, told_at, genotype, outcome, fitness, seconds, parameters, mult_adds, metrics"
        for row in self._rows(f"SELECT {columns} FROM trial WHERE told > ? ORDER BY told", after):
            id = row["id"]
            notes = {name: float(value) for name, value in self._rows(_NOTES, id)}
            with explain_errors(self.path, id):
                outcome, metrics = Outcome(row["outcome"]), _metrics(row)
            told, fitness, seconds = row["told"], row["fitness"], row["seconds"]
            yield Told(told, row["told_at"], id, row["genotype"], outcome, fitness, seconds, metrics, notes)

    def told_after(self, event: int) -> int:
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
                    _metrics(row),
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
                proposal = Proposal(Genotype.parse(row["genotype"]), row["parent"], tuple(json.loads(row["memo"])))
                pending.append(Pending(row["id"], proposal, row["key"], tuple(json.loads(row["brief"]))))
        return pending

    def find(self, key: str) -> KnownResult | None:
        """Look up what came of the first training of this network; a success goes before a failure."""
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
            return KnownResult(Outcome(row["outcome"]), row["fitness"], row["test"], _metrics(row), row["error"])

    def trained(self) -> int:
        """Count the trainings that ended, failed ones included and retries not: what a budget of trials limits."""
        return int(self._one("SELECT count(*) FROM trial WHERE seconds IS NOT NULL"))

    def crashes(self, id: int) -> int:
        """Count the attempts of a trial that took their processes down."""
        return int(self._one("SELECT count(*) FROM attempt WHERE trial = ? AND outcome = 'crash'", id))

    def unended(self, id: int) -> tuple[int, float] | None:
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

    def untrained_in_a_row(self) -> int:
        """Count the last asks in a row that were answered without a training."""
        return int(
            self._one(
                "SELECT count(*) FROM trial WHERE told IS NOT NULL "
                "AND id > (SELECT coalesce(max(trial), 0) FROM attempt)"
            )
        )

    def refused_in_a_row(self) -> Refused:
        """Look at the last asks in a row that were answered without a training: those that were refused."""
        (row,) = self._rows(
            "SELECT count(*), min(parameters), min(mult_adds) FROM trial WHERE outcome = 'refused' "
            "AND id > (SELECT coalesce(max(trial), 0) FROM attempt)"
        )
        return Refused(*row)

    def stopped_early(self) -> int:
        """Count the trainings that a stopping rule of the proxy trainer ended before their last epoch."""
        # As text: reading JSON takes far longer.
        return int(self._one("SELECT count(*) FROM trial WHERE outcome = 'ok' AND instr(metrics, '\"stopped\":1.0')"))

    def outcomes(self) -> dict[str, int]:
        """Count the told asks by outcome."""
        rows = self._rows("SELECT outcome, count(*) FROM trial WHERE told IS NOT NULL GROUP BY outcome")
        return {row[0]: row[1] for row in rows}

    def seconds(self) -> float:
        """Sum the durations of all evaluations, in seconds."""
        return float(self._one("SELECT coalesce(sum(seconds), 0.0) FROM trial"))

    def top(self, k: int) -> list[TopTrial]:
        """List the best trials of ``k`` different networks, best first, earlier told first on ties."""
        rows = self._rows(
            "SELECT id, genotype, cell, key, fitness, parameters, mult_adds, seconds FROM trial "
            "WHERE outcome = 'ok' ORDER BY fitness DESC, told"
        )
        best: dict[str, TopTrial] = {}
        for row in rows:
            if len(best) == k:
                break
            best.setdefault(row["key"], self._top_trial(row))
        return list(best.values())

    def trial(self, id: int) -> TopTrial | None:
        """Find a trial that has succeeded; ``None`` if there is none with this id."""
        rows = self._rows(
            "SELECT id, genotype, cell, key, fitness, parameters, mult_adds, seconds FROM trial "
            "WHERE outcome = 'ok' AND id = ?",
            id,
        )
        row = next(rows, None)
        return None if row is None else self._top_trial(row)

    def front(self, costs: Sequence[str]) -> list[FrontTrial]:
        """List the trials that no other beats in fitness and in these metrics at once, the best fitness first.

        Of trials that are alike in all of these the first asked stands for all. A trial that lacks one of the metrics
        is passed over. However long the history, no more than the front and some thousand trials are in memory.
        """
        import numpy as np

        from genotypes.pareto import pareto_front

        ids, points = np.empty(0, dtype=np.int64), np.empty((0, 1 + len(costs)))
        # Reading JSON takes twice as long as all the rest.
        metrics = "'{}'" if set(costs) <= set(_COSTS) else "metrics"
        rows = self._rows(
            f"SELECT id, fitness, parameters, mult_adds, {metrics} FROM trial WHERE outcome = 'ok' ORDER BY id"
        )
        while some := list(itertools.islice(rows, _LOOKED_AT)):
            ids = np.append(ids, [row["id"] for row in some])
            points = np.vstack([points, self._points(some, costs)])
            best = pareto_front(points[:, 0], points[:, 1:])
            ids, points = ids[best], points[best]
        front = []
        for id, (fitness, *spent) in zip(ids.tolist(), points.tolist(), strict=True):
            genotype = self._one("SELECT genotype FROM trial WHERE id = ?", id)
            if not isinstance(genotype, str):
                raise describe_damage(self.path, f"at trial {id}: its genotype is no text")
            front.append(FrontTrial(id, genotype, fitness, dict(zip(costs, spent, strict=True))))
        return front

    def _points(self, rows: Sequence[sqlite3.Row], costs: Sequence[str]) -> NDArray[np.float64]:
        """Return fitness and costs, of shape (rows, 1 + costs); NaN for a cost that a trial lacks."""
        import numpy as np

        def point(row: sqlite3.Row) -> tuple[Any, ...]:
            _, fitness, parameters, mult_adds, metrics = row
            known = {"parameters": parameters, "mult_adds": mult_adds}
            if metrics != "{}":
                known |= json.loads(metrics)
            return (fitness, *map(known.get, costs))

        try:
            points = np.array([point(row) for row in rows], dtype=np.float64)
        except (ValueError, TypeError, RecursionError):
            for row in rows:  # which one was it?
                with explain_errors(self.path, row["id"]):
                    np.array(point(row), dtype=np.float64)
            raise
        fractions = (points[:, 0] >= 0) & (points[:, 0] <= 1)
        for index in np.flatnonzero(~fractions | np.isinf(points).any(axis=1)).tolist():
            raise describe_damage(
                self.path, f"at trial {rows[index]['id']}: its fitness or a cost is not finite or no fraction"
            )
        return points

    def metrics(self, id: int) -> dict[str, float]:
        """Return the metrics of a trial, by name; of one that is not there, none."""
        rows = self._rows("SELECT parameters, mult_adds, metrics FROM trial WHERE id = ?", id)
        with explain_errors(self.path, id):
            return next(map(_metrics, rows), {})

    def _top_trial(self, row: sqlite3.Row) -> TopTrial:
        with explain_errors(self.path, row["id"]):
            cell = json.loads(row["cell"])
        names = ("fitness", "parameters", "mult_adds", "seconds")
        return TopTrial(row["id"], row["genotype"], cell, *(row[name] for name in names))

    def _rows(self, query: str, *values: object) -> Iterator[sqlite3.Row]:
        with explain_errors(self.path):
            # Not `yield from`: it closes the cursor when a reader stops early, which can be after the history.
            for row in self._db.execute(query, values):  # noqa: UP028
                yield row

    def _one(self, query: str, *values: object) -> Any:
        with explain_errors(self.path):
            return self._db.execute(query, values).fetchone()[0]


_NOTES: Final = "SELECT name, value FROM note WHERE trial = ? ORDER BY name"


_INSERT_ASK: Final = schema.TRIAL.insert((*ASK, "asked_sum"))
_INSERT_CURVE: Final = schema.CURVE.insert()
_UPDATE_TELL: Final = (
    f"UPDATE trial SET {', '.join(f'{name} = :{name}' for name in (*TELL[1:], 'told_sum'))} "
    "WHERE id = :id AND told IS NULL"
)


_COSTS: Final = ("parameters", "mult_adds")
"""The metrics that have columns of their own."""


def _metrics(row: sqlite3.Row) -> dict[str, float]:
    """Put the metrics of a trial together again."""
    costs = {name: float(row[name]) for name in _COSTS if row[name] is not None}
    return costs if row["metrics"] == "{}" else {**costs, **json.loads(row["metrics"])}


def _stored(value: float | None) -> float | None:
    """Return a number as SQLite gives it back: it has no -0.0, and a checksum knows the difference."""
    return None if value is None else value + 0.0


_encode: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
"""Made once: ``dumps`` makes an encoder a call."""


def _json(value: object) -> str:
    """Write compact JSON that is JSON: NaN and infinity are refused."""
    # Most memos, briefs and metrics are empty, and a history is written a million times.
    return "[]" if value == () else "{}" if value == {} else _encode(value)
