"""Strings of bits: the toy of Real et al. 2018, supplement C."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
import pytest

from genotypes.spaces.bits import BitsSpace
from tests.counting import bytecodes


def test_there_are_a_hundred_bits_unless_something_else_is_said() -> None:
    assert BitsSpace().size == 2**100
    assert BitsSpace(length=7).size == 2**7
    assert BitsSpace(length=7).spelling == "bits(length=7)"


def test_a_mutation_flips_one_bit_drawn_uniformly() -> None:
    space = BitsSpace()
    rng = np.random.default_rng(0)
    parent = space.sample(rng)
    n = 20_000
    flipped: Counter[int] = Counter()
    for _ in range(n):
        child = space.mutate(parent, rng)
        (position,) = (i for i, (a, b) in enumerate(zip(parent.choices, child.choices, strict=True)) if a != b)
        flipped[position] += 1
    assert len(flipped) == 100
    assert max(abs(count - n / 100) for count in flipped.values()) < 5 * (n / 100) ** 0.5


def test_a_genotype_is_shown_as_its_string() -> None:
    space = BitsSpace(length=5)
    genotype = space.genotype([0, 1, 1, 0, 1])
    assert space.key(genotype) == "01101"
    assert space.decode(genotype) == {"bits": "01101"}


@pytest.mark.parametrize("length", [0, -1, 10_001])
def test_a_length_out_of_range_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"length must be from 1 to 10000, not {length}"):
        BitsSpace(length=length)


def test_a_mutation_takes_no_more_steps_where_there_are_more_bits() -> None:
    # 60,000 mutations are what the supplement's experiment takes: none may go through the bits.
    steps = []
    for length in (100, 10_000):
        space, rng = BitsSpace(length=length), np.random.default_rng(0)
        genotype = space.sample(rng)
        space.mutate(genotype, rng)  # what is worked out once a space
        # Python's own collector of garbage can take steps in between.
        mutate = partial(space.mutate, genotype, rng)
        steps.append(min(bytecodes(mutate) for _ in range(3)))
    assert 0 < steps[0] == steps[1]
