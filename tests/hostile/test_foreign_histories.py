"""Histories of others, with code in their schema: nothing of it runs, and what they hold can be saved by ``repair``."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from evo_nas.cli import main
from evo_nas.run.search import Run
from evo_nas.storage.checksums import file_sum, row_sum, sum_file
from evo_nas.storage.connection import LONGEST, connect
from evo_nas.storage.history import History
from evo_nas.storage.opening import explain_errors
from evo_nas.storage.schema import ASK

pytestmark = pytest.mark.usefixtures("bounded")

ENDLESS = "WITH RECURSIVE count(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM count) SELECT max(x) FROM count"

CODE = {
    "a trigger": "CREATE TRIGGER boost AFTER INSERT ON trial BEGIN UPDATE trial SET fitness = 1.0; END",
    "an endless trigger": f"CREATE TRIGGER hang AFTER INSERT ON trial BEGIN SELECT ({ENDLESS}); END",
    "a view": f"CREATE VIEW front AS {ENDLESS}",
    "a view in the place of a table": f"DROP TABLE curve; CREATE VIEW curve AS SELECT x AS trial FROM ({ENDLESS})",
    "a computed column": "ALTER TABLE trial ADD COLUMN twice AS (2 * fitness)",
    "an index of an expression": "CREATE INDEX shifted ON trial (abs(fitness))",
    "a table": "CREATE TABLE plan (step)",
    "another index of our name": "DROP INDEX trial_key; CREATE INDEX trial_key ON trial (abs(id))",
}

COMMANDS = (
    ("resume", "run", "--trials", "20"),
    ("show", "run"),
    ("status", "run"),
    ("table", "run"),
    ("compare", "run", "run"),
)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("closed_in_order", [True, False])
@pytest.mark.parametrize("code", CODE)
def test_code_in_a_schema_is_refused_and_the_trials_can_be_saved(
    toy_run: Callable[..., Run], capsys: pytest.CaptureFixture[str], code: str, closed_in_order: bool
) -> None:
    history = toy_run("run").path / "history.db"
    with closing(sqlite3.connect(history)) as connection:
        before = connection.execute("SELECT id, key, fitness FROM trial").fetchall()
        connection.executescript(CODE[code])
    sum_file(history).unlink()
    if closed_in_order:
        sum_file(history).write_text(f"{file_sum(history)}\n")
    content = history.read_bytes()

    for command in COMMANDS:
        capsys.readouterr()
        assert main(command) == 3
        out, err = capsys.readouterr()
        assert out == ""
        assert "is not as evo_nas makes one: it" in err
        assert "python -m evo_nas repair " in err
        assert err.count("\n") == 1
        assert history.read_bytes() == content

    assert main(["repair", "run"]) == 0
    with History.read(history) as saved:
        rows = saved._rows("SELECT id, key, fitness FROM trial")
        assert [tuple(row) for row in rows] == before
    assert main(["resume", "run", "--trials", "12"]) == 0


def test_a_text_is_not_read_that_is_longer_than_any_of_ours(
    toy_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    history = toy_run("run").path / "history.db"
    with closing(sqlite3.connect(history)) as connection, connection:
        row = dict(
            zip(ASK, connection.execute(f"SELECT {', '.join(ASK)} FROM trial WHERE id = 3").fetchone(), strict=True)
        )
        row["memo"] = f"[{' ' * LONGEST}]"
        values = (row["memo"], row_sum(*row.values()))
        connection.execute("UPDATE trial SET memo = ?, asked_sum = ? WHERE id = 3", values)
    sum_file(history).unlink()

    assert main(["status", "run"]) == 3
    assert "too big" in capsys.readouterr().err


def test_a_signal_ends_a_query_that_does_not_end(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    begun = threading.Event()

    def interrupt() -> None:
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    def begin() -> int:
        begun.set()
        return 1

    with closing(connect(path, "rwc")) as connection:
        connection.create_function("begin_now", 0, begin)
        sender = threading.Thread(target=interrupt)
        sender.start()
        with pytest.raises(KeyboardInterrupt), explain_errors(path):
            connection.execute(ENDLESS.replace("SELECT 1 UNION", "SELECT begin_now() UNION")).fetchone()
        sender.join()
