"""The layout of a network's channels: classes that leave together, groups of them that make a width, and their cost.

A *class* is a set of channels that can only be there or not be there together: one of each layer of a residual sum, for
instance. A *group* is the classes that the same layers make; their number is a width that can be chosen. Channels of
the image and of the logits are fixed, and so are those whose number the network's code relies upon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from evo_nas.errors import UsageError
from evo_nas.phenotypes.widths.slots import Ints
from genotypes.genotype import shorten


@dataclass(frozen=True)
class Axis:
    """One axis of a parameter or buffer, by its name, and the class of each index along it."""

    name: str
    dim: int
    classes: Ints


@dataclass(frozen=True)
class Op:
    """A convolution or a linear layer, as costs see it.

    ``weight`` is the name of its parameter. ``mult_adds`` and ``weights`` are numbers per pair of an input and an
    output channel, or per output channel where the layer is depthwise. ``inputs`` and ``outputs`` are the classes of
    the channels; a layer in groups of channels has the inputs of its first group, as each output reads no more.
    ``input_size`` and ``output_size`` are numbers of an activation per channel.
    """

    weight: str
    mult_adds: float
    weights: int
    inputs: Ints
    outputs: Ints
    input_size: float
    output_size: float
    depthwise: bool = False
    groups: int = 1

    @property
    def layer(self) -> str:
        """The name of the module, or of the parameter where the network itself has it."""
        return self.weight.rpartition(".")[0] or self.weight

    @property
    def pairs(self) -> int:
        """The number of pairs of channels, or of channels, that ``mult_adds`` and ``weights`` are for."""
        return len(self.outputs) * (1 if self.depthwise else len(self.inputs))


@dataclass(frozen=True)
class ChannelGroup:
    """The classes that the same layers make, by the name of the first layer; ``layers`` are the names of all."""

    name: str
    classes: Ints
    layers: tuple[str, ...]

    @property
    def width(self) -> int:
        """The number of classes in the network as it was traced."""
        return len(self.classes)


@dataclass(frozen=True)
class Layout:
    """The layout of a network, as :func:`evo_nas.phenotypes.widths.trace.trace_layout` finds it.

    ``gates`` are the axes of the scales of norms. ``count`` is the number of classes; class 0 is the fixed one, of all
    channels that cannot leave. ``shapes`` are those of all parameters by name. ``other_mult_adds`` are those of a
    forward pass that belong to no layer with weights.
    """

    axes: tuple[Axis, ...]
    ops: tuple[Op, ...]
    gates: tuple[Axis, ...]
    groups: tuple[ChannelGroup, ...]
    count: int
    shapes: Mapping[str, tuple[int, ...]]
    other_mult_adds: float = 0.0

    @cached_property
    def widths(self) -> dict[str, int]:
        """The width of each group by its name."""
        return {group.name: group.width for group in self.groups}

    def copies(self, widths: Mapping[str, int]) -> Ints:
        """Return how often each class is there where groups have these widths; the others keep theirs.

        Up to its width in the network as traced, a group keeps its first classes; beyond it, all of them are there and
        the first ones are repeated.

        Raises:
            UsageError: if there is no such group, or a width is less than 1.
        """
        copies = np.ones(self.count, np.int64)
        known = {group.name: group for group in self.groups}
        for name, width in widths.items():
            if name not in known:
                raise UsageError(f"the network has no group of channels {shorten(name)!r}; it has {', '.join(known)}")
            if width < 1:
                raise UsageError(f"the group of channels {name} must keep at least 1 channel, not {width}")
            classes = known[name].classes
            copies[classes] = width // len(classes)
            copies[classes[: width % len(classes)]] += 1
        return copies

    def resize(self, copies: Ints) -> Layout:
        """Return the layout of the network in which each class is there as often as ``copies`` says.

        Each copy is a class of its own. It is what tracing :func:`evo_nas.phenotypes.widths.resize.resize_network`
        finds, but for groups so narrow that a trace cannot tell what their layers are.
        """
        copies = copies.copy()
        copies[0] = 1
        first = np.cumsum(copies) - copies

        def spread(classes: Ints) -> Ints:
            """Number the copies in an axis, those of a run of one class together, as a resized network has them."""
            starts = np.flatnonzero(np.r_[True, classes[1:] != classes[:-1]][: len(classes)])
            lengths = np.diff(np.r_[starts, len(classes)])
            runs = [
                first[one] + np.repeat(np.arange(copies[one]), length)
                for one, length in zip(classes[starts].tolist(), lengths.tolist(), strict=True)
            ]
            return np.concatenate([np.zeros(0, np.int64), *runs])

        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        axes = tuple(replace(axis, classes=spread(axis.classes)) for axis in self.axes)
        for axis in axes:
            if axis.name in shapes:
                shapes[axis.name][axis.dim] = len(axis.classes)
        return replace(
            self,
            axes=axes,
            ops=tuple(replace(op, inputs=spread(op.inputs), outputs=spread(op.outputs)) for op in self.ops),
            gates=tuple(replace(axis, classes=spread(axis.classes)) for axis in self.gates),
            groups=tuple(replace(group, classes=spread(group.classes)) for group in self.groups),
            count=int(copies.sum()),
            shapes={name: tuple(shape) for name, shape in shapes.items()},
        )

    def alive_widths(self, alive: Sequence[bool] | Ints) -> dict[str, int]:
        """Count the alive classes of each group by its name; ``alive`` has an entry per class."""
        there = np.asarray(alive)
        return {group.name: int(there[group.classes].sum()) for group in self.groups}
