"""The check that a metric and class weights fit the images, before anything is trained."""

from __future__ import annotations

import numpy as np

from evo_nas.errors import EvoNasError, UsageError
from evo_nas.training.class_weights import NONE, weigh_classes
from evo_nas.training.metrics import apply_metric, find_metric


def refuse_misfits(metric: str, class_weights: str, train: np.ndarray, validation: np.ndarray, classes: int) -> None:
    """Raise if one of them does not fit these labels, int64 of shape (n,), of so many classes.

    Raises:
        UsageError: naming it, and what is wrong.
    """
    if class_weights != NONE:
        import torch

        try:
            weigh_classes(class_weights, torch.from_numpy(train), classes)
        except ValueError as error:
            raise UsageError(str(error)) from error
    judge = find_metric(metric)
    if judge is not None:
        guess = np.random.default_rng(0).dirichlet(np.ones(classes), len(validation)).astype(np.float32)
        try:
            apply_metric(metric, judge, guess, validation)
        except EvoNasError as error:
            raise UsageError(f"{error} (for random outputs and the validation labels)") from error
