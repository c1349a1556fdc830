"""The kernels as a shared library: that of a wheel, or one compiled on the machine that uses it, and kept.

To compile needs a C compiler, ``cc`` or what the environment variable ``CC`` names. Where there is none, or anything
else goes wrong, there are no kernels and torch's own operations do the work: the numbers are the same up to rounding.
``EVO_NAS_KERNELS=off`` says so on purpose.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from ctypes import POINTER, Structure, c_double, c_int, c_long, c_void_p
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from evo_nas.phenotypes.fast.kernels.builds import FLAGS, complete_command, find_library, list_sources
from evo_nas.system.atomic import sync
from evo_nas.system.cache import spare_cache, writable_cache

SWITCH: Final = "EVO_NAS_KERNELS"
_ON: Final = ("", "on", "1", "yes", "true")
_OFF: Final = ("off", "0", "no", "false")
LARGEST_WINDOW: Final = 256
"""Pixels of the largest window for which there is a kernel, ``LARGEST`` in the C source."""

_NATIVE: Final = ("-march=native", "-mcpu=native", "")
"""Flags that ask a compiler for all that this processor has; some know the one, some the other, some neither."""
_SECONDS: Final = 60
"""For which a compiler is waited for; it takes one or two."""


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


def is_switched_off() -> bool:
    """Return whether the environment variable :data:`SWITCH` says that kernels are not wanted."""
    return os.environ.get(SWITCH, "").lower() in _OFF


@cache
def library(real: str) -> ctypes.CDLL | str:
    """Load the kernels for numbers of the C type ``float`` or ``double``, or say in one line why there are none."""
    if is_switched_off():
        return f"switched off by {SWITCH}"
    if (word := os.environ.get(SWITCH, "")).lower() not in _ON:
        return f"{SWITCH} is {word!r}: write on or off"
    if (built := find_library(real)) is not None:
        with suppress(OSError, AttributeError):  # damaged, or for another system: a compiler may help
            return _declare(ctypes.CDLL(str(built)))
    try:
        path = _compile(real)
        try:
            return _declare(ctypes.CDLL(str(path)))
        except (OSError, AttributeError):  # what lies there is no library of ours, cut off perhaps
            path.unlink()
            return _declare(ctypes.CDLL(str(_compile(real))))
    except FileNotFoundError as error:
        return (
            f"there is no C compiler {error.filename}; install one, or name it by the environment variable CC, or "
            "install evo_nas from a wheel that carries them"
        )
    except subprocess.CalledProcessError as error:
        said = [line.strip() for line in error.stderr.decode(errors="replace").splitlines()]
        what = next((line for line in said if "error" in line), f"exit code {error.returncode}")
        return f"the C compiler failed: {what}"
    except (OSError, AttributeError, ValueError, subprocess.TimeoutExpired) as error:
        return f"the kernels could not be compiled or loaded: {error}"


def _declare(kernels: ctypes.CDLL) -> ctypes.CDLL:
    for name, arguments in _ARGUMENTS.items():
        function = getattr(kernels, name)
        function.argtypes, function.restype = arguments, c_int
    return kernels


def _compile(real: str) -> Path:
    """Find the library that this compiler has made for this processor before, or have it made."""
    command, macros = _compiler()
    sources = [path.read_bytes() for path in list_sources()]
    key = hashlib.sha256(b"\0".join((*sources, macros, repr(command).encode()))).hexdigest()
    name = f"kernels-{key[:16]}-{real}"
    for directory in _directories():
        for path in directory.glob(f"{name}-*.so"):
            if path.name == _name_by_content(name, path):
                return path
            path.unlink()  # a damaged one may load, and crash
        with suppress(PermissionError, FileExistsError, NotADirectoryError), TemporaryDirectory(dir=directory) as made:
            fresh = Path(made, f"{name}.so")
            _run(complete_command(command, real, fresh))
            sync(fresh)
            path = directory / _name_by_content(name, fresh)
            fresh.replace(path)  # at once: another process may be about to load it
            return path
    raise OSError("neither the user's cache nor the folder for temporary files can be written")


def _name_by_content(name: str, library: Path) -> str:
    return f"{name}-{hashlib.sha256(library.read_bytes()).hexdigest()[:16]}.so"


def _compiler() -> tuple[list[str], bytes]:
    """Return the command with the flags that the compiler knows, and what it predefines with these.

    That says which compiler it is, and which instructions it takes the processor to have: a home directory may be
    shared by machines of several kinds.
    """
    compiler = shlex.split(os.environ.get("CC") or "cc")
    for native in _NATIVE:
        command = [*compiler, *FLAGS, *filter(None, [native])]
        try:
            return command, _run([*command, "-dM", "-E", "-x", "c", os.devnull])
        except subprocess.CalledProcessError:
            if not native:
                raise
    raise AssertionError("the last is tried without")


def _directories() -> Iterator[Path]:
    """Return the folders in which libraries are kept, those that are there and are this user's alone."""
    for directory in (writable_cache() / "kernels", spare_cache()):
        with suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if directory.stat().st_uid == os.getuid() and not directory.stat().st_mode & 0o022:
                yield directory


def _run(command: list[str]) -> bytes:
    return subprocess.run(command, capture_output=True, check=True, timeout=_SECONDS, stdin=subprocess.DEVNULL).stdout
