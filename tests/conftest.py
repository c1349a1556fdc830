"""What every room shares: how the suite fails, where the shared data lies, a cache that is not the user's.

Hypothesis has no deadlines, and no test has one: what hangs is ended by the time limit in pyproject.toml.
"""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from evo_nas.run.search import Run

ROOT = Path(__file__).parents[1]

# Networks of the tests are small: two threads wait for each other longer than they compute, on a busy machine most of
# all. Set before torch is imported, and inherited by every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A process that dies of a native crash says where it was. Pytest does that for itself; this is for what tests start.
os.environ.setdefault("PYTHONFAULTHANDLER", "1")

# Timings on a busy machine are no property of the code.
settings.register_profile("evo_nas", deadline=None, database=None, derandomize=True)
settings.load_profile("evo_nas")


def pytest_collection_finish() -> None:
    """Spare the garbage collector torch, pandas and thousands of tests, which all stay: a tenth of a test's time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(report: pytest.TestReport, sched: Any) -> None:
    """End the run now: xdist by itself lets the other workers go on with their files, and with that of the dead one."""
    sched.config.hook.pytest_runtest_logreport(report=report)
    pytest.exit(str(report.longrepr), returncode=pytest.ExitCode.TESTS_FAILED)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object | None) -> None:
    """Fail the run where no test is to blame: xdist by itself is content if a worker dies while tests are collected."""
    if error is not None:
        node.config.pluginmanager.get_plugin("dsession").shouldstop = f"worker {node.gateway.id} died: {error}"


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded images go to a folder that ends with the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVO_NAS_CACHE", str(tmp_path_factory.mktemp("decoded")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared data sets, beside the project; EVO_NAS_SHARED overrides it."""
    shared = Path(os.environ.get("EVO_NAS_SHARED", Path(__file__).parents[2] / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip(f"the shared data is not there: {shared / 'data'}")
    return shared / "data"


@pytest.fixture
def toy_run(tmp_path: Path) -> Callable[..., Run]:
    """Start a run on the toy landscape: ``toy_run("name", strategy="random", trials=10)``."""

    def begin(name: str = "run", settings: tuple[str, ...] = (), **flags: Any) -> Run:
        flags = {"strategy": "random", "evaluator": "toy", "trials": 10, **flags}
        from evo_nas.run.parts import build, load_config
        from evo_nas.run.search import start
        from evo_nas.storage.run_folder import RunFolder

        config = load_config(flags, settings=settings, environ={})
        with RunFolder.create(tmp_path / name) as folder:
            return start(config, folder, build(config))

    return begin


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command in a folder of its own: ``started("run", ...)``; whatever still runs in the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def begin(*words: str, variables: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | dict(variables or {})
        command = [sys.executable, "-m", "evo_nas", *words]
        running.append(subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **options))
        return running[-1]

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def rows() -> Callable[[Path], list[dict[str, Any]]]:
    """Read every trial of a history with plain SQL, times of day and the sums that cover them left out."""
    import sqlite3

    def read(run: Path) -> list[dict[str, Any]]:
        connection = sqlite3.connect(run / "history.db")
        connection.row_factory = sqlite3.Row
        found = [dict(row) for row in connection.execute("SELECT * FROM trial ORDER BY id")]
        connection.close()
        for row in found:
            del row["asked_at"], row["told_at"], row["asked_sum"], row["told_sum"]
        return found

    return read


MEMORY = 3 * 2**30
"""Bytes that a test that is bounded may take beyond what the process has already."""


@pytest.fixture
def bounded() -> Iterator[None]:
    """Return nobody more memory than there is reason for: for files that were made to harm."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    taken = Path("/proc/self/statm")  # elsewhere than on Linux the limit means little
    if taken.exists():
        pages = int(taken.read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
