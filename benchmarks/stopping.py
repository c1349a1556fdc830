"""What stopping early saves and what it costs: the rules, replayed on complete learning curves.

Takes finished runs that had no stopping rule: run folders or patterns of them. Each run is told again in its order, as
to one worker, and each rule stops what it would have stopped: its thresholds come from the curves that it had left
until then. What a strategy would have proposed after other fitnesses nobody knows: the trials stay the same.

Each rule gets a line. ``saved`` is the share of epochs that it saves. ``tau`` is Kendall's tau-b between the fitness
that it leaves and the fitness of complete trainings, over all trials, with a 95 % interval (percentile bootstrap over
the trials). ``best`` says of how many runs it trained the best trial to the end, ``best 3`` how many of the best three
of each. Of several runs: mean, standard deviation over runs, and the mean of both ends of their intervals.

    python -m benchmarks.stopping 'runs/full-*'
    python -m benchmarks.stopping runs/full-0 --eta 2 3 4 --first 1 2 4 --trials 10 20
"""

from __future__ import annotations

import argparse
import glob
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from scipy.stats import kendalltau

from evo_nas.errors import EvoNasError
from evo_nas.evaluators.stopping import MedianStopping, StoppingRule, SuccessiveHalving
from evo_nas.storage.history import History
from genotypes.individual import Individual, Outcome
from genotypes.population import Population

BEST = 3


@dataclass(frozen=True)
class Replay:
    """What a rule would have made of one run: of each training its fitness, and the epochs that were trained.

    ``full`` is the fitness of complete trainings, a fraction in [0, 1] like ``left``, that with the rule; ``length``
    is the epochs of a complete training.
    """

    full: tuple[float, ...]
    left: tuple[float, ...]
    epochs: tuple[int, ...]
    length: int

    @property
    def saved(self) -> float:
        """Share of all epochs that were not trained."""
        return 1 - sum(self.epochs) / (self.length * len(self.epochs))

    @property
    def tau(self) -> float:
        """Kendall's tau-b between both; 0 where one of them orders nothing."""
        return tau(np.array(self.full), np.array(self.left))

    def interval(self, resamples: int, rng: np.random.Generator) -> tuple[float, float]:
        """Bound tau between the 2.5th and the 97.5th percentile over samples of the trials, drawn with replacement."""
        full, left = np.array(self.full), np.array(self.left)
        draws = rng.integers(len(full), size=(resamples, len(full)))
        low, high = np.percentile([tau(full[draw], left[draw]) for draw in draws], [2.5, 97.5])
        return float(low), float(high)

    def kept(self, best: int) -> int:
        """Count how many of the best complete trainings, the earlier on ties, were trained to the end."""
        order = sorted(range(len(self.full)), key=lambda index: -self.full[index])
        return sum(self.epochs[index] == self.length for index in order[:best])


def tau(full: np.ndarray, left: np.ndarray) -> float:
    """Return Kendall's tau-b; 0 where one of both orders nothing."""
    return float(np.nan_to_num(kendalltau(full, left).statistic))


def complete(path: Path) -> list[Individual]:
    """Read what was told with a fitness, in that order.

    Raises:
        EvoNasError: if the folder holds no run, or its trainings have no curve or differ in length.
    """
    with History.read(path / "history.db") as history:
        told = [individual for individual in history.read_tells() if individual.ok]
    lengths = {len(individual.curve) for individual in told if individual.outcome is Outcome.OK}
    if len(lengths) != 1 or min(lengths) < 2:
        raise EvoNasError(
            f"{path} has trainings of {sorted(lengths)} epochs; a rule is replayed on runs whose trainings all "
            "have the same number, at least 2: train without --early-stopping"
        )
    return told


def replay(told: Sequence[Individual], rule: StoppingRule) -> Replay:
    """Tell a run again, each training stopped where the rule stops it."""
    population = Population(rule.window)
    full, left, epochs = [], [], []
    for individual in told:
        curve = individual.curve
        if not curve:  # taken over from a network that was trained before: it fills the window, and is no training
            population.add(individual)
            continue
        brief = rule.brief(population)
        end = next((epoch for epoch in rule.looks if rule.stops(curve[:epoch], brief)), len(curve))
        population.add(replace(individual, curve=curve[:end], fitness=curve[end - 1]))
        full.append(curve[-1])
        left.append(curve[end - 1])
        epochs.append(end)
    return Replay(tuple(full), tuple(left), tuple(epochs), rule.epochs)


