"""The confusion of classes on the test images: a table per class, and a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

from evo_nas.commands.precision_lines import spell_share
from evo_nas.errors import RunFolderError
from genotypes.genotype import printable, shorten

_MOST = 20
"""Classes that a table in a terminal has; of more it shows those that are found least."""


def draw_confusion_file(file: Path) -> Iterator[str]:
    """Draw the ``confusion.json`` of a training beside it, and yield a table of its classes and the picture's name.

    Raises:
        RunFolderError: if the file is damaged.
    """
    from analysis.plots.confusion import draw_confusion
    from analysis.plots.files import save
    from evo_nas.system.text import read_text

    try:
        told = json.loads(read_text(file))
        lines = list(confusion_lines(told["confusion"], told["classes"]))
        figure = draw_confusion(told["confusion"], told["classes"])
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise RunFolderError(f"{file} is damaged: {shorten(str(error), 200)}; remove it") from error
    yield from lines
    yield f"confusion matrix: {save(figure, file.with_suffix('.png'))[0]}"


def confusion_lines(confusion: list[list[int]], classes: list[str]) -> Iterator[str]:
    """Yield a table: the images of each class, recall, precision and F1 in per cent, then their means.

    ``confusion`` is of shape (classes, classes), a row per true class. A class without images has no recall and takes
    no part in the means.
    """
    import numpy as np

    counts = np.asarray(confusion)
    images, taken, right = counts.sum(1), counts.sum(0), counts.diagonal()
    with np.errstate(invalid="ignore"):
        recall, precision, f1 = right / images, right / taken, 2 * right / (images + taken)
    known = np.flatnonzero(images)
    shown = known[np.argsort(recall[known], kind="stable")][:_MOST] if len(classes) > _MOST else np.arange(len(classes))
    width = max(5, *(len(printable(classes[row])) for row in shown))
    yield f"{'class':<{width}}  {'images':>7}  {'recall':>8}  {'precision':>9}  {'F1':>8}"
    for row in shown:
        numbers = f"{_spell(recall[row]):>8}  {_spell(precision[row]):>9}  {_spell(f1[row]):>8}"
        yield f"{printable(classes[row]):<{width}}  {images[row]:>7,}  {numbers}"
    if len(classes) > _MOST:
        yield f"those are the {_MOST} classes of {len(classes):,} that are found least"
    yield f"balanced accuracy {_spell(recall[known].mean())}, mean F1 {_spell(f1[known].mean())}"


def _spell(share: float) -> str:
    return spell_share(None if math.isnan(share) else share)
