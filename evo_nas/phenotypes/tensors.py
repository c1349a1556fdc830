"""Tensors of a file and those of a network: whether they fit, and how they are loaded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """Load tensors as ``load_state_dict`` does, of the versions of the modules that there are.

    A file has no versions, and some modules of torchvision refuse what has none.

    Raises:
        RuntimeError: if they do not fit.
    """
    state = OrderedDict(tensors)
    state._metadata = getattr(network.state_dict(), "_metadata", None)  # type: ignore[attr-defined]
    network.load_state_dict(state, strict=strict)


def fits(given: Tensor, own: Tensor) -> bool:
    """Return whether a tensor of a file can take the place of a network's: the same shape, and numbers of its kind.

    Floats of 16 to 64 bits can stand in for each other, and so can whole numbers; nothing is dropped silently then.
    """
    import torch

    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    whole = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    return given.shape == own.shape and any(given.dtype in kind and own.dtype in kind for kind in (floats, whole))
