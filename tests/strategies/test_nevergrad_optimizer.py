"""Nevergrad's optimizers as a strategy: the same as the library alone, pure, restored by telling.

The contract has its own suite. There is no permanence trace: what an optimizer proposes may change with its release.
"""

from __future__ import annotations

from typing import Any

import nevergrad
import numpy as np
import pytest

from evo_nas.cli import main
from genotypes.catalogue import build_space
from genotypes.individual import Individual, Outcome, Proposal
from strategies.models import libraries
from strategies.models.libraries import compute_quietly
from strategies.nevergrad_optimizer import NevergradOptimizer

SPACE = build_space("nasbench201")
TARGET = (3, 2, 0, 3, 1, 2)


def share_hit(choices: tuple[int, ...], id: int = 0) -> float:
    """Return the share of decisions that are as in the target: a fitness without noise."""
    return float(np.mean(np.equal(choices, TARGET)))


def search_alone(optimizer: str, ordered: bool, trials: int) -> list[tuple[int, ...]]:
    """Return what the library proposes when it is driven as its own documentation does."""
    kind = nevergrad.p.TransitionChoice if ordered else nevergrad.p.Choice
    variables = nevergrad.p.Tuple(*(kind(list(range(len(one.options)))) for one in SPACE.decisions))
    variables.random_state = np.random.RandomState(int(np.random.default_rng([0]).integers(2**32)))
    library = nevergrad.optimizers.registry[optimizer](variables, budget=200)
    asked = []
    for _ in range(trials):
        candidate = library.ask()
        asked.append(tuple(candidate.value))
        library.tell(candidate, 1.0 - share_hit(asked[-1]))
    return asked


@pytest.mark.parametrize(
    ("optimizer", "ordered"),
    [("NGOpt", False), ("PortfolioDiscreteOnePlusOne", False), ("TwoPointsDE", True)],
)
def test_one_worker_proposes_what_the_library_alone_does(optimizer: str, ordered: bool, drive: Any) -> None:
    with compute_quietly():
        alone = search_alone(optimizer, ordered, 40)
    search = drive(NevergradOptimizer(optimizer, ordered), SPACE).run(40, share_hit)
    assert [individual.genotype.choices for individual in search.individuals] == alone


@pytest.mark.parametrize("optimizer", ["OnePlusOne", "TwoPointsDE"])
def test_four_workers_go_on_alike_after_a_resume(optimizer: str, drive: Any) -> None:
    def take(search: Any, asked: list[Proposal]) -> None:
        """Ask until four are pending, and tell the second of them."""
        while len(asked) < 4:
            id = len(search.individuals) + len(asked) + 1
            asked.append(search.ask(id, pending=tuple(asked)))
        search.tell(search.ended(len(search.individuals) + 1, asked.pop(1)))

    original, asked = drive(NevergradOptimizer(optimizer), SPACE), []
    for _ in range(25):
        take(original, asked)
    assert len(original.strategy._held) == 4, "as many candidates ahead as there are workers"
    assert {one.genotype for one in asked} <= {genotype for genotype, _ in original.strategy._held}
    restored, again = drive(NevergradOptimizer(optimizer), SPACE), list(asked)
    for individual in original.individuals:
        restored.tell(individual)
    for _ in range(6):
        take(original, asked)
        take(restored, again)
    assert restored.individuals == original.individuals


def test_it_learns_from_results_that_it_did_not_ask_for(drive: Any) -> None:
    search = drive(NevergradOptimizer("OnePlusOne", ordered=True), SPACE)
    genotype = SPACE.genotype(TARGET)
    search.tell(Individual(1, genotype, Outcome.OK, 1.0))
    search.run(40, share_hit)
    near = [share_hit(one.genotype.choices) for one in search.individuals[1:]]
    assert np.mean(near) > 0.6, "children of what it was told"


def test_a_space_without_any_choice(drive: Any) -> None:
    space = build_space("nasnet(blocks=1,ops=identity,combines=add)")
    space.check(drive(NevergradOptimizer("OnePlusOne"), space).run(3).ask().genotype)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "NGopt"}, "nevergrad has no optimizer 'NGopt'; it has, for example, NGOpt"),
        ({"optimizer": "Cobyla"}, "the optimizer Cobyla of nevergrad runs in a thread, which cannot be resumed"),
        ({"budget": 0}, "budget must be at least 1, not 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NevergradOptimizer(**options).suited(SPACE)


def test_without_the_extra_the_line_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    run = ["run", "--strategy", "nevergrad", "--evaluator", "toy", "--trials", "1", "--run-dir", str(tmp_path / "run")]
    assert main(run) == 2
    err = capsys.readouterr().err
    assert "the strategy nevergrad needs the package nevergrad: python -m pip install 'evo_nas[nevergrad]'" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
