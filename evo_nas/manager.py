"""The population manager: ask, evaluate, remember, tell, until the budget is spent."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from evo_nas.config import SearchConfig
from evo_nas.errors import TooManyFailures, calling
from evo_nas.evaluators.base import Evaluator, Job
from evo_nas.evaluators.limits import Limits
from evo_nas.executors.base import Executor
from evo_nas.loop.caller import StrategyCaller
from evo_nas.loop.listener import Listener
from evo_nas.loop.rungs import Rungs, open_rungs
from evo_nas.storage.door import Refused
from evo_nas.storage.endings import Reason
from evo_nas.storage.history import History
from evo_nas.storage.replay import Pending
from evo_nas.system.alarm import TimeIsUp
from evo_nas.system.failpoints import Failpoint, reach
from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.individual import Evaluation, Individual, Outcome, Proposal
from genotypes.plain import real, whole
from genotypes.population import Population
from genotypes.space import SearchSpace, describe
from strategies.base import SearchStrategy

_RESTORED_AT_ONCE: Final = 100  # individuals

MEAN_OF: Final = 100
"""Individuals of the mean that is shown while a strategy without a population of its own searches."""

CRASHES: Final = 2
"""A training that takes its process down is tried so often; then its network is quarantined for the rest of the run."""


HEEDING: Final = 1.5
"""Seconds that code of a plug-in may go on after the search was stopped: a signal is heeded within two."""


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
        self._rungs = open_rungs(config, evaluator, history)
        self._kept = (*evaluator.network_metrics, *strategy.needs)  # metrics of a network that comes up again
        self.population = Population(self._window)
        self._clock = clock
        self._started = clock()
        self._stop: Reason | None = None
        self._caller = StrategyCaller(space, strategy, config.seed)
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
            self._caller.alarm.ring_in(HEEDING)

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
        self._caller.start()
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
                self._caller.ask_again(ask, self.population)
            notes = self._caller.tell(individual, self.population)
            last = (individual.id, notes) if notes else None
        if ask and not later:
            self._caller.ask_again(ask, self.population)
        if last:  # the run may have died between the tell and its notes
            history.note(*last)
        if self._rungs is not None:
            self._rungs.restore()
        self._last_id = history.last_id
        self._trained = history.count_trainings()
        self._repeats = history.count_asks_since_training()
        self._stop_at_the_target()
        reach(Failpoint.RESTORED)
        for listener in self.listeners:
            listener.restored(self.population, self._trained)
        self._pending = {pending.id: pending for pending in history.pending()}
        for pending in self._pending.values():
            if pending.id in self._paused:
                self._waiting.setdefault(pending.key, [])
            else:
                self._backlog.append(pending)

    def _fill(self) -> Reason | None:
        """Ask until every slot is busy; say why asking ended for good, if it did."""
        while len(self._running) < self.executor.slots and self._stop is None:
            if self._backlog:
                self._take_up(self._backlog.popleft())
                continue
            if self._rungs is not None and self._race(self._rungs):
                continue
            is_spent = self._trained + len(self._running) + len(self._paused) >= self.config.trials
            is_converged = self._repeats >= self.config.max_repeats
            if (is_spent or is_converged) and self._close_race():
                continue
            if is_spent:
                return Reason.TRIALS
            if is_converged:
                return self._because_of_the_limits() or Reason.CONVERGED
            id = self._last_id + 1
            waiting = [pending.proposal for pending in self._pending.values()]
            try:
                proposal = self._caller.ask(id, self.population, waiting)
            except TimeIsUp:
                break
            if proposal is None:
                if self._close_race():
                    continue
                return None if self._running else self._because_of_the_limits() or Reason.EXHAUSTED
            self._ask(id, proposal)
        return self._stop

    @property
    def _paused(self) -> Mapping[int, int]:
        """The trials whose trainings pause, and after how many epochs."""
        return {} if self._rungs is None else self._rungs.paused

    def _race(self, rungs: Rungs) -> bool:
        """Let a paused trial leave the race, or its training go on, if that is due; return whether it was."""
        if (loser := rungs.race.find_loser()) is not None:
            self._conclude(loser, rungs.find_result(loser))
            return True
        return self._promote(rungs, rungs.race.find_promotable())

    def _close_race(self) -> bool:
        """With nothing to train or to ask for, let the best go on in any case, or the first of the paused leave.

        One at a time: the strategy may have something to propose again after each. Return whether there was one.
        """
        rungs = self._rungs
        if rungs is None or self._running or not rungs.paused:
            return False
        if not self._promote(rungs, rungs.race.find_finalist()):
            first = next(iter(rungs.paused))
            self._conclude(first, rungs.find_result(first))
        return True

    def _promote(self, rungs: Rungs, id: int | None) -> bool:
        """Let a paused training go on, if there is one that does."""
        if id is None:
            return False
        rungs.promote(id)
        self._take_for_running(self._pending[id])
        self.executor.submit(self._job(self._pending[id]))
        return True

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
        if self._rungs is None or not self._rungs.has_gone_on(pending.id):
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
        until, so_far = (None, None) if self._rungs is None else self._rungs.plan(pending.id)
        return Job(pending.id, pending.proposal.genotype, self.config.seed, pending.brief, parent, until, so_far)

    def list_heritable(self) -> set[int] | None:
        """Return the trials whose weights a later training may inherit, and those that pause; ``None`` if all."""
        if not self.evaluator.inherits:
            return set(self._paused)
        with calling(self.strategy, "possible_parents"):
            told = self.strategy.possible_parents()
            ids = None if told is None else set(map(whole, told))
        if ids is None:
            return None
        ids |= {pending.proposal.parent for pending in self._pending.values() if pending.proposal.parent is not None}
        return {training for id in ids if (training := self.history.find_training(id)) is not None}

    def _end(self, id: int, evaluation: Evaluation) -> None:
        """Record a training that ended or pauses; try again after a crash."""
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
        if self._rungs is not None:
            with suppress(Refused):  # of which the trial is told as a failure
                if self._rungs.is_pause(evaluation):
                    return self._rungs.pause(id, evaluation)
            evaluation = self._rungs.add_earlier_parts(id, evaluation)
        return self._conclude(id, evaluation)

    def _conclude(self, id: int, evaluation: Evaluation) -> None:
        """Record the result of a training that will not go on, and after it those that waited for its fitness."""
        pending = self._pending[id]
        self._trained += 1
        if evaluation.seconds is None:  # by which the history tells what was trained
            evaluation = replace(evaluation, seconds=0.0)
        evaluation = self._tell(id, evaluation)
        if self._rungs is not None:
            self._rungs.forget(id)
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
        notes = self._caller.tell(individual, self.population)
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
