import os
from collections.abc import Callable
from pathlib import Path

import pytest

from evo_nas.data.decoded import open_decoded_copy
from evo_nas.data.sources.check import check
from evo_nas.data.sources.image_folder import ImageFolder
from evo_nas.data.sources.layout import is_litter
from evo_nas.errors import DataError

Make = Callable[..., Path]
NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "__MACOSX",
            ".DS_Store",
            "._000.png",
            ".Spotlight-V100",
            "Icon\r",
            "Thumbs.db",
            "desktop.ini",
            "$RECYCLE.BIN",
        ),
        *("System Volume Information", "@eaDir", "#recycle", "#snapshot", "@Recycle", "lost+found", ".Trash-1000"),
        *(".ipynb_checkpoints", "__pycache__", ".git", ".thumbnails", ".@__thumb"),
    ],
)
def test_what_systems_and_tools_leave_is_litter(name: str) -> None:
    assert is_litter(name)
    assert not is_litter(f"a {name}")


def littered(root: Path) -> Path:
    """Copy each picture to where systems and tools put their copies of pictures."""
    for part in ("train", "test"):
        for picture in sorted((root / part).rglob("*.png")):
            for name in ("@eaDir", ".ipynb_checkpoints", "#recycle", "@Recycle"):
                (picture.parent / name / picture.name).mkdir(parents=True)
                (picture.parent / name / picture.name / "SYNOPHOTO_THUMB_M.png").write_bytes(picture.read_bytes())
            (picture.parent / f"._{picture.name}").write_bytes(b"\0\5\x16\7")
        for name in ("@eaDir", "lost+found", "__MACOSX", ".ipynb_checkpoints"):
            (root / part / name).mkdir()
            (root / part / name / "x.png").write_bytes(picture.read_bytes())
        (root / part / "Thumbs.db").write_text("")
    return root


def test_litter_is_no_class_and_no_image_and_changes_no_fingerprint(make_folder: Make) -> None:
    clean = open_decoded_copy(ImageFolder(make_folder("clean")), "train", None, 3).manifest
    source = ImageFolder(littered(make_folder("littered")))
    assert open_decoded_copy(source, "train", None, 3).manifest.fingerprint == clean.fingerprint
    assert source.classes() == ("cat", "dog")
    report = check("folder", source.root)
    assert report.sound
    assert report.lines[1] == (
        "train: 8 images in 2 classes of 3 to 5: dog 3, cat 5; what systems and tools left is passed over: "
        "#recycle (2), ._* (8), .ipynb_checkpoints (3), @Recycle (2), @eaDir (3) and 3 more"
    )


def test_the_fingerprint_of_a_clean_set_is_the_one_that_it_always_had(make_folder: Make) -> None:
    # Runs compare it when they are resumed: if this changes, they are refused.
    manifest = open_decoded_copy(ImageFolder(make_folder(suffix=".ppm")), "train", None, 3).manifest
    assert manifest.fingerprint == "ac985cf6b7f58d63a575e17c189c567e3c3919d144f9cc10ce92f1bc83e87d11"


def test_check_sees_what_reading_sees(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder()
    (root / "test").rename(root / "val")
    (root / "train" / "cat").rename(tmp_path / "elsewhere")
    (root / "train" / "cat").symlink_to(tmp_path / "elsewhere")
    (root / "train" / "dog" / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "train" / "dog" / "notes.txt").write_text("")
    report = check("folder", root)
    assert report.sound
    assert report.lines[1:] == (
        "train: 8 images in 2 classes of 3 to 5: dog 3, cat 5; 2 other files are passed over",
        "test: 4 images in 2 classes of 2; they lie in val",
    )
    assert len(ImageFolder(root).labels("train")) == 8


def broken_link(path: Path) -> None:
    path.symlink_to("/nowhere/at/all.png")


def looping_link(path: Path) -> None:
    path.symlink_to(path)


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link to nowhere": (
        broken_link,
        "is a link to /nowhere/at/all.png, which is not there: bring that back, or remove",
    ),
    "a link to itself": (
        looping_link,
        r"cannot be read \(Too many levels of symbolic links\): mend that, or remove it",
    ),
    "a pipe": (os.mkfifo, "is a pipe or a device, no file: remove it"),
    "a device": (zeros, "is a pipe or a device, no file: remove it"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_cannot_be_read_is_named_and_hides_no_other(kind: str, make_folder: Make) -> None:
    make, says = BAD[kind]
    root = make_folder()
    make(root / "train" / "dog" / "bad.png")
    with pytest.raises(DataError, match=rf"^{root}/train/dog/bad.png {says}"):
        ImageFolder(root).labels("train")
    report = check("folder", root)
    assert [fault.split()[0] for fault in report.faults] == [f"{root}/train/dog/bad.png"]
    assert report.lines[1:] == (
        "train: 8 images in 2 classes of 3 to 5: dog 3, cat 5",
        "test: 4 images in 2 classes of 2",
    )


@pytest.mark.parametrize("kind", ["a link to nowhere", "a link to itself"])
def test_a_class_folder_that_leads_nowhere_is_named(kind: str, make_folder: Make) -> None:
    make, says = BAD[kind]
    root = make_folder()
    make(root / "train" / "emu")
    with pytest.raises(DataError, match=rf"^{root}/train/emu {says}"):
        ImageFolder(root).labels("train")
    report = check("folder", root)
    assert len(report.faults) == 1
    assert report.lines[2] == "test: 4 images in 2 classes of 2"


def test_everything_that_is_wrong_is_found_at_once(make_folder: Make) -> None:
    root = make_folder()
    for name in ("gone.png", "lost.png"):
        broken_link(root / "train" / "cat" / name)
    (root / "train" / "dog" / "000.png").write_text("no picture")
    (root / "train" / "emu").mkdir()
    report = check("folder", root)
    assert [fault.split()[0].rpartition("train/")[2] for fault in report.faults[:4]] == [
        *("cat/gone.png", "cat/lost.png", "emu", "dog/000.png"),
    ]
    with pytest.raises(DataError, match=r"gone.png is a link to .*; to find all that is wrong: python -m evo_nas data"):
        ImageFolder(root).labels("train")


def test_a_test_part_that_is_the_train_part_is_refused(make_folder: Make) -> None:
    root = make_folder()
    (root / "test").rename(root / "elsewhere")
    (root / "test").symlink_to("train")
    with pytest.raises(DataError, match=rf"^{root}/test leads to the folder of the train part"):
        ImageFolder(root).labels("test")


def test_classes_that_only_look_the_same_are_told_apart(make_folder: Make) -> None:
    root = make_folder(train={NFC: 1, "dog": 1}, test={NFD: 1, "dog": 1})
    with pytest.raises(DataError, match=r"test has other classes than .*train: ") as raised:
        ImageFolder(root).labels("test")
    assert r"'cafe\u0301', 'caf\xe9' are in only one of them; give both the same class folders" in str(raised.value)
    assert len(ImageFolder(root).labels("train")) == 2


@pytest.mark.parametrize(("one", "other"), [(NFC, NFD), ("cat", "cat "), ("cat", "c\u200bat")])
def test_two_classes_of_one_look_are_refused(one: str, other: str, make_folder: Make) -> None:
    root = make_folder(train={one: 1, other: 1, "dog": 1})
    with pytest.raises(DataError, match="holds classes whose names look the same: ") as raised:
        ImageFolder(root).labels("train")
    assert ascii(one) in str(raised.value)
    assert ascii(other) in str(raised.value)
    assert "dog" not in str(raised.value)
