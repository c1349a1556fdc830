"""Pieces of graphs: which there are, that each can be run alone, and that few cells have them all."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from torch import nn

from evo_nas.evaluators.devices.timing import TimingSettings, check_model, open_model
from evo_nas.phenotypes.kinds import build_network, count_cost
from evo_nas.phenotypes.onnx.graph import Graph, Value
from evo_nas.phenotypes.onnx.network import draw_graph
from evo_nas.phenotypes.onnx.pieces import Piece, count_pieces, write_piece
from evo_nas.phenotypes.resnet import ResNet
from genotypes.catalogue import build_space
from genotypes.operations import COMBINES, OPERATIONS

EVERYTHING = f"nasnet(blocks=3,combines={'+'.join(COMBINES)},ops={'+'.join(OPERATIONS)})"


def draw(spelling: str, seed: int = 0, *, normal_cells: int = 2) -> nn.Module:
    """Build a small network of a random genotype."""
    space = build_space(spelling)
    genotype = space.sample(np.random.default_rng(seed))
    size: dict[str, Any] = {"cells_per_stack": normal_cells, "filters": 8, "classes": 3, "channels": 3}
    return build_network(space, genotype, **size, image_size=8, drop_path_keep=1.0)


def pieces_of(network: nn.Module) -> Counter[Piece]:
    return count_pieces(*draw_graph(network.eval(), channels=3, image=8))


def add(graph: Graph, op: str, name: str, *values: Value, **attributes: Any) -> Value:
    weight = [graph.hold(f"{name}.weight", np.zeros((3, 3, 1, 1)))] if op == "Conv" else []
    return graph.add(op, name, [*values, *weight], (3, 4, 4), **attributes)


def test_what_is_computed_with_a_convolution_is_no_piece() -> None:
    graph = Graph(3, 4)
    first = add(graph, "Conv", "first", graph.images, kernel_shape=[1, 1])
    second = add(graph, "Conv", "second", add(graph, "Relu", "alone", first), kernel_shape=[1, 1])
    total = add(graph, "Relu", "after", add(graph, "Add", "sum", second, graph.images))
    many = add(graph, "Add", "twice", total, add(graph, "MaxPool", "pool", total, kernel_shape=[3, 3]))
    add(graph, "Relu", "unread", many)
    assert Counter(piece.op for piece in count_pieces(graph, many).elements()) == {"Conv": 2, "MaxPool": 1, "Add": 1}
    read = add(graph, "Add", "both", add(graph, "Relu", "rectified", first), first)
    assert [piece.op for piece in count_pieces(graph, read)] == ["Conv", "Relu", "Add"], "others read the convolution"


def test_a_piece_is_known_by_kind_and_sizes() -> None:
    pieces = pieces_of(draw(EVERYTHING))
    assert len({(piece.kin, piece.sizes) for piece in pieces}) <= len(pieces)
    (stem,) = [piece for piece in pieces if piece.inputs == ((3, 8, 8),)]
    assert stem.kin == "Conv dilations=1x1 kernel_shape=3x3 strides=1x1"
    assert stem.sizes == "3x8x8 24x3x3x3 24 -> 24x8x8"
    assert stem.work == 24 * 8 * 8 * 27


@pytest.mark.parametrize("spelling", ["nasnet(blocks=1)", "nasbench201"])
def test_the_work_of_convolutions_is_the_mult_adds_of_the_network(spelling: str) -> None:
    network = draw(spelling, 1)
    weighed = {piece: count for piece, count in pieces_of(network).items() if piece.op in ("Conv", "Gemm")}
    assert sum(count * piece.work for piece, count in weighed.items()) == pytest.approx(
        count_cost(network, channels=3, image_size=8)[1], rel=0.01
    )


def test_every_piece_runs_alone() -> None:
    pytest.importorskip("onnxruntime")
    networks = [*(draw(EVERYTHING, seed) for seed in range(4)), draw("nasbench201", 3), ResNet(8, 4, classes=3)]
    pieces = {piece for network in networks for piece in pieces_of(network)}
    expected = {"Conv", "Relu", "Concat", "MaxPool", "AveragePool", "Slice", "InstanceNormalization", "Reshape", "Gemm"}
    assert expected <= {piece.op for piece in pieces}
    for piece in pieces:
        content = write_piece(piece)
        check_model(content, 2)
        (output,) = open_model(content, TimingSettings(batch=2))()
        assert output.shape == (2, *piece.output), piece


@pytest.mark.parametrize("spelling", [EVERYTHING, "pnas(blocks=3)", "darts(blocks=2)", "nasbench201"])
def test_more_normal_cells_have_no_other_pieces(spelling: str) -> None:
    for counts in ((2, 4), (3, 5)):
        few, many = (set(pieces_of(draw(spelling, 1, normal_cells=count))) for count in counts)
        assert few == many
