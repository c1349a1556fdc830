"""The population manager: ask, evaluate, remember, tell, until the budget is spent."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from evo_nas.errors import TooManyFailures
from evo_nas.evaluators.base import Evaluator, Job
from evo_nas.executors.base import Executor
from evo_nas.history import Ended, History, Pending
from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.individual import Evaluation, Individual, Outcome
from genotypes.population import Population
from genotypes.space import SearchSpace
from strategies.base import Proposal, SearchStrategy

if TYPE_CHECKING:
    import numpy as np

_ASK, _TELL = 1, 2  # tags of the generators; a training has 3 (evo_nas.evaluators.base.Job)


class Reason(StrEnum):
    """Why a search ended by itself."""

    TRIALS = "trials"
    """the budget of trainings is spent"""
    EXHAUSTED = "exhausted"
    """the strategy has nothing more to propose"""
    CONVERGED = "converged"
    """the strategy proposes only what is known already"""


class Listener:
    """Somebody who watches a search. Each method does nothing by default."""

    def restored(self, population: Population, trained: int) -> None:
        """Hear that the search is about to go on after ``trained`` trainings (0 for a new one)."""

    def told(self, individual: Individual, evaluation: Evaluation, population: Population, trained: int) -> None:
        """Hear that a candidate ended, after it was recorded and the strategy has learned from it."""


class PopulationManager:
    """Runs one search, new or interrupted, and records every step before anything acts on it.

    The strategy decides what is tried, the evaluator what it is worth, the executor where it runs, the history
    remembers. Asynchronous and without a barrier: as soon as a slot is free, the next candidate is asked
    for. ``trials`` is the total of ended trainings that the history may hold, failed ones counted.

    A history that holds events already is first told to the strategy again, and what was asked and not told
    is submitted again under the same id, genotype and seed: a resumed search is the same search.
    """

    def __init__(
        self,
        space: SearchSpace,
        strategy: SearchStrategy,
        evaluator: Evaluator,
        executor: Executor,
        history: History,
        *,
        seed: int = 0,
        trials: int,
        repeats: str = "reuse",
        max_repeats: int = 1000,
        max_parameters: int | None = None,
        max_consecutive_failures: int = 10,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.space = space
        self.strategy = strategy = strategy.suited(space)
        self.evaluator = evaluator
        self.executor = executor
        self.history = history
        self.seed = seed
        self.trials = trials
        self.reuse = repeats == "reuse"
        self.max_repeats = max_repeats
        self.max_parameters = max_parameters
        self.max_consecutive_failures = max_consecutive_failures
        self.listeners = listeners
        self.population = Population(strategy.window)
        self._pending: dict[int, Pending] = {}  # asked and not told, by ascending id
        self._running: set[int] = set()  # those of them that are being trained
        self._waiting: dict[str, list[int]] = {}  # key that is being trained -> ids that will take its fitness over
        self._backlog: deque[Pending] = deque()  # of an interrupted run; goes before anything new
        self._failures = 0

    def run(self) -> Reason:
        """Search until the budget is spent, the strategy has nothing left, or it only repeats itself.

        Raises:
            TooManyFailures: if ``max_consecutive_failures`` trainings in a row failed.
        """
        self._restore()
        while True:
            reason = self._fill()
            if not self._running:
                assert reason is not None, "nothing runs and nothing was asked"
                return reason
            for id, evaluation in self.executor.next(None):
                self._ended(id, evaluation)

    def _restore(self) -> None:
        """Tell the history again, then take up what was asked and not told."""
        self.strategy.start(self.space, self._rng())
        last: tuple[int, Mapping[str, float]] | None = None
        for individual in self.history.told():
            notes = self._learn(individual)
            last = (individual.id, notes) if notes else None
        if last:  # the run may have died between the tell and its notes
            self.history.note(*last)
        self._last_id = self.history.last_id
        self._trained = self.history.trained()
        self._repeats = self.history.untrained_in_a_row()
        for listener in self.listeners:
            listener.restored(self.population, self._trained)
        self._backlog.extend(self.history.pending())
        self._pending = {pending.id: pending for pending in self._backlog}

    def _fill(self) -> Reason | None:
        """Ask until every slot is busy; say why asking ended for good, if it did."""
        while len(self._running) < self.executor.slots:
            if self._backlog:
                self._route(self._backlog.popleft())
                continue
            if self._trained + len(self._running) >= self.trials:
                return Reason.TRIALS
            if self._repeats >= self.max_repeats:
                return Reason.CONVERGED
            id = self._last_id + 1
            waiting = [pending.proposal for pending in self._pending.values()]
            proposal = self.strategy.ask(self.population, waiting, self._rng(id, _ASK))
            if proposal is None:
                return None if self._running else Reason.EXHAUSTED
            self._ask(id, proposal)
        return None

    def _ask(self, id: int, proposal: Proposal) -> None:
        """Record the proposal under the next id, then decide what becomes of it."""
        genotype = proposal.genotype
        fault: GenotypeError | None = None
        try:
            key, cell = self.space.key(genotype), readable(self.space, genotype)
        except GenotypeError as error:  # a fault of the strategy, which is told of it like of any other failure
            key, cell, fault = str(genotype), {"text": str(genotype)}, error
        pending = Pending(id, proposal, key, self.evaluator.brief(self.population))
        self.history.ask(id, proposal, key, cell, self.seed, pending.brief)
        self._last_id = id
        self._pending[id] = pending
        if fault is None:
            self._route(pending)
        else:
            self._repeats += 1
            self._tell(id, Evaluation(Outcome.INVALID, seconds=None, error=str(fault)))

    def _route(self, pending: Pending) -> None:
        """Answer the ask from what is known, let it wait for a running twin, refuse it, or train it."""
        self._repeats += 1
        if self.reuse:
            known = self.history.find(pending.key)
            if known is not None:
                return self._tell(pending.id, _again(known))
            if pending.key in self._waiting:
                self._waiting[pending.key].append(pending.id)
                return None
        if self.max_parameters is not None:
            cost = self.evaluator.cost(pending.proposal.genotype)
            if cost is not None and cost.parameters > self.max_parameters:
                error = f"{cost.parameters} parameters are more than the {self.max_parameters} allowed"
                metrics = {"parameters": cost.parameters, "mult_adds": cost.mult_adds}
                return self._tell(pending.id, Evaluation(Outcome.REFUSED, seconds=None, metrics=metrics, error=error))
        self._repeats = 0
        self._running.add(pending.id)
        self._waiting.setdefault(pending.key, [])
        self.history.attempt(pending.id)
        self.executor.submit(Job(pending.id, pending.proposal.genotype, self.seed, pending.brief))
        return None

    def _ended(self, id: int, evaluation: Evaluation) -> None:
        """Tell a training that ended, and after it those that waited for its fitness."""
        key = self._pending[id].key
        self._running.remove(id)
        self._trained += 1
        self._failures = 0 if evaluation.outcome.has_fitness else self._failures + 1
        self._tell(id, evaluation)
        for twin in self._waiting.pop(key, ()):
            known = self.history.find(key)
            assert known is not None, "the training that others waited for is recorded"
            self._tell(twin, _again(known))
        if self._failures >= self.max_consecutive_failures:
            last_line = (evaluation.error or "no error text").strip().splitlines()[-1]
            raise TooManyFailures(
                f"{self._failures} trainings in a row failed, the last one with outcome {evaluation.outcome}: "
                f"{shorten(last_line, 200)}"
            )

    def _tell(self, id: int, evaluation: Evaluation) -> None:
        """Record how an ask ended; only then let the population and the strategy know."""
        pending = self._pending.pop(id)
        self.history.tell(id, evaluation)
        proposal = pending.proposal
        individual = Individual(
            id, proposal.genotype, evaluation.outcome, evaluation.fitness, proposal.parent, proposal.memo
        )
        notes = self._learn(individual)
        if notes:
            self.history.note(id, notes)
        for listener in self.listeners:
            listener.told(individual, evaluation, self.population, self._trained)

    def _learn(self, individual: Individual) -> Mapping[str, float] | None:
        """Let the population and the strategy know of an individual; the same for a new one and a remembered one."""
        self.population.add(individual)
        return self.strategy.tell(individual, self._rng(individual.id, _TELL))

    def _rng(self, *ids: int) -> np.random.Generator:
        """Make the generator of one event: a function of the run's seed, the id and the kind of event."""
        import numpy as np

        return np.random.default_rng([self.seed, *ids])


def readable(space: SearchSpace, genotype: Genotype) -> Mapping[str, Any]:
    """Give the readable form of a genotype, as the history keeps it, so that no plug-in is needed to look at it."""
    decoded = space.decode(genotype)
    form = decoded.to_json() if hasattr(decoded, "to_json") else decoded
    try:
        json.dumps(form)
    except TypeError:
        form = str(decoded)
    return form if isinstance(form, Mapping) else {"text": str(form)}


def _again(known: Ended) -> Evaluation:
    """Answer a network that was trained before: with its fitness, or with its failure."""
    costs = {"parameters": known.parameters, "mult_adds": known.mult_adds}
    metrics = {name: float(value) for name, value in costs.items() if value is not None}
    outcome = Outcome.REUSED if known.fitness is not None else known.outcome
    return Evaluation(outcome, known.fitness, known.report, seconds=None, metrics=metrics, error=known.error)
