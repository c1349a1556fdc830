"""Curves of a search as plain frames: the best so far, the moving mean, the best few, against samples or against time.

The abscissa ``x`` is a column of :data:`analysis.frames.COLUMNS`: ``sample``, how many trainings had ended, failed ones
included; or ``elapsed``, for how many seconds the run had been going.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_RUN: Final = ["run", "strategy", "space"]
_BY: Final = ("strategy", "space")
_RESAMPLES: Final = 2000
_POINTS: Final = 400
"""Points of a band at most: more than a picture has room for."""


def best_so_far(frame: pd.DataFrame, x: str = "sample") -> pd.DataFrame:
    """Return the highest fitness told until each sample: run, strategy, space, ``x``, fitness (fraction in [0, 1]).

    One row per sample of each run of a :func:`~analysis.frames.load_history` frame, from the first that had a fitness.
    """
    told = frame[frame["best_so_far"].notna() & (frame["sample"] > 0)]
    curve = told[[*_RUN, x, "best_so_far"]].rename(columns={"best_so_far": "fitness"})
    return _one_a_point(curve, x)


def moving_mean(frame: pd.DataFrame, window: int = 100, x: str = "sample") -> pd.DataFrame:
    """Return the mean fitness of the last ``window`` individuals told: the mean of an aging population of that size.

    Columns as of :func:`best_so_far`. Failures have no fitness and are passed over: they leave the mean as it was;
    reused individuals count, as they do in a population. The first rows are means of fewer.

    Raises:
        ValueError: if the window is less than 1.
    """
    if window < 1:
        raise ValueError(f"a moving mean needs a window of at least 1, not {window}")
    told = frame[frame["best_so_far"].notna() & (frame["sample"] > 0)]
    alive = told[told["fitness"].notna()]
    curve = told[[*_RUN, x]].copy()
    means = alive.groupby("run", observed=True, sort=False)["fitness"].rolling(window, min_periods=1).mean()
    curve["fitness"] = means.droplevel(0)
    curve["fitness"] = curve.groupby("run", observed=True, sort=False)["fitness"].ffill()
    return _one_a_point(curve, x)


def top_mean(frame: pd.DataFrame, best: int = 5, x: str = "sample") -> pd.DataFrame:
    """Return the mean fitness of the ``best`` networks so far (Zoph et al. 2017: NASNet, figure 6).

    Columns as of :func:`best_so_far`, which it is for 1. A network counts once, by its key, with the highest fitness
    that it had so far; a run's curve begins when it has that many networks.

    Raises:
        ValueError: if ``best`` is less than 1.
    """
    if best < 1:
        raise ValueError(f"the mean of the best needs at least 1 network, not {best}")
    told = frame[frame["best_so_far"].notna() & (frame["sample"] > 0)]
    curve = told[[*_RUN, x]].copy()
    curve["fitness"] = np.nan
    for _, run in told.groupby("run", observed=True, sort=False):
        curve.loc[run.index, "fitness"] = _top_means(run["key"].tolist(), run["fitness"].tolist(), best)
    return _one_a_point(curve[curve["fitness"].notna()], x)


def add_groups(frame: pd.DataFrame, groups: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Add the column ``group``: the label of a run's group by the run's name.

    ``groups`` are those of :func:`analysis.comparison.groups.group_runs`. Without ``groups`` it is the strategy, with
    its space where there are several.
    """
    runs = frame[_RUN].drop_duplicates("run")
    if groups is None:
        several = runs["space"].nunique() > 1
        labels = [f"{row.strategy} on {row.space}" if several else str(row.strategy) for row in runs.itertuples()]
        groups = dict(zip(runs["run"].astype(str), labels, strict=True))
    return frame.assign(group=frame["run"].astype(str).map(groups))


