"""A search that trains in its own process, and what becomes of a network that takes that process down.

Crashes in native code are blamed on the training that was under way, twice at most; whatever else ends a process says
nothing against the network. The processes here really die.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from benchmarks.kills import ROOT, Life, Record, Search, at_training, recorded, trainings, trainings_file
from evo_nas.commands.status import status_of
from evo_nas.storage.crashes import Crash, CrashFile

pytestmark = pytest.mark.slow

SERIAL = Search("random", trials=6, seconds=0.0, space="bits(length=6)", hardware=("--executor", "serial"))
POISON = "bits(length=2):1.0"
BLAMED = (
    'trial 3, attempt 1\nFatal Python error: Aborted\n\nCurrent thread 0x01 (most recent call first):\n  File "x"\n'
)
"""What lies in the run folder of a search that died of its third trial."""
MINE = "not to be written to\n"


def lived(search: Search, folder: Path, *, failpoint: str | None = None) -> int:
    """Begin a run or resume it, and return the exit code with which it ends or dies."""
    code = Life(search, folder, failpoint=failpoint).wait()
    assert code is not None, "it hangs"
    return code


def record_of(folder: Path) -> Record:
    record = recorded(folder)
    assert record is not None
    assert record.damage is None
    return record


def attempts(folder: Path, id: int = 3) -> list[str | None]:
    return [row["outcome"] for row in record_of(folder).attempt if row["trial"] == id]


@pytest.mark.parametrize(
    ("deed", "number", "reason"),
    [
        ("abort", signal.SIGABRT, "Aborted"),
        ("segfault", signal.SIGSEGV, "Segmentation fault"),
        ("sigbus", signal.SIGBUS, "Bus error"),
    ],
)
def test_a_network_that_takes_the_search_down_twice_is_left_alone(
    tmp_path: Path, deed: str, number: signal.Signals, reason: str
) -> None:
    run = tmp_path / "run"
    search = replace(SERIAL, space="bits(length=2)", trials=4, deeds=f"{POISON}:{deed}")
    assert [lived(search, run) for _ in range(3)] == [-number, -number, 0]
    record = record_of(run)
    first, *later = (row for row in record.trial if row["genotype"] == POISON)
    assert Counter(line["genotype"] for line in trainings(run))[POISON] == 2
    assert attempts(run, first["id"]) == ["crash", "crash"]
    assert first["outcome"] == "crash"
    assert 0.0 <= first["seconds"] < 60.0
    last_line = first["error"].splitlines()[-1]
    assert last_line.startswith(f'the process of the search died: {reason} (File "')
    assert "kills.py" in first["error"]
    assert later, "the seed was chosen so that it is proposed again"
    assert {(row["outcome"], row["seconds"]) for row in later} == {("crash", None)}
    assert {row["outcome"] for row in record.trial if row["genotype"] != POISON} <= {"ok", "reused"}
    assert record.trained == search.trials
    assert not (run / "crash.txt").exists()
    assert [one["genotype"] for one in status_of(run).to_json()["quarantined"]] == [POISON]
    assert (run / "log.jsonl").read_text().count('"event": "crash", "trial": ') == 2


def test_a_network_is_told_as_it_is_said_of_those_that_take_workers_down(tmp_path: Path) -> None:
    serial, slots = tmp_path / "serial", tmp_path / "slots"
    search = replace(SERIAL, deeds="3:abort")
    for _ in range(3):
        code = lived(search, serial)
    assert code == 0
    assert lived(replace(search, hardware=("--executor", "slots")), slots) == 0
    for table in ("trial", "attempt"):
        rows = [
            [{k: v for k, v in row.items() if not k.endswith(("sum", "_at", "seconds", "error"))} for row in rows]
            for rows in (getattr(record_of(run), table) for run in (serial, slots))
        ]
        assert rows[0] == rows[1]
    assert (
        "trial 3 failed (crash): the process of the search died: Aborted" in serial.with_name("serial.err").read_text()
    )


def test_a_crash_counts_together_with_that_of_a_worker(tmp_path: Path) -> None:
    run = tmp_path / "run"
    search = replace(SERIAL, deeds="3:abort")
    assert lived(search, run) == -signal.SIGABRT
    assert lived(replace(search, hardware=("--executor", "slots")), run) == 0
    assert attempts(run) == ["crash", "crash"]
    assert "worker process died" in record_of(run).trial[2]["error"]
    assert not (run / "crash.txt").exists()


def test_a_kill_says_nothing_against_a_network_also_after_a_crash(tmp_path: Path) -> None:
    run = tmp_path / "run"
    search = replace(SERIAL, deeds="2:die-once,3:abort-once,3:die")
    codes = [lived(search, run) for _ in range(5)]
    assert codes == [-signal.SIGKILL, -signal.SIGABRT, *[-signal.SIGKILL] * 3]
    assert attempts(run, 2) == [None, "ok"]
    assert attempts(run) == ["crash", None, None, None]
    assert record_of(run).trial[2]["outcome"] is None


@pytest.mark.parametrize(
    ("failpoint", "found"),
    [
        ("restored", ["crash", "ok"]),
        ("crashed", ["crash", "ok"]),
        ("retrying", ["crash", None, "ok"]),  # what is left of the first attempt says nothing of the second
    ],
)
def test_a_crash_is_counted_once_whenever_the_search_is_killed_that_counts_it(
    tmp_path: Path, failpoint: str, found: list[str | None]
) -> None:
    run = tmp_path / "run"
    search = replace(SERIAL, deeds="3:abort-once")
    assert lived(search, run) == -signal.SIGABRT
    assert lived(search, run, failpoint=failpoint) == -signal.SIGKILL
    assert lived(search, run) == 0
    assert attempts(run) == found
    assert [row["outcome"] for row in record_of(run).trial] == ["ok"] * 6


def test_a_second_crash_is_told_although_the_search_is_killed_that_tells_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    search = replace(SERIAL, deeds="3:abort")
    assert [lived(search, run) for _ in range(2)] == [-signal.SIGABRT] * 2
    assert lived(search, run, failpoint="telling") == -signal.SIGKILL
    assert attempts(run) == ["crash", None]
    assert lived(search, run) == 0
    assert attempts(run) == ["crash", "crash"]


def test_a_search_that_ends_before_it_takes_a_crash_up_leaves_it_to_the_next(tmp_path: Path) -> None:
    run = tmp_path / "run"
    search = replace(SERIAL, deeds="3:abort-once")
    assert lived(search, run) == -signal.SIGABRT
    assert lived(replace(search, hardware=("--time-limit", "0.000001")), run) == 75
    assert attempts(run) == [None]
    assert lived(replace(search, hardware=("--time-limit", "none")), run) == 0
    assert attempts(run) == ["crash", "ok"]


# What no training is to blame for ------------------------------------------------------------------------------------


def scripted(folder: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a Python script that can call ``search(deeds)``, which trains in the script's own process."""
    begin = """
        import faulthandler, os, resource, sys, threading
        import evo_nas, evo_nas.storage.crashes, evo_nas.manager
        from benchmarks.kills import EVALUATOR, Witnessed
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        def search(deeds="", **flags):
            options = [f"evaluator.deeds={deeds}", "evaluator.seconds=0.0"]
            flags = dict(strategy="random", space="bits(length=6)", evaluator=EVALUATOR, trials=6) | flags
            return evo_nas.search(run_dir="run", executor="serial", settings=options, **flags)
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONFAULTHANDLER"}
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-c", dedent(begin) + dedent(script)]
    return subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True)


def test_a_crash_while_nothing_is_trained_is_that_of_no_network(tmp_path: Path) -> None:
    between = """
        def crash(point, count=iter(range(100))):
            if point == "evaluated" and next(count) == 2:
                os.abort()  # the result of trial 3 is in hand and not recorded
        evo_nas.manager.reach = crash
        search()
    """
    assert scripted(tmp_path, between).returncode == -signal.SIGABRT
    assert lived(SERIAL, tmp_path / "run") == 0
    assert attempts(tmp_path / "run") == [None, "ok"]


def test_a_search_with_workers_that_crashes_itself_blames_none_of_their_trainings(tmp_path: Path) -> None:
    run = tmp_path / "run"
    search = replace(SERIAL, workers=2, hardware=("--executor", "slots"), deeds="3:sleep-once")
    life = Life(search, run)
    assert at_training(3, 0.0)(life) is None
    life.process.send_signal(signal.SIGABRT)
    assert life.wait() == -signal.SIGABRT
    assert not (run / "crash.txt").exists()
    assert lived(search, run) == 0
    assert attempts(run) == [None, "ok"]


def test_the_crash_of_a_process_that_a_training_has_forked_is_not_that_of_the_search(tmp_path: Path) -> None:
    run = tmp_path / "run"
    search = replace(SERIAL, deeds="3:lose-a-child-once,3:die-once")
    assert lived(search, run) == -signal.SIGKILL
    assert "Fatal" not in (run / "crash.txt").read_text()
    assert lived(search, run) == 0
    assert attempts(run) == [None, "ok"]


# faulthandler, which others use too ----------------------------------------------------------------------------------


def test_a_faulthandler_that_is_off_is_off_again_after_the_search(tmp_path: Path) -> None:
    script = """
        states = []
        evaluate = Witnessed.evaluate
        Witnessed.evaluate = lambda *job: states.append(faulthandler.is_enabled()) or evaluate(*job)
        class Hears(evo_nas.manager.Listener):
            def told(self, *_):
                states.append(faulthandler.is_enabled())
        search(listeners=[Hears()])
        print(states, faulthandler.is_enabled())
    """
    assert scripted(tmp_path, script).stdout == f"{[True, False] * 6} False\n"


@pytest.mark.parametrize("deeds", ["3:abort", ""])
@pytest.mark.parametrize("how", ["file", "variable"])
def test_a_file_of_somebody_else_gets_crashes_outside_of_trainings_only(tmp_path: Path, how: str, deeds: str) -> None:
    enable = "faulthandler.enable(open('mine', 'w'))" if how == "file" else ""
    script = f"{enable}\nsearch({deeds!r})\nos.abort()"
    ended = scripted(tmp_path, script, **({} if how == "file" else {"PYTHONFAULTHANDLER": "1"}))
    assert ended.returncode == -signal.SIGABRT
    said = (tmp_path / "mine").read_text() if how == "file" else ended.stderr
    assert ("Fatal Python error: Aborted" in said) == (not deeds)
    assert (tmp_path / "run/crash.txt").exists() == bool(deeds)


def test_a_faulthandler_that_writes_nobody_knows_where_is_left_alone(tmp_path: Path) -> None:
    script = "faulthandler.enable(os.open('mine', os.O_WRONLY | os.O_CREAT))\nsearch('3:abort-once')"
    assert scripted(tmp_path, script).returncode == -signal.SIGABRT
    assert (tmp_path / "mine").read_text().startswith("Fatal Python error: Aborted")
    assert not (tmp_path / "run/crash.txt").exists()
    assert lived(replace(SERIAL, deeds="3:abort-once"), tmp_path / "run") == 0
    assert attempts(tmp_path / "run") == [None, "ok"]


def test_who_takes_faulthandler_over_in_a_training_keeps_it(tmp_path: Path) -> None:
    script = """
        mine, evaluate = open("mine", "w"), Witnessed.evaluate
        Witnessed.evaluate = lambda *job: faulthandler.enable(mine) or evaluate(*job)
        search(trials=1)
        os.abort()
    """
    assert scripted(tmp_path, script).returncode == -signal.SIGABRT
    assert (tmp_path / "mine").read_text().startswith("Fatal Python error: Aborted")


def test_a_file_that_is_closed_in_the_meantime_is_not_written_to_again(tmp_path: Path) -> None:
    script = """
        mine, evaluate = open("mine", "w"), Witnessed.evaluate
        faulthandler.enable(mine)
        Witnessed.evaluate = lambda *job: mine.close() or evaluate(*job)
        search(trials=2)
        print(faulthandler.is_enabled())
    """
    assert scripted(tmp_path, script).stdout == "False\n"


def test_a_search_in_another_thread_leaves_faulthandler_alone(tmp_path: Path) -> None:
    script = """
        states, evaluate = [], Witnessed.evaluate
        Witnessed.evaluate = lambda *job: states.append(faulthandler.is_enabled()) or evaluate(*job)
        thread = threading.Thread(target=search, kwargs={"trials": 1})
        thread.start()
        thread.join()
        print(states)
    """
    assert scripted(tmp_path, script).stdout == "[False]\n"


# The file is data, and may be anything -------------------------------------------------------------------------------


@pytest.mark.parametrize("opens", ["'/nowhere/at/all', flags", "'/dev/full', os.O_WRONLY"])
def test_a_disk_that_takes_no_crash_file_ends_no_search(tmp_path: Path, opens: str) -> None:
    script = f"""
        class Full:
            def __getattr__(self, name):
                return getattr(os, name)
            def open(self, path, flags, mode=0):
                return os.open({opens}) if flags & os.O_CREAT else os.open(path, flags)
        evo_nas.storage.crashes.os = Full()
        evaluate = Witnessed.evaluate
        Witnessed.evaluate = lambda *job: print(faulthandler.is_enabled()) or evaluate(*job)
        search()
    """
    ended = scripted(tmp_path, script)
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "False\n" * 6)
    assert [row["outcome"] for row in record_of(tmp_path / "run").trial] == ["ok"] * 6


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six trials that was killed in its third one."""
    run = tmp_path_factory.mktemp("killed") / "run"
    assert lived(replace(SERIAL, deeds="3:die-once"), run) == -signal.SIGKILL
    return run


