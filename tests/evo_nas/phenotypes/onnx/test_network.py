"""ONNX graphs that are written from our modules: ONNX Runtime computes with them what the networks compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from evo_nas.phenotypes.edges import build_edges
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.onnx.graph import OPSET
from evo_nas.phenotypes.onnx.network import can_write, write_onnx
from evo_nas.phenotypes.resnet import ResNet
from evo_nas.phenotypes.widths.draw import build_widths
from evo_nas.training.pruning import widths_of_seed
from genotypes.catalogue import build_space
from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.edge_cell import EdgeCell
from genotypes.operations import COMBINES, OPERATIONS
from genotypes.zoo import CELLS

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

EVERYTHING = f"nasnet(blocks=3,combines={'+'.join(COMBINES)},ops={'+'.join(OPERATIONS)})"


def cells(pair: CellPair, **options: Any) -> CellNetwork:
    return CellNetwork(pair, **{"cells_per_stack": 1, "filters": 4, "classes": 3} | options)


def shaken(network: nn.Module) -> nn.Module:
    """Give a network weights in which nothing has its first value: running means, norms and biases included."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            low, high = (0.5, 1.5) if "var" in name or tensor.dim() == 1 else (-0.4, 0.4)
            tensor.uniform_(low, high, generator=generator)
    return network.eval()


def run(content: bytes, images: torch.Tensor) -> np.ndarray:
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    return np.asarray(logits)


def same_outputs(network: nn.Module, image: int, *, folds: tuple[bool, ...] = (True, False), channels: int = 3) -> None:
    """Compare with the network in float64, relative to the largest logit."""
    shaken(network)
    images = torch.randn(2, channels, image, image, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network.double()(images.double()).numpy()
    network.float()
    for fold in folds:
        model = write_onnx(network, channels=channels, image=image, fold=fold)
        onnx.checker.check_model(model, full_check=True)
        error = np.abs(run(model.SerializeToString(), images) - expected).max() / np.abs(expected).max()
        assert error < 1e-5, fold


def everything(**options: Any) -> CellNetwork:
    """Build a network of all operations and combinations, which puts its inputs out too."""
    ops = [*OPERATIONS, "identity"]
    pairs = zip(ops[::2], ops[1::2], strict=True)
    blocks = tuple(
        Block(Edge(i % 5, left), Edge(i % 2, right), [*COMBINES][i % 4]) for i, (left, right) in enumerate(pairs)
    )
    cell = Cell(blocks, tuple(range(len(blocks) + 2)))
    return cells(CellPair(cell, cell, "pnasnet"), filters=8, **options)


@pytest.mark.slow
@pytest.mark.parametrize("macro", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", CELLS)
def test_published_cells(name: str, macro: str) -> None:
    same_outputs(cells(CELLS[name], macro=macro, filters=8), 16 if macro == "cifar" else 33, folds=(macro == "cifar",))


@pytest.mark.parametrize("image", [8, 17])
def test_every_operation_and_combination(image: int) -> None:
    same_outputs(everything(), image)
    same_outputs(everything(average="zeros", channels=1), image, folds=(True,), channels=1)


@pytest.mark.parametrize("spelling", ["nasnet", "amoebanet", "pnas", "darts", EVERYTHING])
def test_random_genotypes(spelling: str) -> None:
    space, rng = build_space(spelling), np.random.default_rng(0)
    for image in (11, 16):
        same_outputs(cells(space.decode(space.sample(rng))), image, folds=(image == 16,))


@pytest.mark.parametrize("spelling", ["random", "|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_1x1~2|"])
def test_cells_of_edges(spelling: str) -> None:
    space = build_space("nasbench201")
    cell = space.decode(space.sample(np.random.default_rng(3))) if spelling == "random" else EdgeCell.parse(spelling)
    assert isinstance(cell, EdgeCell)
    same_outputs(build_edges(cell, cells_per_stack=1, filters=4, classes=3), 13)


def test_residual_networks_and_other_widths() -> None:
    same_outputs(ResNet(8, 4), 9)
    rng = np.random.default_rng(0)
    for seed in ("resnet:8x4", "cell:amoebanet-b@1x8"):
        widths = widths_of_seed(seed, classes=5, channels=3, image_size=16)
        drawn = {name: max(1, int(width * rng.uniform(0.4, 1.4))) for name, width in widths.widths.items()}
        same_outputs(build_widths(replace(widths, widths=drawn), classes=5, channels=3, image_size=16), 16)


def test_the_graph_holds_what_it_needs_and_no_more() -> None:
    reads_one = Cell((Block(Edge(1, "sep_conv_3x3"), Edge(1, "max_pool_3x3"), "add"),), (2,))
    network = cells(CellPair(reads_one, reads_one), auxiliary_image=16)  # of whose cells some are read by nobody
    models = {fold: write_onnx(network, channels=3, image=16, fold=fold, metadata={"a": "b"}) for fold in (True, False)}
    for model in models.values():
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
        assert [(each.key, each.value) for each in model.metadata_props] == [("a", "b")]
        read = {source for node in model.graph.node for source in node.input}
        made = {output for node in model.graph.node for output in node.output} | {
            t.name for t in model.graph.initializer
        }
        assert read - made == {"images"}
        assert made - read == {"logits"}
    assert not [node for node in models[True].graph.node if node.op_type == "BatchNormalization"]
    state: Mapping[str, torch.Tensor] = network.state_dict()
    for tensor in models[False].graph.initializer:
        if tensor.name in state:
            assert np.array_equal(onnx.numpy_helper.to_array(tensor), state[tensor.name].numpy())
    assert sum(tensor.name in state for tensor in models[False].graph.initializer) > 30


def test_networks_of_others_are_left_to_the_exporter() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    assert not can_write(network)
    with pytest.raises(TypeError, match="Sequential is not known"):
        write_onnx(network, channels=3, image=2)


@pytest.mark.slow
def test_torchs_exporter_computes_the_same() -> None:
    from evo_nas.commands.export.graphs import export_graph
    from evo_nas.phenotypes.blueprint import CellBlueprint

    blueprint = CellBlueprint(CELLS["darts-v2"], cells_per_stack=1, filters=4, classes=("a", "b"), image=16)
    network = shaken(blueprint.network())
    images = torch.randn(2, 3, 16, 16)
    by_torch = export_graph(network, blueprint, fold=False)
    expected = run(by_torch, images)
    found = run(write_onnx(network, channels=3, image=16).SerializeToString(), images)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    operators = [node.op_type for node in onnx.load_from_string(by_torch).graph.node]
    assert "BatchNormalization" in operators, "nothing was to be folded"
