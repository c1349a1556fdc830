"""Recipes of trainings to the end: every number that decides a training, and presets of them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

from evo_nas.data.policies import Policies
from evo_nas.training.class_weights import NONE, read_weights
from genotypes.ranges import check_ranges

AUGMENTATIONS: Final = ("crop", "imagenet")
"""Shifted crops of images in memory, as for CIFAR; or resized crops of files, as for ImageNet."""

OPTIMIZERS: Final = ("sgd", "adamw")
"""SGD with momentum, whose weight decay is part of the gradient; or AdamW, which decays the weights themselves."""

PRECISIONS: Final = ("auto", "float32", "bfloat16")
"""What a network computes in during a training; weights are float32 always. ``auto`` is bfloat16 on CUDA alone."""

_GROWTH: Final = 4
"""Pixels a side by which small images grow at a time: after two reductions each is a pixel of the last maps."""

_GROWN_AT: Final = 0.7
"""Fraction of all steps after which images have their full size."""

RANGES: Final = {
    **dict.fromkeys(("epochs", "accumulate"), "[1, inf)"),
    "batch_size": "[2, inf)",
    **dict.fromkeys(("learning_rate", "weight_decay", "gradient_norm", "auxiliary_weight"), "[0, inf)"),
    **dict.fromkeys(("padding", "cutout", "warmup", "smallest_image"), "[0, inf)"),
    **dict.fromkeys(("momentum", "label_smoothing", "ema_decay", "dropout", "scale"), "[0, 1)"),
    "drop_path_keep": "(0, 1]",
}
"""The range of each number of a recipe."""


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training under one period of a cosine, from ``learning_rate`` down to 0.

    ``optimizer`` is a name of :data:`OPTIMIZERS`; AdamW does not use ``momentum``. Over the first ``warmup`` steps the
    learning rate rises in proportion, from a ``warmup``-th of what the cosine has, 0 for no such rise.

    ``gradient_norm`` is what the norm of the gradient is clipped to, 0 for no clipping. ``padding`` is how many pixels
    a random crop may shift, ``cutout`` the side of the square that is cut out, both 0 for none; images with boxes have
    neither. ``scale`` is by which share images with boxes are enlarged or shrunken at most, 0 for none.
    ``smallest_image`` is the side in pixels to which images are brought at the beginning, see :meth:`side_at`; 0 for
    full size always.

    ``auxiliary_weight`` is the weight of the auxiliary classifier's loss, 0 for none; ``label_smoothing`` the share of
    the target that is spread over all classes; ``class_weights`` how much each class counts in the loss: ``none`` for
    all the same, ``balanced`` for the inverse of its number of train images, or a number per class as ``1,2.5,1``.
    ``ema_decay`` is that of the average of weights which is measured and kept, 0 for the weights themselves. A batch is
    cut into ``accumulate`` parts, one after another in memory.

    ``dropout``, ``drop_path_keep`` and ``drop_path_schedule`` are those of
    :class:`evo_nas.phenotypes.network.CellNetwork`. ``augmentation`` is a name of :data:`AUGMENTATIONS`. ``policy`` are
    names of :mod:`evo_nas.data.policies` with commas between, ``none`` for none. ``precision`` is one of
    :data:`PRECISIONS`.

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
    warmup: int = 0
    scale: float = 0.0
    class_weights: str = NONE
    policy: str = NONE
    smallest_image: int = 0
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_ranges(self, **RANGES)
        if self.accumulate > self.batch_size // 2:
            raise ValueError(
                f"accumulate cannot cut a batch of {self.batch_size} into {self.accumulate} parts: too small"
            )
        if self.augmentation not in AUGMENTATIONS:
            raise ValueError(f"augmentation must be one of {', '.join(AUGMENTATIONS)}, not {self.augmentation!r}")
        if self.smallest_image and self.auxiliary_weight:
            raise ValueError("smallest_image goes without auxiliary_weight: that classifier takes one size of images")
        read_weights(self.class_weights)
        Policies.read(self.policy)
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, not {self.optimizer!r}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}")

    def learning_rate_at(self, step: int, steps: int) -> float:
        """Return the learning rate of a step, counted from 0, of so many."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return rise * self.learning_rate * (1 + math.cos(math.pi * (step / steps))) / 2

    def side_at(self, progress: float, image: int) -> int:
        """Return the side in pixels to which images of ``image`` pixels a side are brought, at a fraction of all steps.

        It grows in equal steps of 4 pixels, from ``smallest_image`` to the full size at 70 % of the training: small
        images are cheap, and regularise (progressive learning, Tan and Le 2021, section 4).
        """
        if not 0 < self.smallest_image < image:
            return image
        sizes = math.ceil((image - self.smallest_image) / _GROWTH)
        return min(image, self.smallest_image + _GROWTH * int(progress / _GROWN_AT * sizes))

    def network_options(self, image: int) -> dict[str, Any]:
        """Return what the network must know of its training, at ``image`` pixels a side."""
        return {
            "dropout": self.dropout,
            "drop_path_keep": self.drop_path_keep,
            "drop_path_schedule": self.drop_path_schedule,
            "auxiliary_image": image if self.auxiliary_weight else None,
        }


