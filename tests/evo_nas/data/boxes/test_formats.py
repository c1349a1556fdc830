"""The same boxes in both formats are the same boxes."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_nas.data.boxes.catalogue import BOX_SETS
from evo_nas.data.boxes.coco import CocoJson
from evo_nas.data.boxes.voc import VocFolder
from tests.evo_nas.data.boxes.sets import spell_annotation, write_picture

WIDTH, HEIGHT = 40, 30


@st.composite
def boxes(draw: st.DrawFn) -> tuple[str, int, int, int, int]:
    """Draw a box from 0 with far edges, at least 2 pixels a side: of one pixel VOC's corners coincide."""
    x1, y1 = draw(st.integers(0, WIDTH - 2)), draw(st.integers(0, HEIGHT - 2))
    x2, y2 = draw(st.integers(x1 + 2, WIDTH)), draw(st.integers(y1 + 2, HEIGHT))
    return draw(st.sampled_from(["cat", "dog", "cow"])), x1, y1, x2, y2


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(boxes(), max_size=4), min_size=2, max_size=3).filter(any))
def test_voc_and_coco_agree(
    tmp_path_factory: pytest.TempPathFactory, images: list[list[tuple[str, int, int, int, int]]]
) -> None:
    root = tmp_path_factory.mktemp("set")
    names = sorted({box[0] for image in images for box in image})
    content: dict[str, list[Any]] = {
        "annotations": [],
        "images": [],
        "categories": [{"id": 3 * k + 5, "name": name} for k, name in enumerate(names)],
    }
    for k, image in enumerate(images):
        for kind in ("voc", "coco"):
            write_picture(root / kind / "train" / f"{k}.png", (WIDTH, HEIGHT))
        drawn = [(name, x1 + 1, y1 + 1, x2, y2) for name, x1, y1, x2, y2 in image]
        (root / "voc" / "train" / f"{k}.xml").write_text(spell_annotation(drawn, (WIDTH, HEIGHT)))
        content["images"].append({"id": 100 - k, "file_name": f"{k}.png"})
        for name, x1, y1, x2, y2 in image:
            category, box = 3 * names.index(name) + 5, [x1, y1, x2 - x1, y2 - y1]
            content["annotations"].append({"image_id": 100 - k, "category_id": category, "bbox": box})
    (root / "coco" / "train" / "labels.json").write_text(json.dumps(content))
    voc, coco = VocFolder(BOX_SETS["voc"], root / "voc"), CocoJson(BOX_SETS["coco"], root / "coco")
    assert voc.name_classes("train") == coco.name_classes("train") == tuple(names)
    for name, column in voc.arrays("train").items():
        assert np.array_equal(column, coco.arrays("train")[name]), name
    assert voc.arrays("train")["boxes"].tolist() == [list(box[1:]) for image in images for box in image]
    pairs = zip(voc.batches("train", 16, 3), coco.batches("train", 16, 3), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
