"""Rank tests, effects and corrections against numbers worked by hand, against scipy, and by their laws."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.comparison.significance import (
    Floats,
    Pair,
    conclusions,
    count_needed_seeds,
    effect,
    holm,
    pairs_of,
    rank_test,
    smallest_p,
    superiority,
)

several = st.lists(st.integers(0, 5).map(lambda i: i / 5), min_size=1, max_size=6).map(np.array)
probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def values(*numbers: float) -> Floats:
    return np.array(numbers, dtype=np.float64)


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        ((1, 2, 3), (4, 5, 6), 2 / 20),  # the two of twenty ways that part them wholly
        ((4, 5, 6), (1, 2, 3), 2 / 20),
        ((1, 2, 4), (3, 5, 6), 2 * 2 / 20),  # rank sums 6 and 7 are as far out, a way each
        ((1,), (2,), 1.0),
        ((1, 1), (2, 2), 2 / 6),  # ties within a group change nothing
        ((1, 2), (2, 3), 2 * 2 / 6),  # ranks 1, 2.5, 2.5, 4: two of six sums are at most 3.5
        ((1,), (1, 2, 3), 1.0),  # rank 1.5, as half of the four have
        ((5, 5, 5), (5, 5, 5), 1.0),
    ],
)
def test_p_is_that_of_counting_all_ways(first: tuple[float, ...], second: tuple[float, ...], p: float) -> None:
    assert rank_test(values(*first), values(*second)) == pytest.approx(p)


def test_p_of_very_many_runs_is_that_of_the_normal_limit() -> None:
    first, second = np.random.default_rng(0).random((2, 101))
    assert rank_test(first, second) == stats.mannwhitneyu(first, second, method="asymptotic").pvalue
    assert rank_test(first, second[1:-1]) == stats.mannwhitneyu(first, second[1:-1], method="exact").pvalue


def test_p_is_scipys_without_ties_and_for_many_tied_values() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random(9), rng.random(12) + 0.2
    assert rank_test(first, second) == stats.mannwhitneyu(first, second, method="exact").pvalue
    first, second = rng.integers(0, 9, 30) / 10, rng.integers(1, 10, 25) / 10
    assert rank_test(first, second) == stats.mannwhitneyu(first, second, method="asymptotic").pvalue


@settings(max_examples=20)
@given(several.filter(lambda v: len(v) > 1), several.filter(lambda v: len(v) > 1))
def test_p_with_ties_is_that_of_scipys_permutations(first: Floats, second: Floats) -> None:
    ranks = stats.rankdata(np.concatenate([first, second]))
    parts = (ranks[: len(first)], ranks[len(first) :])
    expected = stats.permutation_test(
        parts, lambda one, _, axis: one.sum(axis=axis), vectorized=True, n_resamples=10**6
    ).pvalue
    assert rank_test(first, second) == pytest.approx(expected)


@given(several, several)
def test_no_p_is_below_the_smallest_and_sides_do_not_matter(first: Floats, second: Floats) -> None:
    p = rank_test(first, second)
    assert smallest_p(len(first), len(second)) <= p + 1e-12
    assert p <= 1
    assert p == pytest.approx(rank_test(second, first))
    assert superiority(first, second) + superiority(second, first) == pytest.approx(1)


def test_the_smallest_p_of_so_many_seeds() -> None:
    assert [smallest_p(n, n) for n in (1, 2, 3, 4, 5)] == pytest.approx([1, 2 / 6, 2 / 20, 2 / 70, 2 / 252])
    assert smallest_p(1, 39) == pytest.approx(2 / 40)
    assert [count_needed_seeds(pairs) for pairs in (1, 2, 3, 45)] == [4, 5, 5, 7]


def test_superiority_is_the_share_of_duels_won() -> None:
    assert superiority(values(1, 2), values(1, 3)) == (0.5 + 0 + 1 + 0) / 4
    assert superiority(values(5), values(1, 2)) == 1.0


@pytest.mark.parametrize(
    ("share", "name"),
    [
        *((1.0, "large"), (0.71, "large"), (0.29, "large"), (0.7, "medium"), (0.36, "medium")),
        *((0.63, "small"), (0.44, "small"), (0.55, "negligible"), (0.5, "negligible")),
    ],
)
def test_effects_have_the_names_of_vargha_and_delaney(share: float, name: str) -> None:
    assert effect(share) == name


def test_holm_multiplies_the_smallest_most() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(probabilities, st.data())
def test_holm_lies_between_no_correction_and_bonferronis_and_never_falls(ps: list[float], data: st.DataObject) -> None:
    corrected = holm(ps)
    assert all(p <= c <= min(1.0, len(ps) * p) for p, c in zip(ps, corrected, strict=True))
    higher = [data.draw(st.floats(p, 1)) for p in ps]
    assert all(a <= b for a, b in zip(corrected, holm(higher), strict=True)), "the bound of too few seeds rests on it"


def test_pairs_are_corrected_together_without_those_that_are_not_tested() -> None:
    groups = {
        "a": values(1, 2, 3, 4),
        "b": values(5, 6, 7, 8),
        "c": values(1.5, 2.5, 3.5, 4.5),
        "d": values(0, 0, 0, 0),
    }
    pairs = {(p.first, p.second): p for p in pairs_of(groups, {(n, "d"): ("evaluator",) for n in "abc"})}
    assert len(pairs) == 6
    assert [pairs[n, "d"].verdict for n in "abc"] == ["unlike"] * 3
    assert pairs["a", "b"].p == pairs["b", "c"].p == pytest.approx(2 / 70)
    assert pairs["a", "b"].p_holm == pytest.approx(3 * 2 / 70)
    assert pairs["a", "b"].least == pytest.approx(3 * 2 / 70)
    assert pairs["a", "b"].verdict == "too few", "four seeds do for one pair, and not for three"
    assert pairs["a", "b"].difference == -4


def test_a_run_that_found_nothing_is_worse_than_any() -> None:
    (pair,) = pairs_of({"a": values(0.5, math.nan), "b": values(0.0, 0.1)})
    assert (pair.superiority, pair.difference) == (0.5, None)


def verdict_of(first: Sequence[float], second: Sequence[float]) -> tuple[Pair, str]:
    pairs = pairs_of({"evolution": values(*first), "random": values(*second)})
    (said,) = conclusions(pairs)
    return pairs[0], said


def test_a_difference_is_told_with_its_size_whichever_is_ahead() -> None:
    low, high = [0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]
    for first, second, better, worse in ((low, high, "random", "evolution"), (high, low, "evolution", "random")):
        pair, said = verdict_of(first, second)
        assert pair.verdict == "apart"
        assert said == (
            f"{better} ends better than {worse} (p = 0.029): one run beats another in 100 % of cases, a large effect, "
            "and its mean is 40.00 percentage points higher."
        )


def test_no_difference_is_not_called_equality() -> None:
    pair, said = verdict_of([0.1, 0.3, 0.5, 0.7], [0.2, 0.4, 0.6, 0.8])
    assert pair.verdict == "not apart"
    assert said == (
        "Not told apart: evolution and random (p = 0.69). "
        "That shows neither that one is better nor that they are equal."
    )


def test_too_few_seeds_are_said_to_be_too_few_whatever_they_show() -> None:
    pair, said = verdict_of([0.1, 0.2, 0.5], [0.3, 0.4, 0.6])
    assert pair.verdict == "too few"
    assert said == (
        "3 seeds each are not enough to say anything: even if all runs of one were better than all of the other, "
        "p would be 0.1. It is possible with 4 seeds each."
    )
    assert "2 and 3 seeds are not enough" in verdict_of([0.1, 0.2], [0.3, 0.4, 0.6])[1]
    assert verdict_of([0.1], [0.9])[1] == "One run each: differences may be luck. Repeat with other seeds to know."


def test_many_pairs_get_few_sentences() -> None:
    groups = {f"g{i}": np.arange(8.0) / 100 + i for i in range(12)}
    said = conclusions(pairs_of(groups))
    assert len(said) == 7
    assert said[-1] == "Told apart too: g0 and g7; g0 and g8; g0 and g9; 57 more."
