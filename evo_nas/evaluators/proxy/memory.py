"""The memory that a worker of the proxy trainer takes, estimated before one is started.

A worker holds, beyond what it shares with the others: itself; the images that it trains and validates on, decoded; the
weights, their gradients and their momentum; and the activations of a batch, which decide. These are counted, not
guessed: one forward pass of a small batch, with every tensor followed from its birth to its death.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from evo_nas.phenotypes.network import CellNetwork
from evo_nas.training.loop import EVALUATION_BATCH
from genotypes.cell import CellPair

WORKER: Final = 160 * 2**20
"""Bytes that a worker process has to itself before it has read an image: measured, see docs/measurements/proxy.md."""

SLACK: Final = 1.25
"""By how much more the allocator takes than the tensors that live: measured, see docs/measurements/proxy.md."""

_FEW: Final = 2
"""Images of the pass in which tensors are followed; batch norm needs two."""

_SIDE: Final = 32
_FILTERS: Final = 8
"""Largest image and width of that pass: it takes a moment and a few megabytes, whatever was asked for."""


def worker_bytes(candidates: Sequence[CellPair], *, images: int, image_size: int, batch_size: int, **size: Any) -> int:
    """Estimate what a worker on the processor takes at most, in bytes, while it trains the largest of some candidates.

    ``images`` are those to train and to validate on, together, of ``image_size`` pixels a side; ``size`` are the other
    options of :class:`evo_nas.phenotypes.network.CellNetwork`.
    """
    most = max(
        _network_bytes(cells, image_size=image_size, batch_size=batch_size, images=images, **size)
        for cells in candidates
    )
    pixels = image_size**2 * int(size["channels"])
    labels = 8  # int64
    return WORKER + images * (pixels + labels) + int(SLACK * most)


def _network_bytes(cells: CellPair, *, image_size: int, batch_size: int, images: int, filters: int, **size: Any) -> int:
    """Count what lives at the peak of a training step and at that of an evaluation, together.

    Together, because what a step has freed is in pieces that the evaluation's larger tensors do not fit into. In the
    backward pass gradients come as activations go. Activations grow with the images, with their area and with the
    filters, weights with the square of the filters: so a small network on a small batch tells of the large one.
    """
    side, width = min(image_size, _SIDE), min(filters, _FILTERS)
    with torch.random.fork_rng([]):
        network = CellNetwork(cells, filters=width, **size)
    network.to(memory_format=torch.channels_last)
    pixels = torch.zeros(_FEW, network.channels, side, side).to(memory_format=torch.channels_last)
    with _LiveBytes() as training:
        network(pixels).sum()
    network.eval()
    with torch.inference_mode(), _LiveBytes() as evaluation:
        network(pixels)
    scale = (image_size / side) ** 2 * (filters / width) / _FEW
    most = (training.peak * batch_size + evaluation.peak * min(EVALUATION_BATCH, images)) * scale
    parameters = sum(parameter.nbytes for parameter in network.parameters()) * (filters / width) ** 2
    return int(most + 3 * parameters)  # the weights, their gradients, their momentum


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
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
