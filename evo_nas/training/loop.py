"""The training loop: one period of a cosine, whatever the task; one loop for the proxy and for ``train``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from evo_nas.data.augment import augment, normalise, shrink
from evo_nas.data.policies import Policies
from evo_nas.phenotypes.tensors import load_tensors
from evo_nas.training.cuda_graphs import GraphedLoss
from evo_nas.training.devices import autocast, synchronize
from evo_nas.training.optimizers import Optimizer, optimizer_of
from evo_nas.training.recipes import Recipe
from evo_nas.training.task import Batch, Data, Diverged, Task
from genotypes.genotype import shorten

if TYPE_CHECKING:
    from evo_nas.training.processes import Ranks

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Examples:
    """Images, uint8 of shape (n, c, h, w), and labels, int64 of shape (n,), on the device.

    ``mean`` and ``std`` are fractions in [0, 1], one per channel. ``classes`` counts them, for policies that mix.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int = 0

    @property
    def device(self) -> torch.device:
        """Device of the images."""
        return self.images.device

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, n: int) -> Examples:
        """Return the first ``n`` examples, or all where there are fewer."""
        return replace(self, images=self.images[:n], labels=self.labels[:n])

    def batch(self, indices: Tensor | slice) -> Batch:
        """Return the images at these indices, normalised, and their labels."""
        return normalise(self.images[indices], self.mean, self.std), self.labels[indices]

    def draw_batches(self, batch_size: int, recipe: Recipe, generator: torch.Generator) -> Iterator[Batch]:
        """Yield augmented batches of one epoch; batch norm over the handful that is left over would be noise."""
        complete = len(self) // batch_size * batch_size
        order = torch.randperm(len(self), generator=generator)[:complete].to(self.device)
        policies = Policies.read(recipe.policy)
        for indices in torch.split(order, batch_size):
            images = policies.change_images(self.images[indices], self.mean, generator)
            images = normalise(images, self.mean, self.std)
            images = augment(images, generator, padding=recipe.padding, flip=recipe.flip, cutout_length=recipe.cutout)
            yield policies.mix_images(images, self.labels[indices], self.classes, generator)

    def in_order(self) -> Iterator[Batch]:
        """Yield all images as they are."""
        for start in range(0, len(self), EVALUATION_BATCH):
            yield self.batch(slice(start, start + EVALUATION_BATCH))


@dataclass(frozen=True)
class Epoch:
    """The result of one epoch: mean training loss, the task's goal (a fraction in [0, 1]), and seconds.

    ``score`` is the goal on the validation images, ``None`` where there are none; ``measures`` are all numbers of the
    task there, by name.
    """

    loss: float
    score: float | None
    train_seconds: float
    validation_seconds: float
    measures: Mapping[str, float] = field(default_factory=dict)


