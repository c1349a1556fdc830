"""``data fetch --dataset hf:NAME``, with a module in the place of datasets that has as much of it as is documented."""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from evo_nas.cli import main
from evo_nas.data.images import open_images


class Image:
    """The feature of a column of images."""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class ClassLabel:
    """The feature of a column of labels."""

    def __init__(self, names: list[str]) -> None:
        self.names = names


class Dataset:
    """One split: a column by its name, rows in order, and a column that can be cast."""

    def __init__(self, features: dict[str, Any], columns: dict[str, list[Any]]) -> None:
        self.features, self.columns = features, columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> list[Any]:
        return self.columns[name]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        image = self.features["picture"]
        assert not image.decode, "images are never decoded here"
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, values, strict=True))

    def cast_column(self, name: str, feature: Any) -> Dataset:
        return Dataset({**self.features, name: feature}, self.columns)


def encode(format: str, mode: str = "RGB") -> bytes:
    picture = Pillow.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).convert(mode)
    picture.save(file := io.BytesIO(), format)
    return file.getvalue()


JPEG, PNG, GIF = encode("JPEG"), encode("PNG"), encode("GIF", "P")


def split(labels: list[int], names: tuple[str, ...] = ("b/c", "a"), content: bytes = JPEG) -> Dataset:
    features = {"id": "int64", "picture": Image(), "kind": ClassLabel(list(names))}
    told = [{"bytes": content, "path": None} for _ in labels]
    return Dataset(features, {"id": list(range(len(labels))), "picture": told, "kind": labels})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the hub has: the splits of each name, or an error."""
    known: dict[str, Any] = {}

    def load_dataset(path: str) -> dict[str, Dataset]:
        found = known.get(path, FileNotFoundError(f"Dataset '{path}' doesn't exist\non the Hub"))
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    module = ModuleType("datasets")
    module.__spec__ = importlib.util.spec_from_loader("datasets", None)
    vars(module).update(load_dataset=load_dataset, Image=Image, ClassLabel=ClassLabel)
    monkeypatch.setitem(sys.modules, "datasets", module)
    return known


def fetch(name: str, place: Path) -> int:
    return main(["data", "fetch", "--dataset", name, "--data-dir", str(place)])


def test_a_set_becomes_an_image_folder(hub: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = split([1, 0], content=GIF)
    (tmp_path / "there.png").write_bytes(PNG)
    test.columns["picture"][1] = {"bytes": None, "path": str(tmp_path / "there.png")}
    hub["owner/birds"] = {"train": split([0, 1, 1]), "validation": test, "test": split([-1, -1])}
    assert fetch("hf:owner/birds", tmp_path / "data") == 0
    assert "folder is now complete in" in capsys.readouterr().out
    place = tmp_path / "data/folder"
    files = {str(file.relative_to(place)) for file in place.rglob("*.*")}
    assert files == {
        *("train/b_c/00000000.jpg", "train/a/00000001.jpg", "train/a/00000002.jpg"),
        *("test/a/00000000.png", "test/b_c/00000001.png"),
    }
    assert (place / "train/a/00000001.jpg").read_bytes() == JPEG
    assert (place / "test/b_c/00000001.png").read_bytes() == PNG
    images = open_images("folder", tmp_path / "data", size=8)
    assert images.classes == ("a", "b_c")
    assert len(images.test) == 2
    assert [each.name for each in (tmp_path / "data").iterdir()] == ["folder"]
    assert fetch("hf:owner/birds", tmp_path / "data") == 0
    assert "already complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("splits", "reason"),
    [
        (None, "hf:birds could not be loaded (Dataset 'birds' doesn't exist on the Hub)"),
        ({"train": split([0, 1])}, "has no labelled split test or validation"),
        ({"train": split([-1, -1]), "test": split([0, 1])}, "has no labelled split train"),
        ({"train": Dataset({"text": "string"}, {"text": ["x"]})}, "has no labelled split train"),
        ({"train": split([0, 1], names=("a", "CON/x")), "test": split([0, 0])}, "has other classes than"),
        ({"train": split([0, 1], names=("a", "..")), "test": split([0, 1])}, "that no folder can be named by: '..'"),
        ({"train": split([0, 1], names=("a/b", "a_b")), "test": split([0, 1])}, "would have the same name"),
        (
            {"train": split([0, 1], content=b"x"), "test": split([0, 1])},
            "image 0 of the split train of hf:birds cannot be",
        ),
    ],
)
def test_what_is_no_set_of_images_leaves_nothing(
    splits: Any, reason: str, hub: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if splits is not None:
        hub["birds"] = splits
    assert fetch("hf:birds", tmp_path / "data") == 4
    err = capsys.readouterr().err
    assert reason in err
    assert err.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["hf:", "hf:a/b/c", "hf:../x", "hf:a b", "hf:/etc"])
def test_names_that_are_none_are_one_line(
    name: str, hub: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(name, tmp_path) == 2
    assert "hf: takes NAME or OWNER/NAME" in capsys.readouterr().err


def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert fetch("hf:beans", tmp_path) == 2
    assert capsys.readouterr().err == "evo_nas: hf: needs datasets: python -m pip install 'evo_nas[datasets]'\n"
