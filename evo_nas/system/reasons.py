"""Refusals of the operating system, in words that end with the mend."""

from __future__ import annotations

import errno

_SOCKET = 108
"""Bytes of the longest name of a socket, ``sun_path`` of unix(7)."""


def explain(error: BaseException) -> str:
    """Return why something failed, in one line, with the mend where one is known."""
    said, number = str(error), getattr(error, "errno", None)
    if said == "AF_UNIX path too long":
        from tempfile import gettempdir  # which loads a lot

        return f"TMPDIR ({gettempdir()}) is too long for a socket, which may have {_SOCKET} bytes: set TMPDIR=/tmp"
    if number == errno.ENOENT and "temporary directory" in said:
        return f"no temporary folder can be written (tried {said.partition(' in ')[2]}): let TMPDIR name one that can"
    if number in (errno.EMFILE, errno.ENFILE):
        return "too many open files: allow more, as with `ulimit -n 1024`"
    if number == errno.EAGAIN or "start new thread" in said:
        return (
            "no more processes or threads may be started: take fewer --workers, or raise the limit "
            "(`ulimit -u`, or pids.max of the control group)"
        )
    reason = getattr(error, "strerror", None) or said or type(error).__name__
    return " ".join(reason.split())
