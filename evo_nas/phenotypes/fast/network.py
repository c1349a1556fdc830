"""A network computed fast on the CPU: the same function and the same weights, by other ways through them.

:class:`evo_nas.phenotypes.network.CellNetwork` and :class:`evo_nas.phenotypes.edges.EdgeNetwork` say plainly what a
network computes, and are what gets stored, counted and exported. Here the same modules are used in another order: a
hidden state's ReLU is computed once however many operations begin with it, twin poolings are one, a ReLU inside an
operation takes no memory of its own, cells hand their states on without laying the concatenation out, and layers are
replaced by :mod:`evo_nas.phenotypes.fast.shortcuts`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn

from evo_nas.phenotypes.cell import BlockModule, CellModule
from evo_nas.phenotypes.edges import EdgeNetwork
from evo_nas.phenotypes.fast import shortcuts
from evo_nas.phenotypes.fast.edges import arrange_edges
from evo_nas.phenotypes.fast.states import HiddenState, Layers, layers_of
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.onednn import SafeConvolutions


class FastNetwork:
    """Computes what a network computes, whichever way is fast where the images are.

    The network is looked through once; its modules must stay the ones that they are. Any module that is no network of
    cells, or of a cell of edges, is called as it is, but for convolutions that oneDNN gets wrong.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._is_known = isinstance(network, CellNetwork | EdgeNetwork)
        if isinstance(network, CellNetwork):
            self._stages = [layers_of(stage) for stage in network.stem.stages]
            self._cells = [_cell(cell) if isinstance(cell, CellModule) else _pass_on for cell in network.cells]
            self._counts = _counts_of(network.stem, network.cells)
        elif isinstance(network, EdgeNetwork):
            self._edge_logits = arrange_edges(network)
            self._counts = _counts_of(network)

    def logits(self, images: Tensor) -> Tensor:
        """Map images, (n, channels, h, w), to logits, (n, classes)."""
        if self._is_known and shortcuts.are_open(images):
            self._count_batch()
            images = images.contiguous(memory_format=torch.channels_last)  # or the stem's output is not, nor all after
            if isinstance(self.network, CellNetwork):
                return self._classify(self._features(self.network, images)[0])
            return self._edge_logits(images)
        with nullcontext() if self._is_known else SafeConvolutions():
            plain: Tensor = self.network(images)
        return plain

    def both_logits(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what :meth:`evo_nas.phenotypes.network.CellNetwork.forward_both` gives."""
        network = cast("CellNetwork", self.network)
        if not (isinstance(network, CellNetwork) and shortcuts.are_open(images)):
            return network.forward_both(images)
        self._count_batch()
        features, early = self._features(network, images.contiguous(memory_format=torch.channels_last))
        return self._classify(features), None if network.auxiliary is None else network.auxiliary(early.raw)

    def _count_batch(self) -> None:
        """Count a batch of a training in every batch norm at once, which shortcuts leave to us."""
        if self.network.training:
            torch._foreach_add_(self._counts, 1)

    def _features(self, network: CellNetwork, images: Tensor) -> tuple[HiddenState, HiddenState]:
        """Return the last cell's output, and that which the auxiliary classifier reads."""
        outputs: list[HiddenState] = []
        for stage in self._stages:
            outputs.append(HiddenState((outputs[-1] if outputs else HiddenState(images)).through(stage)))
        early = outputs[-1]
        for index, (layer, cell) in enumerate(zip(network.plan.layers, self._cells, strict=True)):
            current = outputs[-1]
            outputs = [*outputs[-2:], cell(current, outputs[-layer.back])]  # nobody reads further back
            if index == network.plan.auxiliary:
                early = outputs[-1]
        return outputs[-1], early

    def _classify(self, features: HiddenState) -> Tensor:
        network = cast("CellNetwork", self.network)
        means = torch.cat([part.mean((2, 3)) for part in features.rectified], dim=1)
        logits: Tensor = network.classifier(network.dropout(means))
        return logits


def _counts_of(*parts: nn.Module) -> list[Tensor]:
    """List the counters of batches of all batch norms."""
    modules = (module for part in parts for module in part.modules())
    return [cast("Tensor", module.num_batches_tracked) for module in modules if isinstance(module, nn.BatchNorm2d)]


def _cell(cell: CellModule) -> Callable[[HiddenState, HiddenState], HiddenState]:
    """Return the function that maps h_i and h_{i-1} to the output of a cell."""
    fits = layers_of(cell.fit_current), layers_of(cell.fit_previous)
    blocks = [
        (number, _block(cast("BlockModule", block))) for number, block in zip(cell.created, cell.blocks, strict=True)
    ]
    outputs = [(number, layers_of(fit)) for number, fit in zip(cell.output, cell.fit_output, strict=True)]

    def compute(current: HiddenState, previous: HiddenState) -> HiddenState:
        states = {0: _fit(current, fits[0]), 1: _fit(previous, fits[1])}
        for number, block in blocks:
            states[number] = HiddenState(block(states))
        return HiddenState.join([_fit(states[number], fit) for number, fit in outputs])

    return compute


def _block(block: BlockModule) -> Callable[[dict[int, HiddenState]], Tensor]:
    left, right = block.block.left.source, block.block.right.source
    to_left, to_right, norm = layers_of(block.left), layers_of(block.right), layers_of(block.norm)
    concatenates = block.block.combine == "concat"

    def compute(states: dict[int, HiddenState]) -> Tensor:
        a, b = states[left].through(to_left), states[right].through(to_right)
        joined = torch.cat([a, b], dim=1) if concatenates else a + b
        return HiddenState(joined).through(norm)

    return compute


def _pass_on(current: HiddenState, previous: HiddenState) -> HiddenState:
    """Stand for a cell that nobody reads."""
    return current


def _fit(state: HiddenState, fit: Layers) -> HiddenState:
    return HiddenState(state.through(fit)) if fit else state
