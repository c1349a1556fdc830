"""The history: what is on disk, and who may read it when."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from evo_nas.errors import DamagedHistory, RunFolderError
from evo_nas.storage.checksums import damage, is_untouched
from evo_nas.storage.history import History
from genotypes.catalogue import build_space
from genotypes.individual import Evaluation, Outcome, Proposal

SPACE = build_space("nasnet(blocks=1)")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def ask(history: History, id: int, key: str = "") -> None:
    genotype = SPACE.sample(np.random.default_rng(id))
    history.ask(id, Proposal(genotype, memo=(0.1, -2.5)), key or f"key {id}", {"id": id}, 0, ())


def ok(fitness: float) -> Evaluation:
    return Evaluation(Outcome.OK, fitness=fitness, metrics={"parameters": 12, "mult_adds": 34, "loss": 0.5})


@pytest.mark.parametrize(
    ("given", "level"),
    [({}, 3), ({"locks": False}, 3), ({"durable": False}, 1), ({"durable": False, "locks": False}, 2)],
)
def test_only_a_write_ahead_log_may_leave_the_disk_behind(path: Path, given: dict[str, bool], level: int) -> None:
    for make in (History.create, History.open):
        with make(path, **given) as history:
            assert history._one("PRAGMA synchronous") == level, "3 is EXTRA, 2 is FULL, 1 is NORMAL"


def test_a_history_has_begun_when_its_tables_are_there(path: Path) -> None:
    assert not History.exists(path)
    sqlite3.connect(path).execute("PRAGMA journal_mode = WAL").connection.close()
    assert not History.exists(path)
    path.unlink()
    History.create(path).close()
    assert History.exists(path)


@pytest.mark.parametrize("journal", ["", "PRAGMA journal_mode = WAL"])
def test_a_history_whose_making_was_cut_short_is_made_when_it_is_opened(path: Path, journal: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(journal)
    connection.close()
    path.touch()
    with pytest.raises(RunFolderError, match="stopped before it began; resume with: python -m evo_nas resume"):
        History.read(path)
    with History.open(path) as history:
        assert (history.last_id, history.count_trainings()) == (0, 0)
    assert History.exists(path)
    with History.read(path) as history:
        assert history.top(1) == []


def test_without_locks_every_connection_is_made_without_them(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    History.create(path, locks=False).close()
    asked = []
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda place, **options: asked.append(place) or connect(place, **options))
    History.open(path, locks=False).close()
    assert asked
    assert all(place.endswith("nolock=1") for place in asked)


def test_a_data_base_of_something_else_is_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE letters (text)")
    connection.close()
    with pytest.raises(RunFolderError, match="is no history of a run"):
        History.open(path)


def test_every_documented_column_is_there(path: Path) -> None:
    History.create(path).close()
    documented = (Path(__file__).parents[3] / "docs" / "history.md").read_text("utf-8")
    connection = sqlite3.connect(path)
    for table in ("trial", "curve", "note", "attempt"):
        for _, name, *_ in connection.execute(f"PRAGMA table_info({table})"):
            assert f"`{name}`" in documented, f"{table}.{name}"
    connection.close()


def test_what_was_told_comes_back_in_the_order_of_the_tells(path: Path) -> None:
    with History.create(path) as history:
        for id in (1, 2, 3):
            ask(history, id)
        history.tell(3, ok(0.3))
        history.tell(1, Evaluation.failed(Outcome.CRASH, "killed"))
    with History.open(path) as history:
        told = list(history.read_tells())
        assert [(i.id, i.outcome, i.fitness, i.memo) for i in told] == [
            (3, "ok", 0.3, (0.1, -2.5)),
            (1, "crash", None, (0.1, -2.5)),
        ]
        assert [pending.id for pending in history.pending()] == [2]
        assert (history.last_id, history.outcomes()) == (3, {"ok": 1, "crash": 1})
        ask(history, 4)  # events go on where they stopped
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT asked, told FROM trial ORDER BY id").fetchall() == [
        *((1, 5), (2, None), (3, 4), (6, None))
    ]
    connection.close()


def test_the_best_are_of_different_networks_and_the_earlier_told_wins_a_tie(path: Path) -> None:
    with History.create(path) as history:
        for id, (key, fitness) in enumerate([("a", 0.5), ("b", 0.7), ("a", 0.9), ("c", 0.7)], start=1):
            ask(history, id, key)
            history.tell(id, ok(fitness))
        top = history.top(5)
    assert [trial.id for trial in top] == [3, 2, 4]
    assert (top[0].parameters, top[0].mult_adds, top[0].cell) == (12, 34, {"id": 3})


def test_a_known_network_is_found_by_its_first_success(path: Path) -> None:
    with History.create(path) as history:
        for id, evaluation in enumerate([Evaluation.failed(Outcome.NAN, "no"), ok(0.4), ok(0.6)], start=1):
            ask(history, id, "same")
            history.tell(id, evaluation)
        ask(history, 4, "pending")
        known = history.find("same")
        assert known is not None
        assert (known.outcome, known.fitness) == (Outcome.OK, 0.4)
        assert history.find("pending") is None
        assert history.find("other") is None


def test_reading_never_blocks_the_writer_and_sees_only_what_is_committed(path: Path) -> None:
    with History.create(path) as writer:
        ask(writer, 1)
        with History.read(path) as reader:
            assert reader.outcomes() == {}
            writer.tell(1, ok(0.5))
            assert reader.outcomes() == {"ok": 1}
            with pytest.raises(RunFolderError, match=r"readonly|read-only"):
                reader.note(1, {"x": 1.0})


def test_notes_are_finite_floats(path: Path) -> None:
    with History.create(path) as history:
        ask(history, 1)
        history.note(1, {"a": np.float32(0.5), "b": float("nan"), "c": 2})  # type: ignore[dict-item]
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name, value, typeof(value) FROM note").fetchall() == [
        ("a", 0.5, "real"),
        ("c", 2.0, "real"),
    ]
    connection.close()


def test_a_trial_is_told_once(path: Path) -> None:
    with History.create(path) as history:
        ask(history, 1)
        history.tell(1, ok(0.5))
        with pytest.raises(AssertionError, match="told twice"):
            history.tell(1, ok(0.6))
        assert history.find("key 1").fitness == 0.5  # type: ignore[union-attr]


def test_nothing_is_created_where_no_history_is(path: Path) -> None:
    for open_ in (History.open, History.read):
        with pytest.raises(RunFolderError, match="holds no run"):
            open_(path)
    assert not path.exists()


# Checksums ---------------------------------------------------------------------------------------------------------


def killed(path: Path, history: History) -> Path:
    """Copy a history that is open as a kill would leave it."""
    copy = path.parent / "killed" / path.name
    copy.parent.mkdir(exist_ok=True)
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
    return copy


def test_what_agrees_with_its_checksums_whatever_was_written(path: Path) -> None:
    with History.create(path) as history:
        ask(history, 1, key=np.str_("a key"))
        curve = (-0.0, 1.0, 1e-300)
        metrics = {"parameters": 1e15, "loss": -0.0}
        history.tell(
            1, Evaluation(Outcome.OK, fitness=-0.0, test_fitness=1, seconds=-0.0, curve=curve, metrics=metrics)
        )
        history.note(1, {np.str_("minus nothing"): -0.0, "much": 1e300})
        ask(history, 2, key="\0 ä \N{SNOWMAN}")
        history.tell(2, Evaluation.failed(Outcome.ERROR, np.str_("\0 ä\n")))
        assert damage(history._db) is None
        with History.read(killed(path, history)) as other:
            assert other.outcomes() == {"ok": 1, "error": 1}


def test_only_a_history_that_was_closed_in_order_is_believed_unread(path: Path) -> None:
    with History.create(path) as history:
        ask(history, 1)
        assert not is_untouched(path)
    assert is_untouched(path)
    with History.open(path):
        assert not is_untouched(path)
    assert is_untouched(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE trial SET seed = 1")
    connection.commit()
    assert not is_untouched(path), "somebody else wrote into the log"
    connection.close()
    assert not is_untouched(path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE trial SET memo = '[1]' WHERE id = 2", "a row of trial 2 in table trial does not agree .* number 1;"),
        ("UPDATE trial SET fitness = 0.7 WHERE id = 3", "a row of trial 3 in table trial does not agree .* number 2;"),
        ("UPDATE trial SET told = NULL WHERE id = 3", "a row of trial 3 in table trial does not agree .* number 2;"),
        ("UPDATE curve SET accuracy = 0.4 WHERE epoch = 2", "a row of trial 1 in table curve .* none of its trials is"),
        ("DELETE FROM curve WHERE epoch = 2", "a row of trial 1 in table trial .* none of its trials is"),
        ("UPDATE note SET value = 0.4", "a row of trial 1 in table note does not agree .* number 3;"),
        ("UPDATE attempt SET outcome = 'crash'", "a row of trial 1 in table attempt does not agree .* number 3;"),
        ("DELETE FROM trial WHERE id = 1", "table curve has a row of trial 1, which was not told; none of its trials"),
        ("PRAGMA user_version = 6", "its schema version reads 6; its trials are good up to number 3;"),
        ("PRAGMA application_id = 3", "its schema version reads 5; its trials are good up to number 3;"),
    ],
)
def test_what_is_not_what_was_written_is_refused_and_not_touched(path: Path, change: str, what: str) -> None:
    with History.create(path) as history:
        for id in (1, 2, 3):
            ask(history, id)
            history.attempt(id)
            history.tell(id, Evaluation(Outcome.OK, 0.5, curve=(0.25, 0.5) if id == 1 else ()))
        history.note(1, {"entropy": 2.0})
        place = killed(path, history)
    connection = sqlite3.connect(place)
    connection.execute(change)
    connection.commit()
    connection.close()
    before = place.read_bytes()
    for open_ in (History.read, History.open):
        with pytest.raises(DamagedHistory, match=rf"is damaged: {what}.*python -m evo_nas repair {place.parent}$"):
            open_(place)
    assert place.read_bytes() == before


def test_attempts_are_numbered_on_where_some_are_gone(path: Path) -> None:
    with History.create(path) as history:
        ask(history, 1)
        for _ in range(3):
            history.attempt(1)
        history._db.execute("DELETE FROM attempt WHERE number = 2")
        history.attempt(1)
        assert [row[0] for row in history._rows("SELECT number FROM attempt")] == [1, 3, 4]


def test_damage_is_told_of_the_file_and_not_of_a_copy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    History.create(path).close()
    path.write_bytes(path.read_bytes()[:5000])
    monkeypatch.setattr(os, "access", lambda *_: False)  # a disk that is read-only
    with pytest.raises(DamagedHistory, match=rf"the history {path} is damaged"):
        History.read(path)


def test_a_header_with_which_sqlite_would_only_read_is_damage(path: Path) -> None:
    History.create(path).close()
    data = path.read_bytes()
    path.write_bytes(data[:18] + b"\x07" + data[19:])
    with pytest.raises(DamagedHistory, match="its header is not what SQLite writes"):
        History.open(path)
