import hashlib

import numpy as np
import pytest

from evo_nas.data.boxes.scenes import SCENE_PARTS, Scenes, load_glyphs
from evo_nas.errors import UsageError

COUNTS = {"train": 60, "val": 20, "test": 20}


def test_parts_are_made_of_different_digits() -> None:
    glyphs = {part: {bytes(glyph) for glyph in load_glyphs(part, 0)[0]} for part in SCENE_PARTS}
    assert [len(load_glyphs(part, 0)[1]) for part in SCENE_PARTS] == [1157, 285, 355]
    assert len(set().union(*glyphs.values())) == sum(map(len, glyphs.values()))


@pytest.mark.parametrize(
    ("name", "digest"),
    [("scenes", "92692ff1d74253b5"), ("plates", "8a1cfad487312d53")],
)
def test_permanence(name: str, digest: str) -> None:
    """The same seed makes the same scenes for ever: if that is to change, raise VERSION in scenes.py."""
    source = Scenes(name, counts={"train": 8})
    made = hashlib.sha256(next(source.batches("train", 64, 1)).tobytes())
    for column in source.arrays("train").values():
        made.update(column.tobytes())
    assert made.hexdigest()[:16] == digest


@pytest.mark.parametrize("name", ["scenes", "plates"])
@pytest.mark.parametrize("canvas", [64, 96])
def test_boxes_are_tight_apart_and_inside(name: str, canvas: int) -> None:
    source = Scenes(name, canvas, counts=COUNTS)
    pixels = next(source.batches("train", canvas, 3))
    assert pixels.shape == (60, canvas, canvas, 3)
    for image in source.annotations("train"):
        assert (image.boxes >= 0).all()
        assert (image.boxes <= canvas).all()
        assert (image.boxes[:, 2:] - image.boxes[:, :2] >= 3).all()
        for i, box in enumerate(image.boxes):
            shared = np.minimum(box[2:], image.boxes[:i, 2:]) - np.maximum(box[:2], image.boxes[:i, :2])
            smaller = np.minimum(image.areas[i], image.areas[:i])
            assert (shared.clip(0).prod(axis=1) < 0.05 * smaller).all()


def test_a_scene_does_not_depend_on_how_many_there_are() -> None:
    few, many = (Scenes("plates", counts={"train": count}) for count in (3, 9))
    assert np.array_equal(next(few.batches("train", 64, 1)), next(many.batches("train", 64, 1))[:3])


def test_seeds_and_parts_make_other_scenes() -> None:
    sources = [Scenes("scenes", seed=seed, counts=COUNTS) for seed in (0, 1)]
    first = [next(source.batches(part, 64, 1))[0].tobytes() for source in sources for part in SCENE_PARTS]
    assert len(set(first)) == 6
    assert len({source.stamp(part) for source in sources for part in SCENE_PARTS}) == 6


def test_some_plates_hold_nothing_and_some_digits_do_not_count() -> None:
    counts = [len(image.labels) for image in Scenes("plates", counts={"train": 300}).annotations("train")]
    assert 1.8 < np.mean(counts) < 2.6
    assert 0 < np.mean(np.array(counts) == 0) < 0.1


@pytest.mark.parametrize("canvas", [32, 1024])
def test_a_canvas_without_room_is_refused(canvas: int) -> None:
    with pytest.raises(UsageError, match="48 to 512 pixels"):
        Scenes("plates", canvas)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(UsageError, match="not train -1"):
        Scenes("plates", counts={"train": -1})
