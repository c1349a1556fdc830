"""The cost of a network at any widths, and how each channel bears on it: MorphNet's resources (Gordon et al. 2018).

A layer of k mult-adds per pair of channels, with A inputs and B outputs alive, costs 2kAB FLOPs. Its part of the
regularisation term is 2k(A sum of the outputs' gates + B sum of the inputs'); a depthwise layer's is 2k times the sum
of both (morph-net, op_regularizers and resource_function). Parameters are counted likewise, and those of biases and
norms one per channel, which that code leaves out: so the number is that of the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from scipy.sparse import csr_array, diags_array

from evo_nas.errors import UsageError
from evo_nas.phenotypes.widths.layout import Layout
from evo_nas.phenotypes.widths.slots import Ints
from genotypes.genotype import shorten

Floats: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

BYTES: Final = 4
"""Of a number, in the latency model: single precision."""


@dataclass(frozen=True)
class Device:
    """The peak of a device: billions of floating-point operations, and gigabytes moved, per second."""

    gflops: float
    gigabytes: float

    def __post_init__(self) -> None:
        for name in ("gflops", "gigabytes"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} per second must be positive and finite, not {getattr(self, name)}")


DEVICES: Final = {
    "K80": Device(8740, 480),
    "P4": Device(5500, 192),
    "T4": Device(8100, 300),
    "P100": Device(9300, 732),
    "V100": Device(125000, 900),
    "TPUv2": Device(22500, 300),
}
"""Those of morph-net's latency regulariser."""

RESOURCES: Final = ("flops", "parameters", "activations", "latency")


@dataclass(frozen=True)
class _Form:
    """Costs of rows of A inputs and B outputs alive: ``both`` AB (B if depthwise) + ``inputs`` A + ``outputs`` B."""

    both: Floats
    inputs: Floats
    outputs: Floats


class CostModel:
    """One resource of a network: ``flops``, ``parameters``, ``activations`` (alive outputs), or ``latency`` in seconds.

    Latency is the larger of the times for computing and for moving memory, layer by layer, on a ``device``. Arrays of
    copies or of what is alive have an entry per class of the layout.

    Raises:
        UsageError: if there is no such resource, or latency is asked for without a device.
    """

    def __init__(self, layout: Layout, resource: str, device: Device | None = None) -> None:
        if resource not in RESOURCES:
            raise UsageError(f"there is no resource {shorten(resource)!r}; known: {', '.join(RESOURCES)}")
        if resource == "latency" and device is None:
            raise UsageError(f"latency is that of a device; known: {', '.join(DEVICES)}, or give GFLOP/s and GB/s")
        self.layout, self.resource = layout, resource
        ops = layout.ops
        weights = {op.weight: op for op in reversed(ops)}
        vectors = [axis for axis in layout.axes if axis.name in layout.shapes and axis.name not in weights]
        self.rows = [op.layer for op in ops] + [axis.name for axis in vectors]
        self._depthwise = np.array([op.depthwise for op in ops] + [False] * len(vectors))
        self._inputs = _count_rows([*(op.inputs for op in ops), *(np.zeros(0, np.int64) for _ in vectors)], layout)
        self._outputs = _count_rows([*(op.outputs for op in ops), *(axis.classes for axis in vectors)], layout)
        tail = [0.0] * len(vectors)
        zero = np.zeros(len(self.rows))
        counted = np.array([op.weights if weights[op.weight] is op else 0 for op in ops] + tail, float)
        flops = np.array([2 * op.mult_adds for op in ops] + tail)
        self._constant = 0.0
        if resource == "activations":
            self._forms = [_Form(zero, zero, np.array([1.0] * len(ops) + tail))]
        elif resource == "flops":
            self._forms = [_Form(flops, zero, zero)]
            self._constant = 2 * layout.other_mult_adds
        elif resource == "parameters":
            sizes = {name: int(np.prod(shape)) for name, shape in layout.shapes.items()}
            per_index = [sizes[axis.name] / len(axis.classes) for axis in vectors]
            self._forms = [_Form(counted, zero, np.array([0.0] * len(ops) + per_index))]
            self._constant = sum(sizes.values()) - sum(sizes[name] for name in {*weights, *(v.name for v in vectors)})
        else:
            assert device is not None
            byte = BYTES / (device.gigabytes * 1e9)
            read = np.array([op.input_size * op.groups for op in ops] + tail) * byte
            written = np.array([op.output_size for op in ops] + tail) * byte
            moved = np.array([op.weights for op in ops] + tail, float) * byte
            self._forms = [_Form(flops / (device.gflops * 1e9), zero, zero), _Form(moved, read, written)]

    def by_row(self, copies: Ints) -> Floats:
        """Return the cost of each of ``rows``: the layers in the order of the forward pass, then vectors of parameters.

        ``copies`` counts how often each class is there.
        """
        largest: Floats = self._sides(copies).max(axis=0)
        return largest

    def total(self, copies: Ints) -> float:
        """Return the cost of the network, that which no width changes included."""
        return float(self.by_row(copies).sum() + self._constant)

    def slopes(self, alive: Ints) -> csr_array:
        """Return the weight of each class's gate in the regularisation term of each row, a sparse matrix.

        Its product with the values of all gates is the term by rows. Of two sides of a latency the larger one counts.
        """
        there = _weigh_copies(alive)
        a, b = self._inputs @ there, self._outputs @ there
        chosen = self._sides(alive).argmax(axis=0)
        both, inputs, outputs = (
            np.choose(chosen, [getattr(form, name) for form in self._forms]) for name in ("both", "inputs", "outputs")
        )
        to_inputs = both * np.where(self._depthwise, 1, b) + inputs
        to_outputs = both * np.where(self._depthwise, 1, a) + outputs
        return csr_array(diags_array(to_inputs) @ self._inputs + diags_array(to_outputs) @ self._outputs)

    def _sides(self, copies: Ints) -> Floats:
        there = _weigh_copies(copies)
        a, b = self._inputs @ there, self._outputs @ there
        pairs = np.where(self._depthwise, b, a * b)
        return np.stack([form.both * pairs + form.inputs * a + form.outputs * b for form in self._forms])


def _weigh_copies(copies: Ints) -> Floats:
    there = np.asarray(copies, float).copy()
    there[0] = 1.0
    return there


def _count_rows(rows: list[Ints], layout: Layout) -> csr_array:
    """Return how often each row has each class."""
    at = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    columns = np.concatenate([*rows, np.zeros(0, np.int64)])
    return csr_array((np.ones(len(at)), (at, columns)), shape=(len(rows), layout.count))
