import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evo_nas.data.sources.image_folder import ImageFolder
from evo_nas.errors import DataError, UsageError

Make = Callable[..., Path]


def test_images_and_labels_stand_in_the_order_of_class_and_path(make_folder: Make) -> None:
    root = make_folder()
    source = ImageFolder(root)
    assert source.classes() == ("cat", "dog")
    assert source.labels("train").tolist() == [0] * 5 + [1] * 3
    decoded = np.concatenate(list(source.batches("train", None, 3)))
    for path, image in zip(source.paths("train"), decoded, strict=True):
        assert (np.asarray(Image.open(path)) == image).all()
    assert [path.name for path in source.paths("train")] == [f"{i:03d}.png" for i in (0, 1, 2, 3, 4, 0, 1, 2)]


def test_deeper_folders_are_read_and_other_files_passed_over(make_folder: Make) -> None:
    root = make_folder()
    deeper = root / "train" / "cat" / "images"
    deeper.mkdir()
    (root / "train" / "cat" / "000.png").rename(deeper / "0.PNG")
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    (root / "train" / "cat" / ".hidden.png").write_text("not an image")
    (root / "train" / ".cache").mkdir()
    (root / "train" / "cat" / "loop").symlink_to(root / "train" / "cat")
    source = ImageFolder(root)
    assert source.classes() == ("cat", "dog")
    assert [file.path for file in source.listing("train")["cat"]] == [
        *("001.png", "002.png", "003.png", "004.png", "images/0.PNG"),
    ]


@pytest.mark.parametrize("change", ["added", "removed", "rewritten", "touched", "renamed", "class renamed"])
def test_stamp_notices_that_a_file_was(change: str, make_folder: Make) -> None:
    root = make_folder()
    before = ImageFolder(root).stamp("train")
    assert ImageFolder(root).stamp("train") == before
    file = root / "train" / "cat" / "002.png"
    if change == "added":
        Image.new("RGB", (12, 12)).save(file.with_name("new.png"))
    elif change == "removed":
        file.unlink()
    elif change == "rewritten":
        times = file.stat()
        file.write_bytes(file.read_bytes() + b"\0")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "touched":
        os.utime(file, ns=(0, 1))
    elif change == "renamed":
        file.rename(file.with_name("zzz.png"))
    else:
        file.parent.rename(root / "train" / "cow")
    assert ImageFolder(root).stamp("train") != before


def test_stamp_of_one_part_does_not_depend_on_the_other(make_folder: Make) -> None:
    root = make_folder()
    before = ImageFolder(root).stamp("train")
    (root / "test" / "cat" / "000.png").unlink()
    assert ImageFolder(root).stamp("train") == before


def test_images_of_one_size_need_no_size(make_folder: Make) -> None:
    root = make_folder(size=(10, 10))
    assert next(ImageFolder(root).batches("train", None, 3)).shape == (8, 10, 10, 3)
    assert next(ImageFolder(root).batches("train", 6, 1)).shape == (8, 6, 6, 1)


@pytest.mark.parametrize("odd", [(12, 10), (10, 10)])
def test_images_of_differing_sizes_need_a_size(odd: tuple[int, int], make_folder: Make) -> None:
    root = make_folder()
    Image.new("RGB", odd).save(root / "train" / "dog" / "001.png")
    with pytest.raises(UsageError, match=rf"{root}/train .*001.png is {odd[0]}x{odd[1]}.*name the size"):
        list(ImageFolder(root).batches("train", None, 3))
    assert len(np.concatenate(list(ImageFolder(root).batches("train", 8, 3)))) == 8


def test_more_than_one_batch_keeps_its_order(make_folder: Make) -> None:
    root = make_folder(train={"a": 300, "b": 300}, size=(2, 2), suffix=".ppm")
    source = ImageFolder(root)
    decoded = np.concatenate(list(source.batches("train", 2, 3)))
    assert len(decoded) == 600
    for index in (0, 255, 256, 299, 300, 599):
        assert (np.asarray(Image.open(source.paths("train")[index])) == decoded[index]).all()


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "dangling"])
def test_damaged_file_is_named(damage: str, make_folder: Make) -> None:
    root = make_folder(suffix=".jpg", size=(64, 64))
    bad = root / "train" / "dog" / "001.jpg"
    source = ImageFolder(root)
    if damage == "dangling":
        source.paths("train")
        bad.unlink()
    else:
        bad.write_bytes({"truncated": bad.read_bytes()[:-700], "text": b"not an image", "empty": b""}[damage])
    with pytest.raises(DataError, match=rf"^{bad} cannot be decoded \(.+\): replace or remove it") as raised:
        list(source.batches("train", 64, 3))
    assert "\n" not in str(raised.value)
    (fault,) = source.faults("train")
    assert fault.startswith(f"{bad} cannot be decoded")
    assert "data check" not in fault  # that is who says it


