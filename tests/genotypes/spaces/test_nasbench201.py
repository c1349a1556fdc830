"""The space of NAS-Bench-201: its strings in the benchmark's order, and its mutation with its probabilities."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import numpy as np
import pytest

from genotypes.edge_cell import EdgeCell
from genotypes.genotype import Genotype, GenotypeError
from genotypes.spaces.nasbench201 import NASBENCH201_OPS, NASBench201Space

SPACE = NASBench201Space()
TEXT = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|nor_conv_3x3~1|skip_connect~2|"


def test_every_published_cell_has_its_own_string_that_is_read_back() -> None:
    cells = [Genotype("nasbench201", choices) for choices in itertools.product(range(5), repeat=6)]
    texts = [SPACE.architecture(cell) for cell in cells]
    assert len(set(texts)) == len(cells) == SPACE.size == 15_625
    assert [SPACE.parse(text) for text in texts] == cells
    assert [SPACE.key(cell) for cell in cells] == texts, "the table tells isomorphic cells apart"


def test_the_string_names_the_edges_by_target_then_by_source() -> None:
    cell = SPACE.parse(TEXT)
    assert cell.choices == (4, 2, 1, 0, 3, 1)
    assert SPACE.architecture(cell) == TEXT
    assert SPACE.readable(cell) == {
        "architecture": TEXT,
        "1<-0": "avg_pool_3x3",
        "2<-0": "nor_conv_1x1",
        "2<-1": "skip_connect",
        "3<-0": "none",
        "3<-1": "nor_conv_3x3",
        "3<-2": "skip_connect",
    }
    assert EdgeCell.from_json(json.loads(json.dumps(SPACE.readable(cell)))) == SPACE.decode(cell)


def test_both_ways_to_write_a_cell_are_read() -> None:
    assert SPACE.parse(f" {TEXT}\n") == SPACE.parse("nasbench201:4.2.1.0.3.1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT.replace("skip_connect~1", "conv_9x9~1"), "edge 2<-1 has the unknown operation 'conv_9x9'; known: none,"),
        (TEXT.replace("~2", "~1"), r"is no architecture of NAS-Bench-201: write \|op~0\|\+\|op~0\|op~1\|"),
        (TEXT[:-1], "is no architecture of NAS-Bench-201"),
        (TEXT.partition("+")[0], "is no architecture of NAS-Bench-201"),
        ("|", "is no architecture of NAS-Bench-201"),
        ("nasbench201:4.2.1.0.3.5", r"choice 5 \(3<-2\) is 5, but its options are 0 to 4"),
        ("nasbench201:4.2.1", "has 6 choices, not 3"),
        ("64:64:64:64:64", "the genotype is of space '64:64:64:64'"),
        ("", "is no genotype"),
    ],
)
def test_what_is_no_cell_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message) as caught:
        SPACE.parse(text)
    assert "\n" not in str(caught.value)


def test_a_mutation_gives_one_edge_another_operation_all_equally_likely() -> None:
    parent = SPACE.parse(TEXT)
    rng = np.random.default_rng(0)
    n = 24_000
    counts = Counter(SPACE.mutate(parent, rng) for _ in range(n))
    assert set(counts) == set(SPACE.neighbours(parent))
    assert len(counts) == 6 * (len(NASBENCH201_OPS) - 1)
    expected = n / len(counts)
    assert max(abs(count - expected) for count in counts.values()) < 5 * expected**0.5


def test_words_name_live_operations_and_paths() -> None:
    space = NASBench201Space()
    cell = space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|")
    assert sorted(space.words(cell)) == [
        "avg_pool_3x3",
        "nor_conv_1x1",
        "nor_conv_3x3",
        "path avg_pool_3x3",
        "path nor_conv_3x3+nor_conv_1x1",
        "skip_connect",
    ]
    assert space.words(space.parse("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_1x1~2|")) == ()
