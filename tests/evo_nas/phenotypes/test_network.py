import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evo_nas.phenotypes.cell import CellModule, DropPath
from evo_nas.phenotypes.network import CellNetwork, UnreadCell
from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.genotype import GenotypeError
from genotypes.nasnet import NASNetSpace
from genotypes.operations import COMBINES, OPERATIONS
from genotypes.zoo import NASNET_A


def build(cells: CellPair = NASNET_A, **options: object) -> CellNetwork:
    settings: dict[str, object] = {"cells_per_stack": 1, "filters": 4, "classes": 10} | options
    return CellNetwork(cells, **settings)  # type: ignore[arg-type]


def drop_paths(module: nn.Module) -> list[DropPath]:
    return [m for m in module.modules() if isinstance(m, DropPath)]


@pytest.mark.parametrize("combines", [("add",), tuple(COMBINES)])
@pytest.mark.parametrize("image", [8, 11])
def test_every_genotype_builds_and_trains_all_its_parameters(combines: tuple[str, ...], image: int) -> None:
    space = NASNetSpace(ops=tuple(OPERATIONS), combines=combines)
    rng = np.random.default_rng([image, len(combines)])
    images, labels = torch.randn(2, 3, image, image), torch.tensor([0, 1])
    for _ in range(12):
        genotype = space.sample(rng)
        network = build(space.decode(genotype), filters=3, classes=2)
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        assert loss.isfinite(), genotype
        untrained = [name for name, parameter in network.named_parameters() if parameter.grad is None]
        assert not untrained, genotype


def test_shapes_are_those_of_the_released_network() -> None:
    with torch.device("meta"):
        network = build(cells_per_stack=6, filters=32)
        images = torch.empty(2, 3, 32, 32)
    shapes: list[tuple[int, ...]] = []
    for module in (network.stem.stages[-1], *network.cells):
        module.register_forward_hook(lambda _module, _inputs, y: shapes.append(tuple(y.shape[1:])))
    assert network(images).shape == (2, 10)
    assert shapes == [
        (96, 32, 32),
        *[(192, 32, 32)] * 6,
        (256, 16, 16),
        *[(384, 16, 16)] * 6,
        (512, 8, 8),
        *[(768, 8, 8)] * 6,
    ]


def test_a_cell_reads_the_two_before_it() -> None:
    network = build(cells_per_stack=2)
    inputs: list[tuple[Tensor, Tensor | None]] = []
    outputs: list[Tensor] = []
    network.stem.stages[-1].register_forward_hook(lambda _module, _inputs, y: outputs.append(y))
    for cell in network.cells:
        cell.register_forward_pre_hook(lambda _module, x: inputs.append(x))
        cell.register_forward_hook(lambda _module, _inputs, y: outputs.append(y))
    network(torch.randn(2, 3, 8, 8))
    assert inputs[0][0] is outputs[0]
    assert inputs[0][1] is None
    for index, (current, previous) in enumerate(inputs[1:], start=1):
        assert current is outputs[index]
        assert previous is outputs[index - 1]


def test_head_is_relu_mean_and_a_linear_layer() -> None:
    network = build().eval()
    last: list[Tensor] = []
    network.cells[-1].register_forward_hook(lambda _module, _inputs, y: last.append(y))
    logits = network(torch.randn(2, 3, 8, 8))
    features = last[0].clamp(min=0).flatten(2).mean(2)
    expected = features @ network.classifier.weight.T + network.classifier.bias
    torch.testing.assert_close(logits, expected)


def test_a_cell_that_nobody_reads_is_not_built() -> None:
    only_previous = Cell.unused([Block(Edge(1, "conv_1x1"), Edge(1, "identity"))])
    network = build(CellPair(only_previous, only_previous), cells_per_stack=2)  # N N R N N R N N
    assert [isinstance(cell, UnreadCell) for cell in network.cells] == [True, False] * 4
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("image", [1, 8, 9, 28, 32])
def test_grey_and_colour_images_of_any_size(image: int, channels: int) -> None:
    network = build(channels=channels).eval()
    assert network(torch.randn(2, channels, image, image)).shape == (2, 10)


def test_narrowest_network_works() -> None:
    network = build(filters=1, stem=1)
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 10)


