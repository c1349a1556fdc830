"""Pipes in the place of files: nothing waits for them, and nothing is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from evo_nas.cli import main
from evo_nas.errors import EvoNasError
from evo_nas.run.search import Run
from evo_nas.storage.run_folder import FILES
from evo_nas.storage.study_record import read_study
from evo_nas.training.resumable import load_task, result_of

pytestmark = pytest.mark.usefixtures("bounded")

COMMANDS = (["show"], ["status"], ["table"], ["report", "-o", "page.html"], ["resume", "--trials", "4"], ["repair"])


@pytest.mark.parametrize("name", [*FILES, "history.db-wal", "crash.txt"])
def test_no_command_waits_for_a_pipe_in_a_run_folder(
    name: str,
    toy_run: Callable[..., Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    toy_run("sound", trials=3, space="bits")
    for command, *flags in COMMANDS:
        shutil.copytree("sound", "run")
        Path("run", name).unlink(missing_ok=True)
        os.mkfifo(Path("run", name))
        capsys.readouterr()
        code = main([command, "run", *flags])
        error = capsys.readouterr().err
        assert code in (0, 3), (command, error)
        assert "Traceback" not in error
        shutil.rmtree("run")


@pytest.mark.parametrize(
    ("name", "read"),
    [("study.json", read_study), ("train.json", load_task), ("result.json", result_of)],
)
def test_no_reader_waits_for_a_pipe(name: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(EvoNasError, match=r"it is no file|is a pipe or a device"):
        read(tmp_path)
