from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evo_nas.errors import UsageError
from evo_nas.phenotypes.resnet import ResNet
from evo_nas.phenotypes.widths.cost import DEVICES, CostModel, Device
from evo_nas.phenotypes.widths.layout import Layout
from evo_nas.phenotypes.widths.trace import trace_layout
from evo_nas.training.regularizers import SparsityTerm

GAMMAS = {
    "norm1": (0.9, 0.2, 0.6, 0.05, 0.4, 0.3),
    "norm2": (0.1, 0.5, 0.2, 0.05, 0.8, 0.1),
    "norm3": (0.3, 0.1, 0.7, 0.02, 0.3, 0.2),
    "norm4": (0.6, 0.2, 0.45, 0.7, 0.1),
}


class Worked(nn.Module):
    """Two convolutions that are added, a depthwise one and another, as worked out by hand: images of 12x10 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(6, 6, 1, bias=False)
        self.depthwise = nn.Conv2d(6, 6, 3, 2, padding=1, groups=6, bias=False)
        self.conv3 = nn.Conv2d(6, 5, 1, bias=False)
        self.linear = nn.Linear(5, 4)
        for name, gammas in GAMMAS.items():
            self.add_module(name, nn.BatchNorm2d(len(gammas)))
        self.double()
        for name, gammas in GAMMAS.items():
            self.get_submodule(name).weight.data = torch.tensor(gammas, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.norm1(self.conv1(x)))
        x = first + self.norm2(self.conv2(first))
        x = F.relu(self.norm3(self.depthwise(x)))
        logits: Tensor = self.linear(F.relu(self.norm4(self.conv3(x))).mean((2, 3)))
        return logits


@pytest.fixture(scope="module")
def network() -> Worked:
    return Worked()


@pytest.fixture(scope="module")
def layout(network: Worked) -> Layout:
    return trace_layout(network, (3, 12, 10))


def terms(network: nn.Module, layout: Layout, cost: CostModel) -> dict[str, float]:
    """Return the term row by row."""
    term = SparsityTerm(network, cost, threshold=0.25)
    rows = cost.slopes(term.alive()) @ term.values().detach().numpy()
    return dict(zip(cost.rows, rows, strict=True))


def test_worked_example_has_the_groups_that_it_says(layout: Layout) -> None:
    assert {group.layers: group.width for group in layout.groups} == {("conv1", "conv2"): 6, ("conv3",): 5}


def test_flops_and_their_term_are_those_of_the_worked_example(network: Worked, layout: Layout) -> None:
    cost = CostModel(layout, "flops")
    term = SparsityTerm(network, cost, threshold=0.25)
    costs = dict(zip(cost.rows, cost.by_row(term.alive()), strict=True))
    expected = {"conv1": 32400, "conv2": 6000, "depthwise": 2700, "conv3": 900, "linear": 24}
    assert {name: costs[name] for name in expected} == expected
    assert cost.total(term.alive()) == 42024
    parts = {"conv1": 21060, "conv2": 7800, "depthwise": 3510, "conv3": 1200, "linear": 16.4}
    found = terms(network, layout, cost)
    assert all(math.isclose(found[name], part, rel_tol=1e-9) for name, part in parts.items())
    assert math.isclose(term.term().item(), 33586.4, rel_tol=1e-9)


def test_parameters_and_their_term_are_counted_by_hand(network: Worked, layout: Layout) -> None:
    cost = CostModel(layout, "parameters")
    alive = SparsityTerm(network, cost, threshold=0.25).alive()
    weights = 9 * 3 * 5 + 5 * 5 + 9 * 5 + 5 * 3 + 3 * 4
    assert cost.total(alive) == weights + 2 * (5 + 5 + 5 + 3) + 4
    found = terms(network, layout, cost)
    expected = {
        "conv1": 9 * 3 * 3.25,
        "conv2": 5 * 3.25 + 5 * 3.25,
        "depthwise": 9 * (3.25 + 3.25),
        "conv3": 5 * 2.05 + 3 * 3.25,
        "linear": 4 * 2.05,
        "norm1.weight": 3.25,
        "norm4.bias": 2.05,
        "linear.bias": 0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_activations_are_alive_outputs(network: Worked, layout: Layout) -> None:
    cost = CostModel(layout, "activations")
    alive = SparsityTerm(network, cost, threshold=0.25).alive()
    assert cost.total(alive) == 5 + 5 + 5 + 3 + 4
    found = terms(network, layout, cost)
    assert sum(found.values()) == pytest.approx(3 * 3.25 + 2.05)


def test_latency_is_that_of_the_slower_side_layer_by_layer(network: Worked, layout: Layout) -> None:
    device = Device(gflops=1, gigabytes=4)  # a nanosecond per operation, and per number moved
    cost = CostModel(layout, "latency", device)
    alive = SparsityTerm(network, cost, threshold=0.25).alive()
    costs = dict(zip(cost.rows, cost.by_row(alive) * 1e9, strict=True))
    moved = 120 * 5 + 30 * 5 + 9 * 5  # of the depthwise layer; it computes 2700
    assert moved < costs["depthwise"] == pytest.approx(2700)
    assert costs["conv1"] == pytest.approx(32400)
    assert costs["linear"] == pytest.approx(24)
    slow = CostModel(layout, "latency", Device(gflops=1e6, gigabytes=4))
    costs = dict(zip(slow.rows, slow.by_row(alive) * 1e9, strict=True))
    assert costs["depthwise"] == pytest.approx(moved)
    found = terms(network, layout, slow)
    assert found["depthwise"] * 1e9 == pytest.approx((120 + 30) * 3.25 + 9 * (3.25 + 3.25))
    assert found["conv3"] * 1e9 == pytest.approx(30 * 3.25 + 30 * 2.05 + 5 * 2.05 + 3 * 3.25)
    assert set(DEVICES) == {"K80", "P4", "T4", "P100", "V100", "TPUv2"}


def test_gradients_reach_the_largest_gamma_of_each_channel(network: Worked, layout: Layout) -> None:
    network.zero_grad()
    SparsityTerm(network, CostModel(layout, "flops"), threshold=0.25).term().backward()
    gradients = [network.get_submodule(name).weight.grad for name in ("norm1", "norm2", "norm3")]
    # Of every channel one member has the largest gamma, or several do, and share what a channel costs.
    assert [int(torch.stack(gradients)[:, channel].ne(0).sum()) for channel in range(6)] == [1, 1, 1, 2, 1, 1]
    per_channel = 2 * 120 * 9 * 3 + 2 * 120 * (5 + 5) + 2 * 2 * 30 * 9 + 2 * 30 * 3
    assert torch.stack(gradients).sum(0).tolist() == pytest.approx([per_channel] * 6)
    assert network.conv1.weight.grad is None


def test_lasso_is_the_norm_of_the_weights_that_make_a_channel(network: Worked, layout: Layout) -> None:
    for l1 in (0.0, 0.3):
        values = SparsityTerm(network, CostModel(layout, "flops"), gates="lasso", l1=l1).values()
        weight = network.conv3.weight.flatten(1)
        expected = (1 - l1) * weight.pow(2).sum(1).sqrt() / math.sqrt(6) + l1 * weight.abs().sum(1) / 6
        group = next(group for group in layout.groups if group.layers == ("conv3",))
        assert torch.allclose(values[group.classes], expected)
        assert values[0] == 0


def test_gradient_of_lasso_is_that_of_the_formula(layout: Layout) -> None:
    network = Worked()
    network.conv3.weight.data[2] = 0  # where torch has the gradient 0, too
    network.depthwise.weight.data *= 9  # the largest members of their group
    cost = CostModel(layout, "flops")
    term = SparsityTerm(network, cost, gates="lasso")
    term.term().backward()
    slopes = torch.from_numpy(np.asarray(cost.slopes(term.alive()).sum(axis=0)))
    for module, layers in ((network.conv3, ("conv3",)), (network.depthwise, ("conv1", "conv2"))):
        weight = module.weight.detach().clone().requires_grad_()
        classes = next(group.classes for group in layout.groups if group.layers == layers)
        values = torch.linalg.vector_norm(weight.flatten(1), dim=1) / math.sqrt(weight[0].numel())
        (values * slopes[classes]).sum().backward()
        assert module.weight.grad is not None
        assert torch.allclose(module.weight.grad, weight.grad)
        assert module.weight.grad.abs().max() > 0


def test_term_falls_when_it_is_followed_and_channels_die(layout: Layout) -> None:
    network = Worked()
    term = SparsityTerm(network, CostModel(layout, "flops"), threshold=0.01)
    gammas = [parameter for name, parameter in network.named_parameters() if name.startswith("norm")]
    optimizer = torch.optim.SGD(gammas, lr=1e-6)
    widths = layout.alive_widths(term.alive())
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        losses.append(term.term())
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
    now = layout.alive_widths(term.alive())
    assert all(now[name] <= width for name, width in widths.items())
    assert now != widths


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gates": "beta"}, "gamma, lasso"),
        ({"threshold": -1.0}, "threshold must be 0 or more"),
        ({"threshold": math.nan}, "threshold must be 0 or more"),
        ({"l1": 2.0}, "l1 a fraction"),
    ],
)
def test_bad_options_get_a_line(network: Worked, layout: Layout, options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SparsityTerm(network, CostModel(layout, "flops"), **options)  # type: ignore[arg-type]


def test_network_without_a_norm_needs_lasso() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4))
    cost = CostModel(trace_layout(plain, (3, 8, 8)), "flops")
    with pytest.raises(UsageError, match="use gates=lasso"):
        SparsityTerm(plain, cost)
    assert SparsityTerm(plain, cost, gates="lasso").term() > 0


def test_bad_resources_and_devices_get_a_line(layout: Layout) -> None:
    with pytest.raises(UsageError, match=r"no resource 'joules'; known: flops"):
        CostModel(layout, "joules")
    with pytest.raises(UsageError, match="latency is that of a device"):
        CostModel(layout, "latency")
    for numbers in ((0, 1), (1, np.inf), (1, np.nan)):
        with pytest.raises(ValueError, match="positive and finite"):
            Device(*numbers)


@pytest.mark.parametrize(("gates", "l1"), [("gamma", 0.0), ("lasso", 0.0), ("lasso", 0.3), ("lasso", 1.0)])
def test_gradients_can_be_added_after_the_backward_pass(gates: str, l1: float) -> None:
    def find_gradients(is_added: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        network = Worked()
        network.conv2.weight.data[3] = 0.0  # it has no direction
        network.conv3.to(memory_format=torch.channels_last)
        term = SparsityTerm(network, CostModel(trace_layout(network, (3, 12, 10)), "flops"), gates=gates, l1=l1)
        loss = network(torch.randn(2, 3, 12, 10, dtype=torch.float64)).square().sum()
        if is_added:
            loss.backward()
            term.add_gradients(0.01)
        else:
            (loss + 0.01 * term.term()).backward()
        return {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}

    added, together = find_gradients(True), find_gradients(False)
    assert added.keys() == together.keys()
    for name, gradient in added.items():
        torch.testing.assert_close(gradient, together[name], rtol=1e-12, atol=1e-12)


def test_of_equal_gates_as_many_stay_as_a_limit_allows(network: Worked, layout: Layout) -> None:
    equal = Worked()
    for name in GAMMAS:
        equal.get_submodule(name).weight.data.fill_(1.0)
    cost = CostModel(layout, "flops")
    whole = cost.total(np.ones(layout.count, np.int64))
    alive = SparsityTerm(equal, cost).find_strongest(0.7 * whole)
    share = cost.total(alive) / whole
    assert share <= 0.7
    one_more = alive.copy()
    one_more[np.flatnonzero(alive == 0)[0]] = 1  # the last that left
    assert cost.total(one_more) / whole > 0.7
    with pytest.raises(UsageError, match="one class of channels per group costs"):
        SparsityTerm(equal, cost).find_strongest(1.0)


def test_of_a_weak_group_a_share_stays_while_others_can_leave() -> None:
    network = ResNet(8, 8, channels=3, classes=10)
    layout = trace_layout(network, (3, 8, 8))
    cost, weak = CostModel(layout, "flops"), layout.groups[2]
    whole, count = cost.total(np.ones(layout.count, np.int64)), len(weak.classes)
    term = SparsityTerm(network, cost)
    values = torch.linspace(1.0, 2.0, layout.count)
    values[weak.classes] = torch.linspace(0.01, 0.02, count)
    term.values = lambda: values  # type: ignore[method-assign]

    def survivors(limit: float, floor: float) -> int:
        alive = term.find_strongest(limit, floor)
        assert cost.total(alive) <= limit
        return int(alive[weak.classes].sum())

    assert [survivors(0.6 * whole, floor) for floor in (0.0, 0.3, 0.5)] == [1, math.ceil(0.3 * count), count // 2]
    assert survivors(_least(cost, layout), 0.5) == 1, "where nothing else can leave, the floor gives way"


def _least(cost: CostModel, layout: Layout) -> float:
    """Return what the network costs with one class per group."""
    one = np.zeros(layout.count, np.int64)
    one[[group.classes[0] for group in layout.groups]] = 1
    return cost.total(one)
