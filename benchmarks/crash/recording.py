"""A recording of what a program does to the files below a folder: every write, new size, sync and change of names.

``recorder.c`` is preloaded into the program and all its children. It is compiled when it is needed; nothing of it
belongs to what is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
LOG: Final = "CRASH_LOG"
MARK: Final = "k"


class CannotRecord(Exception):
    """There is no compiler, or a program cannot be recorded here."""


@dataclass(frozen=True)
class Operation:
    """Something that was done.

    ``kind`` is ``c`` for a file that is new, ``w`` written at ``at``, ``t`` of the new size ``at``, ``s`` a file or
    folder synced, ``S`` everything synced, ``m`` a new folder, ``r`` renamed and ``l`` linked (to the path ``data``),
    ``y`` a new symbolic link (to ``data``), ``u`` a name removed, and ``k`` a mark: the program tells ``data``.
    """

    kind: str
    inode: int
    at: int
    path: str
    data: bytes


def mark(text: str) -> None:
    """Put a mark into the recording of this process: by now the text holds."""
    data = text.encode()
    number = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND)
    os.write(number, f"{MARK} 0 0 0 {len(data)}\n".encode() + data)
    os.close(number)


def compile_recorder(folder: Path) -> Path:
    """Compile the recorder into a folder.

    Raises:
        CannotRecord: if there is no C compiler, or this is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise CannotRecord("the recorder needs Linux")
    library = folder / "recorder.so"
    command = [os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC", "-o", library]
    try:
        subprocess.run([*command, Path(__file__).with_name("recorder.c"), "-ldl"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotRecord(f"the recorder could not be compiled: {error}") from error
    return library


def record(library: Path, root: Path, words: Sequence[str], log: Path) -> list[Operation]:
    """Run a Python program, and list what it did below ``root``, a folder without links in its path.

    Raises:
        CannotRecord: if it failed.
    """
    log.write_bytes(b"")
    environment = os.environ | {
        "LD_PRELOAD": str(library),
        "CRASH_ROOT": str(root),
        LOG: str(log),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRecord(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")
    return list(_parse(log.read_bytes()))


def _parse(content: bytes) -> Iterator[Operation]:
    at = 0
    while at < len(content):
        end = content.index(b"\n", at)
        kind, *numbers = content[at:end].split()
        inode, place, names, size = map(int, numbers)
        middle = end + 1 + names
        at = middle + size
        yield Operation(kind.decode(), inode, place, os.fsdecode(content[end + 1 : middle]), content[middle:at])
