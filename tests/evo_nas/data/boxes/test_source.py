import pickle
from pathlib import Path

import numpy as np
import pytest

from evo_nas.data.boxes.scenes import Scenes
from evo_nas.data.boxes.source import open_boxes
from evo_nas.errors import UsageError

COUNTS = {"train": 12, "val": 6, "test": 5}


def test_parts_open_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    scenes = open_boxes("plates", counts=COUNTS)
    assert (scenes.name, scenes.canvas, scenes.channels) == ("plates", 64, 1)
    assert scenes.classes == tuple("0123456789")
    assert (len(scenes.train), len(scenes.val)) == (12, 6)
    assert len(list(cache.iterdir())) == 2  # nothing of the test part
    assert len(scenes.test) == 5
    pixels = scenes.train.read_canvases()
    assert scenes.mean[0] == pytest.approx(pixels.mean() / 255)
    assert scenes.std[0] == pytest.approx(pixels.std() / 255)


def test_the_second_opening_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_boxes("scenes", counts=COUNTS, channels=3)
    monkeypatch.setattr(Scenes, "_draw", lambda *_: pytest.fail("a scene was drawn"))
    again = open_boxes("scenes", counts=COUNTS, channels=3)
    assert again.fingerprint == first.fingerprint
    assert np.array_equal(again.train.boxes, first.train.boxes)
    assert again.channels == 3


def test_a_set_is_pickled_small() -> None:
    scenes = open_boxes("scenes", counts=COUNTS)
    images, targets = scenes.train.tensors()
    pickled = pickle.dumps(scenes)
    assert len(pickled) < 8000
    other = pickle.loads(pickled)
    assert other.train.tensors()[0].equal(images)
    assert other.train.tensors()[1].boxes.equal(targets.boxes)
    assert len(other.test) == 5


def test_the_fingerprint_is_of_all_that_a_search_sees() -> None:
    def fingerprint(**counts: int) -> str:
        return open_boxes("scenes", counts={**COUNTS, **counts}).fingerprint  # type: ignore[dict-item]

    assert fingerprint() == fingerprint(test=9)
    assert len({fingerprint(), fingerprint(train=11), fingerprint(val=5)}) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "cifar10"}, "no data set with boxes 'cifar10'; those are: scenes, plates"),
        ({"canvas": 8}, "between 16 and 2048 pixels"),
        ({"canvas": 0}, "between 16 and 2048 pixels a side, not 0"),
        ({"channels": 0}, "1 channel .grey. or 3 .RGB., not 0"),
        ({"canvas": 4096}, "between 16 and 2048 pixels"),
        ({"channels": 2}, "1 channel .grey. or 3 .RGB., not 2"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_boxes(**{"dataset": "scenes", **options})  # type: ignore[arg-type]
