"""The presets of the proxy trainer: one table of everything that decides a proxy training.

Every field can be overridden: ``--set evaluator.epochs=5``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from evo_nas.training.recipes import Recipe


@dataclass(frozen=True)
class Preset:
    """The settings of a proxy training.

    ``image_size`` is the side in pixels to which images are brought. ``cells_per_stack`` is N, ``filters`` is F.
    ``train_images`` is a stratified part of what is not held out for validation; 0 takes all of it.
    ``validation_images`` are held out of the train part. The rest is the recipe.
    """

    about: str
    image_size: int
    cells_per_stack: int
    filters: int
    train_images: int
    validation_images: int
    recipe: Recipe

    def settings(self) -> dict[str, Any]:
        """Return every number of size, data and recipe by the name of its option."""
        sizes = ("image_size", "cells_per_stack", "filters", "train_images", "validation_images")
        return {**{name: getattr(self, name) for name in sizes}, **asdict(self.recipe)}

    def summary(self) -> str:
        """Describe the preset in one line, for ``list presets``."""
        images = f"{self.train_images:,}" if self.train_images else "all other"
        recipe, side = self.recipe, self.image_size
        return (
            f"{self.about}: N={self.cells_per_stack} F={self.filters}, {recipe.epochs} epochs on {images} images of "
            f"{side}x{side}, batch {recipe.batch_size}, learning rate {recipe.learning_rate}, "
            f"{self.validation_images:,} validation images"
        )


PRESETS: Final[dict[str, Preset]] = {
    "digits": Preset(
        about="seconds per candidate on one core, for demos and tests",
        image_size=8,
        cells_per_stack=1,
        filters=4,
        train_images=0,
        validation_images=280,
        recipe=Recipe(epochs=4, batch_size=32, learning_rate=0.1, padding=1, flip=False),
    ),
    # The small-scale experiments of Real et al. 2018, section 5, searched with N=1 and F=8 too.
    "cpu": Preset(
        about="10 to 25 seconds per candidate on one core",
        image_size=16,
        cells_per_stack=1,
        filters=8,
        train_images=5000,
        validation_images=2000,
        recipe=Recipe(epochs=2, batch_size=64, learning_rate=0.1, padding=2, flip=True),
    ),
    # Zoph et al. 2017: N=2, 20 epochs; Real et al. 2018: N=3, F=24, 25 epochs; 5,000 images held out in both. Their
    # batch size and initial learning rate are not stated: these are the ones of the final CIFAR-10 training.
    "gpu": Preset(
        about="the papers' search setting, for a GPU",
        image_size=32,
        cells_per_stack=2,
        filters=24,
        train_images=0,
        validation_images=5000,
        recipe=Recipe(epochs=20, batch_size=128, learning_rate=0.1, padding=4, flip=True),
    ),
}
"""Name, as ``--preset`` takes it -> settings."""
