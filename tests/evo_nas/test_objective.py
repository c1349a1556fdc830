"""A search for the Pareto front, from the command line to what is shown of it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evo_nas.cli import main
from evo_nas.errors import DamagedHistory
from evo_nas.evaluators.base import Evaluator, Job
from evo_nas.storage import reader
from evo_nas.storage.history import History
from genotypes.catalogue import build_space
from genotypes.individual import Evaluation, Outcome, Proposal

SPACE = build_space("bits(length=12)")
PARETO = ["run", "--strategy", "evolution", "--objective", "pareto", "--space", "bits(length=12)", "--evaluator", "toy"]
PARETO += ["--population", "10", "--sample", "5", "--set", "strategy.costs=parameters"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(history: History, trials: list[tuple[Any, ...]], outcome: Outcome = Outcome.OK) -> None:
    """Tell trials of these fitnesses and parameters, and of these latencies if there are any."""
    for id, (fitness, parameters, *latency) in enumerate(trials, start=history.last_id + 1):
        metrics = {"parameters": parameters, **dict(zip(["latency"], latency, strict=False))}
        history.ask(id, Proposal(SPACE.sample(np.random.default_rng(id))), f"key {id}", {"id": id}, 0, (), attempt=True)
        history.tell(id, Evaluation(outcome, fitness=fitness, metrics=metrics))


# --- the front in the history ------------------------------------------------------------------------------------


def test_the_front_of_a_history_is_the_best_first(tmp_path: Path) -> None:
    with History.create(tmp_path / "history.db") as history:
        told(history, [(0.5, 10), (0.9, 100), (0.7, 10), (0.9, 120), (0.2, 1), (0.7, 10)])
        told(history, [(1.0, 0)], Outcome.REUSED)  # a copy, whose first training may have had other metrics
        assert [(trial.id, trial.fitness, trial.costs) for trial in history.front(["parameters"])] == [
            (2, 0.9, {"parameters": 100.0}),
            (3, 0.7, {"parameters": 10.0}),
            (5, 0.2, {"parameters": 1.0}),
        ]
        assert history.front(["parameters"])[0].genotype == str(SPACE.sample(np.random.default_rng(2)))


def test_several_costs_may_be_any_metrics_and_who_lacks_one_is_passed_over(tmp_path: Path) -> None:
    with History.create(tmp_path / "history.db") as history:
        told(history, [(0.5, 10, 0.2), (0.5, 10, 0.3), (0.4, 20, 0.1), (0.9, 1), (0.3, 30, 0.15)])
        assert [trial.id for trial in history.front(["parameters", "latency"])] == [1, 3]
        assert [trial.id for trial in history.front(["latency"])] == [1, 3]
        assert history.front(["mult_adds"]) == []
        assert history.front(['no"such']) == []


def test_however_few_are_looked_at_at_a_time_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    with History.create(tmp_path / "history.db") as history:
        told(history, [(round(float(rng.random()), 1), int(rng.integers(30)), float(rng.random())) for _ in range(60)])
        fronts = []
        for some in (1, 7, 1000):
            monkeypatch.setattr(reader, "_LOOKED_AT", some)
            fronts.append(history.front(["parameters", "latency"]))
    assert fronts[0] == fronts[1] == fronts[2]
    assert len(fronts[0]) > 5


@pytest.mark.parametrize("change", ["fitness = 'high'", "fitness = 2.0", "parameters = 9e999", "metrics = '[1, 2]'"])
def test_a_damaged_row_is_named(tmp_path: Path, change: str) -> None:
    with History.create(tmp_path / "history.db") as history:
        told(history, [(0.5, 10, 0.1), (0.6, 11, 0.1), (0.7, 12, 0.1)])
        history._db.execute(f"UPDATE trial SET {change} WHERE id = 2")
        with pytest.raises(DamagedHistory, match="at trial 2: "):
            history.front(["parameters", "latency"])


# --- a search for it ---------------------------------------------------------------------------------------------


def test_it_is_shown_at_the_end_and_by_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PARETO, "--trials", "80", "--run-dir", "run"]) == 0
    out = capsys.readouterr().out
    assert "the front of accuracy against parameters: " in out
    assert "python -m evo_nas plot run --kind front" in out
    assert main(["show", "run", "--json"]) == 0
    front = json.loads(capsys.readouterr().out)["front"]
    assert front["costs"] == ["parameters"]
    fitness, cost = ([f(trial) for trial in front["trials"]] for f in (lambda t: t["fitness"], lambda t: t["costs"]))
    assert len(front["trials"]) > 5
    assert fitness == sorted(fitness, reverse=True)
    assert [c["parameters"] for c in cost] == sorted((c["parameters"] for c in cost), reverse=True)
    with History.read(Path("run/history.db")) as history:
        individuals = {one.id: one for one in history.read_tells()}
    for trial in front["trials"]:
        one = individuals[trial["id"]]
        assert (trial["genotype"], trial["fitness"]) == (str(one.genotype), one.fitness)
        assert sum(i for i, bit in enumerate(one.genotype.choices, start=1) if bit) == trial["costs"]["parameters"]


def test_a_long_front_is_cut_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    with History.create(Path("run/history.db")) as history:
        told(history, [(0.9 - 0.01 * i, 5000 - i) for i in range(30)])
    assert main(["show", "run", "--costs", "parameters"]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("the front of accuracy against parameters: 30 trial(s)")
    assert lines[start + 2].split()[:4] == ["1", "90.00", "%", "5,000"]
    assert lines[start + 22] == "... and 10 more; --json gives them all"
    assert main(["show", "run", "--costs", "parameters", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["front"]["trials"]) == 30


def test_resumed_it_is_the_same_search(rows: Any) -> None:
    for repeats in ("reuse", "retrain"):
        command = [*PARETO, "--repeats", repeats]
        assert main([*command, "--trials", "60", "--run-dir", f"whole-{repeats}"]) == 0
        assert main([*command, "--trials", "25", "--run-dir", f"parts-{repeats}"]) == 0
        assert main(["resume", f"parts-{repeats}", "--trials", "60"]) == 0
        assert rows(Path(f"parts-{repeats}")) == rows(Path(f"whole-{repeats}"))


def test_other_runs_show_a_front_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--strategy", "random", "--evaluator", "toy", "--space", "bits", "--trials", "20", "--run-dir", "run"])
    capsys.readouterr()
    assert main(["show", "run"]) == 0
    assert "front" not in capsys.readouterr().out
    assert main(["show", "run", "--costs", "parameters"]) == 0
    assert "the front of accuracy against parameters: " in capsys.readouterr().out
    assert main(["show", "run", "--front"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "no trial of run has mult_adds to weigh accuracy against; name another metric with --costs: parameters"
    )


def test_it_is_drawn_beside_the_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    main([*PARETO, "--trials", "40", "--run-dir", "run"])
    capsys.readouterr()
    assert main(["plot", "run", "--kind", "front"]) == 0
    assert [os.path.relpath(line) for line in capsys.readouterr().out.split()] == [
        "run/figures/front.png",
        "run/figures/front.svg",
    ]
    assert main(["plot", "run"]) == 0
    assert Path("run/figures/accuracy.png").exists()
    for wrong in (
        ["--costs", "parameters"],
        ["--kind", "front", "--x", "seconds"],
        ["--kind", "front", "--costs", "x"],
    ):
        assert main(["plot", "run", *wrong]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


# --- costs that nobody measures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--evaluator", "toy", "--set", "strategy.costs=latency"],
            "the strategy evolution needs the metric 'latency', and the evaluator toy gives parameters: choose",
        ),
        (["--preset", "digits", "--set", "strategy.costs=latency"], "switch it on with --set evaluator.latency=true"),
        (["--evaluator", "toy"], "needs the metric 'mult_adds'"),
    ],
)
def test_where_it_is_known_it_is_refused_before_anything_is_trained(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    command = ["run", "--strategy", "evolution", "--objective", "pareto", *words, "--trials", "3", "--run-dir", "run"]
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not Path("run").exists()


@dataclass
class Undeclared(Evaluator):
    """Says nothing of its metrics, and gives one."""

    name = "undeclared"
    is_harmless = True

    def evaluate(self, job: Job) -> Evaluation:
        return Evaluation(Outcome.OK, fitness=0.5, metrics={"energy": 3.0})


def test_where_it_is_not_known_the_first_trial_tells(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = f"{__name__}:Undeclared"
    command = ["run", "--strategy", "evolution", "--objective", "pareto", "--space", "bits", "--evaluator", plugin]
    command += ["--trials", "9", "--run-dir", "run"]
    assert main(command) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "the strategy evolution needs the metric 'mult_adds', and trial 1 has energy: start a new run" in line
    with History.read(Path("run/history.db")) as history:
        assert history.count_trainings() == 1
    assert main(["resume", "run", "--evaluator", plugin]) == 2
    assert line == capsys.readouterr().err.splitlines()[-1]
    assert main(["show", "run"]) == 0, "what was found can be looked at"
    assert main([*command[:-1], "other", "--set", "strategy.costs=energy"]) == 0


def test_the_accuracy_alone_needs_no_costs() -> None:
    assert main(["run", "--strategy", "evolution", "--evaluator", "toy", "--trials", "3", "--run-dir", "run"]) == 0
