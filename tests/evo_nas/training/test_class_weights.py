"""Weights of classes, by words and by numbers."""

from __future__ import annotations

import pytest
import torch

from evo_nas.training.class_weights import read_weights, weigh_classes

LABELS = torch.tensor([0, 0, 0, 1])


def test_balanced_weights_are_inverse_to_the_counts_and_have_a_mean_of_one() -> None:
    weights = weigh_classes("balanced", LABELS, 3)
    assert weights is not None
    assert weights.tolist() == pytest.approx([4 / (2 * 3), 4 / (2 * 1), 1.0])
    assert weights[LABELS].mean() == pytest.approx(1.0)
    assert weigh_classes("none", LABELS, 3) is None


def test_a_number_per_class_is_taken_as_it_is() -> None:
    weights = weigh_classes("1,2.5", LABELS, 2)
    assert weights is not None
    assert weights.tolist() == [1.0, 2.5]
    with pytest.raises(ValueError, match="class_weights has 2 numbers, and there are 3 classes"):
        weigh_classes("1,2.5", LABELS, 3)


@pytest.mark.parametrize("text", ["", "heavy", "1,,2", "1,0", "1,-2", "inf,1", "nan,1"])
def test_what_are_no_weights_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a positive number per class"):
        read_weights(text)
