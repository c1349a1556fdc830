"""Live progress of a search on stderr: trials done, best so far, mean of the last P, time left."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

from evo_nas.loop.listener import Listener
from evo_nas.storage.endings import Reason, say_why
from evo_nas.system.terminal import RenewedLine, duration
from genotypes.individual import Evaluation, Individual, Outcome
from genotypes.measure import ACCURACY, Measure
from genotypes.population import Population

LONG_RESTORE: Final = 1.0
"""Seconds that a strategy may be told the history again without a word."""


class Progress(Listener):
    """Draw one line that renews itself on a terminal; elsewhere print a line now and then.

    ``title`` is the first line, ``trials`` the budget, ``last`` the P of "mean of the last P"; ``target``, a fraction,
    ``time_limit`` and ``grace``, both in seconds, are those of the search. All times are taken from a monotonic
    clock. A search continues if stderr is closed. Close it to leave the terminal tidy.
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
        self._line: RenewedLine | None = None
        self._measure = ACCURACY

    def preparing(self, words: str) -> None:
        """Print how far the groundwork is."""
        self._introduce()
        self._say(words, always=True)

    def starting(self, measure: Measure) -> None:
        """Take the word for the fitness."""
        self._measure = measure

    def restoring(self, told: int, trials: int) -> None:
        """Print the progress of the replay, if that takes long."""
        if self._seconds_since_it_began() >= LONG_RESTORE:
            self._introduce()
            self._say(f"telling the history again: {told:,} of {trials:,} trials", always=False)

    def restored(self, population: Population, trained: int) -> None:
        """Start the clock; earlier trainings do not count for the time left."""
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
        if evaluation.metrics.get("orphaned"):
            gone = f"the weights of its parent, trial {individual.parent}, are gone; it was trained from scratch"
            self._say(f"trial {individual.id}: {gone}", always=True)
        self._say(self._words(trained), always=trained >= self.trials)

    def stopping(self, reason: Reason, running: int) -> None:
        """Print what happens to the trials in flight; for a signal the handler has printed it."""
        self._is_stopping = True
        trials = "1 trial in flight has" if running == 1 else f"{running} trials in flight have"
        time_left = "some time" if self.grace is None else duration(self.grace)
        why = f"stopping ({say_why(reason, self._measure)}): " if reason in (Reason.TIME, Reason.TARGET) else ""
        self._say(f"{why}{trials} {time_left} to end", always=True)

    def close(self) -> None:
        """Release the terminal."""
        if self._line is not None:
            self._line.close()

    def _words(self, trained: int) -> str:
        words = [f"{trained}/{self.trials} trials"]
        if self._best is not None:
            words.append(f"best {100 * self._best.score:.2f} % (trial {self._best.id})")
        if self._recent:
            words.append(f"mean of last {len(self._recent)} {100 * sum(self._recent) / len(self._recent):.2f} %")
        if self._failed:
            words.append(f"{self._failed} failed")
        if not self._is_stopping:
            words.extend(self._spell_remaining_time(trained))
        return "  ".join(words)

    def _spell_remaining_time(self, trained: int) -> list[str]:
        """Return in words the time left until the end of the search, or until its time limit if that is earlier."""
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
        """Print the title, once, and the notes that come with it."""
        if self._line is None:
            self._say(f"{self.title}; {more}" if more else self.title, always=True)
        elif more:
            self._say(more, always=True)

    def _say(self, line: str, *, always: bool) -> None:
        if self._line is None:
            self._line = RenewedLine()
        self._line.say(line, always=always)