class Training:
    """A training that can be stopped after any epoch, and resumed exactly from its state.

    The task says what is optimised and measured. A network that wants to know how far the training has come has a
    method ``set_drop_path``, which gets a fraction in [0, 1] before each step.

    What is random comes from the generator, and from torch's default one of the device. ``graphs`` computes each step
    as a CUDA graph, on a GPU, where the recipe allows it: no batch is cut into parts, and neither what is dropped nor
    the size of images changes.
    ``optimizer`` makes another optimizer than the recipe's. ``ranks`` is the place of this process among those that
    train the same network together; all draw the same batches, and each computes its share of them.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        recipe: Recipe,
        generator: torch.Generator,
        *,
        graphs: bool = False,
        optimizer: Callable[[Recipe, Iterable[nn.Parameter]], Optimizer] = optimizer_of,
        ranks: Ranks | None = None,
    ) -> None:
        self._ranks = ranks
        self.network, self.task, self.recipe, self.generator = network, task, recipe, generator
        self.done = 0  # epochs
        self._optimizer = optimizer(recipe, network.parameters())
        self._set_progress: Callable[[float], None] = getattr(network, "set_drop_path", lambda progress: None)
        device = next(network.parameters()).device
        stays_alike = recipe.accumulate == 1 and recipe.drop_path_keep == 1 and not recipe.smallest_image
        fits = device.type == "cuda" and stays_alike
        self._graph = GraphedLoss(self._loss, network) if graphs and fits else None
        self._average = (
            AveragedModel(network, multi_avg_fn=_moving_average(recipe.ema_decay)) if recipe.ema_decay else None
        )

    @property
    def measured(self) -> nn.Module:
        """The network whose score counts: that of the averaged weights where there is an average."""
        return self.network if self._average is None else self._average.module

    def epochs(self, train: Data, validation: Data | None) -> Iterator[Epoch]:
        """Train, and yield each epoch when it is over, from the first that is not done.

        Raises:
            Diverged: as soon as a loss or a validation output is not finite.
        """
        recipe, device = self.recipe, train.device
        batch_size = min(recipe.batch_size, len(train))
        steps = len(train) // batch_size
        while self.done < recipe.epochs:
            synchronize(device)
            start = time.perf_counter()
            self.network.train()
            if self._ranks is not None:
                self._ranks.seed_epoch(self.generator.initial_seed(), self.done)
            losses = []
            batches = train.draw_batches(batch_size, recipe, self.generator)
            for step, (images, targets) in enumerate(batches, start=self.done * steps):
                progress = step / (recipe.epochs * steps)
                self._set_progress(progress)
                if recipe.smallest_image:
                    images = shrink(images, recipe.side_at(progress, images.shape[-1]))
                losses.append(self._step((images, targets), recipe.learning_rate_at(step, recipe.epochs * steps)))
            synchronize(device)
            middle = time.perf_counter()
            measures = {} if validation is None else measure(self.task, self.measured, validation)
            self.done += 1
            score = measures.get(self.task.goal)
            seconds = middle - start, time.perf_counter() - middle
            yield Epoch(sum(losses) / len(losses), score, *seconds, measures)

    def state(self) -> dict[str, Tensor]:
        """Return all that the next epoch depends on, but for data and recipe, as tensors by name."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        if self._average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self._average.state_dict().items()}
        tensors |= self._optimizer.state()
        tensors["random.generator"] = self.generator.get_state()
        tensors["random.cpu"] = torch.get_rng_state()
        device = next(self.network.parameters()).device
        if device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(device)
        return tensors

    def restore(self, tensors: Mapping[str, Tensor], done: int) -> None:
        """Restore a state after ``done`` epochs.

        Raises:
            ValueError: if it is the state of another network or recipe.
        """
        device = next(self.network.parameters()).device
        own = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        moments = self._optimizer.expect_state()
        own |= moments
        if self._average is not None:
            own |= {f"average.{name}": tensor for name, tensor in self._average.state_dict().items()}
        for name, tensor in tensors.items():
            if name.startswith("random."):
                continue
            if name not in own or (tensor.shape, tensor.dtype) != (own[name].shape, own[name].dtype):
                raise ValueError(f"the checkpoint is not one of this training: {shorten(name)} does not fit")
        try:
            load_tensors(self.network, _below("network.", tensors))
            if self._average is not None:
                load_tensors(self._average, _below("average.", tensors))
            self.generator.set_state(tensors["random.generator"])
            torch.set_rng_state(tensors["random.cpu"])
            if device.type == "cuda" and "random.cuda" in tensors:
                torch.cuda.set_rng_state(tensors["random.cuda"], device)
            self._optimizer.restore({name: tensor for name, tensor in tensors.items() if name in moments})
        except (KeyError, RuntimeError, TypeError) as error:
            raise ValueError(f"the checkpoint is not one of this training: {str(error).splitlines()[0]}") from error
        self.done = done

    def _step(self, batch: Batch, learning_rate: float) -> float:
        """Take one step down the gradient, and return the loss before it."""
        total = self._gradients(batch) if self._graph is None else self._graph(*batch).item()
        if not math.isfinite(total):
            raise Diverged(f"the training loss became {total}")
        self.task.add_gradients(self.network)
        self._optimizer.step(learning_rate)
        if self._average is not None:
            self._average.update_parameters(self.network)
        return total

    def _gradients(self, batch: Batch) -> float:
        """Leave the gradients with the weights, part by part of the batch, and return the mean loss."""
        self._optimizer.forget()
        total = 0.0
        parts, whole = self.recipe.accumulate, len(batch[0])
        if self._ranks is not None:
            batch = self._ranks.share(*batch)
        for images, targets in self.task.split(batch, parts):
            loss = self._loss(images, targets)
            share = len(images) / whole
            total += loss.item() * share
            if not math.isfinite(total):
                break
            (loss if share == 1 else loss * share).backward()  # type: ignore[no-untyped-call]
        return total if self._ranks is None else self._ranks.add_up(list(self.network.parameters()), total)

    def _loss(self, images: Tensor, targets: Any) -> Tensor:
        with autocast(images.device, self.recipe.precision):
            return self.task.loss(self.network, (images, targets))


def measure(task: Task, network: nn.Module, data: Data) -> dict[str, float]:
    """Return the numbers of the task, name -> value, for a network that is brought into evaluation mode.

    Raises:
        Diverged: if an output is not finite.
    """
    network.eval()
    with torch.inference_mode(), autocast(data.device):
        return task.measure(network, data)


def _moving_average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Make TensorFlow's exponential moving average, as the released code uses it: its memory is short at first."""

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int) -> None:
        n = float(updates)
        torch._foreach_lerp_(list(averaged), list(current), 1 - min(decay, (1 + n) / (10 + n)))

    return update


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
