"""Inherited weights: a child trains shorter, and its parent's weights are kept as long as they may be wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evo_nas.cli import main
from evo_nas.evaluators.base import Job, Placement, weights_file
from evo_nas.evaluators.detection.evaluator import DetectionEvaluator
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.evaluators.training_evaluator import TrainingEvaluator
from evo_nas.storage.history import History
from genotypes.catalogue import build_space
from genotypes.genotype import Genotype
from genotypes.space import SearchSpace

SPACE = build_space("nasbench201")
SMALL: dict[str, Any] = {
    "dataset": "digits",
    "filters": 2,
    "epochs": 4,
    "batch_size": 16,
    "train_images": 64,
    "validation_images": 40,
}
PARENT, CHILD = SPACE.genotype((3, 2, 1, 1, 4, 3)), SPACE.genotype((3, 2, 1, 1, 2, 3))
RUN = [
    *("run", "--space", "nasbench201", "--strategy", "evolution", "--population", "3", "--sample", "2", "--inherit"),
    *("--threads", "1", "--executor", "serial", "--keep-weights", "1"),
    *(word for name, value in SMALL.items() for word in ("--set", f"evaluator.{name}={value}")),
]


def ready(
    folder: Path, space: SearchSpace = SPACE, kind: type[TrainingEvaluator] = ProxyEvaluator, **options: Any
) -> Any:
    evaluator = kind(**{**SMALL, "inherit": True, **options})
    evaluator.bind(space, Placement(device="cpu"))
    evaluator.prepare(folder)
    return evaluator


def test_a_child_takes_over_what_it_shares_and_trains_shorter(tmp_path: Path) -> None:
    evaluator = ready(tmp_path)
    parent = evaluator.evaluate(Job(1, PARENT, 0))
    assert (parent.metrics["inherited"], parent.metrics["epochs"]) == (0, 4)
    child = evaluator.evaluate(Job(2, CHILD, 0, parent=1))
    assert 0.3 < child.metrics["inherited"] < 1
    assert (child.metrics["epochs"], len(child.curve)) == (2, 2)
    assert set(evaluator.metrics) <= set(child.metrics)
    again = ready(tmp_path).evaluate(Job(2, CHILD, 0, parent=1))
    assert again.curve == child.curve, "the same job on the same weights"


def test_a_child_whose_parent_is_gone_is_trained_from_scratch_and_says_so(tmp_path: Path) -> None:
    evaluator = ready(tmp_path)
    scratch = evaluator.evaluate(Job(2, CHILD, 0))
    assert "orphaned" not in scratch.metrics
    gone = evaluator.evaluate(Job(2, CHILD, 0, parent=1))
    assert (gone.metrics["orphaned"], gone.metrics["inherited"], gone.metrics["epochs"]) == (1, 0, 4)
    assert gone.curve == scratch.curve
    weights_file(tmp_path, 1).write_bytes(b"cut")
    assert evaluator.evaluate(Job(2, CHILD, 0, parent=1)).metrics["orphaned"] == 1


@pytest.mark.slow
def test_a_detector_inherits_too(tmp_path: Path) -> None:
    options = {"preset": "tiny", "width": 8, "train_images": 16, "validation_images": 8, "epochs": 2, "inherit": True}
    for spelling in ("nasfpn", "detnas(stages=1+1+1,widths=8+12+16,stem=4)"):
        space, rng = build_space(spelling), np.random.default_rng(0)
        evaluator = DetectionEvaluator(**options)
        evaluator.bind(space, Placement(device="cpu"))
        evaluator.prepare(tmp_path)
        parent = space.sample(rng)
        evaluator.evaluate(Job(1, parent, 0))
        child = evaluator.evaluate(Job(2, space.mutate(parent, rng), 0, parent=1))
        assert child.metrics["inherited"] > 0
        assert child.metrics["epochs"] == 1


def told(folder: Path) -> list[tuple[Any, ...]]:
    with History.read(folder / "history.db") as history:
        return [(one.id, one.parent, one.fitness, one.metrics["inherited"]) for one in history.read_tells(0)]


@pytest.mark.slow
def test_a_search_that_is_resumed_is_the_same_and_keeps_what_its_members_need(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main([*RUN, "--trials", "9", "--run-dir", str(whole)]) == 0
    assert main([*RUN, "--trials", "5", "--run-dir", str(parts)]) == 0
    (parts / "weights/trial-000099.safetensors").write_bytes(b"left by a kill")
    assert main(["resume", str(parts), "--trials", "9"]) == 0
    assert told(whole) == told(parts)
    heirs = [one for one in told(whole) if one[1] is not None]
    assert heirs
    assert all(share > 0 for *_, share in heirs), "no parent's weights were gone"
    kept = {path.name for path in (whole / "weights").iterdir()}
    assert kept == {path.name for path in (parts / "weights").iterdir()}
    assert 3 <= len(kept) <= 4, "those of the three members, and of the best"


def test_a_strategy_without_parents_is_refused_in_a_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--space", "nasbench201", "--strategy", "random", "--dataset", "digits", "--inherit"]
    assert main([*words, "--run-dir", str(tmp_path / "run")]) == 2
    assert "the strategy random names no parents: choose one that does" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_inherit_goes_with_no_stopping_rule() -> None:
    with pytest.raises(ValueError, match="inherit goes with no stopping rule"):
        ProxyEvaluator(inherit=True, early_stopping="median")


def test_a_parent_that_was_reused_stands_for_the_trial_that_was_trained(tmp_path: Path) -> None:
    from genotypes.individual import Evaluation, Outcome, Proposal

    def ask(history: History, id: int, genotype: Genotype, evaluation: Evaluation) -> None:
        history.ask(id, Proposal(genotype), SPACE.key(genotype), {}, 0, (), answer=evaluation)

    with History.create(tmp_path / "history.db") as history:
        ask(history, 1, PARENT, Evaluation(Outcome.OK, fitness=0.5, seconds=1.0))
        ask(history, 2, PARENT, Evaluation(Outcome.REUSED, fitness=0.5, seconds=None))
        ask(history, 3, PARENT, Evaluation(Outcome.OK, fitness=0.6, seconds=1.0))
        assert [history.find_training(id) for id in (1, 2, 3, 4)] == [1, 1, 3, None]
