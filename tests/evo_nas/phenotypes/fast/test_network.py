"""The fast way through a network: the same logits, the same gradients, the same running statistics."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from evo_nas.phenotypes.edges import EdgeNetwork, build_edges
from evo_nas.phenotypes.fast.kernels import trust
from evo_nas.phenotypes.fast.network import FastNetwork
from evo_nas.phenotypes.fast.shortcuts import apply
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.ops import SamePool2d
from genotypes.catalogue import build_space
from genotypes.cell import CellPair
from genotypes.edge_cell import EdgeCell
from genotypes.zoo import CELLS

pytestmark = pytest.mark.slow

WAYS = ("compiled", "torch alone")


@pytest.fixture(params=WAYS, autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compute with the compiled kernels, and as on a machine without a C compiler."""
    if request.param == "torch alone":
        monkeypatch.setattr(trust, "are_there", lambda x: False)
    else:
        request.getfixturevalue("kernels")
    return str(request.param)


SPACES = ("nasnet", "nasnet(combines=concat)", "amoebanet", "darts", "pnas")


def sampled(space: str, seed: int) -> CellPair:
    found = build_space(space)
    pair = found.decode(found.sample(np.random.default_rng(seed)))
    assert isinstance(pair, CellPair)
    return pair


PAIRS = {**CELLS, **{f"{space} {seed}": sampled(space, seed) for space in SPACES for seed in range(3)}}


def trained(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, forward: Any) -> dict[str, torch.Tensor]:
    """Take one step back from the loss; give logits, gradients and what batch norm remembers."""
    torch.manual_seed(1)  # for paths that are dropped
    logits, early = forward(network, images)
    loss = functional.cross_entropy(logits, labels)
    if early is not None:
        loss = loss + 0.4 * functional.cross_entropy(early, labels)
    loss.backward()
    found = {"logits": logits.detach()} | {name: buffer.clone() for name, buffer in network.named_buffers()}
    gradients = {f"gradient of {name}": parameter.grad for name, parameter in network.named_parameters()}
    return found | {name: grad for name, grad in gradients.items() if grad is not None}  # none behind a node of zeros


def compared(network: CellNetwork | EdgeNetwork, image: int) -> None:
    torch.manual_seed(2)
    images = torch.randn(4, 3, image, image, dtype=torch.double)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(5, (4,))
    network.to(memory_format=torch.channels_last)
    if isinstance(network, CellNetwork):
        plain = trained(deepcopy(network), images, labels, lambda net, x: net.forward_both(x))
        ours = trained(network, images, labels, lambda net, x: FastNetwork(net).both_logits(x))
    else:
        plain = trained(deepcopy(network), images, labels, lambda net, x: (net(x), None))
        ours = trained(network, images, labels, lambda net, x: (FastNetwork(net).logits(x), None))
    assert ours.keys() == plain.keys()
    for name, tensor in plain.items():
        bar = 1e-9 * max(1.0, tensor.abs().max().item())
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=bar, msg=lambda text, at=name: f"{at}: {text}")
    network.eval()
    with torch.inference_mode():
        torch.testing.assert_close(FastNetwork(network).logits(images), network(images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PAIRS)
def test_it_is_the_same_function_with_the_same_gradients(name: str) -> None:
    torch.manual_seed(0)
    # With 8 filters no bottleneck has a single channel: that may hardly vary, and then batch norm makes 1e-9 of 1e-15.
    compared(CellNetwork(PAIRS[name], cells_per_stack=1, filters=8, classes=5).double(), 16)


EDGES = {
    "all operations": "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|avg_pool_3x3~2|",
    "a node that is zero": "|none~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|avg_pool_3x3~0|nor_conv_3x3~1|skip_connect~2|",
    "nothing": "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
}


@pytest.mark.parametrize("cell", EDGES)
@pytest.mark.parametrize("image", [8, 15])
def test_a_cell_of_edges_is_the_same_function_too(cell: str, image: int) -> None:
    torch.manual_seed(0)
    edges = EdgeCell.parse(EDGES[cell])
    compared(build_edges(edges, cells_per_stack=2, filters=4, classes=5).double(), image)


@pytest.mark.parametrize("image", [8, 9, 15, 17])
def test_of_any_size(image: int) -> None:
    torch.manual_seed(0)
    compared(CellNetwork(CELLS["nasnet-a"], cells_per_stack=1, filters=4, classes=5).double(), image)


@pytest.mark.parametrize("name", ["nasnet-a", "darts-v2", "amoebanet-c"])
def test_of_large_images_with_all_that_training_adds(name: str) -> None:
    torch.manual_seed(0)
    network = CellNetwork(
        CELLS[name],
        cells_per_stack=2,
        filters=8,
        classes=5,
        macro="imagenet",
        drop_path_keep=0.7,
        auxiliary_image=64,
    ).double()
    network.set_drop_path(1.0)
    compared(network, 64)


@pytest.mark.parametrize("average", ["same", "zeros"])
def test_of_both_averages(average: str) -> None:
    torch.manual_seed(0)
    network = CellNetwork(CELLS["nasnet-a"], cells_per_stack=1, filters=4, classes=5, average=average)
    compared(network.double(), 16)


@pytest.mark.parametrize("size", [5, 8, 16])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_poolings_share_the_gradient_as_torch_does_even_among_equals(kind: str, kernel: int, size: int) -> None:
    torch.manual_seed(0)
    x = torch.randint(3, (3, 4, size, size)).double().contiguous(memory_format=torch.channels_last).requires_grad_()
    plain: nn.Module = SamePool2d(kind, kernel, 1)
    ours = apply(plain, [x])
    grad = torch.randn_like(ours)
    for mine, theirs in zip(
        (ours, *torch.autograd.grad(ours, x, grad)), (plain(x), *torch.autograd.grad(plain(x), x, grad)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


def test_a_network_that_is_traced_looks_as_it_is_described() -> None:
    network = CellNetwork(CELLS["nasnet-a"], cells_per_stack=1, filters=2, classes=5).eval()
    exported = torch.export.export(network, (torch.randn(1, 3, 16, 16),))
    names = {str(node.target) for node in exported.graph.nodes}
    assert any("conv2d" in name for name in names)
    assert not any("linear" in name for name in names - {"aten.linear.default"})
