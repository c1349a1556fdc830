"""The agreement of ReLU codes: which units of a network let which images through (Mellor et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

_RELUS: Final = (F.relu, torch.relu)


class Agreement(TorchFunctionMode):
    """Counts, while a network computes, on how many bits of their ReLU codes two images agree: ``kernel``, (n, n).

    The code of an image has a bit a unit of every ReLU: whether it lets something through. K_ij = N - d_H(c_i, c_j)
    counts on how many of all N bits two images agree. Two ReLUs of the same input count twice, as in the released code.
    Hooks would miss the last ReLU of a ``CellNetwork``, which is no module; and it is one in the released code.
    """

    def __init__(self, images: int) -> None:
        super().__init__()
        self.kernel = torch.zeros(images, images, dtype=torch.float64)

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func in _RELUS:
            # Of +1 and -1 the product counts agreements less differences; in float32 exact up to 2**24 units.
            with torch.no_grad():
                signs = torch.where(args[0] > 0, 1.0, -1.0).flatten(1)
                self.kernel += (signs @ signs.T).cpu().double().add(signs.shape[1]).div(2)
        return func(*args, **(kwargs or {}))
