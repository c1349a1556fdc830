"""Pieces of an ONNX graph, of which the latency of a network is added up: each is an operation at its sizes.

ONNX Runtime computes a ReLU and a sum together with the convolution before them, where nothing else reads that. So
such a ReLU and such a sum are no pieces.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from evo_nas.phenotypes.onnx.graph import Graph, Node, Value, wrap_graph


@dataclass(frozen=True)
class Constant:
    """A constant of a piece: its shape, and its numbers where they are whole; weights do not matter."""

    shape: tuple[int, ...]
    numbers: tuple[int, ...] | None


@dataclass(frozen=True)
class Piece:
    """An operation, the shapes of its inputs but for their batch, its constants, and the shape of its output."""

    op: str
    inputs: tuple[tuple[int, ...], ...]
    constants: tuple[Constant, ...]
    attributes: tuple[tuple[str, int | float | tuple[int, ...]], ...]
    output: tuple[int, ...]

    @cached_property
    def kin(self) -> str:
        """The operation with those of its attributes that do not follow from its sizes."""
        named = dict(self.attributes)
        words = [f"{name}={_spell(value)}" for name, value in named.items() if name not in ("pads", "group")]
        return " ".join([self.op, *words, *(["depthwise"] if named.get("group", 1) != 1 else [])])

    @cached_property
    def sizes(self) -> str:
        """The shapes of inputs, constants and output; inputs in any order are alike."""
        shapes = [*sorted(self.inputs), *(constant.shape for constant in self.constants)]
        return f"{' '.join(map(_spell, shapes))} -> {_spell(self.output)}"

    @cached_property
    def work(self) -> int:
        """The numbers that are read to compute the output, the same number as often as it is."""
        window = math.prod(self.constants[0].shape[1:]) if self.op in ("Conv", "Gemm") else 1
        window *= math.prod(dict(self.attributes).get("kernel_shape", ())) if self.op.endswith("Pool") else 1  # type: ignore[arg-type]
        return max(sum(map(math.prod, self.inputs)), math.prod(self.output) * window)


def count_pieces(graph: Graph, output: Value) -> Counter[Piece]:
    """Return how often each piece occurs among the nodes that an output depends on."""
    nodes = graph.list_nodes(output)
    readers = Counter(source for node in nodes for source in node.inputs)
    extensible: set[str] = set()
    pieces: Counter[Piece] = Counter()
    for node in nodes:
        extends = any(source in extensible and readers[source] == 1 for source in node.inputs)
        if node.op == "Relu" and extends:
            continue
        if node.op == "Conv" or (node.op == "Add" and extends):
            extensible.add(node.name)
        if node.op != "Add" or not extends:
            pieces[_cut(graph, node)] += 1
    return pieces


def write_piece(piece: Piece) -> bytes:
    """Return the content of an ONNX file with this piece alone, whose weights are zeros."""
    from onnx import TensorProto, helper, numpy_helper

    names = [f"input_{place}" for place in range(len(piece.inputs))]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        for name, shape in zip(names, piece.inputs, strict=True)
    ]
    arrays = [
        np.zeros(each.shape, np.float32) if each.numbers is None else np.array(each.numbers).reshape(each.shape)
        for each in piece.constants
    ]
    constants = [numpy_helper.from_array(array, f"constant_{place}") for place, array in enumerate(arrays)]
    attributes: dict[str, Any] = dict(piece.attributes)
    node = helper.make_node(piece.op, [*names, *(each.name for each in constants)], ["output"], **attributes)
    result = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", *piece.output])
    return bytes(wrap_graph(helper.make_graph([node], "piece", inputs, [result], constants)).SerializeToString())


def _cut(graph: Graph, node: Node) -> Piece:
    """Return the piece that a node is."""
    inputs, constants = [], []
    for source in node.inputs:
        if (array := graph.find_constant(source)) is None:
            inputs.append(graph.find_shape(source))
        else:
            constants.append(Constant(array.shape, tuple(array.ravel().tolist()) if array.dtype.kind == "i" else None))
    attributes = tuple(
        (name, tuple(value) if isinstance(value, Sequence) else value)
        for name, value in sorted(node.attributes.items())
    )
    return Piece(node.op, tuple(inputs), tuple(constants), attributes, node.shape)


def _spell(value: float | tuple[int, ...]) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
