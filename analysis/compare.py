"""Strategies compared: a table of their runs, the best cells beside each other, and what makes a comparison unfair."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.frames import HistoryError, Paths, Run, find_runs, load_history
from genotypes.genotype import shorten

TOP: Final = 5
"""How many of the best networks of a run the column ``top`` averages."""

TABLE: Final[dict[str, str]] = {
    "strategy": "name of the strategy",
    "space": "full spelling of the space",
    "runs": "how many runs",
    "trials": "ended trainings of all runs, failed ones included",
    "failed": "how many of them failed",
    "networks": "different networks trained with success, over all runs",
    "best": "highest fitness of a run, mean over runs, fraction in [0, 1]",
    "best_sd": "its sample standard deviation over runs; missing for one run",
    "top": f"mean fitness of the {TOP} best networks of a run, mean over runs; of fewer where there are fewer",
    "mean": "mean fitness of all trained trials of a run, mean over runs",
    "report": "second measure of the best trial of a run, mean over runs; missing where it was not measured",
    "seconds": "mean duration of a training in seconds",
    "total_seconds": "duration of all trainings together in seconds",
    "best_run": "the run that found the best of all, the earlier on ties",
    "best_id": "id of that trial",
    "best_fitness": "its fitness, fraction in [0, 1]",
    "best_genotype": "its genotype in text form",
    "best_cell": "JSON text of what it describes",
}
"""Column of :func:`compare` -> what it holds, with its unit."""

_COUNTS: Final = ("runs", "trials", "failed", "networks")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What :func:`compare_runs` found: the table, sentences on how far to trust it, and the pictures it drew."""

    table: pd.DataFrame
    notes: tuple[str, ...]
    files: tuple[Path, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form: ``{"strategies": [row, ...], "notes": [...], "files": [...]}``."""
        return {"strategies": records(self.table), "notes": list(self.notes), "files": [str(f) for f in self.files]}

    def lines(self) -> list[str]:
        """Give the table as aligned text, then the notes and the files, a line each."""
        shown = pd.DataFrame({name: self.table[name].astype(str) for name in ("strategy", "space", *_COUNTS)})
        for name in ("best", "best_sd", "top", "mean"):
            shown[name] = [f"{value:.2%}" if pd.notna(value) else "-" for value in self.table[name]]
        shown["hours"] = [f"{value / 3600:.2f}" for value in self.table["total_seconds"]]
        shown["best trial"] = [
            f"{run}:{trial}" if pd.notna(trial) else "-"
            for run, trial in zip(self.table["best_run"], self.table["best_id"], strict=True)
        ]
        return [*shown.to_string(index=False).splitlines(), *self.notes, *map(str, self.files)]


def compare(frame: pd.DataFrame) -> pd.DataFrame:
    """Compare strategies, one row for each strategy and space, the best first; :data:`TABLE` says what is in it.

    ``frame`` comes from :func:`~analysis.frames.load_history`. A strategy that only failed has a row without fitness.

    Raises:
        HistoryError: if no training has ended.
    """
    trained = frame[frame["trained"]]
    if trained.empty:
        raise HistoryError("there are no finished trials to compare yet")
    rows = [
        {"strategy": strategy, "space": space, **_row(group)}
        for (strategy, space), group in trained.groupby(["strategy", "space"], observed=True, sort=True)
    ]
    table = pd.DataFrame(rows, columns=list(TABLE)).astype(dict.fromkeys(_COUNTS, "int64") | {"best_id": "Int64"})
    return table.sort_values("best", ascending=False, kind="stable", ignore_index=True)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Give the rows of a table as JSON can say them: missing values are ``None``, the best cell is an object.

    A cell that cannot be read is ``None`` too.
    """
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    for row in rows:
        if row["best_cell"] is not None:
            row["best_cell"] = _parsed(row["best_cell"])
    return rows


def notes_of(table: pd.DataFrame) -> list[str]:
    """Say in sentences what a table cannot show: how far its numbers may be trusted."""
    notes = []
    if len(table) > 1 and (table["runs"] == 1).all():
        notes.append("One run each: differences may be luck. Repeat with other seeds to know.")
    elif (alone := table.loc[table["runs"] == 1, "strategy"].tolist()) and len(table) > 1:
        notes.append(f"Only one run of {_and(alone)}: differences to the others may be luck.")
    per_run = (table["trials"] / table["runs"]).round().astype(int)
    if per_run.nunique() > 1:
        shown = [f"{strategy} {n:,}" for strategy, n in zip(table["strategy"], per_run, strict=True)]
        notes.append(f"Trainings a run differ ({', '.join(shown)}): whoever had more had more chances.")
    return notes


def warnings_of(paths: Paths) -> list[str]:
    """Say in sentences why runs cannot be compared as they are: another space, evaluator, data set or budget.

    Raises:
        HistoryError: if there is no such run.
    """
    runs = find_runs(paths)
    warnings = [f"{run.name} has no run.toml: nothing is known of how it was made." for run in runs if not run.config]
    runs = [run for run in runs if run.config]
    for subject, consequence in (
        ("space", "they search different things"),
        ("evaluator", "their fitness is not measured alike"),
    ):
        names = {run.name: run.said(subject) for run in runs}
        if len(set(names.values())) > 1:
            warnings.append(f"The {subject} differs ({_groups(names)}): {consequence}.")
        for name in dict.fromkeys(names.values()):
            # Those that another name stands for have other options: that they differ was said with the name.
            alike = [run for run in runs if names[run.name] == name]
            for option in sorted({key for run in alike for key in run.table(subject)}):
                warnings += _differing(alike, subject, option, consequence)
    for option in ("preset", "dataset", "data"):
        warnings += _differing(runs, "run", option, "their fitness is not measured alike")
    warnings += _differing(runs, "run", "trials", "compare them at the same number of samples")
    warnings += _differing(runs, "run", "repeats", "a network met again costs a training in some of them only")
    return warnings


def compare_runs(paths: Paths, output: Path | None = None) -> Comparison:
    """Compare runs and draw the best cells of the strategies beside each other.

    The picture goes to ``output``, or to ``report/compare.png`` and ``.svg`` of the first run.

    Raises:
        HistoryError: if there is no such run, no training has ended, or a trial is damaged.
        ValueError: if the suffix of ``output`` is no format of a picture.
    """
    # Drawing is loaded here, so that tables come without matplotlib.
    from analysis.cells import columns_figure
    from analysis.plots import report_file, save

    runs = find_runs(paths)
    table = compare(load_history([run.history for run in runs]))
    figure = columns_figure([_column(row) for row in records(table)], footer=" ".join(notes_of(table)))
    files = save(figure, output or report_file(runs[0].folder, "compare.png"))
    return Comparison(table, (*warnings_of([run.history for run in runs]), *notes_of(table)), tuple(files))


def _row(group: pd.DataFrame) -> dict[str, Any]:
    """Measure one strategy on one space from its ended trainings."""
    alive = group[group["fitness"].notna()]
    runs = alive.groupby("run", observed=True, sort=False)
    bests = alive.loc[runs["fitness"].idxmax().to_numpy()] if len(alive) else alive
    # A network trained again would stand among the best twice: its best training counts.
    distinct = alive.groupby(["run", "key"], observed=True, sort=False)["fitness"].max()
    top = distinct.groupby("run", observed=True).apply(lambda fitness: fitness.nlargest(TOP).mean())
    row: dict[str, Any] = {
        "runs": group["run"].nunique(),
        "trials": len(group),
        "failed": len(group) - len(alive),
        "networks": alive["key"].nunique(),
        "best": bests["fitness"].mean(),
        "best_sd": bests["fitness"].std(ddof=1),
        "top": top.mean() if len(alive) else np.nan,
        "mean": runs["fitness"].mean().mean() if len(alive) else np.nan,
        "report": bests["report"].mean(),
        "seconds": group["seconds"].mean(),
        "total_seconds": group["seconds"].sum(),
    }
    if len(bests):
        best = bests.iloc[int(bests["fitness"].argmax())]
        row |= {f"best_{name}": best[name] for name in ("run", "id", "fitness", "genotype", "cell")}
    return row


def _column(row: Mapping[str, Any]) -> Any:
    """Make the column of a strategy for the picture: its name, its numbers, its best cell."""
    from analysis.cells import Column, read_cells

    if row["best_fitness"] is None:
        said = f"{row['failed']:,} of {row['trials']:,} trainings failed"
        return Column(row["strategy"], said, "no cell: every training failed")
    said = f"{row['best_fitness']:.2%} in trial {row['best_id']:,} of {shorten(row['best_run'], 24)}"
    if row["best_sd"] is not None:
        said += f"\n{row['runs']} runs: {row['best']:.2%} ± {row['best_sd']:.2%}"
    said = said.replace("%", " %")
    if row["best_cell"] is None:
        return Column(row["strategy"], said, "no cells to draw: they cannot be read")
    pair = read_cells(json.dumps(row["best_cell"]))
    return Column(row["strategy"], said, pair or f"no cells to draw: {shorten(row['space'], 24)} has none")


def _parsed(text: str) -> Any:
    """Read the JSON text of a cell; ``None`` if it is none."""
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None


def _differing(runs: Sequence[Run], table: str, option: str, consequence: str) -> list[str]:
    """Give a sentence if runs differ in one option; an option that only some name has its default in the others."""
    values = {run.name: str(run.table(table).get(option, "default")) for run in runs}
    if len(set(values.values())) < 2:
        return []
    name = option if table == "run" else f"{table}.{option}"
    return [f"The runs differ in {name} ({_groups(values)}): {consequence}."]


def _groups(values: Mapping[str, str]) -> str:
    """Spell which runs have which value: ``nasnet: a and b; nasbench201: c``."""
    groups: dict[str, list[str]] = {}
    for run, value in values.items():
        groups.setdefault(value, []).append(run)
    return "; ".join(f"{value}: {_and(names)}" for value, names in groups.items())


def _and(words: Sequence[str]) -> str:
    """Join words as a sentence does; of many only the first three."""
    if len(words) > 4:
        words = [*words[:3], f"{len(words) - 3} more"]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
