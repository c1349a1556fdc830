"""What a machine may lack: room for sockets, processes, open files, a home; and a signal while a command starts."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evo_nas.system.reasons import explain
from evo_nas.system.stops import STOPS

Started = Callable[..., subprocess.Popen[str]]

SEARCH = ("--strategy", "random", "--evaluator", "toy", "--trials", "3", "--workers", "2")


@pytest.mark.parametrize("command", [("run", "--run-dir", "run"), ("run", "--dry-run"), ("doctor",)], ids=" ".join)
def test_workers_that_cannot_start_say_why_before_and_in_a_search(
    started: Started, tmp_path: Path, command: tuple[str, ...]
) -> None:
    place = tmp_path / ("a" * 100)
    place.mkdir()
    process = started(*command, *SEARCH, variables={"TMPDIR": str(place)})
    out, error = process.communicate()
    last = (out if command == ("doctor",) else error).splitlines()[-1]
    assert process.returncode == 1
    assert f"cannot start workers: TMPDIR ({place}) is too long for a socket" in last
    assert "set TMPDIR=/tmp" in last
    assert "Traceback" not in error


@pytest.mark.parametrize("files", [16, 24])
def test_too_few_open_files_are_said_in_one_line(started: Started, files: int) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    process = started("run", *SEARCH, "--run-dir", "run", preexec_fn=limit)
    _, error = process.communicate()
    assert process.returncode == 1
    assert "too many open files: allow more, as with `ulimit -n 1024`" in error.splitlines()[-1]
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), "let TMPDIR name one that can"),
        (BlockingIOError(11, "Resource temporarily unavailable"), "`ulimit -u`"),
        (RuntimeError("can't start new thread"), "pids.max of the control group"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(), "OSError"),
    ],
)
def test_the_reason_of_an_error_ends_with_its_mend(error: Exception, words: str) -> None:
    assert words in explain(error)


@pytest.mark.slow
def test_a_home_that_cannot_be_written_costs_no_trial(started: Started) -> None:
    words = ("run", "--strategy", "random", "--dataset", "digits", "--trials", "1", "--run-dir", "run")
    small = [f"--set=evaluator.{one}" for one in ("epochs=1", "filters=2", "cells_per_stack=1")]
    process = started(*words, "--preset", "cpu", *small, variables={"HOME": "/dev/null", "XDG_CACHE_HOME": ""})
    _, error = process.communicate()
    assert process.returncode == 0, error
    assert error.count("the cache /dev/null/.cache/evo_nas cannot be written") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("delay", [0.05, 0.15, 0.3, 0.6])
def test_a_signal_at_any_moment_of_the_start_leaves_a_folder_that_goes_on(
    started: Started, tmp_path: Path, number: signal.Signals, delay: float
) -> None:
    """Whatever the moment turns out to be: no promise rests on it."""
    words = ("run", *SEARCH, "--run-dir", "run")
    process = started(*words)
    time.sleep(delay)
    process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode in (0, STOPS[number], -number, 1)
    if process.returncode == 1 or "Traceback" in error:  # Python itself was starting
        assert number == signal.SIGINT
        assert not (tmp_path / "run").exists()
    again = ("resume", "run") if (tmp_path / "run" / "run.toml").exists() else words
    last = started(*again)
    _, error = last.communicate()
    assert last.returncode == 0, error


def test_ctrl_c_while_modules_are_imported_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "argparse.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, str(tmp_path)])}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['evo_nas']\n"
            "from evo_nas.__main__ import main\nsys.exit(main())",
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "evo_nas: stopped (Ctrl-C)\n")
