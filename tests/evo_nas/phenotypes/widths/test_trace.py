"""Groups of channels: of published cells and networks, of random cells, of what nobody would build."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evo_nas.errors import UsageError
from evo_nas.phenotypes.kinds import count_cost
from evo_nas.phenotypes.widths.cost import CostModel
from evo_nas.phenotypes.widths.layout import Layout
from evo_nas.phenotypes.widths.resize import resize_network
from evo_nas.phenotypes.widths.trace import trace_layout
from tests.evo_nas.phenotypes.conftest import ShiftedDepthwise
from tests.evo_nas.phenotypes.widths.networks import (
    CELL_NETWORKS,
    IMAGE,
    OTHERS,
    Flat,
    Odd,
    build,
    draw_alive,
    mask_dead,
)

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in [*CELL_NETWORKS, *OTHERS] if name not in ("odd", "flat")]


def is_without(network: nn.Module, layout: Layout, seed: int) -> None:
    """Check a narrowed network against the masked one, and its size against what its costs say."""
    alive = draw_alive(layout, np.random.default_rng(seed))
    images = torch.randn(2, *IMAGE, dtype=torch.float64)
    narrow = resize_network(network, layout, alive)
    with torch.no_grad(), ShiftedDepthwise():
        with mask_dead(network, layout, alive):
            expected = network(images)
        assert torch.allclose(narrow(images), expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
        assert not torch.allclose(network(images), expected, rtol=1e-3)
    parameters = sum(parameter.numel() for parameter in narrow.parameters())
    assert CostModel(layout, "parameters").total(alive) == parameters
    parameters, mult_adds = count_cost(narrow.float(), channels=3, image_size=32)
    assert CostModel(layout, "flops").total(alive) == 2 * mult_adds


@pytest.mark.parametrize("name", ["odd", "flat", *SLOW])
def test_narrowing_is_masking_and_costs_are_what_is_counted(name: str) -> None:
    network = build(name)
    layout = trace_layout(network, IMAGE)
    is_without(network, layout, seed=0)
    parameters, mult_adds = count_cost(network.float(), channels=3, image_size=32)
    copies = layout.copies({})
    assert CostModel(layout, "parameters").total(copies) == parameters
    assert CostModel(layout, "flops").total(copies) == 2 * mult_adds


@pytest.mark.parametrize("name", ["odd", "flat", *SLOW[::4]])
def test_wider_networks_work_and_cost_what_is_said(name: str) -> None:
    network = build(name).float()
    layout = trace_layout(network, IMAGE)
    copies = layout.copies({name: 2 * width + 1 for name, width in layout.widths.items()})
    wide = resize_network(network, layout, copies)
    parameters, mult_adds = count_cost(wide, channels=3, image_size=32)
    assert CostModel(layout, "parameters").total(copies) == parameters
    assert CostModel(layout, "flops").total(copies) == 2 * mult_adds


def test_groups_of_a_network_are_those_that_can_be_read_off_it() -> None:
    layout = trace_layout(Odd(), IMAGE)
    # 4 groups of channels: a width of 3 or 4 counts channels of each. What is used twice has the channels of its input.
    # The numbers of the 4 maps of 2x2 pixels are written down as 16.
    assert layout.widths == {"first": 3, "grouped": 4, "squeeze": 6, "halves": 10, "wide": 20}
    assert layout.groups[1].layers == ("grouped", "twice", "excite")


def test_network_is_left_as_it_was() -> None:
    network = Odd().train()
    network.first.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trace_layout(network, IMAGE)
    assert network.training
    assert not network.first.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_tied_weights_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3)
            self.a, self.b = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
            self.b.weight = self.a.weight
            self.classifier = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.classifier(self.b(self.a(self.stem(x))).mean((2, 3)))
            return logits

    network = Tied()
    layout = trace_layout(network, IMAGE)
    assert layout.widths == {"stem": 8}  # what goes in is what comes out: all three are one
    narrow = resize_network(network, layout, layout.copies({"stem": 5}))
    assert isinstance(narrow, Tied)
    assert narrow.a.weight is narrow.b.weight
    assert narrow(torch.zeros(2, *IMAGE)).shape == (2, 4)


class Broken(nn.Module):
    def __init__(self, words: str) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 4, 3)
        self.words = words
        self.unused = nn.Linear(2, 2) if words == "unused" else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        if self.words == "layer norm":
            x = F.layer_norm(x, x.shape[1:])
        return x.mean((2, 3))


@pytest.mark.parametrize(
    ("network", "image", "words"),
    [
        (Broken(""), (5, 32, 32), "its module inner fails"),
        (Broken(""), IMAGE, "no width that can be changed"),
        (Broken("layer norm"), IMAGE, "its module Broken needs all channels (native_layer_norm)"),
        (Broken("unused"), IMAGE, "unused.weight takes no part"),
    ],
)
def test_bad_networks_get_a_line_that_names_the_module(
    network: nn.Module, image: tuple[int, int, int], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        trace_layout(network, image)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_widths_get_a_line_that_names_the_group() -> None:
    network = Flat()
    layout = trace_layout(network, IMAGE)
    for widths, words in (({"layers.0": 0}, "layers.0 must keep at least 1"), ({"layers.9": 2}, "'layers.9'")):
        with pytest.raises(UsageError, match=words):
            layout.copies(widths)
    dead = np.ones(layout.count, np.int64)
    dead[layout.groups[1].classes] = 0
    with pytest.raises(UsageError, match=r"no channel is left of the group layers\.3"):
        resize_network(network, layout, dead)
