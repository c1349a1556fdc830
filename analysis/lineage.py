"""The lineage of an individual: its chain of parents, as a frame."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.frames import HistoryError

LINEAGE: Final[dict[str, str]] = {
    "generation": "counts from 0, the ancestor that has no parent, up to the individual itself",
    "trained_as": "id of the training that the fitness comes from: of a reused one, the first of the same network",
    "changes": "choices that differ from the parent's; missing for the first, and where a parent has other blocks",
}
"""Column that :func:`lineage` adds -> its meaning; the others are those of :data:`analysis.frames.COLUMNS`."""

_NEEDED: Final = ("run", "id", "parent", "told", "fitness", "trained", "key", "genotype")


def lineage(frame: pd.DataFrame, id: int | None = None, *, run: str | None = None) -> pd.DataFrame:
    """Return an individual and its ancestors, oldest first, with the columns of ``frame`` and those of :data:`LINEAGE`.

    ``frame`` comes from :func:`~analysis.frames.load_history`, with ``run, id, parent, told, fitness, trained, key,
    genotype`` at least. Without ``id`` it is the lineage of the trial with the highest fitness, the first told on
    ties; ``run`` says of which run, where there are several. Reused individuals are ancestors as any other. Where the
    row of a parent was lost, as ``repair`` may have to leave it, the chain begins after it.

    Raises:
        HistoryError: if no trial has a fitness yet, there is no such trial, or one is its own ancestor.
        ValueError: if a column is missing, or the frame has several runs, or none of that name.
    """
    if missing := [name for name in _NEEDED if name not in frame]:
        raise ValueError(f"a lineage needs the column {missing[0]!r}: load the history with it")
    one = _of_one_run(frame, run)
    ids = one["id"].to_numpy()
    id = _best(one) if id is None else id
    order = np.argsort(ids, kind="stable")
    parents = one["parent"].to_numpy(dtype=np.float64, na_value=np.nan)

    chain: list[int] = []
    row = _row(ids, order, id)
    if row is None:
        raise HistoryError(f"there is no trial {id} in {one['run'].iloc[0] if len(one) else 'an empty history'}")
    while row is not None:
        if chain and ids[row] >= ids[chain[-1]]:  # a parent is older than its child
            raise HistoryError(f"trial {ids[chain[-1]]} is damaged: its parent cannot be {ids[row]}, a later one")
        chain.append(row)
        row = None if np.isnan(parents[row]) else _row(ids, order, int(parents[row]))
    found = one.iloc[chain[::-1]].reset_index(drop=True)
    found.insert(0, "generation", np.arange(len(found)))
    found["trained_as"] = _find_trainings(one, found)
    found["changes"] = _changes(found["genotype"].tolist())
    return found


def _of_one_run(frame: pd.DataFrame, run: str | None) -> pd.DataFrame:
    """Return the rows of the named run."""
    if run is not None:
        one = frame[frame["run"] == run]
        if one.empty:
            raise ValueError(f"there is no run {run!r} in the frame; it has: {', '.join(map(str, _runs(frame)))}")
        return one
    if len(runs := _runs(frame)) > 1:
        raise ValueError(f"ids count within a run: say which of these is meant with run=...: {', '.join(runs)}")
    return frame


def _runs(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame["run"].unique()]


def _best(one: pd.DataFrame) -> int:
    """Return the trial with the highest fitness, the first told on ties."""
    if one["fitness"].isna().all():
        raise HistoryError("no trial has a fitness yet: there is no best one to look back from")
    highest = one[one["fitness"] == one["fitness"].max()]
    return int(highest.sort_values("told", kind="stable")["id"].iloc[0])


def _row(ids: Any, order: Any, id: int) -> int | None:
    """Return the position of a trial; ``order`` sorts ``ids``."""
    place = int(np.searchsorted(ids, id, sorter=order))
    return int(order[place]) if place < len(order) and ids[order[place]] == id else None


def _find_trainings(one: pd.DataFrame, found: pd.DataFrame) -> pd.Series[Any]:
    """Return for each row the training that its fitness comes from; missing where it has none."""
    same = one[one["trained"] & one["fitness"].notna() & one["key"].isin(found["key"])]
    first = same.sort_values("told", kind="stable").drop_duplicates("key").set_index("key")["id"]
    own = found["id"].where(found["trained"])
    chosen = own.astype("Int64").fillna(found["key"].map(first).astype("Int64"))
    return chosen.where(found["fitness"].notna())


def _changes(genotypes: list[str]) -> pd.Series[Any]:
    """Count the choices in which each genotype differs from the one before."""
    counts: list[int | None] = []
    before: tuple[str, list[str]] | None = None
    for text in genotypes:
        space, _, choices = text.rpartition(":")
        now = (space, choices.split("."))
        is_alike = before is not None and before[0] == space and len(before[1]) == len(now[1])
        counts.append(sum(a != b for a, b in zip(before[1], now[1], strict=True)) if before and is_alike else None)
        before = now
    return pd.Series(counts, dtype="Int64")
