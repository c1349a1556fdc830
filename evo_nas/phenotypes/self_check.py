"""A check of this machine's arithmetic, in a process of its own: it may crash there, and its verdict is kept.

Compiled code that is wrong on one kind of processor writes where it must not, or computes wrong numbers. Neither can be
caught in the process in which it happens. So a probe runs in a forked child, once per torch version and processor, and
what it finds decides in later processes whether that code is used.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import resource
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import torch

from evo_nas.system.atomic import write_whole
from evo_nas.system.cache import user_cache
from evo_nas.system.resources import processor

SECONDS: Final = 60
"""After which a probe counts as hanging; on a free machine it takes a fraction of one."""

_VARIABLES: Final = ("ONEDNN_", "DNNL_", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
"""The beginnings of the environment variables that decide which code torch runs on the CPU."""

_LONGEST: Final = 1000
"""Characters of the longest reason that is read back."""


def find_fault(name: str, probe: Callable[[], str | None], depends: str = "") -> str | None:
    """Return in one line what is wrong with the code that a probe goes through; ``None`` if it may be used.

    The probe returns ``None``, or what is wrong; it runs in a forked child with one thread, and whatever ends that
    child is a fault too. The verdict is kept in the user's cache for this torch, this processor, the variables that
    choose torch's code, and ``depends``. Where the probe could not be run nothing is kept, and that is the fault.
    """
    place = user_cache() / "self-check" / f"{name}-{_key(depends)}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):  # none there, or damaged: then it is made again
        kept = json.loads(place.read_text("utf-8"))["fault"]
        if kept is None or (isinstance(kept, str) and kept.isprintable() and len(kept) <= _LONGEST):
            return kept
    try:
        fault = run_probe(probe)
    except OSError as error:
        return f"the self-check could not run: {error.strerror or error}"
    with suppress(OSError):  # then the next process checks again
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, json.dumps({"fault": fault}) + "\n")
    return fault


def run_probe(probe: Callable[[], str | None]) -> str | None:
    """Run a probe in a forked child, and return what it returned, or what ended the child.

    Raises:
        OSError: if there can be no child, or it neither answered nor crashed in :data:`SECONDS`.
    """
    reading, writing = os.pipe()
    try:
        with warnings.catch_warnings():
            # A fork of a process with threads can hang; the alarm ends that.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            _answer(probe, writing)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read(4 * _LONGEST)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = signal.Signals(os.WTERMSIG(status))
        if number in (signal.SIGALRM, signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            raise OSError(f"it was ended by {number.name}")
        return f"it crashed ({number.name}) in the self-check"
    fault: str | None = json.loads(answer) if os.WEXITSTATUS(status) == 0 else "the self-check failed"
    return fault


def _answer(probe: Callable[[], str | None], pipe: int) -> None:
    """Run the probe in the child, write what it returns, and end the child."""
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        faulthandler.disable()  # a crash is an answer here, and no crash of the run
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (1, 2):
            os.dup2(quiet, stream)
        torch.set_num_threads(1)
        try:
            fault = probe()
        except Exception as error:
            fault = f"the self-check failed: {type(error).__name__}: {error}"
        fault = fault and " ".join(fault.split())[:_LONGEST]
        os.write(pipe, json.dumps(fault).encode())
        code = 0
    finally:
        os._exit(code)


def _key(depends: str) -> str:
    """Return a digest of all that a verdict depends on."""
    named = sorted((name, value) for name, value in os.environ.items() if name.startswith(_VARIABLES))
    known = [torch.__version__, torch.backends.cpu.get_cpu_capability(), *processor(), repr(named), depends]
    return hashlib.sha256("\0".join(known).encode("utf-8", "surrogateescape")).hexdigest()[:16]
