"""Strategies compared over their seeds: a table, what it shows and does not show, the best cells beside each other.

Runs are grouped by strategy and settings, and compared at the same number of samples. A sample is an ended training,
failed ones counted; the best so far is the highest fitness until then, and its test that of the first trial that had
it. Where the best possible fitness is known, as for a benchmark's table, what is missing to it is the regret.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.comparison.fairness import EARLY, ending, list_unfinished_runs, unlike, warnings_of
from analysis.comparison.groups import Group, groups_of, seed_of
from analysis.comparison.significance import Floats, Pair, conclusions, pairs_of
from analysis.comparison.text import effort_rows, list_findings, pair_lines
from analysis.comparison.wording import align_with_names, columns_of, fold, join_words
from analysis.curves import add_groups
from analysis.frames import HistoryError, Paths, RunRecord, find_runs, load_history, parse_cell
from evo_nas.storage.study_record import read_study
from genotypes.genotype import printable

TOP: Final = 5
"""Number of the best networks of a run that the column ``top`` averages."""

TABLE: Final[dict[str, str]] = {
    "group": "name of the group: the strategy, with the settings that tell it apart from the other groups",
    "strategy": "name of the strategy",
    "space": "full spelling of the space",
    "runs": "how many runs",
    "trials": "ended trainings of all runs, failed ones included",
    "failed": "how many of them failed",
    "networks": "different networks trained with success, over all runs",
    "best": "highest fitness of a run, mean over runs, fraction in [0, 1]; missing if a run has none",
    "best_sd": "its sample standard deviation over runs; missing for one run",
    "best_low": "the lowest of these highest ones",
    "best_high": "the highest of them",
    "regret": "best possible fitness minus ``best``, a fraction; its standard deviation is ``best_sd``",
    "top": f"mean fitness of the {TOP} best networks of a run, mean over runs; of fewer where there are fewer",
    "mean": "mean fitness of all trained trials of a run, mean over runs",
    "test": "test fitness of the best trial of a run, mean over runs; missing where it was not measured",
    "test_sd": "its sample standard deviation over runs; missing for one run",
    "auc": "area under the best so far: its mean over all samples, fraction in [0, 1]; 0 before the first success",
    "auc_sd": "its sample standard deviation over runs; missing for one run",
    "reached": "in how many runs a fitness was as high as the target; missing without a target",
    "to_target": "samples that took, median over all runs; missing if no more than half of them got there",
    "seconds": "mean duration of a training in seconds",
    "total_seconds": "duration of all trainings together in seconds",
    "best_run": "the run that found the best of all, the earlier on ties",
    "best_id": "id of that trial",
    "best_fitness": "its fitness, fraction in [0, 1]",
    "best_genotype": "its genotype in text form",
    "best_cell": "JSON text of what it describes; missing if the frame was loaded without cells",
}
"""Column of :func:`compare` -> what it holds, with its unit."""

OUTCOMES: Final[dict[str, str]] = {
    "run": "name of the run",
    "samples": "samples of the run until the budget",
    "best": "highest fitness, fraction in [0, 1]; missing if no training succeeded",
    "test": "test fitness of the first trial that had it; missing where it was not measured",
    "best_id": "id of that trial",
    "auc": "area under the best so far, as in the table",
    "to_target": "samples until a fitness was as high as the target; missing if none was, or there is no target",
}
"""Column of :func:`outcomes` -> what it holds, with its unit."""

_COUNTS: Final = ("runs", "trials", "failed", "networks")
_COLUMNS: Final = (
    *("run", "strategy", "space", "id", "genotype", "key", "fitness", "test", "seconds", "trained", "sample"),
    *("outcome", "told", "cell"),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The findings of :func:`comparison_of`, and the files that :func:`compare_runs` drew.

    ``table`` has the columns of :data:`TABLE`, ``runs`` those of :data:`OUTCOMES` and ``group`` and ``seed``.
    ``budget`` is the number of samples that all is compared at, ``measure`` what pairs are tested by: ``test`` where
    every run has one, because the search has not seen it, else ``fitness``. ``optimum`` is the best possible fitness
    if the study that the runs belong to knows it. ``warnings`` say why the runs cannot be compared as they are,
    ``notes`` what was counted, ``conclusions`` what may be concluded.
    """

    table: pd.DataFrame
    runs: pd.DataFrame
    pairs: tuple[Pair, ...]
    budget: int
    measure: str
    target: float | None
    optimum: float | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    conclusions: tuple[str, ...]
    files: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: everything, with a row of ``strategies`` a group; what is missing is ``None``."""
        return {
            "budget": self.budget,
            "measure": self.measure,
            "target": self.target,
            "optimum": self.optimum,
            "strategies": records(self.table),
            "runs": json.loads(self.runs.to_json(orient="records", double_precision=15)),
            "pairs": [pair.to_json() for pair in self.pairs],
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "conclusions": list(self.conclusions),
            "files": [str(file) for file in self.files],
        }

    def lines(self) -> list[str]:
        """Return the tables as aligned text, the sentences, and the files, for a terminal of 80 columns."""
        blocks = [
            [line for text in self.warnings for line in fold(f"Warning: {text}")],
            fold(f"After {self.budget:,} samples; ± is the standard deviation over seeds."),
            align_with_names(self.table["group"].tolist(), list_findings(self.table, self.budget, self.target)),
            columns_of(effort_rows(self.table, TOP)),
            pair_lines(self.pairs, self.table["group"].tolist(), self.measure),
            [line for text in (*self.notes, *self.conclusions) for line in fold(text)],
            [str(file) for file in self.files],
        ]
        lines = [line for block in blocks if block for line in ["", *block]][1:]
        return [printable(line) for line in lines]


def outcomes(frame: pd.DataFrame, budget: int, target: float | None = None) -> pd.DataFrame:
    """Measure each run until its ``budget``-th sample, a row per run; :data:`OUTCOMES` says what is in it.

    A run with fewer samples keeps what it had. One without a sample has no row.
    """
    trained = frame[frame["trained"] & (frame["sample"] <= budget)]
    rows = []
    for run, group in trained.groupby("run", observed=True, sort=False):
        fitness = group["fitness"].to_numpy()
        best = np.fmax.accumulate(fitness)
        row: dict[str, Any] = {"run": run, "samples": len(best), "best": best[-1]}
        if not math.isnan(best[-1]):
            first = group.iloc[int(np.nanargmax(fitness))]
            row |= {"test": first["test"], "best_id": first["id"]}
        height = np.nan_to_num(best)
        row["auc"] = (height.sum() + (budget - len(best)) * height[-1]) / budget
        if target is not None and best[-1] >= target:
            row["to_target"] = int((best >= target).argmax()) + 1  # nothing yet is below every target
        rows.append(row)
    return pd.DataFrame(rows, columns=list(OUTCOMES)).astype(
        {"run": "str", "test": "float64", "best_id": "Int64", "to_target": "Int64"}
    )


def compare(
    frame: pd.DataFrame,
    labels: Mapping[str, str] | None = None,
    *,
    budget: int | None = None,
    target: float | None = None,
    optimum: float | None = None,
) -> pd.DataFrame:
    """Compare groups of runs, a row each, the best first; :data:`TABLE` says what is in it.

    ``frame`` comes from :func:`~analysis.frames.load_history`. ``labels`` names the group of each run, by default its
    strategy, and its space where there are several. All is measured until the ``budget``-th sample, by default as many
    as every run has that has any. ``target`` is a fitness, and ``optimum`` the best possible one, fractions in [0, 1].
    A group that only failed has a row without fitness.

    Raises:
        HistoryError: if no training has ended.
    """
    trained = frame[frame["trained"]]
    if trained.empty:
        raise HistoryError("there are no finished trials to compare yet")
    if budget is None:
        budget = int(trained.groupby("run", observed=True).size().min())
    trained = trained[trained["sample"] <= budget]
    measured = outcomes(trained, budget, target).set_index("run")
    rows = [
        {"group": name, **_row(group, measured.loc[group["run"].unique()], target)}
        for name, group in add_groups(trained, labels).groupby("group", sort=True)
    ]
    counts = dict.fromkeys(_COUNTS, "int64") | {"best_id": "Int64", "reached": "Int64"}
    table = pd.DataFrame(rows, columns=list(TABLE)).astype(counts | {"to_target": "float64"})
    table["regret"] = np.nan if optimum is None else optimum - table["best"]
    return table.sort_values("best", ascending=False, kind="stable", ignore_index=True)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as JSON can say them: missing values are ``None``, the best cell is an object.

    A cell that cannot be read is ``None`` too.
    """
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    for row in rows:
        if row["best_cell"] is not None:
            row["best_cell"] = parse_cell(row["best_cell"])
    return rows


