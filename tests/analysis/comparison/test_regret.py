"""The numbers of a study against small examples worked by hand, and its picture."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.comparison.regret import (
    CHECKPOINTS,
    STUDY_TABLE,
    StrategyCurves,
    StudyCurves,
    load_study,
    notes_on,
    study_table,
)
from analysis.frames import HistoryError
from analysis.plots.palette import STRATEGY_COLOURS
from analysis.plots.regret import plot_study, study_figure
from analysis.plots.study_report import report_study
from tests.counting import bytecodes
from tests.histories import close_in_order

FAILED = {"outcome": "nan"}


def ok(fitness: float, test: float | None = None, **given: Any) -> dict[str, Any]:
    return {"fitness": fitness, "test": test, **given}


@pytest.fixture
def make_study(tmp_path: Path, make_run: Callable[..., Path]) -> Callable[..., Path]:
    """Make a study from the trials of its runs: label -> a list of trials per seed, None where there is no run yet."""

    def make(
        runs: dict[str, list[Iterable[dict[str, Any]] | None]],
        *,
        trials: int,
        optimum: float | None = 0.9,
        ends: dict[str, str] | None = None,
    ) -> Path:
        for label, seeds in runs.items():
            for seed, given in enumerate(seeds):
                if given is not None:
                    folder = make_run(f"study/{label}-seed{seed}", given)
                    reason = (ends or {}).get(folder.name, "trials")
                    time = "2026-11-28T12:00:00+00:00"
                    log = [{"event": "start", "time": time}, {"event": "end", "time": time, "reason": reason}]
                    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
        record = {
            "version": 1,
            "optimum": optimum,
            "trials": trials,
            "first_seed": 0,
            "seeds": max(map(len, runs.values())),
            "strategies": [{"label": label, "folder": label} for label in runs],
        }
        folder = tmp_path / "study"
        folder.mkdir(exist_ok=True)
        (folder / "study.json").write_text(json.dumps(record))
        return folder

    return make


def rows_of(folder: Path, checkpoints: list[int], **given: Any) -> list[dict[str, Any]]:
    table = study_table(load_study(folder, **given), checkpoints)
    assert list(table) == list(STUDY_TABLE)
    return [{str(k): v for k, v in row.items()} for row in table.to_dict(orient="records")]


def test_the_numbers_are_those_worked_out_by_hand(make_study: Any) -> None:
    first = [ok(0.5, 0.41), FAILED, ok(0.7, 0.62, sample_seed=8), ok(0.7, 0.99), ok(0.6, 0.98, sample_seed=8)]
    second = [FAILED, ok(0.8, 0.72), ok(0.8, 0.95), ok(0.9, 0.6), ok(0.1, 0.97)]
    one, three, five = rows_of(make_study({"random": [first, second]}, trials=5), [1, 3, 5])
    assert math.isnan(one["mean_best"]), "one run has no fitness yet"
    assert math.isnan(one["mean_regret"])
    assert one["distinct"] == 1, "a training that failed is one"
    # Best 0.7 and 0.8, of which the first found is reported; the optimum is 0.9.
    assert three["mean_best"] == pytest.approx(75)
    assert three["sd_best"] == pytest.approx(10 / math.sqrt(2))
    assert three["mean_regret"] == pytest.approx(15)
    assert three["stderr_regret"] == pytest.approx(5)
    assert three["mean_test"] == pytest.approx((62 + 72) / 2)
    assert three["stderr_test"] == pytest.approx(5)
    assert three["distinct"] == 3
    assert five["mean_regret"] == pytest.approx((20 + 0) / 2)
    assert five["mean_test"] == pytest.approx((62 + 60) / 2)
    assert five["distinct"] == pytest.approx((4 + 5) / 2), "the fifth cell of the first run was its third"
    assert [row["seeds"] for row in (one, three, five)] == [2, 2, 2]


def test_ties_are_broken_by_the_order_told_and_not_by_the_order_asked(make_study: Any) -> None:
    late = ok(0.7, 0.1, id=1, asked=1, told=6)
    early = ok(0.7, 0.2, id=2, asked=2, told=3)
    (row,) = rows_of(make_study({"random": [[late, early]]}, trials=2), [2])
    assert row["mean_test"] == pytest.approx(20)
    assert math.isnan(row["stderr_regret"]), "one seed has no spread"


def test_repeats_that_are_reused_are_no_trials_and_those_trained_again_are(make_study: Any) -> None:
    again = ok(0.5, 0.5, sample_seed=1)
    reused = [ok(0.5, 0.5), again | {"outcome": "reused"}, {"outcome": "refused"}, ok(0.6, 0.6), ok(0.7, 0.7)]
    retrained = [ok(0.5, 0.5), again, ok(0.6, 0.6)]
    folder = make_study({"reuse": [reused], "retrain": [retrained]}, trials=3)
    found = {(row["strategy"], row["trials"]): row for row in rows_of(folder, [2, 3])}
    assert found["reuse", 2]["mean_best"] == pytest.approx(60)
    assert found["reuse", 3]["mean_best"] == pytest.approx(70)
    assert found["reuse", 3]["distinct"] == 3
    assert found["retrain", 2]["mean_best"] == pytest.approx(50)
    assert found["retrain", 3]["distinct"] == 2


@pytest.mark.parametrize("reason", ["converged", "exhausted"])
def test_a_run_that_had_nothing_left_to_try_keeps_its_best(make_study: Any, reason: str) -> None:
    runs = {"random": [[ok(0.5, 0.4), ok(0.7, 0.6)], [ok(0.5, 0.5)] * 6]}
    folder = make_study(runs, trials=6, ends={"random-seed0": reason})
    (row,) = rows_of(folder, [6])
    assert row["seeds"] == 2
    assert row["mean_best"] == pytest.approx(60)
    assert row["mean_test"] == pytest.approx(55)
    assert row["distinct"] == (2 + 6) / 2
    assert notes_on(load_study(folder)) == []
    with (folder / "random-seed0/log.jsonl").open("a") as log:
        log.write('{"event": "repaired", "time": "2026-11-28T12:00:00+00:00"}\n')
    assert rows_of(folder, [6]) == [row], "a repair ends nothing and begins nothing"


def test_runs_that_are_not_finished_are_left_out_and_said_so(make_study: Any) -> None:
    whole = [ok(0.5), ok(0.6), ok(0.7)]
    running = [*whole[:2], {"told": None, "outcome": None, "told_at": None, "seconds": None}]
    folder = make_study({"random": [whole, running, None], "evolution": [None, running]}, trials=3)
    (row,) = rows_of(folder, [3])
    assert (row["strategy"], row["seeds"], row["mean_best"]) == ("random", 1, pytest.approx(70))
    assert notes_on(load_study(folder)) == [
        "random: 2 of 3 seeds not finished and left out (1, 2).",
        "evolution: 3 of 3 seeds not finished and left out (0, 1, 2).",
    ]
    assert [row["seeds"] for row in rows_of(folder, [2], trials=2)] == [2, 1], "for fewer trials more are finished"
    assert [row["seeds"] for row in rows_of(folder, [3], seeds=range(1))] == [1]
    assert rows_of(folder, [3], strategies=["evolution"]) == []


def test_a_longer_run_counts_until_the_trials_that_are_asked_for(make_study: Any) -> None:
    folder = make_study({"random": [[ok(0.5), ok(0.6), ok(0.7)]]}, trials=3)
    (row,) = rows_of(folder, [2], trials=2)
    assert row["mean_best"] == pytest.approx(60)


def test_what_is_not_known_is_null(make_study: Any) -> None:
    folder = make_study({"random": [[ok(0.5)], [ok(0.6)]], "evolution": [[FAILED], [ok(0.6)]]}, trials=1, optimum=None)
    report = report_study(folder)
    alive, dead = report.to_json()
    assert alive["mean_regret"] is alive["stderr_regret"] is alive["mean_test"] is None
    assert alive["mean_best"] == pytest.approx(55)
    assert dead["mean_best"] is None
    assert json.loads(json.dumps(report.to_json(), allow_nan=False)) == report.to_json()
    assert report.lines()[2].split() == ["evolution", "1", "2", "-", "-", "-", "1.0"]
    assert report.notes == ("evolution: in 1 of 2 runs no trial succeeded.",)


def test_a_regret_below_zero_is_called_noise(make_study: Any) -> None:
    (note,) = notes_on(load_study(make_study({"random": [[ok(0.95)]]}, trials=1)))
    assert note.startswith("A fitness above the best possible one is noise")


def test_the_checkpoints_go_as_far_as_the_study(make_study: Any) -> None:
    for trials, expected in ((7, [7]), (100, [50, 100]), (1200, [*CHECKPOINTS, 1200])):
        curves = StrategyCurves("random", (0,), *(np.zeros((1, trials)),) * 3)
        assert study_table(StudyCurves(Path(), trials, 1.0, (curves,)))["trials"].tolist() == expected


@pytest.mark.parametrize("checkpoint", [0, -1, 7])
def test_a_checkpoint_is_one_of_the_trials(make_study: Any, checkpoint: int) -> None:
    folder = make_study({"random": [[ok(0.5, 0.4)] * 6]}, trials=6)
    with pytest.raises(ValueError, match=rf"from 1 to 6, not {checkpoint}$"):
        study_table(load_study(folder), [checkpoint])


def test_bad_folders_get_one_line(make_study: Any, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"is no study: there is no study\.json in it"):
        load_study(tmp_path)
    folder = make_study({"random": [None]}, trials=1)
    with pytest.raises(HistoryError, match=r"no run of the study .* is finished yet"):
        report_study(folder)
    with pytest.raises(HistoryError, match="has no strategy 'rl'; it has: random"):
        load_study(folder, strategies=["rl"])
    (folder / "study.json").write_text('{"version": 2}')
    with pytest.raises(HistoryError, match="has version 2, but this version of evo_nas reads version 1"):
        load_study(folder)
    (folder / "study.json").write_text('{"version": 1}')
    with pytest.raises(HistoryError, match=r"study\.json is damaged"):
        load_study(folder)


def test_a_damaged_trial_is_named(make_study: Any) -> None:
    folder = make_study({"random": [[ok(0.5), ok(1.5)]]}, trials=2)
    with pytest.raises(HistoryError, match=r"trial 2 of random-seed0 is damaged: its fitness cannot be 1\.5"):
        load_study(folder)


def falling(label: str, to: float, seeds: int = 4, trials: int = 60) -> StrategyCurves:
    """Return curves whose best rises from 0.4 to a height, a little different a seed."""
    steps = np.geomspace(0.5, max(0.9 - to, 1e-9), trials)
    best = np.clip(0.9 - steps[None] * (1 + 0.1 * np.arange(seeds)[:, None]), 0, 0.9)
    if to >= 0.9:
        best[:, trials // 2 :] = 0.9
    return StrategyCurves(label, tuple(range(seeds)), best, best, np.ones_like(best))


def drawn(*curves: StrategyCurves, optimum: float | None = 0.9) -> Any:
    return plot_study(StudyCurves(Path(), 60, optimum, curves), Figure().add_subplot())


def test_curves_are_the_means_with_bands_of_the_standard_error() -> None:
    curves = falling("random", 0.6)
    ax = drawn(curves)
    (line,) = ax.get_lines()
    assert line.get_color() == STRATEGY_COLOURS["random"]
    regret = 100 * (0.9 - curves.best)
    assert line.get_ydata() == pytest.approx(regret.mean(axis=0))
    (band,) = ax.collections
    heights = band.get_paths()[0].vertices[:, 1]
    error = regret[:, -1].std(ddof=1) / 2
    assert np.isclose(heights, regret[:, -1].mean() - error).any()
    assert np.isclose(heights, regret[:, -1].mean() + error).any()
    assert "mean of 4 seeds ± standard error" in ax.texts[0].get_text()


def test_the_axis_of_regret_is_logarithmic_where_that_reads_better() -> None:
    assert drawn(falling("random", 0.6)).get_yscale() == "linear"
    assert drawn(falling("random", 0.6), falling("rl", 0.899)).get_yscale() == "log"
    assert drawn(falling("random", 0.6), falling("rl", 0.899), optimum=0.8).get_yscale() == "linear", "negative: noise"
    assert drawn(falling("random", 0.6), falling("rl", 0.899), optimum=None).get_yscale() == "linear"


def test_a_regret_of_zero_leaves_the_axis_and_is_explained() -> None:
    ax = drawn(falling("random", 0.6), falling("evolution", 0.9))
    assert "every run has found the best there is" in ax.texts[0].get_text()
    bottom, _ = ax.get_ylim()
    assert bottom > 0
    assert min(ax.get_lines()[-1].get_ydata()) < bottom, "the curve goes out of the picture"


def test_settings_of_a_strategy_share_its_colour_and_can_be_told_apart() -> None:
    ax = drawn(falling("evolution", 0.6), falling("evolution(sample=5)", 0.7), falling("mine:Own", 0.5))
    looks = {line.get_label(): (line.get_color(), line.get_linestyle()) for line in ax.get_lines()}
    assert looks["evolution"][0] == STRATEGY_COLOURS["evolution"]
    assert len({*looks.values()}) == 3
    order = [text.get_text() for text in ax.get_legend().get_texts()]
    assert order == ["mine:Own", "evolution", "evolution(sample=5)"], "as the curves stand at the right"


def test_a_study_is_drawn_as_png_and_svg(make_study: Any) -> None:
    folder = make_study({"random": [[ok(0.5), ok(0.6)]]}, trials=2)
    report = report_study(folder)
    assert report.files == (folder / "figures" / "study.png", folder / "figures" / "study.svg")
    assert all(file.stat().st_size > 1000 for file in report.files)
    with pytest.raises(ValueError, match="a picture ends in one of"):
        report_study(folder, Path("study.docx"))
    nothing = replace(falling("random", 0.6), best=np.full((4, 60), math.nan))
    study_figure(StudyCurves(folder, 60, 0.9, (nothing,)))


def test_reading_a_study_takes_few_steps_of_the_interpreter_a_trial(make_study: Any) -> None:
    def steps(trials: int) -> int:
        run = [ok(0.5 + (i % 7) / 100, 0.5, sample_seed=i % 3) for i in range(trials)]
        folder = make_study({f"random{trials}": [run] * 3}, trials=trials)
        for run in folder.glob("*-seed*"):
            close_in_order(run)
        study_table(load_study(folder))  # also what is worked out once per process
        return bytecodes(lambda: study_table(load_study(folder)))

    assert steps(1100) - steps(100) < 50 * 3 * 1000, "of each of three runs: 33 a trial, none of them a query"
