"""The goal of a training: all that the loop does not know of images, classes or boxes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from evo_nas.training.recipes import Recipe

Batch = tuple[Tensor, Any]
"""Normalised images, (n, c, h, w), and what the task knows of them, such as labels of shape (n,); on the device."""


class Data(Protocol):
    """Images with their targets, as the loop takes them."""

    @property
    def device(self) -> torch.device:
        """Device of the batches."""

    def __len__(self) -> int: ...

    def draw_batches(self, batch_size: int, recipe: Recipe, generator: torch.Generator) -> Iterator[Batch]:
        """Yield augmented batches of one epoch; the last, incomplete one is left out."""

    def in_order(self) -> Iterator[Batch]:
        """Yield all images as they are."""


class Diverged(Exception):
    """A loss or an output that is no finite number: the training is not worth continuing."""


class Task(ABC):
    """The loss and the goal of a training; :func:`evo_nas.training.loop.measure` and the loop call it.

    ``goal`` names the number of :meth:`measure` by which trainings are judged: a fraction in [0, 1], more is better.
    """

    goal: ClassVar[str]

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the mean loss over a batch, a scalar, with the gradients' graph; the network is in training mode."""

    @abstractmethod
    def measure(self, network: nn.Module, data: Data) -> dict[str, float]:
        """Return the numbers that data give a network: name -> value; called in evaluation and inference mode.

        Raises:
            Diverged: if an output is not finite.
        """

    def split(self, batch: Batch, parts: int) -> Iterator[Batch]:
        """Yield a batch in so many parts; by default the targets are one tensor, or a sequence with one per image."""
        images, targets = batch
        start = 0
        for some in images.chunk(parts):
            yield some, targets[start : start + len(some)]
            start += len(some)
