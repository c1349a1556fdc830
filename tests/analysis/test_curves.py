from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis.curves import best_so_far, mean_over_runs, moving_mean
from analysis.frames import load_history

MakeRun = Callable[..., Path]


def test_best_so_far_has_one_point_a_sample(mixed: Path) -> None:
    curve = best_so_far(load_history(mixed))
    assert curve[["sample", "fitness"]].to_numpy().tolist() == [[1, 0.5], [2, 0.6], [3, 0.6], [4, 0.9]]


def test_the_moving_mean_is_the_mean_of_the_last_individuals_with_a_fitness(mixed: Path) -> None:
    curve = moving_mean(load_history(mixed), window=2)
    # Told: 0.5, 0.6, reused 0.6 at the same sample, a failure, 0.9.
    assert curve["sample"].tolist() == [1, 2, 4]
    assert curve["fitness"].tolist() == pytest.approx([0.5, 0.6, 0.75])


def test_the_moving_mean_does_not_run_on_from_one_run_into_the_next(make_run: MakeRun) -> None:
    runs = [make_run("a", [{"fitness": 0.2}, {"fitness": 0.4}]), make_run("b", [{"fitness": 0.8}])]
    curve = moving_mean(load_history(runs), window=10)
    assert curve["fitness"].tolist() == pytest.approx([0.2, 0.3, 0.8])
    assert curve["run"].tolist() == ["a", "a", "b"]


def test_the_moving_mean_needs_a_window(mixed: Path) -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        moving_mean(load_history(mixed), window=0)


def test_the_mean_over_runs_ends_with_the_shortest_run(make_run: MakeRun) -> None:
    runs = [
        make_run("a", [{"fitness": 0.2}, {"fitness": 0.4}, {"fitness": 0.9}]),
        make_run("b", [{"outcome": "oom"}, {"fitness": 0.6}]),
    ]
    mean = mean_over_runs(best_so_far(load_history(runs)))
    # b has no fitness at sample 1 and no sample 3.
    assert mean["sample"].tolist() == [2]
    assert mean.loc[0, ["mean", "low", "high"]].tolist() == pytest.approx([0.5, 0.4, 0.6])
    assert mean.loc[0, "sd"] == pytest.approx(np.std([0.4, 0.6], ddof=1))
    assert mean.loc[0, "runs"] == 2


def test_a_best_holds_through_the_failures_that_follow_it(make_run: MakeRun) -> None:
    runs = [
        make_run("a", [{"fitness": 0.5}, {"outcome": "oom"}, {"outcome": "nan"}]),
        make_run("b", [{"fitness": 0.3}, {"fitness": 0.7}, {"fitness": 0.1}]),
    ]
    mean = mean_over_runs(best_so_far(load_history(runs)))
    assert mean["mean"].tolist() == pytest.approx([0.4, 0.6, 0.6])


def test_strategies_are_averaged_apart(make_run: MakeRun) -> None:
    runs = [make_run("a", [{"fitness": 0.2}]), make_run("b", [{"fitness": 0.6}], config='[run]\nstrategy = "x"\n')]
    mean = mean_over_runs(best_so_far(load_history(runs)))
    assert mean.set_index("strategy")["mean"].to_dict() == {"random": 0.2, "x": 0.6}
    assert mean["sd"].isna().all()


def test_a_run_of_failures_has_empty_curves(make_run: MakeRun) -> None:
    frame = load_history(make_run(trials=[{"outcome": "oom"}, {"outcome": "nan"}]))
    assert best_so_far(frame).empty
    assert moving_mean(frame).empty
    assert mean_over_runs(best_so_far(frame)).empty


def test_curves_over_time_are_averaged_where_every_run_was_going(make_run: MakeRun) -> None:
    late = {"fitness": 0.6, "asked_at": 1_700_000_002.0, "told_at": 1_700_000_005.0}  # 4 seconds after the first ask
    later = {"fitness": 0.7, "asked_at": 1_700_000_005.0, "told_at": 1_700_000_006.0}
    runs = [
        make_run("a", [{"fitness": 0.2}, {"fitness": 0.4}, {"fitness": 0.9}]),
        make_run("b", [{"outcome": "oom"}, late, later]),
    ]
    curves = best_so_far(load_history(runs), "elapsed")
    assert curves[["run", "elapsed", "fitness"]].to_numpy().tolist() == [
        *(["a", 1.5, 0.2], ["a", 3.5, 0.4], ["a", 5.5, 0.9]),
        *(["b", 4.0, 0.6], ["b", 5.0, 0.7]),
    ]
    mean = mean_over_runs(curves, "elapsed")
    # b has no fitness before 4 seconds, and was not going any more after 5.
    assert mean[["elapsed", "mean"]].to_numpy().ravel().tolist() == pytest.approx([4.0, 0.5, 5.0, 0.55])


def test_the_moving_mean_can_be_taken_over_time(make_run: MakeRun) -> None:
    trials = [{"fitness": 0.5}, {"outcome": "reused", "fitness": 0.5}, {"fitness": 0.7}]
    curve = moving_mean(load_history(make_run(trials=trials)), window=2, x="elapsed")
    # What is reused is no sample of its own, but it has a time of its own.
    assert curve[["elapsed", "fitness"]].to_numpy().ravel().tolist() == pytest.approx([1.5, 0.5, 3.5, 0.5, 5.5, 0.6])
