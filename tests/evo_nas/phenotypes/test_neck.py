"""Necks: the function of the released code by fingerprints, merging cells by hand, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from evo_nas.phenotypes.neck import build_neck, check_sizes
from genotypes.pyramid import LEVELS, Merge, Pyramid
from genotypes.spaces.nasfpn import NASFPNSpace
from genotypes.zoo import NAS_FPN
from tests.filling import fill, sums

SHAPES = ((12, 16), (20, 8), (28, 4))
"""Channels and pixels a side of levels 3, 4 and 5."""

FINGERPRINTS = {
    1: [
        (-53.6674393398, -368.511950463),
        (5.50148125913, 42.1902703023),
        (-1.73046200382, -16.1671179797),
        (-0.257280772586, -1.57989838332),
        (-0.32621685027, -2.38538913954),
    ],
    3: [
        (-18.828230049, -127.426957085),
        (-4.11766911743, -26.3604977241),
        (-0.549404317719, -13.6453646722),
        (-0.0497864043932, 1.20659233475),
        (0.0237619062551, -0.102630389955),
    ],
}
"""Repetitions -> sum and weighted sum of levels 3 to 7, of the released code's wiring with the weights of ``fill``."""


def features() -> list[Tensor]:
    found = []
    for level, (channels, side) in zip(LEVELS, SHAPES, strict=False):
        c, y = torch.arange(channels, dtype=torch.float64), torch.arange(side, dtype=torch.float64)
        plane = torch.cos(0.1 * (y + 1))[:, None] * torch.sin(0.07 * (y + 1))
        found.append((plane + 0.1 * (c % 8)[:, None, None] + 0.05 * level)[None])
    return found


@pytest.mark.parametrize("repeats", FINGERPRINTS)
def test_the_published_pyramid_computes_what_the_released_code_does(repeats: int) -> None:
    neck = fill(build_neck(NAS_FPN, [channels for channels, _ in SHAPES], 16, repeats))
    with torch.no_grad():
        levels = neck(features())
    assert [tuple(level.shape) for level in levels] == [(1, 16, side, side) for side in (16, 8, 4, 2, 1)]
    for level, expected in zip(levels, FINGERPRINTS[repeats], strict=True):
        assert sums(level) == pytest.approx(expected, rel=1e-9, abs=1e-11)


def merge_by_hand(pyramid: Pyramid, levels: list[Tensor], after: nn.ModuleList) -> list[Tensor]:
    """The rules of a merging cell once more, pixel by pixel and feature by feature; the reads are counted so far."""
    pool = [(level, feature) for level, feature in zip(LEVELS, levels, strict=True)]
    reads = [0] * 5
    for index, merge in enumerate(pyramid.merges):
        resized = []
        for number in merge.inputs:
            level, feature = pool[number]
            reads[number] += 1
            for _ in range(level, merge.level):  # a max pooling by 2^d is d of them by 2
                feature = F.max_pool2d(feature, 2)
            for _ in range(merge.level, level):
                feature = feature.repeat_interleave(2, 2).repeat_interleave(2, 3)
            resized.append((level, feature))
        (level, one), (other_level, other) = resized
        if merge.combine == "sum":
            made = one + other
        else:
            coarse, fine = (one, other) if level >= other_level else (other, one)
            made = coarse + fine * (1 / (1 + torch.exp(-coarse.amax((2, 3), keepdim=True))))
        if index >= len(pyramid.merges) - 5:
            for number, (level, feature) in enumerate(pool):
                if level == merge.level and reads[number] == 0:
                    reads[number] = 1
                    made = made + feature
        pool.append((merge.level, after[index](made)))
        reads.append(0)
    outputs = dict(pool[-5:])
    return [outputs[level] for level in LEVELS]


@pytest.mark.parametrize("seed", range(12))
def test_random_pyramids_follow_the_rules_that_the_paper_states(seed: int) -> None:
    space = NASFPNSpace(merges=5 + seed % 4)
    pyramid = space.decode(space.sample(np.random.default_rng(seed)))
    neck = fill(build_neck(pyramid, [8, 8, 8], 8, 2))  # of that width already: no projection
    inputs = [torch.randn(2, 8, side, side, dtype=torch.float64) for side in (16, 8, 4)]
    levels = [*inputs, F.max_pool2d(inputs[-1], 2), F.max_pool2d(F.max_pool2d(inputs[-1], 2), 2)]
    with torch.no_grad():
        for cells in neck.repeats:
            levels = merge_by_hand(pyramid, levels, cells.after)
        for level, expected in zip(neck(inputs), levels, strict=True):
            torch.testing.assert_close(level, expected, rtol=1e-12, atol=1e-12)


