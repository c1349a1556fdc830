"""Phenotypes: from readable cells to torch modules, and what those cost.

Operations: :mod:`evo_nas.phenotypes.ops`      what one edge of a cell computes
Cells:      :mod:`evo_nas.phenotypes.cell`     blocks, the fit of their inputs, drop path
Networks:   :mod:`evo_nas.phenotypes.network`  cells stacked into a classifier of small images
Cost:       :mod:`evo_nas.phenotypes.cost`     parameters and mult-adds, without memory or arithmetic
"""
