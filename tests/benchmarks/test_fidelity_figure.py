from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color
from matplotlib.text import Text

from benchmarks.fidelity_figure import fidelity_figure


def table_of(settings: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """Make a table of settings: name -> CPU seconds and tau; the interval is 0.2 to both sides."""
    rows = [
        {
            "setting": name,
            "genotypes": 12,
            "seeds": 2,
            "cpu_seconds": seconds,
            "tau": tau,
            "tau_low": tau - 0.2,
            "tau_high": min(1.0, tau + 0.2),
            "noise_tau": tau + 0.05,
        }
        for name, (seconds, tau) in settings.items()
    ]
    return pd.DataFrame(rows)


def drawn(settings: dict[str, tuple[float, float]]) -> Any:
    (ax,) = fidelity_figure(table_of(settings), reference="epochs=16", baseline="cpu").axes
    return ax


CROWDED = {
    "cpu": (25.0, 0.7),
    "epochs=16": (100.0, 0.75),
    **{f"epochs={n}": (24.0 + n / 4, 0.7 + n / 100) for n in (2, 3, 5, 8)},
    **{f"train_images={n}": (26.0, 0.7) for n in (1250, 5000)},
    "filters=4": (12.0, 0.5),
}


def test_points_stand_at_cost_and_tau_with_their_intervals() -> None:
    ax = drawn({"cpu": (25.0, 0.7), "epochs=16": (100.0, 0.75)})
    assert ax.get_xscale() == "log"
    points = {line.get_marker(): line.get_xydata().tolist() for line in reversed(ax.get_lines())}
    assert points["o"] == [[25.0, 0.7]]
    assert points["_"] == [[25.0, 0.75]]
    assert np.ravel(points["None"]).tolist() == pytest.approx([25.0, 0.5, 25.0, 0.9])
    assert {text.get_text() for text in ax.texts} == {"cpu", "epochs=16 (reference)"}


def test_what_changes_the_same_thing_shares_a_colour() -> None:
    colour = {text.get_text(): text.get_color() for text in drawn(CROWDED).texts}
    assert same_color(colour["epochs=2"], colour["epochs=8"])
    different = ["cpu", "epochs=16 (reference)", "epochs=2", "train_images=1250", "filters=4"]
    assert len({colour[name] for name in different}) == len(different)


def test_labels_cover_neither_each_other_nor_points_and_stay_inside() -> None:
    ax = drawn(CROWDED)
    ax.figure.draw_without_rendering()
    # That of an annotation would have the line to the point in it.
    boxes = {text.get_text(): Text.get_window_extent(text) for text in ax.texts}
    assert len(boxes) == len(CROWDED)
    assert [pair for pair in combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])] == []
    points = [ax.transData.transform(at) for at in CROWDED.values()]
    assert [name for name, box in boxes.items() if any(box.contains(*point) for point in points)] == []
    inside = ax.get_window_extent().padded(2)
    assert [name for name, box in boxes.items() if not (box.x0 >= inside.x0 and box.x1 <= inside.x1)] == []


def test_a_setting_without_a_tau_is_left_out() -> None:
    ax = drawn({"cpu": (25.0, 0.7), "epochs=16": (100.0, np.nan)})
    assert [text.get_text() for text in ax.texts] == ["cpu"]
