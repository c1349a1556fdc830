import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.frames import HistoryError, load_history
from analysis.palette import STRATEGY_COLOURS, strategy_colours
from analysis.plots.axes import ABSCISSAE
from analysis.plots.curves import plot_accuracy
from analysis.plots.files import save
from analysis.plots.kinds import plot_kind

MakeRun = Callable[..., Path]
plot_runs = partial(plot_kind, "curve")
EVOLUTION = '[run]\nstrategy = "evolution"\n'


def line_named(ax: object, label: str) -> np.ndarray:
    (line,) = [line for line in ax.get_lines() if line.get_label() == label]  # type: ignore[attr-defined]
    return np.column_stack([line.get_xdata(), line.get_ydata()])


def test_a_line_shows_the_best_so_far_of_a_run(mixed: Path) -> None:
    ax = plot_accuracy(load_history(mixed))
    # Sample 3 changes nothing and is left out of the steps.
    assert line_named(ax, "random").tolist() == [[1, 0.5], [2, 0.6], [4, 0.9]]


def test_dots_show_every_training_with_a_fitness(mixed: Path) -> None:
    ax = plot_accuracy(load_history(mixed))
    (dots,) = [line for line in ax.get_lines() if line.get_linestyle() == "None" and len(line.get_xdata())]
    assert np.column_stack([dots.get_xdata(), dots.get_ydata()]).tolist() == [[1, 0.5], [2, 0.6], [4, 0.9]]
    assert not [
        line for line in plot_accuracy(load_history(mixed), trials=False).get_lines() if line.get_marker() == "o"
    ]


def test_several_runs_of_a_strategy_get_their_mean_in_the_same_colour(make_run: MakeRun) -> None:
    runs = [make_run(f"e{i}", [{"fitness": 0.5 + i / 10}], config=EVOLUTION) for i in range(2)]
    ax = plot_accuracy(load_history([*runs, make_run("r", [{"fitness": 0.2}])]), trials=False)
    assert line_named(ax, "evolution (mean of 2)").tolist() == [[1, 0.55]]
    colours = [line.get_color() for line in ax.get_lines()]
    assert colours.count(STRATEGY_COLOURS["evolution"]) == 3
    assert colours.count(STRATEGY_COLOURS["random"]) == 1


def test_a_strategy_has_one_colour_whatever_stands_beside_it() -> None:
    assert strategy_colours(["random", "evolution"])["random"] == strategy_colours(["random"])["random"]
    several = strategy_colours(["random", "mine", "yours", "evolution"])
    assert len(set(several.values())) == 4


def test_the_axis_is_in_percent_and_names_what_it_leaves_out(make_run: MakeRun) -> None:
    trials = [{"fitness": 0.9 + 0.001 * (i % 20)} for i in range(60)] + [{"fitness": 0.1}]
    ax = plot_accuracy(load_history(make_run(trials=trials)))
    ax.figure.draw_without_rendering()
    for tick, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True):
        assert label.get_text().endswith(" %")
        assert float(label.get_text().removesuffix(" %")) == pytest.approx(100 * tick, rel=1e-5)
    assert ax.get_ylim()[0] > 0.5
    assert [text.get_text() for text in ax.texts] == ["1 of 61 trials lies below"]


def test_a_given_axes_is_drawn_into(mixed: Path) -> None:
    ax = Figure().add_subplot()
    assert plot_accuracy(load_history(mixed), ax) is ax


def test_a_run_with_one_trial_can_be_drawn(make_run: MakeRun) -> None:
    run = make_run(trials=[{"fitness": 0.5}])
    assert all(file.stat().st_size > 0 for file in plot_runs(run))


def test_a_run_of_failures_is_an_error_that_counts_them(make_run: MakeRun) -> None:
    run = make_run("bad", [{"outcome": "oom"}, {"outcome": "oom"}, {"outcome": "nan"}])
    with pytest.raises(HistoryError, match="no finished trials in bad but failures: 2 oom, 1 nan"):
        plot_runs(run)


def test_an_empty_run_is_an_error(make_run: MakeRun) -> None:
    with pytest.raises(HistoryError, match="no finished trials"):
        plot_runs(make_run())


