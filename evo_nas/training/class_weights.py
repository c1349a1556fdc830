"""Weights of classes in the loss, for images of which some classes have many more than others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

NONE: Final = "none"
BALANCED: Final = "balanced"


def read_weights(text: str) -> tuple[float, ...]:
    """Return the numbers of ``class_weights``, one per class in their order; none for the two words.

    Raises:
        ValueError: if it is neither a word nor positive numbers with commas between.
    """
    if text in (NONE, BALANCED):
        return ()
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        weights = ()
    if not weights or not all(0 < weight < math.inf for weight in weights):
        raise ValueError(
            f"class_weights must be {NONE}, {BALANCED}, or a positive number per class as 1,2.5,1, not {text[:80]!r}"
        )
    return weights


def weigh_classes(text: str, labels: Tensor, classes: int) -> Tensor | None:
    """Return the weight of each class, float32 of shape (classes,); ``None`` if all count the same.

    Those of ``balanced`` are inverse to the number of labels (n,) of each class; a class without any has 1. Their mean
    over the labels is 1.

    Raises:
        ValueError: if there are not as many numbers as classes.
    """
    import torch

    if text == NONE:
        return None
    if text == BALANCED:
        counts = torch.bincount(labels, minlength=classes).float()
        return torch.where(counts > 0, len(labels) / (counts.count_nonzero() * counts.clamp(min=1)), 1.0)
    weights = read_weights(text)
    if len(weights) != classes:
        raise ValueError(f"class_weights has {len(weights)} numbers, and there are {classes} classes")
    return torch.tensor(weights, device=labels.device)
