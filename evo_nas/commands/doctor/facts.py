"""Facts on this machine: versions, cores, device, images, run folder. Nothing is changed, and nothing is decoded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from evo_nas.data.decoded import entry_folder, is_decoded
from evo_nas.data.sources.catalogue import data_root, data_set
from evo_nas.data.sources.locate import locate
from evo_nas.errors import RunFolderError
from evo_nas.storage.run_folder import RunFolder
from evo_nas.system.resources import (
    available_memory,
    environment,
    processor,
    processor_quota,
    total_memory,
    usable_cores,
)

CAPABILITIES: Final = ("DEFAULT", "AVX2", "AVX512")
"""The instruction sets for which torch has kernels on x86, from the slowest (ATen/native/DispatchStub)."""


@dataclass(frozen=True)
class Machine:
    """The machine and what torch makes of it.

    ``cores`` are those that this process may use, ``quota`` how many cores' worth of time its control group grants;
    ``load`` is how many processes wanted to run in the last minute. Memory is in bytes. ``capability`` names the
    instructions that torch uses, ``native`` the best ones that the processor has; ``no_kernels`` says why there are no
    kernels of ours, see :mod:`evo_nas.phenotypes.fast.kernels`, ``no_onednn`` why trainings go without oneDNN. ``gpus``
    are the devices that torch can use, ``nvidia`` says whether there is a driver of NVIDIA's, ``cuda`` for which CUDA
    torch was built. What is ``None`` is not known here, or there is none.
    """

    versions: dict[str, str | None]
    processor: str
    system: str
    cores: int
    quota: float | None
    load: float | None
    memory: int | None
    available: int | None
    capability: str
    native: str | None
    no_kernels: str | None
    no_onednn: str | None
    gpus: tuple[str, ...]
    nvidia: bool
    cuda: str | None

    @property
    def usable(self) -> int:
        """Number of cores that can be kept busy."""
        return self.cores if self.quota is None else max(1, min(self.cores, int(self.quota)))


def look_at_machine() -> Machine:
    """Return the facts on this machine, as the process sees it."""
    import torch

    from evo_nas.phenotypes import onednn
    from evo_nas.phenotypes.fast.kernels.trust import why_not

    surroundings = environment()
    gpus = (
        [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    if torch.backends.mps.is_available():
        gpus.append("Apple GPU (mps)")
    return Machine(
        versions=surroundings["versions"],
        processor=surroundings["processor"] or surroundings["machine"],
        system=surroundings["system"],
        cores=usable_cores(),
        quota=processor_quota(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        memory=total_memory(),
        available=available_memory(),
        capability=torch.backends.cpu.get_cpu_capability(),
        native=native_capability(processor()[1]),
        no_kernels=why_not(),
        no_onednn=onednn.why_not(),
        gpus=tuple(gpus),
        nvidia=Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None,
        cuda=torch.version.cuda,
    )


def native_capability(flags: str) -> str | None:
    """Return the best of :data:`CAPABILITIES` that a processor with these flags has; ``None`` where nobody says."""
    words = set(flags.split())
    if not words:
        return None
    # As torch asks: all of these, and FMA beside AVX2 (c10 and ATen, cpuinfo_has_x86_*).
    if {"avx512f", "avx512vl", "avx512bw", "avx512dq", "fma"} <= words:
        return "AVX512"
    return "AVX2" if {"avx2", "fma"} <= words else "DEFAULT"


@dataclass(frozen=True)
class Images:
    """The images of a search: where they lie, their ``labels``, and whether they are decoded.

    ``decoded`` is the folder of the decoded copy, which need not be there; ``size`` and ``native`` are pixels a side,
    wanted and of the files (``None`` where they differ).
    """

    dataset: str
    place: str
    decoded: Path
    is_decoded: bool
    labels: np.ndarray
    classes: int
    size: int
    native: int | None
    channels: int

    @property
    def decoded_bytes(self) -> int:
        """Bytes that the decoded copy takes on the disk."""
        return len(self.labels) * (self.size**2 * self.channels + 8)


def look_at_images(dataset: str, data_dir: Path | None, size: int, channels: int) -> Images:
    """Find the images of a data set and count them.

    Raises:
        DataError: if images are missing or damaged.
    """
    source = locate(dataset, data_root(data_dir).absolute())
    return Images(
        dataset=dataset,
        place=source.place,
        decoded=entry_folder(source, "train", size, channels),
        is_decoded=is_decoded(source, "train", size, channels),
        labels=source.labels("train"),
        classes=len(source.classes()),
        size=size,
        native=data_set(dataset).size,
        channels=channels,
    )


@dataclass(frozen=True)
class RunFolderStat:
    """The place of a run folder: ``free`` bytes on its file system, and whether that has file locks."""

    path: Path
    free: int
    has_locks: bool


def look_at_place(path: Path) -> RunFolderStat:
    """Try a run folder where one is wanted, and take it back.

    Raises:
        RunFolderError: if it is not empty, in use, or cannot be written.
    """
    if path.exists():
        with RunFolder.create(path) as folder:
            has_locks = folder.has_locks
            folder.discard()
        return RunFolderStat(path, shutil.disk_usage(path).free, has_locks)
    above = next(parent for parent in _above(path) if parent.exists())
    try:
        with TemporaryDirectory(prefix=".evo_nas-", dir=above) as scratch, RunFolder.create(Path(scratch)) as folder:
            return RunFolderStat(path, shutil.disk_usage(above).free, folder.has_locks)
    except OSError as error:
        raise RunFolderError(f"cannot make the run folder {path}: {error.strerror} ({above})") from error


def _above(path: Path) -> Iterator[Path]:
    yield from path.absolute().parents
