"""The picture of a population that ages: who is drawn as living, and whose parent is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection

from analysis.frames import HistoryError
from analysis.plots.aging import draw_aging
from analysis.plots.axes import new_figure
from analysis.plots.kinds import plot_kind

MakeRun = Callable[..., Path]
EVOLUTION = '[run]\nstrategy = "evolution"\n[strategy]\npopulation = 3\nsample = 2\n'


def frame(number: int = 8) -> pd.DataFrame:
    """Return a search whose every trial has the one before for a parent, and which rises by a per cent each time."""
    ids = range(1, number + 1)
    rows = [(id, id - 1 if id > 1 else pd.NA, id, id / 100) for id in ids]
    told = pd.DataFrame(rows, columns=["id", "parent", "sample", "fitness"]).astype({"parent": "Int64"})
    return told.assign(run="one", strategy="evolution", trained=True, outcome="ok")


def test_the_living_are_those_told_last_and_joined_to_parents_that_live() -> None:
    figure = new_figure(None, 2)
    draw_aging(frame(), 3, figure)
    counts, lines = [], []
    for ax in figure.axes:
        dead, living = (c for c in ax.collections if isinstance(c, PathCollection))
        counts.append((len(dead.get_offsets()), len(living.get_offsets())))
        (joined,) = (c for c in ax.collections if isinstance(c, LineCollection))
        lines.append([segment[:, 0].tolist() for segment in joined.get_segments()])
    assert counts == [(0, 2), (1, 3), (3, 3), (5, 3)]
    assert lines[0] == [[2.0, 1.0]]
    assert lines[3] == [[7.0, 6.0], [8.0, 7.0]], "the parent of the oldest has died"
    assert [ax.get_title(loc="left") for ax in figure.axes][0::3] == [
        "after 2 samples: 1.5 %",
        "after 8 samples: 7.0 %",
    ]


def test_a_run_of_evolution_is_drawn(make_run: MakeRun) -> None:
    run = make_run("e", [{"fitness": id / 100} for id in range(1, 13)], config=EVOLUTION)
    assert all(file.stat().st_size > 1000 for file in plot_kind("aging", run))


def test_what_cannot_be_drawn_is_refused(make_run: MakeRun) -> None:
    with pytest.raises(ValueError, match="shows one run: name one"):
        draw_aging(pd.concat([frame(), frame().assign(run="two")]), 3, new_figure(None, 2))
    with pytest.raises(HistoryError):
        draw_aging(frame().assign(fitness=float("nan")), 3, new_figure(None, 2))
    with pytest.raises(ValueError, match="keeps no population; --window P"):
        plot_kind("aging", make_run("r", [{"fitness": 0.5}], config='[run]\nstrategy = "random"\n'))
