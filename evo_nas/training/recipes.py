"""Recipes of trainings to the end: every number that decides a training, and presets of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Final

AUGMENTATIONS: Final = ("crop", "imagenet")
"""Shifted crops of images in memory, as for CIFAR; or resized crops of files, as for ImageNet."""

OPTIMIZERS: Final = ("sgd", "adamw")
"""SGD with momentum, whose weight decay is part of the gradient; or AdamW, which decays the weights themselves."""


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training under one period of a cosine, from ``learning_rate`` down to 0.

    ``optimizer`` is a name of :data:`OPTIMIZERS`; AdamW does not use ``momentum``.

    ``gradient_norm`` is what the norm of the gradient is clipped to, 0 for no clipping. ``padding`` is how many pixels
    a random crop may shift, ``cutout`` the side of the square that is cut out, both 0 for none.

    ``auxiliary_weight`` is the weight of the auxiliary classifier's loss, 0 for none; ``label_smoothing`` the share of
    the target that is spread over all classes; ``ema_decay`` that of the average of weights which is measured and kept,
    0 for the weights themselves. A batch is cut into ``accumulate`` parts, one after another in memory.

    ``dropout``, ``drop_path_keep`` and ``drop_path_schedule`` are those of
    :class:`evo_nas.phenotypes.network.CellNetwork`. ``augmentation`` is a name of :data:`AUGMENTATIONS`.

    Raises:
        ValueError: if a number is out of range or a name is unknown.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    gradient_norm: float = 5.0
    padding: int = 4
    flip: bool = True
    cutout: int = 0
    auxiliary_weight: float = 0.0
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    accumulate: int = 1
    dropout: float = 0.0
    drop_path_keep: float = 1.0
    drop_path_schedule: str = "both"
    augmentation: str = "crop"
    optimizer: str = "sgd"

    def __post_init__(self) -> None:
        least = {"epochs": 1, "batch_size": 2, "accumulate": 1}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in ("int", "float") and not least.get(field.name, 0) <= value < math.inf:
                raise ValueError(f"{field.name} must be finite and at least {least.get(field.name, 0)}, not {value}")
        for name in ("momentum", "label_smoothing", "ema_decay", "dropout"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} must be below 1, not {getattr(self, name)}")
        if not 0 < self.drop_path_keep <= 1:
            raise ValueError(f"drop_path_keep must lie in (0, 1], not {self.drop_path_keep}")
        if self.accumulate > self.batch_size // 2:
            raise ValueError(
                f"accumulate cannot cut a batch of {self.batch_size} into {self.accumulate} parts: too small"
            )
        if self.augmentation not in AUGMENTATIONS:
            raise ValueError(f"augmentation must be one of {', '.join(AUGMENTATIONS)}, not {self.augmentation!r}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, not {self.optimizer!r}")

    def network_options(self, image: int) -> dict[str, Any]:
        """Return what the network must know of its training, at ``image`` pixels a side."""
        return {
            "dropout": self.dropout,
            "drop_path_keep": self.drop_path_keep,
            "drop_path_schedule": self.drop_path_schedule,
            "auxiliary_image": image if self.auxiliary_weight else None,
        }


@dataclass(frozen=True)
class TrainingPreset:
    """A recipe with the size of the network and of the images that it is meant for.

    ``validation_images`` are held out of the train part, 0 for none; ``train_images`` of the rest are trained on, 0
    for all.
    """

    about: str
    cells_per_stack: int
    filters: int
    image: int
    recipe: Recipe
    macro: str = "cifar"
    train_images: int = 0
    validation_images: int = 0

    def summary(self) -> str:
        """Describe the preset in one line, for ``list recipes``."""
        recipe = self.recipe
        return (
            f"{self.about}: {self.macro}, N={self.cells_per_stack} F={self.filters}, images of "
            f"{self.image}x{self.image}, {recipe.epochs} epochs, batch {recipe.batch_size}, "
            f"learning rate {recipe.learning_rate}, drop path keep {recipe.drop_path_keep}, "
            f"auxiliary {recipe.auxiliary_weight}, cutout {recipe.cutout}"
        )


TRAININGS: Final[dict[str, TrainingPreset]] = {
    # tensorflow/models, slim/nets/nasnet, cifar_config: batch 32, 0.025, drop path 0.6 over 600 epochs. Zoph et al.
    # 2017, table 1, has results with cutout (DeVries and Taylor 2017: 16 pixels) and without.
    "cifar-paper": TrainingPreset(
        about="the papers' final CIFAR training, days on a GPU",
        cells_per_stack=6,
        filters=32,
        image=32,
        recipe=Recipe(
            epochs=600,
            batch_size=32,
            learning_rate=0.025,
            cutout=16,
            auxiliary_weight=0.4,
            drop_path_keep=0.6,
        ),
    ),
    "cifar-short": TrainingPreset(
        about="a tenth of that, to compare cells with each other",
        cells_per_stack=6,
        filters=32,
        image=32,
        validation_images=5000,
        recipe=Recipe(
            epochs=60,
            batch_size=96,
            learning_rate=0.05,
            cutout=16,
            auxiliary_weight=0.4,
            drop_path_keep=0.8,
        ),
    ),
    "cpu": TrainingPreset(
        about="a small network on small images, about 20 minutes on one core",
        cells_per_stack=1,
        filters=8,
        image=16,
        validation_images=5000,
        recipe=Recipe(epochs=8, batch_size=64, learning_rate=0.1, padding=2),
    ),
    # slim/nets/nasnet, mobile_imagenet_config, and train_image_classifier.py for the average. Theirs is RMSProp at
    # 0.04 * 50 / 50 a replica of 32 images; the rate for SGD and the number of epochs are DARTS's (section 3.3).
    "imagenet-mobile": TrainingPreset(
        about="the mobile setting of ImageNet, a week on 8 GPUs",
        macro="imagenet",
        cells_per_stack=4,
        filters=44,
        image=224,
        recipe=Recipe(
            epochs=250,
            batch_size=256,
            learning_rate=0.1,
            weight_decay=4e-5,
            gradient_norm=10.0,
            auxiliary_weight=0.4,
            label_smoothing=0.1,
            ema_decay=0.9999,
            dropout=0.5,
            augmentation="imagenet",
        ),
    ),
}
"""Name, as ``train --preset`` takes it -> settings."""
