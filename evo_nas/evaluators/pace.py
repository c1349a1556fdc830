"""The speed of training and measuring networks here: a few steps of each, timed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn

from evo_nas.training.loop import Examples, Training
from evo_nas.training.recipes import Recipe
from evo_nas.training.task import HeldData, Task


@dataclass(frozen=True)
class Pace:
    """Images a second in training and in validation, means over networks that each get the same number of images."""

    train: float
    validation: float

    def seconds(self, train: int, validation: int, epochs: int) -> float:
        """Return how long a training takes with so many images per epoch to train and to validate on."""
        return epochs * (train / self.train + validation / self.validation)


def measure_pace(
    networks: Iterable[nn.Module], task: Task, recipe: Recipe, train: HeldData, validation: HeldData, steps: int
) -> Pace:
    """Time so many steps of each network, and the validation of a batch."""
    few = train.first(steps * recipe.batch_size)
    some = validation.first(recipe.batch_size)
    recipe = replace(recipe, epochs=1)
    count, train_seconds, validation_seconds = 0, 0.0, 0.0
    for network in networks:
        for _ in range(2):  # the first pays for whatever is set up once
            (epoch,) = Training(network, task, recipe, torch.Generator().manual_seed(0)).epochs(few, some)
        count += 1
        train_seconds += epoch.train_seconds
        validation_seconds += epoch.validation_seconds
    return Pace(count * len(few) / train_seconds, count * len(some) / validation_seconds)


def random_examples(
    count: int, *, image_size: int, channels: int, classes: int, device: torch.device, seed: int = 0
) -> Examples:
    """Make images of noise, which take as long to train on as any, for where there are no others."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, image_size, image_size, channels), dtype=torch.uint8, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    grey = (0.5,) * channels
    return Examples(pixels.to(device).permute(0, 3, 1, 2), labels.to(device), grey, grey)