def comparison_of(paths: Paths, *, target: float | None = None, trials: int | None = None) -> Comparison:
    """Compare runs in numbers and sentences, without a picture.

    All is compared after as many samples as every run has, or after ``trials``, and then without the runs that have
    fewer. A run that ended because nothing was left to try keeps what it has. A seed that a group has twice is counted
    once. ``target`` is a fitness, a fraction in [0, 1]: how many samples it took to reach it. Runs of one study have a
    regret where ``study.json`` knows the best possible fitness.

    Raises:
        HistoryError: if there is no such run, no training has ended, or a trial is damaged.
        ValueError: if ``target`` or ``trials`` is out of range.
    """
    if target is not None and not 0 <= target <= 1:
        raise ValueError(f"the target is a fraction from 0 to 1, not {target}")
    if trials is not None and trials < 1:
        raise ValueError(f"runs are compared after at least 1 trial, not {trials}")
    runs = find_runs(paths)
    frame = load_history([run.history for run in runs], columns=_COLUMNS)
    done = frame.loc[frame["trained"], "run"].value_counts()
    samples = {run.name: int(done.get(run.name, 0)) for run in runs}
    budget, kept, notes = _budget(runs, samples, trials)
    groups = groups_of(kept, frame)
    counted = _group_counting_runs(groups, samples)
    notes += [_spell_repeats(group) for group in groups if group.find_repeats()]
    frame = frame[frame["run"].isin(list(counted))]
    measured = outcomes(frame, budget, target)
    measured.insert(1, "group", measured["run"].map(counted))
    seeds = {run.name: seed_of(run) for run in kept}
    measured.insert(2, "seed", pd.Series([seeds[run] for run in measured["run"]], dtype="Int64"))
    found = measured.loc[measured["best"].notna(), "test"]
    measure = "test" if len(found) and found.notna().all() else "fitness"
    column = "test" if measure == "test" else "best"
    optimum = _optimum(runs)
    table = compare(frame, counted, budget=budget, target=target, optimum=optimum)
    table = table.sort_values(column, ascending=False, kind="stable", ignore_index=True)
    by_label = {group.label: group for group in groups}
    found_by = dict(iter(measured.groupby("group")[column]))
    values: dict[str, Floats] = {name: found_by[name].to_numpy(np.float64) for name in table["group"]}
    pairs = tuple(pairs_of(values, unlike([by_label[name] for name in values])))
    said = conclusions(pairs)
    if any(pair.p is not None and by_label[pair.first].space != by_label[pair.second].space for pair in pairs):
        said.append("Where the spaces differ, so may what is in them: the difference is not the strategy's alone.")
    if any(pair.verdict in ("apart", "not apart") for pair in pairs):
        said.append(_scope(table, measure, budget))
    return Comparison(
        table,
        measured,
        pairs,
        budget,
        measure,
        target,
        optimum,
        warnings=(*warnings_of([run.history for run in kept]), *list_unfinished_runs(runs, samples)),
        notes=(*notes, *notes_of(table, measured, optimum)),
        conclusions=tuple(said),
    )


