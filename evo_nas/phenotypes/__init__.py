"""Phenotypes: from readable cells to torch modules, and what those cost.

Operations: :mod:`evo_nas.phenotypes.ops`           what one edge of a cell computes
Cells:      :mod:`evo_nas.phenotypes.cell`          blocks, the fit of their inputs, drop path
Plans:      :mod:`evo_nas.phenotypes.plan`          which cell stands where, how wide it is and what it reads; no torch
Networks:   :mod:`evo_nas.phenotypes.network`       cells stacked into a classifier of images
Blueprints: :mod:`evo_nas.phenotypes.blueprint`     a network but for its weights, and the file of both
Cost:       :mod:`evo_nas.phenotypes.cost`          parameters and mult-adds, without memory or arithmetic
Fast:       :mod:`evo_nas.phenotypes.fast.network`  the same function by ways that are faster on the CPU
Self-check: :mod:`evo_nas.phenotypes.self_check`    whether this processor computes right, tried in a child
"""
