"""What several workers cost in regret at equal trials; run it as `python -m benchmarks.workers`.

Prints a line per table and number of workers: mean regret after some trials, in percentage points, with its standard
error over seeds. The workers are simulated: each is busy for as long as the published training took, so that trials end
out of order and a strategy is asked while others are pending, as by `--workers N`. With noise a trial draws one of the
seeds of its network; regret is by the mean of the network that looked best, and `luckiest` by the draw itself. Needs
the extra `benchmarks`.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evo_nas.evaluators.base import Job
from evo_nas.evaluators.tabular.evaluator import TabularEvaluator
from evo_nas.evaluators.tabular.published import BENCHMARKS
from genotypes.catalogue import build_space
from genotypes.individual import Individual, Outcome, Proposal
from genotypes.population import Population
from strategies.catalogue import STRATEGIES

BUDGETS = (25, 50, 100)


def search(
    name: str, evaluator: TabularEvaluator, workers: int, trials: int, seed: int
) -> tuple[list[float], list[float]]:
    """Return after each trial the result that looked best, and the mean of its network over its seeds.

    A network that was told before costs no trial, and one that is being trained is waited for, as in a run.
    """
    strategy = STRATEGIES.build(name, {}).suited(evaluator.space)
    population = Population(strategy.window)
    strategy.start(evaluator.space, np.random.default_rng([seed]))
    running: list[tuple[float, int, Proposal]] = []  # (when it ends, id, what)
    known: dict[str, float] = {}
    seen: list[float] = []
    means: list[float] = []
    clock, id = 0.0, 0
    while len(seen) < trials:
        while len(running) < workers:
            pending = [proposal for _, _, proposal in sorted(running, key=lambda one: one[1])]
            proposal = strategy.ask(population, pending, np.random.default_rng([seed, id + 1, 1]))
            if proposal is None:
                break
            id += 1
            is_known = evaluator.space.key(proposal.genotype) in known
            lasts = 0.0 if is_known else evaluator.evaluate(Job(id, proposal.genotype, seed)).seconds or 0.0
            heapq.heappush(running, (clock + lasts, id, proposal))
        clock, ended, proposal = heapq.heappop(running)
        key, found = evaluator.space.key(proposal.genotype), evaluator.evaluate(Job(ended, proposal.genotype, seed))
        fitness = known.get(key, found.fitness)
        outcome = Outcome.REUSED if key in known else Outcome.OK
        individual = Individual(
            ended, proposal.genotype, outcome, fitness, proposal.parent, proposal.memo, found.metrics
        )
        population.add(individual)
        strategy.tell(individual, np.random.default_rng([seed, ended, 2]))
        if key not in known:
            assert fitness is not None
            known[key] = fitness
            mean = found.test_fitness if found.test_fitness is not None else fitness
            is_best = not seen or fitness > seen[-1]
            seen.append(fitness if is_best else seen[-1])
            means.append(mean if is_best else means[-1])
    return seen, means


def measure(name: str, table: str, noise: str, workers: int, seeds: range, trials: int) -> list[str]:
    """Return the entries of a line: regret at each budget by the mean, and with noise by the luckiest draw."""
    space = build_space(BENCHMARKS[table].family.space)
    evaluator, exact = TabularEvaluator(benchmark=table, noise=noise), TabularEvaluator(benchmark=table)
    for one in (evaluator, exact):
        one.bind(space)
        one.prepare(Path())
    optimum = exact.optimum
    assert optimum is not None
    found = [search(name, evaluator, workers, trials, seed) for seed in seeds]
    budgets = [budget for budget in BUDGETS if budget <= trials]
    entries = [spell([100 * (optimum - means[budget - 1]) for _, means in found]) for budget in budgets]
    if noise == "seeds":
        entries.append("luckiest " + spell([100 * (optimum - seen[-1]) for seen, _ in found]))
    return entries


def spell(values: Sequence[float]) -> str:
    """Write a mean with its standard error."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.3f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure what several workers cost in regret at equal trials.")
    parser.add_argument("--strategy", default="guided")
    parser.add_argument("--benchmarks", nargs="+", default=["nasbench201/cifar10", "fcnet/protein_structure"])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--noise", choices=["none", "seeds"], default="none")
    parser.add_argument("--seeds", type=int, default=20, help="from 0 on, at least 2 (default: 20)")
    parser.add_argument("--trials", type=int, default=100)
    given = parser.parse_args()
    print(f"{given.strategy}, noise {given.noise}, {given.seeds} seeds; after {BUDGETS} trials")
    for table in given.benchmarks:
        for workers in given.workers:
            entries = measure(given.strategy, table, given.noise, workers, range(given.seeds), given.trials)
            print(f"{table:26} {workers:3} workers  {'  '.join(entries)}", flush=True)


if __name__ == "__main__":
    main()