def rules(length: int, arguments: argparse.Namespace) -> Iterator[tuple[str, StoppingRule]]:
    """Yield every rule that fits trainings of this length, with its name."""
    for first, trials in itertools.product(arguments.first, arguments.trials):
        if first >= length or trials > arguments.window:
            continue
        numbers = {"epochs": length, "first": first, "trials": trials, "window": arguments.window}
        yield f"median from epoch {first}, {trials} trials", MedianStopping(**numbers)
        for eta in arguments.eta:
            rule = SuccessiveHalving(**numbers, eta=eta)
            rungs = ", ".join(map(str, rule.looks))
            yield f"halving by {eta} at epoch {rungs}, {trials} trials", rule


def row(name: str, replays: Sequence[Replay], resamples: int) -> str:
    """Write one line of the table: a rule over all runs."""
    intervals = [one.interval(resamples, np.random.default_rng(seed)) for seed, one in enumerate(replays)]
    low, high = (fmean(ends) for ends in zip(*intervals, strict=True))
    saved = spread([100 * one.saved for one in replays], 1)
    agreement = spread([one.tau for one in replays], 3)
    best = sum(one.kept(1) for one in replays)
    three = sum(one.kept(BEST) for one in replays)
    wanted = sum(min(BEST, len(one.full)) for one in replays)
    interval = f"{low:.3f} to {high:.3f}"
    return f"| {name} | {saved} | {agreement} | {interval} | {best}/{len(replays)} | {three}/{wanted} |"


def spread(values: Sequence[float], digits: int) -> str:
    """Write a mean, with the standard deviation where there are several."""
    text = f"{fmean(values):.{digits}f}"
    return f"{text} +- {stdev(values):.{digits}f}" if len(values) > 1 else text


def table(runs: Sequence[Sequence[Individual]], arguments: argparse.Namespace) -> Iterator[str]:
    """Write the table: a line a rule."""
    yield "| rule | saved % | tau | 95 % | best | best 3 |"
    yield "| --- | --- | --- | --- | --- | --- |"
    (length,) = {len(one.curve) for told in runs for one in told if one.curve}
    for name, rule in rules(length, arguments):
        yield row(name, [replay(told, rule) for told in runs], arguments.resamples)
    trials = [sum(bool(one.curve) for one in told) for told in runs]
    yield f"n = {len(runs)} runs of {min(trials)} to {max(trials)} trainings of {length} epochs"


def folders(patterns: Sequence[str]) -> list[Path]:
    """Find the runs.

    Raises:
        EvoNasError: if a pattern matches nothing.
    """
    found = []
    for pattern in patterns:
        matches = sorted(glob.glob(pattern))  # noqa: PTH207  # a pattern may be absolute
        if not matches:
            raise EvoNasError(f"there is no run {pattern}")
        found += [Path(match) for match in matches]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folder, or a pattern of them")
    parser.add_argument("--eta", type=int, nargs="+", default=[2, 3, 4], help="reduction factors of halving")
    parser.add_argument("--first", type=int, nargs="+", default=[1, 2, 4], help="first epochs to stop after")
    parser.add_argument("--trials", type=int, nargs="+", default=[10], help="warm-ups, in trials")
    parser.add_argument("--window", type=int, default=200, help="youngest individuals that are looked at")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap")
    arguments = parser.parse_args(argv)
    try:
        runs = [complete(path) for path in folders(arguments.runs)]
        lengths = sorted({len(one.curve) for told in runs for one in told if one.curve})
        if len(lengths) > 1:
            raise EvoNasError(f"the runs have trainings of {lengths} epochs: compare those of one length")
        for line in table(runs, arguments):
            print(line, flush=True)
    except (EvoNasError, ValueError) as error:
        print(f"stopping: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
