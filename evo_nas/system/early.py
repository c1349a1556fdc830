"""The first moments of a command, before anything that takes long is imported."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # what the module signal imports takes a while
import os
import sys


def is_own_command() -> bool:
    """Return whether this process is a command of evo_nas, which puts its own packages first: see ``__main__.py``."""
    first = sys.argv[0] if sys.argv else ""
    if first == "-m":  # Python looks for the module that it is to run
        return not {"evo_nas", "evo_nas.__main__", "-mevo_nas"}.isdisjoint(sys.orig_argv)
    return os.path.basename(first) == "evo_nas"  # noqa: PTH119  # pathlib takes a while to import


def end_in_one_line() -> None:
    """Let Ctrl-C end this process with one line, until :func:`evo_nas.system.stops.heed_stops` takes over."""

    def end(number: int, frame: object) -> None:
        try:
            os.write(2, b"evo_nas: stopped (Ctrl-C)\n")
        finally:
            os._exit(128 + number)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)
