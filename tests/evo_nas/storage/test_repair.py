"""Repairing a run: what is saved, what is kept, and that a kill in the middle of it loses nothing.

``test_damage.py`` repairs many runs that are damaged at random.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evo_nas.cli import main
from evo_nas.commands.show import summarise
from evo_nas.errors import DamagedHistory, RunFolderError
from evo_nas.run.parts import build, read_stored_config
from evo_nas.run.search import resume
from evo_nas.storage import repair as module
from evo_nas.storage.history import History
from evo_nas.storage.repair import Repair, repair
from evo_nas.storage.run_folder import RunFolder
from evo_nas.storage.salvage import salvage
from genotypes.catalogue import build_space
from genotypes.individual import Evaluation, Outcome, Proposal
from tests.stepwise import is_done_before

SPACE = build_space("nasnet(blocks=1)")
TRIALS = 60


def live(path: Path) -> History:
    """Write a history of every kind of row and leave it open; half of it stands in the write-ahead log alone."""
    history = History.create(path, durable=False)
    rng = np.random.default_rng(1)
    for id in range(1, TRIALS + 1):
        genotype = SPACE.sample(rng)
        proposal = Proposal(genotype, memo=(0.5, -0.0, 1e-9))
        history.ask(id, proposal, SPACE.key(genotype), {"cell": "x" * id * 20}, 3, (0.25,), attempt=id % 5 != 0)
        if id == 7 or id > TRIALS - 2:
            continue
        if id % 5 == 0:
            history.tell(id, Evaluation(Outcome.REUSED, 0.5, seconds=None))
        elif id % 7 == 0:
            history.tell(id, Evaluation.failed(Outcome.ERROR, "Fehler: ä\n\0", seconds=1.5, curve=(0.5,)))
        else:
            curve = tuple(rng.random(20).tolist())
            history.tell(id, Evaluation(Outcome.OK, curve[-1], test_fitness=0.0, seconds=2.0, curve=(-0.0, *curve)))
        history.note(id, {"entropy": rng.standard_normal(), "nothing": -0.0})
        if id == TRIALS // 2:
            history._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return history


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A run folder as a kill leaves it: a history and its log."""
    run = tmp_path / "killed"
    run.mkdir()
    (run / "log.jsonl").touch()
    with live(tmp_path / "history.db"):
        for name in ("history.db", "history.db-wal"):
            shutil.copyfile(tmp_path / name, run / name)
    return run


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A run folder with a history that was closed in order."""
    run = tmp_path / "closed"
    run.mkdir()
    live(run / "history.db").close()
    return run


def rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    found = {
        name: sorted(connection.execute(f"SELECT * FROM {name}")) for name in ("trial", "curve", "note", "attempt")
    }
    connection.close()
    return found


def overwrite(path: Path, what: bytes, by: bytes) -> None:
    """Replace something that stands in a file once."""
    data = path.read_bytes()
    assert data.count(what) == 1
    assert len(what) == len(by)
    path.write_bytes(data.replace(what, by))


def break_trial(path: Path, id: int) -> None:
    """Damage the ask of a trial, by its cell."""
    cell = b'{"cell":"' + b"x" * id * 20
    overwrite(path, cell + b'"}', cell + b'")')


def break_in_sql(path: Path, *statements: str) -> None:
    """Change rows without their checksums."""
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_sound_history_is_left_alone(closed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file.name: file.read_bytes() for file in closed.iterdir()}
    assert main(["repair", str(closed)]) == 0
    assert capsys.readouterr().out == f"the history of {closed} is sound: {TRIALS} trials; nothing was changed\n"
    after = {file.name: file.read_bytes() for file in closed.iterdir()}
    assert before.items() <= after.items()
    assert after.keys() - before.keys() <= {"run.lock", "history.db-wal", "history.db-shm"}, "as any look leaves behind"
    assert main(["repair", str(closed), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sound"] is True


def test_a_checksum_of_the_file_that_agrees_is_no_reason_not_to_look(closed: Path) -> None:
    break_in_sql(closed / "history.db", "UPDATE trial SET fitness = 0.99 WHERE id = 3")
    from evo_nas.storage.checksums import file_sum, sum_file

    sum_file(closed / "history.db").write_text(file_sum(closed / "history.db"))
    assert repair(closed).again == (3,)


def test_what_can_be_read_is_what_was_written(closed: Path, killed: Path) -> None:
    from evo_nas.storage.schema import ASK, TELL

    for run in (killed, closed):
        found = salvage(run / "history.db")
        with sqlite3.connect(run / "history.db") as connection:
            asks = {row[0]: row for row in connection.execute(f"SELECT {', '.join(ASK)} FROM trial")}
            tells = {
                row[0]: row for row in connection.execute(f"SELECT {', '.join(TELL)} FROM trial WHERE told IS NOT NULL")
            }
        connection.close()
        assert {id: trial.ask for id, trial in found.trials.items()} == asks
        assert {id: trial.tell for id, trial in found.trials.items() if trial.tell} == tells
        table = rows(run / "history.db")
        assert [(*key, value) for key, value in found.notes.items()] == [row[:3] for row in table["note"]]
        assert [(*key, *row) for key, row in found.attempts.items()] == [row[:5] for row in table["attempt"]]
        curves = [(id, *p) for id, trial in found.trials.items() for p in enumerate(trial.curve, start=1)]
        assert curves == [row[:3] for row in table["curve"]]
        assert not found.lost


def test_a_trial_without_its_ask_is_lost_and_one_without_its_tell_is_pending_again(
    closed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = closed / "history.db"
    before = rows(history)
    break_trial(history, 12)
    break_in_sql(
        history,
        "UPDATE trial SET fitness = fitness / 2 WHERE id = 3",
        "UPDATE curve SET accuracy = 0.123 WHERE trial = 17 AND epoch = 4",
        "DELETE FROM curve WHERE trial = 22 AND epoch = 21",  # the last one, which no gap gives away
        "UPDATE trial SET told = NULL WHERE id = 23",
        "UPDATE note SET value = 7 WHERE trial = 31 AND name = 'entropy'",
        "DELETE FROM attempt WHERE trial = 32",
    )
    broken = history.read_bytes()
    with pytest.raises(DamagedHistory, match="its trials are good up to number 2"):
        History.read(history)
    assert main(["repair", str(closed)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"saved {TRIALS - 5} of {TRIALS} trials; pending again: 4 (ids 3, 17, 22-23); lost: 1 (id 12)",
        f"the damaged history is kept: {closed / 'history.damaged-1.db'}",
        f"resume with: python -m evo_nas resume {closed}",
    ]
    assert (closed / "history.damaged-1.db").read_bytes() == broken
    assert (closed / "history.damaged-1.sum").exists()
    after = rows(history)
    again = {3, 17, 22, 23}
    assert [row for row in after["trial"] if row[0] not in again] == [
        row for row in before["trial"] if row[0] not in {12, *again}
    ]
    for kind, gone in (("curve", {12, *again}), ("attempt", {12, 32})):
        assert after[kind] == [row for row in before[kind] if row[0] not in gone]
    assert after["note"] == [row for row in before["note"] if row[0] not in {12, *again} and row[:2] != (31, "entropy")]
    with History.open(history) as repaired:
        assert [pending.id for pending in repaired.pending()] == [3, 7, 17, 22, 23, TRIALS - 1, TRIALS]
        assert repaired._event == 2 * TRIALS - 3, "events keep their positions"
        repaired.attempt(3)
        repaired.attempt(32)
    assert main(["repair", str(closed)]) == 0
    assert "is sound" in capsys.readouterr().out


def test_the_names_of_kept_histories_are_never_taken_twice(closed: Path) -> None:
    (closed / "history.damaged-1.db-wal").write_text("of an earlier one")
    (closed / "history.damaged-2.db").symlink_to("nowhere")
    for number in (3, 4):
        break_in_sql(closed / "history.db", f"UPDATE trial SET fitness = 0.9 WHERE id = {number}")
        assert repair(closed).kept == closed / f"history.damaged-{number}.db"
    assert (closed / "history.damaged-1.db-wal").read_text() == "of an earlier one"


def test_a_live_run_is_not_repaired(closed: Path) -> None:
    with RunFolder.open(closed), pytest.raises(RunFolderError, match="is in use by process"):
        repair(closed)


@pytest.mark.parametrize("content", [b"", b"no history, and never was one" * 1000])
def test_where_nothing_can_be_read_nothing_is_changed(
    closed: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (closed / "history.db").write_bytes(content)
    assert main(["repair", str(closed)]) == 3
    said = capsys.readouterr().err
    assert said.startswith(f"evo_nas: no trial of {closed / 'history.db'} can be read, so there is nothing to save")
    assert said.count("\n") == 1
    assert (closed / "history.db").read_bytes() == content
    assert not list(closed.glob("*damaged*"))


def test_a_folder_without_a_history_is_not_repaired(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no run"):
        repair(tmp_path)


def test_what_stands_in_the_log_alone_is_saved(killed: Path) -> None:
    before = rows(killed / "history.db")
    break_trial(killed / "history.db", 12)  # which the log does not touch
    log = (killed / "history.db-wal").read_bytes()
    result = repair(killed)
    assert (result.lost, result.again, result.saved) == ((12,), (), TRIALS - 1)
    assert (killed / "history.damaged-1.db-wal").read_bytes() == log
    assert rows(killed / "history.db")["trial"] == [row for row in before["trial"] if row[0] != 12]


def test_a_page_that_is_damaged_in_the_log_costs_what_it_added_to_the_file(killed: Path) -> None:
    log = killed / "history.db-wal"
    data = log.read_bytes()
    sound = salvage(killed / "history.db").trials
    step = 4096 + 24
    frames = [data[at : at + step] for at in range(32, len(data), step)]
    last = max(place for place, frame in enumerate(frames) if frame[24] == 0x0D)  # of the table of trials
    log.write_bytes(data[:32] + b"".join([*frames[:last], frames[last][:24] + bytes(4096), *frames[last + 1 :]]))
    found = salvage(killed / "history.db").trials
    assert len(found) >= TRIALS - 3
    assert all(trial.ask == sound[id].ask for id, trial in found.items())
    assert all(trial.tell == sound[id].tell for id, trial in found.items() if trial.tell)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of later Pythons, that other threads are not forked
def test_a_repair_that_is_killed_at_any_step_loses_nothing(
    killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_trial(killed / "history.db", 12)
    old = {name: (killed / name).read_bytes() for name in ("history.db", "history.db-wal")}
    expected_run = shutil.copytree(killed, tmp_path / "expected")
    expected = repair(expected_run)
    good = rows(expected_run / "history.db")
    functions = [(module, name) for name in ("sync", "_write", "damage")]
    moments = set()
    for steps in range(50):
        run = tmp_path / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(killed, run)
        if steps % 2:  # a history can stand alone
            (run / "run.toml").touch()
        done = is_done_before(steps, partial(repair, run), monkeypatch, functions)
        places = {name: (run / name).exists() for name in ("history.db", "history.damaged-1.db")}
        moments.add(tuple(places.values()))
        if not done:
            # Whatever looks at it in between gets the truth or a refusal, and breaks nothing.
            if all(places.values()):
                assert sum(summarise(run, 1).outcomes.values()) == TRIALS - 4
            else:
                refusal = "is damaged" if places["history.db"] else "a repair of .* was cut short|holds no run"
                with pytest.raises(RunFolderError, match=refusal):
                    summarise(run, 1)
            again = repair(run)
            assert again.kept is None or (again.saved, again.lost) == (expected.saved, expected.lost)
        assert rows(run / "history.db") == good
        assert (run / "history.damaged-1.db").read_bytes() == old["history.db"]
        assert (run / "history.damaged-1.db-wal").read_bytes() == old["history.db-wal"]
        assert not list(run.glob("history.db.partial*"))
        if done:
            break
    assert done
    assert steps > 10
    assert moments == {(True, False), (False, True), (True, True)}


def test_a_disk_that_is_full_leaves_the_old_history_where_it_was(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_trial(killed / "history.db", 12)
    before = {file.name: file.read_bytes() for file in killed.iterdir() if file.name.startswith("history.db")}

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "history.db")

    monkeypatch.setattr(module, "sync", full)
    with pytest.raises(RunFolderError, match="No space left"):
        repair(killed)
    monkeypatch.undo()
    assert {name: (killed / name).read_bytes() for name in before} == before
    assert not list(killed.glob("*damaged*"))


def test_a_repaired_run_goes_on_as_the_same_search(toy_run: Any) -> None:
    run = toy_run(trials=30).path
    before = {row[0]: row for row in rows(run / "history.db")["trial"]}
    break_in_sql(run / "history.db", "UPDATE trial SET fitness = 1.0 WHERE id IN (3, 4, 30)")
    assert repair(run) == Repair(run, 27, (3, 4, 30), (), run / "history.damaged-1.db")
    config = read_stored_config(run)
    with RunFolder.open(run) as folder:
        resume(config, folder, build(config))
    after = {row[0]: row for row in rows(run / "history.db")["trial"]}
    columns = ("genotype", "seed", "outcome", "fitness", "test")
    with sqlite3.connect(run / "history.db") as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(trial)")]
        attempts = connection.execute("SELECT number, outcome FROM attempt WHERE trial = 30").fetchall()
    connection.close()
    wanted = [names.index(name) for name in columns]
    assert {id: [row[i] for i in wanted] for id, row in after.items()} == {
        id: [row[i] for i in wanted] for id, row in before.items()
    }
    assert attempts == [(1, "ok"), (2, "ok")]
    events = [json.loads(line)["event"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert events == ["start", "end", "repair", "repaired", "start", "end"]
