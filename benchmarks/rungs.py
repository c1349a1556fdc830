"""What pausing saves and what it costs: the race of ``--fidelity epochs``, replayed on complete learning curves.

Takes finished runs whose trainings were all complete: run folders or patterns of them; or tables of trainings as
:mod:`benchmarks.fidelity` writes them, where each seed of a setting is a run (``--setting``). From each, ``--trials``
candidates are drawn in ``--orders`` random orders, and race as with one worker, whatever a strategy would have proposed
after other fitnesses. A line per ladder: ``epochs %`` is the share of the epochs of complete trainings that was
trained, ``best`` how often the best of all candidates was trained to the end, ``regret`` how far the best that was is
behind it, in points of per cent, ``states`` the most states that were on the disk at once, and ``wait`` the mean number
of trials that were asked between a trial and what the strategy was told of it. Mean, and standard deviation over runs
and orders.

    python -m benchmarks.rungs 'runs/full-*' --trials 200 --orders 5
    python -m benchmarks.rungs benchmarks/tables/nasnet-cifar10.csv --setting epochs=8
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.stopping import complete, folders, spread
from benchmarks.trained_table import read_curves
from evo_nas.errors import EvoNasError
from evo_nas.evaluators.rungs import Ladder, Race
from evo_nas.evaluators.stopping import Curve


@dataclass(frozen=True)
class Climb:
    """The result of one race: epochs of each candidate, the most states at once, and how long each result took.

    ``waits`` are trials that were asked between a candidate and its tell.
    """

    epochs: tuple[int, ...]
    states: int
    waits: tuple[int, ...]


def climb(curves: Sequence[Curve], ladder: Ladder, patience: int) -> Climb:
    """Let candidates race in this order, with one worker."""
    race = Race(ladder, patience)
    epochs, told = [0] * len(curves), [0] * len(curves)
    asked = states = 0

    def train(trial: int) -> None:
        nonlocal states
        epochs[trial] = ladder.find_next(epochs[trial])
        told[trial] = asked
        if epochs[trial] < ladder.epochs:
            race.arrive(trial, epochs[trial], curves[trial][epochs[trial] - 1])
        states = max(states, len(race.paused))

    while True:
        if (loser := race.find_loser()) is not None:
            told[loser] = asked
            race.release(loser)
        elif (best := race.find_promotable()) is not None:
            race.release(best)
            train(best)
        elif asked < len(curves):
            asked += 1
            train(asked - 1)
        elif (best := race.find_finalist()) is not None:
            race.release(best)
            train(best)
        else:
            for trial in race.paused:
                told[trial] = asked
            waits = tuple(end - trial - 1 for trial, end in enumerate(told))
            return Climb(tuple(epochs), states, waits)


def row(ladder: Ladder, patience: int, orders: Sequence[Sequence[Curve]]) -> str:
    """Write one line of the table: a ladder over all orders."""
    shares, regrets, states, waits, found = [], [], [], [], 0
    for curves in orders:
        result = climb(curves, ladder, patience)
        ends = [curve[-1] for curve in curves]
        reached = max(end for end, epochs in zip(ends, result.epochs, strict=True) if epochs == ladder.epochs)
        found += reached == max(ends)
        shares.append(100 * sum(result.epochs) / (ladder.epochs * len(curves)))
        regrets.append(100 * (max(ends) - reached))
        states.append(float(result.states))
        waits.append(float(np.mean(result.waits)))
    rungs = ", ".join(map(str, ladder.rungs))
    cells = [f"by {ladder.eta} at epoch {rungs}", str(patience), spread(shares, 1), f"{found}/{len(orders)}"]
    cells += [spread(regrets, 2), spread(states, 0), spread(waits, 1)]
    return f"| {' | '.join(cells)} |"


def table(orders: Sequence[Sequence[Curve]], arguments: argparse.Namespace) -> Iterator[str]:
    """Write the table: a line per ladder."""
    yield "| rungs | patience | epochs % | best | regret | states | wait |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    length = len(orders[0][0])
    for first, eta, patience in itertools.product(arguments.first, arguments.eta, arguments.patience):
        if first < length and patience >= eta - 1:
            yield row(Ladder(epochs=length, first=first, eta=eta), patience, orders)
    yield f"n = {len(orders)} races of {len(orders[0])} trainings of {length} epochs"


def find_curves(path: Path, setting: str) -> list[list[Curve]]:
    """Return the curves of a run folder, or of each seed of a setting in a table of trainings.

    Raises:
        EvoNasError: as :func:`benchmarks.stopping.complete` and :func:`benchmarks.trained_table.read_curves` do.
    """
    if path.suffix == ".csv":
        return list(read_curves(path, setting).values())
    return [[one.curve for one in complete(path) if one.curve]]


def draw_orders(runs: Sequence[Sequence[Curve]], trials: int, orders: int) -> list[list[Curve]]:
    """Draw so many candidates of each run in random orders.

    Raises:
        EvoNasError: if a run has fewer, or the runs differ in their epochs.
    """
    if (fewest := min(map(len, runs))) < trials:
        raise EvoNasError(f"a run has only {fewest} trainings: race fewer with --trials {fewest}")
    if len(lengths := {len(curve) for run in runs for curve in run}) > 1:
        raise EvoNasError(f"the runs have trainings of {sorted(lengths)} epochs: replay those of one length")
    rngs = [np.random.default_rng([number, order]) for number in range(len(runs)) for order in range(orders)]
    drawn = zip(rngs, (run for run in runs for _ in range(orders)), strict=True)
    return [[run[index] for index in rng.permutation(len(run))[:trials]] for rng, run in drawn]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folder, table of trainings, or a pattern of them")
    parser.add_argument("--setting", default="epochs=8", help="whose trainings of a table (default: epochs=8)")
    parser.add_argument("--trials", type=int, default=200, help="candidates of a race")
    parser.add_argument("--orders", type=int, default=5, help="orders that are drawn of each run")
    parser.add_argument("--eta", type=int, nargs="+", default=[2, 3, 4], help="reduction factors")
    parser.add_argument("--first", type=int, nargs="+", default=[1, 2], help="first rungs")
    parser.add_argument("--patience", type=int, nargs="+", default=[3, 9, 27], help="trials that one waits for")
    arguments = parser.parse_args(argv)
    try:
        runs = [run for path in folders(arguments.runs) for run in find_curves(path, arguments.setting)]
        for line in table(draw_orders(runs, arguments.trials, arguments.orders), arguments):
            print(line, flush=True)
    except (EvoNasError, ValueError) as error:
        print(f"rungs: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
