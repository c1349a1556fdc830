"""A check of this machine's arithmetic, in a process of its own: it may crash there, and its verdict is kept.

Compiled code that is wrong on one kind of processor writes where it must not, or computes wrong numbers. Neither can be
caught in the process in which it happens. So a probe runs in a forked child, once per torch version and processor, and
what it finds decides in later processes whether that code is used.
"""

from __future__ import annotations

import faulthandler
import fcntl
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
from evo_nas.system.cache import writable_cache
from evo_nas.system.resources import processor
from evo_nas.system.text import read_text
from evo_nas.system.version import __version__

SECONDS: Final = 60
"""After which a probe counts as hanging; on a free machine it takes a fraction of one."""

_VARIABLES: Final = ("ONEDNN_", "DNNL_", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
"""The beginnings of the environment variables that decide which code torch runs on the CPU."""

_LONGEST: Final = 300
"""Characters of the longest reason that is read back."""

_PIPE: Final = 4096
"""Bytes that a pipe takes at least before its writer has to wait: more than an answer has."""

_CRASHES: Final = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP)
"""Signals that end a process that does wrong. Any other signal comes from somebody else."""


def find_fault(name: str, probe: Callable[[], str | None], depends: str = "") -> str | None:
    """Return in one line what is wrong with the code that a probe goes through; ``None`` if it may be used.

    The probe returns ``None``, or what is wrong; it runs in a forked child with one thread, and a crash of that child
    is a fault too. The verdict is kept in the user's cache for this evo_nas, this torch, this processor, the variables
    that choose torch's code, and ``depends``. Where the probe could not be run to its end nothing is kept, and that is
    the fault: memory may be short this time only.
    """
    place = writable_cache() / "self-check" / f"{name}-{_key(depends)}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):  # none there, or damaged: then it is made again
        kept = json.loads(read_text(place))["fault"]
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
    """Run a probe in a forked child, and return what it returned, or which crash ended the child.

    Raises:
        OSError: if there can be no child, or it neither answered nor crashed: the probe raised an exception or took
            longer than :data:`SECONDS`, or somebody ended the child.
    """
    reading, writing = os.pipe()
    try:
        status = _status_of_child(probe, writing)
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            name = next((one.name for one in signal.Signals if one == number), f"signal {number}")
            if number not in _CRASHES:
                raise OSError(f"it was ended by {name}")
            return f"it crashed ({name}) in the self-check"
        if code := os.WEXITSTATUS(status):
            raise OSError(f"it ended with exit code {code}")
        answer: dict[str, str | None] = json.loads(os.read(reading, _PIPE))
    finally:
        os.close(reading)
        os.close(writing)
    if (error := answer["error"]) is not None:
        raise OSError(error)
    return answer["fault"]


def _status_of_child(probe: Callable[[], str | None], pipe: int) -> int:
    """Fork a child that runs a probe and writes its answer into a pipe; return the status with which it ended."""
    child = None
    try:
        # A signal between the fork and the child's first line would have the child go on as its parent.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with warnings.catch_warnings():
                # A fork of a process with threads can hang; the alarm ends that.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                _answer(probe, pipe)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return os.waitpid(child, 0)[1]
    except KeyboardInterrupt:
        if child is not None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        raise


def _answer(probe: Callable[[], str | None], pipe: int) -> None:
    """Run the probe in the child, write what it returns or raises, and end the child."""
    code = 1
    try:
        _leave_the_parent()
        pipe = fcntl.fcntl(pipe, fcntl.F_DUPFD, 3)  # a parent that has closed its streams may have it among them
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (1, 2):
            os.dup2(quiet, stream)
        torch.set_num_threads(1)
        fault = error = None
        try:
            fault = probe()
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}".removesuffix(": ")
        answer = {"fault": _in_a_line(fault), "error": _in_a_line(error)}
        os.write(pipe, json.dumps(answer).encode())
        code = 0
    finally:
        os._exit(code)


def _leave_the_parent() -> None:
    """Part this child from its parent: its signals are its own, no core file is left, and only the alarm ends it."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):  # as for Ctrl-C, which goes to both: it is the parent's to answer
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.alarm(SECONDS)
    faulthandler.disable()  # a crash is an answer here, and no crash of the run
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _in_a_line(words: str | None) -> str | None:
    return words and " ".join(words.split())[:_LONGEST]


def _key(depends: str) -> str:
    """Return a digest of all that a verdict depends on."""
    named = sorted((name, value) for name, value in os.environ.items() if name.startswith(_VARIABLES))
    known = [
        __version__,
        torch.__version__,
        torch.backends.cpu.get_cpu_capability(),
        *processor(),
        repr(named),
        depends,
    ]
    return hashlib.sha256("\0".join(known).encode("utf-8", "surrogateescape")).hexdigest()[:16]
