"""The numbers of a study against small examples worked by hand, and its picture of regret."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.comparison.compare import comparison_of
from analysis.frames import HistoryError
from analysis.palette import STRATEGY_COLOURS
from analysis.plots.compare_report import compare_study
from analysis.plots.seed_bands import plot_seeds

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
                    run = {"strategy": label, "space": "nasnet", "evaluator": "toy", "seed": seed, "trials": trials}
                    config = "[run]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in run.items())
                    folder = make_run(f"study/{label}-seed{seed}", given, config=config)
                    reason = (ends or {}).get(folder.name, "trials")
                    log = [{"event": "start"}, {"event": "end", "reason": reason}]
                    lines = (json.dumps({"time": "2026-01-01T00:00:00Z", **line}) + "\n" for line in log)
                    (folder / "log.jsonl").write_text("".join(lines))
        record = {
            "version": 1,
            "optimum": optimum,
            "trials": trials,
            "first_seed": 0,
            "seeds": max(map(len, runs.values())),
            "strategies": [{"label": label, "folder": label, "name": label, "options": {}} for label in runs],
            **{name: {} for name in ("run", "space", "evaluator")},
        }
        folder = tmp_path / "study"
        folder.mkdir(exist_ok=True)
        (folder / "study.json").write_text(json.dumps(record))
        return folder

    return make


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Pictures take long; the one that is looked at is made all the same."""
    if "drawn" not in request.node.name:
        monkeypatch.setattr("analysis.plots.files.save", lambda figure, path: [path])


def rows_of(folder: Path, **given: Any) -> list[dict[str, Any]]:
    return compare_study(folder, **given).to_json()["strategies"]  # type: ignore[no-any-return]


def test_the_numbers_are_those_worked_out_by_hand(make_study: Any) -> None:
    first = [ok(0.5, 0.41), FAILED, ok(0.7, 0.62, sample_seed=8), ok(0.7, 0.99), ok(0.6, 0.98, sample_seed=8)]
    second = [FAILED, ok(0.8, 0.72), ok(0.8, 0.95), ok(0.9, 0.6), ok(0.1, 0.97)]
    folder = make_study({"random": [first, second]}, trials=5)
    (one,), (three,), (five,) = (rows_of(folder, trials=n) for n in (1, 3, 5))
    assert one["best"] is one["regret"] is None, "one run has no fitness yet"
    assert one["failed"] == 1
    # Best 0.7 and 0.8, of which the first found is reported; the optimum is 0.9.
    assert three["best"] == pytest.approx(0.75)
    assert three["best_sd"] == pytest.approx(0.1 / math.sqrt(2))
    assert three["regret"] == pytest.approx(0.15)
    assert three["test"] == pytest.approx((0.62 + 0.72) / 2)
    assert five["regret"] == pytest.approx((0.2 + 0) / 2)
    assert five["test"] == pytest.approx((0.62 + 0.6) / 2)
    assert [row["runs"] for row in (one, three, five)] == [2, 2, 2]
    alike = comparison_of([*folder.glob("*-seed*")]).to_json()
    assert alike["strategies"] == [five], "the runs of a study, compared on their own, have its regret"
    assert alike["optimum"] == 0.9


def test_ties_are_broken_by_the_order_told_and_not_by_the_order_asked(make_study: Any) -> None:
    late = ok(0.7, 0.1, id=1, asked=1, told=6)
    early = ok(0.7, 0.2, id=2, asked=2, told=3)
    (row,) = rows_of(make_study({"random": [[late, early]]}, trials=2))
    assert row["test"] == pytest.approx(0.2)
    assert row["best_sd"] is None, "one seed has no spread"


def test_repeats_that_are_reused_are_no_trials_and_those_trained_again_are(make_study: Any) -> None:
    again = ok(0.5, 0.5, sample_seed=1)
    reused = [ok(0.5, 0.5), again | {"outcome": "reused"}, {"outcome": "refused"}, ok(0.6, 0.6), ok(0.7, 0.7)]
    retrained = [ok(0.5, 0.5), again, ok(0.6, 0.6)]
    folder = make_study({"reuse": [reused], "retrain": [retrained]}, trials=3)
    found = {(row["group"], n): row for n in (2, 3) for row in rows_of(folder, trials=n)}
    assert found["reuse", 2]["best"] == pytest.approx(0.6)
    assert found["reuse", 3]["best"] == pytest.approx(0.7)
    assert found["reuse", 3]["networks"] == 3
    assert found["retrain", 2]["best"] == pytest.approx(0.5)
    assert found["retrain", 3]["networks"] == 2


