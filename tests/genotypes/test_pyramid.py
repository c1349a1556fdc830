"""Feature pyramids: extra inputs, what is refused, and the canonical text against brute force."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from genotypes.genotype import GenotypeError
from genotypes.pyramid import LEVELS, Merge, Pyramid
from genotypes.spaces.nasfpn import NASFPNSpace
from genotypes.zoo import NAS_FPN

OUTPUTS = tuple(Merge(level, "sum", (0, 1)) for level in LEVELS)


def renumber(pyramid: Pyramid, order: tuple[int, ...]) -> Pyramid | None:
    """The same graph with its cells in another order; none if a cell would stand before one that it reads."""
    names = {feature: feature for feature in range(5)} | {5 + old: 5 + new for new, old in enumerate(order)}
    try:
        return Pyramid(
            tuple(
                Merge(merge.level, merge.combine, (names[merge.inputs[0]], names[merge.inputs[1]]))
                for merge in (pyramid.merges[old] for old in order)
            )
        )
    except GenotypeError:
        return None


def spell(pyramid: Pyramid, names: dict[int, str]) -> tuple[str, ...]:
    """Every cell as a text, under names of the features; no code under test but the extra inputs."""
    texts = []
    for index, (merge, extra) in enumerate(zip(pyramid.merges, pyramid.extras, strict=True)):
        one, other = merge.inputs
        levels = [merge.level if f >= 5 else f + 3 for f, merge in ((f, pyramid.merges[f - 5]) for f in merge.inputs)]
        terms = [names[feature] for feature in extra]
        if merge.combine == "sum":
            terms += [names[one], names[other]]
        else:
            coarse, fine = (one, other) if levels[0] >= levels[1] else (other, one)
            terms.append(f"{names[coarse]}>{names[fine]}")
        texts.append(f"{names[5 + index]}={merge.level}:{sorted(terms)}")
    return tuple(sorted(texts))


def smallest_spelling(pyramid: Pyramid) -> tuple[str, ...]:
    """The graph without the order of its cells: the smallest of its spellings under all names of its intermediates."""
    names = {feature: f"in{feature}" for feature in range(5)}
    names |= {5 + index: f"out{merge.level}" for index, merge in enumerate(pyramid.merges)}
    between = range(5, 5 + pyramid.intermediates)
    return min(
        spell(pyramid, names | dict(zip(between, labels, strict=True)))
        for labels in permutations([f"m{feature}" for feature in between])
    )


def test_the_published_pyramid_has_the_extra_inputs_of_the_released_code() -> None:
    assert NAS_FPN.extras == ((), (), (), (), (2,), (4,), ())
    assert NAS_FPN.outputs == (7, 8, 9, 11, 10)
    assert NAS_FPN.feature_levels == (3, 4, 5, 6, 7, 4, 4, 3, 4, 5, 7, 6)


def test_an_extra_input_is_one_that_nothing_has_read_so_far_though_a_later_cell_reads_it() -> None:
    merges = (
        Merge(5, "sum", (0, 1)),  # 5, read by the last cell alone
        Merge(5, "sum", (0, 1)),  # 6: level 5 adds 2, 5 and 6
        Merge(3, "sum", (0, 1)),  # 7
        Merge(4, "sum", (3, 4)),  # 8: level 4 has nothing that was not read
        Merge(6, "sum", (6, 7)),  # 9: 6 is read now
        Merge(7, "sum", (0, 1)),  # 10
        Merge(5, "sum", (0, 5)),  # 11: 5 is read by itself
    )
    assert Pyramid(merges).extras == ((), (), (), (), (), (), (2,))
    first = (*merges[:2], Merge(5, "sum", (0, 1)), *merges[2:6])
    assert Pyramid(first).extras == ((), (), (2, 5, 6), (), (), (), ())
    late = (*first[:5], Merge(6, "sum", (5, 7)), first[6])
    assert Pyramid(late).extras[2] == (2, 5, 6), "what a later cell reads is added all the same"


def test_only_outputs_add_extra_inputs_and_what_one_adds_counts_as_read() -> None:
    merges = (Merge(5, "sum", (0, 1)), Merge(5, "sum", (0, 1)), *OUTPUTS)
    assert Pyramid(merges).extras == ((), (), (), (), (2, 5, 6), (3,), (4,))
    assert Pyramid(OUTPUTS).extras == ((), (), (2,), (3,), (4,))


@pytest.mark.parametrize("merges", [5, 7, 8])
def test_the_canonical_text_is_equal_exactly_for_equal_graphs(merges: int) -> None:
    space = NASFPNSpace(merges=merges)
    rng = np.random.default_rng(merges)
    for _ in range(40):
        pyramid = space.decode(space.sample(rng))
        key, form = pyramid.canonical(), smallest_spelling(pyramid)
        for order in permutations(range(pyramid.intermediates)):
            other = renumber(pyramid, (*order, *range(pyramid.intermediates, merges)))
            assert other is None or other.canonical() == key
        for neighbour in space.neighbours(space.encode(pyramid))[::7]:
            other = space.decode(neighbour)
            assert (other.canonical() == key) == (smallest_spelling(other) == form)


def test_outputs_in_another_order_are_the_same_graph_where_no_extra_input_changes() -> None:
    seen = set()
    for order in permutations(range(2, 7)):
        other = renumber(NAS_FPN, (0, 1, *order))
        if other is not None and len({merge.level for merge in other.merges[2:]}) == 5:
            seen.add((other.canonical() == NAS_FPN.canonical(), smallest_spelling(other) == smallest_spelling(NAS_FPN)))
    assert seen <= {(True, True), (False, False)}
    assert (True, True) in seen


def test_inputs_may_be_swapped_unless_an_attention_reads_two_of_one_level() -> None:
    def text(one: int, other: int, combine: str) -> str:
        return Pyramid((Merge(4, "sum", (1, 2)), Merge(3, combine, (one, other)), *OUTPUTS[1:])).canonical()

    assert text(0, 3, "sum") == text(3, 0, "sum")
    assert text(0, 3, "attention") == text(3, 0, "attention") != text(3, 0, "sum")
    assert text(1, 5, "sum") == text(5, 1, "sum")
    assert text(1, 5, "attention") != text(5, 1, "attention")


def test_a_pyramid_of_equal_cells_has_its_text_soon() -> None:
    twins = Pyramid((Merge(3, "sum", (0, 1)),) * 7 + OUTPUTS)
    assert twins.canonical().startswith("3:P3+P4 " * 7)
    assert twins.extras[7] == tuple(range(5, 12))
    with pytest.raises(GenotypeError, match="not 13"):
        Pyramid((Merge(3, "sum", (0, 1)),) * 8 + OUTPUTS)


def test_json_round_trip_and_printed_table() -> None:
    record = NAS_FPN.to_json()
    assert record["pyramid"][4] == {"level": 5, "combine": "attention", "inputs": [7, 8], "extra": [2]}
    assert Pyramid.from_json(record) == NAS_FPN
    for cell in record["pyramid"]:
        del cell["extra"]
    assert Pyramid.from_json(record) == NAS_FPN, "extra inputs follow from the rest"
    lines = str(NAS_FPN).splitlines()
    assert lines[1].split() == ["5", "4", "attention(P4,", "P6)"]
    assert lines[5].split() == ["9", "5", "attention(7,", "8)", "+", "P5", "P5"]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ([], "a pyramid in JSON is"),
        ({"pyramid": {}}, "a pyramid in JSON is"),
        ({"pyramid": [], "more": 1}, "a pyramid in JSON is"),
        ({"pyramid": []}, "5 to 12 merging cells"),
        ({"pyramid": [1]}, "merging cell 0 must be"),
        ({"pyramid": [{"level": 4, "combine": "sum", "inputs": "01"}]}, '"inputs" of merging cell 0'),
        ({"pyramid": [{"level": 4, "combine": "sum", "inputs": [0, 1, 2]}]}, "reads two features"),
        ({"pyramid": [{"level": 4, "combine": "sum", "inputs": [0, True]}]}, "reads two features"),
        ({"pyramid": [{"level": 4, "combine": "sum", "inputs": [0, -1]}]}, "reads two features"),
        ({"pyramid": [{"level": 8, "combine": "sum", "inputs": [0, 1]}]}, "level from 3 to 7, not 8"),
        ({"pyramid": [{"level": 4, "combine": "max", "inputs": [0, 1]}]}, "no combination 'max'"),
        ({"pyramid": [{"level": 4, "combine": ["sum"], "inputs": [0, 1]}]}, "no combination"),
    ],
)
def test_json_that_is_no_pyramid_is_refused(record: object, words: str) -> None:
    with pytest.raises(GenotypeError, match=words):
        Pyramid.from_json(record)


def test_graphs_that_cannot_be_are_refused() -> None:
    with pytest.raises(GenotypeError, match="cell 0 reads feature 5, but only the features 0 to 4"):
        Pyramid((Merge(3, "sum", (0, 5)), *OUTPUTS[1:]))
    with pytest.raises(GenotypeError, match="each once, not 4, 4, 5, 6, 7"):
        Pyramid((Merge(4, "sum", (0, 1)), *OUTPUTS[1:]))
    record = NAS_FPN.to_json()
    record["pyramid"][4]["extra"] = []
    with pytest.raises(GenotypeError, match=r"cell 4 adds the extra inputs \[2\]"):
        Pyramid.from_json(record)
