"""Readable cells: edges, blocks, a cell, and the pair of a normal and a reduction cell.

Hidden states are numbered from 0: state 0 is h_i, the output of the cell before; state 1 is h_{i-1}, the output of
the cell before that; state 2 + b is the result of block b, counted from 0 (Zoph et al. 2017, section 3.1).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

from genotypes.genotype import GenotypeError, shorten
from genotypes.stacking import STACKINGS

INPUTS = 2
"""Hidden states that a cell is given: h_i is state 0, h_{i-1} is state 1."""

PlainEdge: TypeAlias = tuple[str, int]
"""An edge without its validation: the operation, and the hidden state at the other end."""
PlainBlock: TypeAlias = tuple[PlainEdge, PlainEdge, str]
"""A block without its validation: left, right, combination. A search spells many cells that it never decodes."""

_is_word = lru_cache(re.compile(r"[A-Za-z][A-Za-z0-9_\-]*").fullmatch)


@dataclass(frozen=True, slots=True)
class Edge:
    """One operation applied to one hidden state.

    Raises:
        GenotypeError: if the source is not an index, or the operation is not a plain word.
    """

    source: int
    op: str

    def __post_init__(self) -> None:
        if type(self.source) is not int or self.source < 0:
            raise GenotypeError(f"a hidden state is an integer of at least 0, not {shorten(self.source)}")
        if not isinstance(self.op, str) or not _is_word(self.op):
            raise GenotypeError(f"an operation is a word such as 'sep_conv_3x3', not {shorten(self.op)}")

    def __str__(self) -> str:
        return f"{self.op}({self.source})"


@dataclass(frozen=True, slots=True)
class Block:
    """Two edges whose results are joined by ``combine``: "add" or "concat".

    Raises:
        GenotypeError: if the combination is not a plain word.
    """

    left: Edge
    right: Edge
    combine: str = "add"

    def __post_init__(self) -> None:
        if not isinstance(self.combine, str) or not _is_word(self.combine):
            raise GenotypeError(f"a combination is a word such as 'add', not {shorten(self.combine)}")

    @property
    def edges(self) -> tuple[Edge, Edge]:
        """The left and the right edge."""
        return self.left, self.right

    def __str__(self) -> str:
        return f"{self.combine}({self.left}, {self.right})"


@dataclass(frozen=True, slots=True)
class Cell:
    """Blocks in order, and the states that are concatenated, in ascending order, into the cell's output.

    Block b may read the two inputs and the blocks before it: states 0 to b + 1, so that no loop can exist.
    :meth:`join_leaves` builds a cell by the rule of the paper; published cells bring output lists of their own.

    Raises:
        GenotypeError: if there is no block, a block reads a state that does not exist yet, or the output is
            empty, not ascending, or names a state that the cell does not have.
    """

    blocks: tuple[Block, ...]
    output: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.blocks:
            raise GenotypeError("a cell needs at least one block")
        for index, block in enumerate(self.blocks):
            for edge in (block.left, block.right):
                if edge.source >= index + INPUTS:
                    raise GenotypeError(
                        f"block {index} reads hidden state {edge.source}, but only the states "
                        f"0 to {index + 1} exist before it"
                    )
        states = len(self.blocks) + INPUTS
        if not self.output:
            raise GenotypeError("the output of a cell needs at least one hidden state")
        for state in self.output:
            if type(state) is not int or not 0 <= state < states:
                raise GenotypeError(
                    f"the output names hidden state {shorten(state)}, but the cell has 0 to {states - 1}"
                )
        if list(self.output) != sorted(set(self.output)):
            raise GenotypeError(f"the output must ascend without repeats, not {list(self.output)}")

    @classmethod
    def join_all(cls, blocks: Sequence[Block]) -> Cell:
        """Build a cell whose output is every created state, read or not (Liu et al. 2018, DARTS, section 2.1)."""
        return cls(tuple(blocks), tuple(range(INPUTS, len(blocks) + INPUTS)))

    @classmethod
    def join_leaves(cls, blocks: Sequence[Block]) -> Cell:
        """Build a cell whose output is every created state that no block reads (Zoph et al. 2017, section 3.1)."""
        read = {edge.source for block in blocks for edge in block.edges}
        created = range(INPUTS, len(blocks) + INPUTS)
        return cls(tuple(blocks), tuple(state for state in created if state not in read))

    def canonical(self) -> str:
        """Return a text that is equal for two cells exactly when their labelled graphs are isomorphic.

        The graph has a node for each input, for each block that reaches the output (labelled with its
        combination) and for the output; an edge carries its operation. Left and right, and the order of the
        blocks, leave no trace, neither does a block that reaches no output. Operations are not simplified:
        two equal blocks are two blocks, because they would be trained apart.
        """
        return spell(self._plain(), self.output)

    def live_states(self) -> frozenset[int]:
        """Collect the hidden states, inputs included, from which the output can be reached."""
        live = set(self.output)
        for state in reversed(range(INPUTS, INPUTS + len(self.blocks))):
            if state in live:
                live.update(edge.source for edge in self.blocks[state - INPUTS].edges)
        return frozenset(live)

    def _plain(self) -> list[PlainBlock]:
        return [
            ((block.left.op, block.left.source), (block.right.op, block.right.source), block.combine)
            for block in self.blocks
        ]

    def __str__(self) -> str:
        """Return one line per block, ``2 = add(sep_conv_3x3(0), identity(1))``, and a last one for the output."""
        lines = [f"{index + INPUTS} = {block}" for index, block in enumerate(self.blocks)]
        return "\n".join([*lines, f"output {', '.join(map(str, self.output))}"])

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: ``{"blocks": [{"left": [0, "identity"], "right": ..., "combine": "add"}], ...}``."""
        return {
            "blocks": [
                {
                    "left": [block.left.source, block.left.op],
                    "right": [block.right.source, block.right.op],
                    "combine": block.combine,
                }
                for block in self.blocks
            ],
            "output": list(self.output),
        }

    @classmethod
    def from_json(cls, record: object) -> Cell:
        """Return the cell of the JSON form; without "output", the outputs are the created states that no block reads.

        Raises:
            GenotypeError: if the record has another shape, or the cell cannot exist.
        """
        if not isinstance(record, Mapping) or not set(record) <= {"blocks", "output"} or "blocks" not in record:
            raise GenotypeError('a cell in JSON is {"blocks": [...], "output": [...]}, not ' + shorten(record))
        if not isinstance(record["blocks"], list):
            raise GenotypeError(f'"blocks" must be a list of blocks, not {shorten(record["blocks"])}')
        blocks = tuple(_block_from_json(index, block) for index, block in enumerate(record["blocks"]))
        if "output" not in record:
            return cls.join_leaves(blocks)
        if not isinstance(record["output"], list):
            raise GenotypeError(f'"output" must be a list of hidden states, not {shorten(record["output"])}')
        return cls(blocks, tuple(record["output"]))


