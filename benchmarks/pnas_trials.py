"""Trials until a fitness is reached: progressive search beside evolution and random search, on the PNAS space.

On the toy landscape, where a smaller cell scores 0 for what it has not decided, and on landscapes with interactions
(benchmarks/landscape.py), one per seed. Thresholds are so many standard deviations above the mean of random whole
cells; what counts is the fitness without its noise. A run that has not reached one within the budget is left out of the
mean, and the table says how many did.

    python -m benchmarks.pnas_trials --seeds 20
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from benchmarks.landscape import Interactions
from evo_nas.evaluators.base import Evaluator, Job
from evo_nas.evaluators.toy import ToyEvaluator
from genotypes.individual import Individual, Outcome
from genotypes.population import Population
from genotypes.spaces.pnas import PNASSpace
from strategies.base import SearchStrategy
from strategies.evolution import RegularizedEvolution
from strategies.progressive import ProgressiveSearch
from strategies.random_search import RandomSearch

STRATEGIES: dict[str, Callable[[], SearchStrategy]] = {
    "random": RandomSearch,
    "evolution P=100 S=25": lambda: RegularizedEvolution(population=100, sample=25),
    "evolution P=20 S=8": lambda: RegularizedEvolution(population=20, sample=8),
    "pnas K=256": ProgressiveSearch,
    "pnas K=64": lambda: ProgressiveSearch(beam=64),
    "pnas K=16": lambda: ProgressiveSearch(beam=16),
}
LANDSCAPES: dict[str, Callable[[int], ToyEvaluator | Interactions]] = {
    "toy": lambda seed: ToyEvaluator(),
    "interactions": lambda seed: Interactions(landscape=seed),
}
ABOVE = {"toy": (2, 3, 4, 5), "interactions": (1.5, 2, 2.5, 3)}
"""Thresholds, in standard deviations above the mean of random cells."""


def search(strategy: SearchStrategy, evaluator: Evaluator, seed: int, trials: int) -> np.ndarray:
    """Return the fitness without noise of every trial, in order; every ask counts, repeats too."""
    space = PNASSpace()
    strategy = strategy.suited(space)
    population, truths = Population(strategy.window), []
    strategy.start(space, np.random.default_rng([seed]))
    for id in range(1, trials + 1):
        proposal = strategy.ask(population, (), np.random.default_rng([seed, id, 1]))
        if proposal is None:
            break
        told = evaluator.evaluate(Job(id, proposal.genotype, seed))
        truths.append(told.test_fitness)
        individual = Individual(id, proposal.genotype, Outcome.OK, told.fitness, proposal.parent, proposal.memo)
        population.add(individual)
        strategy.tell(individual, np.random.default_rng([seed, id, 2]))
    return np.array(truths)


def main() -> None:
    """Print a table for each landscape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=1160, help="budget of a run (default: what pnas takes)")
    arguments = parser.parse_args()
    space = PNASSpace()
    for name, landscape in LANDSCAPES.items():
        reached: dict[str, list[np.ndarray]] = {strategy: [] for strategy in STRATEGIES}
        best: dict[str, list[float]] = {strategy: [] for strategy in STRATEGIES}
        seconds = dict.fromkeys(STRATEGIES, 0.0)
        thresholds = []
        for seed in range(arguments.seeds):
            evaluator = landscape(seed)
            evaluator.bind(space)
            rng = np.random.default_rng(seed)
            random = np.array([evaluator.truth(space.sample(rng)) for _ in range(2000)])
            thresholds.append(random.mean() + np.multiply(ABOVE[name], random.std()))
            for strategy, make in STRATEGIES.items():
                start = time.process_time()
                truths = search(make(), evaluator, seed, arguments.trials)
                seconds[strategy] += (time.process_time() - start) / arguments.seeds
                found = [np.flatnonzero(truths >= threshold)[:1] + 1 for threshold in thresholds[-1]]
                reached[strategy].append(np.array([one[0] if len(one) else np.nan for one in found]))
                best[strategy].append((truths.max() - random.mean()) / random.std())
        means = np.mean(thresholds, 0)
        print(f"\n{name}, {arguments.seeds} seeds, {arguments.trials} trials at most: trials until, mean +- sd (runs)")
        heads = [f"+{n} sd ({value:.3f})" for n, value in zip(ABOVE[name], means, strict=True)]
        print(f"| strategy | {' | '.join(heads)} | best at the end, in sd | CPU s a run |")
        print(f"|{' --- |' * (len(heads) + 3)}")
        for strategy, rows in reached.items():
            cells = []
            for column in np.transpose(rows):
                done = column[~np.isnan(column)]
                cells.append(f"{done.mean():.0f} +- {done.std():.0f} ({len(done)})" if len(done) else "- (0)")
            top = np.array(best[strategy])
            words = [strategy, *cells, f"{top.mean():.2f} +- {top.std():.2f}", f"{seconds[strategy]:.1f}"]
            print(f"| {' | '.join(words)} |", flush=True)


if __name__ == "__main__":
    main()
