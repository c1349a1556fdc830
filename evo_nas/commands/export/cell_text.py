"""The cells of a network as Python: a class per cell, written out block by block."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from evo_nas.commands.export.python_text import literal, paragraph, statement
from evo_nas.phenotypes.ops import OPS
from evo_nas.phenotypes.plan import output_channels
from genotypes.cell import INPUTS, Block, Cell, Edge

_BODY: Final = " " * 8
"""Indentation of the body of a method."""

_COMBINED: Final = {
    "add": "Add({left}, {right})",
    "concat": "Concat({left}, {right})",
    "add_layer_norm": "AddNorm({left}, {right}, SumNorm(1, f))",
    "add_instance_norm": "AddNorm({left}, {right}, SumNorm(f, f))",
}
"""Source of a block of each combination, made of the classes in :data:`_BLOCKS`."""

_BLOCKS: Final = {
    "Add": '''\
class Add(nn.Module):
    """A block: two operations, each on a state of the cell, and the sum of what they give.

    What training may drop, to leave a whole path out, is an ``nn.Sequential``; an identity is not.
    """

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Map two states, (n, c, h, w), to a new one, (n, F, h', w')."""
        return self.left(left) + self.right(right)
''',
    "Concat": '''\
class Concat(Add):
    """A block that concatenates what its two operations give."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Map two states, (n, c, h, w), to a new one, (n, 2F, h', w')."""
        return torch.cat([self.left(left), self.right(right)], dim=1)
''',
    "AddNorm": '''\
class AddNorm(Add):
    """A block that norms the sum of what its two operations give."""

    def __init__(self, left: nn.Module, right: nn.Module, norm: nn.Module) -> None:
        super().__init__(left, right)
        self.norm = norm

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Map two states, (n, c, h, w), to a new one, (n, F, h', w')."""
        return self.norm(self.left(left) + self.right(right))
''',
}


@dataclass(frozen=True)
class CellKind:
    """One of the two cells: what all the layers that are made of it have in common.

    ``is_first`` says that one of them has no h_{i-1}, ``follows_reduction`` that one has a larger h_{i-1}.
    """

    name: str
    cell: Cell
    stride: int
    is_first: bool
    follows_reduction: bool

    @property
    def live(self) -> frozenset[int]:
        """The states that the output needs."""
        return self.cell.live_states()

    @property
    def created(self) -> list[int]:
        """The states that blocks make and that are needed."""
        return [state for state in sorted(self.live) if state >= INPUTS]

    @property
    def reads(self) -> dict[str, bool]:
        """The arguments of the cell, and whether it needs them."""
        return {
            "current": 0 in self.live or (1 in self.live and self.is_first),
            "previous": 1 in self.live,
            "filters": True,
            "previous_is_larger": 1 in self.live and self.follows_reduction,
        }

    def channels(self, state: int) -> str:
        """Spell the channels of a state at F filters, as the cell's constructor names them."""
        if state == 1 and self.is_first:
            return "p"
        return "2 * f" if state >= INPUTS and self.cell.blocks[state - INPUTS].combine == "concat" else "f"


def block_classes(kinds: Collection[CellKind]) -> Iterator[str]:
    """Write the classes of those blocks that the cells have."""
    combines = {kind.cell.blocks[state - INPUTS].combine for kind in kinds for state in kind.created}
    classes = {"Add", *(_COMBINED[combine].partition("(")[0] for combine in combines)} if combines else set()
    yield from (text for name, text in _BLOCKS.items() if name in classes)


def fit_previous_lines(kinds: Collection[CellKind], *, fits_always: bool) -> Iterator[str]:
    """Write the function that brings h_{i-1} to the size and width of h_i."""
    has_larger = any(kind.reads["previous_is_larger"] for kind in kinds)
    yield f"def fit_previous(channels: int, filters: int{', is_larger: bool = False' * has_larger}) -> nn.Module:"
    yield '    """Bring h_{i-1}, which has so many channels, to F of them and to the size of h_i."""'
    if has_larger:
        yield "    if is_larger:"
        yield "        return nn.Sequential(nn.ReLU(), FactorizedReduction(channels, filters))"
    if fits_always:
        yield "    return relu_conv_bn(channels, filters)"
    else:
        yield "    return nn.Identity() if channels == filters else relu_conv_bn(channels, filters)"
    yield ""


