import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evo_nas.data.sources.cifar import CifarFiles
from evo_nas.errors import DataError

Make = Callable[..., Path]


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_images_are_those_that_torchvision_reads(dataset: str, make_cifar_files: Make) -> None:
    import torchvision.datasets

    root = make_cifar_files(dataset)
    source = CifarFiles(dataset, root)
    for part in ("train", "test"):
        kind = getattr(torchvision.datasets, source.layout.torchvision)
        reference = kind(root, train=part == "train", download=False)
        assert (np.concatenate(list(source.batches(part, 32, 3))) == reference.data).all()
        assert source.labels(part).tolist() == reference.targets
        assert list(source.classes()) == reference.classes


def test_images_are_resized_and_turned_grey(make_cifar_files: Make) -> None:
    source = CifarFiles("cifar10", make_cifar_files())
    full = np.concatenate(list(source.batches("train", None, 3)))
    half = np.concatenate(list(source.batches("train", 16, 3)))
    assert np.abs(full.reshape(20, 16, 2, 16, 2, 3).mean(axis=(2, 4)) - half).max() <= 1
    assert next(source.batches("test", 32, 1)).shape == (4, 32, 32, 1)


def test_train_part_needs_no_test_file(make_cifar_files: Make) -> None:
    root = make_cifar_files()
    (root / "cifar-10-batches-py" / "test_batch").unlink()
    source = CifarFiles("cifar10", root)
    assert (len(source.labels("train")), list(source.faults("train"))) == (20, [])
    with pytest.raises(DataError, match=r"test_batch is missing or damaged \(No such file"):
        source.stamp("test")


def test_file_with_a_wrong_checksum_is_never_unpickled(make_cifar_files: Make, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "boom",)

    root = make_cifar_files()
    bad = root / "cifar-10-batches-py" / "data_batch_3"
    bad.write_bytes(pickle.dumps(Bomb()))
    source = CifarFiles("cifar10", root)
    with pytest.raises(DataError, match=rf"^{bad} is missing or damaged \(its md5 is .*fetch the set again$"):
        source.labels("train")
    assert not (tmp_path / "boom").exists()
    assert len(list(source.faults("train"))) == 1


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(make_cifar_files: Make) -> None:
    root = make_cifar_files("cifar10")
    batch = root / "cifar-10-batches-py" / "data_batch_1"
    batch.unlink()
    os.mkfifo(batch)
    with pytest.raises(DataError, match=rf"^{batch} is missing or damaged \(it is no file\)"):
        CifarFiles("cifar10", root).labels("train")


def test_stamp_changes_with_a_file_of_its_part_alone(make_cifar_files: Make) -> None:
    root = make_cifar_files()
    source = CifarFiles("cifar10", root)
    train, test = source.stamp("train"), source.stamp("test")
    (root / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"")
    assert source.stamp("train") != train
    assert source.stamp("test") == test
