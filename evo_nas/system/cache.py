"""The user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import gettempdir


def user_cache() -> Path:
    """Return our folder in the user's cache; the XDG specification says that a relative path is to be ignored.

    A user without a home, as in some containers, has one among the temporary files.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named / "evo_nas"
    try:
        return Path.home() / ".cache" / "evo_nas"
    except RuntimeError:
        return Path(gettempdir()) / f"evo_nas-{os.getuid()}"
