"""Backbones of detectors: features of an image at three levels, each half as large as the one before it.

Our own are residual or plain stages of any width and depth; a network by its name, as
:func:`evo_nas.phenotypes.named.build_by_name` takes it, is a backbone too: its features are what its stages put out.
"""

from __future__ import annotations

import copy
import importlib
import re
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from evo_nas.errors import UsageError
from evo_nas.phenotypes.named import (
    build_by_name,
    is_foreign,
    read_cells,
    read_chain,
    read_edges,
    read_resnet,
    spell_name,
)
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.ops import SamePool2d
from evo_nas.phenotypes.resnet import draw_convolutions, residual_stage
from evo_nas.phenotypes.shufflenet import ShuffleTrunk
from genotypes.chain import ChainSize
from genotypes.genotype import shorten

TAPS: Final = 3
"""Levels that a backbone gives to the neck: 3, 4 and 5."""

STAGED: Final = {"full": "residual:24+48+96", "thin": "plain:24+32+48"}
"""Backbones for small canvases by name, with a stem of 16 filters: three stages, a block or a convolution each."""

FORMS: Final = (
    "full, thin, residual:24+48+96x1 (widths of stages, blocks per stage), plain:24+32+48, resnet:DEPTHxF, "
    "torchvision:NAME, timm:NAME, cell:NAME@CxF, chain:detnas-coco-fpn-300m or edges:ARCHITECTURE@NxC"
)

_STAGES: Final = re.compile(r"((?:[1-9][0-9]{0,3}\+){2,5}[1-9][0-9]{0,3})(?:x([1-9][0-9]?))?")


