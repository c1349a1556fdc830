"""oneDNN, by which torch convolves on the CPU: whether it computes right here, and what goes around it.

One kernel of it is known to write past its memory, see :func:`evo_nas.phenotypes.ops.convolve_pointwise`. Networks of
ours are built of layers that avoid it; :class:`SafeConvolutions` does the same for any other network. Whatever else may
be wrong on one kind of processor the self-check is to find: then torch's own convolutions take over, which are slower.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from evo_nas.phenotypes.ops import convolve_pointwise, same_padding
from evo_nas.phenotypes.self_check import find_fault

ISA_VARIABLES: Final = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
ISAS: Final = frozenset(
    """
    DEFAULT ALL SSE41 AVX AVX2 AVX2_VNNI AVX2_VNNI_2 AVX512_MIC AVX512_MIC_4OPS AVX512_CORE AVX512_CORE_VNNI
    AVX512_CORE_BF16 AVX512_CORE_FP16 AVX512_CORE_AMX AVX512_CORE_AMX_FP16 AVX10_1 AVX10_1_512 AVX10_1_512_AMX
    AVX10_1_512_AMX_FP16 AVX10_2 AVX10_2_512 AVX10_2_512_AMX_2 AVX10_2_AMX_2
    """.split()  # noqa: SIM905
)
"""Values of oneDNN's variables (its guide, "CPU Dispatcher Control"); it ignores any other word."""

_TOLERANCE: Final = 1e-3
"""Of the largest number: far from the errors of rounding in float32, and from those of a kernel that is wrong."""

_REPEATS: Final = 3
"""Times that each pass is made: damage to the heap shows when memory is handed out again."""


@cache
def why_not() -> str | None:
    """Return in one line why trainings go without oneDNN; ``None`` if they use it, or if there is none."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    for name in ISA_VARIABLES:
        if (word := os.environ.get(name)) is not None and word.upper() not in ISAS:
            return (
                f"{name} is {word!r}, which oneDNN does not know and passes over; write AVX2, for example, or unset it"
            )
    return find_fault("onednn", find_wrong_convolution)


@contextmanager
def avoid_faults() -> Iterator[None]:
    """Convolve without oneDNN until the end of the block, where the self-check found fault with it."""
    if why_not() is None:
        yield
        return
    before = torch.backends.mkldnn.enabled
    # Not by flags(), which warns of what some builds do not have.
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


def find_wrong_convolution() -> str | None:
    """Return which convolution, of those that networks here are made of, oneDNN gets wrong; ``None`` if none.

    Forward, and both gradients, in float32 against float64, which oneDNN does not compute. May crash.
    """
    generator = torch.Generator().manual_seed(0)
    for case in _cases():
        inputs, outputs, size, kernel, stride, dilation, groups = case
        x = torch.randn((8, inputs, size, size), generator=generator).to(memory_format=torch.channels_last)
        kernels = torch.randn((outputs, inputs // groups, *kernel), generator=generator)
        truth = _passes(x.double(), kernels.double(), stride, dilation, groups)
        for repeat in range(_REPEATS):
            for ours, theirs in zip(_passes(x, kernels, stride, dilation, groups), truth, strict=True):
                if not (ours - theirs).abs().max() <= _TOLERANCE * theirs.abs().max():
                    shape = "x".join(map(str, kernel))
                    return (
                        f"a {shape} convolution of {inputs} to {outputs} channels, stride {max(stride)}, "
                        f"dilation {dilation}, {groups} groups, is wrong"
                    )
            _ = [torch.empty(5 + repeat, 3 + index) for index in range(20)]
    return None


def _cases() -> Iterator[tuple[int, int, int, tuple[int, int], tuple[int, int], int, int]]:
    """Yield input and output channels, pixels a side, kernel, stride, dilation and groups."""
    for (inputs, outputs), stride in itertools.product(((1, 4), (3, 8), (4, 4), (6, 12), (16, 16)), (1, 2)):
        yield inputs, outputs, 8, (1, 1), (stride, stride), 1, 1
        yield inputs, outputs, 8, (3, 3), (stride, stride), 1, 1
        yield inputs, outputs, 8, (3, 3), (stride, stride), 2, 1
        yield inputs, outputs, 8, (1, 7), (1, stride), 1, 1
        yield inputs, outputs, 8, (7, 1), (stride, 1), 1, 1
    for channels, size, stride in itertools.product((2, 3, 16), (3, 5, 7), (1, 2)):
        yield channels, channels, 7, (size, size), (stride, stride), 1, channels
        yield channels, channels, 8, (size, size), (stride, stride), 2, channels


def _passes(x: Tensor, kernels: Tensor, stride: tuple[int, int], dilation: int, groups: int) -> Sequence[Tensor]:
    """Return the convolution, and the gradients of the input and of the kernels for an output of random signs."""
    axes = zip(x.shape[2:], kernels.shape[2:], stride, strict=True)
    padding = tuple(same_padding(*axis, dilation)[1] for axis in axes)
    leaves = [x.detach().requires_grad_(), kernels.detach().requires_grad_()]
    y = conv2d(leaves[0], leaves[1], None, stride, padding, (dilation, dilation), groups)
    direction = torch.ones_like(y)
    direction[:, ::2] = -1
    return [y.detach(), *torch.autograd.grad(y, leaves, direction)]


class SafeConvolutions(TorchFunctionMode):
    """Until the end of the block, convolutions of any network are those of :func:`conv2d`."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return (conv2d if func is F.conv2d else func)(*args, **(kwargs or {}))


def guard_convolutions(network: nn.Module) -> AbstractContextManager[object]:
    """Return :class:`SafeConvolutions`, or what costs nothing for a network that cannot need them.

    The mode looks at every call of torch, a twentieth of the time of a small detector. Layers of torch and of ours are
    known; those of others may convolve in any way.
    """
    for module in network.modules():
        is_strided = type(module) is nn.Conv2d and module.kernel_size == (1, 1) and max(module.stride) > 1
        if is_strided or not type(module).__module__.startswith(("torch.nn.", "evo_nas.")):
            return SafeConvolutions()
    return nullcontext()


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Return ``F.conv2d`` of the same arguments; 1x1 kernels with a stride are those of ``convolve_pointwise``."""
    if tuple(weight.shape[2:]) != (1, 1) or max(_pair(stride)) == 1 or padding == "same":  # which torch refuses
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    rows, columns = (0, 0) if isinstance(padding, str) else _pair(padding)  # "valid"
    if rows or columns:
        input = F.pad(input, (columns, columns, rows, rows))
    return convolve_pointwise(input, weight, bias, _pair(stride), groups)


def _pair(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))
