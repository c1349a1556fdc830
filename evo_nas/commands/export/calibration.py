"""The options of a quantisation: which images it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

CALIBRATION_IMAGES: Final = 256
"""Train images that the ranges of activations are taken from by default."""


@dataclass(frozen=True)
class Calibration:
    """The images that a quantisation looks at, and how many of the train part it takes.

    ``weights`` lie in the folder of their training, whose data set and split are then meant, or ``dataset`` names one.
    The latency is measured with ``threads`` of the CPU.
    """

    weights: Path | None = None
    dataset: str | None = None
    data_dir: Path | None = None
    images: int = CALIBRATION_IMAGES
    threads: int = 1