def cell_lines(kind: CellKind) -> Iterator[str]:
    """Write the class of a cell."""
    cell, live = kind.cell, kind.live
    names = [name for name, needed in kind.reads.items() if needed]
    types = {"previous": "int | None" if kind.is_first else "int", "previous_is_larger": "bool = False"}
    signature = ", ".join(["self", *(f"{name}: {types.get(name, 'int')}" for name in names)])
    what = "normal cell, which keeps" if kind.stride == 1 else "reduction cell, which halves"
    counted = {"current": "h_i", "previous": "h_{i-1}"}
    told = [f"``{name}`` are the channels of {counted[name]}" for name in counted if name in names]
    if kind.is_first and 1 in live:
        told[-1] += ", or ``None`` where h_i stands in for it, as it is"
    if "previous_is_larger" in names:
        told.append("``previous_is_larger`` says that a reduction lies between the two")
    yield f"class {kind.name}(nn.Module):"
    yield f'    """The {what} the size of images; its states have F channels, ``filters``.'
    yield ""
    if told:
        sentences = "; ".join(told)
        yield from paragraph(f"{sentences}.", "    ")
    yield '    """'
    yield ""
    yield f"    def __init__({signature}) -> None:"
    yield "        super().__init__()"
    yield "        f = filters"
    if kind.is_first and 1 in live:
        yield "        p = current if previous is None else f  # channels of state 1"
    if 0 in live:
        yield "        self.fit_current = relu_conv_bn(current, f)"
    if 1 in live:
        is_larger = ", previous_is_larger" if kind.follows_reduction else ""
        fitted = f"fit_previous(previous, f{is_larger})"
        fitted = f"nn.Identity() if previous is None else {fitted}" if kind.is_first else fitted
        yield f"        self.fit_previous = {fitted}"
    if kind.created:
        made = [_block(kind, cell.blocks[state - INPUTS]) for state in kind.created]
        yield from statement("self.blocks = ", f"nn.ModuleList([{', '.join(made)}])", _BODY)
    if fits := _fits(kind):
        yield from statement("self.fit_output = ", f"nn.ModuleList([{', '.join(fits)}])", _BODY)
    yield ""
    yield from _cell_forward(kind)


def _cell_forward(kind: CellKind) -> Iterator[str]:
    cell, fits = kind.cell, _fits(kind)
    size = "h, w" if kind.stride == 1 else "ceil(h / 2), ceil(w / 2)"
    width = output_channels(cell, 1)
    shape = f"(n, {width if width > 1 else ''}F, {size})"
    yield "    def forward(self, current: Tensor, previous: Tensor) -> Tensor:"
    yield f'        """Map h_i, (n, c, h, w), and h_{{i-1}} to {shape}."""'
    if 0 in kind.live:
        yield "        s0 = self.fit_current(current)"
    if 1 in kind.live:
        yield "        s1 = self.fit_previous(previous)"
    for index, state in enumerate(kind.created):
        block = cell.blocks[state - INPUTS]
        left, right = (f"s{edge.source}" for edge in block.edges)
        yield f"        s{state} = self.blocks[{index}]({left}, {right})  # {block}"
    outputs = [
        f"self.fit_output[{index}](s{state})" if fits and state < INPUTS else f"s{state}"
        for index, state in enumerate(cell.output)
    ]
    yield from statement("return ", f"torch.cat([{', '.join(outputs)}], dim=1)", _BODY)
    yield ""


def _block(kind: CellKind, block: Block) -> str:
    left, right = (_edge(kind, edge) for edge in block.edges)
    return _COMBINED[block.combine].format(left=left, right=right)


def _edge(kind: CellKind, edge: Edge) -> str:
    """Write one operation, after the fit of a concatenated state to F channels."""
    stride = kind.stride if edge.source < INPUTS else 1
    width = kind.channels(edge.source)
    fit = "" if edge.source < INPUTS or width == "f" else f"*relu_conv_bn({width}, f), "
    make = OPS[edge.op]
    function, options = (make.func, make.keywords) if isinstance(make, partial) else (make, {})
    words = ["f" if fit else width, "f", str(stride)]
    words += [f"{key}={literal(value)}" for key, value in options.items()]
    op = f"{function.__name__}({', '.join(words)})"
    # Named as in a network that may drop paths, where only what is spared stands by itself.
    spared = edge.op == "identity" or (edge.op == "skip_connect" and stride == 1 and words[0] == "f")
    return op if spared and not fit else f"nn.Sequential({fit}{op})"


def _fits(kind: CellKind) -> list[str]:
    """Write what brings the inputs that are put out to the cell's size and width; nothing if they have them."""
    fits = [_fit_output(kind, state) for state in kind.cell.output if state < INPUTS]
    return fits if any(fit != "nn.Identity()" for fit in fits) else []


def _fit_output(kind: CellKind, state: int) -> str:
    width = kind.channels(state)
    if kind.stride == 2:
        return f"FactorizedReduction({width}, f)"
    if width == "f":
        return "nn.Identity()"
    return f"nn.Identity() if {width} == f else nn.Sequential(pointwise({width}, f), nn.BatchNorm2d(f))"
