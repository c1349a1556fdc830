"""The kernels as a shared library: compiled on the machine that uses it, kept for the next process, and tried first.

Needs a C compiler, ``cc`` or what the environment variable ``CC`` names. Where there is none, or anything else goes
wrong, there are no kernels and torch's own operations do the work: the numbers are the same up to rounding.
``EVO_NAS_KERNELS=off`` says so on purpose.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import subprocess
from ctypes import POINTER, Structure, c_double, c_int, c_long, c_void_p
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

SWITCH: Final = "EVO_NAS_KERNELS"
_SOURCES: Final = Path(__file__).parent
_FLAGS: Final = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC", "-fno-math-errno")
_SECONDS: Final = 60


class Geometry(Structure):
    """One convolution or pooling, as ``Geometry`` of the C source has it: pixels, counted from the top left."""

    _fields_ = tuple(
        (name, c_long)
        for name in (
            *("n", "c", "height", "width", "out_height", "out_width", "rows", "columns"),
            *("stride", "dilation", "top", "left", "rectifies"),
        )
    )


_WINDOW: Final = POINTER(Geometry)
_PARTS: Final = (c_long, c_void_p, c_void_p)  # how many, their addresses, their channels
_ARGUMENTS: Final = {
    "depthwise_forward": (_WINDOW, *[c_void_p] * 3),
    "depthwise_backward": (_WINDOW, *[c_void_p] * 5),
    "max_pool_forward": (_WINDOW, *[c_void_p] * 3),
    "max_pool_backward": (_WINDOW, *[c_void_p] * 3),
    "norm_forward": (c_long, c_long, *[c_void_p] * 5, c_double, c_double, *[c_void_p] * 3),
    "norm_backward": (c_long, c_long, *[c_void_p] * 8),
    "pointwise_forward": (c_long, *_PARTS, c_void_p, c_void_p, c_long, c_void_p),
    "pointwise_backward": (c_long, *_PARTS, c_void_p, c_long, *[c_void_p] * 3),
    "unit_forward": (
        *(_WINDOW, *_PARTS, c_void_p, c_void_p, c_long, *[c_void_p] * 4, c_double, c_double),
        *[c_void_p] * 5,
    ),
    "unit_inference": (_WINDOW, *_PARTS, *[c_void_p] * 3, c_long, c_void_p),
    "unit_backward": (_WINDOW, *_PARTS, c_void_p, c_void_p, c_long, *[c_void_p] * 11),
}


@cache
def library(real: str) -> ctypes.CDLL | None:
    """Load the kernels for numbers of type ``float`` or ``double``; ``None`` where there are none, see :func:`why`."""
    loaded = _loaded(real)
    return loaded if isinstance(loaded, ctypes.CDLL) else None


def why() -> str | None:
    """Say in one line why there are no kernels for ``float``; ``None`` if there are."""
    loaded = _loaded("float")
    return loaded if isinstance(loaded, str) else None


@cache
def _loaded(real: str) -> ctypes.CDLL | str:
    if os.environ.get(SWITCH, "").lower() in ("off", "0", "no", "false"):
        return f"switched off by {SWITCH}"
    try:
        kernels = ctypes.CDLL(str(_compiled(real)))
        for name, arguments in _ARGUMENTS.items():
            function = getattr(kernels, name)
            function.argtypes, function.restype = arguments, c_int
    except FileNotFoundError as error:
        return f"there is no C compiler {error.filename}; install one, or name it by the environment variable CC"
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").splitlines() or ["no message"]
        return f"the C compiler failed: {lines[0]}"
    except (OSError, AttributeError, ValueError, subprocess.TimeoutExpired) as error:
        return f"the kernels could not be compiled or loaded: {error}"
    return kernels


def _compiled(real: str) -> Path:
    """Find the library compiled before by this compiler for this processor, or compile it."""
    compiler = shlex.split(os.environ.get("CC") or "cc")
    # What the compiler predefines says which it is, and which instructions it takes the processor to have: a home
    # directory may be shared by machines of several kinds.
    macros = _run([*compiler, *_FLAGS, "-dM", "-E", "-x", "c", os.devnull])
    sources = [path.read_bytes() for path in sorted(_SOURCES.glob("*.[ch]"))]
    key = hashlib.sha256(b"\0".join((*sources, macros, repr(_FLAGS).encode()))).hexdigest()
    name = f"kernels-{key[:16]}-{real}.so"
    for directory in _directories():
        path = directory / name
        if path.is_file():
            return path
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with TemporaryDirectory(dir=directory) as scratch:
                fresh = Path(scratch, name)
                _run([*compiler, *_FLAGS, f"-DREAL={real}", str(_SOURCES / "kernels.c"), "-o", str(fresh)])
                fresh.replace(path)  # at once: another process may be about to load it
        except OSError as error:
            if isinstance(error, FileNotFoundError) and error.filename == compiler[0]:
                raise
            continue
        return path
    raise OSError(f"no directory to keep them in can be written: {', '.join(map(str, _directories()))}")


def _directories() -> list[Path]:
    """List where libraries are kept: among the user's caches, else among temporary files of this user alone."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return [home / "evo_nas", Path(gettempdir(), f"evo_nas-{os.getuid()}")]


def _run(command: list[str]) -> bytes:
    return subprocess.run(command, capture_output=True, check=True, timeout=_SECONDS, stdin=subprocess.DEVNULL).stdout
