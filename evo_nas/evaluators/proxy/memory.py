"""The memory that a worker of the proxy trainer takes, estimated before one is started.

A worker holds, beyond what it shares with the others: itself; the images that it trains and validates on, decoded; the
weights, their gradients and their momentum; and the activations of a batch, which decide. These are counted, not
guessed: one forward pass of a small batch is followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch

from evo_nas.evaluators.live_bytes import SLACK, WORKER, LiveBytes
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.training.devices import use_threads
from evo_nas.training.loop import EVALUATION_BATCH
from genotypes.cell import CellPair

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
    with use_threads(1):
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
    with LiveBytes() as training:
        network(pixels).sum()
    network.eval()
    with torch.inference_mode(), LiveBytes() as evaluation:
        network(pixels)
    scale = (image_size / side) ** 2 * (filters / width) / _FEW
    most = (training.peak * batch_size + evaluation.peak * min(EVALUATION_BATCH, images)) * scale
    parameters = sum(parameter.nbytes for parameter in network.parameters()) * (filters / width) ** 2
    return int(most + 3 * parameters)  # the weights, their gradients, their momentum
