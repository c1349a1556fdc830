"""The content of a report on runs, as a plain dict of numbers and texts: no markup, no pictures.

Texts come from the histories as they are: whoever shows them escapes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.comparison.compare import comparison_of
from analysis.comparison.fairness import ending
from analysis.comparison.groups import Group, groups_of, seed_of
from analysis.curves import moving_mean
from analysis.diversity import mean_window
from analysis.frames import Paths, RunRecord, find_runs, load_history
from analysis.lineage import lineage
from evo_nas.storage.columns import select_cells
from evo_nas.storage.opening import open_to_read
from evo_nas.storage.reader import HistoryReader
from evo_nas.storage.run_folder import measure_of
from genotypes.genotype import printable, shorten
from genotypes.measure import common_measure

TOP: Final = 200
"""Number of the best trials that a report lists by default."""

DOTS: Final = 12_000
"""So many trials are dots beside the curves; of more an even choice, and every one that was the best so far."""

MEANS: Final = 20_000
"""So many points all moving means together have at most."""

MOST_RUNS: Final = 1000
"""Runs that a report has room for."""

_COLUMNS: Final = (
    *("run", "strategy", "space", "evaluator", "id", "parent", "outcome", "fitness", "test", "seconds", "parameters"),
    *("mult_adds", "told", "told_at", "trained", "sample", "best_so_far", "elapsed", "error"),
)
_OF_LINEAGE: Final = ("run", "id", "parent", "told", "fitness", "trained", "key", "genotype", "sample")
_POINTS: Final = 500  # of the moving mean of one run
_PAIRS: Final = 6  # groups whose best cells are shown
_KINDS: Final = 50  # kinds of failures that are listed
_ANCESTORS: Final = 100  # the youngest of a long lineage
_NAMED: Final = 3  # trials that are named for a kind of failure
_TEXT: Final = 400  # characters of an error or of a setting
_GENOTYPE: Final = 2000  # characters of a genotype
_AT_ONCE: Final = 500  # ids in one query
_OURSELVES: Final = ("__main__.py", "evo_nas")  # how the command line is called: by python -m, or as it is installed

_STATES: Final[dict[str | None, str]] = {
    "trials": "finished",
    "target": "reached its target {measure}",
    "exhausted": "finished: nothing was left to try",
    "converged": "finished: nothing new was proposed",
    "refused": "ended: every network was refused",
    "time": "stopped at its time limit",
    "scheduler": "stopped by the scheduler",
    "interrupted": "interrupted",
    "terminated": "terminated",
    "hung-up": "stopped by a hang-up",
}


def report_of(paths: Paths, *, top: int = TOP) -> dict[str, Any]:
    """Gather what a report says of one or many runs, ended or still going on.

    Keys: ``runs`` (a dict each), ``winner`` (or ``None`` while nothing has a fitness), ``comparison`` (or ``None`` for
    one run), ``curves``, ``means`` and ``dots`` (columns), ``cells``, ``top``, ``failures``, ``lineage``, ``settings``,
    ``versions``, ``commands``, ``measure``, ``until`` (UTC, of the last tell). Fitnesses are fractions in [0, 1],
    times seconds; what is missing is ``None``. The same histories give the same report.

    Raises:
        HistoryError: if there is no such run, or a history cannot be read.
        ValueError: if ``top`` is less than 1, or there are too many runs.
    """
    if top < 1:
        raise ValueError(f"a report lists at least 1 trial, not {top}")
    runs = find_runs(paths)
    if len(runs) > MOST_RUNS:
        raise ValueError(f"a report has room for {MOST_RUNS:,} runs, not {len(runs):,}: name fewer")
    frame = load_history([run.history for run in runs], columns=_COLUMNS)
    groups = groups_of(runs, frame)
    group_of = {run.name: group for group in groups for run in group.runs}
    by_name = {run.name: run for run in runs}
    of_run = {str(name): rows for name, rows in frame.groupby("run", observed=True, sort=False)}
    frames = {name: of_run.get(name, frame.iloc[:0]) for name in by_name}
    best = _best(frame)
    last = frame["told_at"].max()
    return {
        "measure": common_measure(measure_of(run.folder) for run in runs).to_json(),
        "runs": [_run(run, group_of[run.name], frames[run.name]) for run in runs],
        "groups": [{"label": group.label, "strategy": group.strategy, "runs": len(group.runs)} for group in groups],
        "winner": _trials(best, by_name)[0] if len(best) else None,
        "comparison": _comparison(runs) if len(runs) > 1 and frame["trained"].any() else None,
        "curves": [_curve(name, group_of[name].label, rows) for name, rows in frames.items()],
        "means": _means(runs, frame),
        "dots": _dots(frames),
        "cells": _cells(frame, [[run.name for run in group.runs] for group in groups], by_name, group_of),
        "top": _trials(_highest(frame, top), by_name),
        "failures": _failures(frame),
        "lineage": _lineage(by_name[best["run"].iloc[0]], int(best["id"].iloc[0])) if len(best) else None,
        "settings": _tabulate({run.name: dict(_flat(run.config)) for run in runs}),
        "versions": _tabulate({run.name: _versions(run) for run in runs}),
        "commands": [_commands(run) for run in runs],
        "until": None if pd.isna(last) else last.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _run(run: RunRecord, group: Group, rows: pd.DataFrame) -> dict[str, Any]:
    """Sum up one run."""
    counts = rows["outcome"].value_counts()
    told = {str(name): int(number) for name, number in counts.items() if number}
    trained = rows[rows["trained"]]
    good = [told.get(name, 0) for name in ("ok", "reused", "refused")]
    budget = run.table("run").get("trials")
    best = _best(rows)
    return {
        "name": run.name,
        "group": group.label,
        "strategy": shorten(run.spell_entry("strategy")),
        "space": shorten(group.space),
        "evaluator": shorten(run.spell_entry("evaluator")),
        "seed": seed_of(run),
        "state": _state(run, len(trained), budget),
        "budget": budget if isinstance(budget, int) else None,
        "trained": len(trained),
        "ok": good[0],
        "reused": good[1],
        "refused": good[2],
        "failed": sum(told.values()) - sum(good),
        "pending": int(rows["told"].isna().sum()),
        "best": _number(best["fitness"]),
        "test": _number(best["test"]),
        "best_id": _count(best["id"]),
        "best_sample": _count(best["sample"]),
        "epochs": _count_epochs(run),
        "seconds": float(trained["seconds"].sum()),
        "elapsed": _number(rows["elapsed"].dropna().tail(1)),
    }


def _count_epochs(run: RunRecord) -> int | None:
    """Count the epochs that were trained, where trainings may have different numbers of them; otherwise ``None``."""
    rules = (run.table("run").get("fidelity", "none"), run.table("evaluator").get("early_stopping", "none"))
    if rules == ("none", "none"):
        return None
    with HistoryReader.read(run.history, checked=False) as history:
        return history.count_epochs()


def _state(run: RunRecord, done: int, budget: object) -> str:
    """Return in words how a run ended, or that it did not."""
    reason = ending(run)
    if reason is None and isinstance(budget, int) and done >= budget:
        reason = "trials"
    if reason is None:
        return "going on, or killed"
    known = _STATES.get(reason)
    return known.format(measure=measure_of(run.folder).name) if known else f"ended: {shorten(reason)}"


def _best(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the row with the highest fitness, the first told on ties; none if there is no fitness."""
    alive = rows[rows["fitness"].notna()]
    highest = alive[alive["fitness"] == alive["fitness"].max()]
    first: pd.DataFrame = highest.sort_values(["trained", "told"], ascending=[False, True], kind="stable").head(1)
    return first


