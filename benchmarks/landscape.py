"""A seeded landscape over cells with interactions that no sum of parts explains: for benchmarks of surrogates.

Any command takes it as ``--evaluator benchmarks.landscape:Interactions`` from the root of the project.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from evo_nas.evaluators.base import Evaluator, Job
from genotypes.cell import INPUTS, Cell, CellPair
from genotypes.genotype import Genotype
from genotypes.individual import Evaluation, Outcome
from genotypes.operations import OPERATIONS

PAIR, READ, CHAIN, OWN = 1.0, 0.7, 0.7, 0.7
"""Standard deviations of the interactions, where that of a single operation's effect is 1."""


@dataclass
class Interactions(Evaluator):
    """Score the graph of a cell: equal for isomorphic cells, a little higher for larger ones.

    All effects are drawn once from a normal distribution, by the seed ``landscape``: of an operation, of two operations
    that meet in a block, of an operation and what it reads (either input, or a block), of an operation and those
    of the block that it reads. Their sum is divided by its standard deviation, chains left out, so that the spread
    stays as cells grow. What remains is the cell's own, drawn by its key, and no surrogate can know it. The logit of
    the fitness is 1.6 plus 0.1 a block plus 0.3 standard deviations: 0.84 on average for one block, 0.89 for five. The
    test fitness is the fitness without ``noise``, which is normal with that standard deviation.
    """

    name: ClassVar[str] = "interactions"

    landscape: int = 0
    noise: float = 0.003

    @cached_property
    def _effects(self) -> tuple[np.ndarray, ...]:
        """Effects of an operation, of a pair, of an operation and its source, of an operation and one before it."""
        rng, n = np.random.default_rng([self.landscape]), len(OPERATIONS)
        single, pair = rng.standard_normal(n), rng.standard_normal((n, n))
        read, chain = rng.standard_normal((n, INPUTS + 1)), rng.standard_normal((n, n))
        return single, PAIR * (pair + pair.T) / math.sqrt(2), READ * read, CHAIN * chain

    def truth(self, genotype: Genotype) -> float:
        """Return the fitness without noise."""
        decoded = self.space.decode(genotype)
        assert isinstance(decoded, CellPair), "the landscape is one of cells"
        cell = decoded.normal
        own = np.random.default_rng([self.landscape, zlib.crc32(cell.canonical().encode())]).standard_normal()
        # By the standard deviation of the sum, chains left out: a block has two operations, a pair and two reads.
        spread = math.sqrt(len(cell.blocks) * (2 + PAIR**2 + 2 * READ**2))
        logit = 1.6 + 0.1 * len(cell.blocks) + 0.3 * (self._sum(cell) / spread + OWN * own)
        return 1 / (1 + math.exp(-logit))

    def _sum(self, cell: Cell) -> float:
        single, pair, read, chain = self._effects
        total = 0.0
        for block in cell.blocks:
            ops = [_INDEX[edge.op] for edge in block.edges]
            total += float(pair[ops[0], ops[1]])
            for edge, op in zip(block.edges, ops, strict=True):
                total += float(single[op] + read[op, min(edge.source, INPUTS)])
                if edge.source >= INPUTS:
                    before = cell.blocks[edge.source - INPUTS]
                    total += float(sum(chain[op, _INDEX[other.op]] for other in before.edges)) / math.sqrt(2)
        return total

    def evaluate(self, job: Job) -> Evaluation:
        """Look the cell up in the landscape."""
        truth = self.truth(job.genotype)
        fitness = min(max(truth + self.noise * job.rng().standard_normal(), 0.0), 1.0)
        return Evaluation(Outcome.OK, fitness=float(fitness), test_fitness=truth)


_INDEX = {op: index for index, op in enumerate(OPERATIONS)}
