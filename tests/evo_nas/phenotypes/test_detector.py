"""Detectors: counts of the papers' models to the unit, shapes, the order of outputs, and canvases that do not fit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from evo_nas.errors import UsageError
from evo_nas.phenotypes.detector import Detector, RetinaHead, check_canvas
from genotypes.pyramid import Pyramid
from genotypes.zoo import NAS_FPN

PAPER = {"classes": 91, "width": 256, "depth": 4, "finest_stride": 8, "scale": 4.0, "aspects": (1.0, 2.0, 0.5)}
HEAD = (6_711_895, 57_019_564_800)
BACKBONE = (23_508_032, 33_364_377_600)


@pytest.mark.parametrize(
    ("neck", "repeats", "parameters", "mult_adds"),
    [
        ("fpn", 1, 34_091_159, 96_880_198_400),  # published as 34.0M, 97.0B
        (NAS_FPN, 3, 43_542_167, 112_599_008_000),
    ],
    ids=["fpn", "three times"],
)
def test_counts_of_retinanet_at_640(neck: Pyramid | str, repeats: int, parameters: int, mult_adds: int) -> None:
    with torch.device("meta"):
        detector = Detector("torchvision:resnet50", neck, canvas=640, repeats=repeats, **PAPER)  # type: ignore[arg-type]
    parts = detector.count_parts()
    assert (parts["backbone"].parameters, parts["backbone"].mult_adds) == BACKBONE
    assert (parts["head"].parameters, parts["head"].mult_adds) == HEAD
    assert sum(part.parameters for part in parts.values()) == parameters
    assert sum(part.mult_adds for part in parts.values()) == mult_adds
    assert sum(p.numel() for p in detector.parameters()) == parameters


@pytest.mark.parametrize("depth", [0, 1, 4])
@pytest.mark.parametrize("neck", ["none", "fpn", NAS_FPN], ids=["none", "fpn", "pyramid"])
@pytest.mark.parametrize("backbone", ["thin", "full"])
def test_presets_give_an_output_per_anchor_and_learn_from_the_first_step(
    backbone: str, neck: Pyramid | str, depth: int
) -> None:
    torch.manual_seed(0)
    detector = Detector(backbone, neck, classes=10, canvas=64, channels=1, width=8, depth=depth)
    logits, deltas = detector(torch.rand(2, 1, 64, 64))
    cells = sum(side**2 for side in (16, 8, 4, 2, 1))
    assert logits.shape == (2, 3 * cells, 10)
    assert deltas.shape == (2, 3 * cells, 4)
    assert detector.anchors.shape == (3 * cells, 4)
    torch.testing.assert_close(logits.sigmoid().mean(), torch.tensor(0.01), rtol=1e-2, atol=0)
    (logits.square().sum() + deltas.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())


def test_outputs_stand_in_the_order_of_the_anchors() -> None:
    """A head that shows where it looks: what it predicts at a cell belongs to the anchors around that cell."""
    head = RetinaHead(1, classes=2, anchors=3, depth=0)
    with torch.no_grad():
        for tower, outputs in ((head.classify, 2), (head.locate, 4)):
            tower.predict.weight.zero_()
            tower.predict.weight[:, 0, 1, 1] = 100
            tower.predict.bias.copy_(torch.arange(3 * outputs))
    levels = [torch.arange(side * side, dtype=torch.float32).reshape(1, 1, side, side) for side in (4, 2)]
    logits, deltas = head(levels)
    assert logits[0, :4].tolist() == [[0, 1], [2, 3], [4, 5], [100, 101]]
    assert deltas[0, 3 * 16 + 3 * 2].tolist() == [200, 201, 202, 203], "third cell of the second level"


def test_towers_are_shared_by_levels_but_for_their_norms() -> None:
    head = RetinaHead(6, classes=2, anchors=1, depth=2)
    norms = [module for module in head.modules() if isinstance(module, nn.BatchNorm2d)]
    convolutions = [module for module in head.modules() if isinstance(module, nn.Conv2d)]
    assert (len(norms), len(convolutions)) == (2 * 2 * 5, 2 * 3)
    assert {norm.eps for norm in norms} == {1e-3}
    assert head.classify.predict.bias.detach().tolist() == pytest.approx([-math.log(99)] * 2)


def test_detect_answers_in_pixels_of_the_canvas() -> None:
    torch.manual_seed(0)
    detector = Detector("thin", NAS_FPN, classes=3, canvas=64, width=8).eval()
    found = detector.detect(torch.rand(2, 3, 64, 64), score=0.005, most=9)
    assert [len(one.boxes) for one in found] == [9, 9]
    for one in found:
        assert one.boxes.min() >= 0
        assert one.boxes.max() <= 64
        assert not one.boxes.requires_grad


def test_anchors_are_no_part_of_the_weights() -> None:
    assert not any("anchors" in name for name in Detector("thin", "none", classes=1, canvas=64).state_dict())


@pytest.mark.parametrize(
    ("canvas", "stride", "words"),
    [
        (100, 4, "strides 4 to 64 need a multiple of 64; the next sizes are 64 and 128$"),
        (640 + 8, 8, "strides 8 to 128 need a multiple of 128; the next sizes are 640 and 768$"),
        (32, 4, "the next size is 64$"),
        (0, 8, "the next size is 128$"),
        (-64, 4, "the next size is 64$"),
        (64, 3, "a power of two, such as 4 or 8, not 3"),
        (64, 0, "a power of two, such as 4 or 8, not 0"),
    ],
)
def test_a_canvas_that_the_strides_do_not_divide_is_refused_with_the_next_sizes(
    canvas: int, stride: int, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        check_canvas(canvas, stride)
    with pytest.raises(UsageError, match=words):
        Detector("thin", "none", classes=1, canvas=canvas, finest_stride=stride)


def test_numbers_out_of_range_are_refused() -> None:
    for option in ({"classes": 0}, {"width": 0}, {"depth": -1}, {"scales": 0}, {"aspects": ()}, {"scale": 0.0}):
        with pytest.raises(ValueError, match=r"at least|positive"):
            Detector("thin", "none", **{"classes": 1, "canvas": 64, **option})  # type: ignore[arg-type]
