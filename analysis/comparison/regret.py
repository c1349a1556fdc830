"""Numbers of a study: what its strategies had found after so many trials, over many seeds.

Reads ``study.json``, and of the runs beside it the histories and how their logs end; docs/study.md and docs/history.md
document them. A trial is an ended training, failed ones counted; a network met again counts only where it was trained
again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.comparison.fairness import EARLY, ending
from analysis.frames import HistoryError, RunRecord, find_runs, refuse_damage
from evo_nas.storage.columns import select_trainings
from evo_nas.storage.opening import open_to_read
from evo_nas.storage.schema import TRIAL
from evo_nas.system.text import read_text
from genotypes.genotype import shorten

CHECKPOINTS: Final = (50, 100, 150, 200, 300, 500, 1000)
"""The numbers of trials at which strategies are compared, as far as a study goes, and where it ends."""

STUDY_TABLE: Final[dict[str, str]] = {
    "strategy": "the strategy as it was listed, with the options in its brackets",
    "trials": "trials of each run until then",
    "seeds": "how many finished runs the numbers are taken over",
    "mean_best": "highest fitness until then, mean over seeds, per cent",
    "sd_best": "its sample standard deviation over seeds, percentage points; missing for one seed",
    "mean_regret": "best possible fitness minus the highest until then, mean over seeds, percentage points",
    "stderr_regret": "standard error of that mean, percentage points; missing for one seed",
    "mean_test": "test fitness of the trial with the highest fitness until then, the first on ties, mean, per cent",
    "stderr_test": "standard error of that mean, percentage points; missing for one seed",
    "distinct": "different networks trained until then, mean over seeds",
}
"""Column of :func:`study_table` -> what it holds, with its unit. What is not known is missing."""

_VERSION: Final = 1

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StrategyCurves:
    """The best found after each trial by the finished runs of one strategy: arrays of shape (seeds, trials).

    ``best`` and ``test`` are fractions in [0, 1], NaN while there is none; ``distinct`` counts networks. A run that
    ended early, because nothing was left to try, keeps its last values. ``unfinished`` lists the seeds left out.
    """

    label: str
    seeds: tuple[int, ...]
    best: Floats
    test: Floats
    distinct: Floats
    unfinished: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class StudyCurves:
    """A study in numbers: the curves of each strategy, in the order listed, and the best possible fitness if known."""

    folder: Path
    trials: int
    optimum: float | None
    strategies: tuple[StrategyCurves, ...]

    def regret(self, curves: StrategyCurves) -> Floats:
        """Return the regret of a strategy, shape (seeds, trials), in percentage points; NaN where it is not known."""
        return 100 * ((math.nan if self.optimum is None else self.optimum) - curves.best)


def load_study(
    folder: str | PathLike[str],
    *,
    strategies: Sequence[str] | None = None,
    seeds: range | None = None,
    trials: int | None = None,
) -> StudyCurves:
    """Load the finished runs of a study: those of some strategies and seeds, until so many trials, or else of all.

    Raises:
        HistoryError: if there is no such study, it lacks a strategy, or a history is damaged.
    """
    path = Path(folder)
    record = _record(path)
    folders: dict[str, str] = {entry["label"]: entry["folder"] for entry in record["strategies"]}
    if unknown := [label for label in strategies or () if label not in folders]:
        raise HistoryError(f"{path} has no strategy {unknown[0]!r}; it has: {', '.join(folders)}")
    seeds = range(record["first_seed"], record["first_seed"] + record["seeds"]) if seeds is None else seeds
    trials = record["trials"] if trials is None else trials
    every = tuple(
        _curves(label, {seed: path / f"{folders[label]}-seed{seed}" for seed in seeds}, trials)
        for label in (folders if strategies is None else strategies)
    )
    return StudyCurves(path, trials, record["optimum"], every)


def study_table(study: StudyCurves, checkpoints: Sequence[int] | None = None) -> pd.DataFrame:
    """Compare the strategies after so many trials, a row each; :data:`STUDY_TABLE` says what is in it.

    ``checkpoints`` are by default :data:`CHECKPOINTS` as far as the study goes, and its end. A strategy without a
    finished run has no row.

    Raises:
        ValueError: if a checkpoint is none of the study's trials.
    """
    if checkpoints is None:
        checkpoints = sorted({n for n in CHECKPOINTS if n < study.trials} | {study.trials})
    if wrong := [n for n in checkpoints if not 1 <= n <= study.trials]:
        raise ValueError(f"a checkpoint is a number of trials from 1 to {study.trials:,}, not {wrong[0]}")
    rows = []
    for curves in study.strategies:
        if not curves.seeds:
            continue
        regret = study.regret(curves)
        for trials in checkpoints:
            at = trials - 1
            rows.append(
                {
                    "strategy": curves.label,
                    "trials": trials,
                    "seeds": len(curves.seeds),
                    "mean_best": 100 * curves.best[:, at].mean(),
                    "sd_best": 100 * _spread(curves.best[:, at]),
                    "mean_regret": regret[:, at].mean(),
                    "stderr_regret": standard_error(regret[:, at]),
                    "mean_test": 100 * curves.test[:, at].mean(),
                    "stderr_test": 100 * standard_error(curves.test[:, at]),
                    "distinct": curves.distinct[:, at].mean(),
                }
            )
    return pd.DataFrame(rows, columns=list(STUDY_TABLE))


def standard_error(values: Floats) -> Any:
    """Return the standard error of the mean over seeds, the first axis; NaN for one seed."""
    return _spread(values) / math.sqrt(len(values))


def _spread(values: Floats) -> Any:
    """Return the sample standard deviation over seeds, the first axis; NaN for one seed."""
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], math.nan)[()]


def notes_on(study: StudyCurves) -> list[str]:
    """Return in sentences what the table of a study cannot show."""
    notes = []
    for curves in study.strategies:
        if curves.unfinished:
            shown = ", ".join(map(str, curves.unfinished[:5])) + (", ..." if len(curves.unfinished) > 5 else "")
            total = len(curves.unfinished) + len(curves.seeds)
            left_out = f"{len(curves.unfinished)} of {total} seeds not finished and left out"
            notes.append(f"{curves.label}: {left_out} ({shown}).")
        if curves.seeds and (lost := int(np.isnan(curves.best[:, -1]).sum())):
            notes.append(f"{curves.label}: in {lost} of {len(curves.seeds)} runs no trial succeeded.")
    if any((study.regret(curves) < 0).any() for curves in study.strategies):
        notes.append("A fitness above the best possible one is noise: read the test fitness, not the regret.")
    return notes


def _record(folder: Path) -> dict[str, Any]:
    """Read ``study.json``."""
    file = folder / "study.json"
    try:
        record: dict[str, Any] = json.loads(read_text(file))
        version = record["version"]
        if version == _VERSION:
            _check(record)
    except FileNotFoundError:
        raise HistoryError(f"{folder} is no study: there is no study.json in it") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise HistoryError(f"{file} is damaged: {shorten(repr(error), 200)}") from None
    if version != _VERSION:
        found = shorten(version)
        raise HistoryError(f"{file} has version {found}, but this version of evo_nas reads version {_VERSION}")
    return record


def _check(record: Mapping[str, Any]) -> None:
    """Raise unless ``study.json`` is as docs/study.md says; it may have come from anybody.

    Raises:
        ValueError, KeyError, TypeError: if something is missing, of another kind, or leads out of the study's folder.
    """
    for entry in record["strategies"]:
        label, folder = entry["label"], entry["folder"]
        if not (isinstance(label, str) and isinstance(folder, str)):
            raise ValueError("a label or a folder is no text")
        if Path(folder).name != folder or not folder.isprintable():
            raise ValueError(f"the folder {shorten(folder)!r} does not lie in that of the study")
    numbers = {name: record[name] for name in ("first_seed", "seeds", "trials")}
    for name, number in numbers.items():
        if type(number) is not int or number < (name != "first_seed"):
            raise ValueError(f"{name} is {shorten(number)}, no number of seeds or trials")
    optimum = record["optimum"]
    if not (optimum is None or (type(optimum) in (int, float) and 0 <= optimum <= 1)):
        raise ValueError(f"optimum is {shorten(optimum)}, no fraction")


def _curves(label: str, folders: Mapping[int, Path], trials: int) -> StrategyCurves:
    """Load the runs of one strategy, by seed."""
    curves = {seed: _curve(folder, trials) for seed, folder in folders.items()}
    done = {seed: curve for seed, curve in curves.items() if curve is not None}
    unfinished = tuple(seed for seed in curves if seed not in done)
    # Even of no runs an array of shape (seeds, trials).
    best, test, distinct = (np.array([c[i] for c in done.values()]).reshape(len(done), trials) for i in range(3))
    return StrategyCurves(label, tuple(done), best, test, distinct, unfinished)


def _curve(folder: Path, trials: int) -> tuple[Floats, Floats, Floats] | None:
    """Follow one run: best so far, its test fitness, different networks, after each trial; ``None`` if unfinished."""
    if not (folder / "history.db").is_file():
        return None
    (run,) = find_runs(folder)
    keys, fitness, test = _read_trainings(run, trials)
    if len(keys) < trials and ending(run) not in EARLY:
        return None
    if not keys:  # everything that it asked was refused
        return np.full(trials, math.nan), np.full(trials, math.nan), np.zeros(trials)
    best = np.fmax.accumulate(fitness)
    # The first that is better than all before it, so that a tie changes nothing.
    improved = np.fmax(fitness, -1.0) > np.concatenate([[-1.0], np.fmax(best[:-1], -1.0)])
    incumbent = np.maximum.accumulate(np.where(improved, np.arange(len(keys)), -1))
    tested = np.where(incumbent < 0, math.nan, test[incumbent])
    seen: set[str] = set()
    distinct = np.array([len(seen) for key in keys if not seen.add(key)], dtype=np.float64)  # type: ignore[func-returns-value]
    rest = (0, trials - len(keys))
    return np.pad(best, rest, "edge"), np.pad(tested, rest, "edge"), np.pad(distinct, rest, "edge")


def _read_trainings(run: RunRecord, trials: int) -> tuple[list[str], Floats, Floats]:
    """Read the first so many ended trainings of a run, in the order told: keys, fitness and test fitness."""
    columns = ("key", "fitness", "test")
    with open_to_read(run.history) as connection:
        refuse_damage(connection, run, TRIAL, ("told", *columns))
        rows = select_trainings(connection, columns, trials).fetchall()
    numbers = np.array([row[1:] for row in rows], dtype=np.float64).reshape(len(rows), 2)
    return [row[0] for row in rows], numbers[:, 0], numbers[:, 1]


def plus_minus(mean: float, error: float, digits: int) -> str:
    """Write a number and how far it may be trusted."""
    if math.isnan(mean):
        return "-"
    return f"{mean:.{digits}f}" + ("" if math.isnan(error) else f" ± {error:.{digits}f}")
