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
