"""Networks of other widths that start at random: how their weights are drawn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from evo_nas.errors import UsageError
from evo_nas.phenotypes.named import build_by_name
from evo_nas.phenotypes.widths import draw
from evo_nas.phenotypes.widths.draw import build_widths, redraw_network
from evo_nas.phenotypes.widths.trace import trace_layout
from genotypes.widths import Widths
from tests.evo_nas.phenotypes.widths.networks import Odd

IMAGES = {"classes": 5, "channels": 3, "image_size": 16}
NAME = "resnet:8x8"


def seed(name: str = NAME) -> nn.Module:
    torch.manual_seed(0)
    return build_by_name(name, **IMAGES)


def of_factor(name: str, factor: float) -> Widths:
    own = trace_layout(seed(name), (3, 16, 16)).widths
    return Widths(name, {group: max(1, int(factor * width)) for group, width in own.items()}, own)


def is_equal(some: nn.Module, other: nn.Module) -> bool:
    left, right = some.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_widths_of_the_seed_are_the_seed() -> None:
    network = seed()
    layout = trace_layout(network, (3, 16, 16))
    assert redraw_network(network, layout, layout.widths) is network
    own = of_factor(NAME, 1)
    torch.manual_seed(0)
    assert is_equal(build_widths(own, **IMAGES), seed())


@pytest.mark.parametrize("factor", [0.5, 4])
def test_weights_keep_the_rule_by_which_the_seed_drew_them(factor: float) -> None:
    widths = of_factor("resnet:20x16", factor)
    torch.manual_seed(0)
    network = build_widths(widths, **IMAGES)
    like = seed("resnet:20x16")
    for name, tensor in network.named_parameters():
        parameter, own = tensor.detach(), like.get_parameter(name).detach()
        if own.dim() == 4 and min(own.numel(), parameter.numel()) > 500:
            expected = float(own.std()) * math.sqrt(own[0].numel() / parameter[0].numel())
            assert float(parameter.std()) == pytest.approx(expected, rel=0.15), name
            rows = parameter.flatten(1)
            assert len(torch.unique(rows, dim=0)) == len(rows)
            columns = parameter.transpose(0, 1).flatten(1)
            assert len(torch.unique(columns, dim=0)) == len(columns)
        elif ".bn" in name:
            assert torch.equal(parameter, torch.full_like(parameter, float(own[0])))
    assert network(torch.randn(2, 3, 16, 16)).shape == (2, 5)


def test_a_group_that_changes_alone_leaves_the_other_weights_as_they_were() -> None:
    widths = of_factor(NAME, 1)
    group = "blocks.1.conv1"
    torch.manual_seed(0)
    network = build_widths(Widths(NAME, {**widths.widths, group: 5}, widths.seed), **IMAGES)
    like = seed()
    changed = (
        {name for name, tensor in network.named_parameters() if not torch.equal(tensor, like.get_parameter(name))}
        if network is not like
        else set()
    )
    assert changed == {f"blocks.1.{name}" for name in ("conv1.weight", "bn1.weight", "bn1.bias", "conv2.weight")}


def test_the_same_seed_draws_the_same_weights_whether_it_was_traced_before_or_not() -> None:
    draw._LAYOUTS.clear()
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(build_widths(of_factor(NAME, 0.5), **IMAGES))
    assert is_equal(*drawn)


def test_statistics_of_norms_are_fresh_and_tied_weights_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 6, 3)
            self.norm = nn.BatchNorm2d(6)
            self.mix, self.again = nn.Conv2d(6, 6, 1, bias=False), nn.Conv2d(6, 6, 1, bias=False)
            self.again.weight = self.mix.weight
            self.last = nn.Linear(6, 5)
            assert self.norm.running_mean is not None
            self.norm.running_mean.normal_()

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.last(self.again(self.mix(self.norm(self.first(x)))).mean((2, 3)))
            return logits

    network = Tied()
    layout = trace_layout(network, (3, 16, 16))
    wide = redraw_network(network, layout, dict.fromkeys(layout.widths, 9))
    assert isinstance(wide, Tied)
    assert wide.again.weight is wide.mix.weight
    assert wide.norm.running_mean is not None
    assert torch.equal(wide.norm.running_mean, torch.zeros(9))
    assert len(torch.unique(wide.mix.weight.detach().flatten(1), dim=0)) == 9


def test_groups_of_channels_and_free_parameters_are_drawn_too() -> None:
    torch.manual_seed(0)
    network = Odd()
    layout = trace_layout(network, (3, 32, 32))
    twice = redraw_network(network, layout, {name: 2 * width for name, width in layout.widths.items()})
    assert twice(torch.randn(2, 3, 32, 32)).shape == (2, 5)
    assert len(torch.unique(twice.get_parameter("scale").detach())) > 20


def test_nothing_is_drawn_where_there_is_no_memory() -> None:
    widths = of_factor(NAME, 4)
    with torch.device("meta"):
        network = build_widths(widths, **IMAGES)
    assert all(parameter.is_meta for parameter in network.parameters())
    assert network.get_parameter("conv1.weight").shape == (32, 3, 3, 3)


def test_widths_of_another_network_are_refused() -> None:
    own = of_factor(NAME, 1)
    wrong = Widths("resnet:8x4", own.widths, own.seed)
    with pytest.raises(UsageError, match=r"these widths are of another resnet:8x4: its group conv1 is 4, not 8"):
        build_widths(wrong, **IMAGES)
