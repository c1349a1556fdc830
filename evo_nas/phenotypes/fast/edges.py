"""The networks of a cell of edges, computed fast: the ReLU and the pooling of each node once, however many read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from evo_nas.phenotypes.edges import EdgeCellModule, EdgeNetwork, ResidualReduction
from evo_nas.phenotypes.fast.states import HiddenState, layers_of


def arrange_edges(network: EdgeNetwork) -> Callable[[Tensor], Tensor]:
    """Return the function that maps images, (n, channels, h, w), to the logits of the network, (n, classes).

    It counts no batches in batch norms. Its modules must stay the ones that they are.
    """
    stem, norm = layers_of(network.stem), layers_of(network.norm)
    cells = [
        _arrange_cell(cell) if isinstance(cell, EdgeCellModule) else _arrange_reduction(cast("ResidualReduction", cell))
        for cell in network.cells
    ]

    def compute(images: Tensor) -> Tensor:
        features = HiddenState(images).through(stem)
        for cell in cells:
            features = cell(features)
        normed = HiddenState(features).through(norm)
        logits: Tensor = network.classifier(torch.relu_(normed).mean((2, 3)))
        return logits

    return compute


def _arrange_cell(cell: EdgeCellModule) -> Callable[[Tensor], Tensor]:
    steps = [(target, source, layers_of(edge)) for (target, source), edge in zip(cell.pairs, cell.edges, strict=True)]

    def compute(x: Tensor) -> Tensor:
        sums: list[Tensor | None] = [x, None, None, None]
        nodes: dict[int, HiddenState] = {}
        for target, source, layers in steps:  # in the order of their targets: what is read is complete
            if source not in nodes:
                read = sums[source]
                nodes[source] = HiddenState(torch.zeros_like(x) if read is None else read)
            value, before = nodes[source].through(layers), sums[target]
            sums[target] = value if before is None else before + value
        output = sums[3]
        return torch.zeros_like(x) if output is None else output

    return compute


def _arrange_reduction(cell: ResidualReduction) -> Callable[[Tensor], Tensor]:
    first, second, shortcut = layers_of(cell.first), layers_of(cell.second), layers_of(cell.shortcut)

    def compute(x: Tensor) -> Tensor:
        state = HiddenState(x)
        inner = HiddenState(state.through(first)).through(second)
        return state.through(shortcut) + inner

    return compute
