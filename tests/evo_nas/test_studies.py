"""Studies: runs that are ordinary, resumable whatever stopped them, and the same however many run at a time."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from analysis.frames import load_history
from evo_nas.cli import main
from evo_nas.commands.study import parse_strategies
from evo_nas.storage.run_folder import take_lock
from evo_nas.studies import is_finished
from tests.waiting import GATED, wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BOTH = ("--strategies", "random,evolution(population=5,sample=2)")
SMALL = ("--set", "space.blocks=2", "--evaluator", "toy", "--trials", "30")
STUDY = ("study", *BOTH, "--seeds", "2", *SMALL, "--study-dir", "study")
FOLDERS = ("random", "evolution(population=5,sample=2)")

EVALUATORS = """
import dataclasses, os, pathlib, signal
from dataclasses import dataclass
from evo_nas.evaluators.toy import ToyEvaluator

@dataclass
class Interrupted(ToyEvaluator):
    "Presses Ctrl-C, once, in the middle of the second run."
    def evaluate(self, job):
        if job.id == 12 and job.seed == 1 and not pathlib.Path("interrupted").exists():
            pathlib.Path("interrupted").touch()
            signal.raise_signal(signal.SIGINT)
        return super().evaluate(job)

@dataclass
class Failing(ToyEvaluator):
    "Fails on one seed."
    def evaluate(self, job):
        if job.seed == 1:
            raise RuntimeError("the disk is full")
        return super().evaluate(job)

@dataclass
class Dying(ToyEvaluator):
    "Takes its process with it."
    def evaluate(self, job):
        os._exit(9)

@dataclass
class Crashing(ToyEvaluator):
    "Takes its process with it now and then, and says that it may."
    is_harmless = False
    def evaluate(self, job):
        if job.id % 5 == 0:
            os._exit(9)
        return super().evaluate(job)

@dataclass
class Crowded(ToyEvaluator):
    "Gives how many evaluations go on at a time."
    def evaluate(self, job):
        return dataclasses.replace(super().evaluate(job), metrics={"parameters": self.placement.workers})

@dataclass
class Changing(ToyEvaluator):
    "Its data is not what it was."
    @property
    def optimum(self):
        return 0.5 if pathlib.Path("changed").exists() else 1.0
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "study_plugin.py").write_text(EVALUATORS)
    yield
    sys.modules.pop("study_plugin", None)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take long and are looked at in tests/analysis."""
    monkeypatch.setattr("analysis.plots.files.save", lambda figure, path: [path])


@pytest.fixture
def every_row(rows: Callable[[Path], list[dict[str, Any]]]) -> Callable[..., dict[str, Any]]:
    """Read the rows of every run of a study."""
    return lambda study="study": {path.parent.name: rows(path.parent) for path in Path(study).glob("*/history.db")}


def with_evaluator(name: str, *changes: str) -> list[str]:
    evaluator = name if ":" in name else f"study_plugin:{name}"
    return [*(evaluator if word == "toy" else word for word in STUDY), *changes]


def started(*arguments: str) -> subprocess.Popen[str]:
    """Start a study in a process group of its own, two runs at a time, and wait until both have told a few trials."""
    process = subprocess.Popen(
        [sys.executable, "-m", "evo_nas", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    def told(history: Path) -> int:
        with closing(sqlite3.connect(f"{history.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            try:
                return int(connection.execute("SELECT count(told) FROM trial").fetchone()[0])
            except sqlite3.OperationalError:  # it is just being made
                return 0

    wait_for(lambda: sum(told(path) > 5 for path in Path("study").glob("*/history.db")) == 2)
    return process


def exists(group: int) -> bool:
    """Return whether a process group has members."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_run_of_a_study_is_an_ordinary_run(toy_run: Any, every_row: Any, capsys: Any, tmp_path: Path) -> None:
    assert main(STUDY) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("After 30 samples")
    assert "regret" in out[2]
    assert {line.split()[1] for line in out[3:7:2]} == {"random", "evolution"}, "a study ends in the table of compare"
    assert out[-1] == "study/figures/study.png"
    assert not [line for line in out if "ended" in line]
    settings = ("space.blocks=2",)
    found = every_row()
    assert set(found) == {f"{name}-seed{seed}" for name in FOLDERS for seed in (0, 1)}
    for seed in (0, 1):
        alone = toy_run(f"random{seed}", settings, trials=30, seed=seed)
        assert found[f"random-seed{seed}"] == every_row(tmp_path)[alone.path.name]
        alone = toy_run(f"ev{seed}", settings, strategy="evolution", population=5, sample=2, trials=30, seed=seed)
        assert found[f"{FOLDERS[1]}-seed{seed}"] == every_row(tmp_path)[alone.path.name]
    run = f"study/{FOLDERS[1]}-seed1"
    assert main(["show", run]) == main(["plot", run, "study/random-seed0"]) == 0
    assert main(["compare", run, "study/random-seed0", "-o", "compare.png"]) == 0
    assert main(["resume", run, "--trials", "31"]) == 0


