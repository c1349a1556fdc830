from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest

from genotypes.catalogue import build_space
from genotypes.genotype import Genotype
from genotypes.individual import Cost, Individual, Outcome, Proposal
from genotypes.population import Population
from genotypes.spaces.widths import WidthsSpace
from strategies.base import SearchStrategy
from strategies.morphnet import MorphNet, Multiplier

SEED = {"a": 16, "b": 32, "c": 64}
SPACE = WidthsSpace.of("resnet:8", SEED)
WHOLE = SPACE.nearest(tuple(SEED.values()))


def cost(genotype: Genotype) -> Cost:
    """Count a chain of layers between three channels and ten classes."""
    chain = (3, *SPACE.widths(genotype), 10)
    return Cost(sum(chain), sum(a * b for a, b in pairwise(chain)))


def start(strategy: SearchStrategy) -> SearchStrategy:
    strategy = strategy.suited(SPACE)
    strategy.use_cost(SPACE, cost)
    strategy.start(SPACE, np.random.default_rng(0))
    return strategy


def ask(strategy: SearchStrategy, *pending: Proposal) -> Proposal | None:
    return strategy.ask(Population(0), pending, np.random.default_rng(1))


def tell(strategy: SearchStrategy, id: int, proposal: Proposal, alive: Mapping[str, int] | None) -> Mapping[str, float]:
    metrics = {} if alive is None else {f"alive.{name}": float(width) for name, width in alive.items()}
    outcome, fitness = (Outcome.NAN, None) if alive is None else (Outcome.OK, 0.5)
    individual = Individual(id, proposal.genotype, outcome, fitness, proposal.parent, metrics=metrics)
    return strategy.tell(individual, np.random.default_rng(2)) or {}


def next_of(strategy: SearchStrategy) -> Proposal:
    proposal = ask(strategy)
    assert proposal is not None
    return proposal


def test_the_first_trial_is_the_network_scaled_alike_to_the_budget() -> None:
    first = next_of(start(MorphNet(budget="0.5x-mult-adds")))
    assert first == next_of(start(Multiplier(budget="0.5x-mult-adds")))
    limit = cost(WHOLE).mult_adds / 2
    assert cost(first.genotype).mult_adds <= limit
    shares = [width / seed for width, seed in zip(SPACE.widths(first.genotype), SEED.values(), strict=True)]
    assert max(shares) - min(shares) <= 1 / 16, "alike but for the grid"
    wider = SPACE.genotype([choice + 1 for choice in first.genotype.choices])
    assert cost(wider).mult_adds > limit, "there is no room for more"


def test_it_begins_with_the_network_itself_if_it_is_told_to() -> None:
    assert next_of(start(MorphNet(begin="seed"))).genotype == WHOLE


def test_alive_widths_are_expanded_to_the_budget() -> None:
    strategy = start(MorphNet(budget="0.5x-parameters"))
    proposal = next_of(strategy)
    notes = tell(strategy, 1, proposal, {"a": 12, "b": 4, "c": 0})
    assert notes == {"dead_groups": 1}
    second = next_of(strategy)
    assert second.parent == 1
    a, b, c = SPACE.widths(second.genotype)
    limit = cost(WHOLE).parameters / 2
    assert cost(second.genotype).parameters <= limit
    assert a == 32, "the largest of its grid, however much room there is"
    assert c == pytest.approx(b / 4, abs=3), "a group that died keeps one channel, which is multiplied"
    step_wider = SPACE.nearest((a, b + 2, c + 1))
    assert cost(step_wider).parameters > limit - 4


def test_budgets_may_be_numbers() -> None:
    strategy = start(Multiplier(budget="700-mult-adds"))
    assert 500 < cost(next_of(strategy).genotype).mult_adds <= 700


def test_ask_is_pure_and_waits_for_what_is_pending() -> None:
    strategy = start(MorphNet())
    proposal = next_of(strategy)
    assert next_of(strategy) == proposal
    assert ask(strategy, proposal) is None
    tell(strategy, 1, proposal, {"a": 8, "b": 8, "c": 8})
    second = next_of(strategy)
    assert next_of(strategy) == second
    again = start(MorphNet())
    tell(again, 1, proposal, {"a": 8, "b": 8, "c": 8})
    assert next_of(again) == second, "told again, it goes on alike"


def test_it_ends_after_its_rounds_after_a_failure_and_where_widths_come_up_again() -> None:
    strategy = start(MorphNet(rounds=1))
    tell(strategy, 1, next_of(strategy), {"a": 8, "b": 8, "c": 8})
    tell(strategy, 2, next_of(strategy), {"a": 1, "b": 8, "c": 8})
    assert ask(strategy) is None
    failed = start(MorphNet())
    assert tell(failed, 1, next_of(failed), None) == {}
    assert ask(failed) is None
    still = start(MorphNet())
    asked = []
    while (proposal := ask(still)) is not None:
        asked.append(proposal.genotype)
        tell(still, len(asked), proposal, dict(zip(SEED, SPACE.widths(proposal.genotype), strict=True)))
        assert len(asked) < 6, "all channels are alive: the grid alone makes a difference, once or twice"
    assert len(set(asked)) == len(asked)
    once = start(Multiplier())
    tell(once, 1, next_of(once), {})
    assert ask(once) is None


def test_the_evaluator_is_to_train_for_the_resource_of_the_budget() -> None:
    assert MorphNet().evaluator_options == {"shrink": True, "resource": "flops"}
    given = MorphNet(budget="0.5x-parameters", share=0.4, threshold=0.1).evaluator_options
    assert given == {"shrink": True, "resource": "parameters", "share": 0.4, "threshold": 0.1}
    assert Multiplier().evaluator_options == {}
    assert MorphNet().suited(SPACE).needs == ("alive.a", "alive.b", "alive.c")
    suited = MorphNet(rounds=3).suited(SPACE)
    assert suited.suited(SPACE) is suited
    assert suited.rounds == 3


@pytest.mark.parametrize("kind", [MorphNet, Multiplier])
def test_other_spaces_are_refused(kind: type[SearchStrategy]) -> None:
    with pytest.raises(ValueError, match=r"searches the space widths, not bits"):
        kind().suited(build_space("bits"))


@pytest.mark.parametrize(
    ("budget", "words"),
    [("2x-mult-adds", "is more than the"), ("3-parameters", "of one channel per group: choose a larger one")],
)
def test_a_budget_that_nothing_or_everything_fits_is_refused(budget: str, words: str) -> None:
    strategy = MorphNet(budget=budget).suited(SPACE)
    with pytest.raises(ValueError, match=words):
        strategy.use_cost(SPACE, cost)


def test_costs_must_be_counted() -> None:
    with pytest.raises(ValueError, match="needs an evaluator that counts costs"):
        Multiplier().use_cost(SPACE, lambda genotype: None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budget": "half"}, "a budget is a share"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"begin": "middle"}, "begin must be budget or seed"),
        ({"share": 1.0}, "share must be above 0 and below 1"),
        ({"strength": 0.0}, "strength must be"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MorphNet(**options)  # type: ignore[arg-type]
