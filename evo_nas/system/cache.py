"""The user's home and cache folder, also for a user who has none, or none that can be written."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

_told: Final[set[Path]] = set()
"""The caches of which it was said that they cannot be written."""

_log = logging.getLogger(__name__)


def expand_home(path: str | os.PathLike[str]) -> Path:
    """Return the path with ``~`` and ``~user`` replaced; as it is where nobody knows that home."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # that of pathlib raises


def user_cache() -> Path:
    """Return our folder in the user's cache; the XDG specification says that a relative path is to be ignored.

    A user without a home, as in some containers, has one among the temporary files.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = named if named.is_absolute() else expand_home("~/.cache")
    return home / "evo_nas" if home.is_absolute() else spare_cache()


def writable_cache() -> Path:
    """Return :func:`user_cache`; if it cannot be written, a folder among the temporary files, with one note in the log.

    Data sets that lie in a cache which can only be read are still found there.
    """
    cache, spare = user_cache(), spare_cache()
    if _is_ours(cache, shared=True) or not _is_ours(spare):
        return cache
    from multiprocessing import parent_process  # which a help does without

    if cache not in _told and parent_process() is None:
        _told.add(cache)
        _log.warning("note: the cache %s cannot be written; %s is used, or what XDG_CACHE_HOME names", cache, spare)
    return spare


def spare_cache() -> Path:
    """Return the folder among the temporary files that stands in for the cache."""
    from tempfile import gettempdir  # which loads a lot

    return Path(gettempdir(), f"evo_nas-{os.getuid()}")


def _is_ours(folder: Path, *, shared: bool = False) -> bool:
    """Return whether the folder is there and can be written, by this user alone unless it may be ``shared``."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        state = folder.stat()
    except OSError:
        return False
    is_alone = state.st_uid == os.getuid() and not state.st_mode & 0o022
    return (shared or is_alone) and os.access(folder, os.W_OK | os.X_OK)
