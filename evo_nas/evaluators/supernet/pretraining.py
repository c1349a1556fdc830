"""The first half of a supernet of detectors: its backbones, trained to tell the classes of images apart (DetNAS, 3.3).

It is a groundwork of its own, so that supernets of several detectors and of several sets with boxes begin with one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evo_nas.data.boxes.scenes import STYLES, hold_out_glyphs
from evo_nas.data.images import ImageSet, open_images
from evo_nas.data.sources.catalogue import DATA_SETS
from evo_nas.evaluators.groundwork import build_once
from evo_nas.training.recipes import Recipe
from genotypes.space import SearchSpace

if TYPE_CHECKING:
    import torch

    from evo_nas.training.loop import Examples

KINDS: Final = ("auto", "none", "classification")
"""What a supernet of detectors is trained for before it is trained for boxes; the images decide, or these."""

RECIPE: Final = Recipe(epochs=1, batch_size=32, learning_rate=0.003, weight_decay=4e-5, padding=4, optimizer="adamw")
"""AdamW: after four epochs on digits its loss was 2.27, that of SGD at 0.05 2.42 (one seed each)."""


@dataclass(frozen=True)
class Pretraining:
    """A training of the backbones of a space on images of ``dataset``, brought to ``image`` pixels a side.

    ``stem_stride`` is that of the detectors' backbones. Where ``boxed``, the set with boxes, is made of these images,
    those of its validation part, which ``split_seed`` decides, are left out. ``data_dir`` and ``threads`` are those of
    the placement, and decide nothing.
    """

    space: SearchSpace
    dataset: str
    image: int
    channels: int
    stem_stride: int
    epochs: int
    boxed: str
    split_seed: int
    sampling: str
    seed: int
    data_dir: Path | None = None
    threads: int = 1

    def key(self) -> dict[str, Any]:
        """Return everything that decides the weights."""
        names = ("dataset", "image", "channels", "stem_stride", "sampling", "seed")
        held_out = {"leaves_out": self.split_seed} if self._is_made_of_it else {}
        return {
            "space": self.space.spelling,
            "task": "pre-training",
            **{name: getattr(self, name) for name in names},
            **held_out,
            "recipe": asdict(self.recipe),
            "data": self._images.fingerprint,
        }

    def build(self, device: torch.device, version: int, hear: Callable[[str], None]) -> Path:
        """Return the folder of the trained weights, from the cache where it has them.

        Raises:
            DataError: if images are missing, or the weights cannot be kept.
            EvoNasError: if the training diverges.
        """
        key = {"format": version, **self.key()}
        return build_once("supernet", key, lambda folder: self._train(folder, device, hear), hear)

    @property
    def recipe(self) -> Recipe:
        """The recipe: digits are not mirrored."""
        return replace(RECIPE, epochs=self.epochs, flip=self.dataset != "digits")

    @property
    def _is_made_of_it(self) -> bool:
        return self.boxed in STYLES and self.dataset == "digits"

    @cached_property
    def _images(self) -> ImageSet:
        return open_images(self.dataset, self.data_dir, size=self.image, channels=self.channels)

    def _load(self, device: torch.device) -> Examples:
        from evo_nas.training.loop import Examples

        images = self._images
        labels = np.asarray(images.train.labels)
        rows = np.flatnonzero(~hold_out_glyphs(labels, self.split_seed)) if self._is_made_of_it else None
        return Examples(*images.train.tensors(device, rows), images.mean, images.std)

    def _train(self, folder: Path, device: torch.device, hear: Callable[[str], None]) -> None:
        from evo_nas.phenotypes.shared.supernet import Supernet
        from evo_nas.training.classification import Classification
        from evo_nas.training.devices import seed_torch
        from evo_nas.training.single_path import train_supernet

        size: dict[str, Any] = {
            "classes": len(self._images.classes),
            "channels": self.channels,
            "image_size": self.image,
            "stem_stride": self.stem_stride,
        }
        with seed_torch(self.seed, device, self.threads):
            supernet = Supernet(self.space, **size).to(device)
            options: dict[str, Any] = {"sampling": self.sampling, "seed": self.seed, "hear": hear}
            train_supernet(
                supernet,
                Classification(),
                self.recipe,
                self._load(device),
                folder,
                what=f"supernet, on images of {self.dataset}",
                **options,
            )


def choose_dataset(kind: str, named: str | None, default: str | None) -> str | None:
    """Return the images of a pre-training; ``None`` without one.

    Raises:
        ValueError: if there is no such set, or one is named and none is wanted.
    """
    if named is not None and named not in DATA_SETS:
        raise ValueError(f"there is no data set {named!r} to begin with; those are: {', '.join(DATA_SETS)}")
    if kind == "none" and named is not None:
        raise ValueError(f"pretraining is none: leave pretraining_dataset={named} out")
    found = named or default
    if kind == "classification" and found is None:
        raise ValueError(
            "pretraining=classification needs images: name a set with --set evaluator.pretraining_dataset=NAME"
        )
    return None if kind == "none" else found
