"""The presets of the detector's trainer: one table of everything that decides the training of a candidate.

Every field can be overridden: ``--set evaluator.epochs=8``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from evo_nas.training.recipes import Recipe

NECK_OF_CHAINS: Final = "fpn"
"""The neck of a detector whose backbone is searched: DetNAS has FPN (Chen et al. 2019, section 4.1)."""


@dataclass(frozen=True)
class DetectorPreset:
    """A recipe with the size of the detector and of its images.

    ``canvas`` is the side of an image in pixels, ``finest_stride`` the pixels per cell of level 3. ``width`` and
    ``repeats`` are those of the neck, ``depth`` is how many convolutions a tower of the head has, and ``scales`` how
    many anchors of different size a cell has, per aspect. ``train_images`` and ``validation_images`` are 0 for all that
    the set has. A training to the end has ``final_epochs`` instead of those of the recipe.
    """

    about: str
    canvas: int
    recipe: Recipe
    backbone: str = "thin"
    width: int = 32
    repeats: int = 1
    depth: int = 1
    finest_stride: int = 4
    train_images: int = 0
    validation_images: int = 0
    final_epochs: int = 24

    def settings(self) -> dict[str, Any]:
        """Return every number of size, data and recipe by the name of its option."""
        sizes = (
            *("canvas", "backbone", "width", "repeats", "depth", "finest_stride"),
            *("train_images", "validation_images"),
        )
        return {**{name: getattr(self, name) for name in sizes}, **asdict(self.recipe)}

    def summary(self) -> str:
        """Describe the preset in one line, for ``list presets``."""
        recipe, count = self.recipe, f"{self.train_images:,}" if self.train_images else "all"
        return (
            f"{self.about}: backbone {self.backbone}, neck of {self.width} channels x{self.repeats}, "
            f"{recipe.epochs} epochs on {count} images of {self.canvas}x{self.canvas}, batch {recipe.batch_size}, "
            f"{recipe.optimizer} at {recipe.learning_rate}"
        )


def _adamw(epochs: int, *, flip: bool) -> Recipe:
    """Return the recipe of the small presets."""
    return Recipe(
        epochs=epochs,
        batch_size=8,
        learning_rate=0.006,
        weight_decay=5e-4,
        gradient_norm=10.0,
        padding=0,
        flip=flip,
        optimizer="adamw",
        warmup=50,
    )


PRESETS: Final[dict[str, DetectorPreset]] = {
    "tiny": DetectorPreset(
        about="plates in two seconds per candidate, for tests: it finds next to nothing",
        canvas=64,
        width=16,
        depth=0,
        train_images=120,
        validation_images=40,
        recipe=_adamw(2, flip=False),
        final_epochs=2,
    ),
    "plates": DetectorPreset(
        about="digits inside plates, which need a neck, for a search",
        canvas=64,
        train_images=600,
        validation_images=250,
        recipe=_adamw(8, flip=False),
    ),
    "digits": DetectorPreset(
        about="digits of all sizes",
        canvas=64,
        backbone="full",
        train_images=600,
        validation_images=250,
        recipe=_adamw(5, flip=False),
    ),
    "cpu": DetectorPreset(
        about="images of one's own, small",
        canvas=128,
        backbone="full",
        recipe=_adamw(6, flip=True),
    ),
    # The proxy task of Ghiasi et al. 2019, section 4.1: ResNet-10 at 512, 10 epochs; rate and batch are those of their
    # final training. Nobody has run it here.
    "gpu": DetectorPreset(
        about="the paper's proxy task, for a GPU",
        canvas=512,
        backbone="residual:64+128+256+512x1",
        width=256,
        repeats=3,
        depth=4,
        finest_stride=8,
        recipe=Recipe(
            epochs=10,
            batch_size=64,
            learning_rate=0.08,
            weight_decay=1e-4,
            gradient_norm=10.0,
            padding=0,
            warmup=1000,
            scale=0.2,
        ),
        final_epochs=50,
    ),
}
"""Name, as ``--preset`` takes it -> settings."""

SUITED: Final = {"plates": "plates", "scenes": "digits"}
"""Set of images -> the preset that is made for it."""
