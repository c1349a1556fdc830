"""Sentences and tables for a terminal."""

import pytest

from analysis.comparison.wording import (
    align_with_names,
    by_value,
    columns_of,
    fold,
    join_phrases,
    join_words,
    probability,
)


def test_lists_read_as_in_a_sentence_and_stay_short() -> None:
    assert [join_words(list("abcdef"[:n])) for n in (0, 1, 2, 3, 4, 6)] == [
        *("", "a", "a and b", "a, b and c", "a, b, c and d", "a, b, c and 3 more")
    ]
    assert join_phrases(list("abcdef")) == "a; b; c; 3 more"
    assert by_value({"a": "x", "b": "y", "c": "x"}) == "x: a and c; y: b"


@pytest.mark.parametrize(
    ("p", "said"), [(0.1, "= 0.1"), (0.0286, "= 0.029"), (0.0498, "= 0.0498"), (0.0001, "< 0.001"), (1.0, "= 1")]
)
def test_a_probability_near_the_limit_is_said_exactly(p: float, said: str) -> None:
    assert probability(p) == f"p {said}"


def test_long_sentences_are_folded_and_long_words_kept() -> None:
    lines = fold("word " * 30 + "x" * 100)
    assert [len(line) <= 80 for line in lines] == [True, True, False]
    assert lines[1].startswith("  word")


def test_columns_are_aligned() -> None:
    assert columns_of([["a", "bb"], ["ccc", "d"]]) == ["  a  bb", "ccc   d"]
    assert align_with_names(["x", "long"], [["n"], ["1"], ["22"]]) == ["          n", "1  x      1", "2  long  22"]


def test_names_that_leave_no_room_stand_above() -> None:
    assert align_with_names(["x" * 70, "y"], [["n" * 20], ["1"], ["2"]]) == [
        "   " + "n" * 20,
        "1  " + "x" * 70,
        "   " + " " * 19 + "1",
        "2  y",
        "   " + " " * 19 + "2",
    ]
