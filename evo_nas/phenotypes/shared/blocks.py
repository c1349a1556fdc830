"""The weights that networks of cells of blocks share: of an operation on a hidden state, per side of a block."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Final, cast

from evo_nas.phenotypes.cell import BlockModule, CellModule
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.plan import Layer, state_channels
from evo_nas.phenotypes.shared.pieces import Piece, is_of_norm, weights_of, whole
from genotypes.cell import INPUTS, Block, Cell, CellPair, Edge
from genotypes.space import SearchSpace
from genotypes.spaces.blocks import BlockSpace

_PART: Final = re.compile(r"cells\.(\d+)\.(fit_current|fit_previous|blocks)\.(.+)")
_SIDE: Final = re.compile(r"(\d+)\.(left|right)\.(.+)")


def cover_blocks(space: SearchSpace) -> Iterator[CellPair]:
    """Yield pairs of twice the same cell that together have every weight of the space.

    First those with every operation on every state, on both sides of a block, which put all states out. The two sides
    never read the same state, so that every cell reads h_i, and none is left unread. Then those that put one state out:
    h_{i-1} is not fitted where it has the width by chance, and only a cell that puts out more or less has that weight.

    Raises:
        ValueError: if the cells are of a space whose options nobody knows.
    """
    if not isinstance(space, BlockSpace):
        raise ValueError(f"no supernet is known for the cells of the space {space.name}, which is no space of blocks")
    ops = space.ops
    for combine in space.combines:
        for turn in range((space.blocks + 1) * len(ops)):
            blocks = []
            for index in range(space.blocks):
                edges = list(product(range(index + INPUTS), ops))
                left, right = edges[turn % len(edges)], edges[(turn + len(ops)) % len(edges)]
                blocks.append(Block(Edge(*left), Edge(*right), combine))
            yield _twice(Cell.join_all(blocks), space)
        plain = (Block(Edge(0, ops[0]), Edge(1, ops[0]), combine),) * space.blocks
        yield from (_twice(Cell(plain, (INPUTS + index,)), space) for index in range(space.blocks))


def _twice(cell: Cell, space: BlockSpace) -> CellPair:
    return CellPair(cell, cell, space.stacking)


def place_cells(
    network: CellNetwork, cells: CellPair, names: Iterable[str] | None = None
) -> Mapping[str, tuple[Piece, ...]]:
    """Return the pieces of each weight: own ones per cell of the network, block, side, state that is read, operation.

    Or of ``names``, which may be those of batch norms too.

    A state that is concatenated is wider: what reads it has weights of its own. What fits the output of a cell before
    it, and the classifier, have a piece per state in that output.
    """
    layers = network.plan.layers
    outputs: list[tuple[Piece, ...]] = [(Piece("stem", width),) for width in network.plan.stem_outputs]
    for layer in layers:
        outputs.append(_put_out(layer))
    stem = len(outputs) - len(layers)
    pieces = {}
    for name in weights_of(network) if names is None else names:
        found = _PART.fullmatch(name)
        if name == "classifier.weight":
            pieces[name] = _cut(name, outputs[-1])
        elif found is None:
            pieces[name] = whole(name)
        else:
            index, part, rest = int(found[1]), found[2], found[3]
            if part == "blocks":
                pieces[name] = whole(f"cells/{index}/{_name_in_block(network, index, rest)}")
            elif is_of_norm(network, name):
                pieces[name] = whole(name)
            else:
                back = 1 if part == "fit_current" else layers[index].back
                pieces[name] = _cut(name, outputs[stem + index - back])
    return pieces


def _put_out(layer: Layer) -> tuple[Piece, ...]:
    """Return the states in a cell's output, with their widths."""
    return tuple(_state(layer.cell, state, layer.filters) for state in layer.cell.output)


def _state(cell: Cell, state: int, filters: int) -> Piece:
    width = state_channels(cell, state, filters)
    return Piece(f"state{state}" if width == filters else f"state{state}x{width // filters}", width)


def _cut(name: str, read: Sequence[Piece]) -> tuple[Piece, ...]:
    """Return the pieces of a weight whose input channels are these states."""
    (weight,) = whole(name)
    return tuple(Piece(f"{weight.name}/{state.name}", state.channels) for state in read)


def _name_in_block(network: CellNetwork, index: int, rest: str) -> str:
    """Return the name of a weight in a block, given what follows ``cells.INDEX.blocks.`` in the network's own."""
    module = cast("CellModule", network.cells[index])
    layer = network.plan.layers[index]
    found = _SIDE.fullmatch(rest)
    place = int(rest.partition(".")[0])
    block = cast("BlockModule", module.blocks[place]).block
    number = module.created[place] - INPUTS
    if found is None:  # the norm after a combination
        return f"block{number}/{block.combine}/{rest.partition('.')[2]}"
    edge = block.left if found[2] == "left" else block.right
    read = f"state{edge.source}" if edge.source < INPUTS else _state(layer.cell, edge.source, layer.filters).name
    return f"block{number}/{found[2]}/{read}/{edge.op}/{found[3]}"
