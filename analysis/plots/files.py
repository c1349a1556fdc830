"""The files that pictures are saved in."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from analysis.frames import HistoryError
from evo_nas.system.atomic import make_folder, replace_whole


def figure_file(folder: Path, name: str) -> Path:
    """Name a file in the folder ``figures`` of a run or a study, where pictures go if no place is named.

    Raises:
        HistoryError: if that is a symbolic link: what it leads to may be anybody's.
    """
    figures = folder / "figures"
    if figures.is_symlink():
        raise HistoryError(
            f"{figures} is a link, and no picture is written through it: remove it, or name a file with -o"
        )
    return figures / name


def save(figure: Figure, path: Path, *, twin: bool = True) -> list[Path]:
    """Write a figure, and return the files: beside a PNG its ``twin``, the same as SVG; other suffixes stand alone.

    Each is written whole or not at all. One that is a symbolic link is replaced, not what it leads to: a run folder may
    have come from anybody.

    Raises:
        OSError: if a file cannot be written.
        ValueError: if the suffix is no format of a picture.
    """
    files = picture_files(path)[: 2 if twin else 1]
    make_folder(path.parent)
    # A fixed salt and no date: the same figure gives the same bytes.
    with mpl.rc_context({"svg.hashsalt": "evo_nas"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+")  # a sign that no font has is a box in the picture
        for file in files:
            format = file.suffix[1:].lower()
            dated = {"Date": None} if format in ("svg", "svgz") else None
            with replace_whole(file) as partial:
                figure.savefig(partial, format=format, dpi=200, facecolor="white", metadata=dated)
    return files


def picture_files(path: Path) -> list[Path]:
    """Return which files :func:`save` would write.

    Raises:
        ValueError: if the suffix is no format of a picture.
    """
    known = Figure().canvas.get_supported_filetypes().keys() - {"pgf"}  # which is written by LaTeX
    if path.suffix[1:].lower() not in known:
        raise ValueError(f"{path} cannot be written: a picture ends in one of .{', .'.join(sorted(known))}")
    return [path, path.with_suffix(".svg")] if path.suffix.lower() == ".png" else [path]
