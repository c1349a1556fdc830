"""A network as one Python file that needs torch alone: our own modules, and as data what this network is.

Whatever the network needs of :mod:`evo_nas.phenotypes` is copied as it stands there, so that parameters have the same
names and outputs are the same; tools that trace a network, as torch.fx does, can take it. An auxiliary classifier,
dropout and the schedule of drop path, which only training needs, are left out.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Final

from torch import nn

from evo_nas.phenotypes import cell, network, ops, plan
from evo_nas.phenotypes.blueprint import Blueprint, CellBlueprint
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.plan import SMALLEST_IMAGE
from genotypes.cell import INPUTS, Block, Cell

_WIDTH: Final = 100
"""Where an expression is broken into lines; what stands around it may take 20 columns more."""

_HEAD: Final = '''\
"""A classifier of images, (n, {channels}, h, w), made of {cells} cells.

Three stacks at F = {filters}, 2F and 4F filters, with reduction cells between them (Zoph et al. 2017, figure 2).

    network = load("weights.safetensors")
    logits = network(normalised(images))

Written by `python -m evo_nas export`. What follows the constants is copied from evo_nas, Apache-2.0.
"""
'''

_IMPORTS: Final = """\
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
"""

_CONSTANTS: Final = '''\
CLASSES = {classes}
"""The names of the classes, in the order of the logits."""

MEAN = {mean}
STD = {std}
"""Mean and standard deviation of each channel, by which images with values in [0, 1] are normalised."""
'''

_CELL: Final = '''\
CELLS = {pair}
"""The cells, in the JSON form of evo_nas."""

INPUTS = {inputs}
"""States that a cell is given: 0 is h_i, the output of the cell before; 1 is h_{{i-1}}, that of the one before."""


class Edge(NamedTuple):
    """An operation, and the state of the cell that it is applied to."""

    source: int
    op: str


class Block(NamedTuple):
    """Two edges, and how their results are joined to a new state."""

    left: Edge
    right: Edge
    combine: str

{edges}

class Cell(NamedTuple):
    """Blocks in order, and the states that are concatenated into the output."""

    blocks: list[Block]
    output: list[int]

{live_states}'''

_NETWORK: Final = '''\
OPS = {ops}
"""Name -> a function of the channels, the filters and the stride that makes the operation."""

NORMAL, REDUCTION = (
    Cell(
        [Block(Edge(*block["left"]), Edge(*block["right"]), block["combine"]) for block in CELLS[name]["blocks"]],
        CELLS[name]["output"],
    )
    for name in ("normal", "reduction")
)

LAYERS = [
    # The cell, filters, stride, how far back h_{{i-1}} lies, and whether it is larger than h_i.
{layers}
]


class Network(nn.Module):
    """The network, made for images of {image}x{image} pixels; any size from {least}x{least} on fits.

    Before weights are loaded they are random, from torch's default generator.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Stem({stem})
        self.cells, outputs = build_cells(LAYERS, {stem_outputs}, {fits_always})
        self.classifier = nn.Linear(outputs[-1], len(CLASSES))
        settle(self, {epsilon}, "{average}")

    def forward(self, images: Tensor) -> Tensor:
        """Map images, (n, {channels}, h, w), to logits, (n, classes)."""
        outputs = self.stem(images)
        for layer, cell in zip(LAYERS, self.cells, strict=True):
            outputs = [*outputs[-2:], cell(outputs[-1], outputs[-layer.back])]
        return self.classifier(torch.relu(outputs[-1]).mean((2, 3)))
'''

TAIL: Final = '''\
def normalised(images: Tensor) -> Tensor:
    """Bring images, (n, {channels}, h, w) with values in [0, 1], to what the network takes."""
    mean, std = (torch.tensor(values, dtype=images.dtype, device=images.device) for values in (MEAN, STD))
    return (images - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)


def load(path: str) -> {kind}:
    """Build the network for prediction, with the weights of a safetensors file; it needs the package safetensors."""
    from safetensors.torch import load_file

    network = {network}()
    network.load_state_dict({tensors})
    return network.eval()
