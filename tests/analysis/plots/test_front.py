"""The picture of a Pareto front: which dots, which steps, which scale."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.frames import HistoryError
from analysis.palette import STRATEGY_COLOURS
from analysis.plots.front import load_costs, plot_front, plot_fronts

MakeRun = Callable[..., Path]
EVOLUTION = '[run]\nstrategy = "evolution"\n[strategy]\nobjective = "pareto"\ncosts = ["latency", "mult_adds"]\n'


def trial(fitness: float | None, mult_adds: int | None, **metrics: float) -> dict[str, Any]:
    return {"fitness": fitness, "mult_adds": mult_adds, "metrics": json.dumps(metrics)}


TRADE_OFFS = [
    trial(0.5, 10, latency=0.004),
    trial(0.9, 90, latency=0.003),
    trial(0.7, 10, latency=0.002),
    trial(0.8, 95, latency=0.001),
    trial(0.2, 3),
    {**trial(0.95, 1), "outcome": "reused"},
    {**trial(None, 2), "outcome": "oom"},
]


def line_named(ax: Any, label: str) -> np.ndarray:
    (line,) = [line for line in ax.get_lines() if line.get_label() == label]
    assert line.get_drawstyle() == "steps-post"
    return np.column_stack([line.get_xdata(), line.get_ydata()])


def dots(ax: Any) -> list[list[float]]:
    (found,) = [line for line in ax.get_lines() if line.get_linestyle() == "None" and len(line.get_xdata())]
    return np.column_stack([found.get_xdata(), found.get_ydata()]).tolist()


def test_the_front_is_a_line_of_steps_from_the_cheapest_on(make_run: MakeRun) -> None:
    ax = plot_front(load_costs(make_run(trials=TRADE_OFFS), ["mult_adds"]))
    assert line_named(ax, "random").tolist() == [[3, 0.2], [10, 0.7], [90, 0.9]]
    assert ax.get_lines()[0].get_color() == STRATEGY_COLOURS["random"]


def test_every_training_with_a_fitness_is_a_dot(make_run: MakeRun) -> None:
    ax = plot_front(load_costs(make_run(trials=TRADE_OFFS), ["mult_adds"]))
    assert dots(ax) == [[10, 0.5], [90, 0.9], [10, 0.7], [95, 0.8], [3, 0.2]]


def test_a_metric_of_the_evaluator_can_be_the_cost(make_run: MakeRun) -> None:
    runs = [make_run("a", TRADE_OFFS), make_run("b", [trial(0.6, 1, latency=0.5)], config=EVOLUTION)]
    frame = load_costs(runs, ["latency", "parameters"])
    ax = plot_front(frame, cost="latency")
    assert line_named(ax, "random").tolist() == [[0.001, 0.8], [0.003, 0.9]]
    assert line_named(ax, "evolution").tolist() == [[0.5, 0.6]]
    assert ax.get_xlabel() == "latency of one image"


@pytest.mark.parametrize(("costs", "scale"), [((10, 99), "linear"), ((10, 100), "log"), ((0, 100), "linear")])
def test_a_cost_that_grows_tenfold_stands_on_a_logarithmic_axis(
    make_run: MakeRun, costs: tuple[int, int], scale: str
) -> None:
    run = make_run(trials=[trial(0.5 + i / 10, cost) for i, cost in enumerate(costs)])
    ax = plot_front(load_costs(run, ["mult_adds"]))
    assert ax.get_xscale() == scale
    ax.figure.draw_without_rendering()
    assert any(label.get_text() for label in ax.get_xticklabels())


def test_runs_of_one_strategy_are_told_apart_by_name_shade_and_marker(make_run: MakeRun) -> None:
    runs = [make_run(name, TRADE_OFFS, config=EVOLUTION) for name in ("a", "b")]
    ax = plot_front(load_costs(runs, ["mult_adds"]))
    lines = [line for line in ax.get_lines() if str(line.get_label()).startswith("evolution: ")]
    assert [line.get_label() for line in lines] == ["evolution: a", "evolution: b"]
    for look in ("get_color", "get_marker", "get_linestyle"):
        assert len({getattr(line, look)() for line in lines}) == 2


def test_the_axis_makes_room_for_the_whole_front_and_names_what_it_leaves_out(make_run: MakeRun) -> None:
    crowd = [trial(0.9 + 0.001 * (i % 20), 50 + i) for i in range(60)]
    run = make_run(trials=[*crowd, trial(0.5, 10), trial(0.1, 99), trial(0.05, 98)])
    ax = plot_front(load_costs(run, ["mult_adds"]))
    assert 0.1 < ax.get_ylim()[0] < 0.5
    assert [text.get_text() for text in ax.texts] == ["2 of 63 trials lie below"]


def test_a_given_axes_is_drawn_into(make_run: MakeRun) -> None:
    ax = Figure().add_subplot()
    assert plot_front(load_costs(make_run(trials=TRADE_OFFS), ["mult_adds"]), ax) is ax


@pytest.mark.parametrize(("cost", "tick"), [("cpu_seconds", "500 ms"), ("latency", "500 ms"), ("loss", "0.5")])
def test_times_have_their_unit_and_small_numbers_no_prefix(make_run: MakeRun, cost: str, tick: str) -> None:
    trials = [{"fitness": 0.5 + i / 10, "metrics": json.dumps({cost: 0.2 + i / 10})} for i in range(3)]
    ax = plot_front(load_costs(make_run(trials=trials), [cost]), cost=cost)
    assert ax.xaxis.get_major_formatter()(0.5) == tick


def test_a_cost_that_nobody_has_is_an_error_that_names_it(make_run: MakeRun) -> None:
    said = r"no trial of run has the metric 'energy'; name another with --costs: mult_adds and latency$"
    with pytest.raises(ValueError, match=said) as caught:
        plot_fronts(make_run(trials=TRADE_OFFS), costs=["energy"])
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, HistoryError), "the history is not at fault"


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ([], r"^no finished trials in run: nothing was asked yet$"),
        ([{"outcome": "oom", "mult_adds": 5}], r"^no trial of run has succeeded"),
    ],
)
def test_without_a_success_there_is_no_front(make_run: MakeRun, trials: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(HistoryError, match=said):
        plot_fronts(make_run(trials=trials))


def test_the_costs_of_the_run_are_drawn_each_in_a_panel(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr("analysis.plots.front.save", lambda figure, path: drawn.append(figure) or [path])
    run = make_run("r", TRADE_OFFS, config=EVOLUTION)
    assert plot_fronts(run) == [run / "figures" / "front.png"]
    assert [ax.get_xlabel() for ax in drawn[0].axes] == ["latency of one image", "multiply-adds of one image"]
    plot_fronts(make_run("other", TRADE_OFFS))
    assert [ax.get_xlabel() for ax in drawn[1].axes] == ["multiply-adds of one image"], "nothing else is said"
    with pytest.raises(ValueError, match="room for 6 costs, not 7"):
        plot_fronts(run, costs=list("abcdefg"))


def test_the_same_run_gives_the_same_bytes(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(trials=TRADE_OFFS)
    first = [file.read_bytes() for file in plot_fronts(run, tmp_path / "a.png")]
    assert [file.read_bytes() for file in plot_fronts(run, tmp_path / "b.png")] == first
    assert first[0].startswith(b"\x89PNG")