def _highest(frame: pd.DataFrame, top: int) -> pd.DataFrame:
    """Return the trainings with the highest fitness, of equal ones those told first."""
    alive = frame[frame["fitness"].notna() & frame["trained"]]
    highest: pd.DataFrame = alive.sort_values("fitness", ascending=False, kind="stable").head(top)
    return highest


def _trials(rows: pd.DataFrame, runs: Mapping[str, RunRecord]) -> list[dict[str, Any]]:
    """Return rows with their genotypes, which are read for these alone."""
    texts = {
        str(name): _texts(runs[str(name)], group["id"].tolist())
        for name, group in rows.groupby("run", observed=True, sort=False)
    }
    return [
        {
            "run": row["run"],
            "id": int(row["id"]),
            "fitness": float(row["fitness"]),
            "test": _value(row["test"], float),
            "parameters": _value(row["parameters"], int),
            "mult_adds": _value(row["mult_adds"], int),
            "seconds": _value(row["seconds"], float),
            "sample": _value(row["sample"], int),
            "parent": _value(row["parent"], int),
            "genotype": texts[row["run"]].get(int(row["id"]), ("", ""))[0],
        }
        for row in rows.to_dict("records")
    ]


def _texts(run: RunRecord, ids: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Read the genotype and the readable cell of trials, by id."""
    found: dict[int, tuple[str, str]] = {}
    with open_to_read(run.history) as connection:
        for start in range(0, len(ids), _AT_ONCE):
            part = ids[start : start + _AT_ONCE]
            for id, genotype, cell in select_cells(connection, part):
                found[id] = shorten(printable(genotype), _GENOTYPE), str(cell)
    return found


def _comparison(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Compare the groups, in numbers and sentences."""
    found = comparison_of([run.history for run in runs])
    columns = ("group", "runs", "best", "best_sd", "best_low", "best_high", "test", "test_sd", "auc", "auc_sd")
    table = json.loads(found.table[list(columns)].to_json(orient="records", double_precision=15))
    return {
        "budget": found.budget,
        "table": table,
        "warnings": [printable(text) for text in found.warnings],
        "said": [printable(text) for text in (*found.notes, *found.conclusions)],
    }


def _curve(name: str, group: str, rows: pd.DataFrame) -> dict[str, Any]:
    """Return the best so far of a run: where it changed, exactly, and how far the run has come.

    Columns: ``sample``, ``elapsed`` (seconds), ``fitness`` and ``id``, of the trial that was the best from there on.
    """
    told = rows[rows["best_so_far"].notna() & (rows["sample"] > 0)]
    told = told.assign(elapsed=told["elapsed"].ffill().fillna(0.0))  # a damaged row may have no clock
    values = told["best_so_far"].to_numpy()
    change = np.ones(len(values), dtype=bool)
    change[1:] = values[1:] != values[:-1]
    steps = told[change]
    return {
        "run": name,
        "group": group,
        "sample": steps["sample"].tolist(),
        "elapsed": [round(seconds, 2) for seconds in steps["elapsed"]],
        "fitness": steps["best_so_far"].tolist(),
        "id": steps["id"].tolist(),
        "samples": int(told["sample"].max()) if len(told) else 0,
        "seconds": round(float(told["elapsed"].max()), 2) if len(told) else 0.0,
    }


def _means(runs: Sequence[RunRecord], frame: pd.DataFrame) -> dict[str, Any]:
    """Return the mean of the last ``window`` told in each run, at evenly chosen samples and at its last."""
    window = mean_window(runs)
    clocks = frame[["run", "sample", "elapsed"]].drop_duplicates(["run", "sample"], keep="last")
    every = moving_mean(frame, window).merge(clocks, on=["run", "sample"])
    columns = []
    for run in runs:
        own = every[every["run"] == run.name]
        points = min(len(own), max(2, min(_POINTS, MEANS // len(runs))))
        some = own.iloc[np.linspace(0, len(own) - 1, points).round().astype(int)]
        columns.append(
            {
                "sample": some["sample"].tolist(),
                "elapsed": [round(seconds, 1) for seconds in some["elapsed"].ffill().fillna(0.0)],
                "fitness": [round(fitness, 5) for fitness in some["fitness"]],
            }
        )
    return {"window": window, "runs": columns}


def _dots(frames: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Choose the trials that are drawn, evenly over each run; ``runs`` has the columns of each run, in their order."""
    alive = {
        name: rows[rows["trained"] & rows["fitness"].notna() & rows["elapsed"].notna()] for name, rows in frames.items()
    }
    every = sum(map(len, alive.values()))
    share = min(1.0, DOTS / max(1, every))
    columns = []
    for rows in alive.values():
        values = rows["fitness"].to_numpy()
        kept = np.zeros(len(rows), dtype=bool)
        if len(rows):
            kept[np.linspace(0, len(rows) - 1, max(1, round(share * len(rows)))).round().astype(int)] = True
            before = np.concatenate([[-1.0], np.maximum.accumulate(values)[:-1]])
            kept |= values > before
        some = rows[kept]
        columns.append(
            {
                "sample": some["sample"].tolist(),
                "elapsed": [round(seconds, 1) for seconds in some["elapsed"]],
                "fitness": [round(fitness, 5) for fitness in some["fitness"]],
                "id": some["id"].tolist(),
            }
        )
    return {"all": every, "drawn": sum(len(column["id"]) for column in columns), "runs": columns}


def _cells(
    frame: pd.DataFrame, groups: Iterable[list[str]], runs: Mapping[str, RunRecord], group_of: Mapping[str, Group]
) -> list[dict[str, Any]]:
    """Return the best network of each group, the best group first, with what its genotype describes."""
    rows = [best for names in groups if len(best := _best(frame[frame["run"].isin(names)]))]
    rows.sort(key=lambda row: -float(row["fitness"].iloc[0]))
    found = []
    for row in rows[:_PAIRS]:
        (trial,) = _trials(row, runs)
        text = _texts(runs[trial["run"]], [trial["id"]])[trial["id"]][1]
        found.append({**trial, "group": group_of[trial["run"]].label, "cell": text})
    return found


def _failures(frame: pd.DataFrame) -> dict[str, Any]:
    """Count failures by outcome, and by outcome and error together."""
    failed = frame[frame["told"].notna() & ~frame["outcome"].isin(["ok", "reused", "refused"])]
    outcomes = failed["outcome"].value_counts()
    errors = failed["error"].fillna("").map(lambda text: shorten(printable(text), _TEXT))
    kinds: list[dict[str, Any]] = []
    for (outcome, error), rows in failed.groupby([failed["outcome"].astype("str"), errors], sort=False):
        named = [f"{run}:{id}" for run, id in zip(rows["run"].head(_NAMED), rows["id"].head(_NAMED), strict=True)]
        kinds.append({"outcome": outcome, "error": error, "count": len(rows), "trials": named})
    kinds.sort(key=lambda kind: -kind["count"])
    return {
        "all": len(failed),
        "outcomes": {str(name): int(number) for name, number in outcomes.items() if number},
        "kinds": kinds[:_KINDS],
        "left": max(0, len(kinds) - _KINDS),
    }


def _lineage(run: RunRecord, id: int) -> dict[str, Any]:
    """Return the ancestors of a trial, oldest first; of many only the youngest, and how many more there are."""
    found = lineage(load_history(run.history, columns=_OF_LINEAGE), id)
    rows = found.tail(_ANCESTORS).to_dict("records")
    names = {"generation": int, "id": int, "parent": int, "changes": int, "sample": int, "trained_as": int}
    return {
        "run": run.name,
        "all": len(found),
        "rows": [
            {name: _value(row[name], kind) for name, kind in names.items()}
            | {"fitness": _value(row["fitness"], float), "genotype": shorten(printable(row["genotype"]), _GENOTYPE)}
            for row in rows
        ],
    }


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Spell the entries of nested tables as ``table.name``."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            yield shorten(printable(f"{prefix}{name}")), shorten(printable(text), _TEXT)


def _versions(run: RunRecord) -> dict[str, str]:
    """Return what ``env.json`` says of libraries, machine and data."""
    said = {name: value for name, value in run.environment().items() if name not in ("command", "space")}
    return {name.removeprefix("versions."): value for name, value in _flat(said)}


def _tabulate(tables: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Part entries that all runs share from those that differ: ``common`` rows, and ``names`` with a row per run."""
    names = list(dict.fromkeys(name for table in tables.values() for name in table))
    differing = [name for name in names if len({table.get(name) for table in tables.values()}) > 1]
    first = next(iter(tables.values()), {})
    return {
        "common": [[name, first[name]] for name in names if name not in differing],
        "names": differing,
        "rows": [[run, *(table.get(name, "-") for name in differing)] for run, table in tables.items()]
        if differing
        else [],
    }


def _commands(run: RunRecord) -> dict[str, Any]:
    """Return the words of the command that began a run, and its folder, relative to where we are if it lies below."""
    words = run.environment().get("command")
    said = [printable(word) for word in words] if isinstance(words, list) else []
    if said and Path(said[0]).name in _OURSELVES:
        said[:1] = ["python", "-m", "evo_nas"]
    elif said:  # a script that used the Python API
        said[:0] = ["python"]
    folder, here = run.folder, Path.cwd()
    place = folder.relative_to(here) if folder.is_relative_to(here) else folder
    return {"run": run.name, "words": said, "folder": str(place), "config": bool(run.config)}


def _value(value: Any, kind: type) -> Any:
    """Return a number, or ``None`` where it is missing."""
    return None if pd.isna(value) else kind(value)


def _number(column: pd.Series[Any]) -> float | None:
    """Return the one value of a column, if it has one."""
    return None if column.empty else _value(column.iloc[0], float)


def _count(column: pd.Series[Any]) -> int | None:
    return None if column.empty else _value(column.iloc[0], int)
