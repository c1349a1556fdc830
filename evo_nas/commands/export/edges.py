"""A network of a cell of edges, as those of NAS-Bench-201, as one Python file that needs torch alone."""

from __future__ import annotations

from typing import Final

from evo_nas.commands.export.standalone import TAIL, borrow, spell, write_constants
from evo_nas.phenotypes import edges, network, ops
from evo_nas.phenotypes.blueprint import EdgeBlueprint

_HEAD: Final = '''\
"""A classifier of images, (n, {channels}, h, w), made of a cell with an operation on each edge (Dong & Yang 2020).

Three stacks of {cells} cells at {filters}, {double} and {fourfold} filters, with residual blocks of stride 2 between.

    network = load("weights.safetensors")
    logits = network(normalised(images))

Written by `python -m evo_nas export`. What follows the constants is copied from evo_nas, Apache-2.0.
"""
'''

_IMPORTS: Final = """\
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
"""

_EDGES: Final = '''\
EDGES = {edges}
"""Target, source and operation of each edge of a cell; node 0 is its input, node 3 its output."""
'''

_BUILD: Final = '''\
def build_edge_network() -> nn.Module:
    """Build the network, made for images of {image}x{image} pixels; its weights are random before some are loaded."""
    return EdgeNetwork(EDGES, cells_per_stack={cells}, filters={filters}, classes=len(CLASSES), channels={channels})
'''


def write_edges(blueprint: EdgeBlueprint, genotype: str | None = None) -> str:
    """Write the Python file of a network: constants, classes, and ``load`` for weights that lie in a safetensors file.

    The same blueprint gives the same text.
    """
    cells, filters, channels = blueprint.cells_per_stack, blueprint.filters, blueprint.channels
    widths = {"filters": filters, "double": 2 * filters, "fourfold": 4 * filters}
    known = (
        f'\nGENOTYPE = {spell(genotype)}\n"""The genotype, as evo_nas reads it."""\n' if genotype is not None else ""
    )
    imports, classes = write_classes(blueprint)
    parts = [
        f"{_HEAD.format(channels=channels, cells=cells, **widths)}\n{imports}\n{write_constants(blueprint)}{known}",
        *classes,
        TAIL.format(network="build_edge_network", kind="nn.Module", tensors="load_file(path)", channels=channels),
    ]
    return "\n\n".join(parts)


def write_classes(blueprint: EdgeBlueprint) -> tuple[str, list[str]]:
    """Return the imports of a network, and its edges and classes with the function that builds it."""
    sizes = {"cells": blueprint.cells_per_stack, "filters": blueprint.filters}
    build = _BUILD.format(image=blueprint.image, channels=blueprint.channels, **sizes)
    written = _EDGES.format(edges=spell(list(blueprint.edges.edges())))
    return _IMPORTS, [written, *borrow(build, (ops, network, edges)), build]
