"""The handwritten digits that scikit-learn ships: 1,797 grey images of 8x8 pixels, no download."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import numpy as np

from evo_nas.data.sources.base import DataSet, ImageSource, Part, pixels


class Digits(ImageSource):
    """The UCI optical digits (Alpaydin and Kaynak 1998), of which scikit-learn embeds the 1,797 of its test file.

    There is no official split of them: the last fifth of each class, rounded down, is the test part. The file seems to
    be ordered by writer, so that the end of it holds mostly hands that the train part does not.
    """

    form = "scikit-learn"
    place = "scikit-learn"

    @classmethod
    def find(cls, known: DataSet, place: Path) -> Self:
        """Return the set, which lies in no folder."""
        return cls()

    def classes(self) -> tuple[str, ...]:
        """Return the names of the ten digits."""
        return tuple(map(str, range(10)))

    def stamp(self, part: Part) -> str:
        """Return the name of the set: it never changes."""
        return f"scikit-learn digits {part}, last fifth of each class"

    def labels(self, part: Part) -> np.ndarray:
        """Return the digit of each image."""
        return self.load(part)[1]

    def batches(self, part: Part, size: int | None, channels: int) -> Iterator[np.ndarray]:
        """Scale the greys 0..16 to 0..255, and resize."""
        from PIL import Image

        greys, _ = self.load(part)
        yield np.stack([pixels(Image.fromarray(grey), size, channels) for grey in greys])

    def faults(self, part: Part) -> Iterator[str]:
        """Yield nothing: the images are part of an installed library."""
        yield from ()

    def load(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Return uint8 greys of shape (n, 8, 8) and their labels, in the order of the file."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        labels = bunch.target.astype(np.int64)
        held = np.zeros(len(labels), dtype=bool)
        for digit in range(10):
            (members,) = np.nonzero(labels == digit)
            held[members[len(members) - len(members) // 5 :]] = True
        chosen = held if part == "test" else ~held
        return np.rint(bunch.images[chosen] * (255 / 16)).astype(np.uint8), labels[chosen]


DIGITS: Final = DataSet(
    "digits", "the handwritten digits that scikit-learn ships", 8, 1, (Digits,), classes=10, train=1_442, test=355
)
