"""The report of ``study``: its table, and the picture of regret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.comparison.regret import load_study, notes_on, plus_minus, study_table
from analysis.frames import HistoryError


@dataclass(frozen=True, slots=True)
class StudyReport:
    """The findings of :func:`report_study`: the table, sentences on what it leaves out, and the pictures it drew."""

    table: pd.DataFrame
    notes: tuple[str, ...]
    files: tuple[Path, ...]

    def to_json(self) -> list[dict[str, Any]]:
        """Return the rows of the table; what is not known is ``None``."""
        return [
            {str(name): None if pd.isna(value) else value for name, value in row.items()}
            for row in self.table.to_dict(orient="records")
        ]

    def cells(self) -> list[list[str]]:
        """Return the table as text, headings first."""
        rows = [["strategy", "trials", "seeds", "best %", "regret pp", "test %", "distinct"]]
        for row in self.table.to_dict(orient="records"):
            rows.append(
                [
                    str(row["strategy"]),
                    f"{row['trials']:,}",
                    str(row["seeds"]),
                    plus_minus(row["mean_best"], row["sd_best"], 2),
                    plus_minus(row["mean_regret"], row["stderr_regret"], 3),
                    plus_minus(row["mean_test"], row["stderr_test"], 2),
                    f"{row['distinct']:,.1f}",
                ]
            )
        return rows

    def lines(self) -> list[str]:
        """Return the table as aligned text."""
        rows = self.cells()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]


def report_study(
    folder: str | PathLike[str],
    output: Path | None = None,
    *,
    strategies: Sequence[str] | None = None,
    seeds: range | None = None,
    trials: int | None = None,
) -> StudyReport:
    """Compare the strategies of a study and draw their curves to ``output``, or to ``figures/study.png`` and ``.svg``.

    The keywords are those of :func:`load_study`.

    Raises:
        HistoryError: if there is no such study, no run of it is finished, or a history is damaged.
        ValueError: if the suffix of ``output`` is no format of a picture.
    """
    # Drawing is loaded here, so that numbers come without matplotlib.
    from analysis.plots.files import figure_file, save
    from analysis.plots.regret import study_figure

    study = load_study(folder, strategies=strategies, seeds=seeds, trials=trials)
    if not any(curves.seeds for curves in study.strategies):
        raise HistoryError(f"no run of the study {folder} is finished yet")
    files = save(study_figure(study), output or figure_file(study.folder, "study.png"))
    return StudyReport(study_table(study), tuple(notes_on(study)), tuple(files))
