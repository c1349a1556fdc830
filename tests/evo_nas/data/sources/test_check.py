from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from evo_nas.data.sources.catalogue import DATA_SETS
from evo_nas.data.sources.check import check
from evo_nas.errors import DataError, UsageError

Make = Callable[..., Path]


def test_digits_are_always_sound() -> None:
    report = check("digits")
    assert report.sound
    assert [line.split(":")[0] for line in report.lines] == ["digits", "train", "test"]
    assert report.lines[1].startswith("train: 1,442 images in 10 classes of 140 to 147: 8 140, ")


def test_sound_folder_is_described(make_folder: Make) -> None:
    root = make_folder()
    (root / "train" / "cat" / "notes.txt").write_text("")
    (root / "train" / "stray.png").write_text("")
    report = check("folder", root)
    assert report.sound
    assert report.lines[0].endswith(f"in {root}")
    assert report.lines[1:] == (
        "train: 8 images in 2 classes of 3 to 5: dog 3, cat 5; 2 other files are passed over",
        "test: 4 images in 2 classes of 2",
    )


def test_damaged_files_of_both_parts_are_named_up_to_a_few(make_folder: Make) -> None:
    root = make_folder(train={"cat": 8, "dog": 1}, suffix=".jpg")
    for path in (root / "train" / "cat").iterdir():
        path.write_bytes(path.read_bytes()[:50])
    (root / "test" / "dog" / "001.jpg").write_text("")
    report = check("folder", root)
    assert not report.sound
    assert [fault.split()[0] for fault in report.faults[:5]] == [f"{root}/train/cat/00{i}.jpg" for i in range(5)]
    assert report.faults[5] == "and 3 more damaged train files"
    assert report.faults[6].startswith(f"{root}/test/dog/001.jpg cannot be decoded")


def test_missing_test_folder_and_other_classes_are_faults(make_folder: Make) -> None:
    root = make_folder("one", test={"cat": 1, "emu": 1})
    assert ["other classes" in fault for fault in check("folder", root).faults] == [True]
    root = make_folder("two")
    (root / "test").rename(root / "validation")
    (fault,) = check("folder", root).faults
    assert fault.startswith(f"there is no {root}/test")


def test_cifar_folder_is_held_to_its_numbers(
    make_cifar_folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cifar_folder()
    report = check("cifar10", tmp_path / "data")
    assert ["holds 30 train images, not the 50,000 of cifar10" in fault for fault in report.faults] == [
        *(True, False, False),
    ]
    assert report.faults[-1].endswith(f"python -m evo_nas data fetch --dataset cifar10 --data-dir {tmp_path / 'data'}")
    monkeypatch.setitem(DATA_SETS, "cifar10", replace(DATA_SETS["cifar10"], train=30, test=10))
    assert check("cifar10", tmp_path / "data").sound


def test_cifar_files_are_held_to_their_checksums(
    make_cifar_files: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_cifar_files()
    monkeypatch.setitem(DATA_SETS, "cifar10", replace(DATA_SETS["cifar10"], train=20, test=4))
    assert check("cifar10", root).sound
    batch = root / "cifar-10-batches-py" / "data_batch_2"
    batch.write_bytes(batch.read_bytes()[:-1])
    report = check("cifar10", root)
    assert [fault.split()[0] for fault in report.faults] == [str(batch), "move"]
    assert [line.split(":")[0] for line in report.lines] == ["cifar10", "test"]


def test_missing_set_and_unknown_name_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data fetch --dataset cifar100"):
        check("cifar100", tmp_path)
    with pytest.raises(UsageError):
        check("mnist", tmp_path)
