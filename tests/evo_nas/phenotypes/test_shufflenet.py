"""Networks of chains: the function of the released code by fingerprints, both shuffles by hand, counts, parts."""

from __future__ import annotations

import pytest
import torch

from evo_nas.phenotypes.kinds import build_network, count_cost
from evo_nas.phenotypes.shufflenet import (
    ChainHead,
    ShuffleNet,
    ShuffleTrunk,
    ShuffleUnit,
    build_block,
    build_stem,
    divide_channels,
)
from genotypes.catalogue import build_space
from genotypes.chain import BLOCKS, Chain, ChainSize
from genotypes.individual import Cost
from genotypes.zoo import CHAINS
from tests.filling import fill, image, sums

GENE = CHAINS["detnas-coco-fpn-300m"]


@pytest.mark.parametrize(
    ("block", "channels", "stride", "shuffle", "expected"),
    [
        (0, (16, 64), 2, 2, (421.466672259, 3005.35771867)),
        (3, (16, 64), 2, 1, (320.461066421, 2299.35479775)),
        (1, (64, 64), 1, 1, (6298.31771819, 44078.8932577)),
        (1, (64, 64), 1, 2, (5975.39784524, 41809.6554388)),
        (3, (64, 64), 1, 2, (5930.66148209, 41502.4555276)),
    ],
)
def test_a_block_computes_what_the_released_code_does(
    block: int, channels: tuple[int, int], stride: int, shuffle: int, expected: tuple[float, float]
) -> None:
    unit = fill(ShuffleUnit(BLOCKS[block], *channels, stride, shuffle=shuffle))
    with torch.no_grad():
        made = unit(image(channels[0], 14, 18))
    assert made.shape == (1, 64, 14 // stride, 18 // stride)
    assert sums(made) == pytest.approx(expected, rel=1e-9)


def test_a_backbone_computes_what_the_released_code_does() -> None:
    trunk = fill(ShuffleTrunk.of(Chain(GENE.blocks, ChainSize(shuffle=1, bias=True)), 3))
    with torch.no_grad():
        stages = trunk(image(3, 64, 96))
    assert [tuple(stage.shape[1:]) for stage in stages] == [(64, 16, 24), (160, 8, 12), (320, 4, 6), (640, 2, 3)]
    expected = [
        (863.642638005, 6043.42019347),
        (424.506793195, 2970.01560476),
        (224.85800178, 1565.59397432),
        (104.382590018, 734.378608614),
    ]
    for stage, fingerprint in zip(stages, expected, strict=True):
        assert sums(stage) == pytest.approx(fingerprint, rel=1e-9)


def test_both_shuffles_divide_the_channels_as_released() -> None:
    images = torch.arange(64.0).reshape(1, 64, 1, 1)
    passed, worked = divide_channels(images, 1)
    assert passed.flatten().tolist() == [
        number for pair in zip(range(16), range(32, 48), strict=True) for number in pair
    ]
    assert worked.flatten().tolist()[:4] == [16, 48, 17, 49]
    passed, worked = divide_channels(images, 2)
    assert passed.flatten().tolist() == list(range(0, 64, 2))
    assert worked.flatten().tolist() == list(range(1, 64, 2))


@pytest.mark.parametrize(
    ("chain", "parameters", "mult_adds", "trunk"),
    [
        (GENE, 3_531_072, 321_219_008, (1_849_664, 288_082_368)),
        (CHAINS["single-path-one-shot"], 3_558_464, 322_918_720, (1_877_056, 289_782_080)),
        (Chain(("shuffle_5x5",) * 20), 3_211_968, 313_654_976, (1_530_560, 280_518_336)),
    ],
)
def test_counts_are_the_published_ones(chain: Chain, parameters: int, mult_adds: int, trunk: tuple[int, int]) -> None:
    with torch.device("meta"):
        network = ShuffleNet(chain, classes=1000)
    assert count_cost(network, channels=3, image_size=224) == (parameters, mult_adds)
    assert network.count_parts(224)["trunk"] == Cost(*trunk)


def test_biases_stand_where_the_released_code_of_detnas_has_them() -> None:
    with torch.device("meta"):
        network = ShuffleNet(Chain(GENE.blocks, ChainSize(bias=True)), classes=1000)
    biased = {name for name, _ in network.named_parameters() if name.endswith("bias")} - {
        f"{name}.bias" for name, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm2d)
    }
    assert biased == {"trunk.stem.0.bias", "head.last.0.bias", "head.classifier.bias"}
    assert count_cost(network, channels=3, image_size=224)[0] == 3_531_072 + 16 + 1024 + 1000


def test_a_network_can_be_put_together_of_parts_that_were_built_one_by_one() -> None:
    """As a supernet does it: per place and choice, with the same weights as the network that stands alone."""
    space = build_space("detnas(stages=1+2+1,widths=8+12+16,stem=4,last=8)")
    chain = space.decode(space.genotype([3, 0, 2, 1]))
    alone = fill(build_network(space, space.genotype([3, 0, 2, 1]), classes=5, channels=1, image_size=16))
    blocks = [build_block(place, name) for place, name in zip(chain.size.places, chain.blocks, strict=True)]
    trunk = ShuffleTrunk(chain.size, build_stem(chain.size, 1), blocks)
    head = ChainHead(chain.size, 5)
    for part in (trunk, head):
        fill(part)
    with torch.no_grad():
        assert torch.equal(head(trunk(image(1, 16, 16))[-1]), alone(image(1, 16, 16)))


def test_without_gamma_and_beta_a_block_has_convolutions_alone() -> None:
    place = ChainSize().places[0]
    for block in BLOCKS:
        unit = build_block(place, block, affine=False)
        assert all(parameter.dim() == 4 for parameter in unit.parameters())


@pytest.mark.parametrize(("stride", "side"), [(1, 16), (2, 8), (4, 4), (8, 2)])
def test_a_stem_halves_as_often_as_its_stride_says(stride: int, side: int) -> None:
    stem = build_stem(ChainSize(), 1, stride=stride)
    assert stem(torch.zeros(1, 1, 16, 16)).shape == (1, 16, side, side)


def test_a_network_needs_a_class_and_a_channel() -> None:
    with pytest.raises(ValueError, match="classes must be at least 1, not 0"):
        ShuffleNet(GENE, classes=0)
