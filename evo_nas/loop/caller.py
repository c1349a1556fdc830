"""Calls of a strategy, as its contract has them: with generators of their own, checked, and ended when time is up."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from evo_nas.errors import UsageError, calling
from evo_nas.storage.replay import LastAsk
from evo_nas.system.alarm import Alarm
from genotypes.genotype import shorten
from genotypes.individual import Individual, Proposal
from genotypes.population import Population
from genotypes.space import SearchSpace
from strategies.base import SearchStrategy, check_notes, check_proposal

if TYPE_CHECKING:
    import numpy as np

_log = logging.getLogger(__name__)
_IMPURE: Final = (
    "warning: %s does not ask again what it asked as trial %d: its ask is no function of what it was told, or versions "
    "have changed; from here on the search is not what it would have been without the interruption"
)

ASK, TELL = 1, 2  # tags of the generators; a training has 3 (evo_nas.evaluators.base.Job)


def draw_for(seed: int, *event: int) -> np.random.Generator:
    """Return the generator of one event: a function of the search's seed, the id and the kind, ``ASK`` or ``TELL``."""
    import numpy as np

    return np.random.default_rng([seed, *event])


class StrategyCaller:
    """Calls one strategy for one search; ``seed`` is that of the search.

    When the alarm rings, a call that goes on raises :class:`evo_nas.system.alarm.TimeIsUp`.
    """

    def __init__(self, space: SearchSpace, strategy: SearchStrategy, seed: int) -> None:
        self._space, self._strategy, self._seed = space, strategy, seed
        self.alarm = Alarm()

    def start(self) -> None:
        """Have the strategy start."""
        with calling(self._strategy, "start"), self.alarm.limit():
            self._strategy.start(self._space, draw_for(self._seed))

    def ask(self, id: int, population: Population, waiting: Sequence[Proposal]) -> Proposal | None:
        """Ask for the proposal that gets the next id, which is given."""
        with calling(self._strategy, "ask"), self.alarm.limit():
            answer = self._strategy.ask(population, waiting, draw_for(self._seed, id, ASK))
            return check_proposal(answer, id - 1)

    def ask_again(self, ask: LastAsk, population: Population) -> None:
        """Warn if the strategy does not ask what it asked before in the same state: it will not go on as it began."""
        with calling(self._strategy, "ask"):
            answer = self._strategy.ask(population, ask.waiting, draw_for(self._seed, ask.id, ASK))
            again = check_proposal(answer, ask.id - 1)
        if again is None or (again.genotype, again.parent) != (ask.proposal.genotype, ask.proposal.parent):
            _log.warning(_IMPURE, type(self._strategy).__name__, ask.id)

    def tell(self, individual: Individual, population: Population) -> Mapping[str, float]:
        """Inform the population and the strategy of an individual, the same for a new one and a remembered one.

        Return what the strategy noted.

        Raises:
            UsageError: if the individual lacks a metric that the strategy needs.
        """
        if individual.ok and (missing := [n for n in self._strategy.needs if n not in individual.metrics]):
            has = ", ".join(map(shorten, individual.metrics)) or "no metrics"
            raise UsageError(
                f"the strategy {self._strategy.name} needs the metric {shorten(missing[0])!r}, and trial "
                f"{individual.id} has {has}: start a new run with one of these, or with another evaluator"
            )
        population.add(individual)
        with calling(self._strategy, "tell"), self.alarm.limit():
            return check_notes(self._strategy.tell(individual, draw_for(self._seed, individual.id, TELL)))
