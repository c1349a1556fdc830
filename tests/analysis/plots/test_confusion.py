"""The picture of a confusion matrix, and the table beside it."""

from __future__ import annotations

import pytest

from analysis.plots.confusion import draw_confusion
from evo_nas.commands.confusion_lines import confusion_lines

CONFUSION = [[3, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_a_cell_has_the_share_of_its_row() -> None:
    figure = draw_confusion(CONFUSION, ["cat", "$dog$", "fox"])
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.texts] == ["75", "25", "50", "50"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["cat", "$dog$", "fox"]
    with pytest.raises(ValueError, match="2 classes need a square matrix"):
        draw_confusion(CONFUSION, ["cat", "dog"])


def test_the_table_has_recall_precision_and_means_over_the_classes_with_images() -> None:
    lines = list(confusion_lines(CONFUSION, ["cat", "dog", "fox"]))
    assert lines[1].split() == ["cat", "4", "75.00", "%", "100.00", "%", "85.71", "%"]
    assert lines[3].split() == ["fox", "0", "-", "0.00", "%", "0.00", "%"]
    assert lines[4] == "balanced accuracy 62.50 %, mean F1 67.86 %"


def test_of_many_classes_those_that_are_found_least_are_shown() -> None:
    size = 25
    counts = [[int(row == column and row != 7) for column in range(size)] for row in range(size)]
    counts[7][0] = 1
    lines = list(confusion_lines(counts, [f"class {row}" for row in range(size)]))
    assert lines[1].startswith("class 7 ")
    assert lines[-2:] == [
        "those are the 20 classes of 25 that are found least",
        "balanced accuracy 96.00 %, mean F1 94.67 %",
    ]
