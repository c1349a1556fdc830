"""Every kind of picture: what it draws of what, what it refuses, and that it can be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.diversity import living
from analysis.frames import HistoryError, load_history
from analysis.palette import MARKERS, STRATEGY_COLOURS
from analysis.plots.axes import SIZE, legend, letters, marker_places, new_axes, new_figure
from analysis.plots.curves import draw_runs, plot_accuracy, plot_mean, plot_trials
from analysis.plots.kinds import KINDS, plot_kind
from analysis.plots.population import plot_age, plot_diversity
from analysis.plots.seed_bands import plot_seeds
from analysis.plots.top_k import plot_top

MakeRun = Callable[..., Path]
EVOLUTION = '[run]\nstrategy = "evolution"\nseed = {}\n[strategy]\npopulation = 5\nsample = {}\n'
RL = '[run]\nstrategy = "rl"\n'
NOTES = [(10, "reward", 0.4), (10, "entropy", 1.6), (20, "reward", 0.5), (20, "entropy", 1.1)]


def rising(seed: int, number: int = 30) -> list[dict[str, Any]]:
    values = np.random.default_rng(seed).random(number).round(3) * 0.5 + np.arange(number) / 100
    return [{"fitness": float(value), "sample_seed": 100 * seed + i} for i, value in enumerate(values)]


CURVES = [kind for kind in KINDS if kind not in ("widths", "aging")]


@pytest.fixture
def runs(make_run: MakeRun) -> list[Path]:
    """Three seeds of evolution, one of the controller, each of 30 trials."""
    evolution = [make_run(f"e{i}", rising(i), config=EVOLUTION.format(i, 2)) for i in range(3)]
    return [*evolution, make_run("rl", rising(9), config=RL, note=NOTES)]


def labels(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("kind", CURVES)
def test_every_kind_is_drawn_as_png_svg_and_pdf_at_any_width(runs: list[Path], tmp_path: Path, kind: str) -> None:
    files = plot_kind(kind, runs)
    assert files == [runs[0] / "figures" / f"{KINDS[kind].file}{suffix}" for suffix in (".png", ".svg")]
    files += plot_kind(kind, runs, tmp_path / "narrow.pdf", width=8 / 2.54)
    assert [file.stat().st_size > 1000 for file in files] == [True] * 3


@pytest.mark.parametrize("kind", [kind for kind, how in KINDS.items() if how.takes_x])
def test_accuracy_stands_against_seconds_too(runs: list[Path], kind: str) -> None:
    assert [file.name for file in plot_kind(kind, runs, x="seconds")] == [
        f"{KINDS[kind].file}-seconds{suffix}" for suffix in (".png", ".svg")
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trials", [[], [{"outcome": "oom"}], [{"told": None, "outcome": None, "told_at": None}]])
def test_a_run_without_finished_trials_is_one_clear_line(make_run: MakeRun, kind: str, trials: list[Any]) -> None:
    with pytest.raises(HistoryError, match=r"no finished trials|no controller has learned") as caught:
        plot_kind(kind, make_run(trials=trials, config=EVOLUTION.format(1, 2)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [kind for kind in CURVES if kind not in ("controller", "population")])
def test_one_trial_is_enough_for_a_curve(make_run: MakeRun, kind: str) -> None:
    assert all(file.stat().st_size for file in plot_kind(kind, make_run(trials=[{"fitness": 0.5}])))


@pytest.mark.parametrize(
    ("kind", "keywords", "said"),
    [
        ("pie", {}, "a picture is one of curve, best, .*widths, not 'pie'"),
        ("controller", {"x": "seconds"}, "of the kind controller is drawn against trials alone"),
        ("best", {"window": 5}, "a window is that of mean or population or aging, not of best"),
        ("best", {"x": "hours"}, "against trials or seconds, not 'hours'"),
    ],
)
def test_what_a_kind_cannot_do_is_said(mixed: Path, kind: str, keywords: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        plot_kind(kind, mixed, **keywords)
    assert not isinstance(caught.value, HistoryError), "the history is not at fault"


def test_who_keeps_no_population_is_followed_on_request(mixed: Path) -> None:
    with pytest.raises(ValueError, match="random keeps no population; --window P"):
        plot_kind("population", mixed)
    assert plot_kind("population", mixed, window=2)[0].name == "population.png"


def test_the_command_line_offers_every_kind() -> None:
    from evo_nas.cli import build_parser
    from evo_nas.commands.plot import KINDS_OFFERED

    assert set(KINDS) == set(KINDS_OFFERED) - {"front", "cells", "operations"}
    for kind in KINDS_OFFERED:
        assert build_parser().parse_args(["plot", "RUN", "--kind", kind]).kind == kind


def test_runs_of_other_settings_are_not_averaged_together(make_run: MakeRun, tmp_path: Path) -> None:
    sets = [(0, 2), (1, 2), (2, 3)]
    made = [make_run(f"e{seed}", rising(seed), config=EVOLUTION.format(seed, sample)) for seed, sample in sets]
    (picture,) = plot_kind("best", made, tmp_path / "best.svg")
    assert picture.is_file()
    frame = load_history(made)
    groups = {"e0": "evolution(sample=2)", "e1": "evolution(sample=2)", "e2": "evolution(sample=3)"}
    ax = plot_accuracy(frame, groups=groups, trials=False)
    assert sorted(labels(ax)) == ["evolution(sample=2) (mean of 2)", "evolution(sample=3)"]


def test_a_mean_is_a_line_without_steps_and_a_trial_a_marker(runs: list[Path]) -> None:
    frame = load_history(runs[0])
    (line,) = plot_mean(frame, window=30).get_lines()
    assert line.get_drawstyle() == "default"
    assert line.get_ydata()[-1] == pytest.approx(frame["fitness"].mean())
    (dots,) = plot_trials(frame).get_lines()
    assert dots.get_ydata().tolist() == frame["fitness"].tolist()
    assert dots.get_marker() == MARKERS[list(STRATEGY_COLOURS).index("evolution")]


def test_seeds_are_a_mean_in_its_band_and_few_of_them_are_called_few(runs: list[Path]) -> None:
    ax = plot_seeds(load_history(runs))
    assert set(labels(ax)) == {"evolution (3 seeds)", "rl (1 seed)"}
    (band,) = ax.collections
    finals = load_history(runs[:3]).groupby("run", observed=True)["fitness"].max()
    heights = band.get_paths()[0].vertices[:, 1]
    assert np.isclose(heights, finals.min()).any()
    assert np.isclose(heights, finals.max()).any()
    assert ax.texts[0].get_text() == "mean, bootstrap 95 % band\n(too narrow: few seeds)"


def test_a_group_whose_runs_share_no_sample_is_named(make_run: MakeRun) -> None:
    made = [make_run("a", [{"fitness": 0.2}]), make_run("b", [{"outcome": "oom"}, {"fitness": 0.3}])]
    with pytest.raises(HistoryError, match="draw them one by one"):
        plot_seeds(load_history(made))
    made.append(make_run("rl", rising(1), config=RL))
    assert plot_seeds(load_history(made)).texts[0].get_text().startswith("without random: no sample that all")


def test_the_best_few_have_dashes_by_their_number_and_colours_by_their_strategy(runs: list[Path]) -> None:
    ax = plot_top(load_history(runs))
    looks = {(line.get_color(), str(line._dash_pattern)) for line in ax.get_lines()}
    assert len(ax.get_lines()) == len(looks) == 6
    assert {colour for colour, _ in looks} == {STRATEGY_COLOURS["evolution"], STRATEGY_COLOURS["rl"]}
    assert {"evolution (mean of 3)", "rl", "top 1", "top 5", "top 25"} <= set(labels(ax))
    first = [line.get_xdata()[0] for line in ax.get_lines()]
    assert sorted(first) == [1, 1, 5, 5, 25, 25], "a mean of 25 needs 25 networks"


def test_many_groups_leave_the_legend_its_numbers(make_run: MakeRun) -> None:
    frame = load_history([make_run(f"e{i}", rising(i), config=EVOLUTION.format(i, 2)) for i in range(6)])
    groups = {f"e{i}": f"evolution(sample={i},population=100)" for i in range(6)}
    names = labels(plot_top(frame, groups=groups))
    assert names[3:] == ["and 3 more", "top 1", "top 5", "top 25"]


def test_a_short_run_has_no_top_25_and_too_many_numbers_are_refused(make_run: MakeRun) -> None:
    frame = load_history(make_run(trials=rising(1, 7)))
    assert [text for text in labels(plot_top(frame)) if text.startswith("top")] == ["top 1", "top 5"]
    with pytest.raises(HistoryError, match="no group has runs that all had 25 networks"):
        plot_top(frame, best=[25])
    with pytest.raises(ValueError, match="1 to 4 numbers, not 5"):
        plot_top(frame, best=range(1, 6))


def test_no_mean_goes_on_without_a_run_and_the_legend_counts_those_without_a_fitness(make_run: MakeRun) -> None:
    runs = [make_run(f"r{i}", rising(i, 40 if i else 7)) for i in range(3)]
    failed = make_run("failed", [{"outcome": "oom"}] * 7)
    frame = load_history([*runs, failed])
    ax = plot_top(frame)
    assert labels(ax)[0] == "random (mean of 3 of 4)"
    assert {float(line.get_xdata()[-1]) for line in ax.lines} == {7.0}, "the mean of 25 would be one of two runs"
    assert labels(plot_seeds(frame)) == ["random (3 of 4 seeds)"]
    assert labels(plot_accuracy(frame, trials=False)) == ["random (mean of 3 of 4)"]
    assert labels(plot_accuracy(load_history([runs[1], failed]), trials=False)) == ["random (1 of 2 runs)"]


def test_a_strategy_whose_name_begins_with_an_underscore_is_in_the_legend(make_run: MakeRun) -> None:
    config = '[run]\nstrategy = "_mine"\nspace = "nasnet"\ntrials = 10\n'
    frame = load_history(make_run("run", rising(0), config=config))
    assert labels(plot_accuracy(frame, trials=False)) == labels(plot_trials(frame)) == [" _mine"]


def test_the_mean_of_lines_is_between_their_points_that_of_the_lines() -> None:
    points = [("a", 1, 0.2), ("a", 3, 0.6), ("b", 1, 0.2), ("b", 2, 0.2), ("b", 3, 0.6)]
    curves = pd.DataFrame(points, columns=["run", "sample", "fitness"]).assign(strategy="rl", space="s", group="rl")
    ax = new_axes()
    draw_runs(curves, "sample", curves, ax, steps=False)
    assert list(ax.lines[-1].get_ydata()) == pytest.approx([0.2, 0.3, 0.6])


def test_a_mean_goes_on_while_trials_fail(make_run: MakeRun) -> None:
    half = make_run("half", [*rising(0, 10), *[{"outcome": "oom"}] * 10])
    ax = plot_mean(load_history([half, make_run("whole", rising(1, 20))]), window=5)
    assert {float(line.get_xdata()[-1]) for line in ax.lines} == {20.0}


def test_the_population_is_drawn_with_its_oldest(runs: list[Path]) -> None:
    lives = living(load_history(runs[0]), {"e0": 5})
    ax = plot_age(lives)
    mean, oldest = ax.get_lines()
    assert (mean.get_ydata()[-1], oldest.get_ydata()[-1]) == (2, 4)
    (line,) = plot_diversity(lives).get_lines()
    assert line.get_ydata()[-1] == pytest.approx(lives["diversity"].iloc[-1])


def test_letters_can_be_read_where_a_picture_is_printed_8_cm_wide() -> None:
    usual = new_axes()
    assert letters(usual) * 8 / (2.54 * SIZE[0]) >= 6, "points"
    assert letters(new_figure(8 / 2.54).add_subplot()) >= 6
    assert letters(Figure(figsize=(30, 20)).add_subplot()) == 9


@pytest.mark.parametrize("width", [None, 8 / 2.54])
def test_nothing_is_cut_off_and_the_legend_leaves_room_for_the_curves(make_run: MakeRun, width: float | None) -> None:
    made = [make_run(f"e{i}", rising(i), config=EVOLUTION.format(i, 1 + i)) for i in range(12)]
    groups = {f"e{i}": f"evolution(sample={i + 1})" for i in range(12)}
    ax = plot_accuracy(load_history(made), new_figure(width).add_subplot(), groups=groups, trials=False)
    figure: Any = ax.figure
    figure.draw_without_rendering()
    box, tight = figure.bbox_inches, figure.get_tightbbox()
    assert tight.x0 >= -0.02
    assert tight.x1 <= box.x1 + 0.02
    assert tight.y1 <= box.y1 + 0.02
    assert ax.bbox.height > 0.4 * figure.bbox.height
    assert labels(ax)[-1].startswith("and ")
    assert ax.get_legend().get_window_extent().y0 >= ax.bbox.y1 - 1, "it stands above"


def test_a_full_legend_names_every_strategy_and_says_what_a_dot_is() -> None:
    ax = new_axes()
    for strategy in ("evolution", "random", "rl"):
        for setting in range(6):
            ax.plot([0, 1], [0, 1], label=f"{strategy}(a_rather_long_setting={setting})")
    ax.plot([], [], "o", label="one training")
    legend(ax, columns=1, rows=5)
    one, two, three, more, dot = labels(ax)
    assert [text.split("(")[0] for text in (one, two, three)] == ["evolution", "random", "rl"]
    assert (more, dot) == ("and 15 more", "one training")


def test_the_best_that_there_can_be_is_drawn_whole(make_run: MakeRun) -> None:
    ax = plot_accuracy(load_history(make_run(trials=[{"fitness": 0.5}, {"fitness": 1.0}])), trials=False)
    assert 1.0 < ax.get_ylim()[1] < 1.05


def test_a_legend_of_nothing_is_none_and_a_long_name_is_cut() -> None:
    ax = new_axes()
    legend(ax)
    assert ax.get_legend() is None
    ax.plot([0, 1], [0, 1], label="x" * 300)
    legend(ax)
    assert labels(ax)[0].endswith("...")


def test_markers_stand_at_even_distances() -> None:
    assert marker_places(np.array([])) == []
    assert marker_places(np.array([3.0])) == [0]
    assert marker_places(np.arange(101.0)) == [7, 27, 47, 67, 87]
    assert all(0 <= place < 3 for place in marker_places(np.array([1.0, 2.0, 900.0]), 0.9))
