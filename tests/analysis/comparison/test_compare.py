import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.comparison.compare import OUTCOMES, TABLE, compare, comparison_of, outcomes, records
from analysis.frames import HistoryError, load_history
from analysis.plots.compare_report import _column, compare_runs

MakeRun = Callable[..., Path]


def config(strategy: str = "random", **run: object) -> str:
    values = {"strategy": strategy, "space": "nasnet", "evaluator": "toy", "trials": 3} | run
    return "[run]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


@pytest.fixture
def six(make_run: MakeRun) -> list[Path]:
    """Two runs of evolution, one of random search, and one of a strategy that only failed."""
    return [
        make_run("e1", [{"fitness": 0.7, "test": 0.6}, {"fitness": 0.9, "test": 0.8}], config=config("evolution")),
        make_run("e2", [{"fitness": 0.8, "test": 0.7}, {"outcome": "oom"}], config=config("evolution")),
        make_run("r1", [{"fitness": 0.6}, {"fitness": 0.5}], config=config("random")),
        make_run("x1", [{"outcome": "oom"}, {"outcome": "nan"}], config=config("mine")),
    ]


def test_every_column_of_the_table_is_documented(six: list[Path]) -> None:
    assert list(compare(load_history(six)).columns) == list(TABLE)


def test_the_table_has_a_row_a_strategy_and_the_best_comes_first(six: list[Path]) -> None:
    table = compare(load_history(six)).set_index("strategy")
    assert table.index.tolist() == ["evolution", "random", "mine"]
    row = table.loc["evolution"]
    assert (row["runs"], row["trials"], row["failed"], row["networks"]) == (2, 4, 1, 2)
    assert row["best"] == pytest.approx(0.85)
    assert row["best_sd"] == pytest.approx(np.std([0.9, 0.8], ddof=1))
    assert row["mean"] == pytest.approx((0.8 + 0.8) / 2)
    assert row["top"] == pytest.approx((0.8 + 0.8) / 2)
    assert row["test"] == pytest.approx(0.75)
    assert (row["seconds"], row["total_seconds"]) == (2.0, 8.0)
    assert (row["best_run"], row["best_id"], row["best_fitness"]) == ("e1", 2, 0.9)


def test_the_top_averages_different_networks(make_run: MakeRun) -> None:
    trials = [{"fitness": 0.9 - i / 10, "sample_seed": i} for i in range(7)]
    trials += [{"fitness": 0.9, "sample_seed": 0}, {"fitness": 0.85, "sample_seed": 0}]
    table = compare(load_history(make_run(trials=trials)))
    assert table.loc[0, "top"] == pytest.approx(np.mean([0.9, 0.8, 0.7, 0.6, 0.5]))
    assert table.loc[0, "networks"] == 7


def test_the_earlier_of_two_equals_is_the_best(make_run: MakeRun) -> None:
    table = compare(load_history(make_run(trials=[{"fitness": 0.4}, {"fitness": 0.7}, {"fitness": 0.7}])))
    assert table.loc[0, "best_id"] == 2


def test_pending_reused_and_refused_trials_do_not_count(mixed: Path) -> None:
    row = compare(load_history(mixed)).loc[0]
    assert (row["trials"], row["failed"], row["networks"], row["best_id"]) == (4, 1, 3, 9)


def test_a_strategy_that_only_failed_has_a_row_without_fitness(six: list[Path]) -> None:
    row = records(compare(load_history(six)))[-1]
    assert (row["strategy"], row["trials"], row["failed"]) == ("mine", 2, 2)
    assert row["best"] is row["best_sd"] is row["top"] is row["best_id"] is row["best_cell"] is None


def test_records_are_json_and_keep_every_digit(six: list[Path]) -> None:
    table = compare(load_history(six, cells=True))
    rows = json.loads(json.dumps(records(table), allow_nan=False))
    assert rows[0]["best_sd"] == pytest.approx(table.loc[0, "best_sd"], abs=1e-15)
    assert set(rows[0]["best_cell"]) == {"normal", "reduction"}
    assert isinstance(rows[0]["best_id"], int)


