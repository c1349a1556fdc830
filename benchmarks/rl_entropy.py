"""How the entropy of the RL policy falls on the toy landscape; run it as `python -m benchmarks.rl_entropy`.

Prints the policy's entropy in nats per decision, and the mean fitness without its noise of the last batch, after some
numbers of trials. On the NASNet space, 5,000 trials take three minutes on one core.
"""

from __future__ import annotations

import argparse

import numpy as np

from evo_nas.evaluators.base import Job
from evo_nas.evaluators.toy import ToyEvaluator
from genotypes.catalogue import build_space
from genotypes.individual import Individual, Outcome
from genotypes.population import Population
from strategies.reinforcement import PPOController


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(description="Follow the entropy of the RL policy.")
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--space", default="nasnet")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    space, strategy = build_space(given.space), PPOController()
    toy = ToyEvaluator()
    toy.bind(space)
    strategy.start(space, np.random.default_rng([given.seed]))
    first = None
    truths = []
    for id in range(1, given.trials + 1):
        proposal = strategy.ask(Population(), (), np.random.default_rng([given.seed, id, 1]))
        fitness = toy.evaluate(Job(id, proposal.genotype, given.seed)).fitness
        truths.append(toy.truth(proposal.genotype))
        individual = Individual(id, proposal.genotype, Outcome.OK, fitness, None, proposal.memo)
        notes = strategy.tell(individual, np.random.default_rng([given.seed, id, 2]))
        if notes and (first is None or id % (25 * strategy.batch) == 0):
            first = first or notes["entropy"]
            entropy, mean = notes["entropy"], np.mean(truths[-strategy.batch :])
            print(f"{id:6,} entropy {entropy:.4f} ({entropy / first:.3f})  fitness {mean:.3f}", flush=True)


if __name__ == "__main__":
    main()
