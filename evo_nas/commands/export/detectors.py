"""A detector as one Python file that needs torch and torchvision alone, with the function that decodes its outputs."""

from __future__ import annotations

from typing import Final

from evo_nas.commands.export.standalone import TAIL, borrow, spell, write_constants
from evo_nas.errors import UsageError
from evo_nas.phenotypes import backbones, boxes, detector, neck, resnet
from evo_nas.phenotypes.blueprint import DetectorBlueprint
from evo_nas.phenotypes.named import read_resnet
from genotypes.genotype import shorten
from genotypes.pyramid import LEVELS, Pyramid

_HEAD: Final = '''\
"""A detector of objects in images, (n, {channels}, {canvas}, {canvas}): backbone, neck, and the head of RetinaNet.

    network = load("weights.safetensors")
    for found in network.detect(normalised(images)):
        print(found.boxes, found.labels, found.scores)

Called, the network gives raw outputs: logits, (n, A, classes), and moves of the A anchors, (n, A, 4).

Written by `python -m evo_nas export`. What follows the constants is copied from evo_nas, Apache-2.0.
"""
'''

_IMPORTS: Final = """\
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image
"""

_DATA: Final = '''\
LEVELS = {levels}
TAPS = {taps}
EPSILON = {epsilon}
PRIOR = {prior}
_LARGEST_LOG = math.log(1000 / 16)


class UsageError(ValueError):
    """The sizes do not suit each other."""


class Merge(NamedTuple):
    """The level of a merging cell, how it combines its inputs, and these, the coarser one first."""

    level: int
    combine: str
    inputs: tuple[int, int]


class Pyramid(NamedTuple):
    """Merging cells, the extra inputs of each, the level of each feature, and the features that leave."""

    merges: list[Merge]
    extras: list[list[int]]
    feature_levels: list[int]
    outputs: list[int]

    def order_inputs(self, index: int) -> tuple[int, int]:
        """Return the inputs of a merging cell, the coarser one first."""
        return self.merges[index].inputs
'''

_NETWORK: Final = '''\
class Network(nn.Module):
    """The detector, for images of {canvas}x{canvas} pixels.

    Before weights are loaded they are random, from torch's default generator.
    """

    anchors: Tensor

    def __init__(self) -> None:
        super().__init__()
        strides = {strides}
        self.backbone = StagedBackbone({widths}, {blocks}, channels={channels}, strides=strides[:TAPS], stem={stem})
        self.neck = {neck}
        self.head = RetinaHead({width}, len(CLASSES), 3, {depth})
        self.register_buffer("anchors", make_anchors({canvas}, strides), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the classes, (n, A, classes), and the moves of the anchors, (n, A, 4)."""
        return self.head(self.neck(self.backbone(images)))

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Detections]:
        """Return what is found in each image: boxes in pixels, labels as indices of CLASSES, scores in [0, 1]."""
        return select_detections(*self(images), self.anchors, {canvas})
'''


def write_detector(blueprint: DetectorBlueprint, genotype: str | None = None) -> str:
    """Write the Python file of a detector: constants, classes, and ``load`` for weights of a safetensors file.

    The same blueprint gives the same text.

    Raises:
        UsageError: if the backbone is not one of stages, so that its code is another package's.
    """
    widths, blocks, stem = _read_stages(blueprint.backbone)
    numbers = {"canvas": blueprint.image, "channels": blueprint.channels, "width": blueprint.width}
    network = _NETWORK.format(
        **numbers,
        widths=widths,
        blocks=blocks,
        stem=stem,
        depth=blueprint.depth,
        strides=blueprint.ghost().strides,
        neck=_spell_neck(blueprint),
    )
    data = _DATA.format(
        levels=LEVELS, taps=backbones.TAPS, epsilon=neck.EPSILON, prior=detector.PRIOR
    ) + _spell_pyramid(blueprint)
    known = f'\n\nGENOTYPE = {spell(genotype)}\n"""The genotype, as evo_nas reads it."""' if genotype else ""
    parts = [
        f"{_HEAD.format(**numbers)}\n{_IMPORTS}\n{write_constants(blueprint)}{known}",
        data,
        *borrow(network, (boxes, resnet, backbones, neck, detector)),
        network,
        TAIL.format(network="Network", kind="Network", tensors="load_file(path)", channels=blueprint.channels),
    ]
    return "\n\n".join(parts)


def _read_stages(name: str) -> tuple[list[int], int, int | None]:
    """Return the widths of the stages of a backbone, the blocks of each (0 for a convolution), and its stem.

    Raises:
        UsageError: if it is not one of stages.
    """
    kind, _, rest = backbones.STAGED.get(name, name).partition(":")
    if kind == "resnet":
        depth, filters = read_resnet(rest)
        return [filters << stage for stage in range(backbones.TAPS)], (depth - 2) // 6, None
    if kind not in ("residual", "plain"):
        raise UsageError(
            f"a detector with the backbone {shorten(name)} is no single file of Python: write torch or onnx"
        )
    widths, _, blocks = rest.partition("x")
    stem = 16 if name in backbones.STAGED else None
    return list(map(int, widths.split("+"))), int(blocks or 1) if kind == "residual" else 0, stem


def _spell_pyramid(blueprint: DetectorBlueprint) -> str:
    design = blueprint.neck
    if not isinstance(design, Pyramid):
        return ""
    merges = [
        f"    Merge({merge.level}, {spell(merge.combine)}, {design.order_inputs(index)}),"
        for index, merge in enumerate(design.merges)
    ]
    extras = [list(extra) for extra in design.extras]
    text = "\n".join(["MERGES = [", *merges, "]"])
    return f"\n\n{text}\n\nPYRAMID = Pyramid(MERGES, {extras}, {list(design.feature_levels)}, {list(design.outputs)})\n"


def _spell_neck(blueprint: DetectorBlueprint) -> str:
    if isinstance(blueprint.neck, Pyramid):
        return f"NASFPN(PYRAMID, self.backbone.widths, {blueprint.width}, {blueprint.repeats})"
    return f"{'FPN' if blueprint.neck == 'fpn' else 'Projections'}(self.backbone.widths, {blueprint.width})"
