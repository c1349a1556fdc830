"""The image sets by name, and the folders in which they and their decoded copies lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from evo_nas.data.sources.base import DataSet
from evo_nas.data.sources.cifar import SETS
from evo_nas.data.sources.digits import DIGITS
from evo_nas.data.sources.image_folder import FOLDER
from evo_nas.errors import UsageError
from evo_nas.system.cache import expand_home, user_cache, writable_cache

DATA_SETS: Final[dict[str, DataSet]] = {known.name: known for known in (*SETS, DIGITS, FOLDER)}
"""Name, as ``--dataset`` takes it -> the facts of the set.

A new one is described in a file beside this one, with its :class:`~evo_nas.data.sources.base.ImageSource`.
"""


def data_set(name: str) -> DataSet:
    """Return an image set by its name.

    Raises:
        UsageError: if there is none of that name.
    """
    if name not in DATA_SETS:
        raise UsageError(f"there is no data set {name!r}; the data sets are: {', '.join(DATA_SETS)}")
    return DATA_SETS[name]


def data_root(data_dir: Path | None = None) -> Path:
    """Return the folder in which image sets are looked for: the argument, else ``EVO_NAS_DATA``, else the XDG cache."""
    if data_dir is not None:
        return expand_home(data_dir)
    named = os.environ.get("EVO_NAS_DATA")
    return expand_home(named) if named else user_cache() / "data"


def find_decoded_root() -> Path:
    """Return the folder of the decoded copies: ``EVO_NAS_CACHE``, else the XDG cache."""
    named = os.environ.get("EVO_NAS_CACHE")
    return expand_home(named) if named else writable_cache() / "decoded"
