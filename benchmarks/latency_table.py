"""Whether a table of the latencies of pieces predicts those of whole networks.

    python -m benchmarks.latency_table --space nasnet darts nasbench201 --count 100

The table of a space is measured as a search with ``deploy_table`` does it, at N = 6 and F = 32 for one image of 32x32
with one thread. Then ``--count`` genotypes are drawn by another seed; their latencies are predicted, and measured as in
``benchmarks.latency_fronts``. MAPE is the mean of the absolute differences, as a share of what is measured; in brackets
that with all predictions brought to the measured ones by one factor, as a machine that is busier than before would.
The halves are the odd and the even rounds: how far measured latencies agree with themselves. All seconds are those of
the processor.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch
from scipy.stats import kendalltau

from benchmarks.latency_fronts import SIZE, measure_latencies
from evo_nas.evaluators.deployment import Deployment
from evo_nas.evaluators.proxy.deploying import Deployed
from evo_nas.phenotypes.kinds import build_network, count_cost
from genotypes.catalogue import build_space


def print_space(name: str, count: int, rounds: int, seed: int) -> None:
    """Print how predictions agree with measurements in a space."""
    space = build_space(name)
    deployed = Deployed(space, Deployment(3, 32), "cifar", SIZE)
    start = time.process_time()
    table = deployed.measure_table(lambda line: print(f"  {line}", file=sys.stderr))
    seconds = time.process_time() - start
    rng = np.random.default_rng(seed)
    genotypes = [space.sample(rng) for _ in range(count)]
    each, predicted, tabled = [], np.empty(count), np.empty(count)
    for place, genotype in enumerate(genotypes):
        start = time.process_time()
        predicted[place], tabled[place] = deployed.predict(genotype, table).values()
        each.append(time.process_time() - start)
    networks = [
        build_network(space, genotype, **SIZE, channels=3, image_size=32, drop_path_keep=1.0) for genotype in genotypes
    ]
    times = measure_latencies(networks, rounds)
    mult_adds = np.array([count_cost(network, channels=3, image_size=32)[1] for network in networks])
    latency, halves = np.median(times, axis=0), [np.median(times[first::2], axis=0) for first in (0, 1)]
    ratio = 1e3 * predicted / latency
    errors = [100 * np.abs(each / latency - 1).mean() for each in (1e3 * predicted, 1e3 * predicted / np.median(ratio))]
    noise = 100 * np.abs(halves[0] / halves[1] - 1).mean()
    pieces = sum(map(len, table.rows.values()))
    print(
        f"{name:<12}{pieces:>7}{seconds:>9.0f}{np.median(each):>12.2f}{100 * (tabled > 0.999).mean():>10.0f}%"
        f"{f'{latency.min():.1f} to {latency.max():.1f}':>15}{f'{errors[0]:.1f} ({errors[1]:.1f})':>13}"
        f"{kendalltau(predicted, latency)[0]:>7.3f}{kendalltau(mult_adds, latency)[0]:>11.3f}"
        f"{f'{kendalltau(*halves)[0]:.3f}, {noise:.1f} %':>16}",
        flush=True,
    )


def main() -> int:
    """Print a row per space."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", nargs="+", default=["nasnet"], help="spaces of cells")
    parser.add_argument("--count", type=int, default=100, help="random genotypes of each")
    parser.add_argument("--rounds", type=int, default=16, help="inferences of each network")
    parser.add_argument("--seed", type=int, default=1001, help="of the genotypes; the table's networks are of seed 0")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{'space':<12}{'pieces':>7}{'table, s':>9}{'predict, s':>12}{'in table':>11}{'latency, ms':>15}{'MAPE, %':>13}"
        f"{'tau':>7}{'mult-adds':>11}{'halves':>16}"
    )
    for name in arguments.space:
        print_space(name, arguments.count, arguments.rounds, arguments.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
