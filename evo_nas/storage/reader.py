"""Questions about a history, also about one that is being written: the best trials, the front, and counts."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evo_nas.errors import UsageError
from evo_nas.storage.connection import connect
from evo_nas.storage.opening import describe_damage, explain_errors, has_tables
from evo_nas.storage.replay import Replay, metrics_of
from evo_nas.storage.run_folder import RunFolder
from genotypes.genotype import shorten
from genotypes.individual import COSTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LOOKED_AT: Final = 10_000
"""Trials that are compared at a time."""

LATELY: Final = 100
"""The number of recent trainings over which the throughput is averaged."""


@dataclass(frozen=True)
class Counts:
    """The counts of a history, all at one moment."""

    trained: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    paused: frozenset[int] = frozenset()
    """ids of those of the pending whose trainings pause at a rung, to go on or to leave"""
    epochs: int = 0
    """epochs that were trained, of told trials and of those that have paused"""
    stopped_early: int = 0
    """trainings that a stopping rule ended before their last epoch; they went well"""
    best: tuple[int, float, str] | None = None
    """id, fitness and genotype"""
    pending: tuple[tuple[int, int, float | None], ...] = ()
    """id, number of the last attempt (0 for none) and when that was started"""
    quarantined: tuple[tuple[int, str], ...] = ()
    """id and genotype"""
    ends: tuple[float, ...] = ()
    """when the last trainings ended, the last one last"""
    last_told: float | None = None

    @property
    def has_begun(self) -> bool:
        """Whether anything was asked."""
        return bool(self.outcomes or self.pending)

    @property
    def failures(self) -> dict[str, int]:
        """Number of failed trials, by outcome."""
        return {name: n for name, n in sorted(self.outcomes.items()) if name not in NO_FAILURE}


NO_FAILURE: Final = ("ok", "reused", "refused")
"""Outcomes of trials that went well, or needed no training."""


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


class HistoryReader(Replay):
    """A history with the questions of those who look at a run, ended or not."""

    def counts(self, *, stops: bool) -> Counts:
        """Take every count at one moment; that of trainings that were stopped early only if there may be any."""
        self._db.execute("BEGIN")
        best = next(iter(self.top(1)), None)
        last = next(self._rows(_LAST_TOLD), None)
        crashed: dict[str, tuple[int, str]] = {}
        for row in self._rows(_QUARANTINED):
            crashed.setdefault(str(row["key"]), (row["id"], str(row["genotype"])))
        return Counts(
            trained=self.count_trainings(),
            outcomes=self.outcomes(),
            paused=frozenset(id for id, is_paused in self.find_pauses().items() if is_paused),
            epochs=self.count_epochs(),
            stopped_early=self.count_early_stops() if stops else 0,
            best=None if best is None else (best.id, float(best.fitness), str(best.genotype)),
            pending=tuple((row[0], row[1] or 0, row[2]) for row in self._rows(_PENDING)),
            quarantined=tuple(crashed.values()),
            ends=tuple(row[0] for row in self._rows(_ENDS, LATELY))[::-1],
            last_told=None if last is None else last[0],
        )

    def outcomes(self) -> dict[str, int]:
        """Count the told asks by outcome: by indexes, in a tenth of the time that a look at every row takes."""
        failures = {str(outcome): count for outcome, count in self._rows(_FAILURES)}
        ok, told = (
            self._one("SELECT count(*) FROM trial WHERE outcome = 'ok'"),
            self._one("SELECT count(told) FROM trial"),
        )
        counts = {"ok": ok, "reused": told - ok - sum(failures.values()), **failures}
        return {outcome: count for outcome, count in counts.items() if count}

    def count_early_stops(self) -> int:
        """Count the trainings that a stopping rule of the proxy trainer ended before their last epoch."""
        # As text: reading JSON takes far longer.
        return int(self._one("SELECT count(*) FROM trial WHERE outcome = 'ok' AND instr(metrics, '\"stopped\":1.0')"))

    def count_epochs(self) -> int:
        """Count the epochs that were trained: those of told trials, and up to its last pause of one that is pending."""
        told = "SELECT count(*) FROM curve"
        paused = (
            "SELECT coalesce(sum(epochs), 0) FROM (SELECT max(epoch) AS epochs FROM rung JOIN trial "
            "ON trial.id = rung.trial WHERE told IS NULL GROUP BY rung.trial)"
        )
        return int(self._one(told)) + int(self._one(paused))

    def seconds(self) -> float:
        """Sum the durations of all evaluations, in seconds."""
        return float(self._one("SELECT coalesce(sum(seconds), 0.0) FROM trial"))

    def top(self, k: int) -> list[TopTrial]:
        """List the best trials of ``k`` different networks, best first, earlier told first on ties."""
        rows = self._rows(f"{_SUCCESSES} ORDER BY fitness DESC, told")
        best: dict[str, TopTrial] = {}
        for row in rows:
            if len(best) == k:
                break
            best.setdefault(row["key"], self._top_trial(row))
        return list(best.values())

    def trial(self, id: int) -> TopTrial:
        """Find a trial that has succeeded.

        Raises:
            UsageError: if there is none with this id.
        """
        row = next(self._rows(f"{_SUCCESSES} AND id = ?", id), None)
        if row is None:
            raise UsageError(f"the run {shorten(str(self.path.parent), 5000)} has no trial {id} that has succeeded")
        return self._top_trial(row)

    def read_successes(self) -> Iterator[tuple[int, str, str, float]]:
        """Yield id, key, genotype as text and fitness of each training that succeeded, in the order told."""
        for row in self._rows("SELECT id, key, genotype, fitness FROM trial WHERE outcome = 'ok' ORDER BY told"):
            with explain_errors(self.path, row["id"]):
                fitness = float(row["fitness"])
                if not 0.0 <= fitness <= 1.0:
                    raise ValueError(f"its fitness is {fitness}")
            yield row["id"], str(row["key"]), str(row["genotype"]), fitness

    def front(self, costs: Sequence[str]) -> list[FrontTrial]:
        """List the trials that no other beats in fitness and in these metrics at once, the best fitness first.

        Of trials that are alike in all of these the first asked stands for all. A trial that lacks one of the metrics
        is passed over. However long the history, no more than the front and some thousand trials are in memory.
        """
        import numpy as np

        from genotypes.pareto import pareto_front

        ids, points = np.empty(0, dtype=np.int64), np.empty((0, 1 + len(costs)))
        # Reading JSON takes twice as long as all the rest.
        metrics = "'{}'" if set(costs) <= set(COSTS) else "metrics"
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
            return next(map(metrics_of, rows), {})

    def _top_trial(self, row: sqlite3.Row) -> TopTrial:
        with explain_errors(self.path, row["id"]):
            cell = json.loads(row["cell"])
        names = ("fitness", "parameters", "mult_adds", "seconds")
        return TopTrial(row["id"], row["genotype"], cell, *(row[name] for name in names))


def _is_blank(history: Path) -> bool:
    """Return whether the making of a history was cut short before it had tables."""
    with suppress(sqlite3.Error), closing(connect(history, "ro")) as connection:
        return not has_tables(connection)
    return False


def count_trials(folder: RunFolder, *, is_live: bool, stops: bool) -> Counts:
    """Count what is in the history; a start that was killed early, or has just begun, has none yet.

    ``stops`` says that trainings may have been stopped early: to count those takes a look at every row.
    """
    if not folder.log_file.exists() and (not folder.history.is_file() or _is_blank(folder.history)):
        return Counts()
    with HistoryReader.read(folder.history, checked=not is_live) as history:
        return history.counts(stops=stops)


_SUCCESSES: Final = (
    "SELECT id, genotype, cell, key, fitness, parameters, mult_adds, seconds FROM trial WHERE outcome = 'ok'"
)
# SQLite lets any column hold anything: a time that is none is passed over.
_PENDING: Final = """
SELECT id, number, CASE WHEN typeof(started_at) = 'real' THEN started_at END
FROM trial LEFT JOIN attempt
ON trial = id AND number = (SELECT max(number) FROM attempt WHERE trial = id) WHERE told IS NULL ORDER BY id
"""
# As the indexes of history.db have it: among those without a fitness, in the order told.
_FAILURES: Final = "SELECT outcome, count(*) FROM trial WHERE fitness IS NULL AND told IS NOT NULL GROUP BY outcome"
_QUARANTINED: Final = """
SELECT id, genotype, key FROM trial
WHERE fitness IS NULL AND told IS NOT NULL AND outcome = 'crash' AND coalesce(seconds, -1) >= 0 AND NOT EXISTS
(SELECT 1 FROM trial AS other WHERE other.key = trial.key AND other.seconds IS NOT NULL AND other.outcome = 'ok')
ORDER BY told
"""
# By the index of the order told, not by the one of all that were trained: the last are wanted.
_ENDS: Final = """
SELECT told_at FROM trial WHERE coalesce(seconds, -1) >= 0 AND typeof(told_at) = 'real' ORDER BY told DESC LIMIT ?
"""
_LAST_TOLD: Final = """
SELECT told_at FROM trial WHERE told = (SELECT max(told) FROM trial) AND typeof(told_at) = 'real'
"""
