"""Studies and single evaluations from Python: what the command and a search come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import evo_nas
from evo_nas.errors import StudyFailed, UsageError
from evo_nas.evaluators.base import Job
from evo_nas.evaluators.toy import ToyEvaluator
from evo_nas.studies import RunResult
from genotypes.individual import Evaluation, Outcome

TOY: dict[str, Any] = {"evaluator": "toy", "trials": 12}


class Failing(ToyEvaluator):
    """Ends the search at once: every trial fails."""

    def evaluate(self, job: Job) -> Evaluation:
        return Evaluation.failed(Outcome.ERROR, "as told", seconds=0.0)


def test_a_study_is_compared_and_goes_on(tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []

    def hear(ended: RunResult, left: int) -> None:
        heard.append((ended.label, ended.seed, left))

    names = ["random", "evolution(population=4,sample=2)"]
    comparison = evo_nas.study(names, seeds=2, study_dir=tmp_path / "study", hear=hear, **TOY)
    assert set(comparison.table["group"]) == {"random", "evolution"}
    assert (comparison.table["runs"] == 2).all()
    assert heard == [(name, seed, 2 * (1 - seed) + (name == "random")) for seed in (0, 1) for name in names]
    assert {file.suffix for file in comparison.files} == {".png", ".svg"}
    heard.clear()
    more = evo_nas.study(",".join(names), seeds=3, study_dir=tmp_path / "study", hear=hear, **TOY)
    assert [seed for _, seed, _ in heard] == [2, 2], "what is there is not run again"
    assert (more.table["runs"] == 3).all()


def test_a_run_that_fails_is_told(tmp_path: Path) -> None:
    evaluator = f"{__name__}:Failing"
    with pytest.raises(StudyFailed, match=r"1 of 1 runs failed; the same call resumes them: random seed 0: .*as told"):
        evo_nas.study("random", seeds=1, evaluator=evaluator, trials=50, study_dir=tmp_path / "study")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"strategies": ""}, "name the strategies"),
        ({"strategies": "random", "seeds": 0}, "seeds and jobs must be at least 1"),
        ({"strategies": "random", "seed": 3}, "study takes no 'seed'"),
        ({"strategies": "random", "population_size": 3}, "population_size"),
    ],
)
def test_what_is_no_study_is_refused(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        evo_nas.study(study_dir=tmp_path / "study", **{**TOY, **given})
    assert not (tmp_path / "study").exists()


def test_an_evaluation_is_the_first_trial_of_a_search_of_that_seed(tmp_path: Path) -> None:
    run = evo_nas.search(strategy="random", seed=7, run_dir=tmp_path / "run", **TOY)
    first = run.trials.set_index("id").loc[1]
    evaluation = evo_nas.evaluate(first["genotype"], evaluator="toy", seed=7)
    assert evaluation.fitness == first["fitness"]
    assert evaluation.metrics["parameters"] == first["parameters"]
    assert evo_nas.evaluate(first["genotype"], evaluator="toy", seed=8).fitness != first["fitness"]


def test_what_cannot_be_evaluated_is_said() -> None:
    failed = evo_nas.evaluate("bits(length=4):1.0.1.1", evaluator=f"{__name__}:Failing")
    assert (failed.outcome, failed.fitness) == (Outcome.ERROR, None)
    with pytest.raises(UsageError, match="takes no 'space'"):
        evo_nas.evaluate("nasnet:1.2", space="darts")
    with pytest.raises(UsageError):
        evo_nas.evaluate("nasnet:1.2", evaluator="toy")
    with pytest.raises(UsageError):
        evo_nas.evaluate("no genotype", evaluator="toy")
