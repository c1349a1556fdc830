"""What each trick of the proxy trainer contributes: it is switched off alone, and everything else stays as it is.

    python -m benchmarks.throughput --data-dir DATA --shares

Most tricks are looked at in one process with one thread: every network is trained for a few steps and validated with
all tricks, then without the first, without the second, and so on, block after block, from the other end in every other
one. Steps and validation images are weighed as in a whole candidate. What concerns whole processes is measured on whole
candidates, in turns, as ``benchmarks/throughput.py`` does. A trick that is switched off is replaced from outside: in
the code of the trainer there is nothing that could be forgotten in the wrong position.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, Final
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.baseline import Loaded
from benchmarks.throughput import OURS, Contender, Forgetful, Lap, Picked, evaluator, race, say
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.phenotypes.fast import shortcuts
from evo_nas.phenotypes.fast.kernels import functions as compiled
from evo_nas.phenotypes.fast.kernels import trust
from evo_nas.phenotypes.fast.kernels.functions import Padding
from evo_nas.phenotypes.fast.states import HiddenState
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.ops import SamePool2d
from evo_nas.training import classification, optimizers
from evo_nas.training import loop as training
from evo_nas.training.classification import Classification
from evo_nas.training.devices import seed_torch
from evo_nas.training.loop import Epoch, Examples, Training
from evo_nas.training.recipes import Recipe
from evo_nas.training.task import Batch, Data

VALIDATED: Final = training.EVALUATION_BATCH
"""Images at most that are validated after the steps of a block."""


@dataclass(frozen=True)
class Trick:
    """What makes trainings faster, and how to do without it.

    ``plain`` are owner, attribute and what stands in without the trick. ``network`` and ``train`` give what is trained
    and on what without it. ``small_batches`` validates as the baseline does. ``compare_with`` is the title of what
    it is held against.
    """

    title: str
    plain: tuple[tuple[Any, str, Any], ...] = ()
    network: Callable[[CellNetwork], CellNetwork] = lambda network: network
    train: Callable[[Examples], Data] = lambda examples: examples
    small_batches: bool = False
    compare_with: str = "all"

    @contextmanager
    def switched_off(self, recipe: Recipe) -> Iterator[None]:
        """Do without it in this block."""
        with ExitStack() as stack:
            for owner, name, stand_in in self.plain:
                stack.enter_context(mock.patch.object(owner, name, stand_in))
            if self.small_batches:
                stack.enter_context(mock.patch.object(training, "EVALUATION_BATCH", recipe.batch_size))
                stack.enter_context(mock.patch.object(torch, "inference_mode", torch.no_grad))
            yield


class PlainNetwork:
    """Stands in for ``FastNetwork``: simply calls the network."""

    def __init__(self, network: CellNetwork) -> None:
        self.network = network

    def logits(self, images: Tensor) -> Tensor:
        """Map images, (n, channels, h, w), to logits, (n, classes)."""
        logits: Tensor = self.network(images)
        return logits


class PlainSGD:
    """Stands in for ``SGD``: torch's optimizer, and torch's clipping."""

    def __init__(self, parameters: Any, *, momentum: float, weight_decay: float, gradient_norm: float) -> None:
        self._parameters, self._clip = list(parameters), gradient_norm
        self._optimizer = torch.optim.SGD(self._parameters, 0.0, momentum=momentum, weight_decay=weight_decay)

    def forget(self) -> None:
        """Drop the gradients of the last step."""
        self._optimizer.zero_grad(set_to_none=True)

    def step(self, learning_rate: float) -> None:
        """Take one step."""
        if self._clip:
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()


@dataclass(frozen=True)
class ChannelsLast(Loaded):
    """What the baseline loads, in the memory format that all else has here."""

    def draw_batches(
        self, batch_size: int, recipe: Recipe, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield the augmented batches of one epoch but for an incomplete one."""
        for images, labels in super().draw_batches(batch_size, recipe, generator):
            yield images.contiguous(memory_format=torch.channels_last), labels


def contiguous(network: CellNetwork) -> CellNetwork:
    """Return the network torch's default memory format."""
    return network.to(memory_format=torch.contiguous_format)


def contiguous_images(examples: Examples) -> Examples:
    """Return the images torch's default memory format."""
    return Examples(examples.images.contiguous(), examples.labels, examples.mean, examples.std)


