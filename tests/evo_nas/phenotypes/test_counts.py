"""Parameters and mult-adds to the unit: the published networks, and a second counter that shares no code with ours.

Everything is counted on the meta device, without memory. Mult-adds are those of convolutions and of the classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from evo_nas.phenotypes.cost import cost_by_part, cost_of
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.plan import parse_size
from genotypes.catalogue import build_space
from genotypes.cell import Cell, CellPair
from genotypes.individual import Cost
from genotypes.zoo import CELLS, NASNET_A, PNASNET_5

pytestmark = pytest.mark.slow

LARGE = {"macro": "imagenet", "image": 331, "classes": 1000}
MOBILE = {"macro": "imagenet", "image": 224, "classes": 1000}
CIFAR = {"macro": "cifar", "image": 32, "classes": 10}


def network_of(cells: CellPair, cells_per_stack: int, filters: int, **options: object) -> CellNetwork:
    with torch.device("meta"):
        return CellNetwork(cells, cells_per_stack=cells_per_stack, filters=filters, **options)  # type: ignore[arg-type]


def parameters(module: nn.Module | None) -> int:
    assert module is not None
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("size", "network", "total", "without_classifier", "mult_adds", "auxiliary"),
    [
        ((6, 168), LARGE, 88_753_150, 84_720_150, 23_783_414_658, 4_567_784),
        ((4, 44), MOBILE, 5_289_978, 4_232_978, 563_638_816, 2_411_240),
        ((6, 32), CIFAR, 3_346_538, 3_338_848, 544_333_312, 1_631_498),
        ((2, 24), CIFAR, 757_906, 752_136, 136_390_272, 1_619_210),
    ],
    ids=["6@4032", "4@1056", "6@768", "N=2 F=24"],
)
def test_nasnet_a_counts_to_the_unit(
    size: tuple[int, int],
    network: dict[str, object],
    total: int,
    without_classifier: int,
    mult_adds: int,
    auxiliary: int,
) -> None:
    options: dict[str, Any] = {name: value for name, value in network.items() if name != "image"}
    built = network_of(NASNET_A, *size, auxiliary_image=network["image"], **options)
    image = network["image"]
    assert isinstance(image, int)
    by_part = cost_by_part(built, image)
    assert sum(part.parameters for part in by_part.values()) == total
    assert total - by_part["classifier"].parameters == without_classifier
    assert sum(part.mult_adds for part in by_part.values()) == mult_adds
    assert parameters(built.auxiliary) == auxiliary
    assert parameters(built) == total + auxiliary
    cells_per_stack, filters = size
    assert cost_of(NASNET_A, cells_per_stack=cells_per_stack, filters=filters, **network) == Cost(total, mult_adds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "size", "network", "expected"),
    [
        ("amoebanet-a", (6, 190), LARGE, Cost(86_718_797, 23_133_663_507)),
        ("pnasnet-5", (4, 216), LARGE, Cost(86_057_668, 24_937_395_792)),
    ],
)
def test_the_large_networks_of_later_papers_count_to_the_unit(
    name: str, size: tuple[int, int], network: dict[str, object], expected: Cost
) -> None:
    cells_per_stack, filters = size
    assert cost_of(CELLS[name], cells_per_stack=cells_per_stack, filters=filters, **network) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "network", "expected", "auxiliary"),
    [((6, 36), CIFAR, 3_349_342, 476_426), ((4, 48), MOBILE, 4_718_752, 1_260_776)],
    ids=["20 cells", "14 cells"],
)
def test_darts_counts_as_its_own_code_does(
    size: tuple[int, int], network: dict[str, object], expected: int, auxiliary: int
) -> None:
    options: dict[str, Any] = {name: value for name, value in network.items() if name != "image"}
    built = network_of(CELLS["darts-v2"], *size, auxiliary_image=network["image"], **options)
    assert parameters(built) - parameters(built.auxiliary) == expected
    assert parameters(built.auxiliary) == auxiliary


@pytest.mark.parametrize(
    ("name", "size", "network", "millions", "mult_adds"),
    [
        # As Zoph et al. 2017, Real et al. 2018, Liu et al. 2017 and Liu et al. 2018 print them for ImageNet, but for
        # mult-adds that they count otherwise: 25.0 for PNASNet-5, 0.574 for DARTS.
        ("nasnet-a", "4@1056", MOBILE, "5.3", "0.564"),
        ("amoebanet-a", "6@3040", LARGE, "86.7", "23.1"),
        ("pnasnet-5", "4@4320", LARGE, "86.1", "24.9"),
        ("pnasnet-5", "3@1080", MOBILE, "5.1", "0.587"),
        ("darts-v2", "4@768", MOBILE, "4.7", "0.530"),
    ],
)
def test_counts_round_to_what_the_papers_print(
    name: str, size: str, network: dict[str, object], millions: str, mult_adds: str
) -> None:
    cells_per_stack, filters = parse_size(size, CELLS[name])
    cost = cost_of(CELLS[name], cells_per_stack=cells_per_stack, filters=filters, **network)  # type: ignore[arg-type]
    assert f"{cost.parameters / 1e6:.1f}" == millions
    assert f"{cost.mult_adds / 1e9:.{len(mult_adds.split('.')[1])}f}" == mult_adds


def test_every_cell_of_nasnet_a_large_counts_to_the_unit() -> None:
    network = network_of(NASNET_A, 6, 168, macro="imagenet", classes=1000)
    expected = [
        (2_784, 70_567_200),
        (49_230, 414_774_786),
        (121_128, 323_765_568),
        (396_816, 692_870_976),
        (537_936, 941_806_656),
        *[(650_832, 1_140_955_200)] * 4,
        (1_919_904, 1_739_289_888),
        (1_979_040, 869_200_416),
        (2_317_728, 1_018_561_824),
        *[(2_543_520, 1_118_136_096)] * 4,
        (7_452_480, 1_766_839_872),
        (7_796_544, 941_430_336),
        (9_151_296, 1_105_355_328),
        *[(10_054_464, 1_214_638_656)] * 4,
        (4_033_000, 4_032_000),
    ]
    parts = cost_by_part(network, 331)
    assert list(parts) == ["stem", *(f"cells.{index}" for index in range(22)), "classifier"]
    assert list(parts.values()) == [Cost(*numbers) for numbers in expected]


@pytest.mark.parametrize(
    ("cells", "size", "scales", "weights", "norms", "convolutions"),
    [
        (NASNET_A, (6, 168), 196_668, 84_523_482, 264, 488),
        (PNASNET_5, (4, 216), 176_988, 81_559_680, 201, 373),
    ],
    ids=["nasnet-a", "pnasnet-5"],
)
def test_layers_are_as_many_as_in_the_released_networks(
    cells: CellPair, size: tuple[int, int], scales: int, weights: int, norms: int, convolutions: int
) -> None:
    modules = list(network_of(cells, *size, macro="imagenet", classes=1000).modules())
    batch_norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
    convs = [module for module in modules if isinstance(module, nn.Conv2d)]
    assert (len(batch_norms), len(convs)) == (norms, convolutions)
    assert sum(map(parameters, batch_norms)) == scales
    assert sum(map(parameters, convs)) == weights
    assert all(norm.eps == 1e-3 for norm in batch_norms)
    assert all(conv.bias is None for conv in convs)


@pytest.mark.parametrize(
    ("cells", "size", "network", "chain"),
    [
        (
            NASNET_A,
            (4, 44),
            MOBILE,
            [(32, 111), (44, 56), (88, 28), *[(264, 28)] * 4, (352, 14), *[(528, 14)] * 4, (704, 7), *[(1056, 7)] * 4],
        ),
        (
            NASNET_A,
            (6, 168),
            LARGE,
            [
                *[(96, 165), (168, 83), (336, 42), *[(1008, 42)] * 6],
                *[(1344, 21), *[(2016, 21)] * 6, (2688, 11), *[(4032, 11)] * 6],
            ],
        ),
        (
            PNASNET_5,
            (4, 216),
            LARGE,
            [(96, 165), (270, 83), (540, 42), *[(1080, 42)] * 4, *[(2160, 21)] * 4, *[(4320, 11)] * 4],
        ),
    ],
    ids=["nasnet-a mobile", "nasnet-a large", "pnasnet-5 large"],
)
def test_shapes_are_those_of_the_released_networks(
    cells: CellPair, size: tuple[int, int], network: dict[str, int], chain: list[tuple[int, int]]
) -> None:
    built = network_of(cells, *size, macro="imagenet", classes=1000)
    shapes: list[tuple[int, ...]] = []
    for module in (built.stem.stages[-1], *built.cells):
        module.register_forward_hook(lambda _module, _inputs, y: shapes.append(tuple(y.shape[1:])))
    image = network["image"]
    assert built(torch.empty(2, 3, image, image, device="meta")).shape == (2, 1000)
    assert shapes == [(channels, side, side) for channels, side in chain]


# A second counter --------------------------------------------------------------------------------------------------


@dataclass
class Counter:
    """Adds up layers by arithmetic alone: weights, and weights times the pixels that they make."""

    parameters: int = 0
    mult_adds: int = 0

    def conv(self, wide: int, filters: int, side: int, pixels: int, *, depthwise: bool = False) -> None:
        """Count a convolution of ``side`` weights per channel pair, and the pixels that it makes."""
        weights = wide * side if depthwise else wide * filters * side
        self.parameters += weights
        self.mult_adds += weights * pixels

    def norm(self, channels: int) -> None:
        self.parameters += 2 * channels

    def unit(self, wide: int, filters: int, side: int, pixels: int) -> None:
        self.conv(wide, filters, side, pixels)
        self.norm(filters)

    def op(self, name: str, wide: int, filters: int, before: int, stride: int) -> None:
        """Count an operation on a map of ``before`` pixels a side."""
        after = -(-before // stride)
        big, small = before**2, after**2
        kernel = int(name[-1]) if name[-1].isdigit() else 0
        if name in ("identity", "skip_connect"):
            if stride == 2 or wide != filters:
                self.unit(wide, filters, 1, small)
        elif "pool" in name:
            if wide != filters:
                self.unit(wide, filters, 1, small)
        elif name.startswith("sep_conv"):
            for channels in (wide, filters):
                self.conv(channels, channels, kernel**2, small, depthwise=True)
                self.unit(channels, filters, 1, small)
        elif name.startswith("dil_sep_conv"):
            self.conv(wide, wide, kernel**2, small, depthwise=True)
            self.unit(wide, filters, 1, small)
        elif name == "conv_1x1":
            self.unit(wide, filters, 1, small)
        elif name in ("conv_3x3", "dil_conv_3x3"):
            inside = max(filters // 4, 1)
            self.unit(wide, inside, 1, big)
            self.unit(inside, inside, 9, small)
            self.unit(inside, filters, 1, small)
        else:  # a pair of one-dimensional convolutions; the first halves the width, the second the height
            inside = max(filters // 4 if name == "conv_1x7_7x1" else filters * 3 // 8, 1)
            self.unit(wide, inside, 1, big)
            self.unit(inside, inside, 7 if name == "conv_1x7_7x1" else 3, before * after)
            self.unit(inside, inside, 7 if name == "conv_1x7_7x1" else 3, small)
            self.unit(inside, filters, 1, small)

    def cell(
        self,
        cell: Cell,
        inputs: tuple[tuple[int, int], tuple[int, int] | None],
        filters: int,
        stride: int,
        always: bool,
    ) -> tuple[int, int]:
        """Count a cell; inputs are (channels, pixels a side) of h_i and h_{i-1}. Gives those of the output."""
        (current, side), before = inputs
        small = -(-side // stride)
        self.unit(current, filters, 1, side**2)
        widths = [filters, filters]
        if before is None:
            widths[1] = current
        elif before[1] != side or before[0] != filters or always:
            # A factorized reduction has as many weights as a convolution, in two halves.
            self.unit(before[0], filters, 1, side**2)
        for index, block in enumerate(cell.blocks):
            for edge in block.edges:
                wide, is_input = widths[edge.source], edge.source < 2
                if not is_input and wide != filters:
                    self.unit(wide, filters, 1, small**2)
                    wide = filters
                self.op(edge.op, wide, filters, side if is_input else small, stride if is_input else 1)
            if "norm" in block.combine:
                self.norm(filters)
            widths.append((1 + (block.combine == "concat")) * filters)
            assert len(widths) == index + 3
        for state in cell.output:
            if state < 2 and (stride == 2 or widths[state] != filters):
                self.unit(widths[state], filters, 1, small**2)
        return sum(filters if state < 2 else widths[state] for state in cell.output), small


def counted(cells: CellPair, macro: str, n: int, filters: int, image: int, classes: int, channels: int) -> Cost:
    """Count a network by the rules of the papers and of the released code."""
    counter = Counter()
    family = cells.stacking
    if macro == "cifar":
        counter.unit(channels, 3 * filters, 9, image**2)
        outputs: list[tuple[int, int] | None] = [None, (3 * filters, image)]
        if family == "darts":
            outputs[0] = outputs[1]
    elif family == "darts":
        sides = [image]
        for wide, width in ((channels, filters // 2), (filters // 2, filters), (filters, filters)):
            sides.append(-(-sides[-1] // 2))
            counter.unit(wide, width, 9, sides[-1] ** 2)
        outputs = [(filters, sides[2]), (filters, sides[3])]
    else:
        side = (image - 3) // 2 + 1
        stem = 96 if filters >= 100 and family != "amoebanet" else 32
        counter.unit(channels, stem, 9, side**2)
        outputs = [None, (stem, side)]
    layers = [] if macro == "cifar" or family == "darts" else [("R", filters // 4), ("R", filters // 2)]
    for stack, width in enumerate((filters, 2 * filters, 4 * filters)):
        stacked = [("n", width)] * n
        if stack:
            stacked = [("R", width), *stacked[family == "pnasnet" :]]
        layers += stacked
    for kind, width in layers:
        current = outputs[-1]
        assert current is not None
        cell, stride = (cells.reduction, 2) if kind == "R" else (cells.normal, 1)
        outputs.append(counter.cell(cell, (current, outputs[-2]), width, stride, family == "darts"))
    assert outputs[-1] is not None
    features = outputs[-1][0]
    return Cost(counter.parameters + features * classes + classes, counter.mult_adds + features * classes)


@pytest.mark.parametrize("macro", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", CELLS)
def test_any_size_of_a_published_cell_counts_as_by_hand(name: str, macro: str) -> None:
    # F/4 and F/2 of these are odd, or rounded down; so are the widths inside of bottlenecks.
    for n, filters, image, classes, channels in [
        (1, 5, 8, 3, 1),
        (1, 27, 33, 10, 3),
        (1, 95, 40, 7, 4),
        (2, 190, 75, 1000, 3),
    ]:
        if (name, macro, filters) == ("amoebanet-c", "imagenet", 5):
            continue  # it puts out h_i, halved by two paths, and F / 4 = 1 is a filter for one of them
        size = {"cells_per_stack": n, "filters": filters, "image": image, "classes": classes, "channels": channels}
        expected = counted(CELLS[name], macro, n, filters, image, classes, channels)
        assert cost_of(CELLS[name], macro=macro, **size) == expected, size


@pytest.mark.parametrize("macro", ["cifar", "imagenet"])
@pytest.mark.parametrize(
    "spelling",
    ["nasnet", "nasnet(combines=add+concat+add_layer_norm+add_instance_norm)", "amoebanet", "pnas", "darts"],
)
def test_any_cell_counts_as_by_hand(spelling: str, macro: str) -> None:
    space, rng = build_space(spelling), np.random.default_rng(0)
    tested = 0
    while tested < 3:
        cells = space.decode(space.sample(rng))
        if any({0, 1} - cell.live_states() for cell in (cells.normal, cells.reduction)):
            continue  # by hand only what reads both inputs: of others, parts are not built
        tested += 1
        expected = counted(cells, macro, 1, 21, 37, 11, 3)
        assert cost_of(cells, macro=macro, cells_per_stack=1, filters=21, image=37, classes=11) == expected, cells


def test_the_wiring_after_a_reduction_changes_no_count() -> None:
    counts = {
        cost_of(NASNET_A, cells_per_stack=2, filters=24, skip_reduction_input=skips, average=average)
        for skips in (False, True)
        for average in ("same", "zeros")
    }
    assert counts == {Cost(757_906, 136_390_272)}
