"""Metrics against numbers worked out by hand."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from evo_nas.errors import EvoNasError, UsageError
from evo_nas.training.metrics import METRICS, apply_metric, check_metric, find_metric

# Four images of class 0, of which three are found; two of class 1, of which one is; none of class 2.
LABELS = np.array([0, 0, 0, 0, 1, 1])
TAKEN = np.array([0, 0, 0, 1, 1, 2])
PROBABILITIES = np.eye(3, dtype=np.float32)[TAKEN]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("balanced_accuracy", (3 / 4 + 1 / 2) / 2),
        ("f1_macro", (2 * 3 / (4 + 3) + 2 * 1 / (2 + 2) + 0) / 3),
        # Of the pairs with another class: for class 0, 3 x 2 are told apart and 1 x 2 tied; for class 1, 1 x 3 told
        # apart, and 1 x 1 and 1 x 3 tied, 1 x 1 the wrong way round.
        ("auroc", ((6 + 2 / 2) / 8 + (3 + 1 / 2 + 3 / 2) / 8) / 2),
    ],
)
def test_known_metrics(name: str, value: float) -> None:
    metric = METRICS[name]
    assert metric is not None
    assert apply_metric(name, metric, PROBABILITIES, LABELS) == pytest.approx(value)


def test_likelihood_is_that_of_the_loss() -> None:
    metric, rows = METRICS["likelihood"], np.array([[0.5, 0.5], [0.875, 0.125]], dtype=np.float32)
    assert metric is not None
    assert metric(rows, np.array([0, 1])) == pytest.approx(0.25)
    assert 0 <= metric(np.eye(2, dtype=np.float32), np.array([0, 0])) < 1e-15, "a class without any probability"


def test_what_names_no_metric_is_refused() -> None:
    for name in ("f1", "package:", ":f", "a b:c", "a..b:c"):
        with pytest.raises(ValueError, match="there is no metric"):
            check_metric(name)
    with pytest.raises(UsageError, match=r"cannot import the metric nowhere:f: ModuleNotFoundError"):
        find_metric("nowhere:f")
    with pytest.raises(UsageError, match=r"the metric sys:path is no function"):
        find_metric("sys:path")


def test_a_metric_of_ones_own_is_called_and_must_give_a_fraction(monkeypatch: pytest.MonkeyPatch) -> None:
    own = types.ModuleType("own_metrics")
    own.__dict__.update(top=lambda p, y: (p.argmax(1) == y).mean(), nan=lambda p, y: float("nan"), two=lambda p, y: 2)
    monkeypatch.setitem(sys.modules, "own_metrics", own)

    def judge(name: str) -> float:
        metric = find_metric(name)
        assert metric is not None
        return apply_metric(name, metric, PROBABILITIES, LABELS)

    assert judge("own_metrics:top") == pytest.approx(4 / 6)
    with pytest.raises(EvoNasError, match=r"own_metrics:nan gave nan, which is no fraction in \[0, 1\]"):
        judge("own_metrics:nan")
    with pytest.raises(EvoNasError, match="own_metrics:two gave 2, which"):
        judge("own_metrics:two")
    with pytest.raises(EvoNasError, match="auroc failed: ValueError: auroc needs images of two classes"):
        apply_metric("auroc", METRICS["auroc"] or own.top, PROBABILITIES, np.zeros(6, int))
