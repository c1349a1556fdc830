"""What makes runs unlike, in sentences."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.comparison.fairness import ending, list_unfinished_runs, unlike, warnings_of
from analysis.comparison.groups import group_runs
from analysis.frames import find_runs

MakeRun = Callable[..., Path]


def config(strategy: str = "random", **run: object) -> str:
    values = {"strategy": strategy, "space": "nasnet", "evaluator": "toy", "trials": 3} | run
    return "[run]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def environed(folder: Path, **record: object) -> Path:
    (folder / "env.json").write_text(json.dumps(record))
    return folder


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


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            config(max_parameters=9),
            "The runs differ in max_parameters (default: a; 9: b): they search different things.",
        ),
        (
            config() + "[hardware]\nworkers = 4\n",
            "The runs differ in workers (default: a; 4: b): with more of them a strategy knows less when it asks.",
        ),
    ],
)
def test_limits_and_workers_are_said(make_run: MakeRun, other: str, said: str) -> None:
    assert warnings_of([make_run("a", config=config()), make_run("b", config=other)]) == [said]


def test_data_are_told_apart_by_their_fingerprints_and_not_by_where_they_lie(make_run: MakeRun) -> None:
    def made(name: str, table: str, mark: str) -> Path:
        text = config(evaluator="tabular") + f'[evaluator]\ntable = "{table}"\n'
        return environed(make_run(name, config=text), data={table: mark})

    here, there = made("here", "/a/t.csv", "1" * 64), made("there", "/b/t.csv", "1" * 64)
    assert warnings_of([here, there]) == []
    (warning,) = warnings_of([here, there, made("other", "/a/t.csv", "2" * 64)])
    assert warning.startswith("The fingerprints of the data differ (11111111: here and there; 22222222: other)")


def test_without_fingerprints_the_path_of_a_table_is_all_there_is(make_run: MakeRun) -> None:
    texts = [config(evaluator="tabular") + f'[evaluator]\ntable = "{table}"\n' for table in ("/a.csv", "/b.csv")]
    (warning,) = warnings_of([make_run(f"r{i}", config=text) for i, text in enumerate(texts)])
    assert warning.startswith("The runs differ in evaluator.table")


def test_other_versions_of_libraries_are_said(make_run: MakeRun) -> None:
    runs = [
        environed(make_run(name, config=config()), versions={"numpy": "2.0", "torch": torch}, data={})
        for name, torch in (("a", "2.5"), ("b", "2.6"))
    ]
    assert warnings_of(runs) == [
        "Made with other versions of libraries (torch 2.5: a; 2.6: b): the same seed may give other numbers."
    ]
    environed(runs[1], versions={"numpy": "2.0", "torch": "2.5"}, data={})
    assert warnings_of(runs) == []
    (runs[1] / "env.json").write_text("[" * 100_000)
    assert warnings_of(runs) == [], "what cannot be read says nothing"


def logged(folder: Path, *entries: dict[str, str]) -> Path:
    (folder / "log.jsonl").write_text("".join(json.dumps({"time": TIME} | entry) + "\n" for entry in entries) + "{cut")
    return folder


START = {"event": "start"}
TIME = "2026-11-28T12:00:00+00:00"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ([START, {"event": "end", "reason": "trials"}, {"event": "warning"}], "trials"),
        ([START, {"event": "end", "reason": "time"}, START], None),
        ([START, {"event": "stop", "error": "disk full"}], None),
        ([], None),
    ],
)
def test_how_a_run_ended_stands_at_the_end_of_its_log(
    make_run: MakeRun, log: list[dict[str, str]], reason: str | None
) -> None:
    (run,) = find_runs(logged(make_run(), *log))
    assert ending(run) == reason


def test_runs_that_are_not_over_or_ended_early_are_said(make_run: MakeRun) -> None:
    ends = {"going": "time", "early": "exhausted", "aimed": "target", "whole": "trials"}
    folders = [
        logged(make_run(name, config=config()), START, {"event": "end", "reason": reason})
        for name, reason in ends.items()
    ]
    done = {"going": 1, "early": 2, "aimed": 2, "whole": 3}
    assert list_unfinished_runs(find_runs(folders), done) == [
        "Not finished: going (1 of 3 trainings).",
        "Ended before the budget because nothing was left to try (exhausted): early.",
        "Ended before the budget at their target accuracy: aimed.",
    ]


@pytest.mark.parametrize(
    ("other", "reasons"),
    [
        (config("evolution", seed=3, trials=9), []),
        (config("evolution", space="bits", max_parameters=9), []),
        (config("evolution", evaluator="proxy"), [("evaluator",)]),
        (config("evolution", repeats="retrain") + "[evaluator]\nepochs = 9\n", [("evaluator.epochs", "repeats")]),
    ],
)
def test_groups_are_unlike_by_how_fitness_is_measured_and_counted(
    make_run: MakeRun, other: str, reasons: list[tuple[str, ...]]
) -> None:
    groups = group_runs(find_runs([make_run("a", config=config()), make_run("b", config=other)]))
    assert list(unlike(groups).values()) == reasons
