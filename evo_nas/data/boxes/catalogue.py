"""The sets with boxes by name."""

from __future__ import annotations

from typing import Final

from evo_nas.data.boxes.coco import COCO
from evo_nas.data.boxes.scenes import PLATES, SCENES
from evo_nas.data.boxes.voc import VOC
from evo_nas.data.sources.base import DataSet
from evo_nas.errors import UsageError

BOX_SETS: Final[dict[str, DataSet]] = {known.name: known for known in (SCENES, PLATES, VOC, COCO)}
"""Name, as ``--dataset`` takes it -> the facts of the set; ``size`` is the canvas that is taken by default.

A new one is described in a file beside this one, with its :class:`~evo_nas.data.boxes.base.BoxSource`.
"""


def box_set(name: str) -> DataSet:
    """Return a set with boxes by its name.

    Raises:
        UsageError: if there is none of that name.
    """
    if name not in BOX_SETS:
        raise UsageError(f"there is no data set with boxes {name!r}; those are: {', '.join(BOX_SETS)}")
    return BOX_SETS[name]
