"""The presets of the supernet: what differs from those of the proxy trainer."""

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
