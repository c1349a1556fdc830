"""Pictures and annotations of small sets with boxes, in both formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Box = tuple[str, float, float, float, float]


def write_picture(path: Path, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def spell_annotation(boxes: Sequence[Box], size: tuple[int, int] = (40, 30), difficult: int = 0) -> str:
    objects = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, x1, y1, x2, y2 in boxes
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{objects}</annotation>"


def coco_content() -> dict[str, Any]:
    """Return three images, of which one has no box, one an ordinary one, and one a crowd too."""
    return {
        "info": {"year": 2026},
        "licenses": [{"id": 1}],
        "images": [
            {"id": 30, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 10, "file_name": "b.png", "width": 40, "height": 30},
            {"id": 20, "file_name": "c.png", "width": 40, "height": 30},
        ],
        "annotations": [
            {"id": 1, "image_id": 30, "category_id": 90, "bbox": [10, 5, 10, 10], "iscrowd": 0, "area": 60},
            {"id": 2, "image_id": 20, "category_id": 7, "bbox": [0, 0, 40, 30], "iscrowd": 1},
            {"id": 3, "image_id": 20, "category_id": 7, "bbox": [1.5, 2.5, 5, 5], "segmentation": [[1, 2, 3]]},
        ],
        "categories": [{"id": 90, "name": "dog"}, {"id": 7, "name": "cat"}],
    }
