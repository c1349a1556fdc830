"""Runs on the toy landscape, small and fast, with every part a test may want to replace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evo_nas.run import Run, build, configured, start


@pytest.fixture
def toy_run(tmp_path: Path) -> Callable[..., Run]:
    """Start a run on the toy landscape: ``toy_run("name", strategy="random", trials=10)``."""

    def begin(name: str = "run", settings: tuple[str, ...] = (), **flags: Any) -> Run:
        flags = {"strategy": "random", "evaluator": "toy", "trials": 10, **flags}
        config = configured(flags, settings=settings, environ={})
        return start(config, tmp_path / name, build(config))

    return begin


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
