from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from genotypes.ranges import check_range, check_ranges


@pytest.mark.parametrize(
    ("interval", "inside", "outside", "words"),
    [
        ("[1, inf)", 1, 0, "n must be at least 1, not 0"),
        ("[0, inf)", 0.0, math.inf, "n must be finite and at least 0, not inf"),
        ("[0, inf)", 2.5, math.nan, "n must be finite and at least 0, not nan"),
        ("(0, inf)", 0.1, 0.0, "n must be finite and above 0, not 0.0"),
        ("[1, 20]", 20, 21, "n must be from 1 to 20, not 21"),
        ("[0, 1)", 0, 1, "n must be at least 0 and below 1, not 1"),
        ("(0, 1)", 0.5, 0, "n must be above 0 and below 1, not 0"),
        ("(0, 1]", 1, 0, "n must be above 0 and at most 1, not 0"),
    ],
)
def test_what_lies_outside_is_refused_in_words(interval: str, inside: float, outside: float, words: str) -> None:
    check_range("n", inside, interval)
    with pytest.raises(ValueError, match="n must be") as caught:
        check_range("n", outside, interval)
    assert str(caught.value) == words


def test_an_option_that_is_left_open_lies_in_every_range() -> None:
    @dataclass
    class Options:
        a: int | None = None
        b: int = 2

    check_ranges(Options(), a="[1, inf)", b="[1, inf)")
    with pytest.raises(ValueError, match="b must be at least 3, not 2"):
        check_ranges(Options(), a="[1, inf)", b="[3, inf)")
