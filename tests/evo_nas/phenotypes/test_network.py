import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evo_nas.phenotypes.cell import BlockModule, CellModule, DropPath
from evo_nas.phenotypes.network import CellNetwork, UnreadCell
from evo_nas.phenotypes.ops import SamePool2d
from evo_nas.phenotypes.plan import MACROS
from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.genotype import GenotypeError
from genotypes.operations import COMBINES, OPERATIONS
from genotypes.spaces.nasnet import NASNetSpace
from genotypes.stacking import STACKINGS
from genotypes.zoo import CELLS, NASNET_A

pytestmark = pytest.mark.slow


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
    inputs: list[tuple[Tensor, Tensor]] = []
    outputs: list[Tensor] = []
    network.stem.stages[-1].register_forward_hook(lambda _module, _inputs, y: outputs.append(y))
    for cell in network.cells:
        cell.register_forward_pre_hook(lambda _module, x: inputs.append(x))
        cell.register_forward_hook(lambda _module, _inputs, y: outputs.append(y))
    network(torch.randn(2, 3, 8, 8))
    assert inputs[0][0] is outputs[0]
    assert inputs[0][1] is inputs[0][0]
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
    only_previous = Cell.join_leaves([Block(Edge(1, "conv_1x1"), Edge(1, "identity"))])
    network = build(CellPair(only_previous, only_previous), cells_per_stack=2)  # N N R N N R N N
    assert [isinstance(cell, UnreadCell) for cell in network.cells] == [True, False] * 4
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("image", [8, 9, 28, 32])
@pytest.mark.parametrize("macro", MACROS)
def test_images_of_any_size_and_any_number_of_channels_and_classes(macro: str, image: int, channels: int) -> None:
    network = build(macro=macro, channels=channels, classes=channels).eval()
    assert network(torch.randn(2, channels, image, image)).shape == (2, channels)
    assert network(torch.randn(1, channels, image + 3, image)).shape == (1, channels)


@pytest.mark.parametrize("macro", MACROS)
@pytest.mark.parametrize("name", CELLS)
def test_every_published_cell_trains_all_its_parameters(name: str, macro: str) -> None:
    network = build(CELLS[name], macro=macro, filters=8, auxiliary_image=32)
    logits, early = network.forward_both(torch.randn(2, 3, 32, 32))
    assert early is not None
    (F.cross_entropy(logits, torch.tensor([0, 1])) + F.cross_entropy(early, torch.tensor([0, 1]))).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_large_images_go_through_a_strided_convolution_without_padding_and_two_reduction_cells() -> None:
    network = build(macro="imagenet", cells_per_stack=1, filters=8).eval()
    inputs: list[tuple[Tensor, Tensor]] = []
    outputs: list[Tensor] = []
    for cell in network.cells:
        cell.register_forward_pre_hook(lambda _module, x: inputs.append(x))
        cell.register_forward_hook(lambda _module, _inputs, y: outputs.append(y))
    images = torch.randn(2, 3, 33, 33)
    network(images)
    ((conv, norm),) = network.stem.stages
    stem = norm(F.conv2d(images, conv.weight, stride=2))
    torch.testing.assert_close(inputs[0][0], stem)
    assert inputs[0][1] is inputs[0][0]
    assert stem.shape[2] == 16
    torch.testing.assert_close(inputs[1][1], stem)
    assert [y.shape[2] for y in outputs] == [8, 4, 4, 2, 2, 1, 1]
    assert [y.shape[1] for y in outputs] == [4 * 2, 4 * 4, 6 * 8, 4 * 16, 6 * 16, 4 * 32, 6 * 32]


@pytest.mark.parametrize("skips", [False, True])
def test_the_cell_after_a_reduction_reads_what_the_wiring_says(skips: bool) -> None:
    network = build(cells_per_stack=2, skip_reduction_input=skips)  # N N R N N R N N
    inputs: list[tuple[Tensor, Tensor]] = []
    for cell in network.cells:
        cell.register_forward_pre_hook(lambda _module, x: inputs.append(x))
    network(torch.randn(2, 3, 8, 8))
    for reduction in (2, 5):
        (before, before_that), (_, after) = inputs[reduction], inputs[reduction + 1]
        assert after is (before_that if skips else before)


