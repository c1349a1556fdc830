"""The precision of a detector on test images: its file, its picture, and its lines on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from evo_nas.errors import RunFolderError
from genotypes.genotype import printable, shorten


def draw_precision_file(file: Path, part: str = "test") -> Iterator[str]:
    """Draw the curves of a ``precision.json`` beside it, and yield the AP50 of each class and the picture's name.

    It was measured on images of this part.

    Raises:
        RunFolderError: if the file is damaged.
    """
    from analysis.plots.files import save
    from analysis.plots.precision import draw_precision
    from evo_nas.system.text import read_text

    try:
        told = json.loads(read_text(file))
        pairs = list(zip(told["classes"], told["ap50_by_class"], strict=True))
        shares = ", ".join(f"{printable(name)} {spell_share(share)}" for name, share in pairs)
        figure = draw_precision(told["curves"], told["classes"], told["ap50_by_class"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunFolderError(f"{file} is damaged: {shorten(str(error), 200)}; remove it") from error
    yield f"{part} AP50: {shares}"
    yield f"precision-recall curves: {save(figure, file.with_suffix('.png'))[0]}"


def spell_share(share: float | None) -> str:
    """Return a fraction as per cents; a dash for what was not measured."""
    return "-" if share is None else f"{100 * share:.2f} %"