@dataclass(frozen=True, slots=True)
class CellPair:
    """A normal cell (stride 1) and a reduction cell (stride 2), as the NASNet space describes them.

    ``stacking`` says how its family of networks stacks them: a name of :data:`genotypes.stacking.STACKINGS`.

    Raises:
        GenotypeError: if there is no such stacking.
    """

    normal: Cell
    reduction: Cell
    stacking: str = "nasnet"

    def __post_init__(self) -> None:
        if self.stacking not in STACKINGS:
            raise GenotypeError(f"there is no stacking {shorten(self.stacking)!r}; there are: {', '.join(STACKINGS)}")

    def canonical(self) -> str:
        """Return a text that is equal exactly for isomorphic pairs; see :meth:`Cell.canonical`."""
        return f"{self.normal.canonical()} | {self.reduction.canonical()}"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: ``{"normal": cell, "reduction": cell}``, and "stacking" where it is not NASNet's."""
        cells = {"normal": self.normal.to_json(), "reduction": self.reduction.to_json()}
        return cells if self.stacking == "nasnet" else {**cells, "stacking": self.stacking}

    @classmethod
    def from_json(cls, record: object) -> CellPair:
        """Read the JSON form.

        Raises:
            GenotypeError: if the record has another shape, or one of the cells cannot exist; it says which.
        """
        if not isinstance(record, Mapping) or set(record) - {"stacking"} != {"normal", "reduction"}:
            raise GenotypeError('a cell pair in JSON is {"normal": {...}, "reduction": {...}}, not ' + shorten(record))
        stacking = record.get("stacking", "nasnet")
        if not isinstance(stacking, str):
            raise GenotypeError(f'"stacking" must be a name, not {shorten(stacking)}')
        cells = {}
        for name in ("normal", "reduction"):
            try:
                cells[name] = Cell.from_json(record[name])
            except GenotypeError as error:
                raise GenotypeError(f"{name} cell: {error}") from None
        return cls(**cells, stacking=stacking)


