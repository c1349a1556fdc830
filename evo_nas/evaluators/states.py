"""States of paused trainings: a file per trial in the run folder, from which its training goes on exactly.

A state is written before the history says that its rung was reached, and removed after that of the next one, or when
the trial has left the race. So there is always the one that the history speaks of; where it is lost or damaged all the
same, the training begins anew, with the same seed, and comes to the same result.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evo_nas.errors import DataError
from evo_nas.storage.run_folder import STATES
from evo_nas.system.atomic import make_folder

if TYPE_CHECKING:
    from torch import Tensor

_NAME: Final = re.compile(r"trial-(?P<trial>[0-9]{6,18})-(?P<epoch>[0-9]{4,9})\.safetensors(?P<partial>\.partial)?")


def state_file(directory: Path, trial: int, epoch: int) -> Path:
    """Name the file for the state of a trial after so many epochs, below the directory of a run."""
    return directory / STATES / f"trial-{trial:06d}-{epoch:04d}.safetensors"


def save_state(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a state, whole or not at all, with a checksum.

    Raises:
        OSError: if it cannot be written.
    """
    from evo_nas.phenotypes.blueprint import save_tensors

    make_folder(path.parent)
    save_tensors(path, tensors, sum=_sum_tensors(tensors))


def load_state(path: Path) -> dict[str, Tensor]:
    """Read a state.

    Raises:
        DataError: if there is none, or it is damaged.
    """
    from safetensors import safe_open

    from evo_nas.phenotypes.blueprint import load_network

    _, tensors = load_network(path)
    with safe_open(path, framework="pt") as file:
        sum_ = (file.metadata() or {}).get("sum")
    if sum_ != _sum_tensors(tensors):
        raise DataError(f"{path} does not agree with its checksum")
    return tensors


def keep_states(directory: Path, wanted: Mapping[int, int]) -> None:
    """Remove every state but those of the trials that are wanted, after at least so many epochs, where it can be.

    A later one is being written, or is that of a rung which the history does not know yet.
    """
    folder = directory / STATES
    with suppress(OSError):
        for file in folder.iterdir():
            found = _NAME.fullmatch(file.name)
            if found and int(found["epoch"]) < wanted.get(int(found["trial"]), 1 << 60):
                file.unlink(missing_ok=True)
        if not wanted:
            folder.rmdir()


def _sum_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the CRC-32 of the bytes of all tensors, by name, in hexadecimal digits."""
    import torch

    found = 0
    for name in sorted(tensors):
        data = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        found = zlib.crc32(data.numpy().tobytes(), zlib.crc32(name.encode(), found))
    return f"{found:08x}"
