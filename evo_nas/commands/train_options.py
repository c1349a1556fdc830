"""The options of a training to the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrainOptions:
    """The options of a training on the command line; ``None`` is the preset's, or that of the file ``start``."""

    preset: str | None = None
    dataset: str | None = None
    macro: str | None = None
    size: str | None = None
    cells_per_stack: int | None = None
    filters: int | None = None
    stem: int | None = None
    skip_reduction_input: bool | None = None
    image: int | None = None
    epochs: int | None = None
    train_images: int | None = None
    validation_images: int | None = None
    seed: int = 0
    start: Path | None = None
    settings: tuple[str, ...] = ()
    network: str | None = None
    neck: str | None = None
    backbone: str | None = None
    policy: str | None = None
    processes: int = 1
