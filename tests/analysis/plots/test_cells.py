import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

from analysis.cells.difference import difference
from analysis.cells.drift import operation_counts, operation_drift
from analysis.frames import HistoryError, load_history
from analysis.plots.cells import by_share, difference_figure, plot_cells, plot_counts, plot_drift, plot_operations
from genotypes.zoo import AMOEBANET_A, CELLS, NASNET_A

MakeRun = Callable[..., Path]
TRIALS = [{"fitness": 0.1 + 0.01 * i} for i in range(30)]


def inside(figure: Figure) -> None:
    """Check that no text leaves the figure or meets another one."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    texts = [*figure.texts, *(text for ax in figure.axes for text in ax.texts)]
    for ax in [ax for ax in figure.axes if ax.axison]:
        texts += [child for child in ax.get_children() if isinstance(child, Text) and child not in texts]  # titles
        texts += [ax.xaxis.label, ax.yaxis.label, *ax.get_yticklabels(), *ax.get_xticklabels()]
        if ax.get_legend() is not None:
            texts += ax.get_legend().get_texts()
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text() and text.get_visible()]
    for i, one in enumerate(boxes):
        assert one.x0 >= 0
        assert one.y0 >= 0
        assert one.x1 <= figure.bbox.x1
        assert one.y1 <= figure.bbox.y1
        assert not any(one.overlaps(other) for other in boxes[i + 1 :])


def test_counts_are_bars_in_axes_that_are_given_and_handed_back() -> None:
    counts = operation_counts({"A": NASNET_A, "B": AMOEBANET_A})
    ax = Figure().add_subplot()
    assert plot_counts(counts, ax) is ax
    assert sum(bar.get_width() for bar in ax.patches) == counts["count"].sum() == 40
    assert ax.get_xlabel() == "operations in both cells"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["A", "B"]


def test_a_drift_is_a_map_with_the_last_most_frequent_operation_on_top(make_run: MakeRun) -> None:
    drift = operation_drift(load_history(make_run("run", TRIALS), cells=True), window=10)
    drift = drift[drift["cell"] == "normal"]
    ax = Figure().add_subplot()
    assert plot_drift(drift, ax) is ax
    (mesh,) = ax.collections
    shares = np.asarray(mesh.get_array())
    assert shares.shape == (drift["operation"].nunique(), 3)
    assert shares.sum(axis=0) == pytest.approx([1.0, 1.0, 1.0])
    assert list(shares[:, -1]) == sorted(shares[:, -1], reverse=True)


def test_shares_of_several_runs_are_averaged_over_those_that_came_as_far() -> None:
    rows = [("a", 1, 1.0), ("a", 11, 0.5), ("b", 1, 0.0)]
    drift = pd.DataFrame([(run, "s", "n", "cell", f, f + 9, "x", 1, share) for run, f, share in rows]).set_axis(
        ["run", "strategy", "space", "cell", "first", "last", "operation", "count", "share"], axis=1
    )
    ax = plot_drift(drift)
    assert np.asarray(ax.collections[0].get_array()).tolist() == [[0.5, 0.5]]
    assert by_share(drift) == ["x"]


def test_nothing_to_follow_is_said_in_one_line(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("run")
    with pytest.raises(HistoryError, match="no finished trials whose operations"):
        plot_operations(run, tmp_path / "x.png")
    with pytest.raises(HistoryError, match="no finished trials whose operations"):
        plot_drift(operation_drift(load_history(run, cells=True)))


def test_operations_of_runs_are_drawn_beside_each_other(make_run: MakeRun, tmp_path: Path) -> None:
    one = make_run("one", TRIALS)
    two = make_run("two", [{"cell": json.dumps({"1<-0": "none"}), "genotype": "b:0", "fitness": 0.5}])
    assert plot_operations([one, two], tmp_path / "x.pdf") == [tmp_path / "x.pdf"]
    assert plot_operations(one) == [one / "figures/operations.png", one / "figures/operations.svg"]


def test_a_long_title_stays_in_the_picture(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr("analysis.plots.cells.save", lambda figure, path: figures.append(figure) or [path])
    config = '[run]\nstrategy = "{}"\nspace = "nasnet"\ntrials = 30\n'
    names = ["a_strategy_of_a_plugin_with_a_name", "random"]
    plot_operations([make_run(f"{name}{i}", TRIALS, config=config.format(name)) for name in names for i in range(3)])
    inside(figures[0])


def test_a_difference_marks_what_one_pair_has_alone() -> None:
    found = difference(("one", "other"), (NASNET_A, AMOEBANET_A), time_limit=math.inf)
    figure = difference_figure(found)
    inside(figure)
    marked = [
        sum(isinstance(patch, FancyBboxPatch) and to_hex(patch.get_edgecolor()) == "#b8004e" for patch in ax.patches)
        for ax in figure.axes[:4]
    ]
    distance = found.distance
    assert marked == [
        len(distance.normal.changed),
        len(distance.reduction.changed),
        len(distance.normal.changed_other),
        len(distance.reduction.changed_other),
    ]
    assert "graph edit distance 22: 12 in the normal cell, 10 in the reduction cell" in [
        text.get_text() for text in figure.texts
    ]
    counts = found.counts.groupby("cell")["count"].sum()
    drawn = {ax.get_xlabel(): sum(bar.get_width() for bar in ax.patches) for ax in figure.axes[4:]}
    assert drawn == {f"operations in the {cell} cell": counts[cell] for cell in ("normal", "reduction")}


@pytest.mark.parametrize("suffix", ["pdf", "svg", "dot", "gv"])
def test_cells_are_written_in_the_format_of_the_name(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"new/cells.{suffix}"
    assert plot_cells([("a", "93 %", NASNET_A)], file, width=3.15) == [file]
    begin = {"pdf": b"%PDF", "svg": b"<?xml", "dot": b"digraph", "gv": b"digraph"}[suffix]
    assert file.read_bytes().startswith(begin)


def test_several_cells_are_columns_and_no_graph(tmp_path: Path) -> None:
    named = [(name, "", pair) for name, pair in list(CELLS.items())[:3]]
    plot_cells(named, tmp_path / "x.svg")
    with pytest.raises(ValueError, match="one pair"):
        plot_cells(named, tmp_path / "x.dot")
    with pytest.raises(ValueError, match="a width is for one pair"):
        plot_cells(named, tmp_path / "x.svg", width=3.0)
    with pytest.raises(ValueError, match="room for 8 pairs"):
        plot_cells(named * 3, tmp_path / "x.svg")


def test_a_graph_replaces_a_link_and_does_not_follow_it(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "x.dot").symlink_to(tmp_path / "kept")
    plot_cells([("a", "", NASNET_A)], tmp_path / "x.dot")
    assert (tmp_path / "kept").read_text() == "kept"
