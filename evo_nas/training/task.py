"""The goal of a training: all that the loop does not know of images, classes or boxes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol, Self

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


class HeldData(Data, Protocol):
    """Data of which some can be taken out, as all that is held in memory."""

    def first(self, n: int) -> Self:
        """Return the first ``n`` examples, or all where there are fewer."""

    def batch(self, indices: Tensor | slice) -> Batch:
        """Return the examples at these indices, as they are."""


class Diverged(Exception):
    """A loss or an output that is no finite number: the training is not worth continuing."""


class Task(ABC):
    """The loss and the goal of a training; :func:`evo_nas.training.loop.measure` and the loop call it.

    ``goal`` names the number of :meth:`measure` by which trainings are judged: a fraction in [0, 1], more is better.
    """

    goal: str
    report_file: str = "report.json"
    """The file of a training's folder that :meth:`report` goes to."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the mean loss over a batch, a scalar, with the gradients' graph; the network is in training mode."""

    def add_gradients(self, network: nn.Module) -> None:  # noqa: B027  # most have none
        """Add to the gradients that a backward pass of the loss has left; by default nothing.

        For terms of the weights alone, which need no pass of the network.
        """

    @abstractmethod
    def measure(self, network: nn.Module, data: Data) -> dict[str, float]:
        """Return the numbers that data give a network: name -> value; called in evaluation and inference mode.

        Raises:
            Diverged: if an output is not finite.
        """

    def report(self) -> dict[str, Any]:
        """Return what the last measurement found beside its numbers, in the form of JSON; by default nothing."""
        return {}

    def split(self, batch: Batch, parts: int) -> Iterator[Batch]:
        """Yield a batch in so many parts; by default the targets are one tensor, or a sequence with one per image."""
        images, targets = batch
        start = 0
        for some in images.chunk(parts):
            yield some, targets[start : start + len(some)]
            start += len(some)
