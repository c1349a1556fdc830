"""Runs grouped by strategy and settings, and what the groups are called."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from analysis.comparison.groups import group_runs, labels_of
from analysis.frames import find_runs, load_history

MakeRun = Callable[..., Path]


def config(strategy: str = "evolution", options: str = "", evaluator: str = "", **run: object) -> str:
    values = {"strategy": strategy, "space": "nasnet", "evaluator": "toy", "trials": 3, "seed": 0} | run
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
    return f"[run]\n{lines}[strategy]\n{options}\n[evaluator]\n{evaluator}\n"


def grouped(make_run: MakeRun, *configs: str | None) -> dict[str, list[str]]:
    runs = find_runs([make_run(f"r{i}", config=text) for i, text in enumerate(configs)])
    return {group.label: [run.name for run in group.runs] for group in group_runs(runs)}


def test_seed_budget_and_hardware_do_not_make_a_group(make_run: MakeRun) -> None:
    other = config(seed=1, trials=99, target_accuracy=0.9) + "[hardware]\nworkers = 4\n"
    assert grouped(make_run, config(), other, config("random")) == {"evolution": ["r0", "r1"], "random": ["r2"]}


def test_a_label_names_what_differs_and_nothing_else(make_run: MakeRun) -> None:
    small, large = "population = 20\naging = true", "population = 100\naging = true"
    assert list(grouped(make_run, config(options=small), config(options=large), config("rl", options="batch = 5"))) == [
        "evolution(population=20)",
        "evolution(population=100)",
        "rl",
    ]


def test_settings_of_the_run_are_named_in_every_group(make_run: MakeRun) -> None:
    labels = grouped(
        make_run,
        config(evaluator="epochs = 1", repeats="reuse"),
        config("rl", evaluator="epochs = 9", repeats="reuse"),
        config("rl", evaluator="epochs = 9", repeats="retrain", space="bits"),
    )
    assert list(labels) == [
        "evolution(evaluator.epochs=1,repeats=reuse) on nasnet",
        "rl(evaluator.epochs=9,repeats=reuse) on nasnet",
        "rl(evaluator.epochs=9,repeats=retrain) on bits",
    ]


def test_options_of_another_evaluator_are_said_with_its_name(make_run: MakeRun) -> None:
    mine = config(evaluator="noise = 0.5").replace('"toy"', '"mine"')
    assert list(grouped(make_run, config(evaluator="epochs = 1"), mine)) == [
        "evolution(evaluator=toy)",
        "evolution(evaluator=mine)",
    ]


def test_data_make_a_group_and_the_place_of_a_table_does_not(make_run: MakeRun) -> None:
    folders = []
    for i, (table, mark) in enumerate((("/a.csv", "1" * 64), ("/b.csv", "1" * 64), ("/a.csv", "2" * 64))):
        folders.append(make_run(f"r{i}", config=config(evaluator=f'table = "{table}"')))
        (folders[-1] / "env.json").write_text(json.dumps({"data": {table: mark}}))
    groups = group_runs(find_runs(folders))
    assert {group.label: len(group.runs) for group in groups} == {
        "evolution(data=11111111)": 2,
        "evolution(data=22222222)": 1,
    }


def test_the_space_is_what_was_searched_and_not_where_progressive_search_began(make_run: MakeRun) -> None:
    folders = [make_run(f"r{i}", [{"genotype": "pnas(blocks=1):0.0.0"}], config=config(seed=i)) for i in range(3)]
    for folder, space in zip(folders, ("pnas", "pnas", "pnas(blocks=3)"), strict=True):
        (folder / "env.json").write_text(json.dumps({"space": space}))
    frame = load_history(folders)
    assert frame["space"].tolist() == ["pnas", "pnas", "pnas(blocks=3)"]
    assert [len(group.runs) for group in group_runs(find_runs(folders))] == [2, 1]
    begun = make_run("begun", config=config(seed=4))
    (begun / "env.json").write_text(json.dumps({"space": "pnas"}))
    assert set(labels_of(find_runs([*folders[:2], begun]), frame).values()) == {"evolution"}, "it has no trial yet"


def test_runs_of_which_nothing_is_known_are_not_put_together(make_run: MakeRun) -> None:
    assert grouped(make_run, None, None) == {"unknown (r0)": ["r0"], "unknown (r1)": ["r1"]}


def test_labels_are_short_printable_and_unlike(make_run: MakeRun) -> None:
    options = [f'ops = "{"x" * 500}\\u001b{i}"' for i in range(3)]
    labels = list(grouped(make_run, *(config(options=text) for text in options)))
    assert len(set(labels)) == 3
    assert all(label.isprintable() and len(label) < 60 for label in labels)


def test_seeds_that_are_there_twice_are_known(make_run: MakeRun) -> None:
    runs = find_runs([make_run(f"r{i}", config=config(seed=seed)) for i, seed in enumerate((4, 5, 4))])
    (group,) = group_runs(runs)
    assert {seed: [run.name for run in alike] for seed, alike in group.find_repeats().items()} == {4: ["r0", "r2"]}
