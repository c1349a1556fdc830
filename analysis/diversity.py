"""The age and the diversity of a population over a search, from the history alone.

An aging population of P is the last P individuals told that have a fitness (Real et al. 2018, algorithm 1): whom a
strategy let live need not be recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.frames import HistoryError, RunRecord

LIVING_COLUMNS: Final[dict[str, str]] = {
    "run": "name of the run",
    "strategy": "name of its strategy",
    "space": "full spelling of its space",
    "sample": "how many trainings had ended, failed ones included",
    "living": "how many individuals live",
    "age": "mean age of the living: samples since each was told",
    "oldest": "the highest age",
    "diversity": "mean share of the choices in which two of the living differ, fraction in [0, 1]; missing for one",
    "distinct": "different networks among the living, by their key, as a share of these, fraction in [0, 1]",
}
"""Column of :func:`living` -> its meaning and unit."""

_WINDOW: Final = 100  # P of Real et al. 2018
_POINTS: Final = 400  # more than a picture has room for


def population_of(run: RunRecord) -> int | None:
    """Return the size of the aging population of a run, as ``run.toml`` has it; ``None`` if it has none.

    Raises:
        HistoryError: if it has one from which others than the oldest die: which, the history does not say.
    """
    options = run.table("strategy")
    size = options.get("population")
    if not isinstance(size, int) or size < 1:
        return None
    if options.get("aging") is False:
        raise HistoryError(
            f"the population of {run.name} cannot be followed: without aging any of it may die, and the history does "
            "not say which; --window P follows the last P told instead"
        )
    return size


def mean_window(runs: Sequence[RunRecord]) -> int:
    """Return the P of "mean of the last P" of these runs: the population of the first that has one, else 100."""
    sizes = (run.table("strategy").get("population") for run in runs)
    return next((size for size in sizes if isinstance(size, int) and size >= 1), _WINDOW)


def living(frame: pd.DataFrame, sizes: Mapping[str, int], *, points: int = _POINTS) -> pd.DataFrame:
    """Return the course of the populations of runs: :data:`LIVING_COLUMNS`, at most ``points`` rows per run.

    ``frame`` comes from :func:`~analysis.frames.load_history`, with ``run, strategy, space, genotype, key, fitness,
    sample`` at least; ``sizes`` gives P by the name of a run, and runs that are not in it are left out.

    Raises:
        ValueError: if a size is less than 1.
    """
    if few := [size for size in sizes.values() if size < 1]:
        raise ValueError(f"a population has at least 1 individual, not {few[0]}")
    found = []
    for name, run in frame.groupby("run", observed=True, sort=False):
        told = run[run["fitness"].notna() & run["sample"].notna()]
        if str(name) not in sizes or told.empty:
            continue
        size = sizes[str(name)]
        born = told["sample"].to_numpy(np.int64)
        last = int(run["sample"].max())
        first = max(1, int(born[0]))
        at = np.unique(np.linspace(first, last, min(points, last - first + 1)).round().astype(np.int64))
        ends = np.searchsorted(born, at, side="right")
        rows = [_at(told, born, max(0, end - size), end, int(now)) for now, end in zip(at, ends, strict=True)]
        one = pd.DataFrame(rows, columns=list(LIVING_COLUMNS)[3:])
        for column, value in (("space", told["space"].iloc[0]), ("strategy", told["strategy"].iloc[0]), ("run", name)):
            one.insert(0, column, str(value))
        found.append(one)
    if not found:
        return pd.DataFrame(columns=list(LIVING_COLUMNS))
    return pd.concat(found, ignore_index=True)


def _at(told: pd.DataFrame, born: NDArray[np.int64], start: int, end: int, now: int) -> tuple[Any, ...]:
    """Return the row of the individuals from position ``start`` to before ``end`` at one sample."""
    ages = now - born[start:end]
    texts, keys = told["genotype"].iloc[start:end].tolist(), told["key"].iloc[start:end].tolist()
    return now, end - start, float(ages.mean()), int(ages.max()), _difference(texts), len(set(keys)) / len(keys)


def _difference(genotypes: list[str]) -> float:
    """Return the mean share of the choices in which two of the genotypes differ; a shorter one lacks the others."""
    number = len(genotypes)
    if number < 2:
        return np.nan
    choices = [text.rpartition(":")[2].split(".") for text in genotypes]
    width = max(map(len, choices))
    codes = {"": 0}
    table = np.zeros((number, width), dtype=np.int64)
    for row, chosen in enumerate(choices):
        table[row, : len(chosen)] = [codes.setdefault(choice, len(codes)) for choice in chosen]
    counts = np.bincount((table + len(codes) * np.arange(width)).ravel())
    alike = float((counts * (counts - 1)).sum())
    return 1.0 - alike / (width * number * (number - 1))
