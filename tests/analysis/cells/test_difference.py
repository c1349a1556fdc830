import json
import math

import numpy as np
import pytest

from analysis.cells.difference import Difference, difference
from genotypes.spaces.nasnet import NASNetSpace
from genotypes.zoo import AMOEBANET_A, NASNET_A, PNASNET_5


@pytest.fixture(scope="module")
def found() -> Difference:
    return difference(("one", "other"), (NASNET_A, AMOEBANET_A), time_limit=math.inf)


def test_the_text_says_distance_and_operations(found: Difference) -> None:
    lines = found.lines()
    assert lines[:3] == [
        "A: one",
        "B: other",
        "graph edit distance 22: 12 in the normal cell, 10 in the reduction cell",
    ]
    rows = {words[0]: words[1:] for line in lines if len(words := line.split()) == 5}
    assert rows["conv_1x7_7x1"] == ["-", "-", "-", "1"]
    assert rows["sep_conv_5x5"] == ["2", "1", "2", "-"]
    assert max(map(len, lines[:-1])) <= 80
    assert "stack cells in different ways (nasnet, amoebanet)" in lines[-1]


def test_json_carries_the_same(found: Difference) -> None:
    record = json.loads(json.dumps(found.to_json()))
    assert (record["edits"], record["exact"], record["names"]) == (22, True, ["one", "other"])
    assert record["normal"]["edits"] + record["reduction"]["edits"] == 22
    assert record["operations"][0] == {"operation": "avg_pool_3x3", "normal": [3, 3], "reduction": [2, 2]}
    assert all(len(place) == 2 for place in record["normal"]["only_in_a"] + record["reduction"]["only_in_b"])


def test_the_same_pair_twice_differs_in_nothing() -> None:
    found = difference(("a", "a"), (PNASNET_5, PNASNET_5))
    assert found.distance.edits == 0
    assert not found.notes()


def test_an_upper_bound_is_said_in_words() -> None:
    space, rng = NASNetSpace(blocks=12), np.random.default_rng(0)
    one, two = (space.decode(space.sample(rng)) for _ in range(2))
    found = difference(("a", "b"), (one, two), time_limit=0.05)
    assert "graph edit distance <= " in found.lines()[2]
    assert "The time was up: fewer edits may do than the number after <=." in found.notes()
