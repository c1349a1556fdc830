from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.frames import HistoryError, load_history, load_notes
from analysis.learning import LEARNING_COLUMNS, learning
from analysis.plots.controller import plot_entropy, plot_reward

MakeRun = Callable[..., Path]
RL = '[run]\nstrategy = "rl"\n'
NOTES = [
    *((2, "reward", 0.4), (2, "baseline", 0.41), (2, "entropy", 1.6), (2, "loss", -0.1)),
    *((4, "reward", 0.5), (4, "entropy", 1.2), (5, "reward", 0.6), (5, "entropy", 1.0)),
]
TRIALS = [
    {"fitness": 0.3},
    {"outcome": "oom"},
    {"fitness": 0.6},
    {"fitness": 0.7},
    {"outcome": "reused", "fitness": 0.7},
]


def test_each_update_has_a_row_at_the_sample_of_its_tell(make_run: MakeRun) -> None:
    runs = [make_run("a", TRIALS, config=RL, note=NOTES), make_run("b", TRIALS)]
    learned = learning(load_history(runs), load_notes(runs))
    assert list(learned.columns) == list(LEARNING_COLUMNS)
    assert learned["run"].tolist() == ["a"] * 3, "random search notes nothing"
    assert learned["sample"].tolist() == [2, 4, 4]
    assert learned["reward"].tolist() == [0.4, 0.5, 0.6]
    assert learned["entropy"].tolist() == [1.6, 1.2, 1.0]
    assert learned["baseline"].isna().tolist() == [False, True, True]


def test_rewards_and_entropy_are_lines_that_end_with_the_last_update(make_run: MakeRun) -> None:
    run = make_run("a", TRIALS, config=RL, note=NOTES)
    learned = learning(load_history(run), load_notes(run))
    for draw, values in ((plot_reward, [0.4, 0.6]), (plot_entropy, [1.6, 1.0])):
        (line,) = draw(learned).get_lines()
        assert line.get_label() == "rl"
        assert list(zip(*line.get_data(), strict=True)) == list(zip([2, 4], values, strict=True))


def test_several_controllers_are_averaged(make_run: MakeRun) -> None:
    runs = [
        make_run(name, TRIALS, config=RL, note=[(2, "reward", r), (2, "entropy", 1)])
        for name, r in (("a", 0.2), ("b", 0.4))
    ]
    ax = plot_reward(learning(load_history(runs), load_notes(runs)))
    (mean,) = [line for line in ax.get_lines() if line.get_label() == "rl (mean of 2)"]
    assert mean.get_ydata().tolist() == pytest.approx([0.3])


def test_where_nothing_was_noted_an_error_says_who_notes(make_run: MakeRun) -> None:
    run = make_run("a", TRIALS)
    with pytest.raises(HistoryError, match=r"no controller has learned in a \(random\): only the strategy rl"):
        learning(load_history(run), load_notes(run))