def test_darts_stem_makes_both_inputs_of_the_first_cell() -> None:
    network = build(CELLS["darts-v2"], macro="imagenet", filters=6)
    first, second = network.stem(torch.randn(2, 3, 33, 33))
    assert (first.shape, second.shape) == ((2, 6, 9, 9), (2, 6, 5, 5))
    layers = [[type(layer).__name__ for layer in stage] for stage in network.stem.stages]
    unit = ["SameConv2d", "BatchNorm2d"]
    assert layers == [[*unit, "ReLU", *unit], ["ReLU", *unit]]
    small = build(CELLS["darts-v2"], filters=6).cells[0]
    # In small images it reads the stem twice, each time through a convolution of its own.
    assert isinstance(small, CellModule)
    assert small.fit_previous[1].weight.shape == small.fit_current[1].weight.shape == (6, 18, 1, 1)


def test_batch_norm_has_the_epsilon_of_the_released_networks() -> None:
    def epsilons(name: str, macro: str) -> set[float]:
        modules = build(CELLS[name], macro=macro, filters=8, auxiliary_image=32).modules()
        return {module.eps for module in modules if isinstance(module, nn.BatchNorm2d)}

    for name in CELLS:
        assert epsilons(name, "cifar") == {1e-5}
        assert epsilons(name, "imagenet") == {1e-5 if name.startswith("darts") else 1e-3}


def test_average_pooling_counts_zeros_on_request_and_only_at_stride_2() -> None:
    def pools(average: str) -> set[tuple[str, int, bool]]:
        modules = build(macro="imagenet", average=average).modules()
        return {(m.kind, m.stride, m.pads_zeros) for m in modules if isinstance(m, SamePool2d) and m.kind == "avg"}

    assert pools("same") == {("avg", 1, False), ("avg", 2, False)}
    assert pools("zeros") == {("avg", 1, False), ("avg", 2, True)}


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


@pytest.mark.parametrize(
    ("schedule", "progress", "first", "last"),
    [
        # Stem cells count: the first of 7 cells has a depth of 1/7 (tensorflow/models, slim/nets/nasnet).
        ("both", 1.0, 1 - 0.4 / 7, 0.6),
        ("both", 0.25, 1 - 0.1 / 7, 0.9),
        ("depth", 0.0, 1 - 0.4 / 7, 0.6),
        ("depth", 1.0, 1 - 0.4 / 7, 0.6),
        ("time", 1.0, 0.6, 0.6),
        ("time", 0.25, 0.9, 0.9),
        ("both", 0.0, 1.0, 1.0),
        ("time", 0.0, 1.0, 1.0),
    ],
)
def test_a_schedule_may_go_by_depth_or_by_time_alone(schedule: str, progress: float, first: float, last: float) -> None:
    network = build(macro="imagenet", drop_path_keep=0.6, drop_path_schedule=schedule)
    network.set_drop_path(progress)
    keeps = [{drop.keep for drop in drop_paths(cell)} for cell in network.cells]
    assert all(len(keep) == 1 for keep in keeps)
    assert [keeps[0].pop(), keeps[-1].pop()] == pytest.approx([first, last])


def test_identities_are_spared_by_drop_path_and_a_strided_skip_is_not() -> None:
    def dropped(name: str) -> list[str]:
        network = build(CELLS[name], drop_path_keep=0.5)
        return [
            edge.op
            for cell in network.cells
            if isinstance(cell, CellModule)
            for block in cell.blocks
            if isinstance(block, BlockModule)
            for path, edge in zip((block.left, block.right), block.block.edges, strict=True)
            if drop_paths(path)
        ]

    assert "identity" not in dropped("nasnet-a")
    assert set(dropped("nasnet-a")) == {
        edge.op for cell in (NASNET_A.normal, NASNET_A.reduction) for block in cell.blocks for edge in block.edges
    } - {"identity"}
    # In each of 2 reduction cells of DARTS-V1 no skip reads an input; at stride 1 they compute nothing.
    assert "skip_connect" not in dropped("darts-v1")
    skipping = Cell.join_all([Block(Edge(0, "skip_connect"), Edge(1, "skip_connect"))])
    network = build(CellPair(skipping, skipping, "darts"))
    assert [len(drop_paths(cell)) for cell in network.cells] == [0, 2, 0, 2, 0]


