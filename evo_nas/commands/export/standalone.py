"""A network as one Python file that needs torch alone, written from its plan.

What networks share, the operations, is copied from :mod:`evo_nas.phenotypes.ops` as it stands there, and only what
this one uses. What is its own is written out: the two cells, the stem, the list of its layers. Parameters have the
names that they have in :class:`evo_nas.phenotypes.network.CellNetwork`, so that its weights fit. An auxiliary
classifier, dropout and drop path, which only training needs, are left out.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import nn

from evo_nas.commands.export.python_text import WIDTH, literal, paragraph, statement
from evo_nas.phenotypes import cell, network, ops
from evo_nas.phenotypes.blueprint import Blueprint
from evo_nas.phenotypes.network import UnreadCell
from evo_nas.phenotypes.ops import OPS, SameConv2d, SamePool2d
from evo_nas.phenotypes.plan import SMALLEST_IMAGE, Layer, Plan, output_channels
from genotypes.cell import INPUTS, Block, Cell, Edge

_BODY: Final = " " * 8
"""How far the body of a method is indented."""

_COMBINED: Final = {
    "add": "Add({left}, {right})",
    "concat": "Concat({left}, {right})",
    "add_layer_norm": "AddNorm({left}, {right}, SumNorm(1, f))",
    "add_instance_norm": "AddNorm({left}, {right}, SumNorm(f, f))",
}
"""How a block of each combination is made, of the classes in :data:`_BLOCKS`."""

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

_LOAD: Final = '''\
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


def standalone(blueprint: Blueprint, genotype: str | None = None) -> str:
    """Write the Python file of a network: classes, constants, and ``load`` for weights that lie in a safetensors file.

    The same blueprint gives the same text.

    Raises:
        GenotypeError: if a cell names an unknown operation or combination.
        ValueError: if the numbers make no network.
    """
    written = _Network(blueprint)
    own = [*written.cells(), written.stem(), written.network(), _LOAD.format(channels=blueprint.channels)]
    body = "\n\n".join([*_borrowed("\n".join(own)), *own])
    return "\n".join([written.docstring(), _imports(body), *_constants(blueprint, genotype), "", body])


@dataclass(frozen=True)
class _Kind:
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


class _Network:
    """The parts of one network, each as the text of its definition."""

    def __init__(self, blueprint: Blueprint) -> None:
        with torch.device("meta"):
            self.built = blueprint.network()
        self.blueprint = blueprint
        self.plan: Plan = self.built.plan
        # Each layer, and whether it is built.
        self.layers: list[tuple[Layer, bool]] = [
            (layer, not isinstance(module, UnreadCell))
            for layer, module in zip(self.plan.layers, self.built.cells, strict=True)
        ]
        self.kinds = {
            stride: _Kind(name, cell, stride, *self._surroundings(stride))
            for stride, name, cell in (
                (1, "NormalCell", blueprint.cells.normal),
                (2, "ReductionCell", blueprint.cells.reduction),
            )
            if any(layer.stride == stride and read for layer, read in self.layers)
        }

    def _surroundings(self, stride: int) -> tuple[bool, bool]:
        layers = [layer for layer, read in self.layers if read and layer.stride == stride]
        return any(layer.previous is None for layer in layers), any(layer.previous_is_larger for layer in layers)

    def docstring(self) -> str:
        """Write the head of the file."""
        plan, blueprint = self.plan, self.blueprint
        large = ", with a stem for large images" if plan.macro == "imagenet" else ""
        f = plan.filters
        words = (
            f"A classifier of images, (n, {blueprint.channels}, h, w), made of {len(plan.layers)} cells{large}: three "
            f"stacks at {f}, {2 * f} and {4 * f} filters, reduction cells between them "
            "(Zoph et al. 2017, figure 2). State 0 of a cell is h_i, the output of the cell before; state 1 is "
            "h_{i-1}, that of the cell before it; each block makes a new state."
        )
        use = ['    network = load("weights.safetensors")', "    logits = network(normalised(images))"]
        return "\n".join(
            [
                '"""A network of cells for images, as one file that needs torch alone.',
                "",
                *paragraph(words),
                "",
                *use,
                "",
                "Written by `python -m evo_nas export`. The operations are copied from evo_nas, Apache-2.0.",
                '"""',
                "",
            ]
        )

    def cells(self) -> Iterator[str]:
        """Write what blocks are, then each cell that is used."""
        combines = {kind.cell.blocks[state - INPUTS].combine for kind in self.kinds.values() for state in kind.created}
        classes = {"Add", *(_COMBINED[combine].partition("(")[0] for combine in combines)} if combines else set()
        yield from (text for name, text in _BLOCKS.items() if name in classes)
        if any(1 in kind.live for kind in self.kinds.values()):
            yield "\n".join(self._fit_previous())
        for kind in self.kinds.values():
            yield "\n".join(self._cell(kind))

    def _fit_previous(self) -> Iterator[str]:
        has_larger = any(kind.reads["previous_is_larger"] for kind in self.kinds.values())
        yield f"def fit_previous(channels: int, filters: int{', is_larger: bool = False' * has_larger}) -> nn.Module:"
        yield '    """Bring h_{i-1}, which has so many channels, to F of them and to the size of h_i."""'
        if has_larger:
            yield "    if is_larger:"
            yield "        return nn.Sequential(nn.ReLU(), FactorizedReduction(channels, filters))"
        if self.plan.stacking.fits_always:
            yield "    return relu_conv_bn(channels, filters)"
        else:
            yield "    return nn.Identity() if channels == filters else relu_conv_bn(channels, filters)"
        yield ""

    def _cell(self, kind: _Kind) -> Iterator[str]:
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
            made = [self._block(kind, cell.blocks[state - INPUTS]) for state in kind.created]
            yield from statement("self.blocks = ", f"nn.ModuleList([{', '.join(made)}])", _BODY)
        if fits := self._fits(kind):
            yield from statement("self.fit_output = ", f"nn.ModuleList([{', '.join(fits)}])", _BODY)
        yield ""
        yield from self._cell_forward(kind)

    def _cell_forward(self, kind: _Kind) -> Iterator[str]:
        cell, fits = kind.cell, self._fits(kind)
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

    def _block(self, kind: _Kind, block: Block) -> str:
        left, right = (self._edge(kind, edge) for edge in block.edges)
        return _COMBINED[block.combine].format(left=left, right=right)

    def _edge(self, kind: _Kind, edge: Edge) -> str:
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

    def _fits(self, kind: _Kind) -> list[str]:
        """Write what brings the inputs that are put out to the cell's size and width; nothing if they have them."""
        fits = [self._fit_output(kind, state) for state in kind.cell.output if state < INPUTS]
        return fits if any(fit != "nn.Identity()" for fit in fits) else []

    def _fit_output(self, kind: _Kind, state: int) -> str:
        width = kind.channels(state)
        if kind.stride == 2:
            return f"FactorizedReduction({width}, f)"
        if width == "f":
            return "nn.Identity()"
        return f"nn.Identity() if {width} == f else nn.Sequential(pointwise({width}, f), nn.BatchNorm2d(f))"

    def stem(self) -> str:
        """Write what comes before the first cell, layer by layer as it was built."""
        stages = [
            f"nn.Sequential({', '.join(_stem_layer(layer) for layer in stage.children())})"
            for stage in self.built.stem.stages
        ]
        two = len(stages) == 2
        halves = {"cifar": "h, w", "imagenet": "h', w'"}[self.plan.macro]
        shape = f"(n, {self.plan.stem}, {halves})"
        lines = [
            "class Stem(nn.Module):",
            f'    """What comes before the first cell{": it makes h_{i-1} and h_i" if two else ""}."""',
            "",
            "    def __init__(self) -> None:",
            "        super().__init__()",
            *statement("self.stages = ", f"nn.ModuleList([{', '.join(stages)}])", _BODY),
            "",
        ]
        if two:
            lines += [
                "    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:",
                f'        """Map images, (n, {self.blueprint.channels}, h, w), to h_{{i-1}} and h_i, {shape} each."""',
                "        previous = self.stages[0](images)",
                "        return previous, self.stages[1](previous)",
            ]
        else:
            lines += [
                "    def forward(self, images: Tensor) -> Tensor:",
                f'        """Map images, (n, {self.blueprint.channels}, h, w), to {shape}."""',
                "        return self.stages[0](images)",
            ]
        return "\n".join([*lines, ""])

    def network(self) -> str:
        """Write the list of layers, and how they are wired."""
        classes = len(self.blueprint.classes)
        size, least = self.blueprint.image, SMALLEST_IMAGE
        lines = [
            "class Network(nn.Module):",
            f'    """The network, made for images of {size}x{size} pixels; any size from {least}x{least} on fits.',
            "",
            "    Before weights are loaded they are random, from torch's default generator.",
            '    """',
            "",
            "    def __init__(self) -> None:",
            "        super().__init__()",
            "        self.stem = Stem()",
            *statement("self.cells = ", f"nn.ModuleList([{', '.join(self._rows())}])", _BODY),
            f"        self.classifier = nn.Linear({self.plan.penultimate}, {classes})",
            "        self.apply(_initialize)",
            *self._details(),
            "",
            "    def forward(self, images: Tensor) -> Tensor:",
            f'        """Map images, (n, {self.blueprint.channels}, h, w), to logits, (n, {classes})."""',
            *self._wiring(),
            "        return self.classifier(torch.relu(current).mean((2, 3)))",
        ]
        return "\n".join([*lines, ""])

    def _rows(self) -> Iterator[str]:
        outputs = list(self.plan.stem_outputs)
        for layer, read in self.layers:
            kind = self.kinds.get(layer.stride)
            if not read or kind is None:
                yield "UnreadCell()"
            else:
                previous = None if layer.previous is None else outputs[-layer.previous]
                values: dict[str, object] = {"current": outputs[-1], "previous": previous, "filters": layer.filters}
                if layer.previous_is_larger:
                    values["previous_is_larger"] = True
                words = [f"{name}={value}" for name, value in values.items() if kind.reads[name]]
                yield f"{kind.name}({', '.join(words)})"
            outputs.append(output_channels(layer.cell, layer.filters) if read else outputs[-1])

    def _details(self) -> Iterator[str]:
        """Write what a network sets once all its layers are there."""
        modules = list(self.built.modules())
        (epsilon,) = {module.eps for module in modules if isinstance(module, nn.BatchNorm2d)}
        pools = [module for module in modules if isinstance(module, SamePool2d)]
        if epsilon != nn.BatchNorm2d(1, device="meta").eps:
            yield "        for module in self.modules():"
            yield "            if isinstance(module, nn.BatchNorm2d):"
            yield f"                module.eps = {epsilon}"
        if any(pool.pads_zeros for pool in pools):
            yield "        for module in self.modules():"
            yield "            if isinstance(module, SamePool2d):"
            yield "                module.pads_zeros = module.stride == 2"

    def _wiring(self) -> Iterator[str]:
        two = len(self.plan.stem_outputs) == 2
        backs = [layer.previous or 1 for layer in self.plan.layers]
        usual = [2 if two else 1, *[2] * (len(backs) - 1)]
        yield f"        previous{', ' if two else ' = '}current = self.stem(images)"
        if backs == usual:
            yield "        for cell in self.cells:"
            yield "            previous, current = current, cell(current, previous)"
            return
        # A few cells read what lies further back.
        yield "        # How far back from each cell the output lies that it reads as h_{i-1}; h_i is 1 back."
        yield from statement("backs = ", literal(backs), _BODY)
        yield "        outputs = [previous, current]"
        yield "        for cell, back in zip(self.cells, backs, strict=True):"
        yield "            current = cell(outputs[-1], outputs[-back])"
        yield "            outputs = [*outputs[-2:], current]"


