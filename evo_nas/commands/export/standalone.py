"""A network as one Python file that needs torch alone, written from its plan.

What networks share, the operations, is copied from :mod:`evo_nas.phenotypes.ops` as it stands there, and only what
this one uses. What is its own is written out: the two cells, the stem, the list of its layers. Parameters have the
names that they have in :class:`evo_nas.phenotypes.network.CellNetwork`, so that its weights fit. An auxiliary
classifier, dropout and drop path, which only training needs, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import nn

from evo_nas.commands.export.cell_text import CellKind, block_classes, cell_lines, fit_previous_lines
from evo_nas.commands.export.python_text import borrow, imports_of, literal, paragraph, statement, text_lines
from evo_nas.phenotypes import cell, network, ops
from evo_nas.phenotypes.blueprint import Blueprint
from evo_nas.phenotypes.network import UnreadCell
from evo_nas.phenotypes.ops import SameConv2d, SamePool2d
from evo_nas.phenotypes.plan import SMALLEST_IMAGE, Layer, Plan, output_channels

_BODY: Final = " " * 8
"""Indentation of the body of a method."""

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
    body = "\n\n".join([*borrow("\n".join(own), (ops, cell, network)), *own])
    return "\n".join([written.docstring(), imports_of(body), *_constants(blueprint, genotype), "", body])


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
            stride: CellKind(name, cell, stride, *self._surroundings(stride))
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
        kinds = self.kinds.values()
        yield from block_classes(kinds)
        if any(1 in kind.live for kind in kinds):
            yield "\n".join(fit_previous_lines(kinds, fits_always=self.plan.stacking.fits_always))
        for kind in kinds:
            yield "\n".join(cell_lines(kind))

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
