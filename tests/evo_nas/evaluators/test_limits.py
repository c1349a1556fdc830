"""Limits before training: what is refused, and a search in which they refuse everything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evo_nas.cli import main
from evo_nas.commands.status import status_of
from evo_nas.errors import UsageError
from evo_nas.evaluators.base import Evaluator, Job
from evo_nas.evaluators.limits import Limits
from evo_nas.executors.serial import SerialExecutor
from evo_nas.manager import PopulationManager
from evo_nas.storage.endings import Reason
from evo_nas.storage.history import History
from genotypes.genotype import Genotype
from genotypes.individual import Cost, Evaluation, Outcome, Proposal
from genotypes.population import Population
from genotypes.spaces.bits import BitsSpace
from strategies.base import SearchStrategy
from strategies.random_search import RandomSearch

SPACE = BitsSpace(length=6)


@dataclass
class Weighed(Evaluator):
    """A one costs a hundred parameters, a zero ten mult-adds; the sum of the bits is the fitness."""

    name = "weighed"

    def cost(self, genotype: Genotype) -> Cost:
        ones = sum(genotype.choices)
        return Cost(parameters=100 * ones, mult_adds=10 * (SPACE.length - ones))

    def evaluate(self, job: Job) -> Evaluation:
        return Evaluation(Outcome.OK, fitness=sum(job.genotype.choices) / SPACE.length)


@dataclass
class Listed(SearchStrategy):
    """Proposes strings with so many ones, one after another, and then nothing more."""

    ones: tuple[int, ...] = ()

    name = "listed"

    def ask(self, population: Population, pending: Any, rng: np.random.Generator) -> Proposal | None:
        position = len(population) + population.failed + len(pending)
        if position >= len(self.ones):
            return None
        ones = self.ones[position]
        return Proposal(SPACE.genotype([1] * ones + [0] * (SPACE.length - ones)))


@pytest.fixture
def history(tmp_path: Path) -> Any:
    with History.create(tmp_path / "history.db") as opened:
        yield opened


def searched(history: History, strategy: SearchStrategy, **options: Any) -> Reason:
    evaluator = Weighed()
    evaluator.bind(SPACE)
    options = {"trials": 1000, "max_repeats": 20, **options}
    return PopulationManager(SPACE, strategy, evaluator, SerialExecutor(evaluator), history, **options).run()


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        (Limits(), None),
        (Limits(200, 30), None),
        (Limits(199), "200 parameters are more than the 199 allowed"),
        (Limits(mult_adds=29), "30 mult-adds are more than the 29 allowed"),
        (Limits(1, 2), "200 parameters are more than the 1 allowed and 30 mult-adds are more than the 2 allowed"),
    ],
)
def test_a_network_may_cost_what_the_limits_say_and_no_more(limits: Limits, error: str | None) -> None:
    assert limits.refusal(Cost(200, 30)) == error
    assert bool(limits) is (limits != Limits())


def test_either_limit_refuses(history: History, rows: Any) -> None:
    reason = searched(history, Listed((0, 3, 6, 4)), max_parameters=400, max_mult_adds=30)
    assert reason is Reason.EXHAUSTED
    found = rows(history.path.parent)
    assert [(row["outcome"], row["parameters"], row["mult_adds"]) for row in found if row["outcome"] != "ok"] == [
        ("refused", 0, 60),
        ("refused", 600, 0),
    ]
    assert found[0]["error"] == "60 mult-adds are more than the 30 allowed"
    assert history.count_trainings() == 2


@pytest.mark.parametrize(
    ("ones", "options"),
    [((2,) * 50, {"max_parameters": 199}), ((2, 3) * 10, {"max_parameters": 299, "max_mult_adds": 39})],
)
def test_limits_that_refuse_everything_end_the_run_with_that_reason(
    history: History, ones: tuple[int, ...], options: dict[str, int]
) -> None:
    assert searched(history, Listed(ones), **options) is Reason.REFUSED
    assert history.last_id == 20
    assert searched(history, Listed(ones), **options) is Reason.REFUSED, "resumed, it is counted again"
    assert history.last_id == 20


def test_a_strategy_whose_whole_list_was_refused_ends_with_that_reason(history: History) -> None:
    assert searched(history, Listed((2, 3, 4)), max_parameters=199) is Reason.REFUSED


def test_what_is_known_or_refused_by_turns_has_converged(history: History) -> None:
    assert searched(history, Listed((1, *[1, 2] * 50)), max_parameters=199) is Reason.CONVERGED


def test_refused_one_after_another_after_what_was_small_enough(history: History) -> None:
    assert searched(history, Listed((1, *[2, 3] * 50)), max_parameters=199) is Reason.REFUSED
    refused = history.find_refusals_since_training()
    assert (refused.count, refused.parameters, refused.mult_adds) == (20, 200, 30)


def test_without_limits_nothing_is_refused(history: History) -> None:
    assert searched(history, RandomSearch(), trials=5) is Reason.TRIALS
    assert history.find_refusals_since_training().count == 0


@pytest.mark.parametrize(
    ("limits", "smallest", "words"),
    [
        (Limits(99), Cost(1234, 5), "the fewest parameters among them are 1,234, and --max-parameters is 99;"),
        (Limits(2000, 4), Cost(1234, 5), "the fewest mult-adds among them are 5, and --max-mult-adds is 4;"),
        (Limits(99, 4), Cost(100, 5), "--max-parameters is 99; the fewest mult-adds among them are 5"),
        (Limits(99, 9), Cost(50, 5), "none of them is within --max-parameters and within --max-mult-adds;"),
    ],
)
def test_the_advice_names_the_limits_that_are_too_small(limits: Limits, smallest: Cost, words: str) -> None:
    advice = limits.advice(smallest)
    assert words in advice
    assert advice.endswith("begin a new run with a larger limit")


DIGITS = ("--dataset", "digits", "--device", "cpu", "--threads", "1", "--keep-weights", "0", "--set", "space.blocks=1")
TOO_SMALL = (*DIGITS, "--max-mult-adds", "99", "--max-repeats", "4", "--trials", "2", "--strategy", "random")


def test_nothing_within_the_limits_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: Any) -> None:
    run = str(tmp_path / "run")
    assert main(["run", *TOO_SMALL, "--run-dir", run]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    fewest = min(row["mult_adds"] for row in rows(tmp_path / "run"))
    assert last == (
        "evo_nas: nothing was trained: 4 networks in a row were refused; the fewest mult-adds among them are "
        f"{fewest:,}, and --max-mult-adds is 99; begin a new run with a larger limit"
    )
    assert main(["resume", run]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1] == last
    status = status_of(tmp_path / "run")
    text = "\n".join(status.lines())
    assert "ended: the limits refuse whatever the strategy proposes" in text
    assert "at most 99 mult-adds" in text
    assert "4 refused" in text
    assert status.resume is None


def test_a_study_says_which_of_its_runs_had_nothing_to_train(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in TOO_SMALL if word not in ("--strategy", "random", "--threads", "1")]
    command = ["study", *words, "--strategies", "random", "--seeds", "1", "--study-dir", str(tmp_path / "study")]
    assert main(command) == 2
    assert "random seed 0 failed: nothing was trained: 4 networks in a row were refused" in capsys.readouterr().err


def test_a_search_that_found_something_ends_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    words = ["run", *DIGITS, "--strategy", "random", "--trials", "500", "--max-repeats", "3", "--run-dir", run]
    words += ["--set", "evaluator.epochs=1", "--set", "evaluator.train_images=64", "--set", "evaluator.batch_size=32"]
    # The first proposals of seed 0 have 7398, 2550, 2522, 4678, 6635 and 3670 parameters.
    assert main([*words, "--max-parameters", "2600"]) == 0
    out = capsys.readouterr().out
    assert "ended: the limits refuse whatever the strategy proposes; 3 networks in a row were refused; " in out
    assert "the fewest parameters among them are 3,670, and --max-parameters is 2,600;" in out
    assert "2 ok, 4 refused" in out
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])["reason"] == "refused"


@pytest.mark.parametrize("flag", ["--max-parameters", "--max-mult-adds"])
def test_a_limit_is_a_number_of_at_least_one(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--strategy", "random", "--evaluator", "toy", flag, "0", "--dry-run"]) == 2
    assert f"{flag.removeprefix('--').replace('-', '_')} must be at least 1, not 0" in capsys.readouterr().err


def test_the_same_from_python(tmp_path: Path) -> None:
    from evo_nas.api.searches import search

    flags: dict[str, Any] = {"strategy": "random", "dataset": "digits", "device": "cpu", "trials": 2}
    with pytest.raises(UsageError, match=r"nothing was trained: 3 networks in a row were refused"):
        search(**flags, max_parameters=1, max_repeats=3, settings=("space.blocks=1",), run_dir=tmp_path / "run")
