"""Memory and processor time of this machine, within the limits of the control group.

On Linux, from ``/proc`` and from the control groups of both versions (kernel documentation, cgroup-v1/memory and
cgroup-v2); elsewhere nothing is known.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from evo_nas.system.version import __version__

ROOT = Path("/")


def total_memory(root: Path = ROOT) -> int | None:
    """Return the bytes of memory that all processes here may take together; ``None`` if that cannot be known."""
    if (total := _meminfo(root, "MemTotal")) is None:
        return None
    return min([total, *(limit for limit, _ in _memory_groups(root))])


def available_memory(root: Path = ROOT) -> int | None:
    """Return the bytes that can be taken now without swapping; ``None`` if that cannot be known.

    Memory held by caches counts as available.
    """
    if (available := _meminfo(root, "MemAvailable")) is None:
        return None
    return max(0, min([available, *(limit - taken for limit, taken in _memory_groups(root))]))


def processor_quota(root: Path = ROOT) -> float | None:
    """Return how many cores' worth of time the control group grants, as containers set it; ``None`` for no limit."""
    quotas = []
    for group in _groups(root, ""):
        with suppress(OSError, ValueError):
            quota, period = (group / "cpu.max").read_text("ascii").split()
            quotas.append(int(quota) / int(period))
    for group in _groups(root, "cpu"):
        with suppress(OSError, ValueError):
            quota, period = ((group / f"cpu.cfs_{word}_us").read_text("ascii") for word in ("quota", "period"))
            if int(quota) > 0:
                quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, str]:
    """Return the name of the processor and its flags, separated by spaces; unknown ones are empty.

    Linux alone says both in a file; elsewhere the platform module may know the name.
    """
    told: dict[str, str] = {}
    with suppress(OSError, UnicodeDecodeError):
        for line in cpuinfo.read_text("utf-8").splitlines():
            name, _, words = line.partition(":")
            told.setdefault(name.strip(), words.strip())
    return told.get("model name") or platform.processor(), told.get("flags") or told.get("Features") or ""


def _meminfo(root: Path, name: str) -> int | None:
    """Read one figure of ``/proc/meminfo``, which counts in kibibytes, in bytes."""
    with suppress(OSError, ValueError, IndexError):
        for line in (root / "proc/meminfo").read_text("ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def _memory_groups(root: Path) -> Iterator[tuple[int, int]]:
    """Return limit and use, in bytes, of each control group that has a limit; cached files do not count as use."""
    for controller, limit, use, cached in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for group in _groups(root, controller):
            with suppress(OSError, ValueError):  # no such file, or "max"
                most, taken = (int((group / name).read_text("ascii")) for name in (limit, use))
                stat = dict(line.split() for line in (group / "memory.stat").read_text("ascii").splitlines())
                yield most, taken - int(stat.get(cached, 0))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Return the folders of this process's control group and of those above it; ``""`` is the one tree of version 2.

    In a container the folder that ``/proc`` names may not be there, because only the group's own is mounted.
    """
    with suppress(OSError, UnicodeDecodeError):
        for line in (root / "proc/self/cgroup").read_text("utf-8").splitlines():
            _, names, path = line.split(":", 2)
            if controller in names.split(","):
                top = root / "sys/fs/cgroup" / controller
                own = top / path.strip("/")
                while own != top and top in own.parents:
                    yield own
                    own = own.parent
                yield top


def usable_cores() -> int:
    """Count the cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, Any]:
    """Return the facts besides the configuration that affect a result: versions, machine, command."""
    versions: dict[str, str | None] = {"evo_nas": __version__, "python": platform.python_version()}
    for package in ("torch", "torchvision", "numpy", "deap", "scikit-learn", "joblib"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "versions": versions,
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": processor()[0],
        "cores": usable_cores(),
        "command": sys.argv,
    }