def test_equal_keys_mean_equal_functions_also_where_the_extra_input_is_another_one() -> None:
    rest = tuple(Merge(level, "sum", (0, 1)) for level in LEVELS[1:])
    first = (Merge(3, "sum", (1, 2)), Merge(3, "sum", (1, 0)), *rest)
    second = (Merge(3, "sum", (1, 2)), Merge(3, "sum", (5, 1)), *rest)
    assert Pyramid(first).extras[1] == (5,)
    assert Pyramid(second).extras[1] == (0,)
    assert Pyramid(first).canonical() == Pyramid(second).canonical()
    outputs = []
    for merges in (first, second):
        with torch.no_grad():
            outputs.append(fill(build_neck(Pyramid(merges), [12, 20, 28], 16))(features()))
    for one, other in zip(*outputs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("repeats", "parameters", "mult_adds"),
    [
        (1, 5_053_952, {640: 8_383_692_800, 1024: 21_462_253_568, 1280: 33_534_771_200}),
        (3, 13_322_240, {640: 22_215_065_600, 1024: 56_870_567_936, 1280: 88_860_262_400}),
    ],
)
def test_counts_at_the_width_of_the_paper(repeats: int, parameters: int, mult_adds: dict[int, int]) -> None:
    """Projections 919,808 parameters, and 4,134,144 per repetition."""
    with torch.device("meta"):
        neck = build_neck(NAS_FPN, [512, 1024, 2048], 256, repeats).eval()
    assert sum(p.numel() for p in neck.parameters()) == parameters
    for side, expected in mult_adds.items():
        features = [torch.zeros(1, 256 << i, side >> (2 + i), side >> (2 + i), device="meta") for i in (1, 2, 3)]
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            neck(features)
        assert counter.get_total_flops() == 2 * expected


def test_fpn_goes_from_coarse_to_fine() -> None:
    neck = build_neck("fpn", [4, 6, 8], 5).eval()
    inputs = [torch.randn(1, c, side, side) for c, side in ((4, 32), (6, 16), (8, 8))]
    with torch.no_grad():
        before = neck(inputs)
        after = neck([*inputs[:2], inputs[2] + 1])
        finest = neck([inputs[0] + 1, *inputs[1:]])
    assert [tuple(level.shape[1:]) for level in before] == [(5, side, side) for side in (32, 16, 8, 4, 2)]
    assert all(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert [torch.equal(one, other) for one, other in zip(before, finest, strict=True)] == [False, *[True] * 4]


def test_no_neck_projects_and_pools_alone() -> None:
    neck = build_neck("none", [4, 6, 8], 8).eval()
    inputs = [torch.randn(1, c, side, side) for c, side in ((4, 16), (6, 8), (8, 4))]
    with torch.no_grad():
        levels = neck(inputs)
    assert torch.equal(levels[2], inputs[2]), "a level that has the width is left as it is"
    assert torch.equal(levels[4], F.max_pool2d(inputs[2], 4))
    assert sum(p.numel() for p in neck.parameters()) == (4 + 6 + 3 + 3) * 8


def test_what_is_no_neck_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no neck 'panet'; there are: none, fpn, and pyramids"):
        build_neck("panet", [4, 4, 4], 8)
    for inputs, width, repeats in (([4, 4], 8, 1), ([4, 4, 4], 0, 1), ([4, 4, 4], 8, 0)):
        with pytest.raises(ValueError, match="a neck reads three levels"):
            build_neck(NAS_FPN, inputs, width, repeats)


@pytest.mark.parametrize("sides", [(16, 8, 5), (16, 9, 4), (24, 12, 6), (8, 4, 2)])
def test_features_that_do_not_meet_are_refused_with_their_sizes(sides: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"multiple of 16 pixels a side.*{sides[0]}x{sides[0]}"):
        check_sizes([torch.zeros(1, 1, side, side) for side in sides])
