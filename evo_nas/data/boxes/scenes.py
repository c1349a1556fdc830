"""Scenes of handwritten digits with a box around each: two sets that need no download, made of scikit-learn's digits.

``scenes`` labels every digit. In ``plates`` only the digits inside an outlined plate count: the same digits outside are
distractors, so that a detector must know at its finest level what only coarser ones see.

A scene is a function of the seed, the part and its number, on every machine the same. Scenes of one part are made of
digits of that part alone: the test part of the set ``digits``, a fifth of each other class by seed, and the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np
from PIL import Image

from evo_nas.data.boxes.base import Annotation, BoxSource
from evo_nas.data.sources.base import DataSet, Part
from evo_nas.data.sources.digits import Digits
from evo_nas.errors import UsageError

VERSION: Final = 1
"""Goes into the stamp: to be raised whenever the same seed would make another scene."""

SCENE_PARTS: Final[tuple[Part, ...]] = ("train", "val", "test")

COUNTS: Final[dict[Part, int]] = {"train": 600, "val": 250, "test": 250}
"""Scenes of each part by default."""

CANVASES: Final = (48, 512)
"""Smallest and largest canvas, in pixels: on smaller ones two plates have no room."""

_VISIBLE: Final = 64
"""Opacity, of 255, from which a pixel belongs to a digit's box: a quarter."""

_TRIES: Final = 40
"""Places that are tried for a digit or a plate; then it is left out."""

_OVERLAP: Final = 0.05
"""Share of the smaller of two boxes that may lie in the other."""


