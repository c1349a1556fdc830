"""What every room shares: how the suite fails, where the shared data lies, a cache that is not the user's.

Hypothesis has no deadlines, and no test has one: what hangs is ended by the time limit in pyproject.toml.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Networks of the tests are small: two threads wait for each other longer than they compute, on a busy machine most of
# all. Set before torch is imported, and inherited by every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A process that dies of a native crash says where it was. Pytest does that for itself; this is for what tests start.
os.environ.setdefault("PYTHONFAULTHANDLER", "1")

# Timings on a busy machine are no property of the code.
settings.register_profile("evo_nas", deadline=None, database=None, derandomize=True)
settings.load_profile("evo_nas")


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
