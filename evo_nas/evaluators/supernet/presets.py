"""The presets of the supernet: what differs from those of the trainers of classifiers and of detectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PRESETS: Final[dict[str, Mapping[str, Any]]] = {
    "digits": {"epochs": 30, "learning_rate": 0.05, "recalibration_images": 256},
    "cpu": {"epochs": 30, "learning_rate": 0.05, "train_images": 5000, "recalibration_images": 512},
    "gpu": {"epochs": 300, "recalibration_images": 5120},
}
"""Name of a preset of the proxy trainer -> the settings of a supernet in the place of its own.

Half of the proxy's learning rate: a path's gradient is that of one network among thousands. ``gpu`` is untested.
"""

OF_DETECTORS: Final[dict[str, Mapping[str, Any]]] = {
    "tiny": {"epochs": 2, "recalibration_images": 16, "pretraining_epochs": 1},
    "plates": {"epochs": 12, "recalibration_images": 64, "pretraining_epochs": 8},
    "digits": {"epochs": 10, "recalibration_images": 64, "pretraining_epochs": 8},
    "cpu": {"epochs": 24, "recalibration_images": 64, "pretraining_epochs": 8},
    "gpu": {"epochs": 100, "recalibration_images": 4000, "pretraining_epochs": 100},
}
"""Name of a preset of the trainer of detectors -> the settings of a supernet in the place of its own.

4,000 images as in DetNAS's released code (500 batches of 8). ``gpu`` is untested.
"""

NATURAL: Final = {"scenes": "digits", "plates": "digits"}
"""Set with boxes -> the images of single objects of which it is made: a supernet begins with these by default."""