def gone_on_with(killed: Path, place: Path, plant: Callable[[Path], object]) -> list[str | None]:
    """Put something in the place of the crash file, resume the run, and list the attempts of its third trial."""
    run = place / "run"
    shutil.copytree(killed, run)
    shutil.copy(trainings_file(killed), trainings_file(run))
    (run / "crash.txt").unlink()
    plant(run / "crash.txt")
    assert lived(replace(SERIAL, deeds="3:die-once"), run) == 0
    assert [row["outcome"] for row in record_of(run).trial] == ["ok"] * 6
    return attempts(run)


PLANTED: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "an empty file": lambda path: path.touch(),
    "of another trial": lambda path: path.write_text(BLAMED.replace("trial 3", "trial 2")),
    "of no trial": lambda path: path.write_text(BLAMED.replace("trial 3", "trial 999999999999999999")),
    "of a trial beyond numbers": lambda path: path.write_text(BLAMED.replace("trial 3", f"trial 3{'0' * 30}")),
    "of another attempt": lambda path: path.write_text(BLAMED.replace("attempt 1", "attempt 2")),
    "of no crash": lambda path: path.write_text(BLAMED.splitlines()[0] + "\n"),
    "cut short": lambda path: path.write_text(BLAMED[:40]),
    "garbage": lambda path: path.write_bytes(os.urandom(4096)),
    "no header": lambda path: path.write_text(BLAMED.partition("\n")[2]),
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_not_the_record_of_this_crash_blames_nobody(tmp_path: Path, killed: Path, what: str) -> None:
    assert gone_on_with(killed, tmp_path, PLANTED[what]) == [None, "ok"]


