"""Devices: which one a name stands for, and how to use it."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import torch

from evo_nas.phenotypes import onednn
from evo_nas.phenotypes.fast.kernels import trust
from evo_nas.system.resources import processor

_log = logging.getLogger(__name__)

_FOR_BFLOAT16 = frozenset(("avx512_bf16", "amx_bf16", "bf16"))
"""Flags of processors that multiply in bfloat16, each of which is enough; the last is ARM's."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""

_LARGEST_BLOCK = 2**30
"""Bytes beyond which a block is handed back all the same."""


class DeviceMissing(ValueError):
    """There is no such device: it was never there, or it was lost."""


def resolve_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` into a device that is there.

    Raises:
        DeviceMissing: if there is no such device.
        ValueError: if no device has such a name.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdecimal())):
        raise ValueError(f"unknown device {name!r}: write auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            raise DeviceMissing(f"the device {name} is not there: torch sees {count} CUDA devices; try --device auto")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceMissing("the device mps is not there: torch sees no Apple GPU; try --device auto")
    return torch.device(name)


def gpus_for(name: str) -> list[str]:
    """List the GPUs among which workers are shared out, as CUDA_VISIBLE_DEVICES names them.

    None where the device is no GPU, or one of several is named: then all workers take that one. Untested on CUDA
    hardware.
    """
    if name not in ("auto", "cuda") or not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = (
        [word.strip() for word in visible.split(",")] if visible else list(map(str, range(torch.cuda.device_count())))
    )
    return named[: torch.cuda.device_count()]


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager[object]:
    """Compute in ``precision``, a name of :data:`evo_nas.training.recipes.PRECISIONS`. Untested on CUDA hardware."""
    in_bfloat16 = device.type == "cuda" if precision == "auto" else precision == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16) if in_bfloat16 else nullcontext()


def synchronize(device: torch.device) -> None:
    """Wait until the device has done its work, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def warn_of_faults(device: torch.device) -> None:
    """Log a line for each way of computing that the self-check found at fault here, and that is therefore not used."""
    if device.type == "cpu":
        for name, fault in (("the compiled kernels", trust.fault()), ("oneDNN", onednn.why_not())):
            if fault is not None:
                _log.warning("warning: trainings go without %s, and take longer: %s", name, fault)


def warn_of_slow_precision(device: torch.device, precision: str) -> None:
    """Log a line if this processor has no instructions for the precision of a training."""
    flags = processor()[1].split()
    if device.type == "cpu" and precision == "bfloat16" and flags and not _FOR_BFLOAT16.intersection(flags):
        _log.warning(
            "warning: this processor has no instructions for bfloat16 (avx512_bf16, amx_bf16), which is slower here "
            "than float32: leave precision out"
        )


def keep_freed_memory() -> None:
    """Keep memory that this process frees: a training takes the same again at its next step.

    glibc would hand larger blocks back, and the kernel fill them with zeros, page by page, each time. Elsewhere
    nothing happens.
    """
    with suppress(OSError, AttributeError, ValueError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_BLOCK - 1)


@contextmanager
def use_threads(threads: int) -> Iterator[None]:
    """Let torch compute with so many threads; afterwards it has as many as before.

    One is right for small tensors: where other programs keep the cores busy, several wait for each other most of the
    time, and a second of work becomes half a minute.
    """
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads_before)


@contextmanager
def seed_torch(seed: int, device: torch.device, threads: int) -> Iterator[None]:
    """Seed torch's default generators and set its threads; afterwards both are as they were before.

    On the CPU, torch uses oneDNN only where the self-check found no fault with it.
    """
    devices = [device] if device.type != "cpu" else []
    with (
        torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"),
        nullcontext() if devices else onednn.avoid_faults(),
        use_threads(threads),
    ):
        torch.manual_seed(seed)
        yield