'''


_OWN_TENSORS: Final = '{name: x for name, x in load_file(path).items() if not name.startswith("auxiliary.")}'


def standalone(blueprint: CellBlueprint, genotype: str | None = None) -> str:
    """Write the Python file of a network: constants, classes, and ``load`` for weights that lie in a safetensors file.

    The same blueprint gives the same text.

    Raises:
        GenotypeError: if a cell names an unknown operation or combination.
        ValueError: if the numbers make no network.
    """
    built = blueprint.ghost()
    head = _HEAD.format(channels=blueprint.channels, cells=len(built.plan.layers), filters=blueprint.filters)
    spelled = f"GENOTYPE = {spell(genotype)}"
    long = "  # noqa: E501" if len(spelled) > _WIDTH + 20 else ""
    known = f'{spelled}{long}\n"""The genotype, as evo_nas reads it."""\n\n' if genotype is not None else ""
    imports, body = write_cells(blueprint, built)
    tail = TAIL.format(network="Network", kind="Network", tensors=_OWN_TENSORS, channels=blueprint.channels)
    return f"{head}\n{imports}\n{write_constants(blueprint)}\n{known}{body}\n\n{tail}"


def write_constants(blueprint: Blueprint) -> str:
    """Return what is known of the images, as constants."""
    count = len(blueprint.classes)
    are_numbers = blueprint.classes == tuple(map(str, range(count)))
    return _CONSTANTS.format(
        classes=f"tuple(map(str, range({count})))" if are_numbers else spell(blueprint.classes),
        mean=spell(blueprint.mean),
        std=spell(blueprint.std),
    )


def write_cells(blueprint: CellBlueprint, built: CellNetwork) -> tuple[str, str]:
    """Return the imports of a network of cells, and its classes, of which ``Network`` is the last."""
    own = _network(blueprint, built)
    data = _CELL.format(
        pair=spell(blueprint.cells.to_json()),
        inputs=INPUTS,
        edges=inspect.getsource(Block.edges.fget),  # type: ignore[attr-defined]
        live_states=inspect.getsource(Cell.live_states),
    )
    body = "\n\n".join([data, *borrow(data + own, (ops, plan, cell, network)), own])
    imports = _IMPORTS if "partial(" in body else _IMPORTS.replace("from functools import partial\n", "")
    return imports, body


def _network(blueprint: CellBlueprint, built: CellNetwork) -> str:
    """Write the network: its operations, its layers and how they are wired."""
    planned, pair = built.plan, blueprint.cells
    large = planned.macro == "imagenet"
    live = {
        edge.op
        for one in (pair.normal, pair.reduction)
        for state in one.live_states()
        if state >= INPUTS
        for edge in one.blocks[state - INPUTS].edges
    }
    rows = (
        f"{'NORMAL' if layer.stride == 1 else 'REDUCTION'}, {layer.filters}, {layer.stride}, {layer.previous}, "
        f"{layer.previous_is_larger}"
        for layer in planned.layers
    )
    return _NETWORK.format(
        ops="\n".join(["{", *(f"    {spell(name)}: {_maker(name)}," for name in ops.OPS if name in live), "}"])
        if live
        else "{}",
        layers="\n".join(f"    Layer({row})," for row in rows),
        image=blueprint.image,
        least=SMALLEST_IMAGE,
        stem=f"{blueprint.channels}, {planned.stem}, large={large}, strided={planned.has_strided_stem}",
        stem_outputs=planned.stem_outputs,
        fits_always=planned.stacking.fits_always,
        epsilon=next(module.eps for module in built.modules() if isinstance(module, nn.BatchNorm2d)),
        average=blueprint.average,
        channels=blueprint.channels,
    )


def _maker(name: str) -> str:
    """Spell the function that makes an operation."""
    make = ops.OPS[name]
    if not isinstance(make, partial):
        return make.__name__
    return (
        f"partial({make.func.__name__}, {', '.join(f'{key}={spell(value)}' for key, value in make.keywords.items())})"
    )


def borrow(text: str, files: Sequence[ModuleType]) -> list[str]:
    """Return the source of what a text names and does not define, and of what this names, in the files' order."""
    known = {
        name: thing
        for file in files
        for name, thing in vars(file).items()
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__ == file.__name__
    }
    found: dict[str, str] = {}
    waiting = [text]
    while waiting:
        named = {node.id for node in ast.walk(ast.parse(waiting.pop())) if isinstance(node, ast.Name)}
        for name in (named & known.keys()) - found.keys():
            found[name] = inspect.getsource(known[name])
            waiting.append(found[name])
    return [found[name] for name in known if name in found]


def spell(value: object, indent: str = "") -> str:
    """Spell a value as Python, item by item if it is too long for a line; text, which can be anything, is escaped."""
    inner = indent + "    "
    match value:
        case dict():
            items, brackets = [f"{spell(key)}: {spell(item, inner)}" for key, item in value.items()], "{}"
        case list() | tuple():
            items, brackets = [spell(item, inner) for item in value], "[]" if isinstance(value, list) else "()"
        case str() if '"' not in value:
            return '"' + repr("'" + value)[2:]  # repr takes double quotes for a text with a single one
        case _:
            return repr(value)
    line = ", ".join(items) + ("," if isinstance(value, tuple) and len(items) == 1 else "")
    if len(indent + line) <= _WIDTH and "\n" not in line:
        return brackets[0] + line + brackets[1]
    return "\n".join([brackets[0], *(f"{inner}{item}," for item in items), indent + brackets[1]])
