"""A look at a history, also at one that is being written: what it counts, all at one moment."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from evo_nas.storage.history import History
from evo_nas.storage.run_folder import RunFolder

LATELY: Final = 100
"""The number of recent trainings over which the throughput is averaged."""


@dataclass(frozen=True)
class Counts:
    """What the history says; all of it at one moment."""

    trained: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
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
        """How many failed, by outcome."""
        return {name: n for name, n in sorted(self.outcomes.items()) if name not in NO_FAILURE}


NO_FAILURE: Final = ("ok", "reused", "refused")
"""Outcomes of trials that went well, or needed no training."""


def _is_blank(history: Path) -> bool:
    """Return whether the making of a history was cut short before it had tables."""
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"{history.absolute().as_uri()}?mode=ro", uri=True)) as connection,
    ):
        return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return False


def count_trials(folder: RunFolder, *, is_live: bool, stops: bool) -> Counts:
    """Count what is in the history; a start that was killed early, or has just begun, has none yet.

    ``stops`` says that trainings may have been stopped early: to count those takes a look at every row.
    """
    if not folder.log_file.exists() and (not folder.history.is_file() or _is_blank(folder.history)):
        return Counts()
    with _Look.read(folder.history, checked=not is_live) as look:
        assert isinstance(look, _Look)
        return look.counts(stops=stops)


class _Look(History):
    """A history with the questions that nobody else asks, also of a search that has just begun."""

    def counts(self, *, stops: bool) -> Counts:
        """Take every count at one moment; that of trainings that were stopped early only if there may be any."""
        self._db.execute("BEGIN")
        best = next(iter(self.top(1)), None)
        last = next(self._rows(_LAST_TOLD), None)
        crashed: dict[str, tuple[int, str]] = {}
        for row in self._rows(_QUARANTINED):
            crashed.setdefault(str(row["key"]), (row["id"], str(row["genotype"])))
        return Counts(
            trained=self.trained(),
            outcomes=self._outcomes(),
            stopped_early=self.stopped_early() if stops else 0,
            best=None if best is None else (best.id, float(best.fitness), str(best.genotype)),
            pending=tuple((row[0], row[1] or 0, row[2]) for row in self._rows(_PENDING)),
            quarantined=tuple(crashed.values()),
            ends=tuple(row[0] for row in self._rows(_ENDS, LATELY))[::-1],
            last_told=None if last is None else last[0],
        )

    def _outcomes(self) -> dict[str, int]:
        """Count by outcome, in a tenth of the time that a look at every row takes: with the help of indexes."""
        failures = {str(outcome): count for outcome, count in self._rows(_FAILURES)}
        ok, told = (
            self._one("SELECT count(*) FROM trial WHERE outcome = 'ok'"),
            self._one("SELECT count(told) FROM trial"),
        )
        counts = {"ok": ok, "reused": told - ok - sum(failures.values()), **failures}
        return {outcome: count for outcome, count in counts.items() if count}


# SQLite lets any column hold anything: a time that is none is passed over.
_PENDING: Final = """
SELECT id, number, CASE WHEN typeof(started_at) = 'real' THEN started_at END FROM trial LEFT JOIN attempt
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