@dataclass(frozen=True, slots=True)
class Style:
    """Numbers of a set, each a range with both ends: digits per scene, their sides, plates per scene, their sides.

    Sides are pixels on a canvas of 64 and grow with it, but for digits of ``scenes`` (see :meth:`digit_sides`).
    """

    digits: tuple[int, int]
    sides: tuple[int, int]
    plates: tuple[int, int] = (0, 0)
    plate_sides: tuple[int, int] = (0, 0)

    def digit_sides(self, canvas: int) -> tuple[int, int]:
        """Return the smallest and the largest side of a digit on a canvas.

        Without plates the smallest stay small on a large canvas, so that sizes spread.
        """
        low, high = self.sides
        if self.plates[1]:
            return low * canvas // 64, high * canvas // 64
        return (low + (canvas > 64), high * canvas // 64 if canvas <= 64 else max(48, canvas * 3 // 8))


STYLES: Final[dict[str, Style]] = {
    "scenes": Style(digits=(2, 8), sides=(7, 32)),
    "plates": Style(digits=(3, 7), sides=(7, 18), plates=(1, 2), plate_sides=(28, 43)),
}


class Scene(NamedTuple):
    """Greys of a canvas, uint8 of shape (canvas, canvas), and the boxes, int64 of shape (m, 4), and labels on it."""

    greys: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


class Scenes(BoxSource):
    """The scenes of a style on a canvas, in the numbers that were asked for."""

    form = "scikit-learn"
    place = "scikit-learn"
    has_class_list = True

    def __init__(self, name: str, canvas: int = 64, seed: int = 0, counts: Mapping[Part, int] | None = None) -> None:
        if not CANVASES[0] <= canvas <= CANVASES[1]:
            raise UsageError(f"a canvas of {name} has {CANVASES[0]} to {CANVASES[1]} pixels a side, not {canvas}")
        self.name, self.canvas, self.seed = name, canvas, seed
        self.counts = {part: (counts or {}).get(part) or COUNTS[part] for part in SCENE_PARTS}
        if wrong := [f"{part} {count}" for part, count in self.counts.items() if count < 0]:
            raise UsageError(f"numbers of {name} must be at least 1, or 0 for the default, not {', '.join(wrong)}")
        self._drawn: dict[Part, list[Scene]] = {}

    @property
    def parts(self) -> tuple[Part, ...]:
        """Train, val and test."""
        return SCENE_PARTS

    @classmethod
    def find(cls, known: DataSet, place: Path) -> Self:
        """Return the set, which lies in no folder."""
        return cls(known.name)

    def configure(self, *, canvas: int, seed: int, counts: Mapping[Part, int]) -> Self:
        """Return the same set on another canvas, of another seed, with other numbers of scenes (0 for the default)."""
        return type(self)(self.name, canvas, seed, counts)

    def name_classes(self, part: Part) -> tuple[str, ...]:
        """Return the names of the ten digits."""
        return tuple(map(str, range(10)))

    def stamp(self, part: Part) -> str:
        """Return the name, the seed and the number of scenes: they decide all of them."""
        return f"scikit-learn digits as {self.name} {VERSION}, {part}, seed {self.seed}, {self.counts[part]}"

    def count_images(self, part: Part) -> int:
        """Return the number of scenes that was asked for."""
        return self.counts[part]

    def annotations(self, part: Part) -> Sequence[Annotation]:
        """Return the boxes of each scene, which is drawn for that."""
        size = (self.canvas, self.canvas)
        return [
            Annotation(
                name=f"{part}-{k:05d}",
                size=size,
                boxes=scene.boxes.astype(np.float64),
                labels=scene.labels,
                ignored=np.zeros(len(scene.labels), dtype=bool),
                areas=(scene.boxes[:, 2:] - scene.boxes[:, :2]).prod(axis=1).astype(np.float64),
            )
            for k, scene in enumerate(self._draw(part))
        ]

    def batches(self, part: Part, size: int | None, channels: int) -> Iterator[np.ndarray]:
        """Return all scenes at once, grey in every channel."""
        greys = np.stack([scene.greys for scene in self._draw(part)])
        yield np.repeat(greys[..., None], channels, axis=3)

    def faults(self, part: Part) -> Iterator[str]:
        """Yield nothing: the scenes are made, not read."""
        yield from ()

    def _draw(self, part: Part) -> list[Scene]:
        if part not in self._drawn:
            glyphs, labels = load_glyphs(part, self.seed)
            style, number = STYLES[self.name], SCENE_PARTS.index(part)
            self._drawn[part] = [
                draw_scene(style, self.canvas, glyphs, labels, np.random.default_rng([self.seed, number, k]))
                for k in range(self.counts[part])
            ]
        return self._drawn[part]


def load_glyphs(part: Part, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the digits of a part, uint8 of shape (n, 8, 8), and their labels, int64 of shape (n,).

    Validation digits are a fifth of each class of what is not the test part of ``digits``, drawn from ``seed``.
    """
    greys, labels = Digits().load("test" if part == "test" else "train")
    if part == "test":
        return greys, labels
    held = hold_out_glyphs(labels, seed)
    chosen = held if part == "val" else ~held
    return greys[chosen], labels[chosen]


def hold_out_glyphs(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return which digits of the train part of ``digits``, with these labels (n,), are for validation: bool (n,)."""
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(labels == digit))
        held[members[: len(members) // 5]] = True
    return held


def draw_scene(style: Style, canvas: int, glyphs: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Scene:
    """Return a scene of these digits, uint8 of shape (n, 8, 8) with labels of shape (n,).

    A digit, or the second plate, for which no free place is found is left out; so a scene may have no box.
    """
    greys = _draw_texture(canvas, rng)
    plates = _place_plates(style, canvas, rng)
    for x1, y1, x2, y2 in plates:
        ink = rng.integers(110, 200)
        greys[[y1, y2 - 1], x1:x2] = ink
        greys[y1:y2, [x1, x2 - 1]] = ink
    # All boxes keep apart; those of distractors do not count.
    taken: list[tuple[int, int, int, int]] = []
    counted: list[int] = []
    found: list[int] = []
    low, high = style.digit_sides(canvas)
    for _ in range(rng.integers(style.digits[0], style.digits[1] + 1)):
        which = int(rng.integers(len(labels)))
        side = round(low * (high / low) ** rng.random())
        glyph = np.asarray(
            Image.fromarray(glyphs[which]).resize((side, side), Image.Resampling.BICUBIC), dtype=np.int64
        )
        rows, columns = np.nonzero(glyph >= _VISIBLE)
        tight = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        ink = rng.integers(150, 256)
        plate = plates[rng.integers(len(plates))] if plates and rng.random() < 0.5 else None
        frame = (0, 0, canvas, canvas) if plate is None else _inset(plate, 2)
        for _ in range(_TRIES):
            corner = _draw_corner(frame, side, side, rng)
            if corner is None:
                break
            x, y = corner
            box = (tight[0] + x, tight[1] + y, tight[2] + x, tight[3] + y)
            clear = plate is not None or not any(_intersect((x, y, x + side, y + side), each) for each in plates)
            if clear and not any(_overlap(box, other) >= _OVERLAP for other in taken):
                part = greys[y : y + side, x : x + side].astype(np.int64)
                greys[y : y + side, x : x + side] = (part * (255 - glyph) + ink * glyph + 127) // 255
                taken.append(box)
                if plate is not None or not plates:
                    counted.append(len(taken) - 1)
                    found.append(int(labels[which]))
                break
    boxes = np.array(taken, dtype=np.int64).reshape(-1, 4)[counted]
    return Scene(greys, boxes, np.array(found, dtype=np.int64))


def _draw_texture(canvas: int, rng: np.random.Generator) -> np.ndarray:
    """Return three octaves of noise, resized to the canvas and added: greys from 0 to 95."""
    total = np.zeros((canvas, canvas), dtype=np.int64)
    for side in (4, 12, canvas // 2):
        noise = Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8))
        total += np.asarray(noise.resize((canvas, canvas), Image.Resampling.BILINEAR), dtype=np.int64)
    return (total * 95 // (3 * 255)).astype(np.uint8)


def _place_plates(style: Style, canvas: int, rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    """Return the boxes of plates that do not touch one another."""
    plates: list[tuple[int, int, int, int]] = []
    if not style.plates[1]:
        return plates
    low, high = (side * canvas // 64 for side in style.plate_sides)
    for _ in range(rng.integers(style.plates[0], style.plates[1] + 1)):
        for _ in range(_TRIES):
            width, height = rng.integers(low, high + 1, 2).tolist()
            corner = _draw_corner((0, 0, canvas, canvas), width, height, rng)
            assert corner is not None
            plate = (corner[0], corner[1], corner[0] + width, corner[1] + height)
            if not any(_intersect(_inset(plate, -1), other) for other in plates):
                plates.append(plate)
                break
    return plates


def _draw_corner(
    frame: tuple[int, int, int, int], width: int, height: int, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Return the top left corner of a rectangle within a frame, ``None`` where it is too large for it."""
    x1, y1, x2, y2 = frame
    if width > x2 - x1 or height > y2 - y1:
        return None
    return int(rng.integers(x1, x2 - width + 1)), int(rng.integers(y1, y2 - height + 1))


def _inset(box: tuple[int, int, int, int], by: int) -> tuple[int, int, int, int]:
    return box[0] + by, box[1] + by, box[2] - by, box[3] - by


def _share(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> int:
    """Return the area that two boxes share, in pixels."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(0, width) * max(0, height)


def _intersect(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return _share(box, other) > 0


def _overlap(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Return the share of the smaller box that lies in the other."""
    areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (box, other)]
    return _share(box, other) / min(areas)


SCENES: Final = DataSet("scenes", "scenes of scikit-learn's digits, all of them to be found", 64, 1, (Scenes,))
PLATES: Final = DataSet("plates", "scenes of scikit-learn's digits, those on plates to be found", 64, 1, (Scenes,))
