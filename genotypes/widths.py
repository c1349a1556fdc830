"""Widths of a network under a budget: MorphNet's expansion, by one factor for all (Gordon et al. 2018, section 3)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from fractions import Fraction


def scale_widths(widths: Sequence[int], omega: Fraction | float) -> tuple[int, ...]:
    """Return each width times ``omega``, rounded to the nearest whole number, halves up; at least 1."""
    factor = Fraction(omega)
    return tuple(
        max(1, (2 * factor.numerator * width + factor.denominator) // (2 * factor.denominator)) for width in widths
    )


def expand_widths(
    widths: Sequence[int], cost: Callable[[tuple[int, ...]], float], budget: float, *, most: Fraction | float = 1000
) -> tuple[Fraction, tuple[int, ...]]:
    """Return the largest factor up to ``most`` whose scaled widths cost no more than the budget, and these widths.

    The answer is exact: between the factors at which a width changes nothing does, so that only these are searched.
    ``cost`` must not fall where a width grows; it is called about 2 log2(``most`` times the sum of widths) times. The
    factor is the smallest one that gives these widths.

    Raises:
        ValueError: if there is no width, one is less than 1, or a network of one channel per width costs more.
    """
    if not widths or min(widths) < 1:
        raise ValueError(f"widths must be 1 or more, not {tuple(widths)}")
    smallest = (1,) * len(widths)
    if (least := cost(smallest)) > budget:
        raise ValueError(f"one channel per width costs {least:g}, more than the budget of {budget:g}")
    # First by powers of two, so that the list of factors stays as short as the answer needs.
    top, limit = Fraction(1, max(widths)), Fraction(most)
    while top < limit and cost(scale_widths(widths, top)) <= budget:
        top = min(2 * top, limit)
    factors = sorted(
        {Fraction(2 * n - 1, 2 * width) for width in set(widths) for n in range(2, scale_widths([width], top)[0] + 1)}
    )
    affordable = bisect_right(factors, False, key=lambda factor: cost(scale_widths(widths, factor)) > budget)
    omega = factors[affordable - 1] if affordable else Fraction(0)
    return omega, scale_widths(widths, omega)
