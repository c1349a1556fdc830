"""Pictures of widths: what is drawn over what, which names there is room for, and which runs stand in one panel."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.comparison.groups import labels_of
from analysis.frames import HistoryError, find_runs, load_history
from analysis.plots.compare_report import compare_runs
from analysis.plots.kinds import plot_kind
from analysis.plots.widths import WIDTH_COLUMNS, draw_widths, find_blocks, plot_widths
from genotypes.widths import Widths
from tests.analysis.plots.test_cells import inside

MakeRun = Callable[..., Path]
SEED = {"conv1": 64, "layer1.0.conv1": 64, "layer1.1.conv1": 64, "layer2.0.conv1": 128, "layer2.1.conv1": 128}
CONFIG = """
[run]
strategy = "morphnet"
space = "widths"
evaluator = "widths"
seed = {}
[strategy]
budget = "{}"
"""


def widths(*numbers: int, seed: Mapping[str, int] = SEED, network: str = "torchvision:resnet18") -> Widths:
    return Widths(network, dict(zip(seed, numbers or seed.values(), strict=True)), seed)


def trial(found: Widths, fitness: float | None = 0.9, **given: Any) -> dict[str, Any]:
    text = ".".join(map(str, found.widths.values()))
    genotype = f"widths(network={found.network}):{text}"
    return {"fitness": fitness, "cell": json.dumps(found.to_json()), "genotype": genotype, "key": text} | given


def cells(blocks: int) -> dict[str, int]:
    names = [f"cells.{cell}.blocks.{block}.left.0.2" for cell in range(blocks) for block in range(10)]
    return dict.fromkeys(["stem.0", *names], 16)


def draw(*runs: Path, width: float | None = None) -> Figure:
    found = find_runs(runs)
    frame = load_history([run.history for run in found], columns=WIDTH_COLUMNS)
    figure = Figure(layout="constrained")
    draw_widths(frame, figure, groups=labels_of(found, frame), width=width)
    return figure


def heights(ax: Any) -> list[float]:
    bars = [bar for bar in ax.patches if isinstance(bar, Rectangle)]  # shades of blocks are too since matplotlib 3.9
    return [bar.get_height() for bar in bars if bar.get_height() > 1]  # ... and 1 high


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in (*ax.texts, ax.title, ax._left_title, ax.xaxis.label)]


def test_found_widths_are_bars_under_the_outlines_of_the_seed() -> None:
    ax = Figure().add_subplot()
    assert plot_widths([widths(48, 20, 30, 100, 200)], ax) is ax
    assert heights(ax) == [48, 20, 30, 100, 200, *SEED.values()]
    assert [bar.get_facecolor()[3] for bar in ax.patches[:10]] == [1.0] * 5 + [0.0] * 5
    assert ax.get_ylim()[1] > 200
    assert [label.get_text() for label in ax.get_xticklabels()] == ["conv1", *["0.conv1", "1.conv1"] * 2]
    assert [text.get_text() for text in ax.texts] == ["layer1", "layer2"]


def test_several_widths_are_their_mean_with_whiskers() -> None:
    ax = plot_widths([widths(48, 20, 30, 100, 200), widths(50, 40, 30, 100, 100)])
    assert heights(ax)[:5] == [49, 30, 30, 100, 150]
    (bars,) = ax.containers[2:]
    lows, highs = bars[2][0].get_segments()[1][:, 1]
    assert (lows, highs) == pytest.approx((30 - 200**0.5, 30 + 200**0.5))
    with pytest.raises(ValueError, match="widths of one network"):
        plot_widths([widths(), widths(seed=SEED | {"conv1": 32})])
    with pytest.raises(ValueError, match="widths of one network"):
        plot_widths([])


@pytest.mark.parametrize(
    ("names", "blocks", "short"),
    [
        (["a"], [], ["a"]),
        (["conv", "b.0.c", "b.1.c", "b.2.c"], [("b", 1, 3)], ["conv", "0.c", "1.c", "2.c"]),
        (
            ["f.c", "f.d1.a", "f.d1.b", "f.t", "f.d2.a", "f.d2.b"],
            [("d1", 1, 2), ("d2", 4, 5)],
            ["c", *"ab", "t", *"ab"],
        ),
        (["f.0.a", "f.0.b", "f.1.a", "f.2.a", "f.3"], [("f", 0, 4)], ["0.a", "0.b", "1.a", "2.a", "3"]),
        (["x", "y", "z.1", "z.2"], [], ["x", "y", "z.1", "z.2"]),
    ],
)
def test_blocks_are_found_by_the_names_of_groups(names: list[str], blocks: list[Any], short: list[str]) -> None:
    found, left = find_blocks(names)
    assert [(block.name, block.first, block.last) for block in found] == blocks
    assert left == short


@pytest.mark.parametrize("number", [5, 41, pytest.param(121, marks=pytest.mark.slow)])
@pytest.mark.parametrize("width", [None, 3.15])
def test_names_fit_however_many_groups_there_are(make_run: MakeRun, number: int, width: float | None) -> None:
    seed = SEED if number == 5 else cells(number // 10)
    runs = [make_run(f"r{i}", [trial(widths(seed=seed))], config=CONFIG.format(i, f"0.{i}x")) for i in range(2)]
    figure = draw(*runs, width=width)
    inside(figure)
    assert figure.get_figwidth() <= 7.2
    assert width in (None, figure.get_figwidth())
    named = len(figure.axes[-1].get_xticklabels())
    assert named == number if number == 5 or (number == 41 and width is None) else number / 10 < named < number


def test_runs_of_one_setting_are_one_panel_and_panels_share_their_scale(make_run: MakeRun) -> None:
    small, large = widths(8, 8, 8, 8, 8), widths(64, 64, 64, 128, 640)
    one = [
        make_run(f"m{i}", [trial(small, 0.9 + i / 50), trial(large, 0.5)], config=CONFIG.format(i, "0.5x-mult-adds"))
        for i in range(2)
    ]
    other = make_run(
        "p0", [trial(large, None, outcome="oom"), trial(large)], config=CONFIG.format(0, "0.5x-parameters")
    )
    figure = draw(*one, other)
    assert [heights(ax)[4] for ax in figure.axes] == [8, 640]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    said = texts(figure)
    assert "morphnet(budget=0.5x-mult-adds) (2 seeds)" in said
    assert "morphnet(budget=0.5x-parameters)" in said
    assert "accuracy 91.00 ± 1.41 %" in said
    assert said.count("groups of channels of torchvision:resnet18") == 1
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["original network", "found: mean and SD"]


def test_costs_are_those_of_the_seed_where_it_was_trained(make_run: MakeRun) -> None:
    best = trial(widths(8, 8, 8, 8, 8), mult_adds=25_000_000, parameters=1000)
    (said,) = [text for text in texts(draw(make_run("a", [best]))) if "mult-adds" in text]
    assert said == "accuracy 90.00 % · 25.0 M mult-adds · 1.0 k parameters"
    whole = trial(widths(), 0.5, mult_adds=100_000_000, parameters=4000)
    (said,) = [text for text in texts(draw(make_run("b", [whole, best]))) if "mult-adds" in text]
    assert said == "accuracy 90.00 % · 0.25× mult-adds · 0.25× parameters"


def test_the_original_network_is_no_find_unless_it_is_all_there_is(make_run: MakeRun) -> None:
    whole, found = trial(widths(), 0.95), trial(widths(8, 8, 8, 8, 8), 0.9)
    figure = draw(make_run("a", [whole, found, trial(widths(9, 9, 9, 9, 9), 0.8)]))
    assert heights(figure.axes[0])[:5] == [8] * 5
    assert "accuracy 90.00 %" in texts(figure)
    assert heights(draw(make_run("b", [whole])).axes[0])[:5] == list(SEED.values())


def test_panels_of_other_networks_have_names_of_their_own(make_run: MakeRun) -> None:
    runs = [make_run("a", [trial(widths())]), make_run("b", [trial(widths(seed={"fc": 10}, network="$net_1$"))])]
    figure = draw(*runs)
    inside(figure)
    assert {"groups of channels of torchvision:resnet18", "groups of channels of $net_1$"} <= set(texts(figure))


def test_whatever_a_group_is_called_is_a_name(make_run: MakeRun, tmp_path: Path) -> None:
    seed = {r"$\frac{1}$.a": 4, r"$\frac{1}$.b": 4, "_x": 2, "esc\x1b[31m": 3, "": 1, "." * 300: 7}
    for file in plot_kind("widths", make_run("run", [trial(widths(seed=seed, network=r"$\bad"))]), tmp_path / "x.png"):
        assert b"\x1b" not in file.read_bytes() or file.suffix == ".png"


def test_widths_are_written_as_other_kinds_are(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("run", [trial(widths())])
    assert plot_kind("widths", run) == [run / "figures/widths.png", run / "figures/widths.svg"]
    assert plot_kind("widths", run, tmp_path / "x.pdf", width=8 / 2.54) == [tmp_path / "x.pdf"]


def test_runs_of_cells_and_too_many_settings_are_one_clear_line(make_run: MakeRun) -> None:
    with pytest.raises(HistoryError, match="run describes no widths; --kind cells draws"):
        plot_kind("widths", make_run("run", [{"fitness": 0.5}]))
    runs = [make_run(f"r{i}", [trial(widths())], config=CONFIG.format(0, f"0.{i}x")) for i in range(1, 10)]
    with pytest.raises(ValueError, match="room for 8 settings, not 9"):
        plot_kind("widths", runs)


def test_a_comparison_draws_the_widths_that_the_runs_had_found_by_then(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr("analysis.plots.files.save", lambda figure, path: figures.append(figure) or [path])
    first, later = trial(widths(9, 9, 9, 9, 9), 0.8), trial(widths(), 0.95)
    runs = [
        make_run("a", [first, later], config=CONFIG.format(0, "0.5x-mult-adds")),
        make_run("b", [first], config=CONFIG.format(0, "0.5x-parameters")),
    ]
    compared = compare_runs(runs, tmp_path / "x.png")
    assert (compared.budget, len(figures)) == (1, 1)
    assert [heights(ax)[:5] for ax in figures[0].axes] == [[9] * 5] * 2
