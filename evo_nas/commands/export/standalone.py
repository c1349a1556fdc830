"""A network as one Python file that needs torch alone: the sources of its modules, and its cells and layers as data.

The modules are copied from :mod:`evo_nas.phenotypes` as they stand there, and of the operations only what this network
uses. Parameters have the names that they have in :class:`evo_nas.phenotypes.network.CellNetwork`, so that its weights
fit. An auxiliary classifier, dropout and drop path, which only training needs, are left out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import torch
from torch import nn

from evo_nas.commands.export.python_text import borrow, imports_of, literal, paragraph, statement, text_lines
from evo_nas.phenotypes import cell, network, ops, plan
from evo_nas.phenotypes.blueprint import Blueprint
from evo_nas.phenotypes.network import CellNetwork, UnreadCell
from evo_nas.phenotypes.ops import OPS, SamePool2d
from evo_nas.phenotypes.plan import SMALLEST_IMAGE, output_channels
from genotypes.cell import INPUTS, Cell

_OWN: Final = '''\
class Edge(NamedTuple):
    """An operation on a state of a cell."""

    source: int
    op: str


class Block(NamedTuple):
    """Two edges, and how their results are joined."""

    left: Edge
    right: Edge
    combine: str

    @property
    def edges(self) -> tuple[Edge, Edge]:
        """The left and the right edge."""
        return self.left, self.right


class Cell(NamedTuple):
    """Blocks, and the states that are put out."""

    blocks: tuple[Block, ...]
    output: tuple[int, ...]

{live_states}

def read_cell(record: dict) -> Cell:
    """Return a cell of :data:`CELLS`."""
    blocks = [Block(Edge(*block["left"]), Edge(*block["right"]), block["combine"]) for block in record["blocks"]]
    return Cell(tuple(blocks), tuple(record["output"]))


class DropPath(nn.Identity):
    """The place where a training may leave a path out."""


class Network(nn.Module):
    """The network, made for images of {image}x{image} pixels; any size from {least}x{least} on fits.

    Before weights are loaded they are random, from torch's default generator.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Stem({channels}, {stem}, large={large}, strided={strided})
        self.cells = nn.ModuleList(UnreadCell() if layer is None else self._cell(**layer) for layer in LAYERS)
        self.classifier = nn.Linear({penultimate}, {classes})
        self.apply(_initialize)
{details}
    @staticmethod
    def _cell(cell: str, **options: int | None) -> CellModule:
        return CellModule(read_cell(CELLS[cell]), **options, fits_always={fits_always})

    def forward(self, images: Tensor) -> Tensor:
        """Map images, (n, {channels}, h, w), to logits, (n, {classes})."""
        outputs = self.stem(images)
        for back, cell in zip(BACKS, self.cells, strict=True):
            outputs = [*outputs[-2:], cell(outputs[-1], outputs[-back])]
        return self.classifier(torch.relu(outputs[-1]).mean((2, 3)))


def normalised(images: Tensor) -> Tensor:
    """Bring images, (n, {channels}, h, w) with values in [0, 1], to what the network takes."""
    mean, std = (torch.tensor(values, dtype=images.dtype, device=images.device) for values in (MEAN, STD))
    return (images - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)


def load(path: str) -> Network:
    """Build the network for prediction, with the weights of a safetensors file; it needs the package safetensors."""
    from safetensors.torch import load_file

    network = Network()
    network.load_state_dict({{name: x for name, x in load_file(path).items() if not name.startswith("auxiliary.")}})
    return network.eval()