def test_dropout_comes_before_the_classifier_in_training_alone() -> None:
    torch.manual_seed(0)
    network = build(dropout=0.5)
    seen: list[Tensor] = []
    network.classifier.register_forward_pre_hook(lambda _module, x: seen.append(x[0]))
    network.cells[-1].register_forward_hook(lambda _module, _inputs, y: seen.append(y.relu().mean((2, 3))))
    network(torch.randn(64, 3, 8, 8))
    features, dropped = seen
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], 2 * features[kept])
    share = kept.sum().item() / (features != 0).sum().item()
    assert share == pytest.approx(0.5, abs=0.05)
    network.eval()(torch.randn(4, 3, 8, 8))
    torch.testing.assert_close(seen[3], seen[2])


@pytest.mark.parametrize("image", [32, 96])
def test_the_auxiliary_classifier_is_that_of_the_released_network(image: int) -> None:
    network = build(cells_per_stack=2, auxiliary_image=image).eval().double()  # N N R N N R N N
    outputs: list[Tensor] = []
    network.cells[4].register_forward_hook(lambda _module, _inputs, y: outputs.append(y))
    images = torch.randn(2, 3, image, image, dtype=torch.float64)
    logits, early = network.forward_both(images)
    torch.testing.assert_close(logits, network(images))
    head = network.auxiliary
    assert head is not None
    pooled = F.avg_pool2d(outputs[0].clamp(min=0), 5, 3)
    narrow = head.reduce[1](F.conv2d(pooled, head.reduce[0].weight)).clamp(min=0)
    assert narrow.shape[1] == 128
    wide = head.flatten[1](torch.einsum("nchw,dchw->nd", narrow, head.flatten[0].weight)[:, :, None, None]).clamp(min=0)
    assert wide.shape == (2, 768, 1, 1)
    expected = F.linear(wide.flatten(1), head.classifier.weight, head.classifier.bias)
    torch.testing.assert_close(early, expected)


def test_without_an_auxiliary_classifier_there_are_no_early_logits() -> None:
    network = build()
    logits, early = network.forward_both(torch.randn(2, 3, 8, 8))
    assert logits.shape == (2, 10)
    assert early is None


@pytest.mark.parametrize("macro", MACROS)
@pytest.mark.parametrize("name", ["nasnet-a", "amoebanet-c", "pnasnet-5", "darts-v1"])
def test_an_auxiliary_classifier_fits_any_image(name: str, macro: str) -> None:
    for image in (8, 9, 33, 64, 224):
        with torch.device("meta"):
            network = build(CELLS[name], macro=macro, filters=8, auxiliary_image=image)
        _, early = network.forward_both(torch.empty(2, 3, image, image, device="meta"))
        assert early is not None
        assert early.shape == (2, 10)


@pytest.mark.parametrize("macro", MACROS)
@pytest.mark.parametrize("stacking", STACKINGS)
@pytest.mark.parametrize("cells_per_stack", [1, 2, 3])
def test_an_auxiliary_classifier_reads_the_last_cell_that_is_built(
    cells_per_stack: int, stacking: str, macro: str
) -> None:
    only_previous = Cell.join_leaves([Block(Edge(1, "conv_1x1"), Edge(1, "identity"))])
    network = build(
        CellPair(only_previous, only_previous, stacking),
        macro=macro,
        cells_per_stack=cells_per_stack,
        filters=8,
        auxiliary_image=32,
    )
    logits, early = network.forward_both(torch.randn(2, 3, 32, 32))
    assert early is not None
    (logits.sum() + early.sum()).backward()
    untrained = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    # The second output of DARTS's stem, which nobody reads here, is made all the same.
    assert [name for name in untrained if not name.startswith("stem.stages.1.")] == []


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
        ({"dropout": 1}, "dropout must be at least 0 and below 1, not 1"),
        ({"drop_path_schedule": "width"}, "drop_path_schedule must be one of both, depth, time, not 'width'"),
        ({"average": "reflect"}, "average must be one of same, zeros, not 'reflect'"),
        ({"macro": "mnist"}, "no macro-architecture 'mnist'; there are: cifar, imagenet"),
        ({"macro": "imagenet", "filters": 3}, "a quarter of the filters: at least 4, not 3"),
        ({"drop_path_keep": 0}, "drop_path_keep must be above 0 and at most 1, not 0"),
        ({"drop_path_keep": math.nan}, "drop_path_keep must be above 0 and at most 1, not nan"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)
