"""The canonical key, with networkx's graph isomorphism as the oracle."""

from __future__ import annotations

import hashlib

import networkx as nx
import numpy as np
import pytest
from networkx.algorithms.isomorphism import categorical_node_match

from genotypes.catalogue import build_space
from genotypes.cell import INPUTS, Block, Cell, Edge
from genotypes.spaces.blocks import BlockSpace
from genotypes.spaces.nasnet import NASNetSpace
from genotypes.zoo import CELLS

pytestmark = pytest.mark.slow


def graph_of(cell: Cell) -> nx.DiGraph:
    """The labelled graph of what reaches the output, built without any code under test.

    An edge of the cell becomes a node of its own, labelled with its operation: so parallel edges stay apart.
    """
    graph: nx.DiGraph = nx.DiGraph()
    for state in range(INPUTS):
        graph.add_node(state, label=f"input {state}")
    for index, block in enumerate(cell.blocks):
        graph.add_node(index + INPUTS, label=block.combine)
        for side, edge in enumerate((block.left, block.right)):
            graph.add_node((index, side), label=f"op {edge.op}")
            graph.add_edge(edge.source, (index, side))
            graph.add_edge((index, side), index + INPUTS)
    graph.add_node("output", label="output")
    for state in cell.output:
        graph.add_edge(state, "output")
    alive = nx.ancestors(graph, "output") | {"output", 0, 1}
    return nx.DiGraph(graph.subgraph(alive))


def isomorphic(a: Cell, b: Cell) -> bool:
    return bool(nx.is_isomorphic(graph_of(a), graph_of(b), node_match=categorical_node_match("label", None)))


def shuffled(cell: Cell, rng: np.random.Generator) -> Cell:
    """The same graph written differently: sides swapped, blocks in another topological order."""
    left, order = list(range(len(cell.blocks))), []
    placed = {0: 0, 1: 1}
    while left:
        ready = [i for i in left if all(e.source in placed for e in cell.blocks[i].edges)]
        chosen = ready[int(rng.integers(len(ready)))]
        left.remove(chosen)
        placed[chosen + INPUTS] = len(order) + INPUTS
        order.append(chosen)
    blocks = []
    for index in order:
        edges = [Edge(placed[e.source], e.op) for e in cell.blocks[index].edges]
        if rng.random() < 0.5:
            edges.reverse()
        blocks.append(Block(edges[0], edges[1], cell.blocks[index].combine))
    return Cell(tuple(blocks), tuple(sorted(placed[state] for state in cell.output)))


def test_shuffled_cells_keep_their_key_over_10000_samples() -> None:
    space, rng = NASNetSpace(), np.random.default_rng(1)
    for _ in range(5000):  # two cells each
        pair = space.decode(space.sample(rng))
        for cell in (pair.normal, pair.reduction):
            assert shuffled(cell, rng).canonical() == cell.canonical()


@pytest.mark.parametrize("blocks", [2, 3, 4])
def test_keys_are_equal_exactly_for_isomorphic_cells(blocks: int) -> None:
    # Two operations and few blocks: many pairs are isomorphic, many nearly so.
    space = NASNetSpace(blocks=blocks, ops=("identity", "conv_1x1"))
    rng = np.random.default_rng(blocks)
    cells = [space.decode(space.sample(rng)).normal for _ in range(120)]
    cells += [shuffled(cell, rng) for cell in cells[:20]]
    agreed = 0
    for i, a in enumerate(cells):
        for b in cells[:i]:
            same = a.canonical() == b.canonical()
            if same or nx.faster_could_be_isomorphic(graph_of(a), graph_of(b)):
                assert same == isomorphic(a, b), f"{a}\n--\n{b}"
                agreed += same
    assert agreed >= 20


def test_symmetric_cells_that_colours_alone_cannot_order_keep_their_key() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        # Twins everywhere: one operation, so that only the wiring tells blocks apart.
        blocks = [Block(Edge(0, "identity"), Edge(0, "identity")) for _ in range(4)]
        for index in range(4, 8):
            a, b = (int(rng.integers(2, index + INPUTS)) for _ in range(2))
            blocks.append(Block(Edge(a, "identity"), Edge(b, "identity")))
        cell = Cell.join_leaves(blocks)
        other = shuffled(cell, rng)
        assert cell.canonical() == other.canonical()
        assert isomorphic(cell, other)


