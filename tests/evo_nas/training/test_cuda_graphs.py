"""A step as one CUDA graph: all but the capture itself, in whose place on the CPU the pass is simply done again."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from evo_nas.training import cuda_graphs as graphs


@pytest.fixture(autouse=True)
def _without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def captured(function: Callable[[], None]) -> Callable[[], None]:
        for _ in range(graphs.WARM_UP + 1):
            function()
        return function

    monkeypatch.setattr(graphs, "capture", captured)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.get_rng_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: torch.set_rng_state(state))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


def loss_of(module: nn.Module) -> graphs.Loss:
    def loss(images: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(module(images), labels)

    return loss


def test_its_losses_gradients_statistics_and_draws_are_those_of_the_pass_itself() -> None:
    plain = network()
    ours = deepcopy(plain)
    graphed = graphs.GraphedLoss(loss_of(ours), ours)
    found: list[list[Tensor]] = [[], []]
    for n, (module, tensors) in enumerate(((plain, found[0]), (ours, found[1]))):
        torch.manual_seed(1)
        generator = torch.Generator().manual_seed(2)
        for size in (6, 6, 4, 6):
            images, labels = torch.randn(size, 3, 2, 2, generator=generator), torch.arange(size) % 3
            if n == 0:
                module.zero_grad()
                loss = loss_of(module)(images, labels)
                loss.backward()  # type: ignore[no-untyped-call]
            else:
                loss = graphed(images, labels)
            tensors += [loss.detach().clone()]
            tensors += [p.grad.clone() for p in module.parameters() if p.grad is not None]
            tensors += [buffer.clone() for buffer in module.buffers()]
    assert len(found[0]) == len(found[1]) == 4 * (1 + 6 + 3)
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_shape_is_captured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    captures: list[Callable[[], None]] = []

    def captured(function: Callable[[], None]) -> Callable[[], None]:
        captures.append(function)
        return function

    monkeypatch.setattr(graphs, "capture", captured)
    module = network()
    graphed = graphs.GraphedLoss(loss_of(module), module)
    for size in (6, 4, 6, 4):
        graphed(torch.randn(size, 3, 2, 2), torch.zeros(size, dtype=torch.int64))
    assert len(captures) == 2