@pytest.mark.parametrize("reason", ["converged", "exhausted"])
def test_a_run_that_had_nothing_left_to_try_keeps_its_best(make_study: Any, reason: str) -> None:
    runs = {"random": [[ok(0.5, 0.4), ok(0.7, 0.6)], [ok(0.5, 0.5)] * 6]}
    folder = make_study(runs, trials=6, ends={"random-seed0": reason})
    (row,) = rows_of(folder)
    assert row["runs"] == 2
    assert row["best"] == pytest.approx(0.6)
    assert row["test"] == pytest.approx(0.55)
    with (folder / "random-seed0/log.jsonl").open("a") as log:
        log.write('{"time": "2026-01-01T00:00:00Z", "event": "repaired"}\n')
    assert rows_of(folder) == [row], "a repair ends nothing and begins nothing"


def test_runs_that_are_not_finished_are_left_out_and_said_so(make_study: Any) -> None:
    whole = [ok(0.5), ok(0.6), ok(0.7)]
    running = [*whole[:2], {"told": None, "outcome": None, "told_at": None, "seconds": None}]
    folder = make_study({"random": [whole, running, None], "evolution": [None, running]}, trials=3)
    (row,) = rows_of(folder)
    assert (row["group"], row["runs"], row["best"]) == ("random", 1, pytest.approx(0.7))
    notes = compare_study(folder).notes
    assert notes[0] == "Left out, because they have fewer than 3 samples: random-seed1 (2) and evolution-seed1 (2)."
    assert notes[-1] == "Not begun: random-seed2, evolution-seed0 and evolution-seed2."
    assert sorted(row["runs"] for row in rows_of(folder, trials=2)) == [1, 2], "for fewer trials more are finished"
    assert [row["runs"] for row in rows_of(folder, seeds=range(1))] == [1]
    with pytest.raises(HistoryError, match=r"no run of the study .* is finished yet: no run has 3 trained trials"):
        compare_study(folder, strategies=["evolution"])


def test_what_is_not_known_is_null(make_study: Any) -> None:
    folder = make_study({"random": [[ok(0.5)], [ok(0.6)]], "evolution": [[FAILED], [ok(0.6)]]}, trials=1, optimum=None)
    comparison = compare_study(folder)
    alive, dead = comparison.to_json()["strategies"]
    assert alive["regret"] is alive["test"] is dead["best"] is None
    assert alive["best"] == pytest.approx(0.55)
    assert json.loads(json.dumps(comparison.to_json(), allow_nan=False)) == comparison.to_json()
    assert "regret" not in "".join(comparison.lines())
    assert comparison.notes == ("evolution: in 1 of 2 runs no trial succeeded; they rank last.",)


def test_a_regret_below_zero_is_called_noise(make_study: Any) -> None:
    comparison = compare_study(make_study({"random": [[ok(0.95)]]}, trials=1))
    assert comparison.notes[-1].startswith("A fitness above the best possible one is noise")
    assert any(line.split()[-2:] == ["95.00", "-5.00"] for line in comparison.lines())


def test_a_study_is_told_in_eighty_columns_with_its_regret(make_study: Any) -> None:
    runs = {"evolution": [[ok(0.5, 0.41)] * 3] * 2, "random": [[ok(0.4, 0.31)] * 3, [ok(0.3, 0.21)] * 3]}
    folder = make_study(runs, trials=3)
    lines = compare_study(folder).lines()
    assert max(map(len, lines[:-1])) <= 80
    assert any("regret" in line for line in lines)
    assert max(map(len, comparison_of([*folder.glob("*-seed*")], target=0.45).lines())) <= 80


