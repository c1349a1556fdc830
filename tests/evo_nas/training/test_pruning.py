"""Networks without their weakest channels: what they compute, what they cost, and what cannot be pruned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evo_nas.errors import UsageError
from evo_nas.phenotypes.blueprint import WidthsBlueprint
from evo_nas.phenotypes.kinds import count_cost
from evo_nas.phenotypes.widths.trace import trace_layout
from evo_nas.training.pruning import prune_network, widths_of_seed
from evo_nas.training.regularizers import SparsityTerm
from genotypes.widths import Budget, Widths
from tests.evo_nas.phenotypes.conftest import ShiftedDepthwise
from tests.evo_nas.phenotypes.widths.networks import mask_dead

SIZE = {"classes": 5, "channels": 3, "image_size": 32}
SLOW = ("torchvision:resnet18", "torchvision:mobilenet_v2", "cell:nasnet-a@1x8")


def plan_of(network: str, widths: Widths | None = None) -> WidthsBlueprint:
    return WidthsBlueprint(widths or widths_of_seed(network, **SIZE), classes=tuple("abcde"))


def draw_weights(plan: WidthsBlueprint) -> dict[str, Tensor]:
    """Return weights none of which has its first value, in double precision."""
    torch.manual_seed(1)
    network = plan.network().double()
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and tensor.dim() < 2:
            _ = tensor.uniform_(0.5, 2) if "var" in name else tensor.normal_()
    return network.state_dict()


@pytest.mark.parametrize("resource", ["mult-adds", "parameters"])
@pytest.mark.parametrize("name", ["resnet:8x8", *[pytest.param(name, marks=pytest.mark.slow) for name in SLOW]])
def test_pruning_is_masking_and_the_largest_network_within_the_budget(name: str, resource: str) -> None:
    plan = plan_of(name)
    weights = draw_weights(plan)
    budget = Budget.parse(f"0.5x-{resource}")
    pruning = prune_network(plan, weights, budget)
    network, smaller = plan.network().double().eval(), pruning.blueprint.network().double().eval()
    network.load_state_dict(weights)
    smaller.load_state_dict(dict(pruning.tensors))
    # The costs are those that are counted, and near the budget.
    attribute = resource.replace("-", "_")
    for one, cost in ((network, pruning.before), (smaller, pruning.after)):
        assert count_cost(one.float(), channels=3, image_size=32) == (cost.parameters, cost.mult_adds)
        one.double()
    assert 0.4 < getattr(pruning.after, attribute) / getattr(pruning.before, attribute) <= 0.5
    # What stays is above one threshold of the gates.
    layout = trace_layout(network, (3, 32, 32))
    gates = SparsityTerm(network, _Any(layout), gates="gamma").values().detach().numpy()
    alive = _strongest(layout, gates, pruning.blueprint.widths.widths)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad(), ShiftedDepthwise():
        with mask_dead(network, layout, alive):
            expected = network(images)
        assert torch.allclose(smaller(images), expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


class _Any:
    def __init__(self, layout: object) -> None:
        self.layout = layout


def _strongest(layout: object, gates: np.ndarray, widths: dict[str, int]) -> np.ndarray:
    """Return 1 for so many of the strongest classes of each group, else 0."""
    alive = np.ones(layout.count, np.int64)  # type: ignore[attr-defined]
    for group in layout.groups:  # type: ignore[attr-defined]
        order = group.classes[np.argsort(-gates[group.classes], kind="stable")]
        alive[order[widths[group.name] :]] = 0
    return alive


def test_a_network_of_widths_is_pruned_again() -> None:
    plan = plan_of("resnet:8x8")
    once = prune_network(plan, draw_weights(plan), Budget.parse("0.5x-parameters"))
    twice = prune_network(once.blueprint, once.tensors, Budget.parse("0.5x-parameters"))
    assert twice.before == once.after
    assert twice.after.parameters <= 0.5 * once.after.parameters
    assert twice.blueprint.widths.seed == plan.widths.seed
    both = twice.blueprint.widths.widths.items()
    assert all(1 <= width <= once.blueprint.widths.widths[name] for name, width in both)
    twice.blueprint.network().load_state_dict(dict(twice.tensors))


def test_a_network_without_norm_is_pruned_by_its_weights(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from evo_nas.phenotypes import named

    def build(name: str, **size: int) -> nn.Module:
        layers = nn.Conv2d(3, 12, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, size["classes"])
        return nn.Sequential(*layers)

    monkeypatch.setattr(named, "_build_foreign", build)
    plan = plan_of("mine:make")
    weights = plan.network().state_dict()
    weights["0.weight"][:4] *= 1e-3
    with pytest.raises(UsageError, match="no channel of the network has a batch norm with a scale"):
        prune_network(plan, weights, Budget.parse("0.7x-parameters"), "gamma")
    pruning = prune_network(plan, weights, Budget.parse("0.7x-parameters"))
    assert pruning.blueprint.widths.widths == {"0": 8}
    assert torch.equal(pruning.tensors["0.weight"], weights["0.weight"][4:])


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("1x-parameters", "the network has 5,129 parameters, no more than the budget 1x-parameters"),
        ("9e9-mult-adds", "no more than the budget 9000000000-mult-adds: there is nothing to prune"),
        ("10-parameters", r"the budget 10-parameters is too small: one class of channels per group costs 1\d\d, more"),
        ("10-mult-adds", "is too small: one class of channels per group costs .* more than 20 FLOPs, two per mult-add"),
    ],
)
def test_budgets_that_cannot_be_met_are_refused(budget: str, words: str) -> None:
    plan = plan_of("resnet:8x4")
    with pytest.raises(UsageError, match=words):
        prune_network(plan, draw_weights(plan), Budget.parse(budget))


def test_gates_that_are_no_numbers_are_refused() -> None:
    plan = plan_of("resnet:8x4")
    weights = draw_weights(plan)
    weights["bn1.weight"][1] = float("nan")
    with pytest.raises(UsageError, match="the gates of the network are not all finite: its training has diverged"):
        prune_network(plan, weights, Budget.parse("0.5x-parameters"))


def test_what_no_file_of_weights_holds_cannot_be_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smaller network would be built again with the numbers of other channels."""
    from evo_nas.phenotypes import named

    class Scaled(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.first, self.norm, self.last = nn.Conv2d(3, 9, 3), nn.BatchNorm2d(9), nn.Linear(9, classes)
            self.register_buffer("scale", torch.rand(9), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.last(self.norm(self.first(x)).mean((2, 3)) * self.scale)
            return logits

    monkeypatch.setattr(named, "_build_foreign", lambda name, **size: Scaled(size["classes"]))
    plan = plan_of("mine:scaled")
    with pytest.raises(UsageError, match="no file of weights holds the buffer scale of the network"):
        prune_network(plan, draw_weights(plan), Budget.parse("0.5x-parameters"))
