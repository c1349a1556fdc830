"""The image sets by name, and the folders in which they and their decoded copies lie. Standard library only."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evo_nas.errors import UsageError
from evo_nas.system.cache import user_cache


@dataclass(frozen=True, slots=True)
class DataSet:
    """The facts of an image set that are known before a file is opened.

    ``size`` is the native width and height in pixels, ``None`` where the files decide; ``channels`` is 1 (grey) or 3
    (RGB). ``train`` and ``test`` are how many images a complete set has, ``None`` where any number is right.
    """

    name: str
    title: str
    size: int | None
    channels: int
    classes: int | None = None
    train: int | None = None
    test: int | None = None


DATA_SETS: Final[dict[str, DataSet]] = {
    s.name: s
    for s in (
        DataSet("cifar10", "CIFAR-10 (Krizhevsky 2009)", 32, 3, classes=10, train=50_000, test=10_000),
        DataSet("cifar100", "CIFAR-100 (Krizhevsky 2009)", 32, 3, classes=100, train=50_000, test=10_000),
        DataSet("digits", "the handwritten digits that scikit-learn ships", 8, 1, classes=10, train=1_442, test=355),
        DataSet("folder", "any image folder: train/<class>/*.jpg|png and test/<class>/*", None, 3),
    )
}
"""Name, as ``--dataset`` takes it -> the facts of the set.

A new one is a line here, a source (:mod:`evo_nas.data.sources.base`) beside this file, and a branch in ``locate.py``.
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
        return Path(data_dir).expanduser()
    named = os.environ.get("EVO_NAS_DATA")
    return Path(named).expanduser() if named else user_cache() / "data"


def find_decoded_root() -> Path:
    """Return the folder of the decoded copies: ``EVO_NAS_CACHE``, else the XDG cache."""
    named = os.environ.get("EVO_NAS_CACHE")
    return Path(named).expanduser() if named else user_cache() / "decoded"


def command(verb: str, dataset: str, data_dir: Path) -> str:
    """Return the command that mends (``fetch``) or examines (``check``) a set, ready for a shell."""
    return f"python -m evo_nas data {verb} --dataset {dataset} --data-dir {shlex.quote(str(data_dir))}"
