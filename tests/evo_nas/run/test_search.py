"""One run from configuration to folder: what is written, resumed, refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import evo_nas
from evo_nas.api.searches import search
from evo_nas.config import Hardware, RunConfig, read_toml
from evo_nas.errors import RunFolderError, UsageError
from evo_nas.evaluators.base import Evaluator
from evo_nas.run.parts import build, load_config, read_stored_config
from evo_nas.run.search import resume
from evo_nas.storage.history import History
from evo_nas.storage.run_folder import RunFolder
from tests.waiting import GATED

ROOT = Path(__file__).parents[2]


def go_on(path: Path, plugins: Sequence[str] = (), **given: Any) -> None:
    config = read_stored_config(path, {"run": given} if given else None, plugins)
    with RunFolder.open(path) as folder:
        resume(config, folder, build(config))


def test_a_run_folder_holds_what_it_says(toy_run: Any) -> None:
    run = toy_run(strategy="evolution", population=4, sample=2)
    names = {entry.name for entry in run.path.iterdir()}
    assert {"run.toml", "env.json", "history.db", "run.lock", "log.jsonl", "weights", "figures"} <= names
    assert tomllib.loads((run.path / "run.toml").read_text())["strategy"] == {
        "population": 4,
        "sample": 2,
        "aging": True,
        "distinct": False,
        "objective": "accuracy",
        "costs": ["mult_adds"],
    }
    environment = json.loads((run.path / "env.json").read_text())
    assert environment["versions"]["evo_nas"] == evo_nas.__version__
    assert environment["space"] == "nasnet"
    events = [json.loads(line)["event"] for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert events == ["start", "end"]


def test_the_recorded_configuration_repeats_the_run(toy_run: Any, rows: Any, tmp_path: Path) -> None:
    first = toy_run("first", strategy="evolution", population=4, sample=2, trials=15, settings=("space.blocks=2",))
    config = RunConfig.from_tables(read_toml(first.path / "run.toml"))
    from evo_nas.run.search import start

    with RunFolder.create(tmp_path / "second") as folder:
        second = start(config, folder, build(config))
    assert rows(second.path) == rows(first.path)


@pytest.mark.parametrize("strategy", ["random", "evolution", "rl"])
def test_a_longer_budget_goes_on_as_if_it_had_been_there_from_the_start(toy_run: Any, rows: Any, strategy: str) -> None:
    options = {"evolution": {"population": 5, "sample": 2}, "rl": {"batch": 5}}.get(strategy, {})
    whole = toy_run("whole", strategy=strategy, trials=18, **options)
    parts = toy_run("parts", strategy=strategy, trials=7, **options)
    go_on(parts.path, trials=12)
    go_on(parts.path, trials=18)
    assert rows(parts.path) == rows(whole.path)


def test_resuming_a_finished_run_changes_nothing(toy_run: Any, rows: Any) -> None:
    run = toy_run()
    before = rows(run.path)
    go_on(run.path)
    assert rows(run.path) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_is_resumed_without_loss(tmp_path: Path, rows: Any, workers: int) -> None:
    path = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "evo_nas", "run", "--strategy", "evolution", "--evaluator", GATED),
        *("--population", "5", "--sample", "2", "--trials", "40", "--set", "evaluator.first=20"),
        *("--set", f"evaluator.gate={tmp_path / 'gate'}"),
        *("--workers", str(workers), "--run-dir", str(path)),
    ]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if " trials  best " in line:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    told_before = [row for row in rows(path) if row["told"]]
    assert 0 < len(told_before) < 20
    (tmp_path / "gate").touch()
    go_on(path, plugins=[GATED])
    after = rows(path)
    assert [row["id"] for row in after] == list(range(1, len(after) + 1))
    by_id = {row["id"]: row for row in after}
    assert all(by_id[row["id"]] == row for row in told_before), "what was told is never told again"
    with History.read(path / "history.db") as history:
        assert history.count_trainings() == 40
        assert history.pending() == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"run": {"seed": 1}}, "cannot change run.seed from 0 to 1"),
        ({"run": {"strategy": "rl"}}, "cannot change run.strategy from 'random' to 'rl'"),
        ({"evaluator": {"noise": 0.5}}, "cannot change evaluator.noise from 0.01 to 0.5"),
        ({"run": {"trials": 0}}, "trials must be at least 1"),
    ],
)
def test_resume_refuses_another_search(toy_run: Any, given: Any, message: str) -> None:
    run = toy_run()
    with pytest.raises(UsageError, match=message):
        read_stored_config(run.path, given)


def test_a_new_budget_is_remembered(toy_run: Any) -> None:
    run = toy_run(trials=3)
    go_on(run.path, trials=6)
    assert read_stored_config(run.path).run.trials == 6
    (run.path / "history.db").with_name("run.toml").write_text(
        (run.path / "run.toml").read_text().replace("trials = 6", "trials = 8")
    )
    go_on(run.path)
    with History.read(run.path / "history.db") as history:
        assert history.count_trainings() == 8


def test_resume_takes_other_hardware(toy_run: Any) -> None:
    run = toy_run()
    assert read_stored_config(run.path, {"hardware": {"workers": "3"}}).hardware.workers == 3


def test_a_folder_that_is_not_empty_is_left_alone(toy_run: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(RunFolderError, match="is not empty; name a new one"):
        toy_run()
    assert (tmp_path / "run" / "thesis.tex").read_text() == "mine"
    assert not (tmp_path / "run" / "history.db").exists()


def test_a_run_is_never_overwritten(toy_run: Any, rows: Any) -> None:
    run = toy_run()
    before = rows(run.path)
    with pytest.raises(RunFolderError, match="python -m evo_nas resume"):
        toy_run()
    assert rows(run.path) == before


def test_a_run_in_use_is_refused_and_its_holder_named(toy_run: Any) -> None:
    run = toy_run()
    script = (
        "import sys; from pathlib import Path; from evo_nas.storage.run_folder import RunFolder\n"
        "folder = RunFolder.open(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(run.path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(RunFolderError, match=f"in use by process {holder.pid} on"):
            go_on(run.path)
        holder.communicate("")
    go_on(run.path)


def test_a_file_system_without_locks_is_said_and_uses_a_rollback_journal(
    toy_run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno
    import fcntl
    import sqlite3

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    run = toy_run()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "has no file locks: history.db uses a rollback journal instead of WAL" in error
    connection = sqlite3.connect(run.path / "history.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert connection.execute("SELECT count(*) FROM trial").fetchone() == (10,)
    connection.close()
    go_on(run.path, trials=12)


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no run"):
        read_stored_config(tmp_path)


def test_a_history_of_another_version_is_refused(toy_run: Any) -> None:
    import sqlite3

    from evo_nas.storage.schema import mark

    run = toy_run()
    connection = sqlite3.connect(run.path / "history.db")
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(RunFolderError, match="is damaged: its schema version reads 99"):
        go_on(run.path)
    (run.path / "history.sum").unlink()
    connection = sqlite3.connect(run.path / "history.db")
    connection.execute(f"PRAGMA application_id = {mark(99)}")  # both places agree: it is another version
    connection.close()
    with pytest.raises(RunFolderError, match="schema version 99, and this evo_nas reads version 5"):
        go_on(run.path)


def test_a_history_that_is_no_database_is_refused(toy_run: Any) -> None:
    run = toy_run()
    (run.path / "history.db").write_bytes(b"not a database at all, but long enough to be read as one" * 100)
    with pytest.raises(RunFolderError, match=r"is damaged: .*; none of its trials is known to be good; save what"):
        go_on(run.path)


@pytest.mark.parametrize("column", ["genotype", "outcome", "memo", "cell"])
def test_a_damaged_row_is_named(toy_run: Any, column: str) -> None:
    import sqlite3

    from evo_nas.commands.show import summarise

    run = toy_run()
    connection = sqlite3.connect(run.path / "history.db")
    connection.execute(f"UPDATE trial SET {column} = '{{' WHERE id = 4")
    connection.execute("UPDATE trial SET fitness = 1.0 WHERE id = 4")
    connection.commit()
    connection.close()
    damaged = r"history\.db is damaged: .*trial 4 .*; its trials are good up to number 3; save .* repair "
    for look in (lambda: summarise(run.path, 5), lambda: go_on(run.path)):
        with pytest.raises(RunFolderError, match=damaged):
            look()


def test_a_run_on_a_read_only_disk_can_be_looked_at(toy_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from evo_nas.commands.show import summarise

    run = toy_run()
    expected = summarise(run.path, 3)
    before = sorted(entry.name for entry in run.path.iterdir())
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert summarise(run.path, 3) == expected
    assert sorted(entry.name for entry in run.path.iterdir()) == before


def test_a_variable_with_nonsense_is_named() -> None:
    with pytest.raises(UsageError, match=r"from the environment \(EVO_NAS_\*\): \[run\]: trials cannot be 'abc'"):
        load_config({"evaluator": "toy"}, environ={"EVO_NAS_TRIALS": "abc"})


def test_an_empty_folder_of_the_user_outlives_a_failed_start(tmp_path: Path) -> None:
    from evo_nas.errors import DataError

    (tmp_path / "mine").mkdir()
    for name in ("mine", "new"):
        with pytest.raises(DataError):
            search(strategy="random", dataset="cifar10", data_dir=tmp_path / "nowhere", run_dir=tmp_path / name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]
    assert not list((tmp_path / "mine").iterdir())


def test_a_start_that_is_stopped_leaves_no_folder_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(hardware: Hardware, evaluator: Evaluator) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("evo_nas.run.search.check_memory", stop)
    caplog.set_level("INFO")
    with pytest.raises(KeyboardInterrupt):
        search(strategy="random", evaluator="toy", trials=1, run_dir=tmp_path / "run")
    assert "nothing was begun" in caplog.text
    assert not (tmp_path / "run").exists()


def test_an_option_that_toml_cannot_hold_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "unwritable.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import Any\n"
        "from evo_nas.evaluators.toy import ToyEvaluator\n\n"
        "@dataclass\n"
        "class Unwritable(ToyEvaluator):\n"
        "    extra: tuple[str, ...] = ()\n\n"
        "    def __post_init__(self) -> None:\n"
        "        self.extra = {'a': 1}\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(UsageError, match=r"cannot be written to run\.toml|cannot be"):
            search(strategy="random", evaluator="unwritable:Unwritable", run_dir=tmp_path / "run", trials=1)
    finally:
        sys.path.remove(str(tmp_path))
    assert not (tmp_path / "run").exists()


def test_a_plug_in_is_imported_only_when_it_is_named(
    toy_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugged.py").write_text(
        "from evo_nas.evaluators.toy import ToyEvaluator\n\nclass Plugged(ToyEvaluator):\n    name = 'plugged'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    run = toy_run(evaluator="plugged:Plugged")
    sys.modules.pop("plugged")
    with pytest.raises(UsageError, match=r"--evaluator plugged:Plugged|name it on the command line"):
        read_stored_config(run.path)
    assert "plugged" not in sys.modules
    assert read_stored_config(run.path, plugins=["plugged:Plugged"]).run.evaluator == "plugged:Plugged"


def test_search_is_the_python_api(tmp_path: Path) -> None:
    run = search(strategy="evolution", evaluator="toy", population=5, sample=2, trials=20, run_dir=tmp_path / "run")
    assert Path(run) == tmp_path / "run"
    assert evo_nas.search is search


def test_the_next_folder_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [search(strategy="random", evaluator="toy", trials=2).path for _ in range(3)]
    assert len(set(runs)) == 3
    assert all(path.parent == tmp_path / "runs" and path.name.startswith("random-toy-seed0-") for path in runs)


def test_closing_a_folder_gives_its_lock_back(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run").close()
    RunFolder.create(tmp_path / "run").close()


def test_flags_go_before_variables_and_these_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("[run]\nseed = 1\ntrials = 1\nmax_repeats = 1\n")
    environ = {"EVO_NAS_TRIALS": "2", "EVO_NAS_SEED": "2", "EVO_NAS_DATASET": "digits"}
    config = load_config({"evaluator": "toy", "seed": 3}, file=file, environ=environ)
    assert (config.run.max_repeats, config.run.trials, config.run.seed) == (1, 2, 3)
    assert config.evaluator == {}, "an exported data set says nothing to an evaluator that has none"
    config = load_config({"evaluator": "proxy"}, environ=environ)
    assert config.evaluator == {"dataset": "digits"}


@pytest.mark.parametrize(
    ("flags", "settings", "message"),
    [
        ({"trials": 0}, (), "trials must be at least 1, not 0"),
        ({"trials": "many"}, (), "trials cannot be 'many'; write a whole number"),
        ({"seed": -1}, (), "seed must be from 0"),
        ({"repeats": "never"}, (), "repeats must be reuse or retrain"),
        ({"workers": 0}, (), "workers must be from 1"),
        ({"workers": 2, "executor": "serial"}, (), "the serial executor has one worker"),
        ({"strategy": "nosuch"}, (), "there is no strategy 'nosuch'"),
        ({"space": "nosuch"}, (), "there is no space 'nosuch'"),
        ({"evaluator": "nosuch"}, (), "there is no evaluator 'nosuch'"),
        ({"strategy": "evolution", "population": 5, "sample": 9}, (), "sample must be from 1 to the population of 5"),
        ({"strategy": "random", "population": 5}, (), "strategy 'random' has no option 'population'"),
        ({"evaluator": "toy", "dataset": "digits"}, (), "evaluator 'toy' has no option 'dataset'"),
        ({}, ("space.ops=identity,nosuch",), "unknown 'nosuch' in ops"),
        ({}, ("space.block=3",), "no option 'block'"),
        ({}, ("nonsense",), "--set takes TABLE.FIELD=VALUE"),
        ({}, ("elsewhere.field=1",), r"unknown table \[elsewhere\]"),
        ({}, ("run.colour=1",), r"\[run\] has no option 'colour'"),
        ({}, ("evaluator.noise=-1",), "noise must be finite and at least 0"),
        ({}, ("evaluator.noise=nan",), "noise must be finite"),
    ],
)
def test_nonsense_is_refused_in_one_line(flags: Any, settings: Any, message: str) -> None:
    flags = {"strategy": "random", "evaluator": "toy", **flags}
    with pytest.raises(UsageError, match=message) as caught:
        build(load_config(flags, settings=settings, environ={}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run = [", "cannot read the configuration"),
        ("seed = 1", "stands outside of a table"),
        ("[runs]\nseed = 1", r"unknown table \[runs\]; the tables are: run, space, strategy, evaluator, hardware"),
        ("[run]\nseeds = 1", r"\[run\] has no option 'seeds'"),
        ("[hardware]\nworkers = true", "workers cannot be 'True'|workers cannot be"),
    ],
)
def test_a_toml_file_with_unknown_keys_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "my.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_config({}, file=file, environ={})


def test_a_missing_toml_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the configuration .*nosuch"):
        load_config({}, file=tmp_path / "nosuch.toml", environ={})
