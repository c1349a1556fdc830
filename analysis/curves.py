"""Curves of a search as plain frames: the best so far and the moving mean, against samples or against time.

The abscissa ``x`` is a column of :data:`analysis.frames.COLUMNS`: ``sample``, how many trainings had ended, failed ones
included; or ``elapsed``, for how many seconds the run had been going.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

_RUN: Final = ["run", "strategy", "space"]


def best_so_far(frame: pd.DataFrame, x: str = "sample") -> pd.DataFrame:
    """Give the highest fitness told until each sample: run, strategy, space, ``x``, fitness (fraction in [0, 1]).

    One row a sample of each run of a :func:`~analysis.frames.load_history` frame, from the first that had a fitness.
    """
    told = frame[frame["best_so_far"].notna() & (frame["sample"] > 0)]
    curve = told[[*_RUN, x, "best_so_far"]].rename(columns={"best_so_far": "fitness"})
    return _one_a_point(curve, x)


def moving_mean(frame: pd.DataFrame, window: int = 100, x: str = "sample") -> pd.DataFrame:
    """Give the mean fitness of the last ``window`` individuals told: the mean of an aging population of that size.

    Columns as of :func:`best_so_far`. Failures have no fitness and are passed over; reused individuals count, as
    they do in a population. The first rows are means of fewer.

    Raises:
        ValueError: if the window is less than 1.
    """
    if window < 1:
        raise ValueError(f"a moving mean needs a window of at least 1, not {window}")
    alive = frame[frame["fitness"].notna() & (frame["sample"] > 0)]
    curve = alive[[*_RUN, x]].copy()
    means = alive.groupby("run", observed=True, sort=False)["fitness"].rolling(window, min_periods=1).mean()
    curve["fitness"] = means.droplevel(0)
    return _one_a_point(curve, x)


def mean_over_runs(curves: pd.DataFrame, x: str = "sample") -> pd.DataFrame:
    """Average the curves of all runs that share strategy and space, each run weighing the same.

    Columns: strategy, space, ``x``, runs, mean, sd (sample standard deviation, missing for one run), low, high (the
    extremes). Only what every run of the group has reached is kept: a mean over fewer and fewer runs would bend where
    a run ends.
    """
    groups = []
    for (strategy, space), group in curves.groupby(["strategy", "space"], observed=True, sort=True):
        wide = group.pivot(index=x, columns="run", values="fitness").sort_index()
        last = group.groupby("run", observed=True)[x].max().min()
        wide = wide.ffill().loc[:last].dropna()
        mean = pd.DataFrame({"strategy": strategy, "space": space, x: wide.index})
        mean["runs"] = wide.shape[1]
        numbers = wide.to_numpy()
        mean["mean"] = numbers.mean(axis=1)
        mean["sd"] = numbers.std(axis=1, ddof=1) if wide.shape[1] > 1 else np.nan
        mean["low"] = numbers.min(axis=1)
        mean["high"] = numbers.max(axis=1)
        groups.append(mean)
    if not groups:
        columns = ["strategy", "space", x, "runs", "mean", "sd", "low", "high"]
        return pd.DataFrame(columns=columns)
    return pd.concat(groups, ignore_index=True)


def _one_a_point(curve: pd.DataFrame, x: str) -> pd.DataFrame:
    """Keep the last of what was told at one point: reused individuals are told without a new sample."""
    curve = curve.drop_duplicates(["run", x], keep="last").reset_index(drop=True)
    return curve.astype({"sample": "int64"}) if x == "sample" else curve
