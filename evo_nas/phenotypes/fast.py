"""A network computed fast on the CPU: the same function and the same weights, by other ways through them.

:class:`evo_nas.phenotypes.network.CellNetwork` says plainly what a network computes, and is what gets stored, counted
and exported. Here the same modules are used in another order: a hidden state's ReLU is computed once however many
operations begin with it, twin poolings are one, a ReLU inside an operation takes no memory of its own, cells hand their
states on without laying the concatenation out, and layers are replaced by :mod:`evo_nas.phenotypes.shortcuts`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evo_nas.phenotypes import shortcuts
from evo_nas.phenotypes.cell import BlockModule, CellModule
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.state import State


def logits(network: nn.Module, images: Tensor) -> Tensor:
    """Give what a network gives for images, (n, channels, h, w): logits, (n, classes). Any other module is called."""
    if isinstance(network, CellNetwork) and shortcuts.are_open(images):
        return _both(network, images)[0]
    plain: Tensor = network(images)
    return plain


def both_logits(network: CellNetwork, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Give what :meth:`evo_nas.phenotypes.network.CellNetwork.forward_both` gives, whichever way is fast here."""
    if isinstance(network, CellNetwork) and shortcuts.are_open(images):
        return _both(network, images)
    return network.forward_both(images)


def _both(network: CellNetwork, images: Tensor) -> tuple[Tensor, Tensor | None]:
    outputs = [State(output) for output in network.stem(images)]
    early = outputs[-1]
    for index, (layer, cell) in enumerate(zip(network.plan.layers, network.cells, strict=True)):
        current = outputs[-1]
        if isinstance(cell, CellModule):
            previous = current if layer.previous is None else outputs[-layer.previous]
            outputs = [*outputs[-2:], _cell(cell, current, previous)]
        else:  # nobody reads it: it hands on what it gets
            outputs = [*outputs[-2:], current]
        if index == network.plan.auxiliary:
            early = outputs[-1]
    means = torch.cat([part.mean((2, 3)) for part in outputs[-1].rectified], dim=1)
    last: Tensor = network.classifier(network.dropout(means))
    return last, None if network.auxiliary is None else network.auxiliary(early.raw)


def _cell(cell: CellModule, current: State, previous: State) -> State:
    states = {0: _fitted(current, cell.fit_current), 1: _fitted(previous, cell.fit_previous)}
    for number, block in zip(cell.created, cell.blocks, strict=True):
        assert isinstance(block, BlockModule), "a cell is made of blocks"
        states[number] = State(_block(block, states))
    return State.joined(
        [_fitted(states[number], fit) for number, fit in zip(cell.output, cell.fit_output, strict=True)]
    )


def _block(block: BlockModule, states: dict[int, State]) -> Tensor:
    left = states[block.block.left.source].through(block.left)
    right = states[block.block.right.source].through(block.right)
    joined: Tensor = block.norm(torch.cat([left, right], dim=1) if block.block.combine == "concat" else left + right)
    return joined


def _fitted(state: State, fit: nn.Module) -> State:
    return state if isinstance(fit, nn.Identity) else State(state.through(fit))
