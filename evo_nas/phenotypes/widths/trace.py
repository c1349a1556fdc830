"""The channels of a network, followed through one forward pass: which can only leave together, and what they cost.

The network is run once, in evaluation mode, and every operation of torch that it calls is seen, whatever Python stands
around it. Operations that only move numbers are repeated on maps of slots (:mod:`evo_nas.phenotypes.widths.slots`), so
that views, transpositions and concatenations need no rules of their own. An operation without a rule fixes the channels
that it reads: what is said to be free can be narrowed.

A network's code may rely on a width without our seeing it, as ``x.view(-1, 400)`` does. So a twin with one channel less
in each group is traced too, and what does not follow there is fixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from evo_nas.errors import UsageError
from evo_nas.phenotypes.widths.layout import ChannelGroup, Layout
from evo_nas.phenotypes.widths.resize import make_ghost, resize_network
from evo_nas.phenotypes.widths.rules import Chunks, Follower
from evo_nas.phenotypes.widths.slots import Ints
from genotypes.genotype import shorten


def trace_layout(network: nn.Module, image: tuple[int, int, int]) -> Layout:
    """Find the groups of channels of a classifier of images of the shape (channels, height, width).

    The network is left as it was.

    Raises:
        UsageError: if it does not take such an image, has parameters that take no part in evaluation, or no channel of
            it can leave; names the module.
    """
    distrusted: set[int] = set()
    subject = make_ghost(network)
    trace = _Trace(subject, image, distrusted)
    if trace.failure is not None:
        subject = network  # what asks for numbers, as in ``if x.max() > 1``, must have them
        trace = _Trace(subject, image, distrusted)
    while True:
        if trace.failure is not None:
            raise UsageError(f"the network cannot be traced: {trace.failure}")
        layout = trace.layout()
        if not layout.groups:
            raise UsageError(f"the network has no width that can be changed{trace.follower.reason}")
        step = _find_difference(subject, image, layout, trace)
        if step is None:
            return layout
        if step in distrusted:
            raise UsageError(f"the network cannot be narrowed: {trace.describe(step)} relies on the number of channels")
        distrusted.add(step)
        trace = _Trace(subject, image, distrusted)


class _Trace:
    """One forward pass that was followed; ``failure`` says which module failed and why, ``None`` if none did."""

    def __init__(self, network: nn.Module, image: tuple[int, int, int], distrusted: set[int]) -> None:
        self.network = network
        self.follower = Follower(network, distrusted)
        self.failure: str | None = None
        some = next((tensor for tensor in network.parameters() if tensor.is_floating_point()), torch.zeros(0))
        images = torch.zeros(1, *image, dtype=some.dtype, device=some.device)
        with _evaluation_mode(network), torch.no_grad(), self.follower.watch_modules():
            try:
                with Chunks(self.follower), self.follower:
                    self.follower.read_image(images)
                    outputs = network(images)
            except Exception as error:
                where = self.follower.modules[-1] if self.follower.modules else type(network).__name__
                self.failure = f"its module {where} fails: {shorten(str(error).strip().partition(chr(10))[0], 200)}"
            else:
                self.follower.fix_outputs(outputs)

    def layout(self) -> Layout:
        """Return what was found.

        Raises:
            UsageError: if a parameter took no part.
        """
        follower = self.follower
        for name, parameter in self.network.named_parameters():
            if id(parameter) not in follower.seen:
                raise UsageError(
                    f"the network's {name} takes no part in a forward pass in evaluation mode, so that nothing says "
                    "how wide it must be; build the network without it"
                )
        classes = follower.slots.classes()
        return Layout(
            axes=tuple(replace(axis, classes=classes[axis.classes]) for axis in follower.axes),
            ops=tuple(replace(op, inputs=classes[op.inputs], outputs=classes[op.outputs]) for op in follower.ops),
            gates=tuple(replace(axis, classes=classes[axis.classes]) for axis in follower.gates),
            groups=tuple(_find_groups(follower, classes)),
            count=int(classes.max()) + 1,
            shapes={name: tuple(parameter.shape) for name, parameter in self.network.named_parameters()},
            other_mult_adds=follower.other_mult_adds,
        )

    def describe(self, step: int) -> str:
        """Return the module and the operation of a step in words."""
        places = self.follower.places
        return "its output" if step >= len(places) else "its module {} ({})".format(*places[step])


@contextmanager
def _evaluation_mode(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _find_groups(follower: Follower, classes: Ints) -> Iterator[ChannelGroup]:
    """Yield the groups in the order of their first layers."""
    makers: dict[int, set[str]] = {}
    for module, slots in follower.made.items():
        for each in np.unique(classes[slots]).tolist():
            makers.setdefault(each, set()).add(module)
    makers.pop(0, None)
    members: dict[frozenset[str], list[int]] = {}
    for each, modules in sorted(makers.items()):
        members.setdefault(frozenset(modules), []).append(each)
    order = {module: index for index, module in enumerate(follower.made)}
    names: dict[str, int] = {}
    for modules_, group in members.items():
        layers = sorted(modules_, key=order.__getitem__)
        names[layers[0]] = again = names.get(layers[0], 0) + 1
        yield ChannelGroup(layers[0] if again == 1 else f"{layers[0]}:{again}", np.array(group), tuple(layers))


def _find_difference(network: nn.Module, image: tuple[int, int, int], layout: Layout, trace: _Trace) -> int | None:
    """Return the first step at which a twin with a class less in each group does not follow; ``None`` if it does."""
    copies: Ints = np.ones(layout.count, np.int64)
    for group in layout.groups:
        # From the middle: a class at an end could hide that what is cut in halves is cut elsewhere. Two stay: of a
        # single channel nobody can tell whether a convolution is depthwise.
        copies[group.classes[group.width // 2]] = group.width < 3
    twin = _Trace(resize_network(network, layout, copies), image, set())
    if twin.failure is not None:
        return len(twin.follower.places)
    found = twin.follower.slots.classes()
    there: dict[int, int] = {}
    back: dict[int, int] = {0: 0}
    for step, axis, other in zip(trace.follower.axis_steps, layout.axes, twin.follower.axes, strict=False):
        expected = axis.classes[copies[axis.classes] > 0].tolist()
        now = found[other.classes].tolist()
        if axis.name != other.name or len(expected) != len(now):
            return step
        # What is fixed here may be free in the twin, where nothing is distrusted.
        if any(
            (a and there.setdefault(a, b) != b) or back.setdefault(b, a) != a
            for a, b in zip(expected, now, strict=True)
        ):
            return step
    return None if len(layout.axes) == len(twin.follower.axes) else len(trace.follower.places)
