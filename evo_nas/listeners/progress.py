"""Live progress of a search on stderr: trials done, best so far, mean of the last P, time left."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from evo_nas.manager import Listener, Reason
from evo_nas.system.terminal import forgiving
from genotypes.individual import Evaluation, Individual, Outcome
from genotypes.population import Population

if TYPE_CHECKING:
    from rich.live import Live

    from evo_nas.study import Ended

SECONDS_BETWEEN_LINES: Final = 2.0

LONG_RESTORE: Final = 1.0
"""Seconds that a strategy may be told the history again without a word."""

WHY: Final[Mapping[str, str]] = {
    Reason.TRIALS: "all trials are done",
    Reason.TARGET: "the target accuracy is reached",
    Reason.EXHAUSTED: "the strategy has nothing more to propose",
    Reason.CONVERGED: "the strategy proposes only networks that are known",
    Reason.REFUSED: "the limits refuse whatever the strategy proposes",
    Reason.TIME: "the time limit is reached",
    Reason.SCHEDULER: "the scheduler wants the machine",
    Reason.INTERRUPTED: "Ctrl-C",
    Reason.TERMINATED: "SIGTERM",
    Reason.HUNG_UP: "the terminal was closed",
}
"""Why a search ended, in words."""


class Progress(Listener):
    """Draws one line that renews itself on a terminal, and prints a line now and then elsewhere.

    ``title`` is the first line, ``trials`` the budget, ``last`` the P of "mean of the last P"; ``target``, a fraction,
    ``time_limit`` and ``grace``, both in seconds, are those of the search. All times are taken from a monotonic
    clock. If nobody reads stderr any more the search goes on unheard. Close it to leave the terminal tidy.
    """

    def __init__(
        self,
        title: str,
        trials: int,
        last: int,
        *,
        target: float | None = None,
        time_limit: float | None = None,
        grace: float | None = None,
    ) -> None:
        self.title = title
        self.trials = trials
        self.target = target
        self.time_limit = time_limit
        self.grace = grace
        self._last = last
        self._recent: deque[float] = deque(maxlen=max(1, last))
        self._best: Individual | None = None
        self._failed = 0
        self._began: float | None = None
        self._is_stopping = False
        self._line: _Line | None = None

    def restoring(self, told: int, trials: int) -> None:
        """Say how far the history was told again, if that takes long."""
        if self._seconds_since_it_began() >= LONG_RESTORE:
            self._introduce()
            self._say(f"telling the history again: {told:,} of {trials:,} trials", always=False)

    def restored(self, population: Population, trained: int) -> None:
        """Start the clock; what was trained before does not count for the time left."""
        self._seconds_since_it_began()
        self._start, self._trained_before = time.monotonic(), trained
        self._best = next(iter(population.best(1)), None)
        self._failed = population.failed
        self._recent.extend(individual.score for individual in population.youngest(min(self._last, population.window)))
        self._introduce(f"resuming after {trained} trials" if trained else "")

    def told(self, individual: Individual, evaluation: Evaluation, population: Population, trained: int) -> None:
        """Renew the line; a failure gets a line of its own that stays."""
        self._best = next(iter(population.best(1)), None)
        if individual.fitness is not None:
            self._recent.append(individual.fitness)
        elif evaluation.seconds is not None or individual.outcome is Outcome.INVALID:  # the rest is no news
            self._failed += 1
            reason = (evaluation.error or "no reason given").strip().splitlines()[-1]
            self._say(f"trial {individual.id} failed ({evaluation.outcome}): {reason}", always=True)
        self._say(self._words(trained), always=trained >= self.trials)

    def stopping(self, reason: Reason, running: int) -> None:
        """Say what happens to the trials in flight; a signal has been answered where it arrived."""
        self._is_stopping = True
        trials = "1 trial in flight has" if running == 1 else f"{running} trials in flight have"
        time_left = "some time" if self.grace is None else duration(self.grace)
        why = f"stopping ({WHY[reason]}): " if reason in (Reason.TIME, Reason.TARGET) else ""
        self._say(f"{why}{trials} {time_left} to end", always=True)

    def close(self) -> None:
        """Give the terminal back."""
        if self._line is not None:
            self._line.close()

    def _words(self, trained: int) -> str:
        words = [f"trial {trained}/{self.trials}"]
        if self._best is not None:
            words.append(f"best {100 * self._best.score:.2f} % (trial {self._best.id})")
        if self._recent:
            words.append(f"mean of last {len(self._recent)} {100 * sum(self._recent) / len(self._recent):.2f} %")
        if self._failed:
            words.append(f"{self._failed} failed")
        if not self._is_stopping:
            words.extend(self._time_left(trained))
        return "  ".join(words)

    def _time_left(self, trained: int) -> list[str]:
        """Say when the search will have ended, or have reached its time limit before."""
        words = []
        done = trained - self._trained_before
        left = (time.monotonic() - self._start) / done * (self.trials - trained) if done else float("inf")
        if self.time_limit is not None:
            limit = self.time_limit - self._seconds_since_it_began()
            if limit < left:
                return [f"time limit in {duration(limit)}"]
        if done:  # how far the target is nobody knows
            words.append(f"ETA {duration(left)}" if self.target is None else f"ETA at most {duration(left)}")
        return words

    def _seconds_since_it_began(self) -> float:
        now = time.monotonic()
        if self._began is None:
            self._began = now
        return now - self._began

    def _introduce(self, more: str = "") -> None:
        """Say the title, once, and whatever comes with it."""
        if self._line is None:
            self._say(f"{self.title}; {more}" if more else self.title, always=True)
        elif more:
            self._say(more, always=True)

    def _say(self, line: str, *, always: bool) -> None:
        if self._line is None:
            self._line = _Line()
        self._line.say(line, always=always)


class StudyProgress:
    """The same for a study: says how each run ended as it does, and how long the rest may take."""

    def __init__(self, title: str, runs: int, unfinished: int) -> None:
        self._line = _Line()
        self._start = time.monotonic()
        self._runs, self._before, self._done = runs, runs - unfinished, 0
        before = f", {self._before} of them finished" if self._before else ""
        self._line.say(f"{title}; {runs} runs{before}", always=True)

    def __call__(self, ended: Ended, left: int) -> None:
        """Hear how one run ended, and how many are left."""
        self._done += 1
        how = f"ended ({ended.reason})" if ended.reason else "failed"
        words = [f"{self._before + self._done}/{self._runs} runs", f"{ended.label} seed {ended.seed} {how}"]
        if ended.best is not None:
            words.append(f"best {100 * ended.best:.2f} %")
        if left:
            words.append(f"ETA {duration((time.monotonic() - self._start) / self._done * left)}")
        self._line.say("  ".join(words), always=not left)

    def close(self) -> None:
        """Give the terminal back."""
        self._line.close()


class _Line:
    """A line that renews itself on a terminal; elsewhere a line now and then. It never fails."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._printed = float("-inf")
        self._file = forgiving(sys.stderr)
        if self._file.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._file), refresh_per_second=4, transient=True)
            self._live.start()

    def say(self, line: str, *, always: bool) -> None:
        """Show a line; ``always`` leaves it standing."""
        if self._live is not None:
            if always:
                self._live.console.print(line, highlight=False, markup=False)
            else:
                self._live.update(line)
        elif always or time.monotonic() - self._printed >= SECONDS_BETWEEN_LINES:
            print(line, file=self._file, flush=True)
            self._printed = self._printed if always else time.monotonic()

    def close(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def duration(seconds: float) -> str:
    """Write a duration as ``4s``, ``2:05`` (minutes) or ``3:02:05`` (hours)."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
