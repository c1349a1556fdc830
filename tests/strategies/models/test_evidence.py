"""Evidence for a donor: how often what it advised is better, and when that is held against it."""

from __future__ import annotations

import pytest

from strategies.models.evidence import FEWEST, compute_superiority, is_misleading


@pytest.mark.parametrize(
    ("some", "others", "share"),
    [
        ([0.9, 0.8], [0.1, 0.2], 1.0),
        ([0.1], [0.1, 0.2], 0.25),
        ([0.5, None], [0.4, None], 0.625),
        ([None], [0.0], 0.0),
    ],
)
def test_superiority_is_the_share_of_pairs_in_which_the_first_is_better(
    some: list[float | None], others: list[float | None], share: float
) -> None:
    assert compute_superiority(some, others) == share
    assert compute_superiority(others, some) == 1 - share


def test_nobody_is_judged_before_there_are_enough_results_of_both_kinds() -> None:
    worse, better = [0.1] * FEWEST, [0.2] * FEWEST
    assert is_misleading(worse, better)
    assert not is_misleading(better, worse)
    assert not is_misleading(worse, worse), "ties are no reason"
    assert not is_misleading(worse, better[1:])
    assert not is_misleading(worse[1:], better)
