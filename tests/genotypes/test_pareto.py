"""The Pareto front: what is on it, in which order, and that no shortcut of its computation shows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genotypes.pareto import pareto_front

points = st.lists(st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])] * 3), max_size=40)


def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """The definition: accuracy first, costs after it."""
    no_worse = one[0] >= other[0] and all(a <= b for a, b in zip(one[1:], other[1:], strict=True))
    return no_worse and one != other


def front_of(rows: list[tuple[float, ...]]) -> list[int]:
    table = np.array(rows, dtype=float).reshape(len(rows), -1)
    return pareto_front(table[:, 0], table[:, 1:]).tolist()


def test_the_best_trade_offs_come_the_most_accurate_first() -> None:
    rows = [(0.5, 10.0), (0.9, 100.0), (0.7, 10.0), (0.9, 120.0), (0.2, 1.0), (0.1, 5.0)]
    assert front_of(rows) == [1, 2, 4]


@given(points)
def test_the_front_is_what_nothing_dominates_each_point_once(rows: list[tuple[float, float, float]]) -> None:
    firsts = [i for i, row in enumerate(rows) if row not in rows[:i]]
    expected = [i for i in firsts if not any(dominates(other, rows[i]) for other in rows)]
    found = pareto_front(np.array([row[0] for row in rows]), np.array([row[1:] for row in rows]).reshape(-1, 2))
    assert sorted(found) == expected
    assert [rows[i][0] for i in found] == sorted((rows[i][0] for i in found), reverse=True)


@given(points, st.integers(1, 7))
def test_looked_at_in_parts_it_is_the_same(rows: list[tuple[float, float, float]], size: int) -> None:
    best: list[tuple[int, tuple[float, ...]]] = []
    for start in range(0, len(rows), size):
        some = best + list(enumerate(rows))[start : start + size]
        best = [some[i] for i in front_of([row for _, row in some])]
    assert [index for index, _ in best] == (front_of(list(rows)) if rows else [])


def test_differences_far_below_a_sum_of_floats_count() -> None:
    assert front_of([(0.5, 1e16), (0.5, 1e16 - 2)]) == [1]
    assert front_of([(1e-300, 1.0), (2e-300, 1.0)]) == [1]


def test_of_equals_the_first_stands_for_all() -> None:
    assert front_of([(0.1, 9.0), *[(0.5, 5.0)] * 5]) == [1]


def test_what_is_unknown_is_left_out() -> None:
    assert front_of([(0.9, np.nan), (0.5, 5.0), (np.nan, 1.0)]) == [1]


def test_of_nothing_there_is_no_front() -> None:
    assert pareto_front(np.empty(0), np.empty((0, 2))).tolist() == []


def test_all_points_of_a_descent_are_on_it() -> None:
    rows = [(i / 100, float(i)) for i in range(100)]
    assert front_of(rows) == list(range(99, -1, -1))
    assert all(not dominates(a, b) for a, b in itertools.permutations(rows, 2))


@pytest.mark.parametrize("costs", [np.zeros(3), np.zeros((2, 1))])
def test_another_shape_is_refused(costs: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"accuracies of shape \(n,\) and costs of shape \(n, m\)"):
        pareto_front(np.zeros(3), costs)
