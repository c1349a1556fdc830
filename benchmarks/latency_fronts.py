"""Whether mult-adds stand for latency: random cells by both, and the fronts of accuracy against each.

    python -m benchmarks.latency_fronts --count 20

Random genotypes of ``nasnet`` are trained for two epochs on 600 digits, and built at N = 6 and F = 32 for one image of
32x32. Their graphs are run by ONNX Runtime with one thread, in turns, ``--rounds`` times. Beside each the first of them
is run again, and the processor's time of the one is taken as a multiple of that of the other: who else is at work slows
both. The latency is the median of the multiples, in milliseconds of the first network where it was least disturbed. The
medians of the odd and of the even rounds say how far it is to be trusted: what ranks of latencies agree with themselves
bounds what anything can agree with them. ``--table`` adds the front by latencies that a table of pieces predicts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import nn

from evo_nas.evaluators.base import Job, Placement
from evo_nas.evaluators.deployment import Deployment, open_session
from evo_nas.evaluators.proxy.deploying import Deployed
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.phenotypes.cost import cost_of
from evo_nas.phenotypes.network import CellNetwork
from genotypes.catalogue import build_space
from genotypes.genotype import Genotype

SIZE = {"cells_per_stack": 6, "filters": 32, "classes": 10}


def measure_accuracies(genotypes: Sequence[Genotype]) -> np.ndarray:
    """Return the validation accuracy of each genotype after a short training on the digits."""
    evaluator = ProxyEvaluator(dataset="digits", epochs=2, train_images=600)
    evaluator.bind(build_space("nasnet"), Placement(device="cpu"))
    with tempfile.TemporaryDirectory() as folder:
        evaluator.prepare(Path(folder))
        return np.array([evaluator.evaluate(Job(id, each, 0)).fitness for id, each in enumerate(genotypes, start=1)])


def measure_latencies(networks: Sequence[nn.Module], rounds: int) -> np.ndarray:
    """Return the milliseconds of each inference, of shape (rounds, networks), as multiples of those of the first one.

    A multiple is turned into milliseconds by the tenth part of the first network's times that is the fastest.
    """
    sessions = [open_session(network, Deployment(3, 32)) for network in networks]
    times, beside = np.empty((2, rounds, len(networks)))
    for row in range(rounds):
        for place, infer in enumerate(sessions):
            infer()  # what ran before has taken the caches
            start = time.process_time()
            infer()
            middle = time.process_time()
            sessions[0]()
            times[row, place], beside[row, place] = middle - start, time.process_time() - middle
    return 1e3 * np.quantile(beside, 0.1) * times / beside


def find_front(fitness: np.ndarray, cost: np.ndarray) -> list[int]:
    """Return the places of those that no other one dominates, the most accurate first."""
    order = sorted(range(len(cost)), key=lambda place: (-fitness[place], cost[place]))
    front: list[int] = []
    for place in order:
        if not front or cost[place] < cost[front[-1]]:
            front.append(place)
    return front


def main() -> int:
    """Print how the two costs agree, and the fronts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, help="random cells")
    parser.add_argument("--rounds", type=int, default=20, help="inferences of each network")
    parser.add_argument("--seed", type=int, default=0, help="of the cells")
    parser.add_argument("--table", action="store_true", help="measure a table of pieces, and add the front by its sums")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    space, rng = build_space("nasnet"), np.random.default_rng(arguments.seed)
    genotypes = [space.sample(rng) for _ in range(arguments.count)]
    networks = [CellNetwork(space.decode(each), **SIZE) for each in genotypes]
    times = measure_latencies(networks, arguments.rounds)
    latency, halves = np.median(times, axis=0), (np.median(times[::2], axis=0), np.median(times[1::2], axis=0))
    accuracy = measure_accuracies(genotypes)
    mult_adds = np.array([cost_of(space.decode(each), image=32, **SIZE).mult_adds for each in genotypes])
    agreement, noise = kendalltau(latency, mult_adds)[0], 100 * np.abs(halves[0] / halves[1] - 1).mean()
    print(f"tau of latency and mult-adds {agreement:.2f}", end=", ")
    print(f"of two halves of the rounds {kendalltau(*halves)[0]:.2f}, whose medians differ by {noise:.1f} %")
    rate = latency / mult_adds * 1e9
    print(f"ms per 1e9 mult-adds: {rate.min():.1f} to {rate.max():.1f}, median {np.median(rate):.1f}")
    costs = {"latency": latency, "mult-adds": mult_adds}
    if arguments.table:
        deployed = Deployed(space, Deployment(3, 32), "cifar", SIZE)
        table = deployed.measure_table(print)
        costs["prediction"] = np.array([1e3 * deployed.predict(each, table)["ort_latency"] for each in genotypes])
        print(f"tau of latency and prediction {kendalltau(latency, costs['prediction'])[0]:.2f}")
    fronts = {name: find_front(accuracy, cost) for name, cost in costs.items()}
    print(f"\n{'cell':>4}{'accuracy':>10}{'latency, ms':>13}{'mult-adds':>14}  front by")
    for place in sorted(set().union(*fronts.values()), key=lambda place: -accuracy[place]):
        by = [name for name, front in fronts.items() if place in front]
        row = f"{place:>4}{100 * accuracy[place]:>9.1f}%{latency[place]:>13.1f}{mult_adds[place]:>14,}"
        print(f"{row}  {', '.join(by)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
