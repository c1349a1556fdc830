"""Stopping early: the rules by hand, what they never do, and whole runs that are stopped, resumed and the same."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import stopping as bench
from evo_nas.api.searches import search
from evo_nas.cli import main
from evo_nas.evaluators.base import Job, Placement
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.evaluators.stopping import (
    NO_THRESHOLD,
    RULES,
    Curve,
    MedianStopping,
    StoppingRule,
    SuccessiveHalving,
    stopping_rule,
)
from evo_nas.run.parts import build as built
from evo_nas.run.parts import read_stored_config
from evo_nas.run.search import Run, resume
from evo_nas.storage.history import History
from evo_nas.storage.run_folder import RunFolder
from genotypes.catalogue import build_space
from genotypes.genotype import Genotype
from genotypes.individual import Individual, Outcome
from genotypes.population import Population

GENOTYPE = Genotype("any", (0,))


def population(curves: Sequence[Curve], window: int = 200) -> Population:
    """Tell these curves; an empty one is a network whose fitness was taken over."""
    told = Population(window)
    for id, curve in enumerate(curves, start=1):
        fitness = curve[-1] if curve else 0.5
        outcome = Outcome.OK if curve else Outcome.REUSED
        told.add(Individual(id, GENOTYPE, outcome, fitness, curve=tuple(curve)))
    return told


def stopped_after(rule: StoppingRule, curve: Curve, brief: Sequence[float]) -> int:
    """Follow a training epoch by epoch: after which one it ends."""
    return next((n for n in range(1, len(curve)) if rule.stops(curve[:n], brief)), len(curve))


def test_the_median_is_that_of_running_averages() -> None:
    rule = MedianStopping(epochs=4, trials=3)
    told = population([(0.1, 0.3, 0.5, 0.5), (0.2, 0.4, 0.3, 0.9), (0.3, 0.3, 0.3, 0.3)])
    # Averages after epoch 1: 0.1, 0.2, 0.3; after 2: 0.2, 0.3, 0.3; after 3: 0.3, 0.3, 0.3.
    assert rule.looks == (1, 2, 3)
    assert rule.brief(told) == pytest.approx((0.2, 0.3, 0.3))


def test_what_counts_against_the_median_is_the_best_so_far() -> None:
    rule = MedianStopping(epochs=4)
    assert stopped_after(rule, (0.3, 0.1, 0.1, 0.1), (0.2, 0.25, 0.3)) == 4, "no worse than the median is good enough"
    assert stopped_after(rule, (0.3, 0.1, 0.1, 0.1), (0.2, 0.25, 0.31)) == 3
    assert stopped_after(rule, (0.19, 0.9, 0.9, 0.9), (0.2, 0.25, 0.3)) == 1


def test_a_stopped_trial_stays_in_the_median_with_what_it_had() -> None:
    rule = MedianStopping(epochs=4, trials=3)
    told = population([(0.1,), (0.2, 0.4), (0.3, 0.5, 0.7, 0.9)])
    # After epoch 3: 0.1 (stopped after 1), 0.3 (stopped after 2), 0.5.
    assert rule.brief(told) == pytest.approx((0.2, 0.3, 0.3))


@pytest.mark.parametrize(
    ("epochs", "first", "eta", "rungs"),
    [
        (20, 1, 4, (1, 4, 16)),
        (20, 2, 3, (2, 6, 18)),
        (20, 5, 2, (5, 10)),
        (16, 1, 4, (1, 4)),
        (4, 1, 4, (1,)),
        (2, 1, 2, (1,)),
    ],
)
def test_rungs_grow_by_eta_and_lie_before_the_last_epoch(
    epochs: int, first: int, eta: int, rungs: tuple[int, ...]
) -> None:
    assert SuccessiveHalving(epochs=epochs, first=first, eta=eta).looks == rungs


@pytest.mark.parametrize(
    ("recorded", "eta", "threshold"),
    [
        ((0.5,), 4, 0.5),  # of two, the best goes on
        ((0.1, 0.5, 0.3), 4, 0.5),  # of four, one
        ((0.1, 0.5, 0.3), 2, 0.3),  # of four, two
        ((0.1, 0.5, 0.3, 0.2), 2, 0.3),  # of five, two
        ((0.1, 0.5, 0.3, 0.2, 0.4), 2, 0.3),  # of six, three
        ((0.1, 0.5, 0.3, 0.2, 0.4, 0.6, 0.7), 4, 0.6),  # of eight, two
    ],
)
def test_a_rung_lets_the_best_of_all_that_came_to_it_go_on(
    recorded: tuple[float, ...], eta: int, threshold: float
) -> None:
    rule = SuccessiveHalving(epochs=2, eta=eta, trials=1)
    brief = rule.brief(population([(accuracy, 0.9) for accuracy in recorded]))
    assert brief == (threshold,)
    assert not rule.stops((threshold,), brief), "ties go on"
    assert rule.stops((math.nextafter(threshold, 0),), brief)
    assert not rule.stops((threshold, 0.0), brief), "after the last epoch there is nothing to stop"


def test_those_stopped_at_a_rung_count_there_and_not_at_the_next() -> None:
    rule = SuccessiveHalving(epochs=4, eta=2, trials=1)
    told = population([(0.6, 0.7, 0.8, 0.9), (0.1,), (0.5, 0.6), (0.2,)])
    assert rule.looks == (1, 2)
    assert rule.brief(told) == (0.5, 0.7)  # the second of 0.6, 0.5, 0.2, 0.1; the first of 0.7, 0.6


@pytest.mark.parametrize("name", RULES[1:])
def test_the_first_trials_are_trained_to_the_end(name: str) -> None:
    rule = stopping_rule(name, epochs=3, first=1, trials=5, window=9, eta=2)
    assert rule is not None
    curves = [(0.5, 0.6, 0.7)] * 4
    nothing = (NO_THRESHOLD,) * 2
    assert rule.brief(population([])) == rule.brief(population(curves)) == nothing
    assert rule.brief(population([*curves, ()])) == nothing, "what was taken over is no training"
    assert stopped_after(rule, (0.0, 0.0, 0.0), nothing) == 3
    assert stopped_after(rule, (0.0, 0.0, 0.0), ()) == 3, "a job without a brief"
    assert min(rule.brief(population([*curves, (0.5, 0.6, 0.7)]))) >= 0.5


@pytest.mark.parametrize("name", RULES[1:])
def test_only_the_window_is_looked_at(name: str) -> None:
    rule = stopping_rule(name, epochs=3, first=1, trials=2, window=2, eta=2)
    assert rule is not None
    curves = [(0.9, 0.9, 0.9), (0.1, 0.2, 0.3), (0.2, 0.3, 0.4)]
    assert rule.brief(population(curves)) == rule.brief(population(curves[1:]))
    with pytest.raises(ValueError, match="declare a larger window"):
        rule.brief(population(curves, window=1))


accuracies = st.floats(0, 1)
rules = st.one_of(
    st.builds(MedianStopping, epochs=st.just(5), first=st.integers(1, 4), trials=st.integers(1, 3)),
    st.builds(
        SuccessiveHalving,
        epochs=st.just(5),
        first=st.integers(1, 4),
        trials=st.integers(1, 3),
        eta=st.integers(2, 5),
    ),
)


@given(rules, st.lists(st.lists(accuracies, min_size=1, max_size=5), max_size=12), st.data())
def test_the_best_so_far_is_never_stopped(rule: StoppingRule, curves: list[list[float]], data: st.DataObject) -> None:
    brief = rule.brief(population(curves))
    assert len(brief) == len(rule.looks)
    assert all(threshold == NO_THRESHOLD or 0 <= threshold <= 1 for threshold in brief)
    highest = [max((curve[n] for curve in curves if n < len(curve)), default=0.0) for n in range(5)]
    best = [data.draw(st.floats(accuracy, 1)) for accuracy in highest]
    assert stopped_after(rule, best, brief) == 5


@given(st.floats(0, 1), st.integers(1, 12))
def test_what_is_as_good_as_all_others_is_not_stopped_by_rounding(accuracy: float, others: int) -> None:
    rule = MedianStopping(epochs=20, trials=1)
    curve = (accuracy,) * 20
    assert stopped_after(rule, curve, rule.brief(population([curve] * others))) == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"early_stopping": "sometimes"}, "no stopping rule 'sometimes'; the rules are: none, median, halving"),
        ({"stopping_eta": 1}, "stopping_eta must be at least 2, not 1"),
        ({"stopping_trials": 0}, "stopping_trials must be at least 1"),
        ({"early_stopping": "median", "stopping_epochs": 4}, r"\(stopping_epochs\) must be .* which are 4; it is 4"),
        ({"early_stopping": "halving", "epochs": 1}, r"\(stopping_epochs\) must be .* which are 1; it is 1"),
        ({"early_stopping": "median", "stopping_window": 9}, r"from 1 to the window .* which is 9; they are 10"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProxyEvaluator(dataset="digits", **options).bind(build_space("nasnet"), Placement(device="cpu"))


def test_an_eta_of_one_would_stop_nothing() -> None:
    with pytest.raises(ValueError, match="eta must be at least 2, not 1"):
        SuccessiveHalving(epochs=4, eta=1)


# Trainings on the digits -------------------------------------------------------------------------------------------

SPACE = build_space("nasnet(blocks=1,combines=add)")
GOOD = SPACE.genotype([0, 1, 8, 10, 0, 0, 1, 10, 5, 0])
FAST = (
    *("space.blocks=1", "evaluator.epochs=4", "evaluator.filters=4", "evaluator.train_images=96"),
    *("evaluator.validation_images=100", "evaluator.batch_size=32"),
)


def test_a_stopped_training_is_a_success_with_the_accuracy_that_it_had(tmp_path: Path) -> None:
    evaluator = ProxyEvaluator(dataset="digits", filters=4, epochs=3, train_images=96, early_stopping="median")
    evaluator.bind(SPACE, Placement(device="cpu", keep_weights=True))
    evaluator.prepare(tmp_path)
    whole = evaluator.evaluate(Job(1, GOOD, 0, (NO_THRESHOLD, NO_THRESHOLD)))
    stopped = evaluator.evaluate(Job(1, GOOD, 0, (NO_THRESHOLD, 1.0)))
    assert (whole.metrics["epochs"], whole.metrics["stopped"]) == (3, 0)
    assert (stopped.metrics["epochs"], stopped.metrics["stopped"]) == (2, 1)
    assert stopped.outcome is Outcome.OK
    assert stopped.curve == whole.curve[:2]
    assert stopped.fitness == whole.curve[1]
    assert set(evaluator.metrics) == set(stopped.metrics)


def digits(folder: Path, trials: int, *settings: str, **flags: Any) -> Run:
    return search(
        strategy="evolution",
        dataset="digits",
        population=4,
        sample=2,
        trials=trials,
        device="cpu",
        threads=1,
        keep_weights=0,
        run_dir=folder,
        settings=(*FAST, *settings),
        **flags,
    )


HALVING = ("evaluator.stopping_trials=2", "evaluator.stopping_eta=2", "evaluator.stopping_window=6")


def epochs_of(folder: Path) -> list[int]:
    with sqlite3.connect(folder / "history.db") as connection:
        found = connection.execute("SELECT count(*) FROM curve GROUP BY trial ORDER BY trial").fetchall()
    connection.close()
    return [count for (count,) in found]


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what no two runs have alike."""
    kept = []
    for row in rows:
        metrics = {n: v for n, v in json.loads(row["metrics"]).items() if not n.endswith("seconds")}
        kept.append({n: v for n, v in row.items() if n not in ("seconds", "metrics")} | {"metrics": metrics})
    return kept


