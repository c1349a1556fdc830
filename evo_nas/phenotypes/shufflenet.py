"""Networks of a chain of blocks: the units of ShuffleNetV2 that DetNAS and single path one-shot choose from.

Chen et al. 2019, section 3.2, and Guo et al. 2019, section 4, as released (megvii-model/DetNAS and SinglePathOneShot).
Every part can be built alone, so that a supernet has the same ones: :func:`build_stem`, :func:`build_block` per place
and choice, :class:`ShuffleTrunk` around them, :class:`ChainHead` behind it. ``affine=False`` leaves out gamma and beta
of all batch norms, as supernets do.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from genotypes.chain import Chain, ChainSize, Place
from genotypes.individual import Cost
from genotypes.ranges import check_range


class ShuffleUnit(nn.Module):
    """A block of a place: at stride 1 on half of the channels, the others pass; at stride 2 beside a projection.

    It maps (n, inputs, h, w) to (n, outputs, h, w) or, at stride 2, to (n, outputs, h / 2, w / 2), rounded up. What
    passes, or the projection, comes first; the main branch fills up to the outputs. In the middle it has half of the
    outputs. ``block`` is a name of :data:`genotypes.chain.BLOCKS`.
    """

    def __init__(
        self, block: str, inputs: int, outputs: int, stride: int, *, shuffle: int = 2, affine: bool = True
    ) -> None:
        super().__init__()
        self.stride, self.shuffle = stride, shuffle
        kind, _, size = block.partition("_")
        kernel = int(size[0])
        passed = inputs if stride == 2 else inputs // 2
        read, made, middle = inputs if stride == 2 else inputs // 2, outputs - passed, outputs // 2
        layers: list[nn.Module] = []
        if kind == "shuffle":
            layers += _pointwise(read, middle, affine)
            layers += _depthwise(middle, kernel, stride, affine)
            layers += _pointwise(middle, made, affine)
        else:
            for number, width in enumerate((middle, middle, made)):
                layers += _depthwise(read if number == 0 else middle, kernel, stride if number == 0 else 1, affine)
                layers += _pointwise(read if number == 0 else middle, width, affine)
        self.main = nn.Sequential(*layers)
        self.projection = (
            nn.Sequential(*_depthwise(inputs, kernel, stride, affine), *_pointwise(inputs, inputs, affine))
            if stride == 2
            else None
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of the block."""
        if self.projection is not None:
            return torch.cat([self.projection(images), self.main(images)], 1)
        passed, worked = divide_channels(images, self.shuffle)
        return torch.cat([passed, self.main(worked)], 1)


