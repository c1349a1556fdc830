"""Genotypes, search spaces, cells, and evaluated individuals.

Plain data without torch or pandas. Each name below is defined in the file of its subject.

Genotypes and spaces: :mod:`genotypes.genotype`, :mod:`genotypes.space`, :mod:`genotypes.catalogue`
Cells:                :mod:`genotypes.cell`, :mod:`genotypes.operations`, :mod:`genotypes.stacking`,
                      :mod:`genotypes.zoo`
Spaces that grow:     :mod:`genotypes.spaces.growing`, :mod:`genotypes.spaces.blocks`, :mod:`genotypes.spaces.nasnet`,
                      :mod:`genotypes.spaces.amoebanet`, :mod:`genotypes.spaces.pnas`, :mod:`genotypes.spaces.darts`
Other spaces:         :mod:`genotypes.spaces.bits`, :mod:`genotypes.spaces.nasbench201`,
                      :mod:`genotypes.spaces.natsbench`
Individuals:          :mod:`genotypes.individual`, :mod:`genotypes.population`, :mod:`genotypes.pareto`
"""

from genotypes.catalogue import build_space
from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.genotype import Genotype, GenotypeError
from genotypes.individual import Evaluation, Individual, Outcome
from genotypes.population import Population
from genotypes.space import Decision, SearchSpace
from genotypes.spaces.amoebanet import AmoebaNetSpace
from genotypes.spaces.darts import DARTSSpace
from genotypes.spaces.growing import GrowingSpace
from genotypes.spaces.nasnet import NASNetSpace
from genotypes.spaces.pnas import PNASSpace
from genotypes.zoo import CELLS

__all__ = [
    "CELLS",
    "AmoebaNetSpace",
    "Block",
    "Cell",
    "CellPair",
    "DARTSSpace",
    "Decision",
    "Edge",
    "Evaluation",
    "Genotype",
    "GenotypeError",
    "GrowingSpace",
    "Individual",
    "NASNetSpace",
    "Outcome",
    "PNASSpace",
    "Population",
    "SearchSpace",
    "build_space",
]
