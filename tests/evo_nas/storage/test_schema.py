"""An old history, stored as SQL: read as it is, brought to today's schema wholly or not at all, gone on with."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.frames import HistoryError, load_curves, load_history, load_notes
from evo_nas.cli import main
from evo_nas.commands.show import summarise
from evo_nas.errors import DamagedHistory
from evo_nas.storage import checksums as checksum
from evo_nas.storage import schema
from evo_nas.storage.checksums import ASK, TELL, damage, file_sum, mark, sum_file
from evo_nas.storage.history import History
from evo_nas.storage.repair import repair
from evo_nas.storage.salvage import FIRST, LAYOUTS, salvage

SQL = (Path(__file__).parent / "history-v1.sql").read_text("utf-8")
FIRST_CONFIG = """\
[run]
strategy = "random"
space = "bits"
evaluator = "toy"
seed = 3
trials = 12
repeats = "reuse"
max_repeats = 1000
max_parameters = 350
max_consecutive_failures = 10

[space]
length = 5

[strategy]

[evaluator]
noise = 0.01
seconds = 0.0
sigma = 0.0

[hardware]
workers = 1
executor = "auto"
threads = 0
device = "auto"
keep_weights = 1
"""

OLD_COLUMNS = {
    "trial": ", ".join(FIRST),
    "curve": "trial, epoch, accuracy",
    "note": "trial, name, value",
    "attempt": "trial, number, started_at",
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A run folder of version 1."""
    run = tmp_path / "old"
    run.mkdir()
    (run / "run.toml").write_text(FIRST_CONFIG)
    log = {"time": "2026-11-25T02:35:43Z", "event": "start", "evo_nas": "0.1.0", "trials": 12, "asked": 0}
    (run / "log.jsonl").write_text(json.dumps(log) + "\n")
    with closing(sqlite3.connect(run / "history.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SQL)
    return run


def rows(run: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Read everything that version 1 knows."""
    with closing(sqlite3.connect(run / "history.db")) as connection:
        return {
            table: connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2").fetchall()
            for table, columns in OLD_COLUMNS.items()
        }


def version(run: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(run / "history.db")) as connection:
        return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id"))


def columns(connection: sqlite3.Connection, table: str = "trial") -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def told_a_duration(trials: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return rows of ``trial`` as they become: what was trained has a duration, trial 7 too."""
    place = FIRST.index("seconds")
    return [(*row[:place], 0.0, *row[place + 1 :]) if row[0] == 7 else row for row in trials]


def test_the_stored_history_has_every_kind_of_row(old: Path) -> None:
    found = rows(old)
    outcomes = [row[FIRST.index("outcome")] for row in found["trial"]]
    assert {"ok", "refused", "nan", "error", "reused", None} == set(outcomes)
    assert all(found.values())
    assert version(old) == (1, 0)


def test_an_old_history_is_read_as_it_is(old: Path) -> None:
    before = (old / "history.db").read_bytes()
    with History.read(old / "history.db") as history:
        assert history.outcomes() == {"ok": 7, "nan": 1, "error": 1, "refused": 1, "reused": 1}
        assert [pending.id for pending in history.pending()] == [12]
        assert history._event == 23
    assert [trial.id for trial in summarise(old, 2).top] == [8, 1]
    frame = load_history(old)
    assert frame["id"].tolist() == list(range(1, 13))
    assert frame["sample"].iloc[-2] == 9, "trial 7 has an attempt and no duration"
    assert len(load_curves(old)) == 13
    assert len(load_notes(old)) == 11
    assert (old / "history.db").read_bytes() == before


def test_opened_to_go_on_an_old_history_becomes_one_of_today(old: Path) -> None:
    before = rows(old)
    frames = load_history(old), load_curves(old), load_notes(old)
    History.open(old / "history.db").close()
    assert version(old) == (schema.VERSION, mark(schema.VERSION))
    assert rows(old) == {**before, "trial": told_a_duration(before["trial"])}
    with closing(sqlite3.connect(old / "history.db")) as connection:
        assert damage(connection) is None
        assert connection.execute("SELECT count(*) FROM trial WHERE asked_sum IS NULL").fetchone() == (0,)
        ended = connection.execute("SELECT trial, number, outcome FROM attempt ORDER BY 1, 2").fetchall()
        assert ended == [
            *((1, 1, "ok"), (3, 1, "nan"), (4, 1, "ok"), (5, 1, "error"), (6, 1, None), (6, 2, "ok"), (7, 1, "ok")),
            *((8, 1, "ok"), (9, 1, "ok"), (11, 1, "ok"), (12, 1, None), (12, 2, None)),
        ], "the last attempt of a trial has ended with it, earlier ones were cut short"
    assert sum_file(old / "history.db").read_text().strip() == file_sum(old / "history.db")
    expected = frames[0].assign(seconds=frames[0]["seconds"].mask(frames[0]["id"] == 7, 0.0))
    for frame, other in zip(
        (expected, *frames[1:]), (load_history(old), load_curves(old), load_notes(old)), strict=True
    ):
        pd.testing.assert_frame_equal(frame, other)
    with History.open(old / "history.db") as history:
        assert history.trained() == 9


def test_its_tables_and_indexes_are_those_of_a_new_one(old: Path) -> None:
    History.open(old / "history.db").close()
    with closing(sqlite3.connect(old / "history.db")) as migrated, closing(sqlite3.connect(":memory:")) as new:
        schema.make(new)
        for table in OLD_COLUMNS:
            assert sorted(columns(migrated, table)) == sorted(columns(new, table))
        indexes = "SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name"
        assert migrated.execute(indexes).fetchall() == new.execute(indexes).fetchall()


def test_the_layouts_that_repair_knows_are_those_of_the_tables(old: Path) -> None:
    with closing(sqlite3.connect(":memory:")) as new, closing(sqlite3.connect(old / "history.db")) as connection:
        schema.make(new)
        assert columns(connection) == list(FIRST)
        schema.migrate(connection)
        assert [tuple(columns(new)), tuple(columns(connection))] == list(LAYOUTS)


def test_a_change_of_schema_that_fails_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(old)
    calls = 0

    def failing(*values: object) -> int:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise ArithmeticError
        return checksum.row_sum(*values)

    monkeypatch.setattr(schema, "row_sum", failing)
    with pytest.raises(DamagedHistory, match="user-defined function"):
        History.open(old / "history.db")
    monkeypatch.undo()
    assert (version(old), rows(old)) == ((1, 0), before)
    History.open(old / "history.db").close()
    assert version(old)[0] == schema.VERSION


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of later Pythons, that other threads are not forked
def test_a_change_of_schema_that_is_killed_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(old)
    child = os.fork()
    if child == 0:
        calls: list[int] = []

        def dying(*values: object) -> int:
            calls.append(1)
            if len(calls) == 59:  # the last
                os._exit(9)
            return checksum.row_sum(*values)

        try:
            monkeypatch.setattr(schema, "row_sum", dying)
            History.open(old / "history.db")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert (version(old), rows(old)) == ((1, 0), before)
    History.open(old / "history.db").close()
    assert version(old)[0] == schema.VERSION


def test_an_old_run_goes_on(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows(old)
    assert main(["resume", str(old)]) == 0
    assert version(old)[0] == schema.VERSION
    after = rows(old)
    assert after["trial"][:11] == told_a_duration(before["trial"])[:11]
    assert after["trial"][11][: FIRST.index("told")] == before["trial"][11][: FIRST.index("told")]
    with History.read(old / "history.db") as history:
        assert (history.trained(), history.pending()) == (12, [])
    with closing(sqlite3.connect(old / "history.db")) as connection:
        assert damage(connection) is None
        assert connection.execute("SELECT number, outcome FROM attempt WHERE trial = 12").fetchall()[-1] == (3, "ok")


# Damage, which nothing but its structure and its values give away ---------------------------------------------------


def test_what_can_be_saved_of_an_old_history_is_what_opening_makes_of_it(old: Path) -> None:
    found = salvage(old / "history.db")
    History.open(old / "history.db").close()
    with closing(sqlite3.connect(old / "history.db")) as connection:
        asks = connection.execute(f"SELECT {', '.join(ASK)} FROM trial ORDER BY id").fetchall()
        tells = connection.execute(f"SELECT {', '.join(TELL)} FROM trial WHERE told IS NOT NULL ORDER BY id").fetchall()
        attempts = connection.execute("SELECT trial, number, started_at, ended_at, outcome FROM attempt").fetchall()
    assert [trial.ask for trial in found.trials.values()] == asks
    assert [trial.tell for trial in found.trials.values() if trial.tell] == tells
    assert [(*key, *row) for key, row in found.attempts.items()] == attempts
    assert salvage(old / "history.db") == found, "also of what it has become"


def test_an_old_history_that_is_sound_is_not_repaired(old: Path) -> None:
    assert repair(old).kept is None
    assert version(old) == (1, 0)


def test_repairing_an_old_history_brings_it_to_the_schema_of_today(old: Path) -> None:
    before = rows(old)
    data = (old / "history.db").read_bytes()
    (old / "history.db").write_bytes(bytes(4096) + data[4096:])  # its header, its schema
    with pytest.raises(DamagedHistory, match="is known to be good; save what can be read with"):
        History.read(old / "history.db")
    with pytest.raises(HistoryError, match="is known to be good; save what can be read with"):
        load_history(old)
    result = repair(old)
    assert (result.saved, result.again, result.lost) == (12, (), ())
    assert version(old)[0] == schema.VERSION
    assert rows(old) == {**before, "trial": told_a_duration(before["trial"])}


def test_of_an_old_history_only_what_is_plausible_is_saved(old: Path) -> None:
    with closing(sqlite3.connect(old / "history.db")) as connection:
        for change in ("outcome = 'of' WHERE id = 3", "fitness = 1.5 WHERE id = 4", "fitness = NULL WHERE id = 6"):
            connection.execute(f"UPDATE trial SET {change}")
        for change in ("genotype = 'bits' WHERE id = 8", "cell = '{' WHERE id = 9", "memo = '3' WHERE id = 10"):
            connection.execute(f"UPDATE trial SET {change}")
        connection.commit()
    result = repair(old)
    assert (result.again, result.lost) == ((3, 4, 6), (8, 9, 10))
    assert main(["resume", str(old)]) == 0