def notes_of(table: pd.DataFrame, measured: pd.DataFrame, optimum: float | None = None) -> list[str]:
    """Return in sentences what a table cannot show: how far its numbers may be trusted."""
    notes = []
    for name, group in measured.groupby("group", sort=False):
        if lost := int(group["best"].isna().sum()):
            notes.append(f"{name}: in {lost} of {len(group)} runs no trial succeeded; they rank last.")
    if len(table) == 1:
        alone = "One run alone" if len(measured) == 1 else "One group alone"
        notes.append(f"{alone}: there is nothing to compare it with.")
    if optimum is not None and (measured["best"] > optimum).any():
        notes.append("A fitness above the best possible one is noise: read the test fitness, not the regret.")
    return notes


def _optimum(runs: Sequence[RunRecord]) -> float | None:
    """Return the best possible fitness that the study of these runs knows; ``None`` if they are of none, or of two."""
    studies = {run.folder.parent for run in runs}
    if len(studies) == 1:
        with suppress(HistoryError):  # the runs can be compared without it
            optimum: float | None = read_study(studies.pop())["optimum"]
            return optimum
    return None


def _budget(
    runs: Sequence[RunRecord], samples: Mapping[str, int], trials: int | None
) -> tuple[int, list[RunRecord], list[str]]:
    """Choose the number of samples at which all is compared, and the runs that are; say what that leaves out."""
    begun = [run for run in runs if samples[run.name]]
    if not begun:
        raise HistoryError("there are no finished trials to compare yet")
    notes = []
    if idle := [run.name for run in runs if not samples[run.name]]:
        notes.append(f"Left out, because no training of theirs has ended: {join_words(idle)}.")
    final = {run.name for run in begun if ending(run) in EARLY}
    if trials is not None:
        kept = [run for run in begun if run.name in final or samples[run.name] >= trials]
        if not kept:
            most = max(samples.values())
            raise ValueError(f"no run has {trials:,} trained trials; the longest has {most:,}")
        if len(kept) < len(begun):
            short = [f"{run.name} ({samples[run.name]:,})" for run in begun if run not in kept]
            notes.append(f"Left out, because they have fewer than {trials:,} samples: {join_words(short)}.")
        return trials, kept, notes
    open_ended = [run for run in begun if run.name not in final]
    if not open_ended:
        return max(samples.values()), begun, notes
    shortest = min(open_ended, key=lambda run: samples[run.name])
    budget = samples[shortest.name]
    if any(samples[run.name] > budget for run in begun):
        notes.append(
            f"Compared after {budget:,} samples, as many as {shortest.name} has; what others found later is not "
            "counted. --trials N compares after N, without the runs that have fewer."
        )
    return budget, begun, notes


