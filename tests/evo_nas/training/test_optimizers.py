"""Gradient optimizer on one vector: the steps of torch's own optimizers after torch's own clipping."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from evo_nas.training.optimizers import (
    SGD,
    AdamW,
    Optimizer,
    PathAdamW,
    PathSGD,
    optimizer_of,
    path_optimizer_of,
)
from evo_nas.training.recipes import Recipe


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).double()


def step(module: nn.Module, images: torch.Tensor) -> None:
    (module(images) ** 2).sum().backward()  # a large gradient, so that it is clipped


def assert_same_steps(
    theirs: torch.optim.Optimizer, plain: nn.Module, ours: Optimizer, mine: nn.Module, norm: float
) -> None:
    generator = torch.Generator().manual_seed(1)
    for rate in (0.001, 0.0005, 0.0001):
        images = torch.randn(2, 3, 8, 8, dtype=torch.double, generator=generator)
        theirs.zero_grad()
        ours.forget()
        step(plain, images)
        step(mine, images)
        if norm:
            nn.utils.clip_grad_norm_(plain.parameters(), norm)
        theirs.param_groups[0]["lr"] = rate
        theirs.step()
        ours.step(rate)
        for one, other in zip(mine.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 5e-4])
@pytest.mark.parametrize("norm", [0.0, 5.0, 1e9])
def test_the_steps_of_sgd_are_those_of_torch(momentum: float, decay: float, norm: float) -> None:
    plain, mine = network(), network()
    theirs = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=momentum, weight_decay=decay)
    ours = SGD(mine.parameters(), momentum=momentum, weight_decay=decay, gradient_norm=norm)
    assert_same_steps(theirs, plain, ours, mine, norm)


def layers() -> nn.ModuleList:
    torch.manual_seed(0)
    return nn.ModuleList(nn.Linear(3, 3) for _ in range(3)).double()


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("norm", [0.0, 0.5])
def test_a_step_of_a_path_moves_its_weights_alone_as_torch_does(norm: float, kind: str) -> None:
    plain, mine = layers(), layers()
    groups = [
        {"params": [layer.weight for layer in plain], "weight_decay": 0.1},
        {"params": [layer.bias for layer in plain], "weight_decay": 0.0},
    ]
    recipe = Recipe(epochs=1, batch_size=2, learning_rate=0.1, weight_decay=0.1, gradient_norm=norm, optimizer=kind)
    theirs: torch.optim.Optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    if kind == "adamw":
        theirs = torch.optim.AdamW(groups, lr=0.1)
    ours = path_optimizer_of(recipe, mine.parameters())
    assert type(ours) is (PathAdamW if kind == "adamw" else PathSGD)
    assert ours.state() == {}
    for path in ((0, 1), (0, 2), (0, 1), (1, 2)):
        before = [parameter.detach().clone() for parameter in mine.parameters()]
        theirs.zero_grad()
        ours.forget()
        for network in (plain, mine):
            x = torch.ones(2, 3, dtype=torch.double)
            for index in path:
                x = network[index](x)
            x.square().sum().backward()
        if norm:
            nn.utils.clip_grad_norm_(plain.parameters(), norm)
        theirs.step()
        ours.step(0.1)
        for index, (one, other) in enumerate(zip(mine.parameters(), plain.parameters(), strict=True)):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
            assert torch.equal(one, before[index]) == (index // 2 not in path)
        assert set(ours.state()) == set(ours.expect_state())
        ours.restore({name: tensor.clone() for name, tensor in ours.state().items()})


@pytest.mark.parametrize("decay", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("norm", [0.0, 5.0])
def test_the_steps_of_adamw_are_those_of_torch(decay: float, norm: float) -> None:
    plain, mine = network(), network()
    theirs = torch.optim.AdamW(plain.parameters(), lr=0.1, weight_decay=decay)
    ours = AdamW(mine.parameters(), weight_decay=decay, gradient_norm=norm)
    assert_same_steps(theirs, plain, ours, mine, norm)


def test_the_recipe_names_the_optimizer() -> None:
    recipe = Recipe(epochs=1, batch_size=2, learning_rate=0.1)
    assert type(optimizer_of(recipe, network().parameters())) is SGD
    assert type(optimizer_of(replace(recipe, optimizer="adamw"), network().parameters())) is AdamW
    with pytest.raises(ValueError, match="optimizer must be one of sgd, adamw, not 'adam'"):
        replace(recipe, optimizer="adam")


def test_it_goes_on_from_its_velocities() -> None:
    first, images = network(), torch.randn(2, 3, 8, 8, dtype=torch.double)
    options = {"momentum": 0.9, "weight_decay": 5e-4, "gradient_norm": 5.0}
    optimizer = SGD(first.parameters(), **options)
    assert optimizer.state() == {}
    step(first, images)
    optimizer.step(0.1)
    second = deepcopy(first)
    other = SGD(second.parameters(), **options)
    other.restore(optimizer.state())
    for module, at in ((first, optimizer), (second, other)):
        at.forget()
        step(module, images)
        at.step(0.1)
    for mine, theirs in zip(second.parameters(), first.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_weights_that_are_loaded_are_those_that_are_stepped() -> None:
    module = network()
    optimizer = SGD(module.parameters(), momentum=0.0, weight_decay=0.0, gradient_norm=0.0)
    module.load_state_dict({name: torch.ones_like(tensor) for name, tensor in module.state_dict().items()})
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(0.25)
    assert all(torch.equal(parameter, torch.full_like(parameter, 0.75)) for parameter in module.parameters())
