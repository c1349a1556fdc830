"""The size space of NATS-Bench: its strings."""

from __future__ import annotations

import itertools

import pytest

from genotypes.genotype import Genotype, GenotypeError
from genotypes.spaces.natsbench import NATSBenchSizeSpace

SPACE = NATSBenchSizeSpace()


def test_every_published_size_has_its_own_string_that_is_read_back() -> None:
    sizes = [Genotype("natsbench-size", choices) for choices in itertools.product(range(8), repeat=5)]
    texts = [SPACE.key(size) for size in sizes]
    assert len(set(texts)) == len(sizes) == SPACE.size == 32_768
    assert [SPACE.parse(text) for text in texts] == sizes


def test_both_ways_to_write_a_size_are_read() -> None:
    size = SPACE.parse("8:16:64:32:56\n")
    assert size == SPACE.parse("natsbench-size:0.1.7.3.6")
    assert SPACE.decode(size) == {
        "architecture": "8:16:64:32:56",
        "layer0": "8",
        "layer1": "16",
        "layer2": "64",
        "layer3": "32",
        "layer4": "56",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("64:64:64:64", "names 4 layers, not 5, as in 64:64:64:64:64"),
        ("64:64:12:64:64", "layer2 of .* has 12 channels, but the choices are 8, 16,"),
        ("64", "names 1 layers, not 5"),
        ("64:64:64:64:", "choice 0 of '64:64:64:64:' is '', not a whole number"),
        ("natsbench-size:0.1.8.3.6", r"choice 2 \(layer2\) is 8"),
    ],
)
def test_what_is_no_size_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message) as caught:
        SPACE.parse(text)
    assert "\n" not in str(caught.value)