def test_the_record_of_this_crash_counts(tmp_path: Path, killed: Path) -> None:
    assert gone_on_with(killed, tmp_path, lambda path: path.write_text(BLAMED)) == ["crash", "ok"]


def test_a_file_that_has_another_name_elsewhere_is_not_written_to(tmp_path: Path, killed: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text(BLAMED)
    assert gone_on_with(killed, tmp_path, lambda path: path.hardlink_to(mine)) == ["crash", "ok"]
    assert mine.read_text() == BLAMED


def test_a_file_that_cannot_be_removed_is_not_written_to(tmp_path: Path, killed: Path) -> None:
    shutil.copytree(killed, tmp_path / "run")
    shutil.copy(trainings_file(killed), trainings_file(tmp_path / "run"))
    (tmp_path / "run/crash.txt").write_text(MINE)
    script = """
        from evo_nas.cli import main
        evo_nas.storage.crashes.CrashFile.remove = lambda self: None  # as in a folder in which only owners may remove
        sys.exit(main(["resume", "run", "--evaluator", EVALUATOR]))
    """
    assert scripted(tmp_path, script).returncode == 0
    assert (tmp_path / "run/crash.txt").read_text() == MINE


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BLAMED, 'File "x"\nthe process of the search died: Aborted (File "x")'),
        (BLAMED.replace("Current thread", "Thread"), "the process of the search died: Aborted"),
        (
            BLAMED.replace('File "x"', "<no Python frame>"),
            "<no Python frame>\nthe process of the search died: Aborted",
        ),
        (BLAMED.rstrip("\n"), 'File "x"\nthe process of the search died: Aborted (File "x")'),
    ],
)
def test_the_reason_says_where_if_it_is_known(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "crash.txt"
    path.write_text(text)
    os.utime(path, (1000.0, 1000.0))
    assert CrashFile(path).read() == Crash(3, 1, 1000.0, words)


def test_the_reason_is_short_and_printable_whatever_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "crash.txt"
    path.write_bytes(BLAMED.encode() + b"  File \x1b[31m\xff\x00" + b"x" * 500 + b"\n" + b"  File\n" * 1_000_000)
    found = CrashFile(path).read()
    assert found is not None
    lines = found.words.splitlines()
    assert len(lines) == 11
    assert all(line.isprintable() and len(line) <= 400 for line in lines)