def test_pictures_go_to_the_report_of_the_first_run(make_run: MakeRun, mixed: Path) -> None:
    files = plot_runs([mixed, make_run("other", [{"fitness": 0.5}])])
    assert files == [mixed / "figures" / "accuracy.png", mixed / "figures" / "accuracy.svg"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in files[1].read_bytes()


def test_accuracy_is_drawn_against_time_on_request(make_run: MakeRun) -> None:
    run = make_run(trials=[{"fitness": 0.2}, {"fitness": 0.4}, {"fitness": 0.9}])
    ax = plot_accuracy(load_history(run), x="seconds")
    assert line_named(ax, "random").tolist() == [[1.5, 0.2], [3.5, 0.4], [5.5, 0.9]]
    (dots,) = [line for line in ax.get_lines() if line.get_linestyle() == "None" and len(line.get_xdata())]
    assert dots.get_xdata().tolist() == [1.5, 3.5, 5.5]
    assert ax.get_xlabel() == "seconds that the run was going for"
    assert [file.name for file in plot_runs(run, x="seconds")] == ["accuracy-seconds.png", "accuracy-seconds.svg"]
    with pytest.raises(ValueError, match="against trials or seconds, not 'hours'"):
        plot_runs(run, x="hours")


@pytest.mark.parametrize(
    ("last", "unit", "seconds"), [(299, "seconds", 1), (2700, "minutes", 60), (90_000, "hours", 3600)]
)
def test_long_times_are_marked_in_minutes_and_hours(make_run: MakeRun, last: int, unit: str, seconds: int) -> None:
    trials = [{"fitness": 0.2}, {"fitness": 0.4, "told_at": 1_700_000_001.0 + last}]
    ax = plot_accuracy(load_history(make_run(trials=trials)), x="seconds")
    assert ax.get_xlabel().split()[0] == unit
    ax.figure.draw_without_rendering()
    ticks = list(zip(ax.get_xticks(), ax.get_xticklabels(), strict=True))
    assert 4 <= len(ticks) <= 12
    assert [float(label.get_text()) * seconds for _, label in ticks] == pytest.approx([at for at, _ in ticks])


def test_the_command_line_offers_what_can_be_drawn_against() -> None:
    from evo_nas.cli import build_parser

    for name in ABSCISSAE:
        assert build_parser().parse_args(["plot", "RUN", "--x", name]).x == name


def test_a_suffix_other_than_png_means_that_format_alone(mixed: Path, tmp_path: Path) -> None:
    assert plot_runs(mixed, tmp_path / "new" / "picture.pdf") == [tmp_path / "new" / "picture.pdf"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["picture.pdf"]


@pytest.mark.parametrize("name", ["picture.xyz", "picture", "picture.pgf"])
def test_a_suffix_that_is_no_picture_is_no_fault_of_the_history(mixed: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"a picture ends in one of .*\.png") as caught:
        plot_runs(mixed, tmp_path / name)
    assert not isinstance(caught.value, HistoryError)


def test_every_suffix_that_is_offered_can_be_written(mixed: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be written") as caught:
        plot_runs(mixed, tmp_path / "picture")
    for suffix in str(caught.value).rpartition("one of ")[2].split(", "):
        (file, *_) = save(Figure(figsize=(0.2, 0.2)), tmp_path / f"picture{suffix}")
        assert file.stat().st_size > 0


def test_a_damaged_trial_ends_a_picture_in_one_line(make_run: MakeRun) -> None:
    with pytest.raises(HistoryError, match="trial 2 of bad is damaged: its fitness cannot be 'high'"):
        plot_runs(make_run("bad", [{"fitness": 0.5}, {"fitness": "high"}]))


def test_the_same_figure_gives_the_same_bytes(mixed: Path, tmp_path: Path) -> None:
    first = [file.read_bytes() for file in plot_runs(mixed, tmp_path / "a.png")]
    assert [file.read_bytes() for file in plot_runs(mixed, tmp_path / "b.png")] == first
    figure = plot_accuracy(load_history(mixed)).figure
    save(figure, tmp_path / "c.svg")
    assert b"<dc:date>" not in (tmp_path / "c.svg").read_bytes()


def test_a_picture_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    class Broken(Figure):
        def savefig(self, file: Path, **_: object) -> None:  # type: ignore[override]
            Path(file).write_text("half")
            raise OSError(28, "No space left on device")

    picture = tmp_path / "picture.svg"
    picture.write_text("old")
    with pytest.raises(OSError, match="No space left"):
        save(Broken(), picture)
    assert picture.read_text() == "old"
    assert list(tmp_path.iterdir()) == [picture]


@pytest.mark.slow
def test_drawing_needs_neither_pyplot_nor_a_display(mixed: Path) -> None:
    import subprocess

    root = Path(__file__).parents[3]
    code = (
        "import sys\nfrom pathlib import Path\nfrom analysis.plots.kinds import plot_kind\n"
        f"plot_kind('curve', Path({str(mixed)!r}))\nassert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, env={"PATH": "", "HOME": str(mixed)})
