"""Symbolic links in a folder that is written to are refused, named, and nothing behind them is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evo_nas.errors import RunFolderError
from evo_nas.system.atomic import replace_whole, write_whole
from evo_nas.system.links import refuse_links

NAMES = ("run.lock", "log.jsonl", "weights", "weights/last")


def test_files_folders_and_what_is_not_there_are_no_links(tmp_path: Path) -> None:
    (tmp_path / "run.lock").touch()
    (tmp_path / "weights").mkdir()
    refuse_links(tmp_path, NAMES)
    refuse_links(tmp_path / "nowhere", NAMES)


@pytest.mark.parametrize("target", ["file", "folder", "nowhere", ".", "run.lock", "/dev/null"])
def test_a_link_is_refused_wherever_it_leads(target: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "run.lock").symlink_to(target)
    with pytest.raises(RunFolderError) as caught:
        refuse_links(tmp_path, NAMES)
    assert str(caught.value) == (
        f"{tmp_path}/run.lock is a link to {target}, and nothing is written through links: "
        "put the run.lock itself there, or remove the link"
    )
    assert (tmp_path / "file").read_text() == "mine"


def test_a_pipe_is_refused_before_it_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.jsonl")
    with pytest.raises(RunFolderError, match=r"log.jsonl is a pipe or a device, which would be waited for: remove it$"):
        refuse_links(tmp_path, NAMES)


def test_a_folder_on_the_way_is_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "weights").symlink_to(tmp_path)
    with pytest.raises(RunFolderError, match=r"weights is a link to .*: put the weights itself there"):
        refuse_links(tmp_path, ["weights/last"])


def test_links_that_nobody_writes_to_and_the_folder_itself_may_be_links(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").symlink_to("/etc/passwd")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    refuse_links(tmp_path / "link", NAMES)


def test_names_that_a_terminal_would_obey_are_spelled_out(tmp_path: Path) -> None:
    (tmp_path / "run.lock").symlink_to("\x1b[31mred\n\x1b[0m")
    with pytest.raises(RunFolderError, match=r"'\\x1b\[31mred\\n\\x1b\[0m'") as caught:
        refuse_links(tmp_path, NAMES)
    assert str(caught.value).isprintable()


def test_a_file_is_never_written_through_a_link_in_its_way(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for name in ("run.toml", "run.toml.partial"):
        mine.write_text("mine")
        (tmp_path / name).symlink_to(mine)
        write_whole(tmp_path / "run.toml", "new")
        assert mine.read_text() == "mine"
        assert (tmp_path / "run.toml").read_text() == "new"
        assert not (tmp_path / "run.toml").is_symlink()
        (tmp_path / "run.toml").unlink()
    assert os.listdir(tmp_path) == ["mine"]  # noqa: PTH208


def test_a_folder_in_the_way_of_a_file_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "run.toml.partial").mkdir()
    with pytest.raises(OSError, match=r"run\.toml\.partial"), replace_whole(tmp_path / "run.toml") as partial:
        partial.write_text("new")
    assert (tmp_path / "run.toml.partial").is_dir()
