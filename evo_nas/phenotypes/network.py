"""Cells stacked into a classifier of images, for small and for large ones (Zoph et al. 2017, figure 2)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evo_nas.phenotypes.cell import CellModule, DropPath, check_vocabulary
from evo_nas.phenotypes.ops import SameConv2d, SamePool2d, pointwise
from evo_nas.phenotypes.plan import AVERAGES, Layer, Plan, output_channels, plan_network
from genotypes.cell import CellPair
from genotypes.genotype import GenotypeError
from genotypes.ranges import check_range

SCHEDULES: Final = ("both", "depth", "time")
"""Growth of the probability to drop a path: with depth and time (NASNet), or one of them (AmoebaNet: time)."""


class CellNetwork(nn.Module):
    """Three stacks of N normal cells at F, 2F and 4F filters, with reduction cells between them.

    The plan of the network, :func:`evo_nas.phenotypes.plan.plan_network`, follows from ``cells``, which bring the
    stacking of their family, ``macro``, ``cells_per_stack``, ``filters``, ``stem`` and ``skip_reduction_input``. ReLU,
    the mean over pixels, dropout of ``dropout`` (a fraction in [0, 1)) and a linear layer come last. A cell whose
    output nobody reads is not built. Takes images of ``channels`` channels and of any size that survives the
    reductions.

    ``drop_path_keep`` is the probability that a path of the last cell is kept at the end of training, in (0, 1];
    ``drop_path_schedule`` is a name of :data:`SCHEDULES`. How far the training has come is told by
    :meth:`set_drop_path`. With ``auxiliary_image``, the pixels a side that images will have, a second classifier is
    built on two thirds of the network; in training, :meth:`forward_both` gives its logits too.

    ``average`` is a name of :data:`evo_nas.phenotypes.plan.AVERAGES`.

    Weights are drawn from torch's default generator.

    Raises:
        GenotypeError: if a cell names an unknown operation or combination.
        ValueError: if a number is out of range, or a name is unknown.
    """

    def __init__(
        self,
        cells: CellPair,
        *,
        cells_per_stack: int,
        filters: int,
        classes: int,
        macro: str = "cifar",
        channels: int = 3,
        stem: int | None = None,
        skip_reduction_input: bool | None = None,
        dropout: float = 0.0,
        drop_path_keep: float = 1.0,
        drop_path_schedule: str = "both",
        auxiliary_image: int | None = None,
        average: str = "same",
    ) -> None:
        super().__init__()
        check_range("classes", classes, "[1, inf)")
        check_range("channels", channels, "[1, inf)")
        check_range("drop_path_keep", drop_path_keep, "(0, 1]")
        check_range("dropout", dropout, "[0, 1)")
        for name, word, known in (
            ("drop_path_schedule", drop_path_schedule, SCHEDULES),
            ("average", average, AVERAGES),
        ):
            if word not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {word!r}")
        for name, cell in (("normal", cells.normal), ("reduction", cells.reduction)):
            try:
                check_vocabulary(cell)
            except GenotypeError as error:
                raise GenotypeError(f"{name} cell: {error}") from None

        self.plan = plan = plan_network(
            cells,
            macro=macro,
            cells_per_stack=cells_per_stack,
            filters=filters,
            stem=stem,
            skip_reduction_input=skip_reduction_input,
        )
        self.channels = channels
        self.drop_path_keep, self.drop_path_schedule = drop_path_keep, drop_path_schedule
        self.stem = Stem(channels, plan.stem, large=macro == "imagenet", strided=plan.has_strided_stem)
        self.cells, outputs = build_cells(plan.layers, plan.stem_outputs, plan.stacking.fits_always)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(plan.penultimate, classes)
        self.auxiliary: AuxiliaryHead | None = None
        if auxiliary_image is not None:
            width = outputs[len(plan.stem_outputs) + plan.auxiliary]
            self.auxiliary = AuxiliaryHead(plan, width, classes, _size_at(plan, self.cells, auxiliary_image))
        settle(self, plan.stacking.large_epsilon if macro == "imagenet" else 1e-5, average)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, (n, channels, h, w), to logits, (n, classes)."""
        return self._classify(self._features(images)[0])

    def forward_both(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map images to logits and to those of the auxiliary classifier, both (n, classes); ``None`` without it."""
        features, early = self._features(images)
        return self._classify(features), None if self.auxiliary is None else self.auxiliary(early)

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last cell's output, and that which the auxiliary classifier reads; each of shape (n, c, h, w)."""
        outputs: list[Tensor] = self.stem(images)
        early = outputs[-1]
        layers: Sequence[Layer] = self.plan.layers
        for index, (layer, cell) in enumerate(zip(layers, self.cells, strict=True)):
            outputs = [*outputs[-2:], cell(outputs[-1], outputs[-layer.back])]  # nobody reads further back than 3
            if index == self.plan.auxiliary:
                early = outputs[-1]
        return outputs[-1], early

    def _classify(self, features: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(torch.relu(features).mean((2, 3))))  # (n, classes)
        return logits

    def set_drop_path(self, progress: float) -> None:
        """Set how much is dropped after a share of the training, a fraction in [0, 1]; a new network drops nothing.

        ScheduledDropPath (Zoph et al. 2017, appendix), as released: the probability to drop rises linearly over
        training, and linearly with the depth of the cell, so that the last cell reaches 1 - drop_path_keep. A
        schedule by depth or by time alone leaves the other factor at 1.

        Raises:
            ValueError: if the progress lies outside [0, 1].
        """
        if not 0 <= progress <= 1:
            raise ValueError(f"progress is a fraction in [0, 1], not {progress}")
        time = 1.0 if self.drop_path_schedule == "depth" else progress
        for index, cell in enumerate(self.cells):
            depth = 1.0 if self.drop_path_schedule == "time" else (index + 1) / len(self.cells)
            for module in cell.modules():
                if isinstance(module, DropPath):
                    module.keep = 1 - time * depth * (1 - self.drop_path_keep)


def build_cells(
    layers: Sequence[Layer], stem_outputs: Sequence[int], fits_always: bool
) -> tuple[nn.ModuleList, list[int]]:
    """Build the cells of those layers that are read; also list the channels of all outputs, the stem's first."""
    cells, outputs = nn.ModuleList(), list(stem_outputs)
    for layer, is_read in zip(layers, _are_read(layers), strict=True):
        cells.append(
            CellModule(
                layer.cell,
                current=outputs[-1],
                previous=None if layer.previous is None else outputs[-layer.previous],
                previous_is_larger=layer.previous_is_larger,
                filters=layer.filters,
                stride=layer.stride,
                fits_always=fits_always,
            )
            if is_read
            else UnreadCell()
        )
        # A cell that is not built hands on what it gets: then the auxiliary classifier reads that.
        outputs.append(output_channels(layer.cell, layer.filters) if is_read else outputs[-1])
    return cells, outputs


def settle(network: nn.Module, epsilon: float, average: str) -> None:
    """Draw all weights of a network, and set batch norm's epsilon and how average pooling of stride 2 pads."""
    if not next(network.parameters()).is_meta:  # there drawing takes long and leaves nothing
        network.apply(initialize)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = epsilon
        elif isinstance(module, SamePool2d):
            module.pads_zeros = average == "zeros" and module.stride == 2


def draw_by_place(network: nn.Module, seed: int) -> None:
    """Draw the weights of each layer anew, by a seed and the layer's name: a layer of the same name and shape is alike.

    So networks that differ in a few layers share the weights of all others (common random numbers). torch's default
    generator is left at another place.
    """
    for name, module in network.named_modules():
        digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:8]) >> 1)
        initialize(module)


