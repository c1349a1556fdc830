"""What an evaluator may say, and what becomes of what it raises."""

from __future__ import annotations

import io
import math
import signal
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from evo_nas.errors import Stopped
from evo_nas.evaluators.base import Evaluator, Job, evaluate_safely
from evo_nas.evaluators.toy import ToyEvaluator
from evo_nas.executors.serial import SerialExecutor
from evo_nas.signals import EndedAtOnce
from evo_nas.storage.endings import Reason
from evo_nas.system.stops import name_ctrl_c
from genotypes.catalogue import build_space
from genotypes.genotype import Genotype, GenotypeError
from genotypes.individual import Evaluation, Outcome
from tests.evo_nas.evaluators.rude import DEEDS, Rude, check_deed, hush

SPACE = build_space("nasnet")
JOB = Job(3, SPACE.sample(np.random.default_rng(0)), seed=5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"outcome": Outcome.OK}, "needs a fitness"),
        ({"outcome": Outcome.NAN, "fitness": 0.5}, "has no fitness"),
        ({"outcome": Outcome.OK, "fitness": math.nan}, "no number"),
        ({"outcome": Outcome.OK, "fitness": 93.1}, r"fraction in \[0, 1\]"),
        ({"outcome": Outcome.OK, "fitness": 0.5, "test_fitness": -0.1}, "test_fitness is a fraction"),
        ({"outcome": Outcome.OK, "fitness": 0.5, "seconds": math.inf}, "seconds must be finite"),
        ({"outcome": Outcome.OK, "fitness": 0.5, "seconds": 1e10}, "seconds must be finite"),
        ({"outcome": Outcome.OK, "fitness": 0.5, "curve": (0.1, math.nan)}, "learning curve"),
        ({"outcome": Outcome.OK, "fitness": 0.5, "curve": (93.1,)}, "learning curve"),
        ({"outcome": "fine", "fitness": 0.5}, "'fine' is not a valid Outcome"),
        ({"outcome": Outcome.OK, "fitness": 0.5, "metrics": {"parameters": 3.3}}, "a whole number of 64 bits, got 3.3"),
        ({"outcome": Outcome.OK, "fitness": 0.5, "metrics": {"mult_adds": 2**63}}, "a whole number of 64 bits"),
        ({"outcome": Outcome.OK, "fitness": 0.5, "metrics": {"\udcff": 1}}, "the name of a metric must be text that"),
        ({"outcome": Outcome.OK, "fitness": 0.5, "metrics": {"loss": math.inf}}, "metric 'loss'"),
    ],
)
def test_nothing_that_is_no_measurement_passes_the_door(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Evaluation(**fields)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (MemoryError(), Outcome.OOM),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), Outcome.OOM),
        (GenotypeError("cannot be built"), Outcome.INVALID),
        (ZeroDivisionError("division by zero"), Outcome.ERROR),
        # An evaluation that is none is a fault of the evaluator too.
        (ValueError("fitness is a fraction in [0, 1], got nan"), Outcome.ERROR),
    ],
)
def test_what_an_evaluator_raises_is_typed(error: Exception, outcome: Outcome) -> None:
    @dataclass
    class Raising(Evaluator):
        def evaluate(self, job: Job) -> Evaluation:
            raise error

    evaluation = evaluate_safely(Raising(), JOB)
    assert evaluation.outcome is outcome
    assert str(error) in (evaluation.error or "")


def test_numbers_of_other_libraries_become_floats() -> None:
    evaluation = Evaluation(
        Outcome.OK,
        fitness=np.float32(0.5),  # type: ignore[arg-type]
        seconds=np.int64(3),  # type: ignore[arg-type]
        curve=np.array([0.25, 0.5]),  # type: ignore[arg-type]
        metrics={"epochs": np.int64(3)},
    )
    assert (evaluation.fitness, evaluation.seconds, evaluation.curve) == (0.5, 3.0, (0.25, 0.5))
    values = [evaluation.fitness, evaluation.seconds, *evaluation.curve, *evaluation.metrics.values()]
    assert {type(value) for value in values} == {float}


