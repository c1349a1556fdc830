"""The schema of a history: what repair knows of it, and that no other version is taken for it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from evo_nas.cli import main
from evo_nas.storage import schema
from evo_nas.storage.checksums import mark
from evo_nas.storage.salvage import LAYOUT


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def test_the_layout_that_repair_knows_is_that_of_the_table() -> None:
    with closing(sqlite3.connect(":memory:")) as new:
        schema.make(new)
        assert tuple(columns(new, "trial")) == LAYOUT


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("closed", [True, False], ids=["closed in order", "killed"])
@pytest.mark.parametrize("command", ["resume", "show", "status", "repair", "table", "plot", "report"])
def test_a_run_of_an_unreleased_version_is_refused(
    toy_run: Any, capsys: pytest.CaptureFixture[str], version: int, closed: bool, command: str
) -> None:
    """One line says what it is and how to go on; nothing is changed."""
    run: Path = toy_run().path
    with closing(sqlite3.connect(run / "history.db")) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute(f"PRAGMA application_id = {mark(version) if version > 1 else 0}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if closed:
        from evo_nas.storage.checksums import file_sum, sum_file

        sum_file(run / "history.db").write_text(file_sum(run / "history.db") + "\n")
    else:
        (run / "history.sum").unlink()
    before = (run / "history.db").read_bytes()
    capsys.readouterr()
    assert main([command, str(run)]) == 3
    err = capsys.readouterr().err
    assert err.startswith(f"evo_nas: {run / 'history.db'} was made by an unreleased version of evo_nas (schema version")
    assert "start a new run" in err
    assert err.count("\n") == 1
    assert (run / "history.db").read_bytes() == before