def band_over_runs(
    curves: pd.DataFrame,
    x: str = "sample",
    by: Sequence[str] = _BY,
    *,
    points: int = _POINTS,
    resamples: int = _RESAMPLES,
    seed: int = 0,
    steps: bool = True,
) -> pd.DataFrame:
    """Average the curves of all runs that share strategy and space, or what ``by`` says, with the range of that mean.

    Between two points of a run its value is that of the first, or without ``steps`` on the line between them. Only what
    every run of the group has reached is kept: a mean over fewer and fewer runs would bend where a run ends.

    Columns: those of ``by``, ``x``, runs, mean, and low and high: the 95 % percentile interval of the bootstrap, which
    draws whole runs with replacement, the same ones at every ``x``. Of a single run, and without ``resamples``, there
    is no interval: low and high are missing. That of few runs is too narrow: of three it is their range, which holds
    the true mean about three times in four. More than ``points`` different ``x`` are thinned out evenly.
    """
    groups = []
    for keys, group in curves.groupby(list(by), observed=True, sort=True):
        runs = [run for _, run in group.groupby("run", observed=True, sort=True)]
        first, last = max(run[x].min() for run in runs), min(run[x].max() for run in runs)
        at = np.unique(np.concatenate([run[x].to_numpy() for run in runs]))
        at = at[(at >= first) & (at <= last)]
        if not len(at):
            continue  # one had ended before another began to have a fitness
        if len(at) > points:
            at = at[np.linspace(0, len(at) - 1, points).round().astype(int)]
        values = np.array([_values_at(at, run[x].to_numpy(), run["fitness"].to_numpy(), steps) for run in runs])
        band = pd.DataFrame({**dict(zip(by, keys, strict=True)), x: at})
        band["runs"], band["mean"], band["low"], band["high"] = len(runs), values.mean(axis=0), np.nan, np.nan
        if len(runs) > 1 and resamples:
            counts = bootstrap_counts(len(runs), resamples, np.random.default_rng(seed))[1:]
            band["low"], band["high"] = np.quantile(counts @ values / len(runs), [0.025, 0.975], axis=0)
        groups.append(band)
    if not groups:
        return pd.DataFrame(columns=[*by, x, "runs", "mean", "low", "high"])
    return pd.concat(groups, ignore_index=True)


def bootstrap_counts(individuals: int, resamples: int, rng: np.random.Generator) -> Floats:
    """Return counts of shape (1 + resamples, individuals): the sample as it is, then draws with replacement."""
    drawn = rng.multinomial(individuals, np.full(individuals, 1 / individuals), size=resamples)
    return np.vstack([np.ones((1, individuals)), drawn])


def _values_at(at: Floats, x: Floats, fitness: Floats, steps: bool) -> Floats:
    """Return the values of a curve at some points."""
    return fitness[np.searchsorted(x, at, side="right") - 1] if steps else np.interp(at, x, fitness)


def _top_means(keys: list[Any], fitness: list[float], best: int) -> list[float]:
    """Return the mean of the best distinct networks after each individual told; NaN while there are fewer."""
    heap: list[tuple[float, Any]] = []  # the lowest first; what a better trial of the same network replaced is stale
    among: dict[Any, float] = {}
    means, mean = [], np.nan
    for key, value in zip(keys, fitness, strict=True):
        if value > among.get(key, -1.0):  # a failure has NaN, which is above nothing
            while heap and among.get(heap[0][1]) != heap[0][0]:
                heappop(heap)
            if key not in among and len(among) == best:
                if value <= heap[0][0]:
                    means.append(mean)
                    continue
                del among[heappop(heap)[1]]
            among[key] = value
            heappush(heap, (value, key))
            if len(among) == best:
                mean = math.fsum(among.values()) / best
        means.append(mean)
    return means


def _one_a_point(curve: pd.DataFrame, x: str) -> pd.DataFrame:
    """Return the last row of each point: reused individuals are told without a new sample."""
    curve = curve.drop_duplicates(["run", x], keep="last").reset_index(drop=True)
    return curve.astype({"sample": "int64"}) if x == "sample" else curve
