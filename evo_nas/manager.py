"""The population manager: ask, evaluate, remember, tell, until the budget is spent."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from evo_nas.config import SearchConfig
from evo_nas.errors import TooManyFailures, UsageError, calling
from evo_nas.evaluators.base import Evaluator, Job
from evo_nas.evaluators.limits import Limits
from evo_nas.executors.base import Executor
from evo_nas.storage.door import Refused
from evo_nas.storage.endings import Reason
from evo_nas.storage.history import History
from evo_nas.storage.replay import LastAsk, Pending
from evo_nas.system.alarm import Alarm, TimeIsUp
from evo_nas.system.failpoints import Failpoint, reach
from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.individual import Evaluation, Individual, Outcome, Proposal
from genotypes.measure import Measure
from genotypes.plain import real, whole
from genotypes.population import Population
from genotypes.space import SearchSpace, describe
from strategies.base import SearchStrategy, check_notes, check_proposal

if TYPE_CHECKING:
    import numpy as np

_log = logging.getLogger(__name__)
_IMPURE: Final = (
    "warning: %s does not ask again what it asked as trial %d: its ask is no function of what it was told, or versions "
    "have changed; from here on the search is not what it would have been without the interruption"
)
_RESTORED_AT_ONCE: Final = 100  # individuals

MEAN_OF: Final = 100
"""Individuals of the mean that is shown while a strategy without a population of its own searches."""

ASK, TELL = 1, 2  # tags of the generators; a training has 3 (evo_nas.evaluators.base.Job)


CRASHES: Final = 2
"""A training that takes its process down is tried so often; then its network is quarantined for the rest of the run."""


HEEDING: Final = 1.5
"""Seconds that code of a plug-in may go on after the search was stopped: a signal is heeded within two."""


def draw_for(seed: int, *event: int) -> np.random.Generator:
    """Return the generator of one event: a function of the search's seed, the id and the kind, ``ASK`` or ``TELL``."""
    import numpy as np

    return np.random.default_rng([seed, *event])


class Listener:
    """Somebody who watches a search. Each method does nothing by default."""

    def starting(self, measure: Measure) -> None:
        """Hear, before all else, what the fitness is."""

    def preparing(self, words: str) -> None:
        """Hear how far the evaluator's groundwork is, before the search starts."""

    def restoring(self, told: int, trials: int) -> None:
        """Hear how far the strategy has been told the history again: ``told`` trials of ``trials``."""

    def restored(self, population: Population, trained: int) -> None:
        """Hear that the search is about to go on after ``trained`` trainings (0 for a new one)."""

    def told(self, individual: Individual, evaluation: Evaluation, population: Population, trained: int) -> None:
        """Hear that a candidate ended, after it was recorded and the strategy has learned from it."""

    def stopping(self, reason: Reason, running: int) -> None:
        """Hear that nothing more is asked, and ``running`` trainings are given some time to end."""


