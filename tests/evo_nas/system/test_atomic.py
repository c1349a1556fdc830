"""Files are written whole or not at all, and never in the place of what is no file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from evo_nas.system.atomic import make_folder, replace_whole, require_writable, write_whole


def test_what_goes_wrong_leaves_the_file_as_it_was_and_is_said_of_its_name(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_whole(file, "old")

    def write_half() -> None:
        with replace_whole(file) as partial:
            partial.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as of a write, which names no file

    with pytest.raises(OSError, match="No space left") as caught:
        write_half()
    assert caught.value.filename == str(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced, each with the names that lie in it by then."""
    found: list[str] = []
    sync = os.fsync

    def note(number: int) -> None:
        place = Path(f"/proc/self/fd/{number}").readlink()
        names = [f": {' '.join(sorted(file.name for file in place.iterdir()))}"] if place.is_dir() else []
        found.append("".join([place.name, *names]))
        sync(number)

    monkeypatch.setattr(os, "fsync", note)
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are named in /proc")
def test_new_names_are_on_the_disk_before_what_comes_next(tmp_path: Path, synced: list[str]) -> None:
    make_folder(tmp_path / "a" / "b")
    assert sorted(synced) == ["a: b", f"{tmp_path.name}: a"]
    synced.clear()
    make_folder(tmp_path / "a")
    assert not synced
    write_whole(tmp_path / "a" / "file", "text")
    assert synced == ["file.partial", "a: b file"]


def test_devices_pipes_and_folders_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place, said in ((tmp_path / "pipe", "a device or a pipe"), (Path("/dev/null"), "a device or a pipe")):
        with pytest.raises(OSError, match=said) as caught:
            write_whole(place, "text")
        assert caught.value.filename == str(place)
        assert not place.is_file()
    with pytest.raises(IsADirectoryError) as caught:
        write_whole(tmp_path, "text")
    assert caught.value.filename == str(tmp_path)


def test_nothing_is_made_among_the_devices_but_below_them_there_may_be_a_disk() -> None:
    name = f"evo_nas-test-{os.getpid()}"
    try:
        with pytest.raises(OSError, match="a device or a pipe"):
            write_whole(Path("/dev") / name, "text")
        if Path("/dev/shm").is_dir():
            write_whole(Path("/dev/shm") / name, "text")
            assert (Path("/dev/shm") / name).read_text() == "text"
    finally:
        for folder in ("/dev", "/dev/shm"):
            (Path(folder) / name).unlink(missing_ok=True)


def test_of_a_folder_that_is_not_there_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(tmp_path / "nowhere" / "file", "text")
    assert caught.value.filename == str(tmp_path / "nowhere" / "file")


@pytest.mark.parametrize(("number", "is_said"), [(errno.EIO, True), (errno.ENOSPC, True), (errno.EINVAL, False)])
def test_a_disk_that_fails_is_said_and_a_file_system_that_syncs_no_folders_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_said: bool
) -> None:
    def fsync(number_of_file: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    if is_said:
        with pytest.raises(OSError, match=os.strerror(number)):
            make_folder(tmp_path / "a")
    else:
        make_folder(tmp_path / "a")
    with pytest.raises(OSError, match=os.strerror(number)):
        write_whole(tmp_path / "file", "text")


def test_a_place_is_tried_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    for name in ("old", "new", "folder/new"):
        require_writable(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"old", "folder"}
    assert (tmp_path / "old").read_text() == "old"
    with pytest.raises(FileExistsError):
        require_writable(tmp_path / "old" / "file")
    with pytest.raises(IsADirectoryError):
        require_writable(tmp_path / "folder")
