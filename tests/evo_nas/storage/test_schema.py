"""The schema of a history: what repair knows of it, and that no other version is taken for it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from analysis import load_rungs
from evo_nas.cli import main
from evo_nas.storage import schema
from evo_nas.storage.checksums import file_sum, sum_file
from evo_nas.storage.schema import mark

PAGE = (Path(__file__).parents[3] / "docs" / "history.md").read_text("utf-8")


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def test_a_row_lies_as_the_schema_says() -> None:
    """As repair reads it, and as rows are inserted."""
    with closing(sqlite3.connect(":memory:")) as new:
        schema.make(new)
        for table in schema.TABLES:
            assert tuple(columns(new, table.name)) == table.names


@pytest.mark.parametrize("version", [1, 2, 3])
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


def test_a_run_of_the_version_before_is_read_as_it_is_and_upgraded_when_it_is_resumed(
    toy_run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run: Path = toy_run().path
    history = run / "history.db"
    with closing(sqlite3.connect(history)) as connection:
        connection.executescript(f"DROP TABLE rung; PRAGMA user_version = 4; PRAGMA application_id = {mark(4)};")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (run / "history.sum").unlink()  # so that all of it is read
    before = history.read_bytes()
    for command in ("show", "status", "table"):
        assert main([command, str(run)]) == 0
    assert len(load_rungs(run)) == 0
    assert history.read_bytes() == before
    assert main(["resume", str(run), "--trials", "12"]) == 0
    with closing(sqlite3.connect(history)) as connection:
        assert schema.difference(connection) is None
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
        assert connection.execute("SELECT count(told) FROM trial").fetchone()[0] >= 12


def rows_of(table: schema.Table) -> str:
    """Write the rows of the table of docs/history.md that documents a table."""
    rows = []
    for column in table.columns:
        kind = column.type + {"PRIMARY KEY": ", key", "UNIQUE": ", unique"}.get(column.constraint, "")
        kind += (", or NULL" if "," in kind else " or NULL") if column.may_miss and "sum" not in column.name else ""
        clock = ", seconds since 1970 (UTC)" if column.unit == "clock" else ""
        rows.append(f"| `{column.name}` | {kind} | {column.meaning}{clock} |\n")
    return "| column | type | meaning |\n| --- | --- | --- |\n" + "".join(rows)


@pytest.mark.parametrize("table", schema.TABLES, ids=lambda table: table.name)
def test_the_page_documents_a_table_as_the_schema_has_it(table: schema.Table) -> None:
    assert rows_of(table) in PAGE, f"write this into docs/history.md:\n{rows_of(table)}"


def test_the_page_documents_what_each_checksum_covers() -> None:
    for summed in schema.SUMMED:
        name = f"`{summed.sum}`" if summed.table == "trial" else f"`sum` of `{summed.table}`"
        columns = [column for column in summed.columns if column != schema.EPOCHS]
        covered = ", ".join(f"`{column}`" for column in columns)
        covered += ", number of rows in `curve`" if len(columns) < len(summed.columns) else ""
        assert f"| {name} | {covered} |\n" in PAGE