@pytest.mark.parametrize("id", range(1, len(DEEDS) + 1))
def test_an_evaluator_that_does_not_keep_its_word_fails_its_trial_only(id: int) -> None:
    check_deed(id, evaluate_safely(Rude(), replace(JOB, id=id)))


def test_streams_that_an_evaluator_closes_or_removes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Hushed(Evaluator):
        def evaluate(self, job: Job) -> Evaluation:
            return hush()

    out, error = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", error)
    assert evaluate_safely(Hushed(), JOB).outcome is Outcome.OK
    assert (sys.stdout, sys.stderr) == (out, error)
    print("still open")
    print("still open", file=sys.stderr)
    assert out.getvalue() == error.getvalue() == "still open\n"


@pytest.mark.parametrize("error", [EndedAtOnce(Reason.INTERRUPTED), Stopped()])
def test_signals_to_us_are_no_failures_of_a_trial(error: BaseException) -> None:
    @dataclass
    class Signalled(Evaluator):
        def evaluate(self, job: Job) -> Evaluation:
            raise error

    with pytest.raises(Stopped):
        evaluate_safely(Signalled(), JOB)


def test_ctrl_c_ends_a_search_in_this_process_and_what_an_evaluator_raises_does_not() -> None:
    @dataclass
    class Interrupted(Evaluator):
        def evaluate(self, job: Job) -> Evaluation:
            if job.id == 1:
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("not reached")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        executor = SerialExecutor(Interrupted())
        executor.submit(replace(JOB, id=1))
        ((_, evaluation),) = executor.next(None)
        assert evaluation.outcome is Outcome.ERROR
        executor.submit(replace(JOB, id=2))
        with name_ctrl_c(), pytest.raises(KeyboardInterrupt):
            executor.next(None)
        executor.close()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_toy_landscape_is_known() -> None:
    toy = ToyEvaluator(noise=0)
    toy.bind(SPACE)
    best = SPACE.genotype([len(d.options) - 1 for d in SPACE.decisions])
    worst = SPACE.genotype([0] * len(SPACE.decisions))
    assert (toy.truth(worst), toy.truth(best), toy.optimum) == (0.0, 1.0, 1.0)
    assert toy.evaluate(Job(1, best, 0)).fitness == 1.0


def test_toy_reports_the_truth_without_noise() -> None:
    toy = ToyEvaluator(noise=0.3)
    toy.bind(SPACE)
    for id in range(1, 20):
        evaluation = toy.evaluate(Job(id, JOB.genotype, 0))
        assert evaluation.test_fitness == toy.truth(JOB.genotype) != evaluation.fitness


def test_toy_counts_the_ones_of_a_string_of_bits() -> None:
    bits = build_space("bits")
    toy = ToyEvaluator(noise=0)
    toy.bind(bits)
    genotype = bits.sample(np.random.default_rng(0))
    assert toy.evaluate(Job(1, genotype, 0)).fitness == pytest.approx(sum(genotype.choices) / 100)


def test_toy_noise_is_drawn_once_a_trial_from_seed_and_id() -> None:
    toy = ToyEvaluator(noise=0.05)
    toy.bind(SPACE)
    genotype: Genotype = JOB.genotype
    fitness = [toy.evaluate(Job(id, genotype, seed)).fitness for seed in (0, 1) for id in range(1, 301)]
    assert fitness == [toy.evaluate(Job(id, genotype, seed)).fitness for seed in (0, 1) for id in range(1, 301)]
    assert len(set(fitness)) == 600
    assert np.std(fitness) == pytest.approx(0.05, rel=0.15)
    assert np.mean(fitness) == pytest.approx(toy.truth(genotype), abs=0.01)
