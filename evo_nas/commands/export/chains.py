"""A network of a chain of blocks as one Python file that needs torch alone."""

from __future__ import annotations

from typing import Final

from evo_nas.commands.export.standalone import TAIL, borrow, spell, write_constants
from evo_nas.phenotypes import shufflenet
from evo_nas.phenotypes.blueprint import ChainBlueprint

_HEAD: Final = '''\
"""A classifier of images, (n, {channels}, h, w), made of a chain of {blocks} blocks of ShuffleNetV2 and Xception.

Chen et al. 2019, DetNAS; Guo et al. 2019, single path one-shot.

    network = load("weights.safetensors")
    logits = network(normalised(images))

Written by `python -m evo_nas export`. What follows the constants is copied from evo_nas, Apache-2.0.
"""
'''

_IMPORTS: Final = """\
import torch
from torch import Tensor, nn
"""

_NETWORK: Final = '''\
BLOCKS = [
{blocks}
]
"""Name, channels that come in and go out, and stride of each block."""


class Network(nn.Module):
    """Made for images of {image}x{image} pixels; its weights are random before some are loaded."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(
            nn.Conv2d({channels}, {stem}, 3, {stride}, 1, bias={bias}), nn.BatchNorm2d({stem}), nn.ReLU()
        )
        blocks = nn.ModuleList(ShuffleUnit(*block, shuffle={shuffle}) for block in BLOCKS)
        self.trunk = nn.ModuleDict({{"stem": stem, "blocks": blocks}})
        last = nn.Sequential(nn.Conv2d({width}, {last}, 1, bias={bias}), nn.BatchNorm2d({last}), nn.ReLU())
        self.head = nn.ModuleDict({{"last": last, "classifier": nn.Linear({last}, len(CLASSES), bias={bias})}})

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (n, classes)."""
        features = self.trunk["stem"](images)
        for block in self.trunk["blocks"]:
            features = block(features)
        return self.head["classifier"](self.head["last"](features).mean((2, 3)))
'''


def write_chain(blueprint: ChainBlueprint, genotype: str | None = None) -> str:
    """Write the Python file of a network: constants, classes, and ``load`` for weights that lie in a safetensors file.

    The same blueprint gives the same text.
    """
    chain, size = blueprint.chain, blueprint.chain.size
    rows = [
        f"    ({spell(block)}, {place.inputs}, {place.outputs}, {place.stride}),"
        for place, block in zip(size.places, chain.blocks, strict=True)
    ]
    network = _NETWORK.format(
        blocks="\n".join(rows),
        image=blueprint.image,
        channels=blueprint.channels,
        stem=size.stem,
        stride=size.stem_stride,
        bias=size.bias,
        shuffle=size.shuffle,
        width=size.widths[-1],
        last=size.last,
    )
    known = f'\nGENOTYPE = {spell(genotype)}\n"""The genotype, as evo_nas reads it."""\n' if genotype else ""
    head = _HEAD.format(channels=blueprint.channels, blocks=len(rows))
    parts = [
        f"{head}\n{_IMPORTS}\n{write_constants(blueprint)}{known}",
        *borrow(network, (shufflenet,)),
        network,
        TAIL.format(network="Network", kind="nn.Module", tensors="load_file(path)", channels=blueprint.channels),
    ]
    return "\n\n".join(parts)