def _group_counting_runs(groups: Sequence[Group], samples: Mapping[str, int]) -> dict[str, str]:
    """Return the runs that count, with their groups: of those with one seed the first that got furthest."""
    counted = {}
    for group in groups:
        twice = group.find_repeats()
        for run in group.runs:
            seed = seed_of(run)
            alike = [run] if seed is None else twice.get(seed, [run])
            if run is max(alike, key=lambda other: samples[other.name]):
                counted[run.name] = group.label
    return counted


def _spell_repeats(group: Group) -> str:
    """Return which seeds a group has more than once."""
    seeds = [f"{seed} ({join_words([run.name for run in alike])})" for seed, alike in group.find_repeats().items()]
    return f"{group.label} has a seed more than once, which is no new evidence; counted once: {join_words(seeds)}."


def _row(group: pd.DataFrame, measured: pd.DataFrame, target: float | None) -> dict[str, Any]:
    """Measure one group from its ended trainings and what became of its runs."""
    alive = group[group["fitness"].notna()]
    # A network trained again would stand among the best twice: its best training counts.
    distinct = alive.groupby(["run", "key"], observed=True, sort=False)["fitness"].max()
    top = distinct.groupby("run", observed=True).apply(lambda fitness: fitness.nlargest(TOP).mean())
    means = alive.groupby("run", observed=True, sort=False)["fitness"].mean()
    whole = bool(measured["best"].notna().all())  # a mean over the runs that had luck would flatter

    row: dict[str, Any] = {
        "strategy": str(group["strategy"].iloc[0]),
        "space": str(group["space"].iloc[0]),
        "runs": len(measured),
        "trials": len(group),
        "failed": len(group) - len(alive),
        "networks": alive["key"].nunique(),
        "best": measured["best"].mean(skipna=False),
        "best_sd": measured["best"].std(ddof=1, skipna=False),
        "best_low": measured["best"].min(),
        "best_high": measured["best"].max(),
        "top": top.mean() if whole else np.nan,
        "mean": means.mean() if whole else np.nan,
        "test": measured["test"].mean(skipna=False),
        "test_sd": measured["test"].std(ddof=1, skipna=False),
        "auc": measured["auc"].mean(),
        "auc_sd": measured["auc"].std(ddof=1),
        "seconds": group["seconds"].mean(),
        "total_seconds": group["seconds"].sum(),
    }
    if target is not None:
        # Runs that did not get there took longer than all that did, nobody knows how long.
        waits = np.sort(measured["to_target"].astype("Float64").to_numpy(np.float64, na_value=np.inf))
        median = float(waits[[(len(waits) - 1) // 2, len(waits) // 2]].mean())
        row |= {"reached": int(np.isfinite(waits).sum()), "to_target": median if math.isfinite(median) else np.nan}
    if len(alive):
        best = alive.iloc[int(alive["fitness"].argmax())]
        row |= {f"best_{name}": best.get(name) for name in ("run", "id", "fitness", "genotype", "cell")}
    return row


def _scope(table: pd.DataFrame, measure: str, budget: int) -> str:
    """Return what the conclusions are about, and that they are about nothing else."""
    spaces = join_words(table["space"].unique().tolist())
    said = "the test fitness of the best network" if measure == "test" else "the best fitness"
    return (
        f"This is about {said} after {budget:,} samples on {spaces}, measured as here. Who leads at another budget, on "
        "other data or in another space is not known from it."
    )
