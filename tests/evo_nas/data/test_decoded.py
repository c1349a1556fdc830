import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evo_nas.data import decoded as module
from evo_nas.data.decoded import DecodedEntry, is_decoded, open_decoded_copy
from evo_nas.data.sources.image_folder import ImageFolder
from evo_nas.errors import DataError

Make = Callable[..., Path]


def entries(cache: Path) -> list[Path]:
    return sorted(cache.iterdir()) if cache.exists() else []


def test_entry_holds_pixels_labels_and_moments(make_folder: Make) -> None:
    source = ImageFolder(make_folder())
    entry = open_decoded_copy(source, "train", None, 3)
    pixels = np.concatenate(list(source.batches("train", None, 3)))
    assert (entry.images == pixels).all()
    assert isinstance(entry.images, np.memmap)
    assert not entry.images.flags.writeable
    assert entry.labels.tolist() == source.labels("train").tolist()
    assert entry.manifest.mean == pytest.approx((pixels / 255).mean(axis=(0, 1, 2)))
    assert entry.manifest.std == pytest.approx((pixels / 255).std(axis=(0, 1, 2)))
    assert (entry.manifest.images, entry.manifest.size, entry.manifest.classes) == (8, 12, ("cat", "dog"))


def test_second_opening_decodes_nothing(make_folder: Make, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder()
    first = open_decoded_copy(ImageFolder(root), "train", 8, 3)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    assert open_decoded_copy(ImageFolder(root), "train", 8, 3) == first
    assert entries(cache) == [first.folder]


def test_changed_file_is_decoded_again(make_folder: Make) -> None:
    root = make_folder()
    before = open_decoded_copy(ImageFolder(root), "train", None, 3)
    Image.new("RGB", (12, 12), "white").save(root / "train" / "cat" / "000.png")
    after = open_decoded_copy(ImageFolder(root), "train", None, 3)
    assert after.manifest.fingerprint != before.manifest.fingerprint
    assert (after.images[0] == 255).all()


def test_fingerprint_is_of_the_content_not_of_the_place(make_folder: Make) -> None:
    one, other = (open_decoded_copy(ImageFolder(make_folder(root)), "train", None, 3) for root in ("one", "other"))
    assert one.folder != other.folder
    assert one.manifest.fingerprint == other.manifest.fingerprint


@pytest.mark.parametrize("part", ["train", "test"])
def test_sizes_channels_and_parts_are_entries_of_their_own(part: str, make_folder: Make, cache: Path) -> None:
    source = ImageFolder(make_folder())
    shapes = {
        (size, channels): open_decoded_copy(source, part, size, channels).images.shape
        for size in (4, 6)
        for channels in (1, 3)
    }
    assert all(shape[1:] == (size, size, channels) for (size, channels), shape in shapes.items())
    assert len(entries(cache)) == 4


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncated", "removed", "garbage"])
def test_damaged_entry_is_made_again_and_logged(
    name: str, damage: str, make_folder: Make, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_folder()
    before = open_decoded_copy(ImageFolder(root), "train", None, 3)
    expected = np.array(before.images)
    file = before.folder / name
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-10] if damage == "truncated" else b"[]")
    with caplog.at_level(logging.WARNING):
        after = open_decoded_copy(ImageFolder(root), "train", None, 3)
    assert (after.images == expected).all()
    assert f"the decoded copy {before.folder} is damaged" in caplog.text
    assert entries(cache) == [before.folder]


def flip(folder: Path) -> None:
    content = bytearray((folder / "images.npy").read_bytes())
    content[-1] ^= 1
    (folder / "images.npy").write_bytes(content)


def relabel(folder: Path) -> None:
    labels = np.load(folder / "labels.npy")
    np.save(folder / "labels.npy", labels[::-1])


