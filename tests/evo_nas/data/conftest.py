"""Image folders made on the spot, and a cache of its own for every test."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evo_nas.data.sources.cifar import LAYOUTS

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVO_NAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("EVO_NAS_DATA", raising=False)
    monkeypatch.setattr(os, "sync", lambda: None)  # it waits for all programs of the machine
    return tmp_path / "cache"


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write random pictures to ``root/<part>/<class>/NNN<suffix>``."""

    def make(
        root: Path | str = "pictures",
        train: Mapping[str, int] | None = None,
        test: Mapping[str, int] | None = None,
        size: tuple[int, int] = (12, 12),
        suffix: str = ".png",
        mode: str = "RGB",
    ) -> Path:
        root = tmp_path / root
        rng = np.random.default_rng(0)
        for part, counts in (("train", train or {"cat": 5, "dog": 3}), ("test", test or {"cat": 2, "dog": 2})):
            for name, count in counts.items():
                (root / part / name).mkdir(parents=True, exist_ok=True)
                for index in range(count):
                    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
                    picture = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
                    picture.save(root / part / name / f"{index:03d}{suffix}")
        return root

    return make


@pytest.fixture
def make_cifar_folder(make_folder: Callable[..., Path]) -> Callable[..., Path]:
    """Write CIFAR-10 in small: its ten classes with 3 train images and 1 test image each."""

    def make(root: Path | str = "data/cifar10") -> Path:
        return make_folder(root, dict.fromkeys(CIFAR10, 3), dict.fromkeys(CIFAR10, 1), size=(32, 32), suffix=".jpg")

    return make


@pytest.fixture
def make_cifar_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write torchvision's files in small, 4 images each, and let torchvision believe in their checksums."""

    def make(dataset: str = "cifar10", root: Path | str = "data") -> Path:
        import torchvision.datasets

        layout = LAYOUTS[dataset]
        kind = getattr(torchvision.datasets, layout.torchvision)
        names = CIFAR10 if dataset == "cifar10" else [f"class{index:02d}" for index in range(100)]
        folder = tmp_path / root / layout.folder
        folder.mkdir(parents=True)
        rng = np.random.default_rng(1)

        def write(name: str, content: object) -> list[str]:
            blob = pickle.dumps(content)
            (folder / name).write_bytes(blob)
            return [name, md5(blob, usedforsecurity=False).hexdigest()]

        def batch() -> dict[str, object]:
            data = rng.integers(0, 256, (4, 3072), dtype=np.uint8)
            return {"data": data, layout.labels: rng.integers(0, len(names), 4).tolist()}

        monkeypatch.setattr(kind, "train_list", [write(name, batch()) for name in layout.files["train"]])
        monkeypatch.setattr(kind, "test_list", [write(name, batch()) for name in layout.files["test"]])
        _, checksum = write(layout.meta, {layout.names: names})
        monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": checksum})
        return tmp_path / root

    return make