class Backbone(nn.Module):
    """The base of backbones: maps images, (n, channels, h, w), to three features, (n, c, h / stride, w / stride).

    ``widths`` are the channels of these, ``strides`` the pixels of the image per pixel of theirs, from the finest.
    """

    widths: tuple[int, ...]
    strides: tuple[int, ...]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features from the finest."""
        raise NotImplementedError


def build_backbone(name: str, *, channels: int, canvas: int, finest_stride: int) -> Backbone:
    """Build a backbone for square images of ``canvas`` pixels a side, whose finest features have that stride.

    Raises:
        UsageError: if there is no such backbone, or it has no features at one of the three strides.
    """
    strides = tuple(finest_stride << level for level in range(TAPS))
    kind, _, rest = name.partition(":")
    if name in STAGED or kind in ("residual", "plain"):
        return _build_stages(STAGED.get(name, name), channels, strides, stem=16 if name in STAGED else None)
    if kind == "resnet":
        depth, filters = read_resnet(rest)
        if depth < 8 or depth % 6 != 2:
            raise UsageError(f"a residual network has 6n + 2 layers, such as 8 or 20, not {depth}")
        widths = [filters << stage for stage in range(TAPS)]
        return StagedBackbone(widths, (depth - 2) // 6, channels=channels, strides=strides)
    if kind == "cell":
        return _build_cells(name, channels=channels, canvas=canvas, strides=strides)
    if kind == "chain":
        chain = read_chain(rest)
        return ChainBackbone(
            ShuffleTrunk.of(chain, channels, stem_stride=find_stem_stride(chain.size, strides)), strides
        )
    if kind == "edges":
        return _build_edges(name, channels=channels, canvas=canvas, strides=strides)
    if kind == "timm":
        return _build_of_timm(rest, channels, strides)
    if is_foreign(name):  # a name may come with data, which imports no code
        raise UsageError(f"there is no backbone {shorten(name)!r}; write {FORMS}")
    network = build_by_name(name, classes=1, channels=channels, image_size=canvas)
    return TappedBackbone(network, name, channels=channels, canvas=canvas, strides=strides)


class StagedBackbone(Backbone):
    """A stem and stages that each halve the image: residual blocks, or one convolution each where ``blocks`` is 0.

    The last three stages put out features. The stem of ``stem`` filters, by default as wide as the first stage, halves
    the image as often as the stages leave to it.

    Raises:
        UsageError: if the stages alone have a larger stride already.
    """

    def __init__(
        self,
        widths: Sequence[int],
        blocks: int,
        *,
        channels: int,
        strides: Sequence[int],
        stem: int | None = None,
    ) -> None:
        super().__init__()
        self.widths, self.strides = tuple(widths[-TAPS:]), tuple(strides)
        of_stages = 2 ** (len(widths) - TAPS + 1)
        if strides[0] < of_stages:
            raise UsageError(f"{len(widths)} stages have a finest stride of {of_stages} or more, not {strides[0]}")
        width = stem or widths[0]
        halvings = (strides[0] // of_stages).bit_length() - 1
        self.stem = nn.Sequential(*_convolve(channels, width, 2 if halvings else 1))
        for _ in range(halvings - 1):
            self.stem.extend(_convolve(width, width, 2))
        self.stages = nn.ModuleList()
        for outputs in widths:
            layers = residual_stage(width, outputs, blocks, 2) if blocks else _convolve(width, outputs, 2)
            self.stages.append(nn.Sequential(*layers))
            width = outputs
        draw_convolutions(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of the last three stages."""
        features = [self.stem(images)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[-TAPS:]


class CellBackbone(Backbone):
    """A network of cells without its classifier; its features pass a ReLU, as the classifier's do.

    Networks for small images get strided convolutions before their stem, which bring them to the strides.

    Raises:
        UsageError: if the network has no output at one of the strides.
    """

    def __init__(
        self, network: CellNetwork, before: nn.Module, name: str, *, channels: int, canvas: int, strides: Sequence[int]
    ) -> None:
        super().__init__()
        network.classifier = nn.Identity()  # type: ignore[assignment]  # never called
        self.before, self.network, self.strides = before, network, tuple(strides)
        probe = copy.deepcopy(self).to("meta").eval()
        with torch.no_grad():
            outputs = probe.outputs(torch.zeros(1, channels, canvas, canvas, device="meta"))
        self.taps = _choose_taps([tuple(output.shape) for output in outputs], name, canvas, strides)
        network.cells = network.cells[: self.taps[-1] + 1 - len(network.plan.stem_outputs)]  # no level needs the others
        self.widths = tuple(outputs[tap].shape[1] for tap in self.taps)

    def outputs(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of the stem and of every cell."""
        network = self.network
        outputs: list[Tensor] = network.stem(self.before(images))
        for layer, cell in zip(network.plan.layers, network.cells, strict=False):
            outputs = [*outputs, cell(outputs[-1], outputs[-layer.back])]
        return outputs

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the last output at each stride."""
        outputs = self.outputs(images)
        return [torch.relu(outputs[tap]) for tap in self.taps]


class TappedBackbone(Backbone):
    """A classifier of images, cut behind the last layer of each stride; its other layers are left out.

    Raises:
        UsageError: if the network cannot be followed, or has no features at one of the strides.
    """

    def __init__(self, network: nn.Module, name: str, *, channels: int, canvas: int, strides: Sequence[int]) -> None:
        super().__init__()
        from torchvision.models.feature_extraction import create_feature_extractor

        self.strides = tuple(strides)
        layers = dict(_list_layers(network))
        shapes = _record_shapes(network, layers, name, channels, canvas)
        paths = list(shapes)
        chosen = [paths[tap] for tap in _choose_taps(list(shapes.values()), name, canvas, strides)]
        self.widths = tuple(shapes[path][1] for path in chosen)
        named = {path: str(level) for level, path in enumerate(chosen)}
        try:
            # Its padding follows from the size of its input, which tracing by torch 2.6 does not know.
            self.network = create_feature_extractor(network, named, tracer_kwargs={"leaf_modules": [SamePool2d]})
        except Exception as error:  # whatever symbolic tracing meets in a foreign network
            raise UsageError(f"cannot follow {shorten(name)} to its features: {shorten(str(error), 200)}") from error

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features at each stride."""
        return list(self.network(images).values())


class ChainBackbone(Backbone):
    """The stem and the stages of a chain of blocks, whose last three put out features; see :func:`find_stem_stride`."""

    def __init__(self, trunk: ShuffleTrunk, strides: Sequence[int]) -> None:
        super().__init__()
        self.trunk, self.strides, self.widths = trunk, tuple(strides), trunk.size.widths[-TAPS:]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of the last three stages."""
        stages: list[Tensor] = self.trunk(images)
        return stages[-TAPS:]


def find_stem_stride(size: ChainSize, strides: Sequence[int]) -> int:
    """Return the stride of the stem with which the last three stages of a chain have these strides.

    That of DetNAS (Chen et al. 2019) is 2, at a finest stride of 8.

    Raises:
        UsageError: if there are too few stages, or too many for the finest stride.
    """
    if len(size.stages) < TAPS:
        raise UsageError(f"a backbone needs {TAPS} stages or more, and this chain has {len(size.stages)}")
    of_stages = 1 << (len(size.stages) - TAPS + 1)
    if strides[0] < of_stages:
        raise UsageError(f"{len(size.stages)} stages have a finest stride of {of_stages} or more, not {strides[0]}")
    return strides[0] // of_stages


class ShrunkBackbone(Backbone):
    """A backbone for small images behind convolutions that bring larger ones to their size."""

    def __init__(self, before: nn.Module, backbone: Backbone, strides: Sequence[int]) -> None:
        super().__init__()
        self.before, self.backbone = before, backbone
        self.widths, self.strides = backbone.widths, tuple(strides)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features at each stride."""
        features: list[Tensor] = self.backbone(self.before(images))
        return features


class TimmBackbone(Backbone):
    """A network of timm by its own interface of features."""

    def __init__(self, network: Any, strides: Sequence[int]) -> None:
        super().__init__()
        self.network, self.strides, self.widths = network, tuple(strides), tuple(network.feature_info.channels())

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features at each stride."""
        return list(self.network(images))


def _build_stages(name: str, channels: int, strides: Sequence[int], stem: int | None) -> Backbone:
    kind, _, rest = name.partition(":")
    match = _STAGES.fullmatch(rest)
    if match is None or (kind == "plain" and match[2]):
        raise UsageError(f"{shorten(name)!r} names no stages; write residual:24+48+96x1 or plain:24+32+48")
    blocks = int(match[2] or 1) if kind == "residual" else 0
    return StagedBackbone(list(map(int, match[1].split("+"))), blocks, channels=channels, strides=strides, stem=stem)


def _build_cells(name: str, *, channels: int, canvas: int, strides: Sequence[int]) -> Backbone:
    cells, size = read_cells(spell_name(name, cells_per_stack=1, filters=8).partition(":")[2])
    stride = strides[0] if size.get("macro", "cifar") == "cifar" else 1
    before, width = _shrink(channels, size["filters"], stride)
    try:
        network = CellNetwork(cells, classes=1, channels=width, **size)
    except (TypeError, ValueError) as error:
        raise UsageError(f"no network of cells is like this: {shorten(str(error), 200)}") from error
    return CellBackbone(network, before, name, channels=channels, canvas=canvas, strides=strides)


def _build_edges(name: str, *, channels: int, canvas: int, strides: Sequence[int]) -> Backbone:
    _, size = read_edges(name.partition(":")[2])
    before, width = _shrink(channels, size["filters"], strides[0])
    network = build_by_name(name, classes=1, channels=width, image_size=canvas // strides[0])
    own = [stride // strides[0] for stride in strides]
    inner = TappedBackbone(network, name, channels=width, canvas=canvas // strides[0], strides=own)
    return ShrunkBackbone(before, inner, strides)


def _shrink(channels: int, filters: int, stride: int) -> tuple[nn.Sequential, int]:
    """Return convolutions of stride 2 that bring images to a stride, and the channels that they put out."""
    width, layers = channels, nn.Sequential()
    for _ in range(stride.bit_length() - 1):
        layers.extend(_convolve(width, filters, 2))
        width = filters
    draw_convolutions(layers)
    return layers, width


def _build_of_timm(name: str, channels: int, strides: Sequence[int]) -> Backbone:
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise UsageError("timm:NAME needs timm: pip install timm") from error
    if not timm.is_model(name):
        raise UsageError(f"timm has no network {shorten(name)!r}; see timm.list_models()")
    options: dict[str, Any] = {"pretrained": False, "features_only": True, "in_chans": channels}
    try:
        with torch.device("meta"):  # to ask which features there are; nothing is drawn
            reductions = timm.create_model(name, **options).feature_info.reduction()
        for stride in strides:
            if stride not in reductions:
                raise _no_features(f"timm:{name}", stride, reductions)
        levels = [max(index for index, one in enumerate(reductions) if one == stride) for stride in strides]
        return TimmBackbone(timm.create_model(name, out_indices=levels, **options), strides)
    except UsageError:
        raise
    except Exception as error:  # timm says in many ways that a network has no features
        raise UsageError(f"timm gives no features of {shorten(name)}: {shorten(str(error), 200)}") from error


def _convolve(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def _list_layers(network: nn.Module, path: str = "") -> list[tuple[str, nn.Module]]:
    """Return the layers of a network by their paths: its children, and in place of a list of layers these."""
    found = []
    for name, child in network.named_children():
        place = f"{path}.{name}".lstrip(".")
        is_list = isinstance(child, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        found += _list_layers(child, place) if is_list else [(place, child)]
    return found


def _record_shapes(
    network: nn.Module, layers: dict[str, nn.Module], name: str, channels: int, canvas: int
) -> dict[str, tuple[int, ...]]:
    """Return the shape that each layer puts out for one image, in the order of the forward pass."""
    shapes: dict[str, tuple[int, ...]] = {}
    probe = copy.deepcopy(network).to("meta").eval()

    def record(path: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes.pop(path, None)  # of a layer that is used twice the last use counts
                shapes[path] = tuple(output.shape)

        return keep

    for path in layers:
        probe.get_submodule(path).register_forward_hook(record(path))
    try:
        with torch.no_grad():
            probe(torch.zeros(1, channels, canvas, canvas, device="meta"))
    except Exception as error:  # such as an image that is too small, in the words of that network
        raise UsageError(
            f"cannot follow {shorten(name)} to its features in images of {canvas} pixels a side: "
            f"{shorten(str(error), 200)}"
        ) from error
    return shapes


def _choose_taps(shapes: Sequence[tuple[int, ...]], name: str, canvas: int, strides: Sequence[int]) -> tuple[int, ...]:
    """Return the index of the last shape at each stride.

    Raises:
        UsageError: if there is none at one of them.
    """
    chosen: list[int] = []
    for stride in strides:
        side = canvas // stride
        found = [index for index, shape in enumerate(shapes) if len(shape) == 4 and shape[2:] == (side, side)]
        if not found or (chosen and found[-1] <= chosen[-1]):
            sides = {shape[2] for shape in shapes if len(shape) == 4 and shape[2] == shape[3] and shape[2]}
            raise _no_features(name, stride, sorted(canvas // side for side in sides if canvas % side == 0))
        chosen.append(found[-1])
    return tuple(chosen)


def _no_features(name: str, stride: int, known: Sequence[int]) -> UsageError:
    places = ", ".join(map(str, dict.fromkeys(known))) or "none that divides the image"
    return UsageError(f"{shorten(name)} has no features at stride {stride}, but at {places}")