def rename_class(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"cat"', '"cut"'))


def become(make: Callable[[Path], object], *names: str) -> Callable[[Path], None]:
    """Put something else into the place of files of an entry, or of the entry."""

    def swap(folder: Path) -> None:
        for path in [folder / name for name in names] or [folder]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            make(path)

    return swap


ROT: dict[str, Callable[[Path], None]] = {
    "a bit of a pixel": flip,
    "other labels": relabel,
    "another class": rename_class,
    "pixels that a power cut took": lambda folder: (
        os.truncate(folder / "images.npy", 128) or os.truncate(folder / "images.npy", 128 + 8 * 12 * 12 * 3)
    ),
    "a pipe for a manifest": become(os.mkfifo, "manifest.json"),
    "a folder for each file": become(Path.mkdir, "manifest.json", "images.npy", "labels.npy"),
    "a file for the folder": become(Path.touch),
    "a pipe for the folder": become(os.mkfifo),
    "a link to nowhere": become(lambda path: path.symlink_to("/nowhere")),
}


@pytest.mark.parametrize("kind", ROT)
def test_an_entry_that_rotted_is_made_again(kind: str, make_folder: Make, cache: Path) -> None:
    root = make_folder()
    before = open_decoded_copy(ImageFolder(root), "train", None, 3)
    expected = np.array(before.images), before.labels, before.manifest
    ROT[kind](before.folder)
    after = open_decoded_copy(ImageFolder(root), "train", None, 3)
    assert (after.images == expected[0]).all()
    assert (after.labels == expected[1]).all()
    assert after.manifest == expected[2]
    assert entries(cache) == [before.folder]
    assert is_decoded(ImageFolder(root), "train", None, 3)


def test_failed_decoding_leaves_nothing_behind(make_folder: Make, cache: Path) -> None:
    root = make_folder()
    (root / "train" / "dog" / "002.png").write_text("not an image")
    with pytest.raises(DataError, match=r"002.png cannot be decoded"):
        open_decoded_copy(ImageFolder(root), "train", None, 3)
    assert entries(cache) == []


def test_slower_of_two_racing_processes_takes_the_entry_of_the_faster(
    make_folder: Make, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder()
    write = module._write
    faster: list[int] = []

    def overtaken(*arguments: object) -> object:
        if not faster:
            faster.append(0)
            faster.append(open_decoded_copy(ImageFolder(root), "train", None, 3).folder.stat().st_ino)
        return write(*arguments)

    monkeypatch.setattr(module, "_write", overtaken)
    slower = open_decoded_copy(ImageFolder(root), "train", None, 3)
    assert slower.folder.stat().st_ino == faster[1]
    assert entries(cache) == [slower.folder]


@pytest.mark.slow
def test_processes_racing_in_earnest_end_with_one_entry(make_folder: Make, cache: Path) -> None:
    root = make_folder(train={"a": 200, "b": 200}, size=(16, 16))
    script = f"""
from pathlib import Path
from evo_nas.data.images import open_images
print(open_images("folder", Path({str(root)!r})).train.images.sum())
"""
    project = Path(__file__).parents[3]
    racers = [
        subprocess.Popen([sys.executable, "-c", script], cwd=project, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    sums = {racer.communicate()[0] for racer in racers}
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    assert sums == {f"{open_decoded_copy(ImageFolder(root), 'train', None, 3).images.sum()}\n"}
    assert len(entries(cache)) == 1


def test_full_disk_is_a_data_error(make_folder: Make, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(DataError, match=rf"{cache} \(No space left on device\).*EVO_NAS_CACHE"):
        open_decoded_copy(ImageFolder(make_folder()), "train", None, 3)
    assert entries(cache) == []


def test_constant_channel_keeps_a_scale(make_folder: Make) -> None:
    root = make_folder(train={"a": 1, "b": 1})
    for name in "ab":
        Image.new("RGB", (12, 12), (0, 255, 7)).save(root / "train" / name / "000.png")
    manifest = open_decoded_copy(ImageFolder(root), "train", None, 3).manifest
    assert manifest.mean == pytest.approx((0, 1, 7 / 255))
    assert manifest.std == pytest.approx((1 / 255,) * 3)


def test_entry_is_pickled_without_its_pixels(make_folder: Make) -> None:
    entry = open_decoded_copy(ImageFolder(make_folder(size=(64, 64))), "train", None, 3)
    assert entry.images.nbytes > 90_000
    blob = pickle.dumps(entry)
    assert len(blob) < 2_000
    copy: DecodedEntry = pickle.loads(blob)
    assert (copy.images == entry.images).all()


def test_manifest_is_readable_json_and_entry_open_to_others(make_folder: Make) -> None:
    entry = open_decoded_copy(ImageFolder(make_folder()), "train", None, 3)
    manifest = json.loads((entry.folder / "manifest.json").read_text())
    assert manifest["classes"] == ["cat", "dog"]
    mask = os.umask(0)
    os.umask(mask)
    assert entry.folder.stat().st_mode & 0o777 == 0o777 & ~mask