class Stem(nn.Module):
    """The layers before the first cell; see :class:`evo_nas.phenotypes.plan.Plan`."""

    def __init__(self, channels: int, width: int, *, large: bool, strided: bool) -> None:
        super().__init__()
        if strided:
            half = width // 2
            stages = [
                [*_conv_bn(channels, half, 2), nn.ReLU(), *_conv_bn(half, width, 2)],
                [nn.ReLU(), *_conv_bn(width, width, 2)],
            ]
        elif large:
            # Without padding, as released: 331 pixels become 165.
            stages = [[nn.Conv2d(channels, width, 3, 2, bias=False), nn.BatchNorm2d(width)]]
        else:
            stages = [[*_conv_bn(channels, width, 1)]]
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images, (n, channels, h, w), to the outputs that the first cells read."""
        outputs = []
        for stage in self.stages:
            images = stage(images)
            outputs.append(images)
        return outputs


class AuxiliaryHead(nn.Module):
    """A classifier on two thirds of the network, for training alone (Szegedy et al. 2014; slim/nets/nasnet).

    ReLU, average pooling of 5x5 pixels, stride 3 without padding, a 1x1 convolution to 128 channels, one over all
    pixels that are left to 768, a linear layer. ``size`` is how many pixels a side it gets; of fewer than 5 the pooling
    takes as many as there are. DARTS pools with stride 2 in large images, and leaves the second batch norm out there.
    """

    def __init__(self, plan: Plan, in_channels: int, classes: int, size: int) -> None:
        super().__init__()
        is_darts = plan.has_strided_stem
        self.window, self.stride = min(5, size), 2 if is_darts else 3
        left = (size - self.window) // self.stride + 1
        narrow, wide = (int(width * plan.stacking.auxiliary_share) for width in (128, 768))
        self.reduce = nn.Sequential(pointwise(in_channels, narrow), nn.BatchNorm2d(narrow), nn.ReLU())
        norm = nn.Identity() if is_darts else nn.BatchNorm2d(wide)
        self.flatten = nn.Sequential(nn.Conv2d(narrow, wide, left, bias=False), norm, nn.ReLU(), nn.Flatten())
        self.classifier = nn.Linear(wide, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, in_channels, h, w) to logits, (n, classes)."""
        pooled = F.avg_pool2d(torch.relu(x), self.window, self.stride)
        logits: Tensor = self.classifier(self.flatten(self.reduce(pooled)))
        return logits