@pytest.mark.parametrize("trials", [[], [{"told": None, "outcome": None, "told_at": None, "seconds": None}]])
def test_nothing_finished_is_an_error(make_run: MakeRun, trials: list[dict[str, object]]) -> None:
    with pytest.raises(HistoryError, match="no finished trials"):
        compare(load_history(make_run(trials=trials)))


def test_the_best_cells_are_drawn_beside_each_other(six: list[Path]) -> None:
    comparison = compare_runs(six)
    assert comparison.files == (six[0] / "figures" / "compare.png", six[0] / "figures" / "compare.svg")
    assert all(file.stat().st_size > 0 for file in comparison.files)
    assert len(comparison.table) == 3


def test_a_space_without_cells_is_compared_too(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(trials=[{"fitness": 0.9, "cell": '{"op": "skip"}', "genotype": "table:1.2"}])
    comparison = compare_runs(run, tmp_path / "picture.svg")
    assert comparison.files == (tmp_path / "picture.svg",)
    assert records(comparison.table)[0]["best_cell"] == {"op": "skip"}


@pytest.mark.parametrize("cell", ["{", "[" * 100_000])
def test_a_cell_that_cannot_be_read_is_compared_by_its_numbers(make_run: MakeRun, tmp_path: Path, cell: str) -> None:
    comparison = compare_runs(make_run(trials=[{"fitness": 0.9, "cell": cell}]), tmp_path / "picture.svg")
    row = comparison.to_json()["strategies"][0]
    assert (row["best"], row["best_cell"]) == (0.9, None)
    assert "they cannot be read" in _column(row).content


def test_a_damaged_trial_ends_a_comparison_in_one_line(make_run: MakeRun, six: list[Path]) -> None:
    with pytest.raises(HistoryError, match="trial 1 of bad is damaged: its outcome cannot be 'fine'") as caught:
        compare_runs([*six, make_run("bad", [{"outcome": "fine"}])])
    assert "\n" not in str(caught.value)


def rising(*bests: float, trials: int = 4) -> list[dict[str, object]]:
    """Trials whose best is the highest of some numbers, found last."""
    return [{"fitness": 0.1, "sample_seed": i} for i in range(trials - len(bests))] + [{"fitness": f} for f in bests]


@pytest.fixture
def seeded(make_run: MakeRun) -> Callable[..., list[Path]]:
    """Make runs of one strategy from the trials of each, with seeds from 0 on."""

    def make(strategy: str, *every: list[dict[str, object]], more: str = "", **run: object) -> list[Path]:
        run = {"trials": max(map(len, every))} | run
        return [
            make_run(f"{strategy}{seed}", trials, config=config(strategy, seed=seed, **run) + more)
            for seed, trials in enumerate(every)
        ]

    return make


def test_outcomes_are_those_worked_out_by_hand(make_run: MakeRun) -> None:
    trials = [{"outcome": "nan"}, {"fitness": 0.5, "test": 0.4}, {"fitness": 0.7, "test": 0.6}]
    trials += [{"fitness": 0.7, "test": 0.9}, {"fitness": 0.6}, {"fitness": 0.9}]
    frame = load_history(make_run(trials=trials))
    table = outcomes(frame, 5, target=0.7)
    assert list(table) == list(OUTCOMES)
    (row,) = table.to_dict(orient="records")
    assert (row["samples"], row["best"], row["best_id"]) == (5, 0.7, 3), "the sixth lies beyond the budget"
    assert row["test"] == 0.6, "of two equals the first is reported"
    assert row["auc"] == pytest.approx((0 + 0.5 + 0.7 + 0.7 + 0.7) / 5)
    assert row["to_target"] == 3
    (row,) = outcomes(frame, 10, target=0.95).to_dict(orient="records")
    assert row["auc"] == pytest.approx((0 + 0.5 + 3 * 0.7 + 0.9 + 4 * 0.9) / 10), "a run that ended keeps its best"
    assert row["to_target"] is None
    (row,) = outcomes(frame, 5, target=0.0).to_dict(orient="records")
    assert row["to_target"] == 2, "what failed reached no target"


def test_spread_area_and_samples_to_a_target_are_over_seeds(seeded: Any) -> None:
    frame = load_history(seeded("a", rising(0.6, 0.8), rising(0.7, 0.7), rising(0.2, 0.5)))
    (row,) = compare(frame, target=0.7).to_dict(orient="records")
    assert (row["runs"], row["best_low"], row["best_high"], row["reached"]) == (3, 0.5, 0.8, 2)
    assert row["best_sd"] == pytest.approx(np.std([0.8, 0.7, 0.5], ddof=1))
    areas = [(0.1 + 0.1 + 0.6 + 0.8) / 4, (0.1 + 0.1 + 0.7 + 0.7) / 4, (0.1 + 0.1 + 0.2 + 0.5) / 4]
    assert row["auc"] == pytest.approx(np.mean(areas))
    assert row["auc_sd"] == pytest.approx(np.std(areas, ddof=1))
    assert row["to_target"] == 4, "3, 4 and never: the median is known all the same"
    (row,) = compare(frame, target=0.75).to_dict(orient="records")
    assert row["reached"] == 1
    assert np.isnan(row["to_target"]), "most never got there: their median is not known"


def test_runs_that_all_found_nothing_are_compared_by_no_report(seeded: Any) -> None:
    runs = [run for name in "ab" for run in seeded(name, *[[{"outcome": "oom"}] * 3] * 4)]
    comparison = comparison_of(runs)
    assert comparison.to_json()["measure"] == "fitness"
    assert not any("test" in sentence for sentence in comparison.conclusions)


def test_a_run_that_found_nothing_leaves_no_mean_and_ranks_last(seeded: Any) -> None:
    failed = [{"outcome": "oom"}] * 4
    runs = seeded("a", rising(0.5), failed, rising(0.6), rising(0.7)) + seeded(
        "b", *[rising(0.2 + s) for s in (0, 0.1)]
    )
    comparison = comparison_of(runs)
    row = next(row for row in comparison.to_json()["strategies"] if row["group"] == "a")
    assert row["best"] is row["best_sd"] is None
    assert row["auc"] == pytest.approx((0.2 + 0 + 0.225 + 0.25) / 4)
    assert "a: in 1 of 4 runs no trial succeeded; they rank last." in comparison.notes
    (pair,) = comparison.pairs
    assert pair.difference is None
    assert abs((pair.superiority or 0) - 0.5) == pytest.approx(0.25), "six of eight duels are won by a"


def test_all_is_compared_at_the_same_number_of_samples(seeded: Any) -> None:
    runs = seeded("a", rising(0.5, 0.6)) + seeded("b", [*rising(0.3, 0.4), {"fitness": 0.9}])
    comparison = comparison_of(runs)
    assert comparison.budget == 4
    assert comparison.table.set_index("group")["best"].to_dict() == {"a": 0.6, "b": 0.4}
    assert comparison.notes[0].startswith("Compared after 4 samples, as many as a0 has")
    later = comparison_of(runs, trials=5)
    assert (later.budget, later.table["group"].tolist()) == (5, ["b"])
    assert later.notes == (
        "Left out, because they have fewer than 5 samples: a0 (4).",
        "One run alone: there is nothing to compare it with.",
    )
    with pytest.raises(ValueError, match="no run has 6 trained trials; the longest has 5"):
        comparison_of(runs, trials=6)


def test_a_run_with_nothing_left_to_try_does_not_cut_the_others_short(seeded: Any) -> None:
    short, long = seeded("a", rising(0.5, trials=2), trials=4) + seeded("b", rising(0.6))
    end = {"event": "end", "time": "2026-11-28T12:00:00+00:00", "reason": "exhausted"}
    (short / "log.jsonl").write_text(json.dumps(end) + "\n")
    comparison = comparison_of([short, long])
    assert comparison.budget == 4
    assert comparison.runs.set_index("run")["auc"].to_dict() == pytest.approx({"a0": 0.4, "b0": 0.225})


def test_runs_that_have_not_begun_are_left_out(seeded: Any, make_run: MakeRun) -> None:
    runs = [*seeded("a", rising(0.5)), make_run("new", config=config("b", seed=0))]
    comparison = comparison_of(runs)
    assert comparison.notes[0] == "Left out, because no training of theirs has ended: new."
    assert "Not finished: new (0 of 3 trainings)." in comparison.warnings
    with pytest.raises(HistoryError, match="no finished trials"):
        comparison_of(runs[1])


def test_a_seed_that_a_group_has_twice_counts_once(seeded: Any, make_run: MakeRun) -> None:
    runs = seeded("a", rising(0.5), rising(0.6))
    runs.append(make_run("copy", [*rising(0.6), {"fitness": 0.7}], config=config("a", seed=1, trials=4)))
    comparison = comparison_of(runs)
    assert comparison.table["runs"].tolist() == [2]
    assert comparison.runs["run"].tolist() == ["a0", "copy"], "the longer one counts"
    assert "a has a seed more than once, which is no new evidence; counted once: 1 (a1 and copy)." in comparison.notes


def test_one_run_each_is_said_to_be_luck(seeded: Any) -> None:
    runs = seeded("a", rising(0.5)) + seeded("b", rising(0.9))
    comparison = comparison_of(runs)
    assert comparison.conclusions == ("One run each: differences may be luck. Repeat with other seeds to know.",)
    assert (comparison.pairs[0].p, comparison.pairs[0].verdict) == (1.0, "too few")


def test_three_seeds_are_not_enough_and_four_are(seeded: Any) -> None:
    runs = seeded("a", *(rising(0.5 + s / 100) for s in range(4))) + seeded(
        "b", *(rising(0.8 + s / 100) for s in range(4))
    )
    three = comparison_of([run for run in runs if run.name[1] != "3"])
    (said,) = three.conclusions
    assert said.startswith("3 seeds each are not enough to say anything: even if all runs of one were better")
    assert "p would be 0.1. It is possible with 4 seeds each." in said
    assert said.endswith("That all runs were better, as for b over a, is a reason for more seeds and no result.")
    four = comparison_of(runs)
    assert four.conclusions[0].startswith("b ends better than a (p = 0.029): one run beats another in 100 % of cases")
    assert four.conclusions[0].endswith("and its mean is 30.00 percentage points higher.")
    assert four.conclusions[1].startswith("This is about the best fitness after 4 samples on nasnet")


def test_the_report_is_tested_where_every_run_has_one(seeded: Any) -> None:
    lucky = [{"fitness": 0.9, "test": 0.5}]
    honest = [{"fitness": 0.8, "test": 0.7}]
    runs = seeded("a", lucky, lucky) + seeded("b", honest, honest)
    comparison = comparison_of(runs)
    assert (comparison.measure, comparison.table["group"].tolist()) == ("test", ["b", "a"])
    assert comparison.pairs[0].difference == pytest.approx(0.2)
    runs += seeded("c", [{"fitness": 0.1}])
    assert comparison_of(runs).measure == "fitness", "of one it is not known"


def test_settings_make_groups_and_other_measures_are_not_tested(seeded: Any, make_run: MakeRun) -> None:
    runs = seeded("a", rising(0.5), rising(0.6), more="[evaluator]\nepochs = 1\n")
    runs.append(make_run("long", rising(0.9), config=config("a", seed=0, trials=4) + "[evaluator]\nepochs = 9\n"))
    comparison = comparison_of(runs)
    assert comparison.table["group"].tolist() == ["a(evaluator.epochs=9)", "a(evaluator.epochs=1)"]
    (pair,) = comparison.pairs
    assert (pair.verdict, pair.unlike, pair.p) == ("unlike", ("evaluator.epochs",), None)
    assert comparison.conclusions == (
        "Not tested, because their fitness is not measured alike: "
        "a(evaluator.epochs=9) and a(evaluator.epochs=1) (evaluator.epochs).",
    )
    assert any("evaluator.epochs" in warning for warning in comparison.warnings)


def test_other_spaces_are_tested_with_a_warning(seeded: Any, make_run: MakeRun) -> None:
    runs = seeded("a", rising(0.5), rising(0.6))
    trials = [{"fitness": 0.3, "genotype": "bits:1.0"}] * 4
    runs += [make_run(f"bits{s}", trials, config=config("a", seed=s, trials=4, space="bits")) for s in range(2)]
    comparison = comparison_of(runs)
    assert comparison.table["group"].tolist() == ["a on nasnet", "a on bits"]
    assert comparison.warnings[0].startswith("The space differs")
    assert comparison.pairs[0].p is not None
    assert any("not the strategy's alone" in said for said in comparison.conclusions)


def test_a_comparison_is_told_in_eighty_columns_and_whole_as_json(seeded: Any) -> None:
    runs = seeded("a", rising(0.5), rising(0.7)) + seeded("long.package.of.a.plugin:StrategyOfMine", rising(0.6))
    comparison = compare_runs(runs, runs[0] / "p.svg", target=0.6)
    lines = comparison.lines()
    assert max(map(len, lines[: -len(comparison.files)])) <= 80
    head = next(i for i, line in enumerate(lines) if "best %" in line)
    assert lines[head].split() == ["runs", "best", "%", "lowest", "highest", "area", "%", "to", "60", "%"]
    rows = [line.split() for line in lines[head + 1 : head + 5]]
    assert rows[::2] == [["1", "a"], ["2", "long.package.of.a.plugin:StrategyOfMine"]]
    assert rows[1] == ["2", "60.00", "±", "14.14", "50.00", "70.00", "22.50", "±", "3.54", ">4", "(1/2)"]
    assert lines[-1] == str(runs[0] / "p.svg")
    record = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert [row["group"] for row in record["strategies"]] == comparison.table["group"].tolist()
    assert (record["budget"], record["measure"], record["target"]) == (4, "fitness", 0.6)
    assert [(row["run"], row["seed"], row["to_target"]) for row in record["runs"][:2]] == [
        ("a0", 0, None),
        ("a1", 1, 4),
    ]
    assert record["pairs"][0]["verdict"] == "too few"
    assert record["conclusions"] == list(comparison.conclusions)


def test_many_groups_leave_the_answer_and_the_picture_small(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [
        make_run(
            f"s{i:02}",
            [{"fitness": i / 100, "genotype": "table:1", "cell": '{"op": "skip"}'}],
            config=config(f"s{i:02}", seed=i % 2, trials=1),
        )
        for i in range(11)
    ]
    comparison = compare_runs(runs, tmp_path / "picture.svg")
    assert len(comparison.pairs) == 11 * 10 / 2
    assert "The picture shows the best 8 of 11 groups." in comparison.notes
    assert len(comparison.lines()) < 70
    assert max(map(len, comparison.lines()[:-1])) <= 80
    picture = (tmp_path / "picture.svg").read_text()
    assert "s03" in picture
    assert "s02" not in picture, "the ninth"


@pytest.mark.parametrize(
    ("given", "said"), [({"target": 1.5}, "a fraction from 0 to 1"), ({"trials": 0}, "at least 1")]
)
def test_numbers_out_of_range_get_one_line(six: list[Path], given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        comparison_of(six, **given)


def test_names_cannot_write_to_the_terminal(make_run: MakeRun) -> None:
    run = make_run(trials=rising(0.5), config='[run]\nstrategy = "a\\u001b[31m\\nb"\nspace = "nasnet"\n')
    assert all(line.isprintable() for line in comparison_of(run).lines())
