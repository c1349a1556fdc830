"""A detector of one stage: backbone, neck, and the head of RetinaNet on five levels (Lin et al. 2017)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from evo_nas.errors import UsageError
from evo_nas.phenotypes.backbones import build_backbone
from evo_nas.phenotypes.boxes import Detections, make_anchors, select_detections
from evo_nas.phenotypes.neck import build_neck, norm
from genotypes.individual import Cost
from genotypes.pyramid import LEVELS, Pyramid
from genotypes.ranges import check_range

PRIOR: Final = 0.01
"""The score of every class at the start, so that the many negatives do not drown the first steps (ibid., 4.1)."""


class Detector(nn.Module):
    """Backbone, neck and head: maps images, (n, channels, canvas, canvas), to logits and moves of the anchors.

    ``backbone`` is a name that :func:`evo_nas.phenotypes.backbones.build_backbone` takes; ``neck`` is ``none``, ``fpn``
    or a pyramid, of ``width`` channels, whose merging cells are stacked ``repeats`` times. The head has towers of
    ``depth`` convolutions. ``finest_stride`` is the stride of level 3; each of the levels 4 to 7 has twice the stride
    of the one before it. ``scale``, ``scales`` and ``aspects`` are those of
    :func:`evo_nas.phenotypes.boxes.make_anchors`.
    Weights are drawn from torch's default generator.

    Raises:
        UsageError: if there is no such backbone, it has no features at the strides, or these do not divide the canvas.
        ValueError: if there is no such neck, or a number is out of range.
    """

    anchors: Tensor

    def __init__(
        self,
        backbone: str,
        neck: Pyramid | str,
        *,
        classes: int,
        canvas: int,
        channels: int = 3,
        width: int = 32,
        repeats: int = 1,
        depth: int = 1,
        finest_stride: int = 4,
        scale: float = 2.0,
        scales: int = 3,
        aspects: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__()
        for name, value in (("classes", classes), ("channels", channels), ("width", width), ("scales", scales)):
            check_range(name, value, "[1, inf)")
        check_range("depth", depth, "[0, inf)")
        if not aspects or min(*aspects, scale, 1) <= 0:
            raise ValueError(f"anchors have positive scales and aspects, not {scale} and {tuple(aspects)}")
        check_canvas(canvas, finest_stride)
        self.classes, self.canvas, self.channels = classes, canvas, channels
        self.strides = tuple(finest_stride << index for index in range(len(LEVELS)))
        self.backbone = build_backbone(backbone, channels=channels, canvas=canvas, finest_stride=finest_stride)
        self.neck = build_neck(neck, self.backbone.widths, width, repeats)
        self.head = RetinaHead(width, classes, scales * len(aspects), depth)
        self._rules: dict[str, Any] = {"scale": scale, "scales": scales, "aspects": aspects}
        self.register_buffer("anchors", self.make_anchors(), persistent=False)

    def make_anchors(self) -> Tensor:
        """Return the anchors anew, (A, 4), on torch's default device: for a detector that was built without memory."""
        return make_anchors(self.canvas, self.strides, **self._rules)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the classes, (n, A, classes), and the moves of the anchors, (n, A, 4)."""
        logits, deltas = self.head(self.neck(self.backbone(images)))
        return logits, deltas

    @torch.no_grad()
    def detect(self, images: Tensor, **rules: Any) -> list[Detections]:
        """Return what is found in each image; ``rules`` are options of ``select_detections``.

        The network is used as it is: set it to evaluation first.
        """
        logits, deltas = self(images)
        return select_detections(logits, deltas, self.anchors, self.canvas, **rules)

    def count_parts(self, canvas: int | None = None) -> dict[str, Cost]:
        """Count the parameters and the mult-adds for one image of each part: backbone, neck, head.

        ``canvas`` is by default the detector's own. Mult-adds are those of convolutions, biases not counted.
        """
        side = self.canvas if canvas is None else canvas
        check_canvas(side, self.strides[0])
        probe = copy.deepcopy(self).to("meta").eval()
        value: Any = torch.zeros(1, self.channels, side, side, device="meta")
        costs = {}
        for name in ("backbone", "neck", "head"):
            value, costs[name] = _count(getattr(probe, name), value)
        return costs


class RetinaHead(nn.Module):
    """Towers for classes and for boxes, shared by the levels but for their batch norms (tensorflow/tpu, heads.py)."""

    def __init__(self, width: int, classes: int, anchors: int, depth: int) -> None:
        super().__init__()
        self.classify = Tower(width, anchors, classes, depth, bias=-math.log((1 - PRIOR) / PRIOR))
        self.locate = Tower(width, anchors, 4, depth, bias=0.0)

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Map levels 3 to 7 to the outputs of all anchors: (n, A, classes) and (n, A, 4)."""
        return self.classify(levels), self.locate(levels)


class Tower(nn.Module):
    """``depth`` convolutions with a batch norm per level, then one that predicts ``outputs`` numbers per anchor."""

    def __init__(self, width: int, anchors: int, outputs: int, depth: int, bias: float) -> None:
        super().__init__()
        self.outputs, self._bias = outputs, bias
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for _ in range(depth))
        self.norms = nn.ModuleList(nn.ModuleList(norm(width) for _ in LEVELS) for _ in range(depth))
        self.predict = nn.Conv2d(width, anchors * outputs, 3, 1, 1)
        for layer in (*self.convolutions, self.predict):
            assert isinstance(layer, nn.Conv2d)
            self.draw(layer)

    def draw(self, layer: nn.Conv2d) -> None:
        """Draw the weights of one of the convolutions."""
        predicts = layer is self.predict
        nn.init.normal_(layer.weight, std=1e-5 if predicts else 0.01)
        nn.init.constant_(layer.bias, self._bias if predicts else 0.0)  # type: ignore[arg-type]  # it has one

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map levels 3 to 7 to (n, A, outputs)."""
        found = []
        for index, level in enumerate(levels):
            for convolve, norms in zip(self.convolutions, self.norms, strict=True):
                level = torch.relu(norms[index](convolve(level)))  # type: ignore[index]  # a list of modules
            map_ = self.predict(level)  # (n, anchors * outputs, h, w)
            count, _, height, width = map_.shape
            by_anchor = map_.reshape(count, -1, self.outputs, height, width).permute(0, 3, 4, 1, 2)
            found.append(by_anchor.reshape(count, -1, self.outputs))
        return torch.cat(found, 1)


def check_canvas(canvas: int, finest_stride: int) -> None:
    """Raise unless every stride of the levels 3 to 7 divides the canvas.

    Raises:
        UsageError: with the next sizes that they divide; or if the finest stride is no power of two.
    """
    if finest_stride < 1 or finest_stride & (finest_stride - 1):
        raise UsageError(f"the finest stride is a power of two, such as 4 or 8, not {finest_stride}")
    coarsest = finest_stride << (len(LEVELS) - 1)
    if canvas < 1 or canvas % coarsest:
        below = max(canvas, 0) // coarsest * coarsest
        sizes = f"sizes are {below} and {below + coarsest}" if below else f"size is {coarsest}"
        raise UsageError(
            f"a canvas of {canvas} pixels a side has no whole pixels at level {LEVELS[-1]}: strides {finest_stride} to "
            f"{coarsest} need a multiple of {coarsest}; the next {sizes}"
        )


def _count(part: nn.Module, value: Any) -> tuple[Any, Cost]:
    """Return what a part makes of its input, and what it costs."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = part(value)
    return output, Cost(sum(p.numel() for p in part.parameters()), counter.get_total_flops() // 2)
