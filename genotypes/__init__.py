"""What can exist: genotypes, search spaces, cells, and the individuals that have lived.

Plain data without torch or pandas. Each name below is defined in the file of its subject.

Genotypes and spaces: :mod:`genotypes.genotype`, :mod:`genotypes.space`, :mod:`genotypes.catalogue`
Cells:                :mod:`genotypes.cell`, :mod:`genotypes.operations`, :mod:`genotypes.stacking`,
                      :mod:`genotypes.zoo`
Spaces that grow:     :mod:`genotypes.growing`, :mod:`genotypes.blocks`, :mod:`genotypes.nasnet`,
                      :mod:`genotypes.amoebanet`, :mod:`genotypes.pnas`, :mod:`genotypes.darts`
Other spaces:         :mod:`genotypes.bits`, :mod:`genotypes.nasbench201`, :mod:`genotypes.natsbench`
What has lived:       :mod:`genotypes.individual`, :mod:`genotypes.population`, :mod:`genotypes.pareto`
"""

from genotypes.amoebanet import AmoebaNetSpace
from genotypes.catalogue import space_named
from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.darts import DARTSSpace
from genotypes.genotype import Genotype, GenotypeError
from genotypes.growing import GrowingSpace
from genotypes.individual import Evaluation, Individual, Outcome
from genotypes.nasnet import NASNetSpace
from genotypes.pnas import PNASSpace
from genotypes.population import Population
from genotypes.space import Decision, SearchSpace
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
    "space_named",
]
