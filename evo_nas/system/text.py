"""Text files of any system: UTF-8 with or without a byte-order mark, whatever ends their lines."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

LARGEST: Final = 2**28
"""Bytes of the largest text that is read whole."""


def read_text(path: Path, largest: int = LARGEST, *, errors: str = "strict") -> str:
    r"""Return the text of a file, without byte-order mark, its lines ending in ``\n``.

    With ``errors="replace"``, for logs of which every readable line is wanted, no content is refused.

    Raises:
        OSError: if it cannot be opened or read.
        ValueError: if it is no file (a pipe would be waited for, a device may have no end), is larger than ``largest``
            bytes, or is not in UTF-8.
    """
    with os.fdopen(open_file(path), "rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"it has more than {largest:,} bytes")
    return decode_text(content, errors=errors)


def open_file(path: Path) -> int:
    """Return a descriptor from which a file can be read.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it is no file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # which waits for no pipe
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise ValueError("it is no file")


def decode_text(content: bytes, *, errors: str = "strict") -> str:
    """Return the text of bytes, as :func:`read_text` does.

    Raises:
        ValueError: if they are not in UTF-8.
    """
    if errors == "strict" and b"\0" in content:  # in UTF-16 and UTF-32 every letter of ASCII has one
        raise ValueError("it holds zero bytes, as UTF-16 does and no text in UTF-8: save it as UTF-8")
    try:
        text = content.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise ValueError(f"line {line} holds the byte 0x{byte:02x}, which is no UTF-8: save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
