"""Runs on the toy landscape, small and fast, with every part a test may want to replace."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from evo_nas.run import Run, build, configured, start

ROOT = Path(__file__).parents[2]


@pytest.fixture
def toy_run(tmp_path: Path) -> Callable[..., Run]:
    """Start a run on the toy landscape: ``toy_run("name", strategy="random", trials=10)``."""

    def begin(name: str = "run", settings: tuple[str, ...] = (), **flags: Any) -> Run:
        flags = {"strategy": "random", "evaluator": "toy", "trials": 10, **flags}
        config = configured(flags, settings=settings, environ={})
        return start(config, tmp_path / name, build(config))

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
    """Give nobody more memory than there is reason for: for files that were made to harm."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    taken = Path("/proc/self/statm")  # elsewhere than on Linux the limit means little
    if taken.exists():
        pages = int(taken.read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
