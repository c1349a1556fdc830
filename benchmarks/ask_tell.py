"""What ask and tell cost, without engine, history and evaluation; run it as `python -m benchmarks.ask_tell`.

Prints a line for each strategy: the mean of ask plus tell around each of some numbers of trials, in milliseconds of
processor time. The generators are made beforehand, as the manager makes them, and not counted. Fitness is that of the
toy landscape, noise included. For the long run:

    python -m benchmarks.ask_tell --trials 1000 10000 100000 --strategies random evolution local
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from evo_nas.evaluators.toy import ToyEvaluator
from evo_nas.run.asking import measure_asks, measure_milliseconds
from genotypes.catalogue import build_space
from genotypes.space import SearchSpace
from strategies.base import SearchStrategy
from strategies.catalogue import STRATEGIES

WINDOW = 500
"""The mean at n trials is that of so many trials before it, or of all n."""


def measure(
    strategy: SearchStrategy,
    space: SearchSpace,
    trials: Sequence[int],
    cost: Callable[[Callable[[], object]], float] = measure_milliseconds,
    seed: int = 0,
) -> list[float]:
    """Return the mean cost of ask plus tell up to each of these numbers of trials, which ascend.

    A search that ends by itself has no more numbers.
    """
    strategy = strategy.suited(space)
    toy = ToyEvaluator()
    toy.bind(space)
    means: list[float] = []
    spent: deque[float] = deque(maxlen=WINDOW)
    asks = measure_asks(strategy, space, toy, cost, seed)
    for id, milliseconds in enumerate(islice(asks, trials[-1]), start=1):
        spent.append(milliseconds)
        if id in trials:
            means.append(sum(spent) / len(spent))
    return means


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure what ask and tell cost.")
    parser.add_argument("--trials", type=int, nargs="+", default=[1000], help="where to look (default: 1000)")
    parser.add_argument("--space", default="nasnet")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), metavar="NAME")
    given = parser.parse_args()
    trials = sorted(given.trials)
    print(f"ms of ask + tell on {given.space}, mean of up to {WINDOW} trials before")
    print(f"{'':12}" + "".join(f"{n:>12,}" for n in trials))
    for name in given.strategies:
        try:
            means = measure(STRATEGIES.build(name, {}), build_space(given.space), trials)
        except ValueError as error:
            print(f"{name:12}  {error}")
            continue
        print(f"{name:12}" + "".join(f"{mean:12.3f}" for mean in means), flush=True)


if __name__ == "__main__":
    main()