def plain_pointwise(parts: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Convolve by 1x1 kernels as torch does."""
    return F.conv2d(_joined(parts), weight)


def plain_diagonal_pixels(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Slice, and leave the gradients to torch."""
    x = _joined(parts)
    height, width = x.shape[2:]
    return x[:, :, ::2, ::2], F.pad(x[:, :, 1::2, 1::2], (0, width % 2, 0, height % 2))


def plain_average_pool(x: Tensor, kernel: int, stride: int, padding: Padding) -> Tensor:
    """Average as torch does."""
    before = padding[2], padding[0]
    return F.avg_pool2d(x, kernel, stride, before, ceil_mode=True, count_include_pad=False)


def plain_max_pool(x: Tensor, kernel: int, padding: Padding) -> Tensor:
    """Take the largest as torch does."""
    return F.max_pool2d(x, kernel, 1, (padding[2], padding[0]), ceil_mode=True)


def plain_max_pool2d(x: Tensor, kernel: tuple[int, int], stride: int, padding: Padding) -> Tensor:
    """Take the largest as torch does, as a compiled kernel's arguments say it."""
    return F.max_pool2d(x, kernel, stride, (padding[2], padding[0]), ceil_mode=True)


def plain_batch_norm(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Norm as torch does."""
    mean, variance = compiled.running(norm)
    return F.batch_norm(x, mean, variance, norm.weight, norm.bias, True, norm.momentum or 0.0, norm.eps)


def in_three_steps(unit: shortcuts.Unit, parts: Sequence[Tensor], rectifies: bool) -> Tensor:
    """Convolve depthwise and pointwise and norm, by a kernel each."""
    applied = shortcuts.apply
    between = parts if unit.depthwise is None else [applied(unit.depthwise, parts, rectifies=rectifies)]
    return applied(unit.norm, [applied(unit.pointwise, between)])


def uncompiled_depthwise_conv2d(x: Tensor, kernels: Tensor, window: compiled.Window) -> Tensor:
    """Convolve as where there are no compiled kernels."""
    x = torch.relu(x) if window.rectifies else x
    return F.conv2d(F.pad(x, window.padding), kernels, None, window.stride, 0, window.dilation, len(kernels))


def _rectified_again(state: HiddenState) -> Sequence[Tensor]:
    if state._raw is None:
        return [tensor for part in state._parts for tensor in part.rectified]
    return [torch.relu(state._raw)]


def _pooled_again(state: HiddenState, pool: SamePool2d) -> Tensor:
    return shortcuts.apply(pool, [state.raw])


def _laid_out(cls: type[HiddenState], parts: Sequence[HiddenState]) -> HiddenState:
    return parts[0] if len(parts) == 1 else HiddenState(torch.cat([part.raw for part in parts], dim=1))


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


_NETWORK: Final = (classification, "FastNetwork", PlainNetwork)
_OPTIMIZER: Final = (optimizers, "SGD", PlainSGD)
_KERNELS: Final = (trust, "are_there", lambda x: False)
_UNITS: Final = (shortcuts, "_unit", in_three_steps)
KERNELS_OFF: Final = "compiled kernels, all of them"
UNITS_OFF: Final = "units: depthwise, 1x1 and batch norm in one kernel"

ALL: Final = Trick("all")
"""The trainer as it is."""

TRICKS: Final = (
    # By itself it changes little: the fast network brings its maps into this format.
    Trick("channels last", network=contiguous, train=contiguous_images),
    Trick("fast network (all that follow, down to cells in parts)", (_NETWORK,)),
    Trick("... and channels last", (_NETWORK,), contiguous, contiguous_images),
    Trick(KERNELS_OFF, (_KERNELS,)),
    Trick("max pooling, compiled", ((compiled, "max_pool2d", plain_max_pool2d),)),
    Trick("ReLU inside depthwise convolutions, compiled", ((shortcuts, "can_rectify", lambda layer, x: False),)),
    Trick(UNITS_OFF, (_UNITS,)),
    # Inside units none of these is called by itself.
    *(
        Trick(f"without units: {title}", (_UNITS, (compiled, name, stand_in)), compare_with=UNITS_OFF)
        for title, name, stand_in in (
            ("depthwise convolution, compiled", "depthwise_conv2d", uncompiled_depthwise_conv2d),
            ("1x1 convolution, compiled", "pointwise", plain_pointwise),
            ("batch norm, compiled", "batch_norm", plain_batch_norm),
        )
    ),
    Trick("pixels of factorized reductions", ((shortcuts, "diagonal_pixels", plain_diagonal_pixels),)),
    Trick("average pooling as a convolution", ((shortcuts, "average_pool", plain_average_pool),)),
    Trick("max pooling axis by axis", ((shortcuts, "max_pool", plain_max_pool),)),
    Trick(
        "one ReLU, and one pooling, of a state",
        ((HiddenState, "rectified", property(_rectified_again)), (HiddenState, "_through_pool", _pooled_again)),
    ),
    Trick("ReLU in place inside operations", ((torch, "relu_", torch.relu),)),
    Trick("cells in parts, not concatenated", ((HiddenState, "join", classmethod(_laid_out)),)),
    Trick("weights as one vector", (_OPTIMIZER,)),
    Trick("augmentation on batched tensors", train=lambda examples: ChannelsLast(examples, training.EVALUATION_BATCH)),
    Trick("validation by 500 in inference mode", small_batches=True),
    Trick(
        "all of these: the baseline on one thread",
        (_NETWORK, _OPTIMIZER),
        contiguous,
        lambda examples: Loaded(examples, training.EVALUATION_BATCH),
        small_batches=True,
    ),
)


@dataclass(frozen=True)
class Times:
    """Seconds of one step, of the validation of one image, and of a whole candidate made of them."""

    step: float
    image: float
    candidate: float


def steps_timed(
    network: CellNetwork,
    recipe: Recipe,
    train: Examples,
    validation: Examples,
    *,
    steps: int,
    blocks: int,
    tricks: Sequence[Trick],
) -> dict[str, list[Epoch]]:
    """Train copies of a network for some steps without each of the tricks, in turns; give the epochs by their titles.

    An epoch is a block of so many steps, or as many as there are images for. The first block is not given.
    """
    few = train.first(steps * recipe.batch_size)
    some = validation.first(VALIDATED)
    recipe = Recipe(**{**vars(recipe), "epochs": blocks + 1})
    running: dict[str, tuple[Trick, Iterator[Epoch]]] = {}
    for trick in tricks:
        with trick.switched_off(recipe):
            task = Classification.of(recipe)
            mine = Training(trick.network(copy.deepcopy(network)), task, recipe, torch.Generator().manual_seed(0))
            # What validation is done on is contiguous where the network is.
            held_out = contiguous_images(some) if trick.network is contiguous else some
            running[trick.title] = trick, mine.epochs(trick.train(few), held_out)
    epochs: dict[str, list[Epoch]] = {title: [] for title in running}
    for number in range(blocks + 1):
        for title, (trick, rest) in list(running.items())[:: -1 if number % 2 else 1]:
            with trick.switched_off(recipe):
                epoch = next(rest)
            if number:
                epochs[title].append(epoch)
    return epochs


def times(epochs: Sequence[Epoch], ours: ProxyEvaluator, *, steps: int, validated: int) -> Times:
    """Weigh steps and validation as in a whole candidate; medians over the blocks."""
    step = median(epoch.train_seconds for epoch in epochs) / steps
    image = median(epoch.validation_seconds for epoch in epochs) / validated
    trained, held_out = ours._counts
    each = trained // ours.integer("batch_size") * step + held_out * image
    return Times(step, image, ours.integer("epochs") * each)


def shares_table(given: argparse.Namespace, ours: ProxyEvaluator) -> Iterator[str]:
    """Measure, and write one row a trick."""
    space, recipe = Picked(given.genotypes), ours.recipe()
    laps = process_laps(given, ours, space)
    train, validation = ours.loaded.train, ours.loaded.validation
    steps = min(given.steps, len(train) // recipe.batch_size)
    networks: list[Mapping[str, Times]] = []
    for choice in range(len(space.pairs)):
        with seed_torch(0, torch.device("cpu"), 1):
            network = ours.build(space.genotype([choice]), torch.device("cpu"))
            epochs = steps_timed(
                network, recipe, train, validation, steps=steps, blocks=given.blocks, tricks=(ALL, *TRICKS)
            )
        sizes = {"steps": steps, "validated": min(VALIDATED, len(validation))}
        networks.append({title: times(some, ours, **sizes) for title, some in epochs.items()})
        say(
            f"{space.decisions[0].options[choice]}: {1000 * networks[-1][ALL.title].step:.1f} ms a step with all tricks"
        )

    yield "| without it | a training step | validation | a candidate | by network |"
    yield "| --- | --- | --- | --- | --- |"
    for trick in TRICKS:
        pairs = [(some[trick.title], some[trick.compare_with]) for some in networks]
        ratios = [
            sum(getattr(without, name) for without, _ in pairs) / sum(getattr(with_it, name) for _, with_it in pairs)
            for name in ("step", "image", "candidate")
        ]
        each = [without.candidate / with_it.candidate for without, with_it in pairs]
        yield f"| {trick.title} | {' | '.join(f'{r:.2f}' for r in ratios)} | {min(each):.2f} to {max(each):.2f} |"
    for title in list(laps)[1:]:
        each = [without.seconds / with_all.seconds for without, with_all in zip(laps[title], laps[OURS], strict=True)]
        ratio = sum(lap.seconds for lap in laps[title]) / sum(lap.seconds for lap in laps[OURS])
        yield f"| {title} | | | {ratio:.2f} | {min(each):.2f} to {max(each):.2f} (by group) |"
    step, image = (sum(getattr(some[ALL.title], name) for some in networks) for name in ("step", "image"))
    yield ""
    yield (
        f"Times as long without a trick as with all of them, with which a step on one thread takes "
        f"{1000 * step / len(networks):.1f} ms and the validation of 1,000 images {1000 * image / len(networks):.2f} s "
        f"on average. Medians over {given.blocks} blocks of {steps} steps; whole candidates: {given.rounds} rounds."
    )


def process_laps(given: argparse.Namespace, ours: ProxyEvaluator, space: Picked) -> dict[str, list[Lap]]:
    """Train whole candidates in workers as they are, which come first, and in others."""
    cores = given.cores
    kinds = (
        (OURS, ours, cores),
        (f"{cores} workers of one thread, not one of {cores}", evaluator(given, ProxyEvaluator, cores, 1), 1),
        ("freed memory kept", evaluator(given, Forgetful, 1, cores), cores),
    )
    with ExitStack() as stack:
        contenders = [stack.enter_context(closing(Contender(*kind))) for kind in kinds]
        return race(contenders, space, given.rounds, given.group)
