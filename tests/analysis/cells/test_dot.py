import re

import numpy as np
import pytest

from analysis.cells.dot import pair_dot
from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.operations import COMBINES, OPERATIONS
from genotypes.spaces.nasnet import NASNetSpace
from genotypes.zoo import CELLS

PAIRS = list(CELLS.values())
SPACE = NASNetSpace(ops=tuple(OPERATIONS), combines=tuple(COMBINES))
PAIRS += [SPACE.decode(SPACE.sample(np.random.default_rng(seed))) for seed in range(20)]


def read(text: str) -> tuple[dict[str, str], list[tuple[str, ...]]]:
    """Read the nodes with their labels and the paths of edges."""
    nodes = dict(re.findall(r'^ +(\w+) \[label="([^"]*)"', text, flags=re.MULTILINE))
    paths = [tuple(line.split(" -> ")) for line in re.findall(r"^ +(\w+(?: -> \w+)+);$", text, flags=re.MULTILINE)]
    return nodes, paths


@pytest.mark.parametrize("pair", PAIRS)
def test_the_graph_has_the_edges_of_the_cells(pair: CellPair) -> None:
    nodes, paths = read(pair_dot(pair))
    assert {node for path in paths for node in path} <= nodes.keys()
    for name, cell in (("normal", pair.normal), ("reduction", pair.reduction)):
        expected: list[tuple[str, ...]] = [(f"{name}_{state}", f"{name}_output") for state in cell.output]
        for state, block in enumerate(cell.blocks, start=2):
            for side, edge in (("left", block.left), ("right", block.right)):
                expected.append((f"{name}_{edge.source}", f"{name}_{state}_{side}", f"{name}_{state}"))
                sizes = re.findall(r"\d+x\d+", edge.op)
                assert all(size.replace("x", "×") in nodes[f"{name}_{state}_{side}"] for size in sizes)
        assert sorted(path for path in paths if path[0].startswith(name)) == sorted(expected)


def test_braces_and_quotes_are_closed() -> None:
    text = pair_dot(PAIRS[0])
    assert text.count("{") == text.count("}") == 3
    assert all(line.count('"') % 2 == 0 for line in text.splitlines())


def test_what_reaches_no_output_is_dashed() -> None:
    dead = Cell(
        (Block(Edge(0, "identity"), Edge(0, "conv_1x1")), Block(Edge(0, "identity"), Edge(0, "conv_1x1"))), (2,)
    )
    lines = pair_dot(CellPair(dead, dead)).splitlines()
    dashed = {line.split()[0] for line in lines if "dashed" in line}
    assert {name for name in dashed if name.startswith("normal")} == {
        "normal_1",
        "normal_3",
        "normal_3_left",
        "normal_3_right",
    }
