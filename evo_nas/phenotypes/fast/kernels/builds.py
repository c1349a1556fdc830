"""The building of kernels, and those that a wheel carries: for two instruction sets, of which the processor chooses.

It imports nothing but the standard library, for it is run when a wheel is built, too (``.ci/kernels_hook.py``).
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parent
FLAGS: Final = ("-O3", "-std=gnu11", "-shared", "-fPIC", "-fno-math-errno")
REALS: Final = ("float", "double")
"""C types of the numbers; a library has kernels for one of them."""

_V3: Final = frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"})
LEVELS: Final = {
    "x86-64-v4": _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": _V3,
}
"""Instruction sets of the libraries in a wheel, the better first -> the flags of Linux that a processor needs for each.

The levels are those of the System V ABI for x86-64, section 3.1.1; ``abm`` stands for LZCNT.
"""


def list_sources() -> list[Path]:
    """Return the files of the C source, sorted."""
    return sorted(SOURCES.glob("*.[ch]"))


def complete_command(compiler: Sequence[str], real: str, output: Path) -> list[str]:
    """Return a command of a compiler and its flags, completed to make the library ``output`` for numbers of a type."""
    return [*compiler, f"-DREAL={real}", str(SOURCES / "kernels.c"), "-lm", "-o", str(output)]


def name_library(level: str, real: str) -> str:
    """Return the path, below the package, of the library that a wheel carries for an instruction set and a type."""
    return f"built/kernels-{level}-{real}.so"


def find_library(real: str) -> Path | None:
    """Return the library that was installed for this processor; ``None`` if the package was not built with any."""
    for level, needed in LEVELS.items():
        if (path := SOURCES / name_library(level, real)).is_file() and needed <= _processor_flags():
            return path
    return None


@cache
def _processor_flags() -> frozenset[str]:
    """Return the flags of the processor as Linux on x86-64 names them; none elsewhere."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return frozenset()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return next((frozenset(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), frozenset())
