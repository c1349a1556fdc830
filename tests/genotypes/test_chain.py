"""Chains of blocks: what they are made of, their text and JSON, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from genotypes.chain import BLOCKS, Chain, ChainSize, Place
from genotypes.genotype import GenotypeError
from genotypes.zoo import CHAINS

SMALL = ChainSize((1, 2), (8, 12), stem=4, last=16)


def test_places_have_stride_2_where_a_stage_begins() -> None:
    assert SMALL.places == (Place(0, 0, 4, 8, 2), Place(1, 1, 8, 12, 2), Place(2, 1, 12, 12, 1))
    assert SMALL.stride == 8


def test_the_published_chains_have_20_and_40_places() -> None:
    assert {name: len(chain.blocks) for name, chain in CHAINS.items()} == {
        "detnas-coco-fpn-300m": 20,
        "detnas-coco-retinanet-300m": 20,
        "detnas-coco-fpn-1.3g": 40,
        "detnas-coco-fpn-3.8g": 40,
        "single-path-one-shot": 20,
    }


@pytest.mark.parametrize("name", CHAINS)
def test_json_and_gene_bring_a_chain_back(name: str) -> None:
    chain = CHAINS[name]
    assert Chain.from_json(chain.to_json()) == chain
    assert Chain.of_gene(chain.gene, chain.size) == chain


def test_the_text_is_a_table_with_a_line_per_stage() -> None:
    chain = Chain(("shuffle_3x3", "xception_3x3", "shuffle_7x7"), SMALL)
    assert str(chain).splitlines() == [
        "stage   width  stride  blocks",
        " stem       4       2  conv_3x3",
        "    1       8       4  shuffle_3x3",
        "    2      12       8  xception_3x3 shuffle_7x7",
        "gene: 0 | 3 2",
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"stages": ()}, "stages must have a place each"),
        ({"stages": (1, 0, 1, 1)}, "stages must have a place each, and 200 together at most, not 1+0+1+1"),
        ({"stages": (100, 100, 1, 1)}, "200 together at most"),
        ({"stages": (1, 1)}, "widths must name one per stage, so 2, not 4"),
        (
            {"widths": (64, 64, 320, 640)},
            "widths must be even and grow from the stem's 16, to 100000 at most; 64 comes",
        ),
        ({"widths": (64, 161, 320, 640)}, "161 comes after 64"),
        ({"widths": (16, 160, 320, 640)}, "16 comes after 16"),
        ({"widths": (64.0, 160, 320, 640)}, "widths must be whole numbers"),
        ({"stem": 0}, "stem must be from 1 to 100000, not 0"),
        ({"last": "9"}, "last must be a whole number, not '9'"),
        ({"shuffle": 3}, "shuffle must be 1 or 2, not 3"),
        ({"stem_stride": 4}, "stem_stride must be 1 or 2, not 4"),
        ({"bias": 1}, "bias must be true or false, not 1"),
    ],
)
def test_a_size_that_cannot_be_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        ChainSize(**fields)


def test_a_chain_has_a_known_block_for_each_place() -> None:
    with pytest.raises(GenotypeError, match="this chain has 3 places, not 1"):
        Chain(("shuffle_3x3",), SMALL)
    with pytest.raises(GenotypeError, match="place 1 has the unknown block 'conv'; known: shuffle_3x3"):
        Chain((BLOCKS[0], "conv", BLOCKS[0]), SMALL)
    with pytest.raises(GenotypeError, match="a gene has numbers from 0 to 3, not '4'"):
        Chain.of_gene("0 4 1", SMALL)


@pytest.mark.parametrize(
    "record",
    [
        None,
        {},
        {"chain": "shuffle_3x3"},
        {"chain": ["shuffle_3x3"]},
        {"chain": [["shuffle_3x3"]], "stages": [1]},
        {"chain": [["shuffle_3x3"]], "widths": [64], "more": 1},
        {"chain": [["shuffle_3x3"]], "widths": 64},
        {"chain": [["shuffle_3x3"]], "widths": "64"},
        {"chain": [["shuffle_3x3"]], "widths": [[64]]},
        {"chain": [[3]], "widths": [64]},
        {"chain": [[["shuffle_3x3"]]], "widths": [64]},
        {"chain": [["shuffle_3x3"]], "widths": [64], "stem": None},
    ],
)
def test_json_of_another_shape_is_refused(record: object) -> None:
    with pytest.raises(GenotypeError):
        Chain.from_json(record)
