from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from genotypes.widths import expand_widths, scale_widths


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