def test_memory_format_does_not_change_the_result() -> None:
    network, images = build().eval().double(), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    expected = network(images)
    last = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(last(images.to(memory_format=torch.channels_last)), expected)


def test_trains_in_bfloat16_under_autocast() -> None:
    torch.manual_seed(0)
    network = build(drop_path_keep=0.8)
    images = torch.randn(8, 3, 16, 16).to(memory_format=torch.channels_last)
    expected = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(images)
        assert logits.dtype == torch.bfloat16
        torch.testing.assert_close(logits.float(), expected, atol=0.2, rtol=0.1)
        network.set_drop_path(1)
        loss = F.cross_entropy(network(images), torch.arange(8))
    loss.backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_same_seed_same_weights() -> None:
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        networks.append(build().state_dict())
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])
    assert not torch.equal(networks[0]["classifier.weight"], networks[2]["classifier.weight"])


def test_weights_have_the_variance_of_their_fan_out() -> None:
    torch.manual_seed(0)
    network = build(filters=64)
    first = network.cells[0]
    assert isinstance(first, CellModule)
    depthwise, pointwise = first.blocks[0].left[0][1], first.blocks[0].left[0][2]
    assert depthwise.weight.std().item() == pytest.approx(math.sqrt(2 / 25), rel=0.05)
    assert pointwise.weight.std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.05)
    stem = network.stem.stages[0][0]  # type: ignore[index]
    assert stem.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 192)), rel=0.05)
    assert network.classifier.weight.std().item() == pytest.approx(math.sqrt(1 / (24 * 64)), rel=0.05)


def test_drop_path_grows_with_depth_and_time() -> None:
    network = build(drop_path_keep=0.6)  # 5 cells
    assert {drop.keep for drop in drop_paths(network)} == {1.0}
    network.set_drop_path(1)
    for cell, keep in zip(network.cells, [0.92, 0.84, 0.76, 0.68, 0.6], strict=True):
        assert drop_paths(cell)
        assert all(drop.keep == pytest.approx(keep) for drop in drop_paths(cell))
    network.set_drop_path(0.5)
    assert drop_paths(network.cells[4])[0].keep == pytest.approx(0.8)
    with pytest.raises(ValueError, match=r"fraction in \[0, 1\], not 1\.5"):
        network.set_drop_path(1.5)


def test_drop_path_is_off_in_evaluation() -> None:
    torch.manual_seed(0)
    network, images = build(drop_path_keep=0.5), torch.randn(4, 3, 8, 8)
    network.eval()
    expected = network(images)
    network.set_drop_path(1)
    assert torch.equal(network(images), expected)
    network.train()
    assert not torch.equal(network(images), network(images))
    network.set_drop_path(0)
    assert torch.equal(network(images), network(images))


def test_unknown_operation_names_the_cell() -> None:
    cell = Cell.from_json({"blocks": [{"left": [0, "sep_conv_9x9"], "right": [1, "identity"]}]})
    with pytest.raises(GenotypeError, match="reduction cell: block 0 names the operation 'sep_conv_9x9'"):
        build(CellPair(NASNET_A.normal, cell))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cells_per_stack": 0}, "cells_per_stack must be at least 1, not 0"),
        ({"filters": 0}, "filters must be at least 1, not 0"),
        ({"classes": 0}, "classes must be at least 1, not 0"),
        ({"stem": 0}, "stem must be at least 1, not 0"),
        ({"channels": 0}, "channels must be at least 1, not 0"),
        ({"dropout": 1}, r"dropout must lie in \[0, 1\), not 1"),
        ({"drop_path_schedule": "width"}, "drop_path_schedule must be one of both, depth, time, not 'width'"),
        ({"average": "reflect"}, "average must be one of same, zeros, not 'reflect'"),
        ({"macro": "mnist"}, "no macro-architecture 'mnist'; there are: cifar, imagenet"),
        ({"macro": "imagenet", "filters": 3}, "a quarter of the filters: at least 4, not 3"),
        ({"drop_path_keep": 0}, r"drop_path_keep must lie in \(0, 1\], not 0"),
        ({"drop_path_keep": math.nan}, r"drop_path_keep must lie in \(0, 1\], not nan"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)
