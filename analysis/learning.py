"""The learning of a controller: rewards and entropy per batch, as the strategy noted them."""

from __future__ import annotations

from typing import Final

import pandas as pd

from analysis.frames import HistoryError

LEARNING_COLUMNS: Final[dict[str, str]] = {
    "run": "name of the run",
    "strategy": "name of its strategy",
    "space": "full spelling of its space",
    "sample": "how many trainings had ended when the controller was updated",
    "reward": "mean reward of the batch: its fitness, fraction in [0, 1], the lowest so far for failures",
    "baseline": "moving average of the rewards that they are compared with; missing where it was not noted",
    "entropy": "entropy of the policy before the update, in nats per decision",
}
"""Column of :func:`learning` -> its meaning and unit."""

_NOTED: Final = ("reward", "baseline", "entropy")


def learning(frame: pd.DataFrame, notes: pd.DataFrame) -> pd.DataFrame:
    """Return the course of the controllers of runs: :data:`LEARNING_COLUMNS`, a row per update.

    The frames are those of :func:`~analysis.frames.load_history` and :func:`~analysis.frames.load_notes`. Runs of
    strategies that note no entropy have no rows.

    Raises:
        HistoryError: if there is no such run, or none has been updated yet.
    """
    said = notes[notes["name"].isin(_NOTED)].astype({"run": str, "name": str})
    wide = said.pivot(index=["run", "trial"], columns="name", values="value").reindex(columns=list(_NOTED))
    told = frame[["run", "strategy", "space", "id", "sample"]].astype({"run": str})
    found = told.merge(wide, left_on=["run", "id"], right_index=True)
    found = found[found["entropy"].notna() & found["sample"].notna()].drop(columns="id").reset_index(drop=True)
    if found.empty:
        names = ", ".join(
            sorted({f"{row.run} ({row.strategy})" for row in told.drop_duplicates("run").itertuples()})[:3]
        )
        raise HistoryError(
            f"no controller has learned in {names or 'the run'}: only the strategy rl notes reward and entropy, "
            "first when its first batch has ended"
        )
    return found.astype({"sample": "int64"})
