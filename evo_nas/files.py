"""Files that are written whole or not at all, and where the cache of the user is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a place to write to; what lies there in the end takes the place of ``path``.

    Whatever goes wrong, an interruption or a power cut, ``path`` is what it was or what it was to become. A symbolic
    link in its place, or in that of the file beside it, is replaced: nothing is written to what it leads to.

    Raises:
        OSError: if it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)  # left behind by a kill, or a link that leads elsewhere
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(text, "utf-8")


def user_cache() -> Path:
    """Give our folder in the user's cache; the XDG specification says that a relative path is to be ignored."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "evo_nas"
