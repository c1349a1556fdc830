"""A trained network over image files: its device, its batches, and files that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import torch

from evo_nas.errors import DataError, UsageError
from evo_nas.phenotypes.blueprint import Blueprint
from evo_nas.phenotypes.tensors import load_tensors
from evo_nas.training.devices import autocast, resolve_device, seed_torch

if TYPE_CHECKING:
    from torch import Tensor, nn

_BATCH: Final = 100
_LARGEST_BATCH: Final = 2**24
"""Numbers in the images of a batch, so that large images come in smaller batches."""

_Prepared = TypeVar("_Prepared")

NOT_FINITE: Final = "the network puts out what is no finite number: its training came to nothing"
"""What is said of a network whose outputs are of no use."""


@contextmanager
def open_network(
    blueprint: Blueprint, tensors: Mapping[str, Tensor], device: str, threads: int
) -> Iterator[tuple[nn.Module, torch.device]]:
    """Yield the network with its weights, in evaluation mode, and its device; the block runs in inference mode.

    Raises:
        UsageError: if there is no such device.
    """
    try:
        place = resolve_device(device)
    except ValueError as error:
        raise UsageError(str(error)) from error
    with seed_torch(0, place, threads), torch.inference_mode(), autocast(place):
        network = blueprint.network()
        load_tensors(network, blueprint.strip(tensors))
        yield network.to(memory_format=torch.channels_last).to(place).eval(), place


def prepare_batches(
    images: Sequence[Path], blueprint: Blueprint, prepare: Callable[[Path], _Prepared]
) -> Iterator[list[tuple[Path, _Prepared | None, str | None]]]:
    """Yield files in batches: each with what ``prepare`` makes of it, or else why it cannot be read.

    ``prepare`` raises :class:`evo_nas.errors.DataError` for a file that cannot be read.
    """
    size = min(_BATCH, max(1, _LARGEST_BATCH // (blueprint.channels * blueprint.image**2)))
    for start in range(0, len(images), size):
        batch: list[tuple[Path, _Prepared | None, str | None]] = []
        for path in images[start : start + size]:
            try:
                batch.append((path, prepare(path), None))
            except DataError as error:
                batch.append((path, None, str(error)))
        yield batch
