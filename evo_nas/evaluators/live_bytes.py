"""The memory that tensors take, counted: every tensor of a pass, followed from its birth to its death."""

from __future__ import annotations

import weakref
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WORKER: Final = 160 * 2**20
"""Bytes that a worker process has to itself before it has read an image: measured, see docs/measurements/proxy.md."""

SLACK: Final = 1.25
"""By how much more the allocator takes than the tensors that live: measured, see docs/measurements/proxy.md."""

WEIGHED: Final = 4
"""Random candidates by whose largest the memory of a worker is judged."""


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the memory of every tensor that is made; ``peak`` is the most that lived at once, in bytes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._known: dict[int, int] = {}  # storage -> bytes; views share their storage

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return true, as nothing is compiled here: torch would import its compiler for more than a second."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._follow(tensor.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        number = storage._cdata
        if number not in self._known:
            self._known[number] = storage.nbytes()
            self._now += storage.nbytes()
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._forget, number)

    def _forget(self, number: int) -> None:
        self._now -= self._known.pop(number)
