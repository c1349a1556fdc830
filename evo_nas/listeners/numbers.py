"""Numbers that a tracker shows of each trial, and of the search so far: one owner for all of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

from evo_nas.storage.replay import Told
from genotypes.individual import Outcome
from genotypes.measure import Measure


@dataclass(frozen=True, slots=True)
class Entry:
    """A trial as trackers show it: ``trained`` is the number of trainings that had ended, the step of all curves.

    ``numbers`` are those of the trial and of the search so far, by tag, fitnesses as fractions in [0, 1].
    ``is_incumbent`` says that none before it was as good.
    """

    told: Told
    trained: int
    numbers: Mapping[str, float]
    is_incumbent: bool


class Numbers:
    """Turns trials, from the first on and as told, into entries; ``last`` is the P of "mean of the last P"."""

    def __init__(self, last: int, measure: Measure) -> None:
        self._measure = measure
        self._trained = 0
        self._best: float | None = None
        self._recent: deque[float] = deque(maxlen=max(1, last))
        self._outcomes: Counter[Outcome] = Counter()

    def add(self, told: Told) -> Entry:
        """Count a trial, and return its entry."""
        self._outcomes[told.outcome] += 1
        self._trained += told.seconds is not None
        is_incumbent = told.fitness is not None and (self._best is None or told.fitness > self._best)
        if told.fitness is not None:
            self._recent.append(told.fitness)
            self._best = told.fitness if is_incumbent else self._best
        return Entry(told, self._trained, self._list_numbers(told), is_incumbent)

    def _list_numbers(self, told: Told) -> Mapping[str, float]:
        name = self._measure.name
        numbers = {f"trials/{outcome}": float(count) for outcome, count in self._outcomes.items()}
        if told.fitness is not None and self._best is not None:
            numbers |= {
                f"{name}/best_so_far": self._best,
                f"{name}/mean_of_last_{self._recent.maxlen}": sum(self._recent) / len(self._recent),
            }
        if told.fitness is not None and told.seconds is not None:
            numbers[f"{name}/trial"] = told.fitness
        if told.seconds is not None:
            numbers |= {f"trial/{name}": value for name, value in {"seconds": told.seconds, **told.metrics}.items()}
        return numbers | {f"strategy/{name}": value for name, value in told.notes.items()}