def test_bad_folders_get_one_line(make_study: Any, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"is no study: there is no study\.json in it"):
        compare_study(tmp_path)
    folder = make_study({"random": [None]}, trials=1)
    with pytest.raises(HistoryError, match=r"no run of the study .* is begun yet"):
        compare_study(folder)
    with pytest.raises(HistoryError, match="has no strategy 'rl'; it has: random"):
        compare_study(folder, strategies=["rl"])
    (folder / "study.json").write_text('{"version": 2}')
    with pytest.raises(HistoryError, match="has version 2, this evo_nas reads version 1"):
        compare_study(folder)
    (folder / "study.json").write_text('{"version": 1}')
    with pytest.raises(HistoryError, match=r"study\.json is damaged"):
        compare_study(folder)


def test_a_damaged_trial_is_named_and_a_damaged_record_hides_no_run(make_study: Any) -> None:
    folder = make_study({"random": [[ok(0.5), ok(1.5)]], "rl": [[ok(0.5)] * 2]}, trials=2)
    with pytest.raises(HistoryError, match=r"trial 2 of random-seed0 is damaged: its fitness cannot be 1\.5"):
        compare_study(folder)
    (folder / "study.json").write_text("[]")
    assert comparison_of([folder / "rl-seed0"]).optimum is None


def falling(label: str, to: float, seeds: int = 4, trials: int = 60) -> pd.DataFrame:
    """Return runs whose best rises from 0.4 to a height, a little different a seed."""
    steps = np.geomspace(0.5, max(0.9 - to, 1e-9), trials)
    best = np.clip(0.9 - steps[None] * (1 + 0.1 * np.arange(seeds)[:, None]), 0, 0.9)
    if to >= 0.9:
        best[:, trials // 2 :] = 0.9
    return pd.concat(
        pd.DataFrame(
            {
                "run": f"{label}{seed}",
                "strategy": label.partition("(")[0],
                "space": "bits",
                "sample": np.arange(1, trials + 1),
                "fitness": curve,
                "best_so_far": curve,
                "trained": True,
                "outcome": "ok",
                "label": label,
            }
        )
        for seed, curve in enumerate(best)
    )


def drawn(*runs: pd.DataFrame, optimum: float | None = 0.9, until: int = 60) -> Any:
    frame = pd.concat(runs, ignore_index=True)
    groups = dict(zip(frame["run"], frame["label"], strict=True))
    return plot_seeds(frame, groups=groups, optimum=optimum, until=until)


def test_regret_is_what_the_mean_best_lacks_and_its_band_lies_about_it() -> None:
    runs = falling("random", 0.6)
    ax = drawn(runs)
    (line,) = ax.get_lines()
    assert line.get_color() == STRATEGY_COLOURS["random"]
    regret = 0.9 - runs.groupby("sample")["fitness"].mean()
    assert line.get_ydata()[[0, -1]] == pytest.approx(regret.iloc[[0, -1]])
    (band,) = ax.collections
    end = band.get_paths()[0].vertices
    low, high = (limit(end[end[:, 0] == 60, 1]) for limit in (min, max))
    assert low < regret.iloc[-1] < high
    assert ax.yaxis.get_major_formatter()(0.125, 0) == "12.5", "percentage points"
    assert "bootstrap 95 % band" in ax.texts[0].get_text()


def test_a_run_that_ended_early_keeps_what_it_had_until_the_end() -> None:
    short = falling("random", 0.6, seeds=1, trials=20).assign(run="short")
    (line,) = drawn(short, falling("random", 0.6, seeds=1, trials=60), until=50).get_lines()
    assert line.get_xdata()[-1] == 50
    assert line.get_ydata()[-1] == pytest.approx((0.3 + 0.9 - 0.9 + np.geomspace(0.5, 0.3, 60)[49]) / 2)


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
    assert looks["evolution (4 seeds)"][0] == STRATEGY_COLOURS["evolution"]
    assert len({*looks.values()}) == 3
    order = [text.get_text().removesuffix(" (4 seeds)") for text in ax.get_legend().get_texts()]
    assert order == ["mine:Own", "evolution", "evolution(sample=5)"], "as the curves stand at the right"


def test_a_study_is_drawn_as_png_and_svg(make_study: Any) -> None:
    folder = make_study({"random": [[ok(0.5), ok(0.6)]]}, trials=2)
    found = compare_study(folder)
    assert found.files == (folder / "figures" / "study.png", folder / "figures" / "study.svg")
    assert all(file.stat().st_size > 1000 for file in found.files)
    with pytest.raises(ValueError, match="a picture ends in one of"):
        compare_study(folder, Path("study.docx"))
