import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis.compare import TABLE, _column, compare, compare_runs, notes_of, records, warnings_of
from analysis.frames import HistoryError, load_history

MakeRun = Callable[..., Path]


def config(strategy: str = "random", **run: object) -> str:
    values = {"strategy": strategy, "space": "nasnet", "evaluator": "toy", "trials": 3} | run
    return "[run]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


@pytest.fixture
def six(make_run: MakeRun) -> list[Path]:
    """Two runs of evolution, one of random search, and one of a strategy that only failed."""
    return [
        make_run("e1", [{"fitness": 0.7, "report": 0.6}, {"fitness": 0.9, "report": 0.8}], config=config("evolution")),
        make_run("e2", [{"fitness": 0.8, "report": 0.7}, {"outcome": "oom"}], config=config("evolution")),
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
    assert row["report"] == pytest.approx(0.75)
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
    table = compare(load_history(six))
    rows = json.loads(json.dumps(records(table), allow_nan=False))
    assert rows[0]["best_sd"] == pytest.approx(table.loc[0, "best_sd"], abs=1e-15)
    assert set(rows[0]["best_cell"]) == {"normal", "reduction"}
    assert isinstance(rows[0]["best_id"], int)


@pytest.mark.parametrize("trials", [[], [{"told": None, "outcome": None, "told_at": None, "seconds": None}]])
def test_nothing_finished_is_an_error(make_run: MakeRun, trials: list[dict[str, object]]) -> None:
    with pytest.raises(HistoryError, match="no finished trials"):
        compare(load_history(make_run(trials=trials)))


def test_one_run_each_is_said_to_be_luck(six: list[Path]) -> None:
    assert notes_of(compare(load_history(six[1:3]))) == [
        "One run each: differences may be luck. Repeat with other seeds to know."
    ]
    notes = notes_of(compare(load_history(six)))
    assert notes[0].startswith("Only one run of random and mine")


def test_enough_equal_runs_need_no_note(make_run: MakeRun) -> None:
    runs = [make_run(f"{s}{i}", [{"fitness": 0.5}], config=config(s)) for s in ("a", "b") for i in range(2)]
    assert notes_of(compare(load_history(runs))) == []


def test_unequal_numbers_of_trainings_are_noted(make_run: MakeRun) -> None:
    runs = [make_run("a", [{"fitness": 0.5}], config=config("a")), make_run("b", [{"fitness": 0.5}] * 3)]
    assert "Trainings a run differ (a 1, random 3): whoever had more had more chances." in notes_of(
        compare(load_history(runs))
    )


def test_runs_that_differ_only_in_strategy_and_seed_can_be_compared(make_run: MakeRun) -> None:
    runs = [make_run("a", config=config("evolution", seed=1)), make_run("b", config=config("random", seed=2))]
    assert warnings_of(runs) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (config(space="nasnet(blocks=3)"), r"The space differs \(nasnet: a; nasnet\(blocks=3\): b\)"),
        (config(evaluator="proxy"), r"The evaluator differs \(toy: a; proxy: b\)"),
        (config(trials=9), r"The runs differ in trials \(3: a; 9: b\)"),
        (config(preset="paper"), r"The runs differ in preset \(default: a; paper: b\)"),
        (config(repeats="retrain"), r"The runs differ in repeats \(default: a; retrain: b\)"),
        (config() + "[evaluator]\nepochs = 9\n", r"The runs differ in evaluator\.epochs \(default: a; 9: b\)"),
    ],
)
def test_what_makes_runs_unlike_is_said_in_one_sentence(make_run: MakeRun, other: str, said: str) -> None:
    import re

    (warning,) = warnings_of([make_run("a", config=config()), make_run("b", config=other)])
    assert re.match(said, warning)
    assert warning.endswith(".")


def test_options_of_another_evaluator_are_not_compared_one_by_one(make_run: MakeRun) -> None:
    proxy = config(evaluator="proxy") + "[evaluator]\nfilters = 8\n"
    runs = [
        make_run("a", config=config() + "[evaluator]\nnoise = 0.1\n"),
        make_run("b", config=proxy + "epochs = 1\n"),
        make_run("c", config=proxy + "epochs = 9\n"),
    ]
    assert warnings_of(runs) == [
        "The evaluator differs (toy: a; proxy: b and c): their fitness is not measured alike.",
        "The runs differ in evaluator.epochs (1: b; 9: c): their fitness is not measured alike.",
    ]


def test_a_run_without_a_configuration_is_named(make_run: MakeRun) -> None:
    (warning,) = warnings_of([make_run("a", config=config()), make_run("b", config=None)])
    assert warning.startswith("b has no run.toml")


def test_the_best_cells_are_drawn_beside_each_other(six: list[Path]) -> None:
    comparison = compare_runs(six)
    assert comparison.files == (six[0] / "report" / "compare.png", six[0] / "report" / "compare.svg")
    assert all(file.stat().st_size > 0 for file in comparison.files)
    assert len(comparison.table) == 3


def test_a_comparison_is_told_as_lines_and_as_json(six: list[Path]) -> None:
    comparison = compare_runs(six)
    head, evolution, *_ = comparison.lines()
    assert head.split()[:3] == ["strategy", "space", "runs"]
    assert evolution.split() == (
        ["evolution", "nasnet", "2", "4", "1", "2", "85.00%", "7.07%", "80.00%", "80.00%", "0.00", "e1:2"]
    )
    assert comparison.lines()[4:] == [*comparison.notes, *map(str, comparison.files)]
    record = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert [row["strategy"] for row in record["strategies"]] == ["evolution", "random", "mine"]
    assert record["notes"] == list(comparison.notes)
    assert comparison.notes[0].startswith("Only one run")


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