'''
"""What every file has of its own."""

_ABOUT: Final = """\
A classifier of images, (n, {channels}, h, w), made of {cells} cells{large}: three stacks at {f}, {f2} and {f4} filters,
reduction cells between them (Zoph et al. 2017, figure 2). State 0 of a cell is h_i, the output of the cell before;
state 1 is h_{{i-1}}, that of the cell before it; each block makes a new state.
"""


def standalone(blueprint: Blueprint, genotype: str | None = None) -> str:
    """Write the Python file of a network: classes, constants, and ``load`` for weights that lie in a safetensors file.

    The same blueprint gives the same text.

    Raises:
        GenotypeError: if a cell names an unknown operation or combination.
        ValueError: if the numbers make no network.
    """
    with torch.device("meta"):
        built = blueprint.network()
    planned = built.plan
    large = planned.macro == "imagenet"
    own = _OWN.format(
        live_states=inspect.getsource(Cell.live_states),
        image=blueprint.image,
        least=SMALLEST_IMAGE,
        channels=blueprint.channels,
        stem=planned.stem,
        large=large,
        strided=planned.has_strided_stem,
        penultimate=planned.penultimate,
        classes=len(blueprint.classes),
        fits_always=planned.stacking.fits_always,
        details="".join(f"{line}\n" for line in _details(built)),
    )
    used = "\n".join(_operations(built))
    body = "\n\n".join([*borrow(f"{own}\n{used}", (ops, plan, cell, network)), own])
    about = _ABOUT.format(
        channels=blueprint.channels,
        cells=len(planned.layers),
        large=", with a stem for large images" if large else "",
        f=planned.filters,
        f2=2 * planned.filters,
        f4=4 * planned.filters,
    )
    head = [
        '"""A network of cells for images, as one file that needs torch alone.',
        "",
        *paragraph(" ".join(about.split())),
        "",
        '    network = load("weights.safetensors")',
        "    logits = network(normalised(images))",
        "",
        "Written by `python -m evo_nas export`. The modules are copied from evo_nas, Apache-2.0.",
        '"""',
        "",
    ]
    constants = [*_constants(blueprint, genotype), *_layers(built)]
    # Their padding depends on the size of an image, which nobody knows where a network is traced.
    leaves = [f"fx.wrap({literal(name)})" for name in ("same_conv2d", "same_pool2d") if f"def {name}(" in body]
    end = "\n".join([used, *([""] if leaves else []), *leaves])
    return "\n".join([*head, imports_of(f"{body}\n{end}"), *constants, "", body, "", end, ""])


def _operations(built: CellNetwork) -> Iterator[str]:
    """Write the table of the operations that the network has."""
    cells = {layer.cell for layer, module in zip(built.plan.layers, built.cells, strict=True) if _is_built(module)}
    live = [one.blocks[state - INPUTS] for one in cells for state in one.live_states() if state >= INPUTS]
    names = {edge.op for block in live for edge in block.edges}
    rows = [f"    {literal(name)}: {_maker(OPS[name])}," for name in OPS if name in names]
    yield from ["OPS = {", *rows, "}"] if rows else ["OPS = {}"]


def _maker(make: Callable[..., nn.Module]) -> str:
    """Spell what makes an operation: a function, perhaps with some of its options."""
    if not isinstance(make, partial):
        return make.__name__
    options = [f"{name}={literal(value)}" for name, value in make.keywords.items()]
    return f"partial({', '.join([make.func.__name__, *options])})"


def _is_built(module: nn.Module) -> bool:
    return not isinstance(module, UnreadCell)


def _layers(built: CellNetwork) -> Iterator[str]:
    """Write what each layer is made of, and how they are wired."""
    cells = {1: "normal", 2: "reduction"}
    outputs = list(built.plan.stem_outputs)
    rows: list[dict[str, object] | None] = []
    for layer, module in zip(built.plan.layers, built.cells, strict=True):
        if _is_built(module):
            previous = None if layer.previous is None else outputs[-layer.previous]
            row: dict[str, object] = {"cell": cells[layer.stride], "current": outputs[-1], "previous": previous}
            row |= {"previous_is_larger": layer.previous_is_larger, "filters": layer.filters, "stride": layer.stride}
            rows.append(row)
            outputs.append(output_channels(layer.cell, layer.filters))
        else:
            rows.append(None)
            outputs.append(outputs[-1])
    yield from statement("LAYERS = ", literal(rows))
    yield '"""What makes each cell; nothing makes one that nobody reads."""'
    yield ""
    yield from statement("BACKS = ", literal([layer.back for layer in built.plan.layers]))
    yield '"""How far back from each cell the output lies that it reads as h_{i-1}; h_i is 1 back."""'
    yield ""
    yield f"INPUTS = {INPUTS}"
    yield '"""States of a cell that its blocks do not make."""'
    yield ""


def _details(built: CellNetwork) -> Iterator[str]:
    """Write what a network sets once all its layers are there."""
    modules = list(built.modules())
    (epsilon,) = {module.eps for module in modules if isinstance(module, nn.BatchNorm2d)}
    if epsilon != nn.BatchNorm2d(1, device="meta").eps:
        yield "        for module in self.modules():"
        yield "            if isinstance(module, nn.BatchNorm2d):"
        yield f"                module.eps = {epsilon}"
    if any(pool.pads_zeros for pool in modules if isinstance(pool, SamePool2d)):
        yield "        for module in self.modules():"
        yield "            if isinstance(module, SamePool2d):"
        yield "                module.pads_zeros = module.stride == 2"


def _constants(blueprint: Blueprint, genotype: str | None) -> Iterator[str]:
    classes = blueprint.classes
    if classes == tuple(map(str, range(len(classes)))):
        yield f"CLASSES = tuple(map(str, range({len(classes)})))"
    else:
        yield from statement("CLASSES = ", literal(classes))
    yield '"""The names of the classes, in the order of the logits."""'
    yield ""
    yield f"MEAN = {literal(blueprint.mean)}"
    yield f"STD = {literal(blueprint.std)}"
    yield '"""Mean and standard deviation of each channel, by which images with values in [0, 1] are normalised."""'
    yield ""
    if genotype is not None:
        yield from text_lines("GENOTYPE", genotype)
        yield '"""The genotype, as evo_nas reads it."""'
        yield ""
    yield from statement("CELLS = ", literal(blueprint.cells.to_json()))
    yield '"""The cells, in the JSON form of evo_nas."""'
    yield ""
