"""Our networks as ONNX models: of cells, of a cell of edges, and residual ones, at any widths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from evo_nas.phenotypes.cell import BlockModule, CellModule
from evo_nas.phenotypes.edges import EdgeCellModule, EdgeNetwork, ResidualReduction
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.onnx.graph import Graph, Value
from evo_nas.phenotypes.onnx.layers import Layers
from evo_nas.phenotypes.resnet import ResNet

if TYPE_CHECKING:
    import onnx


def can_write(network: nn.Module) -> bool:
    """Return whether :func:`write_onnx` knows the network: one of ours, at whatever widths."""
    return type(network) in _WRITERS


def write_onnx(
    network: nn.Module, *, channels: int, image: int, fold: bool = True, metadata: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """Return the model of a network in evaluation, for any number of images of ``image`` pixels a side.

    With ``fold``, batch norms are part of the convolutions before them, so that none is left but behind a sum. The
    input is ``images``, (batch, channels, image, image); the output is ``logits``, (batch, classes). An auxiliary
    classifier is left out.

    Raises:
        TypeError: if the network is none of ours: see :func:`can_write`.
        ImportError: if onnx is not installed.
    """
    graph, logits = draw_graph(network, channels=channels, image=image, fold=fold)
    return graph.finish(logits, metadata or {})


def draw_graph(network: nn.Module, *, channels: int, image: int, fold: bool = True) -> tuple[Graph, Value]:
    """Return the graph of :func:`write_onnx`, and its logits.

    Raises:
        TypeError: if the network is none of ours: see :func:`can_write`.
    """
    if not can_write(network):
        raise TypeError(f"the graph of a {type(network).__name__} is not known")
    graph = Graph(channels, image)
    return graph, _WRITERS[type(network)](Layers(network, graph, fold=fold), network)


def _write_cells(layers: Layers, network: nn.Module) -> Value:
    """Write a network of cells and return its logits."""
    network = cast("CellNetwork", network)
    outputs: list[Value] = []
    for stage in network.stem.stages:
        outputs.append(layers.chain(stage, outputs[-1] if outputs else layers.graph.images))
    for layer, cell in zip(network.plan.layers, network.cells, strict=True):
        current = outputs[-1]
        outputs.append(_write_cell(layers, cell, current, outputs[-layer.back]) if _is_read(cell) else current)
    return layers.classify(network.classifier, layers.rectify(outputs[-1], "classifier"))


def _is_read(cell: nn.Module) -> bool:
    return isinstance(cell, CellModule)


def _write_cell(layers: Layers, module: nn.Module, current: Value, previous: Value) -> Value:
    cell = cast("CellModule", module)
    states = {0: layers.chain(cell.fit_current, current), 1: layers.chain(cell.fit_previous, previous)}
    for state, block in zip(cell.created, cell.blocks, strict=True):
        states[state] = _write_block(layers, cast("BlockModule", block), states)
    outputs = [layers.chain(fit, states[state]) for state, fit in zip(cell.output, cell.fit_output, strict=True)]
    return layers.join("Concat", outputs, layers.name(cell))


def _write_block(layers: Layers, block: BlockModule, states: Mapping[int, Value]) -> Value:
    left = layers.chain(block.left, states[block.block.left.source])
    right = layers.chain(block.right, states[block.block.right.source])
    op = "Concat" if block.block.combine == "concat" else "Add"
    return layers.chain(block.norm, layers.join(op, [left, right], layers.name(block)))


def _write_edges(layers: Layers, network: nn.Module) -> Value:
    """Write a network of a cell of edges and return its logits."""
    network = cast("EdgeNetwork", network)
    features = layers.chain(network.stem, layers.graph.images)
    for cell in network.cells:
        write: Any = _write_reduction if isinstance(cell, ResidualReduction) else _write_edge_cell
        features = write(layers, cell, features)
    normed = layers.rectify(layers.chain(network.norm, features), "norm")
    return layers.classify(network.classifier, normed)


def _write_edge_cell(layers: Layers, cell: EdgeCellModule, x: Value) -> Value:
    nodes: list[Value | None] = [x, None, None, None]
    for (target, source), edge in zip(cell.pairs, cell.edges, strict=True):
        read = nodes[source]
        value = layers.chain(edge, layers.erase(x, layers.name(cell)) if read is None else read)
        before = nodes[target]
        nodes[target] = value if before is None else layers.join("Add", [before, value], layers.name(cell))
    return layers.erase(x, layers.name(cell)) if nodes[3] is None else nodes[3]


def _write_reduction(layers: Layers, cell: ResidualReduction, x: Value) -> Value:
    inner = layers.chain(cell.second, layers.chain(cell.first, x))
    return layers.join("Add", [layers.chain(cell.shortcut, x), inner], layers.name(cell))


def _write_resnet(layers: Layers, network: nn.Module) -> Value:
    """Write a residual network and return its logits."""
    network = cast("ResNet", network)
    x = layers.rectify(layers.convolve(network.conv1, layers.graph.images, network.bn1), "conv1")
    for module in network.blocks:
        block: Any = module
        name = layers.name(block)
        inner = layers.rectify(layers.convolve(block.conv1, x, block.bn1), f"{name}.conv1")
        inner = layers.convolve(block.conv2, inner, block.bn2)
        x = layers.rectify(layers.join("Add", [inner, layers.chain(block.shortcut, x)], name), name)
    return layers.classify(network.classifier, x)


_WRITERS = {CellNetwork: _write_cells, EdgeNetwork: _write_edges, ResNet: _write_resnet}