def _block_from_json(index: int, record: object) -> Block:
    """Read one block of the JSON form; ``index`` is named in the error."""
    if (
        not isinstance(record, Mapping)
        or not {"left", "right"} <= set(record) <= {"left", "right", "combine"}
        or not all(isinstance(record[side], list) and len(record[side]) == 2 for side in ("left", "right"))
    ):
        raise GenotypeError(
            f'block {index} must be {{"left": [state, "op"], "right": [state, "op"], "combine": "add"}}, '
            f"not {shorten(record)}"
        )
    return Block(Edge(*record["left"]), Edge(*record["right"]), record.get("combine", "add"))


def spell(blocks: Sequence[PlainBlock], output: Collection[int]) -> str:
    """Return the canonical text of a cell; see :meth:`Cell.canonical`."""
    readers: dict[int, list[PlainEdge]] = {}  # of a state: by which operation it is read, to make which state
    labels = {}
    for state in range(INPUTS + len(blocks) - 1, INPUTS - 1, -1):
        if state in output or state in readers:  # all others are dead
            (op, source), (other_op, other_source), combine = blocks[state - INPUTS]
            readers.setdefault(source, []).append((op, state))
            readers.setdefault(other_source, []).append((other_op, state))
            labels[state] = combine, state in output
    return min([_spell(blocks, output, colours) for colours in _canonical_orders(blocks, readers, _ranks(labels))])


def _canonical_orders(
    blocks: Sequence[PlainBlock], readers: Mapping[int, list[PlainEdge]], start: dict[int, int]
) -> Iterator[dict[int, int]]:
    """Yield, for every way to break ties that no colour decides, a colour of its own for each live block.

    Colour refinement first; then, while two blocks still share a colour, single one of them out and refine again.
    Blocks with the same reads and readers can be swapped without changing the graph, so that one of them stands
    for all.
    """
    waiting = [start]
    while waiting:
        colours = _refine(blocks, readers, waiting.pop())
        if len(set(colours.values())) == len(colours):
            yield colours
            continue
        distinct = {
            (tuple(sorted(blocks[state - INPUTS][:2])), tuple(sorted(readers.get(state, ())))): state
            for state in _find_shared_colour(colours)
        }
        for chosen in distinct.values():
            waiting.append(_ranks({state: (own, state != chosen) for state, own in colours.items()}))


def _refine(
    blocks: Sequence[PlainBlock], readers: Mapping[int, list[PlainEdge]], colours: dict[int, int]
) -> dict[int, int]:
    """Split the colours of blocks by those of their inputs and of their readers, until nothing splits."""
    while len(set(colours.values())) < len(colours):
        seen = {0: -2, 1: -1, **colours}  # the inputs have colours of their own, below those of the blocks
        labels = {}
        for state, own in colours.items():
            (op, source), (other_op, other_source), _ = blocks[state - INPUTS]
            one, other = (op, seen[source]), (other_op, seen[other_source])
            label: tuple[Any, ...] = (own, one, other) if one < other else (own, other, one)
            if state in readers:
                label += tuple(sorted([(op, seen[reader]) for op, reader in readers[state]]))
            labels[state] = label
        finer = _ranks(labels)
        if finer == colours:
            break
        colours = finer
    return colours


def _spell(blocks: Sequence[PlainBlock], output: Collection[int], colours: Mapping[int, int]) -> str:
    """Write the live blocks in the topological order that takes the smallest colour first."""
    number = {0: 0, 1: 1}
    left = sorted(colours, key=colours.__getitem__)
    words = []
    while left:
        for state in left:
            (op, source), (other_op, other_source), combine = blocks[state - INPUTS]
            if source in number and other_source in number:
                break
        left.remove(state)
        one, other = (number[source], op), (number[other_source], other_op)
        if other < one:
            one, other = other, one
        words.append(f"{combine}({one[1]} {one[0]},{other[1]} {other[0]})")
        number[state] = len(number)
    return f"{' '.join(words)} > {','.join(map(str, sorted([number[state] for state in output])))}".strip()


def _ranks(labels: Mapping[int, Any]) -> dict[int, int]:
    """Replace comparable labels by their ranks: how many labels are smaller."""
    ordered = sorted(labels.values())
    return {state: ordered.index(label) for state, label in labels.items()}


def _find_shared_colour(colours: Mapping[int, int]) -> list[int]:
    """Return the states that share the smallest shared colour."""
    first = next(one for one, other in pairwise(sorted(colours.values())) if one == other)
    return [state for state, colour in colours.items() if colour == first]
