"""Groundwork: built once whatever happens, resumed after a kill, shared by runs, part of the fingerprint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evo_nas.errors import DataError
from evo_nas.evaluators.groundwork import build_once, digest_of

ROOT = Path(__file__).parents[3]
PLUGIN = "tests.evo_nas.evaluators.grounded:Grounded"
RUN = ("run", "--space", "bits", "--strategy", "random", "--evaluator", PLUGIN, "--trials", "5")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A cache of its own, and a log of the steps that were taken."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "GROUND_LOG": str(tmp_path / "log"),
    }


def evo_nas(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evo_nas", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def steps(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().split() if (tmp_path / "log").exists() else []


def test_a_groundwork_that_was_killed_is_gone_on_with(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = str(tmp_path / "run")
    killed = evo_nas(environment | {"GROUND_KILL": "2"}, *RUN, "--run-dir", folder)
    assert killed.returncode == -signal.SIGKILL
    assert steps(tmp_path) == ["0", "1"]
    assert not list((tmp_path / "cache/evo_nas/groundwork").glob("toy-*[0-9a-f]")), "whole or not at all"
    resumed = evo_nas(environment, "resume", folder, "--evaluator", PLUGIN)
    assert resumed.returncode == 0, resumed.stderr
    assert "5 ok" in resumed.stdout
    assert "groundwork: step 3 of 4" in resumed.stderr
    assert steps(tmp_path) == ["0", "1", "2", "3"], "no step is taken twice"


@pytest.mark.slow
def test_two_runs_build_it_once(tmp_path: Path, environment: dict[str, str]) -> None:
    gated = environment | {"GROUND_GATE": str(tmp_path / "gate")}
    command = [sys.executable, "-m", "evo_nas", *RUN, "--run-dir"]
    pipes = {"env": gated, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, str(tmp_path / "first")], **pipes) as first:  # type: ignore[call-overload]
        assert next(line for line in first.stderr if "step 2 of 4" in line)  # it waits at the gate, and holds the lock
        with subprocess.Popen([*command, str(tmp_path / "second")], **pipes) as second:  # type: ignore[call-overload]
            assert next(line for line in second.stderr if "waiting for another run that builds" in line)
            (tmp_path / "gate").touch()
            ends = [process.communicate() for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), ends
    assert steps(tmp_path) == ["0", "1", "2", "3"]
    one, other = (json.loads((tmp_path / name / "env.json").read_text())["data"] for name in ("first", "second"))
    assert one == other
    assert len(one["groundwork"]) == 64


@pytest.mark.slow
def test_neither_a_dry_run_nor_the_doctor_builds_it(tmp_path: Path, environment: dict[str, str]) -> None:
    done = [evo_nas(environment, *RUN, "--dry-run"), evo_nas(environment, "doctor", *RUN[1:])]
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert steps(tmp_path) == []


def test_a_run_is_resumed_on_the_same_groundwork_only(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = str(tmp_path / "run")
    assert evo_nas(environment, *RUN, "--run-dir", folder).returncode == 0
    record = json.loads((tmp_path / "run/env.json").read_text())
    record["data"]["groundwork"] = "0" * 64
    (tmp_path / "run/env.json").write_text(json.dumps(record))
    resumed = evo_nas(environment, "resume", folder, "--evaluator", PLUGIN, "--trials", "6")
    assert (resumed.returncode, "its data is not the same" in resumed.stderr) == (2, True), resumed.stderr


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/evo_nas/groundwork"


def test_another_key_is_another_groundwork(cache: Path) -> None:
    built: list[Path] = []
    places = [
        build_once(
            "thing", key, lambda folder: built.append(folder) or ((folder / "a").write_text("a") and None), print
        )
        for key in ({"seed": 1, "format": 1}, {"format": 1, "seed": 1}, {"seed": 2, "format": 1})
    ]
    assert places[0] == places[1] != places[2]
    assert len(built) == 2
    assert json.loads((places[0] / "groundwork.json").read_text())["key"] == {"seed": 1, "format": 1}
    assert digest_of(places[0]) == digest_of(places[2]), "the files are the same"


def test_a_damaged_groundwork_is_refused_in_one_line(cache: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "weights").write_text("whole")

    place = build_once("thing", {}, build, print)
    (place / "weights").write_text("cut")
    with pytest.raises(DataError, match=r"the groundwork \S+ is damaged; remove that folder, and it is built again"):
        build_once("thing", {}, build, print)
    (place / "groundwork.json").write_text("{")
    with pytest.raises(DataError, match=r"is damaged: .*; remove that folder"):
        build_once("thing", {}, build, print)


def test_a_build_that_fails_leaves_nothing_that_counts(cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        build_once("thing", {}, fail, print)
    assert [path.suffix for path in sorted(cache.iterdir())] == [".lock", ".partial"]
    seen: list[bool] = []
    build_once("thing", {}, lambda folder: seen.append((folder / "half").exists()), print)
    assert seen == [True]