@dataclass(frozen=True)
class Preset:
    """A recipe with the size of the network, N and F, and of the images that it is meant for, in pixels a side.

    ``validation_images`` are held out of the train part, 0 for none; ``train_images`` are a stratified part of the
    rest, 0 for all.
    """

    about: str
    cells_per_stack: int
    filters: int
    image: int
    recipe: Recipe
    macro: str = "cifar"
    train_images: int = 0
    validation_images: int = 0

    def settings(self) -> dict[str, Any]:
        """Return every number of size, data and recipe by the name of its option."""
        sizes = ("cells_per_stack", "filters", "train_images", "validation_images")
        return {"image_size": self.image, **{name: getattr(self, name) for name in sizes}, **asdict(self.recipe)}

    def summary(self) -> str:
        """Describe the preset in one line, for ``list presets`` and ``list recipes``."""
        images = f"{self.train_images:,}" if self.train_images else "all other"
        recipe, side = self.recipe, self.image
        words = [
            *([] if self.macro == "cifar" else [self.macro]),
            f"N={self.cells_per_stack} F={self.filters}",
            f"{recipe.epochs} {'epoch' if recipe.epochs == 1 else 'epochs'} on {images} images of {side}x{side}",
            f"batch {recipe.batch_size}",
            f"learning rate {recipe.learning_rate}",
            f"{self.validation_images:,} validation images",
        ]
        names = ("cutout", "auxiliary_weight", "drop_path_keep", "smallest_image")
        extras = [(name, getattr(recipe, name)) for name in names]
        words += [f"{name.replace('_', ' ')} {value}" for name, value in extras if value not in (0, 1)]
        return f"{self.about}: {', '.join(words)}"


RECIPES: Final[dict[str, Preset]] = {
    # tensorflow/models, slim/nets/nasnet, cifar_config: batch 32, 0.025, drop path 0.6 over 600 epochs. Zoph et al.
    # 2017, table 1, has results with cutout (DeVries and Taylor 2017: 16 pixels) and without.
    "cifar-paper": Preset(
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
    "cifar-short": Preset(
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
    "cpu": Preset(
        about="a small network on small images, about 20 minutes on one core",
        cells_per_stack=1,
        filters=8,
        image=16,
        validation_images=5000,
        recipe=Recipe(epochs=8, batch_size=64, learning_rate=0.1, padding=2),
    ),
    # Wide and shallow, because narrow layers use a core badly; most steps on small images, which are cheap.
    "cpu-best": Preset(
        about="for CIFAR-10 on two cores, two hours",
        cells_per_stack=1,
        filters=48,
        image=32,
        recipe=Recipe(
            epochs=22,
            batch_size=128,
            learning_rate=0.2,
            warmup=400,
            label_smoothing=0.1,
            smallest_image=16,
        ),
    ),
    # slim/nets/nasnet, mobile_imagenet_config, and train_image_classifier.py for the average. Theirs is RMSProp at
    # 0.04 * 50 / 50 a replica of 32 images; the rate for SGD and the number of epochs are DARTS's (section 3.3).
    "imagenet-mobile": Preset(
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
