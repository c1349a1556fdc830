"""Objects in image files: canvases are those of the training, boxes are brought back to the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from evo_nas.data.sources.layout import find_images
from evo_nas.errors import DataError, UsageError
from evo_nas.phenotypes.blueprint import CellBlueprint, DetectorBlueprint, save_network, save_tensors
from evo_nas.training.finding import cut_objects, find_objects, load_detector
from evo_nas.training.judging import judge_detector
from evo_nas.training.precision import Found
from genotypes.zoo import CELLS
from tests.evo_nas.data.boxes.sets import spell_annotation, write_picture

BLUEPRINT = DetectorBlueprint(
    classes=("cat", "dog"),
    channels=3,
    image=64,
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.2, 0.2),
    backbone="thin",
    neck="none",
    width=8,
    repeats=1,
    depth=0,
    finest_stride=4,
)


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    """Return random weights whose scores and boxes differ from place to place."""
    torch.manual_seed(0)
    found = BLUEPRINT.network().state_dict()
    found["head.classify.predict.weight"].normal_(std=3.0)
    found["head.locate.predict.weight"].normal_(std=0.3)
    found["head.classify.predict.bias"].zero_()
    return found


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Return a set of wide, tall and small images with a cat and a dog each."""
    root = tmp_path / "data" / "voc"
    for part, sizes in (("train", [(40, 30)] * 3), ("test", [(40, 30), (30, 50), (90, 20), (64, 64)])):
        for index, size in enumerate(sizes):
            name = f"{part}{index}"
            write_picture(root / part / f"{name}.png", size)
            boxes = [("cat", 2, 2, 20, 15), ("dog", 5, 5, 12, 18)]
            (root / part / f"{name}.xml").write_text(spell_annotation(boxes, size))
    return root


def test_files_and_the_decoded_set_give_the_same_boxes(voc: Path, tensors: dict[str, torch.Tensor]) -> None:
    judged = judge_detector(BLUEPRINT, tensors, "voc", voc.parent, device="cpu")
    known = list(judged.findings(score=0.3, most=7))
    found = find_objects(BLUEPRINT, tensors, find_images([voc / "test"]), score=0.3, most=7, device="cpu")
    assert [each.image.name for each in found] == [f"test{index}.png" for index in range(4)]
    assert [each.size for each in found] == [(40, 30), (30, 50), (90, 20), (64, 64)]
    for one, other in zip(found, known, strict=True):
        assert one.image == other.image
        assert len(one.objects) == 7
        assert [each.label for each in one.objects] == [each.label for each in other.objects]
        np.testing.assert_allclose([e.box for e in one.objects], [e.box for e in other.objects], atol=1e-3)
        boxes = np.array([each.box for each in one.objects])
        assert (boxes >= 0).all()
        assert (boxes <= np.tile(one.size, 2)).all()
        assert [each.score for each in one.objects] == sorted((each.score for each in one.objects), reverse=True)
    assert judged.truth(0).tolist() == [[1, 1, 20, 15], [4, 4, 12, 18]]
    assert 0 <= judged.precision.averages["ap"] <= 1


def test_what_lies_beside_the_image_is_no_object() -> None:
    boxes = np.array([[-5.0, 2, 10, 30], [0, 21, 40, 39], [3, 3, 9, 9], [1, 1, 5, 5]])
    found = Found(boxes, np.array([0.9, 0.8, 0.7, 0.2], dtype=np.float32), np.array([1, 0, 0, 1]))
    first, second = cut_objects(found, ("cat", "dog"), (40, 20), score=0.3, most=5)
    assert (first.name, first.label, first.box) == ("dog", 1, (0, 2, 10, 20))
    assert (second.name, second.label, second.box) == ("cat", 0, (3, 3, 9, 9))
    assert list(cut_objects(found, ("cat", "dog"), (40, 20), score=0.3, most=1)) == [first]


def test_a_set_of_other_classes_is_refused(voc: Path, tensors: dict[str, torch.Tensor]) -> None:
    (voc / "train" / "train0.xml").write_text(spell_annotation([("cow", 2, 2, 20, 15)]))
    with pytest.raises(DataError, match="voc has the classes cat, cow, dog, and the detector knows cat, dog"):
        judge_detector(BLUEPRINT, tensors, "voc", voc.parent, device="cpu")


def test_weights_of_no_detector_are_refused(tmp_path: Path) -> None:
    cells = CellBlueprint(CELLS["darts-v2"], cells_per_stack=1, filters=2, classes=("a", "b"), image=8)
    save_network(tmp_path / "cells.safetensors", cells, cells.network().state_dict())
    save_tensors(tmp_path / "plain.safetensors", {"a": torch.zeros(2)})
    with pytest.raises(UsageError, match="holds a classifier, and no detector: python -m evo_nas predict"):
        load_detector(tmp_path / "cells.safetensors")
    with pytest.raises(UsageError, match="does not say what detector it holds"):
        load_detector(tmp_path / "plain.safetensors")


def test_a_network_whose_numbers_are_none_says_so(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    write_picture(tmp_path / "a.png")
    tensors["head.classify.predict.bias"].fill_(float("nan"))
    with pytest.raises(DataError, match="no finite number"):
        find_objects(BLUEPRINT, tensors, [tmp_path / "a.png"], device="cpu")