class PopulationManager:
    """Runs one search, new or interrupted, and records every step before anything acts on it.

    The strategy decides what is tried, the evaluator what it is worth, the executor where it runs, the history
    remembers. Asynchronous and without a barrier: as soon as a slot is free, the next candidate is asked
    for. ``config`` says how far the search goes and what becomes of repeats; the parts that it names are those given
    here, whatever their names. ``settings`` are fields of it that go before its own, as in ``trials=100``.

    A history that holds events already is first told to the strategy again, and what was asked and not told
    is submitted again under the same id, genotype and seed: a resumed search is the same search.

    After ``time_limit`` seconds, or when :meth:`stop` is called, nothing more is asked. What is being trained then has
    ``grace`` seconds to end; what has not is left pending, for whoever resumes the run. ``clock`` gives monotonic
    seconds: no change of the wall clock makes a difference.

    ``crashed`` are trainings, by id, that took the process of an earlier search down with them. Nobody could record
    that then, so they end now, like trainings that took a worker down.
    """

    def __init__(
        self,
        space: SearchSpace,
        strategy: SearchStrategy,
        evaluator: Evaluator,
        executor: Executor,
        history: History,
        config: SearchConfig | None = None,
        *,
        time_limit: float | None = None,
        grace: float = 0.0,
        listeners: Sequence[Listener] = (),
        crashed: Mapping[int, Evaluation] = MappingProxyType({}),
        clock: Callable[[], float] = time.monotonic,
        **settings: Any,
    ) -> None:
        self.space = space
        self.strategy = strategy = strategy.suited(space)
        self.evaluator = evaluator
        self.executor = executor
        self.history = history
        if "target" in settings:  # the short name of the field
            settings["target_accuracy"] = settings.pop("target")
        self.config = config = replace(config or SearchConfig(), **settings)
        self.reuse = config.repeats == "reuse"
        self.limits = Limits(config.max_parameters, config.max_mult_adds)
        strategy.use_cost(space, evaluator.cost, self._allows)
        self.time_limit = time_limit
        self.grace = grace
        self.listeners = listeners
        self._kept = (*evaluator.network_metrics, *strategy.needs)  # metrics of a network that comes up again
        self.population = Population(self._window)
        self._clock = clock
        self._started = clock()
        self._stop: Reason | None = None
        self._alarm = Alarm()  # for code of the strategy
        self._deadline = math.inf  # when the grace is over
        self._pending: dict[int, Pending] = {}  # asked and not told, by ascending id
        self._running: set[int] = set()  # those of them that are being trained
        self._waiting: dict[str, list[int]] = {}  # key that is being trained -> ids that will take its fitness over
        self._backlog: deque[Pending] = deque()  # of an interrupted run; goes before anything new
        self._crashed = dict(crashed)
        self._failures = 0

    def stop(self, reason: Reason) -> None:
        """Ask for nothing more, and end when what is being trained has ended or the grace is over.

        May be called from a signal handler; the first reason counts.
        """
        if self._stop is None:
            self._stop = reason
            self._deadline = self._clock() + self.grace
            self.executor.wake()
            self._alarm.ring_in(HEEDING)

    def run(self) -> Reason:
        """Search until the budget is spent, nothing is proposed that can be trained, or the search is stopped.

        Code of the strategy that goes on for :data:`HEEDING` seconds after that is ended. An ask is as if it had not
        been asked; with a start or a tell, which leave the strategy half told, the search ends without further grace.

        Raises:
            TooManyFailures: if ``max_consecutive_failures`` trainings in a row failed.
        """
        try:
            return self._run()
        except TimeIsUp:
            assert self._stop is not None, "else nothing rings"
            return self._stop

    def _run(self) -> Reason:
        for listener in self.listeners:
            listener.starting(self.evaluator.measure)
        self._restore()
        is_announced = False
        while True:
            self._look_at_the_clock()
            reason = self._stop or self._fill()
            if not self._running or self._clock() >= self._deadline:
                assert reason is not None, "nothing runs and nothing was asked"
                return reason
            if self._stop and not is_announced:
                is_announced = True
                for listener in self.listeners:
                    listener.stopping(self._stop, len(self._running))
            for id, evaluation in self.executor.next(self._patience()):
                reach(Failpoint.EVALUATED)
                self._end(id, evaluation)

    def _allows(self, genotype: Genotype) -> bool:
        """Return whether the limits allow the network of a genotype."""
        cost = self.evaluator.cost(genotype) if self.limits else None
        return cost is None or self.limits.refusal(cost) is None

    @property
    def _window(self) -> int:
        """Number of the youngest that the population keeps: the longest look back decides."""
        return whole(max(self.strategy.window, self.evaluator.window))

    def _look_at_the_clock(self) -> None:
        if self.time_limit is not None and self._clock() - self._started >= self.time_limit:
            self.stop(Reason.TIME)

    def _patience(self) -> float | None:
        """Return for how many seconds there is nothing to do but to wait for a training to end."""
        if self._stop:
            return max(0.0, self._deadline - self._clock())
        if self.time_limit is not None:
            return max(0.0, self._started + self.time_limit - self._clock())
        return None

    def _restore(self) -> None:
        """Tell the history again, then take up what was asked and not told.

        What the strategy would have forgotten is left out: see :attr:`strategies.base.SearchStrategy.lookback`.
        """
        history, lookback, ask = self.history, self.strategy.lookback, self.history.find_last_ask()
        with calling(self.strategy, "start"), self._alarm.limit():
            self.strategy.start(self.space, self._rng())
        later = history.count_tells(ask.event) if ask else 0
        after = 0 if lookback is None else history.horizon(max(whole(lookback), self._window, 1) + later)
        if after:
            self.population = history.population(self._window, after)
        trials = history.count_tells(after)
        last: tuple[int, Mapping[str, float]] | None = None
        for count, individual in enumerate(history.read_tells(after)):
            if count % _RESTORED_AT_ONCE == 0:
                for listener in self.listeners:
                    listener.restoring(count, trials)
            if self._stop:
                return
            if ask and count == trials - later:
                self._ask_again(ask)
            notes = self._learn(individual)
            last = (individual.id, notes) if notes else None
        if ask and not later:
            self._ask_again(ask)
        if last:  # the run may have died between the tell and its notes
            history.note(*last)
        self._last_id = history.last_id
        self._trained = history.count_trainings()
        self._repeats = history.count_asks_since_training()
        self._stop_at_the_target()
        reach(Failpoint.RESTORED)
        for listener in self.listeners:
            listener.restored(self.population, self._trained)
        self._backlog.extend(history.pending())
        self._pending = {pending.id: pending for pending in self._backlog}

    def _ask_again(self, ask: LastAsk) -> None:
        """Warn if the strategy does not ask what it asked before in the same state: it will not go on as it began."""
        with calling(self.strategy, "ask"):
            again = check_proposal(self.strategy.ask(self.population, ask.waiting, self._rng(ask.id, ASK)), ask.id - 1)
        if again is None or (again.genotype, again.parent) != (ask.proposal.genotype, ask.proposal.parent):
            _log.warning(_IMPURE, type(self.strategy).__name__, ask.id)

    def _fill(self) -> Reason | None:
        """Ask until every slot is busy; say why asking ended for good, if it did."""
        while len(self._running) < self.executor.slots and self._stop is None:
            if self._backlog:
                self._take_up(self._backlog.popleft())
                continue
            if self._trained + len(self._running) >= self.config.trials:
                return Reason.TRIALS
            if self._repeats >= self.config.max_repeats:
                return self._because_of_the_limits() or Reason.CONVERGED
            id = self._last_id + 1
            waiting = [pending.proposal for pending in self._pending.values()]
            try:
                with calling(self.strategy, "ask"), self._alarm.limit():
                    answer = self.strategy.ask(self.population, waiting, self._rng(id, ASK))
                    proposal = check_proposal(answer, self._last_id)
            except TimeIsUp:
                break
            if proposal is None:
                return None if self._running else self._because_of_the_limits() or Reason.EXHAUSTED
            self._ask(id, proposal)
        return self._stop

    def _because_of_the_limits(self) -> Reason | None:
        """Return whether it is the limits that leave nothing to train: they refused the last asks, all of them."""
        refused = self.history.find_refusals_since_training().count if self.limits else 0
        return Reason.REFUSED if 0 < min(self.config.max_repeats, self._last_id) <= refused else None

    def _ask(self, id: int, proposal: Proposal) -> None:
        """Decide what becomes of the proposal, record it under the next id, and let it become that."""
        genotype = proposal.genotype
        answer: Evaluation | None = None
        try:
            with calling(self.space, "key and readable", GenotypeError):
                key, cell = describe(self.space, genotype)
        except GenotypeError as error:  # a fault of the strategy, which is told of it like of any other failure
            key, cell = str(genotype), {"text": str(genotype)}
            answer = Evaluation(Outcome.INVALID, seconds=None, error=str(error))
        with calling(self.evaluator, "brief"):
            pending = Pending(id, proposal, key, tuple(map(real, self.evaluator.brief(self.population))))
        answer = answer or self._answer(pending)
        trains = answer is None and not self._waits(pending)
        try:
            self.history.ask(id, proposal, key, cell, self.config.seed, pending.brief, attempt=trains, answer=answer)
        except Refused as error:
            with calling({"memo": self.strategy, "brief": self.evaluator}.get(error.column, self.space), error.column):
                raise
        self._last_id = id
        self._pending[id] = pending
        self._proceed(pending, answer)

    def _take_up(self, pending: Pending) -> None:
        """Resume what was asked before the run was interrupted."""
        crash = self._crashed.pop(pending.id, None)
        if crash is not None:
            self._take_for_running(pending)
            self._end(pending.id, crash)
            return
        answer = self._answer(pending)
        if answer is not None:
            self.history.tell(pending.id, answer)
        elif not self._waits(pending):
            self.history.attempt(pending.id)
        self._proceed(pending, answer)

    def _proceed(self, pending: Pending, answer: Evaluation | None) -> None:
        """Answer an ask that is recorded already, let it wait for its twin, or train it."""
        if answer is not None:
            self._repeats += 1
            self._hear(pending.id, answer)
        elif self._waits(pending):
            self._repeats += 1
            self._waiting[pending.key].append(pending.id)
        else:
            self._take_for_running(pending)
            self.executor.submit(self._job(pending))
            reach(Failpoint.SUBMITTED)

    def _take_for_running(self, pending: Pending) -> None:
        """Count an ask among those that are being trained; others for its network wait from now on."""
        self._repeats = 0
        self._running.add(pending.id)
        self._waiting.setdefault(pending.key, [])

    def _answer(self, pending: Pending) -> Evaluation | None:
        """Answer an ask from what is known, or refuse it; ``None`` if it must be trained."""
        known = self.history.find(pending.key)
        if known is not None and (self.reuse or known.outcome is Outcome.CRASH):
            return known.answer(self._kept)
        if self.limits and not self._waits(pending):
            with calling(self.evaluator, "cost", GenotypeError):
                cost = self.evaluator.cost(pending.proposal.genotype)
                if cost is not None and (error := self.limits.refusal(cost)):
                    metrics = {"parameters": cost.parameters, "mult_adds": cost.mult_adds}
                    return Evaluation(Outcome.REFUSED, seconds=None, metrics=metrics, error=error)
        return None

    def _waits(self, pending: Pending) -> bool:
        """Return whether a network is being trained already, so that another ask for it waits for its fitness."""
        return self.reuse and pending.key in self._waiting

    def _job(self, pending: Pending) -> Job:
        named = pending.proposal.parent if self.evaluator.inherits else None
        parent = None if named is None else self.history.find_training(named)
        return Job(pending.id, pending.proposal.genotype, self.config.seed, pending.brief, parent)

    def list_heritable(self) -> set[int] | None:
        """Return the trials whose weights a later training may inherit; ``None`` if those of all."""
        if not self.evaluator.inherits:
            return set()
        with calling(self.strategy, "possible_parents"):
            told = self.strategy.possible_parents()
            ids = None if told is None else set(map(whole, told))
        if ids is None:
            return None
        ids |= {pending.proposal.parent for pending in self._pending.values() if pending.proposal.parent is not None}
        return {training for id in ids if (training := self.history.find_training(id)) is not None}

    def _end(self, id: int, evaluation: Evaluation) -> None:
        """Record a training that ended, and after it those that waited for its fitness; try again after a crash."""
        pending = self._pending[id]
        if evaluation.outcome is Outcome.CRASH and self._stop:
            # Whoever stops a run may kill its workers too, which says nothing against the network.
            self._running.remove(id)
            return
        if evaluation.outcome is Outcome.CRASH and self.history.crashes(id) + 1 < CRASHES:
            self.history.record_crash(id)
            self.history.attempt(id)
            reach(Failpoint.RETRYING)
            self.executor.submit(self._job(pending), fresh=True)
            return
        self._running.remove(id)
        self._trained += 1
        if evaluation.seconds is None:  # by which the history tells what was trained
            evaluation = replace(evaluation, seconds=0.0)
        evaluation = self._tell(id, evaluation)
        self._failures = 0 if evaluation.outcome.has_fitness else self._failures + 1
        for twin in self._waiting.pop(pending.key, ()):
            known = self.history.find(pending.key)
            assert known is not None, "the training that others waited for is recorded"
            self._tell(twin, known.answer(self._kept))
        if self._failures >= self.config.max_consecutive_failures:
            words = shorten((evaluation.error or "no error text").strip().splitlines()[-1], 200)
            last = f"the last one with outcome {evaluation.outcome}: {words}"
            raise TooManyFailures(f"{self._failures} trainings in a row failed, {last}")

    def _tell(self, id: int, evaluation: Evaluation) -> Evaluation:
        """Record how an ask ended, as a failure if a history cannot hold it; only then let anybody know."""
        try:
            self.history.tell(id, evaluation)
        except Refused as error:
            evaluation = Evaluation.failed(Outcome.ERROR, str(error), seconds=evaluation.seconds or 0.0)
            self.history.tell(id, evaluation)
        self._hear(id, evaluation)
        return evaluation

    def _hear(self, id: int, evaluation: Evaluation) -> None:
        """Inform population, strategy and listeners of how an ask ended, which is recorded."""
        individual = Individual.of(id, self._pending.pop(id).proposal, evaluation)
        notes = self._learn(individual)
        reach(Failpoint.LEARNED)
        if notes:
            self.history.note(id, notes)
        self._stop_at_the_target()
        for listener in self.listeners:
            listener.told(individual, evaluation, self.population, self._trained)

    def _stop_at_the_target(self) -> None:
        best = self.population.best(1)
        if self.config.target_accuracy is not None and best and best[0].score >= self.config.target_accuracy:
            self.stop(Reason.TARGET)

    def _learn(self, individual: Individual) -> Mapping[str, float]:
        """Inform the population and the strategy of an individual; the same for a new one and a remembered one.

        Raises:
            UsageError: if it lacks a metric that the strategy needs.
        """
        if individual.ok and (missing := [n for n in self.strategy.needs if n not in individual.metrics]):
            has = ", ".join(map(shorten, individual.metrics)) or "no metrics"
            raise UsageError(
                f"the strategy {self.strategy.name} needs the metric {shorten(missing[0])!r}, and trial "
                f"{individual.id} has {has}: start a new run with one of these, or with another evaluator"
            )
        self.population.add(individual)
        with calling(self.strategy, "tell"), self._alarm.limit():
            return check_notes(self.strategy.tell(individual, self._rng(individual.id, TELL)))

    def _rng(self, *ids: int) -> np.random.Generator:
        return draw_for(self.config.seed, *ids)
