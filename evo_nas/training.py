"""The training loop: SGD with momentum under one period of a cosine, on data that lies on the device."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from evo_nas.data.augment import augment, normalise
from evo_nas.devices import autocast, synchronize
from evo_nas.phenotypes.network import CellNetwork

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the fields mean what they mean in :class:`evo_nas.evaluators.presets.Preset`."""

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    gradient_norm: float
    padding: int
    flip: bool
    cutout: int


@dataclass(frozen=True)
class Examples:
    """Images, uint8 of shape (n, c, h, w), and labels, int64 of shape (n,), on the device.

    ``mean`` and ``std`` are fractions in [0, 1], one a channel.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, n: int) -> Examples:
        """Give the first ``n`` examples, or all where there are fewer."""
        return replace(self, images=self.images[:n], labels=self.labels[:n])

    def batch(self, indices: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Give the images at these indices, normalised, and their labels."""
        return normalise(self.images[indices], self.mean, self.std), self.labels[indices]


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to: mean training loss, validation accuracy (a fraction in [0, 1]), and seconds."""

    loss: float
    accuracy: float
    train_seconds: float
    validation_seconds: float


class Diverged(Exception):
    """A loss or an output that is no finite number: the training is not worth going on with."""


def epochs(
    network: CellNetwork, train: Examples, validation: Examples, recipe: Recipe, generator: torch.Generator
) -> Iterator[Epoch]:
    """Train, and yield each epoch when it is over. What is random comes from the generator and torch's default one.

    The last, incomplete batch of an epoch is left out: batch norm over a handful of images would be noise.

    Raises:
        Diverged: as soon as a loss or a validation output is not finite.
    """
    device = train.images.device
    batch_size = min(recipe.batch_size, len(train))
    steps_an_epoch = len(train) // batch_size
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    for epoch in range(recipe.epochs):
        synchronize(device)
        start = time.perf_counter()
        network.train()
        order = torch.randperm(len(train), generator=generator)[: steps_an_epoch * batch_size].to(device)
        losses = []
        for step, indices in enumerate(torch.split(order, batch_size), start=epoch * steps_an_epoch):
            progress = step / (recipe.epochs * steps_an_epoch)
            network.set_drop_path(progress)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * (1 + math.cos(math.pi * progress)) / 2
            images, labels = train.batch(indices)
            images = augment(images, generator, padding=recipe.padding, flip=recipe.flip, cutout_length=recipe.cutout)
            losses.append(_step(network, images, labels, optimizer, recipe.gradient_norm))
        synchronize(device)
        middle = time.perf_counter()
        accuracy = evaluate(network, validation)
        yield Epoch(sum(losses) / len(losses), accuracy, middle - start, time.perf_counter() - middle)


def evaluate(network: nn.Module, examples: Examples) -> float:
    """Measure the accuracy, a fraction in [0, 1].

    Raises:
        Diverged: if an output is not finite.
    """
    network.eval()
    correct = torch.zeros((), dtype=torch.int64, device=examples.images.device)
    with torch.inference_mode(), autocast(examples.images.device):
        for start in range(0, len(examples), EVALUATION_BATCH):
            images, labels = examples.batch(slice(start, start + EVALUATION_BATCH))
            logits = network(images)
            if not logits.isfinite().all():
                raise Diverged("the network put out a value that is no finite number")
            correct += (logits.argmax(1) == labels).sum()
    return correct.item() / len(examples)


def _step(
    network: nn.Module, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer, gradient_norm: float
) -> float:
    """Take one step down the gradient, and give the loss before it."""
    optimizer.zero_grad(set_to_none=True)
    with autocast(images.device):
        loss = functional.cross_entropy(network(images), labels)
    value = loss.item()
    if not math.isfinite(value):
        raise Diverged(f"the training loss became {value}")
    loss.backward()  # type: ignore[no-untyped-call]
    if gradient_norm:
        nn.utils.clip_grad_norm_(network.parameters(), gradient_norm)
    optimizer.step()
    return value