def test_trainings_are_stopped_and_resumed_the_same(
    tmp_path: Path, rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = digits(tmp_path / "whole", 12, *HALVING, early_stopping="halving").path
    parts = digits(tmp_path / "parts", 5, *HALVING, early_stopping="halving").path
    config = read_stored_config(parts, {"run": {"trials": 12}})
    with RunFolder.open(parts) as folder:
        resume(config, folder, built(config))
    assert without_times(rows(parts)) == without_times(rows(whole))

    found = [row for row in rows(whole) if row["outcome"] == "ok"]
    # What is recorded is what the rule says of the trials that were told before the ask.
    rule = SuccessiveHalving(epochs=4, eta=2, trials=2, window=6)
    with History.read(whole / "history.db") as history:
        told = list(history.read_tells())
    for row in found:
        before = Population(6)
        for individual in told[: [other.id for other in told].index(row["id"])]:
            before.add(individual)
        assert json.loads(row["brief"]) == list(rule.brief(before))

    epochs = epochs_of(whole)
    stopped = sum(n < 4 for n in epochs)
    assert 0 < stopped < len(epochs), "some are stopped, some are not"
    assert epochs[:2] == [4, 4]
    assert [json.loads(row["metrics"])["epochs"] for row in found] == epochs
    assert [json.loads(row["metrics"])["stopped"] for row in found] == [float(n < 4) for n in epochs]

    capsys.readouterr()
    for command in ("show", "status"):
        assert main([command, str(whole)]) == 0
        assert f"{len(found)} ok ({stopped} stopped early)" in capsys.readouterr().out
        assert main([command, str(whole), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["stopped_early"] == stopped


def test_off_by_default_it_leaves_no_trace(tmp_path: Path, rows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    default = digits(tmp_path / "default", 4).path
    off = digits(tmp_path / "off", 4, *HALVING, early_stopping="none").path
    assert without_times(rows(off)) == without_times(rows(default))
    for row in rows(default):
        assert row["brief"] == "[]"
        assert not {"epochs", "stopped"} & json.loads(row["metrics"]).keys()
    assert set(epochs_of(default)) == {4}
    capsys.readouterr()
    main(["show", str(default)])
    assert "stopped early" not in capsys.readouterr().out


def test_the_bench_replays_what_a_run_does(tmp_path: Path) -> None:
    flags: dict[str, Any] = {"strategy": "random", "dataset": "digits", "trials": 8, "keep_weights": 0}
    flags |= {"device": "cpu", "threads": 1}
    full = search(**flags, run_dir=tmp_path / "full", settings=FAST).path
    told = bench.complete(full)
    for name, numbers in (("median", {}), ("halving", {"eta": 2})):
        settings = (*FAST, "evaluator.stopping_trials=3", *(f"evaluator.stopping_{n}={v}" for n, v in numbers.items()))
        stopped = search(**flags, run_dir=tmp_path / name, settings=settings, early_stopping=name).path
        rule = stopping_rule(name, epochs=4, first=1, trials=3, window=200, eta=2)
        assert rule is not None
        replay = bench.replay(told, rule)
        with History.read(stopped / "history.db") as history:
            real = list(history.read_tells())
        assert list(replay.epochs) == [len(individual.curve) for individual in real] == epochs_of(stopped)
        assert list(replay.left) == [individual.fitness for individual in real]
        assert list(replay.full) == [individual.fitness for individual in told]
        assert 0 < replay.saved == 1 - sum(epochs_of(stopped)) / (4 * 8)


def run_of(curves: Sequence[Curve]) -> list[Individual]:
    return [
        Individual(id, GENOTYPE, Outcome.OK, curve[-1], curve=tuple(curve)) for id, curve in enumerate(curves, start=1)
    ]


def test_the_bench_by_hand() -> None:
    rule = SuccessiveHalving(epochs=2, eta=2, trials=1)
    # The second and the fourth are worse at the rung than what is best, or among the best two, until then.
    replay = bench.replay(run_of([(0.4, 0.6), (0.3, 0.9), (0.5, 0.8), (0.35, 0.5)]), rule)
    assert replay.epochs == (2, 1, 2, 1)
    assert replay.left == (0.6, 0.3, 0.8, 0.35)
    assert replay.saved == 2 / 8
    # Pairs in the order of both: 1-3, 1-4, 3-4; against: 1-2, 2-3, 2-4.
    assert replay.tau == pytest.approx((3 - 3) / 6)
    assert (replay.kept(1), replay.kept(3)) == (0, 2)
    low, high = replay.interval(200, np.random.default_rng(0))
    assert -1 <= low < replay.tau < high <= 1


def test_a_rule_that_stops_nothing_costs_nothing() -> None:
    told = run_of([(0.1 * n, 0.1 * n) for n in range(1, 8)])
    replay = bench.replay(told, MedianStopping(epochs=2, trials=7))
    assert (replay.saved, replay.tau, replay.kept(3)) == (0, pytest.approx(1), 3)
    assert replay.interval(100, np.random.default_rng(0)) == pytest.approx((1, 1))


def test_the_bench_prints_a_line_a_rule_and_takes_complete_trainings_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        digits(tmp_path / f"full-{seed}", 6, seed=seed)
    digits(tmp_path / "stopped", 8, *HALVING, early_stopping="halving")
    capsys.readouterr()
    words = ["--eta", "2", "3", "--first", "1", "9", "--trials", "2", "--resamples", "20"]
    assert bench.main([str(tmp_path / "full-*"), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:-1]] == [
        "| median from epoch 1, 2 trials",
        "| halving by 2 at epoch 1, 2, 2 trials",
        "| halving by 3 at epoch 1, 3, 2 trials",
    ]
    assert lines[-1] == "n = 2 runs of 6 to 6 trainings of 4 epochs"
    assert bench.main([str(tmp_path / "stopped")]) == 2
    assert "train without --early-stopping" in capsys.readouterr().err
    assert bench.main([str(tmp_path / "nowhere-*")]) == 2
    assert "there is no run" in capsys.readouterr().err


def test_other_evaluators_have_no_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--strategy", "random", "--evaluator", "toy", "--early-stopping", "median"]
    assert main([*words, "--run-dir", str(tmp_path / "run")]) == 2
    assert "evaluator 'toy' has no option 'early_stopping'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
