"""Gradient descent on one vector: the steps of torch's own optimizer after torch's own clipping."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from evo_nas.training.sgd import Descent


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).double()


def step(module: nn.Module, images: torch.Tensor) -> None:
    (module(images) ** 2).sum().backward()  # a large gradient, so that it is clipped


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 5e-4])
@pytest.mark.parametrize("norm", [0.0, 5.0, 1e9])
def test_its_steps_are_those_of_torch(momentum: float, decay: float, norm: float) -> None:
    plain, ours = network(), network()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=momentum, weight_decay=decay)
    descent = Descent(ours.parameters(), momentum=momentum, weight_decay=decay, gradient_norm=norm)
    generator = torch.Generator().manual_seed(1)
    for rate in (0.001, 0.0005, 0.0001):
        images = torch.randn(2, 3, 8, 8, dtype=torch.double, generator=generator)
        optimizer.zero_grad()
        descent.forget()
        step(plain, images)
        step(ours, images)
        if norm:
            nn.utils.clip_grad_norm_(plain.parameters(), norm)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        descent.step(rate)
        for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


def test_it_goes_on_from_its_velocities() -> None:
    first, images = network(), torch.randn(2, 3, 8, 8, dtype=torch.double)
    options = {"momentum": 0.9, "weight_decay": 5e-4, "gradient_norm": 5.0}
    descent = Descent(first.parameters(), **options)
    assert descent.velocities() == {}
    step(first, images)
    descent.step(0.1)
    second = deepcopy(first)
    other = Descent(second.parameters(), **options)
    other.restore(descent.velocities())
    for module, at in ((first, descent), (second, other)):
        at.forget()
        step(module, images)
        at.step(0.1)
    for mine, theirs in zip(second.parameters(), first.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_weights_that_are_loaded_are_those_that_are_stepped() -> None:
    module = network()
    descent = Descent(module.parameters(), momentum=0.0, weight_decay=0.0, gradient_norm=0.0)
    module.load_state_dict({name: torch.ones_like(tensor) for name, tensor in module.state_dict().items()})
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    descent.step(0.25)
    assert all(torch.equal(parameter, torch.full_like(parameter, 0.75)) for parameter in module.parameters())
