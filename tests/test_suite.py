"""The suite itself: what crashes or hangs ends it by name, with the line, and nothing waits for ever.

Most tests run ``make test``'s pytest on a folder of their own with the project's options and ``tests/conftest.py``.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
MAKEFILE = ROOT / "Makefile"

Suite = Callable[..., subprocess.CompletedProcess[str]]

CRASH = """
import os, time
from pathlib import Path

def test_dies():
    while not Path("the-other-has-begun").exists():
        time.sleep(0.01)
    os.abort()  # here
"""

GOES_ON = """
import time
from pathlib import Path

def test_waits():
    Path("the-other-has-begun").touch()
    while True:
        time.sleep(0.01)

def test_comes_next():
    Path("went-on").touch()

def test_comes_last():
    pass
"""

HANG = """
import subprocess

def test_hangs():
    subprocess.run(["sleep", "3600"])  # here
"""

DEAF = """
import signal, time

def test_hears_no_signal():
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(3600)  # here
"""

COLLECTED = """
import os

if os.environ["PYTEST_XDIST_WORKER"] != "gw0":
    os.abort()  # here

def test_nothing():
    pass
"""


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """Run the project's pytest on files of tests: ``suite({"name": text}, "--an-option")``."""
    found = re.search(r"^test:.*\n\t\$\(BIN\)/python (-m pytest .*)$", MAKEFILE.read_text("utf-8"), re.M)
    assert found
    words = [sys.executable, *shlex.split(found[1])]
    assert {"-n", "--dist"} < set(words)
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "tests/conftest.py", tmp_path / "tests")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}

    def run(files: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
        for name, text in files.items():
            folder, _, stem = name.rpartition("/")
            (tmp_path / "tests" / folder / f"test_{stem}.py").write_text(text)
        return subprocess.run(
            [*words, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


def test_check_leaves_out_what_is_slow_and_the_promises(suite: Suite, tmp_path: Path) -> None:
    (line,) = re.findall(r"^check:.*\n\t\$\(BIN\)/python -m pytest .* (-m .*)$", MAKEFILE.read_text("utf-8"), re.M)
    files = {"slow": "import pytest\n\npytestmark = pytest.mark.slow\n\n"}
    for folder in ("hostile", "survival", "hostile/deep"):
        (tmp_path / "tests" / folder).mkdir()
        files[f"{folder}/promise"] = ""
    files |= {"hostile_by_name_alone": "", "quick": ""}
    files = {name: text + "def test_it(): pass\n" for name, text in files.items()}
    done = suite(files, *shlex.split(line), "-rA")
    ran = set(re.findall(r"PASSED (\S+)", done.stdout))
    assert ran == {"tests/test_hostile_by_name_alone.py::test_it", "tests/test_quick.py::test_it"}, done.stdout


def test_make_help_names_every_command() -> None:
    text = MAKEFILE.read_text("utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.M)
    done = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line.split()[1] for line in done.stdout.splitlines()] == phony.split()
    assert all(len(line.split()) > 3 for line in done.stdout.splitlines())


def test_the_demo_needs_no_tool_of_developers(tmp_path: Path) -> None:
    words = ["make", "--dry-run", "demo", f"VENV={tmp_path / 'none'}"]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    installs = [line for line in said.splitlines() if " pip install " in line]
    assert len(installs) == 1
    assert installs[0].endswith(" --editable .")


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), start=1) if line.endswith("# here"))


def test_a_worker_that_dies_ends_the_run_at_once_by_name(suite: Suite, tmp_path: Path) -> None:
    done = suite({"crash": CRASH, "goes_on": GOES_ON}, "--timeout", "300")
    said = done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, said
    assert "FAILED tests/test_crash.py::test_dies" in said
    assert "Fatal Python error: Aborted" in said
    assert f'test_crash.py", line {line_of(CRASH)} in test_dies' in said
    assert not (tmp_path / "went-on").exists(), "the other worker has not gone on with its file"


def test_a_test_that_hangs_is_interrupted_at_its_line(suite: Suite) -> None:
    done = suite({"hang": HANG}, "--timeout", "1")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "FAILED tests/test_hang.py::test_hangs - Failed: Timeout (>1.0s)" in done.stdout
    assert ">       subprocess.run(" in done.stdout


def test_a_test_that_hears_no_signal_takes_its_worker_along(suite: Suite) -> None:
    done = suite({"deaf": DEAF}, "--timeout", "1", "-o", "faulthandler_timeout=2")
    said = done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, said
    assert "FAILED tests/test_deaf.py::test_hears_no_signal" in said
    assert f'test_deaf.py", line {line_of(DEAF)} in test_hears_no_signal' in said


def test_a_worker_that_dies_before_its_first_test_fails_the_run(suite: Suite) -> None:
    done = suite({"collected": COLLECTED}, "-n", "2")
    said = done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.INTERRUPTED, said
    assert "worker gw1 died" in said
    assert "gw2" not in said, "nobody takes its place"
    assert f'test_collected.py", line {line_of(COLLECTED)} in <module>' in said


def test_what_hangs_is_told_in_time_and_before_its_worker_is_killed(pytestconfig: pytest.Config) -> None:
    limit, last = (float(pytestconfig.getini(name)) for name in ("timeout", "faulthandler_timeout"))
    assert 0 < limit < last, "a time limit that leaves the worker alive comes first"
    assert pytestconfig.getini("faulthandler_exit_on_timeout")


CLOCKS = {"time", "monotonic", "perf_counter", "process_time", "thread_time", "getrusage"}


def bounds_on_time(tree: ast.AST) -> Iterator[int]:
    """Find the lines on which a test gives up after some seconds, or says that something took too long."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=first, ops=operators, comparators=others):
                pairs = zip([first, *others], operators, strict=False)
                if any(isinstance(operator, ast.Lt | ast.LtE) and reads_clock(one) for one, operator in pairs):
                    yield node.lineno
            case ast.Call(func=ast.Attribute(attr="wait" | "join"), args=[ast.Constant(value=int() | float())]):
                yield node.lineno
            case ast.Call(func=ast.Attribute(attr=name), keywords=keywords) if name != "connect":
                if "timeout" in {keyword.arg for keyword in keywords}:
                    yield node.lineno


def reads_clock(node: ast.AST) -> bool:
    return any(
        isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in CLOCKS
        for call in ast.walk(node)
    )


def test_no_test_gives_up_or_fails_because_of_a_clock() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path.name.startswith(("test_", "conftest"))
        for line in bounds_on_time(ast.parse(path.read_text("utf-8")))
    ]
    assert not found, f"wait with tests.waiting, count with tests.counting: {found}"


@pytest.mark.parametrize(
    "line",
    [
        "assert time.monotonic() - start < 8",
        "assert 0.1 <= time.monotonic() - begun < 0.6",
        "while time.monotonic() < deadline: pass",
        "process.communicate(timeout=20)",
        "process.wait(20)",
        "subprocess.run(command, timeout=5)",
    ],
)
def test_what_rests_on_a_clock_is_seen(line: str) -> None:
    assert list(bounds_on_time(ast.parse(line))) == [1]


@pytest.mark.parametrize("line", ["assert time.monotonic() - start >= 0.5", "process.wait()", "','.join(words)"])
def test_what_rests_on_no_clock_is_left_alone(line: str) -> None:
    assert list(bounds_on_time(ast.parse(line))) == []