def divide_channels(images: Tensor, shuffle: int) -> tuple[Tensor, Tensor]:
    """Return the half of the channels that passes a block, and the half that it works on.

    ``shuffle`` 1 interleaves both halves (0, c/2, 1, c/2 + 1, ...) and cuts in the middle; 2 takes even and odd ones.
    """
    if shuffle == 2:
        return images[:, ::2], images[:, 1::2]
    count, channels, height, width = images.shape
    mixed = images.reshape(count, 2, channels // 2, height, width).transpose(1, 2)
    mixed = mixed.reshape(count, channels, height, width)
    return mixed[:, : channels // 2], mixed[:, channels // 2 :]


def build_block(place: Place, block: str, *, shuffle: int = 2, affine: bool = True) -> ShuffleUnit:
    """Build the block of this name for a place, with weights from torch's default generator."""
    unit = ShuffleUnit(block, place.inputs, place.outputs, place.stride, shuffle=shuffle, affine=affine)
    draw_chain(unit)
    return unit


def build_stem(size: ChainSize, channels: int, *, stride: int | None = None, affine: bool = True) -> nn.Sequential:
    """Build the convolutions before the first place; ``stride``, a power of two, is by default that of the size.

    A convolution of stride 2 per halving; the weights have the same shapes at stride 1 and 2.
    """
    stride = size.stem_stride if stride is None else stride
    layers: list[nn.Module] = []
    for halving in range(max(1, stride.bit_length() - 1)):
        inputs = size.stem if halving else channels
        layers += [
            nn.Conv2d(inputs, size.stem, 3, min(stride, 2), 1, bias=size.bias),
            nn.BatchNorm2d(size.stem, affine=affine),
            nn.ReLU(),
        ]
    stem = nn.Sequential(*layers)
    draw_chain(stem)
    return stem


class ShuffleTrunk(nn.Module):
    """A stem and the blocks of all places; maps images, (n, channels, h, w), to what each stage puts out."""

    def __init__(self, size: ChainSize, stem: nn.Module, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.size, self.stem, self.blocks = size, stem, nn.ModuleList(blocks)

    @classmethod
    def of(cls, chain: Chain, channels: int, *, stem_stride: int | None = None, affine: bool = True) -> ShuffleTrunk:
        """Build the trunk of a chain; ``stem_stride`` as in :func:`build_stem`."""
        size = chain.size
        stem = build_stem(size, channels, stride=stem_stride, affine=affine)
        pairs = zip(size.places, chain.blocks, strict=True)
        return cls(size, stem, [build_block(*pair, shuffle=size.shuffle, affine=affine) for pair in pairs])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features of each stage, (n, width, h / stride, w / stride), from the finest."""
        features, stages = self.stem(images), []
        for place, block in zip(self.size.places, self.blocks, strict=True):
            if place.stride == 2 and place.index:
                stages.append(features)
            features = block(features)
        return [*stages, features]


class ChainHead(nn.Module):
    """The classifier behind the last stage: a 1x1 convolution, the mean over the image, and a linear layer."""

    def __init__(self, size: ChainSize, classes: int, *, affine: bool = True) -> None:
        super().__init__()
        self.last = nn.Sequential(
            nn.Conv2d(size.widths[-1], size.last, 1, bias=size.bias),
            nn.BatchNorm2d(size.last, affine=affine),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(size.last, classes, bias=size.bias)
        draw_chain(self)

    def forward(self, features: Tensor) -> Tensor:
        """Map features of the last stage to logits, (n, classes)."""
        logits: Tensor = self.classifier(self.last(features).mean((2, 3)))
        return logits


class ShuffleNet(nn.Module):
    """The classifier of a chain: maps images, (n, channels, h, w), to logits, (n, classes).

    It has no dropout before the mean, where the released code has one. ``stem_stride`` is as in :func:`build_stem`.

    Raises:
        ValueError: if there is no class or channel.
    """

    def __init__(self, chain: Chain, *, classes: int = 10, channels: int = 3, stem_stride: int | None = None) -> None:
        super().__init__()
        for name, value in (("classes", classes), ("channels", channels)):
            check_range(name, value, "[1, inf)")
        self.channels = channels
        self.trunk = ShuffleTrunk.of(chain, channels, stem_stride=stem_stride)
        self.head = ChainHead(chain.size, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.trunk(images)[-1])
        return logits

    def count_parts(self, image_size: int) -> dict[str, Cost]:
        """Count the parameters and the mult-adds for one image of the ``trunk``, stem and stages, and of the ``head``.

        Mult-adds are those of convolutions and of the linear layer, biases not counted.
        """
        from torch.utils.flop_counter import FlopCounterMode

        probe = copy.deepcopy(self).to("meta").eval()
        features = torch.zeros(1, self.channels, image_size, image_size, device="meta")
        costs = {}
        for name, part in (("trunk", probe.trunk), ("head", probe.head)):
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                made = part(features)
            features = made[-1] if name == "trunk" else made
            costs[name] = Cost(sum(p.numel() for p in part.parameters()), counter.get_total_flops() // 2)
        return costs


def draw_chain(part: nn.Module) -> None:
    """Draw the weights of all convolutions as in He et al. 2015, by what each output reads; biases are 0."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _pointwise(inputs: int, outputs: int, affine: bool) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs, affine=affine), nn.ReLU()]


def _depthwise(channels: int, kernel: int, stride: int, affine: bool) -> list[nn.Module]:
    """Return a depthwise convolution and its batch norm; no activation follows it."""
    return [
        nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]
