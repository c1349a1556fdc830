"""Whether many workers are kept busy: hundreds of simulated ones, or a few real ones.

    python -m benchmarks.fleet --workers 450 --trials 20000
    python -m benchmarks.fleet --slots 4 --trials 200 --seconds 0.2

Simulated workers stand behind the executor's seam with a clock of their own: a training takes a log-normal time on it,
and the time that the manager really spends is added to it, so that a worker is idle from the end of its training until
it gets the next. The share that is printed is that of the ideal: the same trainings in the same order handed out in
no time. Beside it the tells a second of the manager, and what a commit costs on this disk. Real slots sleep instead.
"""

from __future__ import annotations

import argparse
import heapq
import math
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.scale import commit_milliseconds
from evo_nas.evaluators.base import Evaluator, Job, evaluate_safely
from evo_nas.evaluators.toy import ToyEvaluator
from evo_nas.executors.slots import SlotsExecutor
from evo_nas.manager import PopulationManager
from evo_nas.storage.history import History
from genotypes.catalogue import build_space
from genotypes.individual import Evaluation
from strategies.catalogue import STRATEGIES

Clock = Callable[[], float]
"""Seconds that the manager has spent."""


class Fleet:
    """An executor of simulated workers, and its clock in seconds."""

    def __init__(
        self, evaluator: Evaluator, slots: int, mean: float, sigma: float, clock: Clock = time.perf_counter
    ) -> None:
        self.slots = slots
        self.now = 0.0
        self.durations: list[float] = []
        self._evaluator, self._mean, self._sigma = evaluator, mean, sigma
        self._ends: list[tuple[float, int, Job]] = []
        self._clock = clock
        self._returned = clock()

    def submit(self, job: Job, *, fresh: bool = False) -> None:
        """Begin when the manager has come so far."""
        self._catch_up()
        z = np.random.default_rng([job.id, 7]).standard_normal()
        duration = self._mean * math.exp(self._sigma * z - self._sigma**2 / 2)
        self.durations.append(duration)
        heapq.heappush(self._ends, (self.now + duration, job.id, job))
        self._returned = self._clock()

    def next(self, timeout: float | None) -> list[tuple[int, Evaluation]]:
        """Turn the clock to the next end."""
        self._catch_up()
        end, id, job = heapq.heappop(self._ends)
        self.now = max(self.now, end)
        result = [(id, evaluate_safely(self._evaluator, job))]
        self._returned = self._clock()
        return result

    def wake(self) -> None:
        """Nobody waits."""

    def close(self) -> None:
        """Nothing runs."""

    def _catch_up(self) -> None:
        self.now += self._clock() - self._returned


def ideal_seconds(durations: list[float], workers: int) -> float:
    """Return how long the trainings take if whoever is free takes the next at once."""
    free = [0.0] * min(workers, len(durations))
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def simulate(
    folder: Path,
    workers: int,
    trials: int,
    mean: float,
    sigma: float,
    durable: bool,
    clock: Clock = time.perf_counter,
) -> float:
    """Return the share of the ideal, and print it with the speed of the manager."""
    space, toy = build_space("nasnet"), ToyEvaluator()
    toy.bind(space)
    fleet = Fleet(toy, workers, mean, sigma, clock)
    with History.create(folder / "simulated.db", durable=durable) as history:
        strategy = STRATEGIES.build("evolution", {})
        manager = PopulationManager(space, strategy, toy, fleet, history, trials=trials)
        began = time.perf_counter()
        manager.run()
        spent = time.perf_counter() - began
        tells = history.count_tells(0)
    share = ideal_seconds(fleet.durations, workers) / fleet.now
    busy = sum(fleet.durations) / (workers * fleet.now)
    print(
        f"{workers} simulated workers, {trials:,} trials of {mean:g} s (sigma {sigma:g}): {share:.2%} of the ideal, "
        f"busy {busy:.2%} with the last round; {tells / spent:,.0f} tells per second"
    )
    return share


def real(folder: Path, slots: int, trials: int, mean: float, sigma: float) -> float:
    """Measure the share of the ideal of real worker processes that sleep; the first trials, which start them, aside."""
    space = build_space("nasnet")
    toy = ToyEvaluator(seconds=mean, sigma=sigma)
    toy.bind(space)
    executor = SlotsExecutor(toy, slots, folder / "alive.lock")
    try:
        with History.create(folder / "warm.db") as history:
            PopulationManager(space, STRATEGIES.build("random", {}), toy, executor, history, trials=slots).run()
        with History.create(folder / "history.db") as history:
            manager = PopulationManager(space, STRATEGIES.build("random", {}), toy, executor, history, trials=trials)
            began = time.perf_counter()
            manager.run()
            spent = time.perf_counter() - began
            durations = [row["seconds"] for row in history._rows("SELECT seconds FROM trial ORDER BY asked")]
    finally:
        executor.close()
    return ideal_seconds(durations, slots) / spent


def overhead_milliseconds(folder: Path, trials: int = 300) -> float:
    """Measure what a job costs in a slot that has nothing to do: submitted, begun, ended, handed back."""
    space, toy = build_space("nasnet"), ToyEvaluator()
    toy.bind(space)
    executor = SlotsExecutor(toy, 1, folder / "alive.lock", trial_timeout=60.0)
    jobs = [Job(id, space.sample(np.random.default_rng(id)), seed=0) for id in range(1, trials + 1)]
    try:
        for job in jobs[:20]:
            executor.submit(job)
            executor.next(None)
        began = time.perf_counter()
        for job in jobs[20:]:
            executor.submit(job)
            executor.next(None)
        spent = time.perf_counter() - began
    finally:
        executor.close()
    return 1000 * spent / (trials - 20)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--workers", type=int, help="simulated workers")
    parser.add_argument("--slots", type=int, help="real worker processes")
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="mean duration of a training")
    parser.add_argument("--sigma", type=float, default=0.5, help="of its logarithm")
    parser.add_argument("--not-durable", action="store_true", help="commits need not be on the disk")
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        if given.workers:
            simulate(folder, given.workers, given.trials, given.seconds, given.sigma, not given.not_durable)
        if given.slots:
            share = real(folder, given.slots, given.trials, given.seconds, given.sigma)
            print(f"{given.slots} slots, {given.trials} trials of {given.seconds:g} s: {share:.2%} of the ideal")
            print(f"overhead of a slot: {overhead_milliseconds(folder):.2f} ms a trial")
        print(f"a commit on this disk: {commit_milliseconds(folder):.3f} ms")


if __name__ == "__main__":
    main()
