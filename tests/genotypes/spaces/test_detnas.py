"""The space of DetNAS: its options, its points, and how near ones are told from far ones."""

from __future__ import annotations

import re

import numpy as np
import pytest

from genotypes.catalogue import build_space
from genotypes.chain import Chain, ChainSize
from genotypes.genotype import GenotypeError
from genotypes.spaces.detnas import DetNASSpace
from genotypes.zoo import CHAINS

SPACE = DetNASSpace()


def test_the_space_has_the_size_of_the_papers() -> None:
    assert SPACE.size == 4**20
    large = build_space("detnas(stages=8+8+16+8,widths=96+240+480+960,stem=48)")
    assert large.size == 4**40
    assert [decision.name for decision in SPACE.decisions[3:6]] == ["stage1/block3", "stage2/block0", "stage2/block1"]


def test_the_published_chain_is_a_point_of_the_space() -> None:
    chain = CHAINS["detnas-coco-fpn-300m"]
    genotype = SPACE.encode(chain)
    assert str(genotype) == "detnas:2.1.2.0.2.1.1.2.3.3.1.3.0.0.3.1.3.1.3.2"
    assert SPACE.decode(genotype) == chain
    assert SPACE.readable(genotype) == chain.to_json()


def test_options_make_smaller_chains() -> None:
    space = build_space("detnas(stages=1+1+2,blocks=shuffle_3x3+xception_3x3,stem_stride=1,shuffle=1,bias=true)")
    assert isinstance(space, DetNASSpace)
    assert space.chain_size == ChainSize((1, 1, 2), (64, 160, 320), stem_stride=1, shuffle=1, bias=True)
    chain = space.decode(space.genotype([1, 0, 1, 0]))
    assert chain.blocks == ("xception_3x3", "shuffle_3x3") * 2
    assert space.encode(chain) == space.genotype([1, 0, 1, 0])
    with pytest.raises(GenotypeError, match="place 0 has the block shuffle_7x7, and detnas"):
        space.encode(Chain(("shuffle_7x7",) * 4, space.chain_size))
    with pytest.raises(GenotypeError, match="the chain has another size"):
        space.encode(CHAINS["detnas-coco-fpn-300m"])


def test_near_chains_share_their_words() -> None:
    rng = np.random.default_rng(0)
    genotype = SPACE.encode(CHAINS["detnas-coco-fpn-300m"])
    words = SPACE.words(genotype)
    assert words[:4] == ("stage1 shuffle_7x7", "stage1 shuffle_5x5", "stage1 shuffle_7x7", "stage1 shuffle_3x3")
    swapped = SPACE.genotype([1, 2, *genotype.choices[2:]])
    assert sorted(SPACE.words(swapped)) == sorted(words)
    assert sorted(SPACE.words(SPACE.mutate(genotype, rng))) != sorted(words)


@pytest.mark.parametrize(
    ("spelling", "words"),
    [
        ("detnas(stages=)", "an option is NAME=VALUE"),
        ("detnas(stages=a)", "stages must be whole numbers, as in 4+4+8+4"),
        ("detnas(stages=0+1)", "stages must have a place each"),
        ("detnas(stages=1+1,widths=64)", "widths must name one per stage, so 2, not 1"),
        ("detnas(widths=64+160+320+321)", "321 comes after 320"),
        ("detnas(stages=1+1+1+1+1)", "widths must name one per stage, so 5, not 4"),
        ("detnas(blocks=conv)", "unknown 'conv' in blocks; known: shuffle_3x3, shuffle_5x5"),
        ("detnas(blocks=shuffle_3x3+shuffle_3x3)", "none twice"),
        ("detnas(shuffle=0)", "shuffle must be 1 or 2"),
        ("detnas(stem_stride=3)", "stem_stride must be 1 or 2"),
        ("detnas(stages=9999999)", "stages must be whole numbers"),
    ],
)
def test_options_that_cannot_be_are_refused(spelling: str, words: str) -> None:
    with pytest.raises(GenotypeError, match=re.escape(words)):
        build_space(spelling)
