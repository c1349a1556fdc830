from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.curves import add_groups, band_over_runs, best_so_far, moving_mean, top_mean
from analysis.frames import load_history

MakeRun = Callable[..., Path]


def test_best_so_far_has_one_point_a_sample(mixed: Path) -> None:
    curve = best_so_far(load_history(mixed))
    assert curve[["sample", "fitness"]].to_numpy().tolist() == [[1, 0.5], [2, 0.6], [3, 0.6], [4, 0.9]]


def test_the_moving_mean_is_the_mean_of_the_last_individuals_with_a_fitness(mixed: Path) -> None:
    curve = moving_mean(load_history(mixed), window=2)
    # Told: 0.5, 0.6, reused 0.6 at the same sample, a failure, 0.9.
    assert curve["sample"].tolist() == [1, 2, 3, 4]
    assert curve["fitness"].tolist() == pytest.approx([0.5, 0.6, 0.6, 0.75])


def test_the_moving_mean_does_not_run_on_from_one_run_into_the_next(make_run: MakeRun) -> None:
    runs = [make_run("a", [{"fitness": 0.2}, {"fitness": 0.4}]), make_run("b", [{"fitness": 0.8}])]
    curve = moving_mean(load_history(runs), window=10)
    assert curve["fitness"].tolist() == pytest.approx([0.2, 0.3, 0.8])
    assert curve["run"].tolist() == ["a", "a", "b"]


def test_between_its_points_a_run_holds_its_value_or_lies_on_a_line() -> None:
    points = [("a", 10, 0.2), ("a", 20, 0.4), ("b", 11, 0.4), ("b", 20, 0.8)]
    curves = pd.DataFrame([(run, "rl", "s", x, y) for run, x, y in points]).set_axis(
        ["run", "strategy", "space", "sample", "fitness"], axis=1
    )
    for kind in ("int64", "Int64", "float64"):
        curves = curves.astype({"sample": kind})
        assert band_over_runs(curves)["mean"].tolist() == pytest.approx([0.3, 0.6])
        assert band_over_runs(curves, steps=False)["mean"].tolist() == pytest.approx([(0.22 + 0.4) / 2, 0.6])


def test_the_moving_mean_needs_a_window(mixed: Path) -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        moving_mean(load_history(mixed), window=0)


def test_the_mean_over_runs_ends_with_the_shortest_run(make_run: MakeRun) -> None:
    runs = [
        make_run("a", [{"fitness": 0.2}, {"fitness": 0.4}, {"fitness": 0.9}]),
        make_run("b", [{"outcome": "oom"}, {"fitness": 0.6}]),
    ]
    mean = band_over_runs(best_so_far(load_history(runs)))
    # b has no fitness at sample 1 and no sample 3.
    assert mean["sample"].tolist() == [2]
    assert mean.loc[0, ["mean", "low", "high"]].tolist() == pytest.approx([0.5, 0.4, 0.6])
    assert mean.loc[0, "runs"] == 2


def test_a_best_holds_through_the_failures_that_follow_it(make_run: MakeRun) -> None:
    runs = [
        make_run("a", [{"fitness": 0.5}, {"outcome": "oom"}, {"outcome": "nan"}]),
        make_run("b", [{"fitness": 0.3}, {"fitness": 0.7}, {"fitness": 0.1}]),
    ]
    mean = band_over_runs(best_so_far(load_history(runs)))
    assert mean["mean"].tolist() == pytest.approx([0.4, 0.6, 0.6])


def test_strategies_are_averaged_apart(make_run: MakeRun) -> None:
    runs = [make_run("a", [{"fitness": 0.2}]), make_run("b", [{"fitness": 0.6}], config='[run]\nstrategy = "x"\n')]
    mean = band_over_runs(best_so_far(load_history(runs)))
    assert mean.set_index("strategy")["mean"].to_dict() == {"random": 0.2, "x": 0.6}
    assert mean["low"].isna().all()


def test_a_run_of_failures_has_empty_curves(make_run: MakeRun) -> None:
    frame = load_history(make_run(trials=[{"outcome": "oom"}, {"outcome": "nan"}]))
    assert best_so_far(frame).empty
    assert moving_mean(frame).empty
    assert band_over_runs(best_so_far(frame)).empty


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
    mean = band_over_runs(curves, "elapsed")
    # b has no fitness before 4 seconds, and was not going any more after 5.
    assert mean[["elapsed", "mean"]].to_numpy().ravel().tolist() == pytest.approx([4.0, 0.5, 5.0, 0.55])


def test_the_moving_mean_can_be_taken_over_time(make_run: MakeRun) -> None:
    trials = [{"fitness": 0.5}, {"outcome": "reused", "fitness": 0.5}, {"fitness": 0.7}]
    curve = moving_mean(load_history(make_run(trials=trials)), window=2, x="elapsed")
    # What is reused is no sample of its own, but it has a time of its own.
    assert curve[["elapsed", "fitness"]].to_numpy().ravel().tolist() == pytest.approx([1.5, 0.5, 3.5, 0.5, 5.5, 0.6])


