from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from genotypes.genotype import shorten
from genotypes.individual import Cost
from genotypes.widths import Budget, Widths, expand_widths, scale_widths


def squares(widths: tuple[int, ...]) -> float:
    return float(sum(a * b for a, b in pairwise(widths)) + widths[-1])


def test_widths_are_rounded_to_the_nearest_and_never_vanish() -> None:
    assert scale_widths((1, 3, 4, 5), 0.5) == (1, 2, 2, 3)
    assert scale_widths((1, 3, 4, 5), Fraction(1, 100)) == (1, 1, 1, 1)
    assert scale_widths((7, 8), 1) == (7, 8)


@pytest.mark.parametrize("seed", range(20))
def test_expansion_is_the_largest_of_all_scaled_widths_that_fit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    widths = tuple(int(width) for width in rng.integers(1, 12, 4))
    budget = float(rng.integers(5, 2000))
    omega, found = expand_widths(widths, squares, budget, most=6)
    assert found == scale_widths(widths, omega)
    # Every factor at which a width changes, and half-way to the next: none that fits is larger.
    steps = sorted({Fraction(2 * n - 1, 2 * width) for width in widths for n in range(2, 6 * 12)} | {Fraction(0)})
    fitting = [step for step in steps if step <= 6 and squares(scale_widths(widths, step)) <= budget]
    assert found == scale_widths(widths, fitting[-1])
    assert omega == fitting[-1]


def test_budget_below_one_channel_each_and_bad_widths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one channel per width costs 3, more than the budget of 2"):
        expand_widths((4, 5, 6), lambda widths: sum(widths), 2)
    for widths in ((), (3, 0)):
        with pytest.raises(ValueError, match="1 or more"):
            expand_widths(widths, lambda widths: 0, 1)


def test_cost_is_asked_for_a_few_times_only() -> None:
    asked = []

    def cost(widths: tuple[int, ...]) -> float:
        asked.append(widths)
        return squares(widths)

    omega, _ = expand_widths((64, 128, 256, 512) * 5, cost, 4 * squares((64, 128, 256, 512) * 5))
    assert omega == pytest.approx(2, rel=1e-2)
    assert len(asked) < 40


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("0.5x-mult-adds", 50.0),
        ("0.25x-parameters", 2.0),
        ("2x-parameters", 16.0),
        ("20000000-mult-adds", 2e7),
        ("2e7-mult-adds", 2e7),
        ("40-parameters", 40.0),
    ],
)
def test_a_budget_is_a_share_of_the_seed_or_a_number(text: str, limit: float) -> None:
    budget = Budget.parse(text)
    assert budget.limit(Cost(parameters=8, mult_adds=100)) == limit
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    "text", ["", "0.5", "0.5x", "half-parameters", "0.5x-latency", "0.5x-mult_adds", "-1-parameters"]
)
def test_what_is_no_budget_is_refused_with_the_form_of_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"0\.5x-mult-adds"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["0x-parameters", "0-mult-adds", "0.0x-mult-adds"])
def test_a_budget_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a budget must be finite and above 0, not 0"):
        Budget.parse(text)


def test_widths_are_a_table_with_what_is_alive_and_what_died() -> None:
    widths = Widths("net", {"a": 3, "esc\x1b[31m": 12}, {"a": 6, "esc\x1b[31m": 8})
    assert [line.split() for line in widths.lines()][0::2] == [
        ["group", "seed", "now", "share"], [shorten("esc\x1b[31m"), "8", "12", "1.50x"]
    ]  # fmt: skip
    assert [line.split() for line in widths.lines({"alive.a": 0.0, "accuracy": 1.0})] == [
        ["group", "seed", "now", "share", "alive"],
        ["a", "6", "3", "0.50x", "0"],
        [shorten("esc\x1b[31m"), "8", "12", "1.50x", "-"],
        ["died:", "a"],
    ]
    assert all(line.isprintable() for line in widths.lines())
