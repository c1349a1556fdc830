"""The rules by which operations of torch hand channels on: from the maps of what they read to that of their result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakTensorKeyDictionary

from evo_nas.phenotypes.widths.layout import Axis, Op
from evo_nas.phenotypes.widths.slots import Ints, Slots, compact, spread

_MOVES: Final = frozenset(
    (
        *("alias", "detach", "expand", "flip", "permute", "pixel_shuffle", "repeat"),
        *("roll", "squeeze", "stack", "t", "transpose", "unsqueeze"),
    )
)
"""Operations that move numbers whatever the widths, so that they can be repeated on maps."""

_VIEWS: Final = frozenset(("view", "_unsafe_view", "reshape", "_reshape_alias"))
_CUTS: Final = frozenset(("select", "slice", "split", "split_with_sizes", "unbind", "narrow"))
_REDUCTIONS: Final = frozenset(("amax", "amin", "logsumexp", "mean", "prod", "std", "sum", "var"))
_POINTWISE: Final = frozenset(("hardswish", "native_dropout", "dropout", "prelu", "_prelu_kernel", "_to_copy"))
"""Those that torch does not tag as such."""

_FRESH: Final = frozenset(
    name for value in ("empty", "full", "ones", "zeros") for name in (f"new_{value}", f"{value}_like")
)
"""Those that take nothing of a tensor but its shape."""


class Chunks(TorchFunctionMode):
    """Tells a follower which cuts are by ``chunk``: in equal parts whatever the width."""

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self._follower = follower

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the function."""
        before = self._follower.is_chunk
        self._follower.is_chunk = before or getattr(func, "__name__", "") == "chunk"
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self._follower.is_chunk = before


class Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]  # untyped in torch
    """Follows the channels of a network through all that is computed while it is active.

    ``distrusted`` are steps, numbers of operations from 0, whose inputs are fixed. What is found: ``slots``; ``axes``
    of parameters and buffers, ``gates`` among them, and ``ops``, with slots in the place of classes; ``axis_steps``,
    when each axis was found; ``made``, the slots that each layer with weights makes; ``seen``, the ids of all tensors
    that were read; ``places``, the module and the operation of each step; ``reason``, in words, which operation fixed
    channels first.
    """

    def __init__(self, network: nn.Module, distrusted: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.slots = Slots()
        self.axes: list[Axis] = []
        self.axis_steps: list[int] = []
        self.gates: list[Axis] = []
        self.ops: list[Op] = []
        self.made: dict[str, Ints] = {}
        self.seen: set[int] = set()
        self.places: list[tuple[str, str]] = []
        self.modules: list[str] = []
        self.is_chunk = False
        self.other_mult_adds = 0.0
        self._network, self._distrusted = network, distrusted
        self._names = {id(tensor): name for name, tensor in [*network.named_parameters(), *network.named_buffers()]}
        self._maps: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()
        self._turned: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()  # a transposed weight -> the weight
        self._weights: dict[str, tuple[Ints, Ints]] = {}  # of layers that were seen: slots of inputs and outputs
        self.reason = ""

    @contextmanager
    def watch_modules(self) -> Iterator[None]:
        """Keep ``modules``, the names of those that are being computed, the innermost last."""
        names = {module: name or type(module).__name__ for name, module in self._network.named_modules()}

        def enter(module: nn.Module, inputs: Any) -> None:
            if module in names:
                self.modules.append(names[module])

        def leave(module: nn.Module, inputs: Any, outputs: Any) -> None:
            if module in names:
                self.modules.pop()

        hooks = register_module_forward_pre_hook(enter), register_module_forward_hook(leave)
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def read_image(self, images: Tensor) -> None:
        """Take these images for the network's input."""
        self._maps[images] = torch.zeros((), dtype=torch.int64).expand(images.shape)

    def fix_outputs(self, outputs: Any) -> None:
        """Fix the channels of all tensors that the network returned."""
        self._fix([leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)])

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute, and hand the channels on."""
        kwargs = kwargs or {}
        outputs = func(*args, **kwargs)
        step = len(self.places)
        name = func._schema.name.removeprefix("aten::").rstrip("_")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self.places.append((self.modules[-1] if self.modules else "", name))
        self.seen.update(map(id, tensors))
        for tensor in tensors:
            if step in self._distrusted and self._map(tensor) is not None:
                self._fix([tensor])
        self._hand_on(name, func, args, kwargs, tensors, outputs)
        return outputs

    def _hand_on(
        self, name: str, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], tensors: list[Tensor], outputs: Any
    ) -> None:
        """Apply the rule of an operation."""
        mult_adds = self._count(func, args, kwargs, outputs)
        if name == "t" and self._name(args[0]) is not None and args[0].dim() == 2:
            self._turned[outputs] = args[0]
        elif name == "convolution":
            self._convolve(args, outputs, mult_adds)
        elif name in ("addmm", "mm", "linear") and self._apply_linear(name, args, outputs, mult_adds):
            pass
        elif all(self._map(tensor) is None for tensor in tensors) or name in _FRESH:
            self.other_mult_adds += mult_adds
        elif "batch_norm" in name:
            self._norm(args[0], args[1:5], outputs[0] if isinstance(outputs, tuple | list) else outputs)
        elif name == "native_group_norm" and args[6] == args[4] > 1:
            self._norm(args[0], args[1:3], outputs[0])
        elif name in _VIEWS:
            self._view(args[0], outputs)
        elif name in _CUTS:
            self._cut(func, args, kwargs, outputs)
        elif name in _MOVES:
            self._move(func, args, kwargs, outputs)
        elif name == "cat":
            self._concatenate(args[0], args[1] if len(args) > 1 else kwargs.get("dim", 0), outputs)
        elif name in _REDUCTIONS and isinstance(outputs, Tensor):
            self._reduce(args, kwargs, outputs)
        elif "pool" in name or "upsample" in name or name.endswith(("_pad1d", "_pad2d", "_pad3d")):
            self._pool(args[0], outputs)
        elif name == "constant_pad_nd":
            if len(args[1]) <= 2 * (args[0].dim() - 2):
                self._pool(args[0], outputs)
            else:
                self._maps[outputs] = func(self._map(args[0]), args[1], 0)
        elif name in _POINTWISE or torch.Tag.pointwise in func.tags:
            self._join(tensors, outputs[0] if isinstance(outputs, tuple | list) else outputs)
        else:
            self.other_mult_adds += mult_adds
            self._give_up(tensors, outputs)

    def _name(self, tensor: object) -> str | None:
        return self._names.get(id(tensor))

    def _map(self, tensor: Tensor) -> Tensor | None:
        """Return the map of a tensor, also of a parameter or buffer with one axis; ``None`` if it is a constant."""
        found = self._maps.get(tensor)
        long = [axis for axis, size in enumerate(tensor.shape) if size > 1] or ([0] if tensor.dim() == 1 else [])
        name = self._name(tensor)
        if found is None and name is not None and len(long) == 1:
            slots = self.slots.draw(tensor.shape[long[0]])
            self._note_axis(name, long[0], slots)
            found = self._maps[tensor] = spread(slots, tensor.shape, long[0])
        return found

    def _adopt(self, tensor: Tensor, slots: Ints) -> None:
        """Let the only axis of a tensor have these slots."""
        name = self._name(tensor)
        if self._maps.get(tensor) is None and name is not None and tensor.dim() == 1:
            self._note_axis(name, 0, slots)
            self._maps[tensor] = torch.from_numpy(slots)
        elif (own := self._map(tensor)) is not None:
            self.slots.join(own.numpy(), slots)

    def _note_axis(self, name: str, dim: int, slots: Ints) -> None:
        self.axes.append(Axis(name, dim, slots))
        self.axis_steps.append(len(self.places) - 1)

    def _fix(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            if (slots := self._map(tensor)) is not None:
                self.slots.fix(np.unique(compact(slots).numpy()))

    def _give_up(self, tensors: Sequence[Tensor], outputs: Any) -> None:
        """Fix the channels of what an operation without a rule reads; its results are constants then."""
        module, name = self.places[-1]
        self.reason = self.reason or f": its module {module} needs all channels ({name})"
        self._fix(tensors)
        for leaf in tree_leaves(outputs):
            if isinstance(leaf, Tensor):
                self._maps[leaf] = torch.zeros((), dtype=torch.int64).expand(leaf.shape)

    def _count(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: Any) -> float:
        count = flop_registry.get(func._overloadpacket)
        return 0.0 if count is None else count(*args, **kwargs, out_val=outputs) / 2

    def _columns(self, tensor: Tensor, axis: int) -> Ints | None:
        """Return the slots of a map along one axis, those along the others joined; ``None`` for a constant."""
        slots = self._map(tensor)
        if slots is None:
            return None
        for other in reversed(range(slots.dim())):
            if other != axis % tensor.dim():
                slots = self.slots.join_along(slots, other)
        return slots.numpy().copy()

    def _convolve(self, args: Sequence[Any], outputs: Tensor, mult_adds: float) -> None:
        x, weight, bias, *_, transposed, _, groups = args
        name, inputs = self._name(weight), self._columns(x, 1)
        owner = None if name is None else self._network.get_submodule(name.rpartition(".")[0])
        if name is None or inputs is None or transposed or (groups > 1 and not isinstance(owner, _ConvNd)):
            self.other_mult_adds += mult_adds
            self._give_up([each for each in (x, bias) if each is not None], outputs)
            return
        width = len(weight)
        depthwise = groups == len(inputs) > 1
        if name not in self._weights:
            made = np.repeat(inputs, width // groups) if depthwise else self.slots.draw(width)
        else:
            made = self._weights[name][1]
        if groups > 1 and not depthwise:  # an index leaves all groups of channels or none
            for slots in (inputs, made):
                rows = slots.reshape(groups, -1)
                self.slots.join(rows[1:], np.broadcast_to(rows[0], rows[1:].shape))
        self._meet_weight(name, inputs if depthwise else inputs[: len(inputs) // groups], made, depthwise)
        if bias is not None:
            self._adopt(bias, made)
        self._note_op(name, x, weight, outputs, mult_adds, depthwise, groups)
        self._maps[outputs] = spread(made, outputs.shape)

    def _apply_linear(self, kind: str, args: Sequence[Any], outputs: Tensor, mult_adds: float) -> bool:
        """Apply the rule of a layer x @ weight.T + bias; return False if it is something else."""
        x, weight = args[1:3] if kind == "addmm" else args[:2]
        bias = args[0] if kind == "addmm" else (args[2] if len(args) > 2 else None)
        weight = weight if kind == "linear" else self._turned.get(weight)
        name = None if weight is None else self._name(weight)
        inputs = self._columns(x, -1)
        if weight is None or name is None or inputs is None or weight.dim() != 2:
            return False
        made = self._weights[name][1] if name in self._weights else self.slots.draw(len(weight))
        self._meet_weight(name, inputs, made)
        if bias is not None:
            self._adopt(bias, made)
        self._note_op(name, x, weight, outputs, mult_adds)
        self._maps[outputs] = spread(made, outputs.shape, outputs.dim() - 1)
        return True

    def _meet_weight(self, name: str, inputs: Ints, made: Ints, depthwise: bool = False) -> None:
        """Note the axes of a weight; one that was met before has the channels that it had."""
        if name in self._weights:
            before = self._weights[name]
            self.slots.join(inputs, before[0])
            self.slots.join(made, before[1])
            return
        self._weights[name] = inputs, made
        self._note_axis(name, 0, made)
        if not depthwise:
            self._note_axis(name, 1, inputs)
            self.made[name.rpartition(".")[0] or name] = made

    def _note_op(
        self,
        name: str,
        x: Tensor,
        weight: Tensor,
        outputs: Tensor,
        mult_adds: float,
        depthwise: bool = False,
        groups: int = 1,
    ) -> None:
        inputs, made = self._weights[name]
        channels = len(inputs) if depthwise else len(inputs) * groups
        sizes = x.numel() / channels, outputs.numel() / len(made)
        op = Op(name, 0.0, 0, inputs, made, *sizes, depthwise, 1 if depthwise else groups)
        self.ops.append(replace(op, mult_adds=mult_adds / op.pairs, weights=weight.numel() // op.pairs))

    def _norm(self, x: Tensor, tensors: Sequence[Tensor | None], outputs: Tensor) -> None:
        channels, slots = self._columns(x, 1), self._map(x)
        assert slots is not None
        for position, tensor in enumerate(tensors):
            if channels is None or tensor is None:
                continue
            self._adopt(tensor, channels)
            name = self._name(tensor)
            if position == 0 and name is not None and all(gate.name != name for gate in self.gates):
                self.gates.append(Axis(name, 0, channels))
        self._maps[outputs] = slots

    def _view(self, x: Tensor, outputs: Tensor) -> None:
        """Cut axes up or merge them.

        The parts into which the channels are cut keep their number, whichever is smaller: an index leaves all of them.
        """
        slots = self._map(x)
        assert slots is not None
        for before, after in _match_axes(x.shape, outputs.shape):
            differ = [axis for axis in before if self.slots.differ_along(slots, axis)]
            if differ and len(after) > 1:
                if len(before) > 1 or len(after) > 2:
                    self._give_up([x], outputs)
                    return
                rows, columns = (outputs.shape[axis] for axis in after)
                cut = _cut_axis(slots, differ[0], rows)
                self.slots.join_along(cut, differ[0] if rows <= columns else differ[0] + 1)
        self._maps[outputs] = slots.reshape(outputs.shape)

    def _cut(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: Any) -> None:
        slots = self._map(args[0])
        assert slots is not None
        names = [argument.name for argument in func._schema.arguments]
        at = names.index("dim")
        axis = args[at] if at < len(args) else kwargs.get("dim", 0)
        parts = outputs if isinstance(outputs, tuple | list) else [outputs]
        if self.slots.differ_along(slots, axis) and any(part.shape != args[0].shape for part in parts):
            if not (self.is_chunk and len({part.shape for part in parts}) == 1):
                self._fix([args[0]])
            else:
                self.slots.join_along(_cut_axis(slots, axis % slots.dim(), len(parts)), axis % slots.dim())
        self._move(func, args, kwargs, outputs)

    def _move(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: Any) -> None:
        """Repeat the operation on maps; a constant among what it reads cannot leave."""

        def map_of(tensor: Tensor) -> Tensor:
            slots = self._map(tensor)
            return torch.zeros((), dtype=torch.int64).expand(tensor.shape) if slots is None else slots

        moved = func(*tree_map_only(Tensor, map_of, args), **kwargs)
        for output, slots in zip(tree_leaves(outputs), tree_leaves(moved), strict=True):
            self._maps[output] = slots

    def _concatenate(self, tensors: Sequence[Tensor], axis: int, outputs: Tensor) -> None:
        maps = []
        for tensor in tensors:
            slots = self._map(tensor)
            slots = torch.zeros((), dtype=torch.int64).expand(tensor.shape) if slots is None else slots
            if tensor.dim() == outputs.dim():  # torch lets an empty tensor of one axis pass
                maps.append(slots)
        for other in range(outputs.dim()):  # keep what is expanded small
            if other != axis % outputs.dim() and all(slots.stride(other) == 0 for slots in maps):
                maps = [slots.narrow(other, 0, 1) for slots in maps]
        self._maps[outputs] = torch.cat(maps, axis).expand(outputs.shape)

    def _reduce(self, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: Tensor) -> None:
        x, slots = args[0], self._map(args[0])
        assert slots is not None
        dims = args[1] if len(args) > 1 and isinstance(args[1], list | tuple | int) else kwargs.get("dim")
        dims = [dims] if isinstance(dims, int) else dims or range(x.dim())
        axes = sorted({axis % x.dim() for axis in dims}, reverse=True)
        if any(self.slots.differ_along(slots, axis) for axis in axes):
            self._give_up([x], outputs)
            return
        for axis in axes:
            slots = slots.narrow(axis, 0, 1)
            if outputs.dim() < x.dim():
                slots = slots.squeeze(axis)
        self._maps[outputs] = slots

    def _pool(self, x: Tensor, outputs: Any) -> None:
        """Change the size of all axes after that of the channels."""
        slots = self._map(x)
        assert slots is not None
        for axis in reversed(range(2, x.dim())):
            slots = self.slots.join_along(slots, axis)
        for output in tree_leaves(outputs):
            self._maps[output] = slots.view(*slots.shape, *[1] * (output.dim() - 2)).expand(output.shape)

    def _join(self, tensors: Sequence[Tensor], outputs: Tensor) -> None:
        """Join what is computed together, number by number; what is the same for all channels has none of them."""
        shape = outputs.shape
        maps = [(tensor, slots.expand(shape)) for tensor in tensors if (slots := self._map(tensor)) is not None]
        for axis, size in enumerate(shape):

            def own(tensor: Tensor, axis: int = axis) -> int:
                place = axis - len(shape) + tensor.dim()
                return tensor.shape[place] if place >= 0 else 1

            if size > 1 and any(self.slots.differ_along(slots, axis) for _, slots in maps):
                single = [tensor for tensor, _ in maps if own(tensor) == 1]
                self._fix(single)
                maps = [(tensor, slots) for tensor, slots in maps if own(tensor) > 1]
                if any(self._map(tensor) is None and own(tensor) > 1 for tensor in tensors):
                    self._fix([tensor for tensor, _ in maps])
        first = maps[0][1]
        for _, slots in maps[1:]:
            self.slots.join_maps(first, slots)
        self._maps[outputs] = first


def _cut_axis(slots: Tensor, axis: int, parts: int) -> Tensor:
    """Return a map with an axis cut into parts of equal size: their number, then their size."""
    shape = slots.shape
    return slots.reshape(*shape[:axis], parts, shape[axis] // parts, *shape[axis + 1 :])


def _match_axes(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the axes of a shape with those of another that hold the same numbers in a view; those of size 1 aside."""
    left = [axis for axis, size in enumerate(before) if size > 1]
    right = [axis for axis, size in enumerate(after) if size > 1]
    while left:
        some, others = [left.pop(0)], [right.pop(0)]
        while (a := math.prod(before[i] for i in some)) != (b := math.prod(after[i] for i in others)):
            if a < b:
                some.append(left.pop(0))
            else:
                others.append(right.pop(0))
        yield some, others
