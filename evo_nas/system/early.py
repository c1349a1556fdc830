"""The first moments of a command, before anything that takes long is imported.

This file and the first lines of ``evo_nas/__init__.py`` are read by Pythons that are too old, back to 3.6, so that they
are refused in one line: neither holds syntax, nor imports from ``__future__``, that those do not know.
"""

import _signal as signal  # type: ignore[import-not-found]  # what the module signal imports takes a while
import os
import sys

OLDEST = (3, 11, 4)
"""The oldest Python that evo_nas runs on; pip reads the same from pyproject.toml."""


def refuse_old_python() -> None:
    """Refuse this Python, which is older than ``OLDEST``: a command ends with one line and exit code 2.

    Raises:
        ImportError: if evo_nas is imported by another program or by a notebook.
    """
    oldest, ours = (".".join(map(str, version[:3])) for version in (OLDEST, sys.version_info))
    words = f"evo_nas: it needs Python {oldest} or newer, and {sys.executable} is {ours}"
    # The list of the original words, which is_own_command reads, came with Python 3.10.
    if os.path.basename(sys.argv[0] if sys.argv else "") not in ("-m", "evo_nas"):  # noqa: PTH119
        raise ImportError(words)
    sys.stderr.write(words + "\n")
    sys.exit(2)


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
