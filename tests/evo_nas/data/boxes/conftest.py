"""Sets with boxes, written on the spot in both formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.evo_nas.data.boxes.sets import Box, coco_content, spell_annotation, write_picture


@pytest.fixture
def make_voc(tmp_path: Path) -> Callable[..., Path]:
    """Write ``JPEGImages``, ``Annotations`` and lists: ``make_voc({"train": {"a": [("cat", 1, 1, 9, 9)]}})``."""

    def make(
        parts: Mapping[str, Mapping[str, Sequence[Box]]] | None = None, root: str = "voc", has_lists: bool = True
    ) -> Path:
        box = ("cat", 11, 6, 20, 15)
        parts = parts or {
            "train": {"a": [box, ("dog", 1, 1, 40, 30)], "b": [], "c": [box], "d": [("dog", 5, 5, 9, 9)]},
            "test": {"e": [box]},
        }
        folder = tmp_path / root
        (folder / "Annotations").mkdir(parents=True)
        for part, images in parts.items():
            for name, boxes in images.items():
                write_picture(folder / "JPEGImages" / f"{name}.png")
                (folder / "Annotations" / f"{name}.xml").write_text(spell_annotation(boxes))
            if has_lists:
                (folder / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
                (folder / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(images) + "\n")
        return folder

    return make


@pytest.fixture
def make_coco(tmp_path: Path) -> Callable[..., Path]:
    """Write ``annotations/instances_<part>.json`` and folders of images."""

    def make(parts: Mapping[str, Any] | None = None, root: str = "coco") -> Path:
        folder = tmp_path / root
        (folder / "annotations").mkdir(parents=True)
        for part, content in (parts or {"train": coco_content(), "test": coco_content()}).items():
            for image in content["images"]:
                write_picture(folder / part / image["file_name"])
            (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
        return folder

    return make
