"""The presets of the proxy trainer: one table of everything that decides a proxy training.

Every field can be overridden: ``--set evaluator.epochs=5``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Preset:
    """The settings of a proxy training.

    ``image_size`` is the side in pixels to which images are brought. ``cells_per_stack`` is N, ``filters`` is F.
    ``train_images`` is a stratified part of what is not held out for validation; 0 takes all of it.
    ``validation_images`` are held out of the train part. ``padding`` is how many pixels a random crop may shift,
    ``cutout`` the side of the square that is cut out, both 0 for none. ``gradient_norm`` is what the norm of the
    gradient is clipped to, 0 for no clipping. ``drop_path_keep`` is the probability, in (0, 1], that a path of the
    last cell is kept at the end of training. The learning rate follows one period of a cosine down to 0.
    """

    about: str
    image_size: int
    cells_per_stack: int
    filters: int
    epochs: int
    batch_size: int
    learning_rate: float
    train_images: int
    validation_images: int
    padding: int
    flip: bool
    cutout: int = 0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    drop_path_keep: float = 1.0
    gradient_norm: float = 5.0

    def summary(self) -> str:
        """Describe the preset in one line, for ``list presets``."""
        images = f"{self.train_images:,}" if self.train_images else "all other"
        return (
            f"{self.about}: N={self.cells_per_stack} F={self.filters}, {self.epochs} epochs on {images} images of "
            f"{self.image_size}x{self.image_size}, batch {self.batch_size}, learning rate {self.learning_rate}, "
            f"{self.validation_images:,} validation images"
        )


PRESETS: Final[dict[str, Preset]] = {
    "digits": Preset(
        about="seconds per candidate on one core, for demos and tests",
        image_size=8,
        cells_per_stack=1,
        filters=4,
        epochs=4,
        batch_size=32,
        learning_rate=0.1,
        train_images=0,
        validation_images=280,
        padding=1,
        flip=False,
    ),
    # The small-scale experiments of Real et al. 2018, section 5, searched with N=1 and F=8 too.
    "cpu": Preset(
        about="10 to 25 seconds per candidate on one core",
        image_size=16,
        cells_per_stack=1,
        filters=8,
        epochs=2,
        batch_size=64,
        learning_rate=0.1,
        train_images=5000,
        validation_images=2000,
        padding=2,
        flip=True,
    ),
    # Zoph et al. 2017: N=2, 20 epochs; Real et al. 2018: N=3, F=24, 25 epochs; 5,000 images held out in both. Their
    # batch size and initial learning rate are not stated: these are the ones of the final CIFAR-10 training.
    "gpu": Preset(
        about="the papers' search setting, for a GPU",
        image_size=32,
        cells_per_stack=2,
        filters=24,
        epochs=20,
        batch_size=128,
        learning_rate=0.1,
        train_images=0,
        validation_images=5000,
        padding=4,
        flip=True,
    ),
}
"""Name, as ``--preset`` takes it -> settings."""