def test_the_mean_of_the_best_counts_a_network_once_with_its_highest_fitness(make_run: MakeRun) -> None:
    trials = [
        *({"fitness": 0.5, "sample_seed": 1}, {"fitness": 0.3, "sample_seed": 2}, {"outcome": "oom"}),
        {"fitness": 0.7, "sample_seed": 2},  # the second one again, better
        *({"outcome": "reused", "fitness": 0.7, "sample_seed": 2}, {"fitness": 0.4, "sample_seed": 1}),
        *({"fitness": 0.1}, {"fitness": 0.6}),
    ]
    curve = top_mean(load_history(make_run(trials=trials)), 2)
    assert curve["sample"].tolist() == [2, 3, 4, 5, 6, 7]
    assert curve["fitness"].tolist() == pytest.approx([0.4, 0.4, 0.6, 0.6, 0.6, 0.65])


@given(
    told=st.lists(st.tuples(st.integers(0, 6), st.none() | st.integers(0, 100)), min_size=1, max_size=40),
    best=st.integers(1, 5),
)
def test_the_mean_of_the_best_is_that_of_a_sorted_list(told: list[tuple[int, int | None]], best: int) -> None:
    known: dict[int, float] = {}
    expected = []
    for key, fitness in told:
        if fitness is not None:
            known[key] = max(known.get(key, 0.0), fitness / 100)
        top = sorted(known.values())[-best:]
        expected.append(np.mean(top) if len(top) == best else np.nan)
    values = np.array([np.nan if fitness is None else fitness / 100 for _, fitness in told])
    frame = pd.DataFrame({"run": "r", "strategy": "s", "space": "b", "key": [str(key) for key, _ in told]})
    frame["sample"], frame["fitness"] = range(1, len(told) + 1), values
    frame["best_so_far"] = np.fmax.accumulate(values)
    curve = top_mean(frame, best).set_index("sample")["fitness"].reindex(frame["sample"])
    assert curve.to_numpy() == pytest.approx(expected, nan_ok=True)
    if best == 1:
        assert curve.to_numpy() == pytest.approx(frame["best_so_far"].to_numpy(), nan_ok=True, abs=0)


def test_the_mean_of_the_best_needs_one(mixed: Path) -> None:
    with pytest.raises(ValueError, match="at least 1 network, not 0"):
        top_mean(load_history(mixed), 0)


def test_the_band_of_three_runs_is_their_range_and_of_one_run_there_is_none(make_run: MakeRun) -> None:
    runs = [make_run(f"a{i}", [{"fitness": value}, {"fitness": 0.9}]) for i, value in enumerate((0.2, 0.3, 0.7))]
    runs.append(make_run("b", [{"fitness": 0.6}], config='[run]\nstrategy = "x"\n'))
    band = band_over_runs(best_so_far(load_history(runs)))
    first, second, alone = band.to_dict("records")
    # All three draws are of one run once in 27 times, more often than once in 40.
    assert [first[name] for name in ("runs", "mean", "low", "high")] == pytest.approx([3, 0.4, 0.2, 0.7])
    assert [second[name] for name in ("mean", "low", "high")] == pytest.approx([0.9] * 3)
    assert alone["runs"] == 1
    assert np.isnan([alone["low"], alone["high"]]).all()


def test_the_band_is_that_of_the_bootstrap_of_scipy(make_run: MakeRun) -> None:
    from scipy.stats import bootstrap

    values = [0.31, 0.35, 0.42, 0.44, 0.5, 0.58, 0.6, 0.71]
    runs = [make_run(f"a{i}", [{"fitness": value}]) for i, value in enumerate(values)]
    (row,) = band_over_runs(best_so_far(load_history(runs)), resamples=20_000).to_dict("records")
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1))
    assert [row["low"], row["high"]] == pytest.approx(list(theirs.confidence_interval), abs=0.005)


def test_a_band_holds_its_mean_where_runs_differ_in_their_points_and_is_thinned_out(make_run: MakeRun) -> None:
    late = {"fitness": 0.6, "asked_at": 1_700_000_002.0, "told_at": 1_700_000_005.0}
    runs = [make_run("a", [{"fitness": 0.2 + i / 100} for i in range(30)]), make_run("b", [late, {"fitness": 0.7}])]
    curves = best_so_far(load_history(runs), "elapsed")
    band = band_over_runs(curves, "elapsed")
    assert band[["elapsed", "mean"]].to_numpy().tolist() == [[pytest.approx(3.0), pytest.approx(0.45)]]
    assert band["mean"].between(band["low"], band["high"]).all()
    few = band_over_runs(best_so_far(load_history(runs[0])), points=5)
    assert few["sample"].tolist() == [1, 8, 15, 23, 30]
    assert few["mean"].tolist() == pytest.approx([0.2, 0.27, 0.34, 0.42, 0.49])


def test_runs_that_share_no_point_have_no_band(make_run: MakeRun) -> None:
    runs = [make_run("a", [{"fitness": 0.2}]), make_run("b", [{"outcome": "oom"}, {"fitness": 0.3}])]
    assert band_over_runs(best_so_far(load_history(runs))).empty


def test_groups_are_strategies_or_what_is_given(make_run: MakeRun) -> None:
    frame = load_history([make_run("a", [{"fitness": 0.2}]), make_run("b", [{"fitness": 0.3}])])
    assert add_groups(frame)["group"].tolist() == ["random", "random"]
    assert add_groups(frame, {"a": "one", "b": "two"})["group"].tolist() == ["one", "two"]
    assert band_over_runs(add_groups(best_so_far(frame)), by=["group"])["mean"].tolist() == [0.25]
