"""An ONNX graph that grows node by node: values with their sizes, constants, and the model in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from evo_nas.system.version import __version__

if TYPE_CHECKING:
    import onnx

OPSET: Final = 18
"""The version of ONNX's operators that a file asks for: that to which torch's exporter translates too."""

_FORMAT: Final = 8
"""The version of ONNX's format: the oldest that may hold this opset, so that old runtimes read it."""

_FLAT: Final = ("Flatten", "Gemm")
"""Operations whose output has channels and no pixels."""

IMAGES: Final = "images"
LOGITS: Final = "logits"
"""The names of the input and of the output."""


@dataclass(frozen=True)
class Value:
    """A tensor of the graph but for its batch: its name, its channels, and the pixels of its height and width."""

    name: str
    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class Node:
    """An operation of the graph: the names of its inputs, and the shape, but for the batch, of its output."""

    op: str
    name: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    shape: tuple[int, ...]


class Graph:
    """Nodes and constants, added in the order in which they compute; what was added before is not added twice."""

    def __init__(self, channels: int, image: int) -> None:
        self.images = Value(IMAGES, channels, image, image)
        self._nodes: dict[str, Node] = {}
        self._known: dict[tuple[object, ...], str] = {}
        self._constants: dict[str, NDArray[Any]] = {}

    def add(
        self, op: str, name: str, inputs: Sequence[Value | str], shape: tuple[int, int, int], **attributes: Any
    ) -> Value:
        """Add a node and return its output, of shape (channels, height, width); ``name`` is made unique.

        ``inputs`` are values, or names of constants. A node of the same operator, inputs and attributes stands for it.
        """
        sources = tuple(each.name if isinstance(each, Value) else each for each in inputs)
        key = (op, sources, *sorted((name, str(value)) for name, value in attributes.items()))
        if key not in self._known:
            self._known[key] = name = self._rename(name)
            self._nodes[name] = Node(op, name, sources, attributes, shape[:1] if op in _FLAT else shape)
        return Value(self._known[key], *shape)

    def hold(self, name: str, array: NDArray[Any]) -> str:
        """Add a constant and return its name; floats become float32."""
        name = self._rename(name)
        self._constants[name] = array.astype(np.float32) if array.dtype.kind == "f" else array
        return name

    def list_nodes(self, output: Value) -> list[Node]:
        """Return the nodes that an output depends on, in the order in which they compute."""
        needed = self._trace_back(output.name)
        return [node for node in self._nodes.values() if node.name in needed]

    def find_constant(self, name: str) -> NDArray[Any] | None:
        """Return the constant of this name; ``None`` if it is the name of a value."""
        return self._constants.get(name)

    def find_shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the value of this name, but for its batch."""
        if name == IMAGES:
            return self.images.channels, self.images.height, self.images.width
        return self._nodes[name].shape

    def finish(self, logits: Value, metadata: Mapping[str, str]) -> onnx.ModelProto:
        """Return the model with this output; what it does not depend on is left out."""
        from onnx import TensorProto, helper, numpy_helper

        needed = self._trace_back(logits.name)
        renamed = {logits.name: LOGITS}
        nodes = [
            helper.make_node(
                node.op,
                [renamed.get(source, source) for source in node.inputs],
                [renamed.get(node.name, node.name)],
                name=node.name,
                **node.attributes,
            )
            for node in self.list_nodes(logits)
        ]
        constants = [numpy_helper.from_array(array, key) for key, array in self._constants.items() if key in needed]
        taken: list[str | int | None] = ["batch", self.images.channels, self.images.height, self.images.width]
        graph = helper.make_graph(
            nodes,
            "network",
            [helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, taken)],
            [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch", logits.channels])],
            constants,
        )
        model = wrap_graph(graph)
        helper.set_model_props(model, dict(metadata))
        return model

    def _rename(self, name: str) -> str:
        """Return the name, with a number behind it if it is taken."""
        number, unique = 1, name
        while unique in self._nodes or unique in self._constants or unique in (IMAGES, LOGITS):
            number += 1
            unique = f"{name}_{number}"
        return unique

    def _trace_back(self, output: str) -> set[str]:
        """Return the names of all that an output depends on, itself included."""
        needed = {output}
        for node in reversed(self._nodes.values()):  # in whose order nobody reads what comes later
            if node.name in needed:
                needed.update(node.inputs)
        return needed


def wrap_graph(graph: onnx.GraphProto) -> onnx.ModelProto:
    """Return a model of a graph, of the versions that all our files have."""
    from onnx import helper

    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_FORMAT,
        producer_name="evo_nas",
        producer_version=__version__,
    )
