"""What a power cut at any moment leaves: nothing that was told is lost, and everything goes on.

``python -m benchmarks.crash`` looks at many more states of the disk. A mend is known to be needed by this: the same
recording without the syncs that it brought has states in which something is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from benchmarks.crash.cuts import Recording
from benchmarks.crash.disk import Tree, choose_states, read_tree, replay
from benchmarks.crash.recording import CannotRecord, Operation, compile_recorder, record
from benchmarks.crash.subjects import SUBJECTS
from tests.soaked import soak

STATES = 8
"""States of each subject."""

TRAINED = {"train-top": 4, "weights": 4, "train": 5, "caches": 5}
"""Subjects whose states take a second each -> how many there are."""

Make = Callable[[str], Recording]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorder."""
    try:
        return compile_recorder(tmp_path_factory.mktemp("recorder"))
    except CannotRecord as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def recorded(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Record a subject, once however often it is asked for."""
    return cache(lambda name: Recording.make(SUBJECTS[name], library, tmp_path_factory.mktemp(name)))


@pytest.mark.parametrize(
    "subject", [pytest.param(name, marks=[pytest.mark.slow] if name in TRAINED else []) for name in SUBJECTS]
)
def test_nothing_that_was_told_is_lost_and_everything_goes_on(recorded: Make, subject: str) -> None:
    recording = recorded(subject)
    count = TRAINED.get(subject, STATES)
    states = list(recording.states(count, seed=1))
    assert len(states) == count
    assert [(state.after, state.cut, fault) for state in states for fault in recording.faults(state)] == []


def test_a_study_is_not_taken_for_finished_by_a_log_that_the_history_has_not_followed(recorded: Make) -> None:
    recording = recorded("study")
    end = next(i for i, one in enumerate(recording.operations) if b'"event": "end"' in one.data)
    for state in recording.states(60, seed=0, after=range(end + 1, end + 4)):
        assert recording.faults(state) == []


# The judge itself ----------------------------------------------------------------------------------------------------


Forgets = Callable[[Operation, Operation], bool]
"""Whether a program that lacks a mend would do what the recorded one did, having done another thing before."""


def files(before: Operation, now: Operation) -> bool:
    """Forget to sync files."""
    return now.kind == "s" and Path(now.path).suffix != ""


def folders(before: Operation, now: Operation) -> bool:
    """Forget to sync folders."""
    return now.kind == "s" and Path(now.path).suffix == ""


def removals(before: Operation, now: Operation) -> bool:
    """Forget to sync the folder when a journal was removed, as without EXTRA."""
    return now.kind == "s" and before.kind == "u" and before.path.endswith("-journal")


@pytest.mark.parametrize(
    ("subject", "forgets", "said"),
    soak(
        [
            ("run", files, "file is not a database"),
            ("run", folders, "the history is gone"),
            ("run-without-locks", removals, "lost: trials"),
            ("study", files, "its tables are gone"),
            ("train", files, "is damaged|holds no weights"),
            ("train", folders, "was trained again"),
            ("output", files, "is a part"),
            ("output", folders, "is gone"),
            ("fetch", folders, "is another"),
        ],
        {"study", "train", "fetch", "run-without-locks"},
    ),
)
def test_the_judge_notices_what_is_not_synced(recorded: Make, subject: str, forgets: Forgets, said: str) -> None:
    whole = recorded(subject)
    pairs = zip([whole.operations[0], *whole.operations], whole.operations, strict=False)
    recording = replace(whole, operations=[now for before, now in pairs if not forgets(before, now)])
    assert len(recording.operations) < len(whole.operations)
    faults = (fault for state in recording.states(100, seed=0) for fault in recording.faults(state))
    assert any(words in fault for fault in faults for words in said.split("|"))


Steps = Sequence[tuple[str, str, str]]


def outcomes(root: Path, before: dict[str, str], steps: Steps) -> list[Tree]:
    """List what a power cut may leave after steps: kind, name and data; everything is written at the beginning."""
    root.mkdir()
    for name, text in before.items():
        (root / name).write_text(text)
    done = []
    for kind, name, data in steps:
        content = str(root / data).encode() if kind in "rl" else data.encode()
        done.append(Operation(kind, sum(name.encode()), 0, str(root / name if name else root), content))
    return [state.tree for state in choose_states(root, done, 1000, 0, root, range(len(done), len(done) + 1))]


NEW: Steps = (("c", "b", ""), ("w", "b", "new"))


@pytest.mark.parametrize(
    ("before", "steps", "possible"),
    [
        pytest.param({}, NEW, [{}, {"b": b""}, {"b": b"\0\0\0"}, {"b": b"new"}], id="nothing synced"),
        pytest.param({}, (*NEW, ("s", "b", "")), [{}, {"b": b"new"}], id="file synced"),
        pytest.param({}, (*NEW, ("s", "", "")), [{"b": b""}, {"b": b"\0\0\0"}, {"b": b"new"}], id="name synced"),
        pytest.param({}, (*NEW, ("s", "b", ""), ("s", "", "")), [{"b": b"new"}], id="both synced"),
        pytest.param({}, (*NEW, ("S", "", "")), [{"b": b"new"}], id="all synced"),
        pytest.param(
            {"a": "old"},
            (*NEW, ("s", "b", ""), ("s", "", ""), ("r", "b", "a")),
            [{"a": b"old", "b": b"new"}, {"a": b"new"}],
            id="renamed",
        ),
        pytest.param(
            {"a": "1", "b": "2"},
            (("r", "a", "c"), ("u", "b", "")),
            [{"a": b"1", "b": b"2"}, {"a": b"1"}, {"c": b"1"}, {"b": b"2", "c": b"1"}],
            id="names in any order",
        ),
        pytest.param({"a": "old"}, (("t", "a", ""),), [{"a": b"old"}, {"a": b""}], id="emptied"),
        pytest.param(
            {}, (("m", "a", ""), ("c", "a/b", ""), ("s", "a", "")), [{}, {"a": None, "a/b": b""}], id="folder"
        ),
    ],
)
def test_a_disk_keeps_what_was_synced_and_anything_of_the_rest(
    tmp_path: Path, before: dict[str, str], steps: Steps, possible: list[Tree]
) -> None:
    found = outcomes(tmp_path / "root", before, steps)
    assert all(tree in possible for tree in found)
    assert all(tree in found for tree in possible)


def test_a_write_is_torn_at_blocks_of_the_disk(tmp_path: Path) -> None:
    found = outcomes(tmp_path / "root", {"a": "-" * 10_000}, [("w", "a", "x" * 10_000)])
    torn = [content for tree in found if len(set(content := tree["a"] or b"")) == 2]
    assert len(torn) >= 3
    for content in torn:
        assert all(len(set(content[at : at + 512])) == 1 for at in range(0, 10_000, 512))


# The recorder --------------------------------------------------------------------------------------------------------

PROGRAM = """
import os, shutil, sqlite3, sys
from pathlib import Path
import numpy as np

os.chdir(sys.argv[1])
Path("new").write_text("text")
with open("new", "a") as file:
    file.write(", and more")
with open("old", "r+b") as file:
    file.seek(2)
    file.write(b"xyz")
    file.truncate(4)
    os.posix_fallocate(file.fileno(), 0, 9)
    os.pwritev(file.fileno(), [b"1", b"23"], 1)
os.truncate("short", 1)
Path("emptied").write_bytes(b"")
np.save("array.npy", np.arange(5000))
shutil.copy("array.npy", "copy.npy")
os.makedirs("a/b")
os.rename("new", "a/b/new")
folder = os.open("a", os.O_RDONLY)
os.link("short", "other", dst_dir_fd=folder)
os.symlink("nowhere", "link", dir_fd=folder)
os.close(os.open("made", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
Path("gone").unlink()
shutil.copytree("a", "c", symlinks=True)
shutil.rmtree("c")
for journal in ("WAL", "DELETE"):
    base = sqlite3.connect(journal)
    base.execute(f"PRAGMA journal_mode = {journal}")
    for number in range(3):
        base.executescript(f"BEGIN; CREATE TABLE t{number} (x); INSERT INTO t{number} VALUES ('{'x' * 9000}'); COMMIT;")
    base.close()
"""


def test_the_recorder_sees_whatever_changes_files(library: Path, tmp_path: Path) -> None:
    before, root = tmp_path / "before", tmp_path / "root"
    for folder in (before, root):
        folder.mkdir()
        for name in ("old", "short", "emptied", "gone"):
            (folder / name).write_text(f"what {name} held")
    operations = record(library, root, ["-c", PROGRAM, str(root)], tmp_path / "log")
    assert replay(before, operations, root) == read_tree(root)
    assert {one.kind for one in operations} == set("cwtsrlymu")


def test_a_program_that_fails_is_no_recording(library: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotRecord, match="ended with 3: no"):
        record(library, tmp_path, ["-c", "import sys; print('no', file=sys.stderr); sys.exit(3)"], tmp_path / "log")