def test_what_comes_out_does_not_depend_on_how_many_run_at_a_time(every_row: Any, capsys: Any) -> None:
    assert main([*STUDY, "--json"]) == 0
    serial, alone = json.loads(capsys.readouterr().out), every_row()
    assert main([*STUDY, "--json", "--study-dir", "other", "--jobs", "3"]) == 0
    parallel = json.loads(capsys.readouterr().out)
    for found in (serial, parallel):
        del found["files"]
        for row in found["strategies"]:
            del row["seconds"], row["total_seconds"]
    assert parallel == serial
    assert every_row("other") == alone
    environment = json.loads(Path("other/random-seed0/env.json").read_text())
    assert environment["command"] == sys.argv, "the parent's command"


def test_the_json_is_that_of_compare_with_the_regret(capsys: Any) -> None:
    assert main([*STUDY, "--trials", "60", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["budget"], found["optimum"], found["files"]) == (60, 1.0, ["study/figures/study.png"])
    assert {row["group"] for row in found["strategies"]} == {"random", "evolution"}
    for row in found["strategies"]:
        assert (row["runs"], row["trials"]) == (2, 120)
        assert row["regret"] == pytest.approx(1 - row["best"])
        assert 0 < row["test"] < 1
        assert 1 < row["networks"] <= row["trials"]
    assert main(["compare", *(f"study/{name}-seed{seed}" for name in FOLDERS for seed in (0, 1)), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["strategies"] == found["strategies"]
    kept = json.loads(Path("study/study.json").read_text())
    assert kept["optimum"] == 1.0
    assert [entry["label"] for entry in kept["strategies"]] == list(FOLDERS)


def test_a_study_interrupted_in_the_middle_goes_on_exactly(every_row: Any, capsys: Any) -> None:
    command = with_evaluator("Interrupted")
    assert main(command) == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1] == f"stopped; resume with: python -m evo_nas {shlex.join(command)}"
    before = every_row()
    assert sorted(before) == [f"{FOLDERS[1]}-seed0", "random-seed0", "random-seed1"]
    assert len(before["random-seed1"]) == 12
    untouched = Path("study/random-seed0/history.db").stat().st_mtime_ns
    assert main(command) == 0
    assert "4 runs, 2 of them finished" in capsys.readouterr().err
    assert Path("study/random-seed0/history.db").stat().st_mtime_ns == untouched, "a finished run is not run again"
    whole = with_evaluator("Interrupted", "--study-dir", "whole")
    assert main(whole) == 0
    assert every_row() == every_row("whole")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_study_leaves_no_process_and_goes_on_exactly(every_row: Any, how: signal.Signals) -> None:
    command = with_evaluator(GATED, "--set", "evaluator.first=20")
    process = started(*command, "--jobs", "2")
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does: to the workers too
    else:
        process.send_signal(how)
        process.wait()
        Path("gate").touch()  # whoever has lost its parent ends after its trial
    out, err = process.communicate()
    assert process.returncode == (130 if how is signal.SIGINT else -how)
    assert out == ""
    if how is signal.SIGINT:
        assert err.splitlines()[-1].startswith("stopped; resume with: python -m evo_nas study --strategies 'random,evo")
        assert "Traceback" not in err
    wait_for(lambda: not exists(process.pid))
    assert 10 < sum(len(run) for run in every_row().values()) < 120
    Path("gate").touch()
    assert main(command) == 0
    assert main([*command, "--study-dir", "whole"]) == 0
    assert every_row() == every_row("whole")


def test_a_study_grows_by_seeds_strategies_and_trials(every_row: Any, capsys: Any) -> None:
    small = ("study", *SMALL, "--study-dir", "study")
    assert main([*small, "--strategies", "random", "--seeds", "1", "--trials", "10"]) == 0
    assert main([*small, "--strategies", "random", "--seeds", "2", "--trials", "10"]) == 0
    assert main([*small, *BOTH, "--seeds", "2", "--trials", "10"]) == 0
    capsys.readouterr()
    assert main(STUDY) == 0
    assert "4 runs\n" in capsys.readouterr().err, "none has enough trials yet"
    assert main([*STUDY, "--study-dir", "whole"]) == 0
    assert every_row() == every_row("whole")
    capsys.readouterr()
    assert (
        main([*small, "--strategies", "random", "--first-seed", "1", "--seeds", "1", "--trials", "10", "--json"]) == 0
    )
    (row,) = json.loads(capsys.readouterr().out)["strategies"]
    assert (row["trials"], row["runs"], row["best_sd"]) == (10, 1, None), "what is asked for is shown, no more"
    assert len(json.loads(Path("study/study.json").read_text())["strategies"]) == 2


def test_a_finished_study_needs_no_more_than_its_table(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(STUDY) == 0
    table = capsys.readouterr().out
    monkeypatch.setattr("evo_nas.studies._search", lambda task: pytest.fail("nothing is left to run"))
    assert main(STUDY) == 0
    assert capsys.readouterr().out == table


def test_a_repair_does_not_unfinish_a_run_with_nothing_left_to_try(tmp_path: Path) -> None:
    flags, run = (
        ["--strategy", "random", "--space", "bits", "--set", "space.length=2", "--evaluator", "toy"],
        tmp_path / "run",
    )
    assert main(["run", *flags, "--trials", "50", "--run-dir", str(run)]) == 0
    assert is_finished(run, 50), "there are only four networks"
    with (run / "log.jsonl").open("a") as log:
        log.write('{"time": "2026-01-01T00:00:00+00:00", "event": "repaired"}\n')
    assert is_finished(run, 50)
    assert not is_finished(tmp_path / "nowhere", 50)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("--set", "evaluator.noise=0.5"), "evaluator.noise from 0.01 to 0.5"),
        (("--repeats", "retrain"), "run.repeats from 'reuse' to 'retrain'"),
        (("--set", "space.blocks=3"), "space.blocks from 2 to 3"),
        (("--strategies", "evolution", "--sample", "3"), "of evolution strategy.sample from 2 to 3"),
    ],
)
def test_a_study_is_not_continued_as_another_one(change: tuple[str, ...], line: str, capsys: Any) -> None:
    first = ("study", "--strategies", "evolution", "--seeds", "1", *SMALL, "--trials", "5", "--study-dir", "study")
    assert main([*first, "--population", "5", "--sample", "2"]) == 0
    kept = Path("study/study.json").read_text()
    capsys.readouterr()
    assert main([*first, "--population", "5", "--sample", "2", *change]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith(f"a study cannot change {line}; name another folder with --study-dir")
    assert Path("study/study.json").read_text() == kept


def test_a_study_of_a_version_without_a_setting_had_its_default(capsys: Any) -> None:
    first = ("study", "--strategies", "evolution", "--seeds", "1", *SMALL, "--trials", "5", "--study-dir", "study")
    assert main(first) == 0
    record = json.loads(Path("study/study.json").read_text())
    for name in ("fidelity", "fidelity_eta"):
        del record["run"][name]
    del record["strategies"][0]["options"]["aging"]
    del record["evaluator"]["noise"]
    Path("study/study.json").write_text(json.dumps(record))
    capsys.readouterr()
    for flags, change in (
        (("--fidelity-eta", "4"), "run.fidelity_eta from 3 to 4"),
        (("--set", "strategy.aging=false"), "of evolution strategy.aging from True to False"),
        (("--set", "evaluator.noise=0.1"), "evaluator.noise from 0.01 to 0.1"),
    ):
        assert main([*first, *flags]) == 2
        assert f"cannot change {change};" in capsys.readouterr().err
    assert main(first) == 0


def test_a_study_whose_data_has_changed_is_not_continued(capsys: Any) -> None:
    command = with_evaluator("Changing", "--trials", "3")
    assert main(command) == 0
    Path("changed").touch()
    assert main(command) == 2
    assert "the best possible fitness from 1.0 to 0.5, so its data is another" in capsys.readouterr().err


def test_options_go_to_the_strategies_that_have_them() -> None:
    variables = {"EVO_NAS_SAMPLE": "2", "EVO_NAS_BATCH": "7", "EVO_NAS_WORKERS": "3", "EVO_NAS_STRATEGY": "rl"}
    strategies = "random,evolution,evolution(population=4)"
    command = ["study", "--strategies", strategies, "--seeds", "1", *SMALL, "--trials", "1", "--study-dir", "study"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        assert main([*command, "--set", "strategy.population=6"]) == 0
    options = {e["label"]: e["options"] for e in json.loads(Path("study/study.json").read_text())["strategies"]}
    assert options["random"] == {}
    assert options["evolution"] | {"population": 6, "sample": 2} == options["evolution"]
    assert options["evolution(population=4)"] == options["evolution"] | {"population": 4}
    assert Path("study/evolution(population=4)-seed0/history.db").is_file()


def test_a_list_of_strategies_is_read() -> None:
    assert parse_strategies(" random, evolution( population=20, sample=5 ),my.module:Class(ops=a+b)") == [
        ("random", {}),
        ("evolution", {"population": 20, "sample": 5}),
        ("my.module:Class", {"ops": "a+b"}),
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_evaluator_knows_how_many_runs_are_at_work_beside_its_own(every_row: Any, jobs: int) -> None:
    assert main(with_evaluator("Crowded", "--jobs", str(jobs))) == 0
    assert {row["parameters"] for rows in every_row().values() for row in rows} == {jobs}


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_run_that_fails_does_not_lose_the_others(capsys: Any, jobs: str) -> None:
    command = [*with_evaluator("Failing"), "--jobs", jobs, "--seeds", "3"]
    assert main([*command, "--json"]) == 5
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert {row["runs"] for row in found["strategies"]} == {2}
    assert "random seed 1 failed: 10 trainings in a row failed" in captured.err
    assert "the disk is full" in captured.err
    assert any("fewer than 30 samples: random-seed1 (" in note for note in found["notes"])
    assert captured.err.splitlines()[-1].startswith("evo_nas: 2 of 6 runs failed; the same command resumes them: ")


@pytest.mark.parametrize(("jobs", "seeds"), [("1", "1"), ("2", "2")])
def test_a_training_that_crashes_costs_that_training_only(jobs: str, seeds: str) -> None:
    assert main([*with_evaluator("Crashing"), "--jobs", jobs, "--seeds", seeds]) == 0
    frame = load_history("study/*-seed*")
    assert (frame.loc[frame["id"] % 5 == 0, "outcome"] == "crash").all()
    assert frame[frame["outcome"] == "ok"].groupby("run", observed=True).size().between(20, 24).all()
    assert frame["run"].nunique() == 2 * int(seeds)


def test_a_worker_that_dies_ends_the_study_with_one_line(capsys: Any) -> None:
    assert main([*with_evaluator("Dying"), "--jobs", "2"]) == 1
    assert "a worker process of the study died" in capsys.readouterr().err.splitlines()[-1]


def test_a_run_killed_before_its_history_began_is_started_again(every_row: Any) -> None:
    assert main(STUDY) == 0
    whole = every_row()
    folder = Path("study/random-seed1")
    for name in ("history.db", "history.sum", "history.db-wal", "history.db-shm", "log.jsonl"):
        (folder / name).unlink(missing_ok=True)
    (folder / "history.db").touch()
    assert main(STUDY) == 0
    assert every_row() == whole


def test_what_is_not_of_a_run_is_never_removed(capsys: Any) -> None:
    Path("study/random-seed1").mkdir(parents=True)
    Path("study/random-seed1/thesis.tex").touch()
    assert main(STUDY) == 3
    assert "study is not empty and holds no study; name another folder" in capsys.readouterr().err
    Path("study/random-seed1").rename("aside")
    Path("study").rmdir()
    assert main([*STUDY, "--seeds", "1"]) == 0
    Path("aside").rename("study/random-seed1")
    assert main(STUDY) == 3
    assert "random-seed1 is not empty" in capsys.readouterr().err
    assert Path("study/random-seed1/thesis.tex").exists()


def test_a_study_that_was_killed_before_its_record_was_whole_begins() -> None:
    Path("study").mkdir()
    for name in ("study.lock", "study.json.partial"):
        Path("study", name).touch()
    assert main([*STUDY, "--seeds", "1"]) == 0
    assert not Path("study/study.json.partial").exists()


def test_a_study_is_run_by_one_process_at_a_time(capsys: Any) -> None:
    Path("study").mkdir()
    lock, _ = take_lock(Path("study/study.lock"), "the study")
    assert main(STUDY) == 3
    lock.close()
    assert f"the study study is in use by process {os.getpid()}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("--strategies", ""), "name the strategies to compare with --strategies"),
        (("--strategies", ","), "name the strategies to compare with --strategies"),
        (("--strategies", "random,annealing"), "there is no strategy 'annealing'; there are: random, "),
        (("--strategies", "random,random"), "random is listed twice"),
        (
            ("--strategies", "evolution(population=100,sample=25),evolution(sample=25,population=100)"),
            "the same search",
        ),
        (("--strategies", "evolution(population=20"), "write options as in"),
        (("--strategies", "evolution(20)"), "an option is NAME=VALUE, not '20'"),
        (("--strategies", "random(population=20)"), "strategy 'random' has no option 'population'"),
        (("--strategies", "random,rl", "--population", "20"), "strategy 'random' has no option 'population'"),
        (("--seeds", "0"), "argument --seeds: must be a whole number from 1 to"),
        (("--jobs", "0"), "argument --jobs: must be a whole number from 1 to"),
        (("--trials", "0"), "trials must be at least 1"),
        (("--seed", "3"), "unrecognized arguments: --seed 3"),
        (("--set", "run.seed=3"), "each run of a study has its own"),
        (("--set", "hardware.workers=2"), "a run of a study has one worker"),
        (("-o", "study.docx"), "a picture ends in one of"),
        (("-o", "/dev/null/study.png"), "cannot write /dev/null"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(change: tuple[str, ...], line: str, capsys: Any) -> None:
    try:
        code = main([*STUDY, *change])
    except SystemExit as end:  # argparse's way
        code = int(str(end.code))
    assert code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (said,) = captured.err.splitlines()
    assert line in said
    assert not Path("study").exists()


def test_the_default_folder_is_the_same_each_time() -> None:
    command = ["study", "--strategies", "random", "--seeds", "1", *SMALL, "--trials", "2"]
    assert main(command) == main(command) == 0
    assert [path.name for path in Path("runs").iterdir()] == ["study-nasnet-toy-reuse"]
