"""Warm starts on NAS-Bench-201: trials saved by learning from a search on CIFAR-10, and what a false donor costs.

    python -m benchmarks.warm_start --strategies guided evolution --seeds 50
    python -m benchmarks.warm_start --strategies rl --seeds 20

For each seed the donor is a search of `guided` on CIFAR-10, 100 trials with another seed. It is used as it is, with its
fitnesses shuffled among its networks, and with them reversed (1 minus each). A table per strategy: the mean regret in
percentage points with its standard error after some numbers of trials, and after how many trials the mean regret is
for good no larger than that of a cold start after 50. The tables are those of the extra `benchmarks`; every query
counts. The seeds from 0 on were looked at while settings were chosen; numbers are reported from 100 on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from analysis.curves import Floats
from evo_nas.errors import EvoNasError
from evo_nas.evaluators.base import Job
from evo_nas.evaluators.tabular.evaluator import TabularEvaluator
from genotypes.donor import Donor
from genotypes.individual import Individual
from genotypes.population import Population
from genotypes.spaces.nasbench201 import NASBench201Space
from strategies.base import SearchStrategy
from strategies.catalogue import STRATEGIES

SPACE: Final = NASBench201Space()
DONOR: Final = "nasbench201/cifar10"
RECIPIENTS: Final = ("nasbench201/cifar100", "nasbench201/imagenet16")
COLD: Final = 50
"""Trials of a cold start that a warm one is held against."""
LOOKS: Final = (5, 10, 20, 50, 100)
KINDS: Final = ("none", "true", "shuffled", "reversed")


def load(benchmark: str) -> TabularEvaluator:
    """Return the table of a benchmark, ready to be looked up."""
    evaluator = TabularEvaluator(benchmark=benchmark)
    evaluator.bind(SPACE)
    with TemporaryDirectory() as folder:
        evaluator.prepare(Path(folder))
    return evaluator


def search(strategy: SearchStrategy, evaluator: TabularEvaluator, trials: int, seed: int) -> list[Individual]:
    """Return what a search with this seed finds, trial by trial."""
    population = Population(strategy.window)
    strategy.start(SPACE, np.random.default_rng([seed]))
    found: list[Individual] = []
    for id in range(1, trials + 1):
        proposal = strategy.ask(population, (), np.random.default_rng([seed, id, 1]))
        assert proposal is not None, "the space is larger than that"
        told = Individual.of(id, proposal, evaluator.evaluate(Job(id, proposal.genotype, seed)))
        population.add(told)
        strategy.tell(told, np.random.default_rng([seed, id, 2]))
        found.append(told)
    return found


def make_donor(told: Sequence[Individual], kind: str, seed: int) -> Donor:
    """Return what a search found as a donor of a kind."""
    networks = {one.genotype: one.score for one in told}
    fitnesses = np.array(list(networks.values()))
    if kind == "shuffled":
        fitnesses = np.random.default_rng([seed, 9]).permutation(fitnesses)
    elif kind == "reversed":
        fitnesses = 1.0 - fitnesses
    return Donor(kind, tuple(networks), tuple(fitnesses.tolist()))


def trace_regrets(
    make: Callable[[], SearchStrategy],
    evaluator: TabularEvaluator,
    donors: Sequence[Sequence[Individual]],
    kind: str,
    seeds: range,
    trials: int,
) -> Floats:
    """Return the regret after each trial of a search per seed, of shape (seeds, trials), in percentage points."""
    assert evaluator.optimum is not None, "it is prepared"
    curves = []
    for told, seed in zip(donors, seeds, strict=True):
        strategy = make()
        if kind != "none":
            strategy.use_knowledge(SPACE, [make_donor(told, kind, seed)])
        found = [one.score for one in search(strategy, evaluator, trials, seed)]
        curves.append(100 * (evaluator.optimum - np.maximum.accumulate(found)))
    return np.array(curves)


def count_trials(mean: Floats, goal: float) -> str:
    """Return after how many trials a mean curve, which never rises, is as low as the goal; `-` if it never is."""
    reached = np.flatnonzero(mean <= goal + 1e-9)
    return str(reached[0] + 1) if len(reached) else "-"


def report(given: argparse.Namespace) -> Iterator[str]:
    """Search, and yield the lines of the table."""
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    source, tables = load(DONOR), [load(name) for name in RECIPIENTS]
    donors = [
        search(STRATEGIES.build("guided", {}).suited(SPACE), source, given.donor_trials, 10_000 + seed)
        for seed in seeds
    ]
    looks = [trials for trials in LOOKS if trials <= given.trials]
    yield f"| strategy | table | donor | {' | '.join(map(str, looks))} | as cold after {COLD} |"
    yield "|" + " --- |" * (4 + len(looks))
    for name in given.strategies:
        for benchmark, evaluator in zip(RECIPIENTS, tables, strict=True):
            goal = 0.0
            for kind in KINDS:
                curves = trace_regrets(
                    lambda name=name: STRATEGIES.build(name, {}).suited(SPACE),  # type: ignore[misc]
                    *(evaluator, donors, kind, seeds, given.trials),
                )
                mean = curves.mean(0)
                goal = float(mean[COLD - 1]) if kind == "none" else goal
                cells = [_spell(curves[:, trials - 1]) for trials in looks]
                needed = count_trials(mean, goal)
                yield f"| `{name}` | {benchmark.partition('/')[2]} | {kind} | {' | '.join(cells)} | {needed} |"


def _spell(values: Floats) -> str:
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{np.mean(values):.2f} ± {error:.2f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and print the table; give the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.warm_start",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--strategies", nargs="+", default=["guided", "evolution"], metavar="NAME")
    parser.add_argument("--seeds", type=int, default=50, metavar="N", help="(default: 50)")
    parser.add_argument("--first-seed", type=int, default=100, metavar="K", help="(default: 100)")
    parser.add_argument("--trials", type=int, default=60, metavar="T", help="of each search (default: 60)")
    parser.add_argument("--donor-trials", type=int, default=100, metavar="T", help="(default: 100)")
    given = parser.parse_args(argv)
    if given.trials < COLD:
        parser.error(f"--trials must be at least {COLD}, with which warm starts are compared")
    try:
        for line in report(given):
            print(line, flush=True)
    except (EvoNasError, ValueError) as error:
        print(f"warm_start: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
