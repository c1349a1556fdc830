"""Files are written whole or not at all, and never in the place of what is no file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from evo_nas.system.atomic import make_folder, replace_whole, write_whole


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


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, set[str]]]:
    """What is synced in turn: its path, and the names in it if it is a folder."""
    found = []

    def fsync(number: int) -> None:
        path = Path(f"/proc/self/fd/{number}").readlink()
        found.append((path, {entry.name for entry in path.iterdir()} if path.is_dir() else set()))

    monkeypatch.setattr(os, "fsync", fsync)
    return found


linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the path of an open file is read from /proc")


@linux
def test_content_is_on_the_disk_before_its_name_and_the_name_in_the_end(
    tmp_path: Path, synced: list[tuple[Path, set[str]]]
) -> None:
    write_whole(tmp_path / "file", "text")
    assert synced == [(tmp_path / "file.partial", set()), (tmp_path, {"file"})]


@linux
def test_names_of_new_folders_are_on_the_disk(tmp_path: Path, synced: list[tuple[Path, set[str]]]) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
    assert synced == [(tmp_path, {"a"}), (tmp_path / "a", {"b"})]


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
