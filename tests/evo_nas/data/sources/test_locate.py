from collections.abc import Callable
from pathlib import Path

import pytest

from evo_nas.data.sources.cifar import CifarFiles
from evo_nas.data.sources.digits import Digits
from evo_nas.data.sources.image_folder import ImageFolder
from evo_nas.data.sources.locate import locate
from evo_nas.errors import DataError, UsageError

Make = Callable[..., Path]


def test_digits_need_no_folder(tmp_path: Path) -> None:
    assert isinstance(locate("digits", tmp_path / "nowhere"), Digits)


@pytest.mark.parametrize("below", ["data/cifar10", "data"])
def test_cifar_is_found_as_an_image_folder(below: str, make_cifar_folder: Make, tmp_path: Path) -> None:
    root = make_cifar_folder(below)
    source = locate("cifar10", tmp_path / "data")
    assert isinstance(source, ImageFolder)
    assert source.root == root


@pytest.mark.parametrize("below", ["data/cifar10", "data"])
def test_torchvisions_files_win(below: str, make_cifar_folder: Make, make_cifar_files: Make, tmp_path: Path) -> None:
    make_cifar_folder(below)
    make_cifar_files("cifar10", below)
    assert isinstance(locate("cifar10", tmp_path / "data"), CifarFiles)


def test_folder_with_other_classes_is_not_cifar(make_folder: Make) -> None:
    root = make_folder()
    with pytest.raises(
        DataError, match=rf"no data set cifar10 in {root} \({root}/train holds 2 class folders.*: cat, dog\)"
    ):
        locate("cifar10", root)
    assert isinstance(locate("folder", root), ImageFolder)


def test_ten_other_classes_are_not_cifar10(make_folder: Make) -> None:
    stl10 = dict.fromkeys(["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"], 1)
    with pytest.raises(DataError, match="holds 10 class folders, not cifar10's: airplane, bird, car, cat, deer and 5"):
        locate("cifar10", make_folder(train=stl10, test=stl10))


def test_cifar100_has_a_hundred_classes(make_folder: Make) -> None:
    counts = {f"c{index}": 1 for index in range(100)}
    root = make_folder(train=counts, test=counts, size=(2, 2), suffix=".ppm")
    assert isinstance(locate("cifar100", root), ImageFolder)
    with pytest.raises(DataError, match="holds 100 class folders, not cifar10's: c0, c1, c10, c11, c12 and 95 more"):
        locate("cifar10", root)


def test_environment_names_the_folder(make_cifar_folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_cifar_folder()
    with pytest.raises(DataError):
        locate("cifar10")
    monkeypatch.setenv("EVO_NAS_DATA", str(root.parent))
    assert locate("cifar10").place == str(root)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
@pytest.mark.parametrize("exists", [True, False])
def test_missing_set_ends_with_the_command_that_fetches_it(dataset: str, exists: bool, tmp_path: Path) -> None:
    root = tmp_path / "data"
    if exists:
        root.mkdir()
    with pytest.raises(DataError, match=f"python -m evo_nas data fetch --dataset {dataset} --data-dir {root}$"):
        locate(dataset, root)


def test_folder_without_train_says_what_belongs_there_and_what_is(tmp_path: Path) -> None:
    for name in ("Train", "Test", ".cache", "__MACOSX"):
        (tmp_path / name).mkdir()
    said = rf"folder in {tmp_path} \(no images in train/<class>/; it holds Test, Train\); put .* FILE$"
    with pytest.raises(DataError, match=said):
        locate("folder", tmp_path)


def test_file_in_the_place_of_the_folder_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DataError, match=rf"^{tmp_path}/data is no data folder; get it with"):
        locate("cifar10", tmp_path / "data")


def test_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(DataError, match=rf"^{tmp_path}/\S+ cannot be read \(Permission denied\): mend that, or"):
        locate("cifar10", tmp_path)


def test_a_name_that_no_file_system_takes_is_a_data_error(tmp_path: Path) -> None:
    for name in ("cifar10", "folder"):
        with pytest.raises(DataError, match=r"cannot be read \(File name too long\)"):
            locate(name, tmp_path / ("x" * 300))


def test_unknown_name_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no data set 'cifar'"):
        locate("cifar", tmp_path)
