import os
import pickle
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from evo_nas.data.images import ImageSet, open_images
from evo_nas.errors import DataError, UsageError

Make = Callable[..., Path]
SHARED = Path(os.environ.get("EVO_NAS_SHARED", Path(__file__).parents[4] / "shared"))


def test_digits_open_at_their_own_size() -> None:
    images = open_images("digits")
    assert (images.name, images.size, images.channels, images.classes) == ("digits", 8, 1, tuple("0123456789"))
    assert images.train.images.shape == (1442, 8, 8, 1)
    assert images.test.images.shape == (355, 8, 8, 1)
    assert (len(images.mean), len(images.std)) == (1, 1)
    assert (images.train.images / 255).mean() == pytest.approx(images.mean[0])


def test_size_and_channels_are_what_was_asked_for(make_folder: Make) -> None:
    images = open_images("folder", make_folder(size=(20, 14)), size=16, channels=1)
    assert images.train.images.shape == (8, 16, 16, 1)
    assert images.test.images.shape == (4, 16, 16, 1)


def test_native_size_of_a_folder_is_that_of_its_images(make_folder: Make) -> None:
    images = open_images("folder", make_folder(size=(12, 12)))
    assert (images.size, images.channels) == (12, 3)
    assert images.test.images.shape == (4, 12, 12, 3)


@pytest.mark.parametrize("kind", ["folder", "files"])
def test_cifar_opens_in_both_forms(kind: str, make_cifar_folder: Make, make_cifar_files: Make, tmp_path: Path) -> None:
    (make_cifar_folder if kind == "folder" else make_cifar_files)()
    images = open_images("cifar10", tmp_path / "data")
    assert images.train.images.shape == ((30 if kind == "folder" else 20), 32, 32, 3)
    assert images.classes[0] == "airplane"
    assert open_images("cifar10", tmp_path / "data", size=16).train.images.shape[1:] == (16, 16, 3)


def test_incomplete_cifar_is_logged(make_cifar_folder: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_cifar_folder()
    open_images("cifar10", tmp_path / "data")
    assert "holds 30 of the 50000 train images of cifar10" in caplog.text


def test_train_part_lives_without_the_test_folder(make_folder: Make) -> None:
    root = make_folder()
    shutil.rmtree(root / "test")
    images = open_images("folder", root)
    assert len(images.train) == 8
    with pytest.raises(DataError, match=rf"^there is no {root}/test:"):
        _ = images.test


def test_test_part_is_decoded_only_when_it_is_named(make_folder: Make, cache: Path) -> None:
    images = open_images("folder", make_folder())
    assert len(images.train) == 8
    assert len(list(cache.iterdir())) == 1
    assert len(images.test) == 4
    assert len(list(cache.iterdir())) == 2


def test_other_test_classes_are_found_when_the_test_part_is_named(make_folder: Make) -> None:
    images = open_images("folder", make_folder(test={"cat": 1, "emu": 1}))
    with pytest.raises(DataError, match="dog, emu are in only one of them"):
        _ = images.test


def test_image_set_is_small_when_pickled_and_maps_the_same_file(make_folder: Make) -> None:
    images = open_images("folder", make_folder(size=(64, 64)))
    assert images.train.images.nbytes > 90_000
    assert len(images.test) == 4
    blob = pickle.dumps(images)
    assert len(blob) < 2_000
    copy: ImageSet = pickle.loads(blob)
    assert copy == images
    assert isinstance(copy.train.images, np.memmap)
    assert (copy.train.images == images.train.images).all()
    assert len(copy.test) == 4


@pytest.mark.parametrize("channels", [1, 3])
def test_tensors_are_channels_last_copies(channels: int, make_folder: Make) -> None:
    train = open_images("folder", make_folder(), channels=channels).train
    images, labels = train.tensors()
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.shape == (8, channels, 12, 12)
    assert (images.permute(0, 2, 3, 1).numpy() == train.images).all()
    some, some_labels = train.tensors(indices=np.array([6, 0]))
    assert (some == images[[6, 0]]).all()
    assert some_labels.tolist() == [1, 0]
    images.zero_()
    labels.zero_()
    assert train.images.any()
    assert train.labels.any()


def test_unknown_name_and_wrong_numbers_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="no data set 'mnist'"):
        open_images("mnist")
    for size in (0, -1, 5000):
        with pytest.raises(UsageError, match=f"between 1 and 1024 pixels, not {size}"):
            open_images("digits", size=size)
    with pytest.raises(UsageError, match=r"1 channel \(grey\) or 3 \(RGB\), not 2"):
        open_images("digits", channels=2)


def test_relative_data_dir_still_holds_after_a_change_of_folder(
    make_folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder("pictures")
    monkeypatch.chdir(tmp_path)
    images = open_images("folder", Path("pictures"))
    monkeypatch.chdir("/")
    assert len(images.test) == 4


@pytest.mark.slow
@pytest.mark.data
def test_real_cifar10_opens(tmp_path: Path) -> None:
    archive = SHARED / "data" / "cifar10-imagefolder.tar.xz"
    if not archive.exists():
        pytest.skip(f"there is no {archive}")
    taken: Counter[str] = Counter()
    with tarfile.open(archive, "r|xz") as tar:
        for member in tar:
            folder = str(Path(member.name).parent)
            if member.isreg() and taken[folder] < 15:
                taken[folder] += 1
                tar.extract(member, tmp_path / "data" / "cifar10", filter="data")
    images = open_images("cifar10", tmp_path / "data")
    assert np.bincount(images.train.labels).tolist() == [15] * 10
    assert np.bincount(images.test.labels).tolist() == [15] * 10
    # The whole set has means 0.491, 0.482, 0.447 and deviations 0.247, 0.243, 0.262; JPEG hardly moves them.
    assert images.mean == pytest.approx((0.491, 0.482, 0.447), abs=0.05)
    assert images.std == pytest.approx((0.247, 0.243, 0.262), abs=0.05)