class UnreadCell(nn.Module):
    """Stands in the place of a cell whose output no later cell reads."""

    def forward(self, current: Tensor, previous: Tensor) -> Tensor:
        """Hand on the input, so that the cells after it keep their places."""
        return current


def _conv_bn(in_channels: int, filters: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return SameConv2d(in_channels, filters, (3, 3), (stride, stride)), nn.BatchNorm2d(filters)


def _are_read(layers: Sequence[Layer]) -> list[bool]:
    """Return for each layer whether its output reaches the classifier."""
    read = [False] * (len(layers) - 1) + [True]
    for index in reversed(range(len(layers))):
        if read[index]:
            live = layers[index].cell.live_states()
            backs = {1 if state == 0 else layers[index].back for state in live & {0, 1}}
            for back in backs:
                if index - back >= 0:
                    read[index - back] = True
    return read


def _size_at(plan: Plan, cells: nn.ModuleList, image: int) -> int:
    """Count the pixels a side of what the auxiliary classifier reads: of the last cell so far that is built."""
    size = image
    if plan.has_strided_stem:
        for _ in range(3):
            size = -(-size // 2)
    elif plan.macro == "imagenet":
        size = (size - 3) // 2 + 1
    built = [index for index in range(plan.auxiliary + 1) if isinstance(cells[index], CellModule)]
    for layer in plan.layers[: max(built, default=-1) + 1]:
        size = -(-size // layer.stride)
    return size


def initialize(module: nn.Module) -> None:
    """Draw the weights of one layer: a normal distribution whose variance is 2 / fan-out, as in the released code.

    The classifier takes 1 / fan-in instead: by its fan-out, ten classes and hundreds of features, the first logits
    would be in the tens, and the first steps spent on shrinking them.
    """
    if isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=math.sqrt(1 / module.in_features))
        nn.init.zeros_(module.bias)
