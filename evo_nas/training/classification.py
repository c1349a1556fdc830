"""The task of telling classes of images apart: cross entropy, and accuracy."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from evo_nas.phenotypes.fast.network import FastNetwork
from evo_nas.training.recipes import Recipe
from evo_nas.training.task import Batch, Data, Diverged, Task


class Classification(Task):
    """Train for the labels of images, int64 of shape (n,), and measure the accuracy.

    ``label_smoothing`` is the share of the target that is spread over all classes, ``auxiliary_weight`` the weight of
    the loss of the auxiliary classifier, 0 for none; see :class:`evo_nas.training.recipes.Recipe`.
    """

    goal: ClassVar[str] = "accuracy"

    def __init__(self, *, label_smoothing: float = 0.0, auxiliary_weight: float = 0.0) -> None:
        self.label_smoothing, self.auxiliary_weight = label_smoothing, auxiliary_weight
        self._fast: FastNetwork | None = None

    @classmethod
    def of(cls, recipe: Recipe) -> Classification:
        """Return the task with the numbers of a recipe."""
        return cls(label_smoothing=recipe.label_smoothing, auxiliary_weight=recipe.auxiliary_weight)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the cross entropy, plus that of the auxiliary classifier by its weight."""
        images, labels = batch
        if self._fast is None or self._fast.network is not network:  # it looks a network through once
            self._fast = FastNetwork(network)
        smoothing = self.label_smoothing
        if not self.auxiliary_weight:
            return functional.cross_entropy(self._fast.logits(images), labels, label_smoothing=smoothing)
        logits, early = self._fast.both_logits(images)
        assert early is not None, "the network was built with an auxiliary classifier"
        loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        extra = functional.cross_entropy(early, labels, label_smoothing=smoothing)
        return loss + self.auxiliary_weight * extra

    def measure(self, network: nn.Module, data: Data) -> dict[str, float]:
        """Return the accuracy, a fraction in [0, 1]."""
        fast = FastNetwork(network)
        correct = torch.zeros((), dtype=torch.int64, device=data.device)
        for images, labels in data.in_order():
            logits = fast.logits(images)
            if not logits.isfinite().all():
                raise Diverged("the network put out a value that is no finite number")
            correct += (logits.argmax(1) == labels).sum()
        return {"accuracy": correct.item() / len(data)}
