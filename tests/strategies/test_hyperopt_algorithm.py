"""Hyperopt's algorithms as a strategy: the same as the library alone, pure, restored by telling.

The contract has its own suite. There is no permanence trace: what an algorithm proposes may change with its release.
"""

from __future__ import annotations

from typing import Any

import hyperopt
import numpy as np
import pytest

from evo_nas.cli import main
from genotypes.catalogue import build_space
from strategies.hyperopt_algorithm import ALGORITHMS, HyperoptAlgorithm
from strategies.models import libraries
from strategies.models.libraries import compute_quietly

SPACE = build_space("nasbench201")
TARGET = (3, 2, 0, 3, 1, 2)


def share_hit(choices: tuple[int, ...], id: int = 0) -> float:
    """Return the share of decisions that are as in the target: a fitness without noise."""
    return float(np.mean(np.equal(choices, TARGET)))


class Replayed:
    """A generator that draws for ``fmin`` the seeds that our asks draw: tests compare two drives, not two seeds."""

    def __init__(self) -> None:
        self.asks = 0

    def integers(self, most: int) -> int:
        self.asks += 1
        return int(np.random.default_rng([0, self.asks, 1]).integers(most))


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_worker_proposes_what_the_library_alone_does(algorithm: str, ordered: bool, drive: Any) -> None:
    asked: list[tuple[int, ...]] = []

    def lose(values: list[Any]) -> float:
        asked.append(tuple(map(int, values)))
        return 1.0 - share_hit(asked[-1])

    sizes = [len(decision.options) for decision in SPACE.decisions]
    variables = [
        hyperopt.hp.uniformint(str(i), 0, n - 1) if ordered else hyperopt.hp.choice(str(i), list(range(n)))
        for i, n in enumerate(sizes)
    ]
    suggest = getattr(hyperopt, algorithm).suggest
    with compute_quietly():
        hyperopt.fmin(
            lose, variables, algo=suggest, max_evals=45, rstate=Replayed(), show_progressbar=False, verbose=False
        )
    search = drive(HyperoptAlgorithm(algorithm, ordered), SPACE).run(45, share_hit)
    assert [individual.genotype.choices for individual in search.individuals] == asked


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_goes_on_alike_after_a_resume(algorithm: str, drive: Any) -> None:
    original = drive(HyperoptAlgorithm(algorithm), SPACE, seed=2, fails=lambda id: id % 6 == 0).run(30)
    restored = drive(HyperoptAlgorithm(algorithm), SPACE, seed=2, fails=lambda id: id % 6 == 0)
    for individual in original.individuals:
        restored.tell(individual)
    for _ in range(2):
        assert original.ask() == original.ask() == restored.ask()
        original.step()
        restored.step()
    assert original.individuals == restored.individuals


def test_the_memory_keeps_the_better_half_and_the_latest(drive: Any) -> None:
    search = drive(HyperoptAlgorithm(memory=6), SPACE).run(30)
    kept = set(search.strategy._trials)
    best = sorted(search.individuals, key=lambda one: -one.score)
    assert len(kept) == 6
    assert {one.id for one in best[:3]} | {30} <= kept


def test_a_space_without_any_choice(drive: Any) -> None:
    space = build_space("nasnet(blocks=1,ops=identity,combines=add)")
    space.check(drive(HyperoptAlgorithm(), space).run(3).ask().genotype)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "grid"}, "algorithm must be one of tpe, anneal, not 'grid'"),
        ({"memory": 0}, "memory must be at least 1, not 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HyperoptAlgorithm(**options)


def test_without_the_extra_the_line_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    run = ["run", "--strategy", "hyperopt", "--evaluator", "toy", "--trials", "1", "--run-dir", str(tmp_path / "run")]
    assert main(run) == 2
    err = capsys.readouterr().err
    assert "the strategy hyperopt needs the package hyperopt: python -m pip install 'evo_nas[hyperopt]'" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
