"""Metrics of a classifier: accuracy, other known ones, or a function of one's own."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from evo_nas.errors import EvoNasError, UsageError
from genotypes.genotype import shorten

Metric = Callable[[np.ndarray, np.ndarray], float]
"""From probabilities, float32 of shape (n, classes), and labels, int64 of shape (n,), to a fraction in [0, 1]."""


def _measure_balanced_accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import recall_score

    # Its balanced_accuracy_score leaves out classes without images as this does, and warns of each beside it.
    return float(recall_score(labels, probabilities.argmax(1), labels=np.unique(labels), average="macro"))


def _measure_f1(probabilities: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, probabilities.argmax(1), average="macro", zero_division=0.0))


def _measure_auroc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    known = np.unique(labels)
    if len(known) < 2:
        raise ValueError("auroc needs images of two classes, and all have one")
    of_class = [roc_auc_score(labels == label, probabilities[:, label]) for label in known]
    return float(np.mean(of_class))


def _measure_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    right = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(np.exp(np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean()))


METRICS: Final[Mapping[str, Metric | None]] = {
    "accuracy": None,  # the task itself counts it, on the device
    "balanced_accuracy": _measure_balanced_accuracy,
    "f1_macro": _measure_f1,
    "auroc": _measure_auroc,
    "likelihood": _measure_likelihood,
}
"""Name -> metric. The mean over the classes that have images: of the share that is found, of the harmonic mean of
precision and recall, of the area under the ROC curve of each class against all others. And the geometric mean over all
images of the probability of the right class: exp(-loss), which orders trainings as the validation loss does."""


def is_own(name: str) -> bool:
    """Return whether a name is that of a user's own function, ``package.module:function``, whose code is imported."""
    return ":" in name


def check_metric(name: str) -> None:
    """Raise if a name is that of no metric; a user's own function is not imported yet.

    Raises:
        ValueError: naming those that there are.
    """
    module, _, function = name.partition(":")
    own = is_own(name) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))
    if name not in METRICS and not own:
        raise ValueError(
            f"there is no metric {shorten(name)!r}; the metrics are: {', '.join(METRICS)}, or package.module:function"
        )


def find_metric(name: str) -> Metric | None:
    """Return the metric of a name that :func:`check_metric` takes, ``None`` for the accuracy; import a user's own.

    Raises:
        UsageError: if there is no such function.
    """
    if not is_own(name):
        return METRICS[name]
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # whatever the user's code does
        raise UsageError(f"cannot import the metric {shorten(name)}: {_reason(error)}") from error
    if not callable(found):
        raise UsageError(f"the metric {shorten(name)} is no function")
    metric: Metric = found
    return metric


def apply_metric(name: str, metric: Metric, probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return what a metric says, a fraction in [0, 1].

    Raises:
        EvoNasError: if it fails, or gives anything else.
    """
    try:
        value = float(metric(probabilities, labels))
    except Exception as error:  # whatever the user's code does
        raise EvoNasError(f"the metric {shorten(name)} failed: {_reason(error)}") from error
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise EvoNasError(f"the metric {shorten(name)} gave {value:g}, which is no fraction in [0, 1]")
    return value


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {shorten(str(error), 200)}"