def rings(*sizes: int) -> Cell:
    """Blocks that read the input, and as many that read two of them each, so that reads close rings of these sizes.

    Every block looks like every other of its row however far colours are refined: only the rings differ.
    """
    below = sum(sizes)
    blocks = [Block(Edge(0, "identity"), Edge(0, "identity"))] * below
    start = INPUTS
    for size in sizes:
        blocks += [Block(Edge(start + i, "identity"), Edge(start + (i + 1) % size, "identity")) for i in range(size)]
        start += size
    return Cell.join_leaves(blocks)


def test_ties_that_matter_are_broken_in_every_way() -> None:
    rng = np.random.default_rng(0)
    apart, whole = rings(2, 3), rings(5)
    assert not isomorphic(apart, whole)
    assert apart.canonical() != whole.canonical()
    for cell in (apart, whole):
        assert {shuffled(cell, rng).canonical() for _ in range(100)} == {cell.canonical()}


def test_many_equal_blocks_are_spelled_at_once() -> None:
    cell = Cell.join_leaves([Block(Edge(0, "identity"), Edge(0, "identity"))] * 20)
    assert cell.canonical().count("add(") == 20


def test_sharing_a_block_is_not_having_it_twice() -> None:
    block = Block(Edge(0, "conv_1x1"), Edge(1, "conv_1x1"))
    shared = Cell((block, block, Block(Edge(2, "identity"), Edge(2, "identity"))), (4,))
    twice = Cell((block, block, Block(Edge(2, "identity"), Edge(3, "identity"))), (4,))
    assert shared.canonical() != twice.canonical()
    assert not isomorphic(shared, twice)


def test_what_reaches_no_output_leaves_no_trace() -> None:
    block = Block(Edge(0, "conv_1x1"), Edge(1, "identity"))
    dead = Block(Edge(2, "sep_conv_3x3"), Edge(2, "sep_conv_3x3"))
    assert Cell((block, dead), (2,)).canonical() == Cell((block,), (2,)).canonical()


def test_operations_are_not_simplified() -> None:
    through = Cell((Block(Edge(0, "identity"), Edge(0, "identity")),), (2,))
    pooled = Cell((Block(Edge(0, "identity"), Edge(0, "avg_pool_3x3")),), (2,))
    assert through.canonical() != pooled.canonical()


def test_published_cells_keep_their_keys() -> None:
    rng = np.random.default_rng(0)
    for pair in CELLS.values():
        for cell in (pair.normal, pair.reduction):
            assert shuffled(cell, rng).canonical() == cell.canonical()


def test_the_key_of_a_genotype_is_pinned() -> None:
    """Keys stand in histories: if this changes on purpose, raise the schema version of the history."""
    space = NASNetSpace(blocks=2)
    genotype = space.sample(np.random.default_rng(0))
    assert space.key(genotype) == (
        "concat(identity 0,identity 1) concat(max_pool_7x7 1,conv_3x3 2) > 3 | "
        "concat(identity 0,sep_conv_5x5 1) add(max_pool_7x7 0,dil_conv_3x3 2) > 3"
    )


@pytest.mark.parametrize(
    ("spelling", "digest"),
    [
        ("nasnet", "2e2636c6accd30c6"),
        ("nasnet(blocks=8,ops=identity,combines=add)", "575658effaed796c"),  # many ties
        ("amoebanet(ops=identity+max_pool_3x3)", "6f4f79f49c0d845f"),
        ("pnas", "21cacd15f2efd267"),
        ("darts", "010707833f7ffa09"),
    ],
)
def test_keys_are_pinned_and_those_of_the_decoded_cells(spelling: str, digest: str) -> None:
    """A space spells choices, a cell its blocks: the same text. Pinned for the same reason as the one above."""
    space, rng = build_space(spelling), np.random.default_rng(0)
    assert isinstance(space, BlockSpace)
    genotypes = [space.sample(rng) for _ in range(300)]
    keys = [space.key(genotype) for genotype in genotypes]
    for genotype, key in zip(genotypes, keys, strict=True):
        pair = space.decode(genotype)
        assert key == (pair.canonical() if len(space.cells) == 2 else pair.normal.canonical())
    assert hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16] == digest