def _stem_layer(layer: nn.Module) -> str:
    """Write a layer of the stem as it was built."""
    if isinstance(layer, nn.BatchNorm2d):
        return f"nn.BatchNorm2d({layer.num_features})"
    if isinstance(layer, nn.Conv2d):
        name = "SameConv2d" if isinstance(layer, SameConv2d) else "nn.Conv2d"
        bias = "" if name == "SameConv2d" else ", bias=False"
        return f"{name}({layer.in_channels}, {layer.out_channels}, {layer.kernel_size}, {layer.stride}{bias})"
    return f"nn.{type(layer).__name__}()"


def _borrowed(text: str) -> list[str]:
    """Collect the source of what a text names and does not define, and of what this names, in the files' order."""
    known = {
        name: thing
        for file in (ops, cell, network)
        for name, thing in vars(file).items()
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__ == file.__name__
    }
    tree = ast.parse(text)
    own = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    found: dict[str, str] = {}
    waiting = [tree]
    while waiting:
        named = {node.id for node in ast.walk(waiting.pop()) if isinstance(node, ast.Name)}
        for name in (named & known.keys()) - own - found.keys():
            found[name] = inspect.getsource(known[name])
            waiting.append(ast.parse(found[name]))
    return [found[name] for name in known if name in found]


def _imports(text: str) -> str:
    """Write the imports that a text needs."""
    named = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    standard = ["import math", ""] if "math" in named else []
    functional = ["import torch.nn.functional as F"] if "F" in named else []
    lines = ["from __future__ import annotations", "", *standard, "import torch", *functional]
    return "\n".join([*lines, "from torch import Tensor, nn", ""])


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
        yield from _text("GENOTYPE", genotype)
        yield '"""The genotype, as evo_nas reads it."""'
        yield ""
    yield from statement("CELLS = ", literal(blueprint.cells.to_json()))
    yield '"""The cells, in the JSON form of evo_nas."""'
    yield ""


def _text(name: str, text: str) -> Iterator[str]:
    """Assign a text, which may be too long for a line."""
    if len(line := f"{name} = {literal(text)}") <= WIDTH:
        yield line
        return
    step = WIDTH - len('    ""')
    yield f"{name} = ("
    yield from (f"    {literal(text[start : start + step])}" for start in range(0, len(text), step))
    yield ")"
