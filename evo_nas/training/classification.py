"""The task of telling classes of images apart: cross entropy, and accuracy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evo_nas.phenotypes.fast.network import FastNetwork
from evo_nas.training.class_weights import NONE, weigh_classes
from evo_nas.training.metrics import apply_metric, find_metric
from evo_nas.training.recipes import Recipe
from evo_nas.training.task import Batch, Data, Diverged, Task


class Classification(Task):
    """Train for the labels of images, int64 of shape (n,) or shares (n, classes), and measure the accuracy.

    ``label_smoothing`` is the share of the target that is spread over all classes, ``auxiliary_weight`` the weight of
    the loss of the auxiliary classifier, 0 for none, ``class_weights`` how much each class counts in the loss; see
    :class:`evo_nas.training.recipes.Recipe`. Weights that are balanced are those of ``labels``.

    ``metric`` is what trainings are judged by, as :func:`evo_nas.training.metrics.check_metric` takes it; its
    ``goal`` is "metric" unless it is the accuracy, which is always measured.

    Raises:
        ValueError: if ``class_weights`` are balanced and no labels are given.
        UsageError: if the metric is a user's own function and cannot be imported.
    """

    goal = "accuracy"
    report_file = "confusion.json"

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        auxiliary_weight: float = 0.0,
        class_weights: str = NONE,
        labels: Tensor | None = None,
        metric: str = "accuracy",
    ) -> None:
        if class_weights != NONE and labels is None:
            raise ValueError(f"class_weights={class_weights} needs the labels of the train images")
        self.label_smoothing, self.auxiliary_weight = label_smoothing, auxiliary_weight
        self.class_weights, self.metric = class_weights, metric
        self._labels = labels
        self._weights: Tensor | None = None
        self._metric = find_metric(metric)
        if self._metric is not None:
            self.goal = "metric"
        self._fast: FastNetwork | None = None
        self._confusion: Tensor | None = None

    @classmethod
    def of(cls, recipe: Recipe, labels: Tensor | None = None, metric: str = "accuracy") -> Classification:
        """Return the task with the numbers of a recipe, for train images with these labels (n,)."""
        return cls(
            label_smoothing=recipe.label_smoothing,
            auxiliary_weight=recipe.auxiliary_weight,
            class_weights=recipe.class_weights,
            labels=labels,
            metric=metric,
        )

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the cross entropy, plus that of the auxiliary classifier by its weight."""
        images, labels = batch
        if self._fast is None or self._fast.network is not network:  # it looks a network through once
            self._fast = FastNetwork(network)
        if not self.auxiliary_weight:
            return self._cross_entropy(self._fast.logits(images), labels)
        logits, early = self._fast.both_logits(images)
        assert early is not None, "the network was built with an auxiliary classifier"
        return self._cross_entropy(logits, labels) + self.auxiliary_weight * self._cross_entropy(early, labels)

    def measure(self, network: nn.Module, data: Data) -> dict[str, float]:
        """Return the accuracy, a fraction in [0, 1], and the mean cross entropy as ``loss``, unweighted.

        Beside them is the metric as ``metric`` if that is another.

        Raises:
            EvoNasError: if the metric fails.
        """
        fast = FastNetwork(network)
        confusion: Tensor | None = None
        seen: list[tuple[Tensor, Tensor]] = []
        loss = torch.zeros((), device=data.device)
        for images, labels in data.in_order():
            logits = fast.logits(images)
            if not logits.isfinite().all():
                raise Diverged("the network put out a value that is no finite number")
            loss += functional.cross_entropy(logits.float(), labels, reduction="sum")
            classes = logits.shape[1]
            pairs = torch.bincount(labels * classes + logits.argmax(1), minlength=classes**2)
            confusion = pairs if confusion is None else confusion + pairs
            if self._metric is not None:
                seen.append((logits.float().softmax(1).cpu(), labels.cpu()))
        assert confusion is not None, "there are images to measure on"
        self._confusion = confusion.reshape(classes, classes).cpu()
        measures = {"accuracy": int(self._confusion.trace()) / len(data), "loss": loss.item() / len(data)}
        if self._metric is not None:
            probabilities, truth = (torch.cat(some).numpy() for some in zip(*seen, strict=True))
            measures["metric"] = apply_metric(self.metric, self._metric, probabilities, truth)
        return measures

    def report(self) -> dict[str, Any]:
        """Return ``confusion``: how many images of each class, a row, were taken for each class, a column."""
        return {} if self._confusion is None else {"confusion": self._confusion.tolist()}

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self._weights is None and self.class_weights != NONE:
            assert self._labels is not None, "refused at the beginning"
            weights = weigh_classes(self.class_weights, self._labels, logits.shape[1])
            self._weights = None if weights is None else weights.to(logits.device, logits.dtype)
        smoothing = self.label_smoothing
        if labels.is_floating_point() and self._weights is not None:
            # torch divides by the number of images here, and for labels that are indices by the sum of their weights.
            total = functional.cross_entropy(logits, labels, self._weights, label_smoothing=smoothing, reduction="sum")
            return total / (labels.to(logits.dtype) @ self._weights).sum()
        return functional.cross_entropy(logits, labels, self._weights, label_smoothing=smoothing)
