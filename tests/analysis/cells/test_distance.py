import itertools
import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.cells.distance import cell_distance, pair_distance
from genotypes.cell import INPUTS, Block, Cell, Edge
from genotypes.space import SearchSpace
from genotypes.spaces.nasnet import NASNetSpace
from genotypes.zoo import AMOEBANET_A, NASNET_A

PATIENCE = math.inf  # no machine is so crowded that what is exact becomes a bound
SMALL = NASNetSpace(blocks=3, ops=("identity", "conv_1x1", "conv_3x3"))
THREE = [
    Block(Edge(0, "identity"), Edge(1, "conv_1x1")),
    Block(Edge(2, "conv_3x3"), Edge(1, "conv_1x1")),
    Block(Edge(3, "conv_3x3"), Edge(0, "identity")),
]


def sampled(seed: int, space: SearchSpace = SMALL) -> Cell:
    cell = space.decode(space.sample(np.random.default_rng(seed))).normal
    assert isinstance(cell, Cell)
    return cell


def brute_force(cell: Cell, other: Cell) -> int:
    """Try every way in which blocks can stand for each other; all blocks of both cells are live."""

    def edges(of: Cell) -> Mapping[tuple[int, int], Counter[str]]:
        found: dict[tuple[int, int], Counter[str]] = {(state, -1): Counter({"out": 1}) for state in of.output}
        for state, block in enumerate(of.blocks, start=INPUTS):
            for edge in block.edges:
                found.setdefault((edge.source, state), Counter())[edge.op] += 1
        return found

    here, there = edges(cell), edges(other)
    n, m = len(cell.blocks), len(other.blocks)
    best = 10**9
    # A block stands for another or, beyond the last one, for none.
    for image in itertools.permutations(range(m + n), n):
        pairs = {i: j for i, j in enumerate(image) if j < m}
        cost = n + m - 2 * len(pairs)
        cost += sum(cell.blocks[i].combine != other.blocks[j].combine for i, j in pairs.items())
        to = {0: 0, 1: 1, -1: -1} | {i + INPUTS: j + INPUTS for i, j in pairs.items()}
        matched = Counter[tuple[int, int]]()
        for (source, state), ops in here.items():
            ends = to.get(source), to.get(state)
            twin = there.get(ends, Counter()) if None not in ends else Counter()  # type: ignore[arg-type]
            cost += max(ops.total(), twin.total()) - (ops & twin).total()
            if twin:
                matched[ends] += 1  # type: ignore[index]
        cost += sum(ops.total() for ends, ops in there.items() if not matched[ends])
        best = min(best, cost)
    return best


@pytest.mark.parametrize("seed", range(12))
def test_the_distance_is_the_least_over_all_ways_to_pair_blocks(seed: int) -> None:
    cell, other = sampled(seed), sampled(seed + 100, NASNetSpace(blocks=2 + seed % 2, ops=SMALL.ops))
    found = cell_distance(cell, other, time_limit=PATIENCE)
    assert found.exact
    assert found.edits == brute_force(cell, other)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_distances_are_a_metric_on_networks(one: int, two: int, three: int) -> None:
    a, b, c = map(sampled, (one, two, three))
    ab, bc, ac = (cell_distance(*both, time_limit=PATIENCE).edits for both in ((a, b), (b, c), (a, c)))
    assert cell_distance(b, a, time_limit=PATIENCE).edits == ab
    assert ac <= ab + bc
    assert (ab == 0) == (a.canonical() == b.canonical())


def test_another_operation_is_one_edit_and_is_named() -> None:
    changed = [*THREE[:2], Block(Edge(3, "conv_1x1"), Edge(0, "identity"))]
    found = cell_distance(Cell.join_leaves(THREE), Cell.join_leaves(changed))
    assert (found.edits, found.exact) == (1, True)
    assert found.changed == found.changed_other == {(4, 0)}


def test_another_combination_is_one_edit_and_changes_no_operation() -> None:
    changed = [*THREE[:2], Block(*THREE[2].edges, "concat")]
    found = cell_distance(Cell.join_leaves(THREE), Cell.join_leaves(changed))
    assert (found.edits, found.changed, found.changed_other) == (1, frozenset(), frozenset())


def test_to_read_another_state_is_two_edits() -> None:
    changed = [*THREE[:2], Block(Edge(3, "conv_3x3"), Edge(1, "identity"))]
    found = cell_distance(Cell.join_leaves(THREE), Cell.join_leaves(changed))
    assert (found.edits, found.changed, found.changed_other) == (2, {(4, 1)}, {(4, 1)})


def test_another_spelling_of_a_network_is_no_edit() -> None:
    swapped = [Block(block.right, block.left) for block in THREE]
    dead = Cell((*THREE, Block(Edge(4, "identity"), Edge(0, "identity"))), (4,))
    for other in (Cell.join_leaves(swapped), dead):
        found = cell_distance(Cell.join_leaves(THREE), other)
        assert (found.edits, found.changed, found.changed_other) == (0, frozenset(), frozenset())


def test_a_block_more_costs_itself_its_operations_and_its_way_out() -> None:
    more = Cell((*THREE, Block(Edge(0, "identity"), Edge(0, "identity"))), (4, 5))
    found = cell_distance(Cell.join_leaves(THREE), more)
    assert (found.edits, found.changed, found.changed_other) == (4, frozenset(), {(5, 0), (5, 1)})


def test_the_inputs_do_not_stand_for_each_other() -> None:
    one = Cell.join_leaves([Block(Edge(0, "identity"), Edge(0, "conv_1x1"))])
    other = Cell.join_leaves([Block(Edge(1, "identity"), Edge(1, "conv_1x1"))])
    assert cell_distance(one, other).edits == 4


def test_a_pair_differs_by_both_of_its_cells() -> None:
    found = pair_distance(NASNET_A, AMOEBANET_A, time_limit=PATIENCE)
    assert found.exact
    assert found.edits == found.normal.edits + found.reduction.edits == 22
    assert str(found) == "22"


def test_what_takes_too_long_is_an_upper_bound_and_says_so() -> None:
    large = NASNetSpace(blocks=12)
    one, other = sampled(1, large), sampled(2, large)
    found = cell_distance(one, other, time_limit=0.05)
    assert not found.exact
    assert str(found) == f"<= {found.edits}"
    sizes = [3 * len(cell.blocks) + len(cell.output) for cell in (one, other)]
    assert abs(sizes[0] - sizes[1]) <= found.edits <= sum(sizes)
