"""The passes through a network before its training that scores are read from; each is made once, when first needed."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import cached_property
from typing import Final, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evo_nas.evaluators.scores.blocks import BlockSignals, read_blocks
from evo_nas.evaluators.scores.codes import Agreement
from evo_nas.evaluators.scores.flow import find_saliencies
from evo_nas.evaluators.scores.live import LiveParts, find_live_parts

Batch: TypeAlias = tuple[Tensor, Tensor]
"""Normalised images, (n, c, h, w), and the indices of their classes, (n,)."""

NOISE: Final = 64
"""Images of noise, as in the released code of AZ-NAS (Lee and Ham 2024)."""


class Passes:
    """The passes through one network before its training; a score takes what it reads from here.

    ``batches`` are mini-batches of train images; codes come from the first, gradients from each. Where ``gradients``
    are not wanted, none are computed. ``seed`` decides the noise. Passes work on copies and draw from no generator but
    their own, so that weights, buffers, gradients and mode of the network are afterwards as before.
    """

    def __init__(
        self, network: nn.Module, batches: Sequence[Batch], *, seed: int = 0, wants_gradients: bool = True
    ) -> None:
        self.network, self.batches, self.seed = network, batches, seed
        self._wants_gradients = wants_gradients

    @property
    def shape(self) -> torch.Size:
        """The shape of an image, (c, h, w)."""
        return self.batches[0][0].shape[1:]

    @cached_property
    def live(self) -> LiveParts:
        """The parts that a signal passes on its way from the images to the logits: a pass of one image."""
        return find_live_parts(self.network, self.shape)

    @cached_property
    def saliencies(self) -> Tensor:
        """The synaptic flow through each tensor of weights, (tensors,): forward and backward with an image of ones."""
        return find_saliencies(self.network, self.shape)

    @cached_property
    def blocks(self) -> list[BlockSignals]:
        """The signals of each block, forward and backward, for images of noise."""
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(NOISE, *self.shape, generator=generator)
        return read_blocks(self.network, noise, generator)

    @cached_property
    def kernel(self) -> Tensor:
        """The agreement of the images' ReLU codes, (n, n), for n images of the first batch."""
        return self._first[0]

    @cached_property
    def gradients(self) -> list[list[Tensor]]:
        """The gradients of the loss by each tensor of weights of at least two dimensions, batch by batch.

        What gets no gradient is left out.
        """
        per_batch = [self._first[1], *(self._differentiate(batch) for batch in self.batches[1:])]
        return [[one for one in of_one if one is not None] for of_one in zip(*per_batch, strict=True)]

    @cached_property
    def _first(self) -> tuple[Tensor, list[Tensor | None]]:
        """The codes of the first batch and, from the same forward pass, its gradients."""
        images, classes = self.batches[0]
        with Agreement(len(images)) as agreement, torch.set_grad_enabled(self._wants_gradients):
            logits = self._ready(images)
        gradients = self._pull_back(logits, classes) if self._wants_gradients else []
        return agreement.kernel, gradients

    @cached_property
    def _ready(self) -> nn.Module:
        """A copy in evaluation mode, so that nothing is dropped, whose batch norms take the statistics of a batch."""
        copy = deepcopy(self.network).eval()
        for module in copy.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train()
        return copy

    def _differentiate(self, batch: Batch) -> list[Tensor | None]:
        images, classes = batch
        return self._pull_back(self._ready(images), classes)

    def _pull_back(self, logits: Tensor, classes: Tensor) -> list[Tensor | None]:
        weights = [weight for weight in self._ready.parameters() if weight.ndim > 1]
        if not weights:
            return []
        return list(torch.autograd.grad(F.cross_entropy(logits, classes), weights, allow_unused=True))
