"""Phenotypes: from readable cells to torch modules, and what those cost.

Operations: :mod:`evo_nas.phenotypes.ops`           what one edge of a cell computes
Cells:      :mod:`evo_nas.phenotypes.cell`          blocks, the fit of their inputs, drop path
Plans:      :mod:`evo_nas.phenotypes.plan`          which cell stands where, how wide it is and what it reads; no torch
Networks:   :mod:`evo_nas.phenotypes.network`       cells stacked into a classifier of images
Chains:     :mod:`evo_nas.phenotypes.shufflenet`    stem, blocks per place, trunk and classifier of a chain
Names:      :mod:`evo_nas.phenotypes.named`         networks by name: of cells, residual, of libraries, a user's own
Backbones:  :mod:`evo_nas.phenotypes.backbones`     features of an image at three levels, from stages or any network
Necks:      :mod:`evo_nas.phenotypes.neck`          from these to a pyramid of five levels
Detectors:  :mod:`evo_nas.phenotypes.detector`      backbone, neck and head; anchors and boxes are in ``boxes``
Widths:     :mod:`evo_nas.phenotypes.widths.draw`   such a network with other widths
Blueprints: :mod:`evo_nas.phenotypes.blueprint`     a network but for its weights, and the file of both
Cost:       :mod:`evo_nas.phenotypes.cost`          parameters and mult-adds, without memory or arithmetic
Fast:       :mod:`evo_nas.phenotypes.fast.network`  the same function by ways that are faster on the CPU
Self-check: :mod:`evo_nas.phenotypes.self_check`    whether this processor computes right, tried in a child
"""
