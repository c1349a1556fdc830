"""The reports of ``compare`` and ``study``: tables, and the best cells beside each other or the curves over seeds."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from analysis.cells.designs import read_pyramid, read_widths
from analysis.comparison.compare import Comparison, comparison_of, records
from analysis.comparison.wording import join_words
from analysis.frames import HistoryError, Paths, find_runs, load_history
from evo_nas.storage.study_record import read_study
from genotypes.genotype import shorten

_DRAWN: Final = 8  # groups whose cells are drawn
_FOOTER: Final = 90  # characters of a sentence that the foot of a picture has room for
_HEAD: Final = 28  # characters that the head of a narrow column has room for
_CURVE: Final = ("run", "strategy", "space", "fitness", "trained", "sample", "best_so_far", "outcome")


def compare_runs(
    paths: Paths,
    output: str | os.PathLike[str] | None = None,
    *,
    target: float | None = None,
    trials: int | None = None,
) -> Comparison:
    """Compare runs as :func:`comparison_of` does and draw the best cells or widths of the groups beside each other.

    The picture goes to ``output``, or to ``figures/compare.png`` and ``.svg`` of the first run.

    Raises:
        HistoryError: if there is no such run, no training has ended, or a trial is damaged.
        ValueError: if the suffix of ``output`` is no format of a picture, or ``target`` or ``trials`` is out of range.
    """
    # Drawing is loaded here, so that tables come without matplotlib.
    from analysis.cells.drawing import columns_figure
    from analysis.cells.pyramids import pyramids_figure
    from analysis.plots.axes import new_figure
    from analysis.plots.files import figure_file, picture_files, save
    from analysis.plots.widths import WIDTH_COLUMNS, draw_widths

    place = Path(output) if output else figure_file(find_runs(paths)[0].folder, "compare.png")
    picture_files(place)  # a wrong suffix is said before anything is read
    comparison = comparison_of(paths, target=target, trials=trials)
    table, notes = comparison.table, comparison.notes
    if len(table) > _DRAWN:
        notes = (*notes, f"The picture shows the best {_DRAWN} of {len(table)} groups.")
    said = [f"after {comparison.budget:,} samples", *(s for s in comparison.conclusions[:1] if len(s) <= _FOOTER)]
    shown = table.head(_DRAWN)
    if (found := [read_widths(text) for text in shown["best_cell"].dropna()]) and all(found):
        labels = zip(comparison.runs["run"], comparison.runs["group"], strict=True)
        groups = {run: label for run, label in labels if label in set(shown["group"])}
        frame = load_history(paths, columns=WIDTH_COLUMNS)
        frame = frame[frame["run"].isin(groups) & (frame["sample"] <= comparison.budget)]
        figure = new_figure()
        draw_widths(frame, figure, groups=groups)
    elif any(read_pyramid(text) for text in shown["best_cell"].dropna()):
        figure = pyramids_figure([_pyramid_column(row) for row in records(shown)], footer=" · ".join(said))
    else:
        figure = columns_figure([_column(row) for row in records(shown)], footer=" · ".join(said))
    return replace(comparison, notes=notes, files=tuple(save(figure, place)))


def compare_study(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    strategies: Sequence[str] | None = None,
    seeds: range | None = None,
    trials: int | None = None,
) -> Comparison:
    """Compare the finished runs of a study and draw their curves to ``output``, or to its ``figures/study.png``.

    These are the runs of some strategies and seeds, after so many trials, or else of all. A run that ended because
    nothing was left to try is finished.

    Raises:
        HistoryError: if there is no such study, it lacks a strategy, no run is finished, or a history is damaged.
        ValueError: if the suffix of ``output`` is no format of a picture.
    """
    from analysis.plots.axes import new_figure
    from analysis.plots.files import figure_file, save
    from analysis.plots.seed_bands import plot_seeds

    path = Path(folder)
    record = read_study(path)
    folders: dict[str, str] = {entry["label"]: entry["folder"] for entry in record["strategies"]}
    if unknown := [label for label in strategies or () if label not in folders]:
        raise HistoryError(f"{path} has no strategy {unknown[0]!r}; it has: {', '.join(folders)}")
    seeds = range(record["first_seed"], record["first_seed"] + record["seeds"]) if seeds is None else seeds
    trials = record["trials"] if trials is None else trials
    runs = [path / f"{folders[label]}-seed{seed}" for label in strategies or folders for seed in seeds]
    begun = [run for run in runs if (run / "history.db").is_file()]
    try:
        comparison = comparison_of(begun, trials=trials)
    except HistoryError:
        if begun:
            raise
        raise HistoryError(f"no run of the study {path} is begun yet") from None
    except ValueError as error:
        raise HistoryError(f"no run of the study {path} is finished yet: {error}") from None
    notes = comparison.notes
    if idle := [run.name for run in runs if run not in begun]:
        notes = (*notes, f"Not begun: {join_words(idle)}.")
    groups = dict(zip(comparison.runs["run"], comparison.runs["group"], strict=True))
    frame = load_history([path / run for run in groups], columns=_CURVE)
    figure = new_figure()
    plot_seeds(frame, figure.add_subplot(), groups=groups, optimum=record["optimum"], until=trials)
    files = save(figure, Path(output) if output else figure_file(path, "study.png"))
    return replace(comparison, notes=notes, files=tuple(files))


def _pyramid_column(row: Mapping[str, Any]) -> Any:
    """Make the column of a group whose best cell is a feature pyramid."""
    from analysis.cells.pyramids import PyramidColumn

    column = _column(row)
    pyramid = read_pyramid(json.dumps(row["best_cell"]))
    content = column.content if isinstance(column.content, str) else "no pyramid to draw: it is a pair of cells"
    return PyramidColumn(column.head, column.subhead, pyramid or content)


def _column(row: Mapping[str, Any]) -> Any:
    """Make the column of a group for the picture: its name, its numbers, its best cell."""
    from analysis.cells.drawing import CellColumn, read_cells

    head, settings = row["group"], ""
    if len(head) > _HEAD:
        head, bracket, rest = head.partition("(")
        settings = shorten(bracket + rest, 48) + "\n"
    if row["best_fitness"] is None:
        said = f"{row['failed']:,} of {row['trials']:,} trainings failed"
        return CellColumn(head, settings + said, "no cell: every training failed")
    said = f"{row['best_fitness']:.2%} in trial {row['best_id']:,} of {shorten(row['best_run'], 24)}"
    if row["best_sd"] is not None:
        said += f"\n{row['runs']} runs: {row['best']:.2%} ± {row['best_sd']:.2%}"
        said += f", {row['best_low']:.2%} to {row['best_high']:.2%}"
    said = settings + said.replace("%", " %")
    if row["best_cell"] is None:
        return CellColumn(head, said, "no cells to draw: they cannot be read")
    pair = read_cells(json.dumps(row["best_cell"]))
    return CellColumn(head, said, pair or f"no cells to draw: {shorten(row['space'], 24)} has none")