def test_a_very_large_picture_is_read_without_a_warning_and_a_far_larger_one_is_a_fault(
    make_folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ImageFolder(make_folder(size=(12, 12)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12 * 12 - 1)
    assert list(source.faults("train")) == []
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12 * 12 // 2 - 1)
    assert all("cannot be decoded (Image size (144 pixels) exceeds limit" in fault for fault in source.faults("train"))


def test_command_that_finds_all_damaged_files_can_be_pasted(make_folder: Make) -> None:
    root = make_folder("my pictures")
    for name in ("001.png", "002.png"):
        (root / "train" / "dog" / name).write_text("not an image")
    with pytest.raises(DataError) as raised:
        list(ImageFolder(root).batches("train", 12, 3))
    python, *arguments = shlex.split(str(raised.value).rpartition("all that is wrong: ")[2])
    assert python == "python"
    project = Path(__file__).parents[4]
    ran = subprocess.run([sys.executable, *arguments], cwd=project, capture_output=True, text=True, check=False)
    assert ran.returncode == DataError.exit_code
    assert ran.stderr.count("cannot be decoded") == 2, ran.stderr


def test_link_to_nowhere_is_named(make_folder: Make) -> None:
    root = make_folder()
    link = root / "train" / "dog" / "gone.png"
    link.symlink_to(root / "nowhere.png")
    with pytest.raises(DataError, match=f"{link}"):
        ImageFolder(root).listing("train")


def test_one_class_is_too_few(make_folder: Make) -> None:
    root = make_folder(train={"cat": 3}, test={"cat": 3})
    with pytest.raises(DataError, match=rf"^{root}/train holds 1 class folder, but at least 2"):
        ImageFolder(root).listing("train")


def test_class_without_images_is_named(make_folder: Make) -> None:
    root = make_folder()
    (root / "train" / "emu").mkdir()
    (root / "train" / "emu" / "readme.txt").write_text("soon")
    with pytest.raises(DataError, match=rf"^{root}/train/emu holds no image"):
        ImageFolder(root).listing("train")


def test_missing_part_is_named(make_folder: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"^there is no {tmp_path}/empty/train:"):
        ImageFolder(tmp_path / "empty").classes()


def test_other_test_classes_are_named(make_folder: Make) -> None:
    root = make_folder(test={"cat": 1, "dog": 1, "emu": 1})
    with pytest.raises(DataError, match=r"test has other classes than .*train: emu is in only one of them"):
        ImageFolder(root).listing("test")
    assert ImageFolder(root).listing("train")


def test_unreadable_class_folder_is_named(make_folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder()
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    # Tests may run as root, for whom every folder is readable.
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=rf"^{root}/train/dog/? cannot be read \(Permission denied\)"):
        ImageFolder(root).listing("train")
    assert len(list(ImageFolder(root).faults("train"))) == 1, "and it is not said to be empty"
    assert ImageFolder(root).counts("train") == {"cat": 5, "dog": 0}


def test_train_part_opens_and_lists_no_test_file(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder()
    script = f"""
import sys
from pathlib import Path
seen = []
sys.addaudithook(lambda event, args: seen.append(str(args[0])) if event in ("open", "os.scandir", "os.listdir") else 0)
from evo_nas.data.images import open_images
from evo_nas.data.split import split_indices
images = open_images("folder", Path({str(root)!r}))
split_indices(images.train.labels, 2, 0)
images.train.images.sum()
ours = [path for path in seen if path.startswith({str(root)!r})]
assert sum("/train/" in path for path in ours) >= 8, ours
print([path for path in ours if "test" in Path(path).relative_to({str(root)!r}).parts])
images.test
print(any({str(root / "test")!r} in path for path in seen))
"""
    project = Path(__file__).parents[4]
    ran = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=False)
    assert ran.stdout.split("\n")[:2] == ["[]", "True"], ran.stderr


def test_the_val_folder_of_imagenet_is_the_test_part(make_folder: Callable[..., Path]) -> None:
    root = make_folder()
    expected = ImageFolder(root).labels("test").tolist()
    (root / "test").rename(root / "val")
    assert ImageFolder(root).labels("test").tolist() == expected
    assert {path.parent.parent.name for path in ImageFolder(root).paths("test")} == {"val"}
    (root / "test").mkdir()  # where both are there, test is the one that was meant
    with pytest.raises(DataError, match="test has other classes"):
        ImageFolder(root).labels("test")
