"""Class folders without parts become a set: nothing is lost or shared, and what is there stays as it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from evo_nas.cli import main
from evo_nas.data.sources.locate import locate
from evo_nas.data.sources.parting import split_folder
from evo_nas.errors import DataError

Make = Callable[..., Path]


@pytest.fixture
def classes(make_folder: Make) -> Path:
    """Return a folder of 10 cats and 4 dogs, and of nothing else."""
    return make_folder(train={"cat": 10, "dog": 4}, test={"cat": 1, "dog": 1}) / "train"


def list_names(folder: Path) -> dict[str, list[str]]:
    return {path.name: sorted(file.name for file in path.iterdir()) for path in sorted(folder.iterdir())}


def test_every_image_goes_to_one_part_and_stays_where_it_was(classes: Path, tmp_path: Path) -> None:
    before = list_names(classes)
    assert "11 train and 3 test images of 2 classes" in split_folder(classes, tmp_path / "data")
    source = locate("folder", tmp_path / "data")
    assert source.counts("train") == {"cat": 8, "dog": 3}
    assert source.counts("test") == {"cat": 2, "dog": 1}
    train, test = (list_names(tmp_path / "data" / "folder" / part) for part in ("train", "test"))
    assert {name: sorted(train[name] + test[name]) for name in before} == before == list_names(classes)
    for path in source.paths("test"):
        assert path.read_bytes() == (classes / path.parent.name / path.name).read_bytes()


def test_the_draw_follows_from_the_seed(classes: Path, tmp_path: Path) -> None:
    drawn = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        split_folder(classes, tmp_path / name, 0.5, seed)
        drawn.append(list_names(tmp_path / name / "folder" / "test"))
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(("share", "count"), [(0.0, 1), (1.0, 9)])
def test_both_parts_have_an_image_of_each_class(classes: Path, tmp_path: Path, share: float, count: int) -> None:
    split_folder(classes, tmp_path / "data", share)
    assert locate("folder", tmp_path / "data").counts("test")["cat"] == count


def test_what_a_link_leads_to_is_taken(classes: Path, tmp_path: Path) -> None:
    (classes / "dog" / "link.png").symlink_to("000.png")
    split_folder(classes, tmp_path / "data")
    taken = list((tmp_path / "data").rglob("link.png"))
    assert len(taken) == 1
    assert not taken[0].is_symlink()


def test_a_folder_on_another_disk_is_copied(classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    split_folder(classes, tmp_path / "data")
    assert all(path.stat().st_nlink == 1 for path in locate("folder", tmp_path / "data").paths("train"))


def test_what_cannot_be_split_is_one_line_and_nothing_is_made(classes: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for images, words in (
        (classes.parent, "has parts already: test, train; name it with --data-dir"),
        (classes / "cat", "holds fewer than 2 class folders"),
        (tmp_path / "nowhere", "there is no"),
    ):
        with pytest.raises(DataError, match=words):
            split_folder(images, data)
    with pytest.raises(DataError, match="would lie among the classes"):
        split_folder(classes, classes)
    (classes / "bird").mkdir()
    (classes / "bird" / "one.png").write_bytes(b"")
    with pytest.raises(DataError, match="fewer than 2 images of bird: one to train on"):
        split_folder(classes, data)
    assert not data.exists()


def test_nothing_is_overwritten(classes: Path, tmp_path: Path) -> None:
    split_folder(classes, tmp_path)
    with pytest.raises(DataError, match="is in the way, and nothing is overwritten"):
        split_folder(classes, tmp_path)


def test_a_search_of_class_folders_names_the_command_and_it_works(
    classes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="are its folders the classes") as refused:
        locate("folder", classes)
    found = re.search(r"python -m evo_nas (data split .*)", str(refused.value))
    assert found is not None
    assert main(found[1].split()) == 0
    words = capsys.readouterr().out.strip().rpartition("--data-dir ")
    assert locate("folder", Path(words[2])).counts("train") == {"cat": 8, "dog": 3}


def test_a_folder_without_images_is_offered_no_split(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    with pytest.raises(DataError) as refused:
        locate("folder", tmp_path)
    assert "split" not in str(refused.value)
