"""Images with boxes as the training loop takes them: held on the device, augmented batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evo_nas.data.augment import normalise
from evo_nas.data.boxes.augment import flip_with_boxes, scale_and_crop
from evo_nas.data.boxes.value import BoxedImages, Targets
from evo_nas.training.precision import Truth
from evo_nas.training.recipes import Recipe
from evo_nas.training.task import Batch

EVALUATION_BATCH = 50
"""Images that are looked at together: more take more memory and are no faster on a CPU."""


@dataclass(frozen=True)
class BoxedExamples:
    """Images, uint8 of shape (n, c, h, w), with their targets, on the device.

    ``mean`` and ``std`` are fractions in [0, 1], one per channel. ``areas``, square pixels of shape (m,), and
    ``scales``, of shape (n, 2), are those of :class:`evo_nas.data.boxes.value.BoxedImages`, on the CPU.
    """

    images: Tensor
    targets: Targets
    mean: tuple[float, ...]
    std: tuple[float, ...]
    areas: np.ndarray
    scales: np.ndarray

    @classmethod
    def open(
        cls,
        part: BoxedImages,
        rows: np.ndarray,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
    ) -> BoxedExamples:
        """Bring the images of a part at these indices, int64 of shape (n,), to the device."""
        some = part.subset(rows)
        images, targets = some.tensors(device)
        return cls(images, targets, mean, std, some.areas, some.scales)

    @property
    def device(self) -> torch.device:
        """Device of the images."""
        return self.images.device

    def __len__(self) -> int:
        return len(self.images)

    def first(self, n: int) -> BoxedExamples:
        """Return the first ``n`` examples, or all where there are fewer."""
        targets = self.targets[:n]
        areas, scales = self.areas[: len(targets.labels)], self.scales[:n]
        return BoxedExamples(self.images[:n], targets, self.mean, self.std, areas, scales)

    def batch(self, indices: Tensor | slice) -> Batch:
        """Return the images at these indices, normalised, and their targets."""
        images = normalise(self.images[indices], self.mean, self.std)
        return images, self.targets[indices] if isinstance(indices, slice) else self.targets.take(indices)

    def draw_batches(self, batch_size: int, recipe: Recipe, generator: torch.Generator) -> Iterator[Batch]:
        """Yield batches of one epoch, mirrored and resized as the recipe has it; an incomplete one is left out."""
        complete = len(self) // batch_size * batch_size
        order = torch.randperm(len(self), generator=generator)[:complete].to(self.device)
        for indices in torch.split(order, batch_size):
            images, targets = self.batch(indices)
            if recipe.flip:
                images, targets = flip_with_boxes(images, targets, generator)
            if recipe.scale:
                scales = (1 - recipe.scale, 1 + recipe.scale)
                images, targets = scale_and_crop(images, targets, generator, scales)
            yield images, targets

    def in_order(self) -> Iterator[Batch]:
        """Yield all images as they are."""
        for start in range(0, len(self), EVALUATION_BATCH):
            yield self.batch(slice(start, start + EVALUATION_BATCH))

    def truth(self) -> Truth:
        """Return the objects in pixels of the original images."""
        targets = self.targets
        owners = targets.owners.cpu().numpy()
        boxes = targets.boxes.cpu().numpy() * np.tile(self.scales, 2)[owners]
        labels, ignored = targets.labels.cpu().numpy(), targets.ignored.cpu().numpy()
        return Truth(len(self), boxes, labels, ignored, owners, self.areas)
