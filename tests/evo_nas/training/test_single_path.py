"""The training of a supernet: which paths a step takes, and that its fast way has the gradients of the plain one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from evo_nas.phenotypes.shared.supernet import Supernet
from evo_nas.training.classification import Classification
from evo_nas.training.recalibration import recalibrate
from evo_nas.training.single_path import SinglePath, count_paths, draw_fair
from genotypes.catalogue import build_space

SIZE: dict[str, Any] = {"cells_per_stack": 1, "filters": 4, "classes": 3, "channels": 2, "image_size": 8}
SPACES = ["nasbench201", "nasnet(blocks=2,ops=conv_1x1+sep_conv_3x3+identity)", "detnas(stages=1+1,widths=8+12,stem=4)"]


def supernet_of(spelling: str) -> Supernet:
    torch.manual_seed(3)
    return Supernet(build_space(spelling), **SIZE)


def images(n: int = 8) -> torch.Tensor:
    return torch.randn(n, 2, 8, 8, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("spelling", [*SPACES, "darts", "pnas(blocks=3)"])
def test_a_fair_draw_has_every_option_of_every_decision(spelling: str) -> None:
    space = build_space(spelling)
    drawn = draw_fair(space, np.random.default_rng(0))
    sizes = [len(decision.options) for decision in space.decisions]
    assert len(drawn) == max(sizes) == count_paths(space, "fair")
    for position, size in enumerate(sizes):
        counts = Counter(genotype.choices[position] for genotype in drawn)
        assert set(counts) == set(range(size))
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("spelling", SPACES)
def test_the_gradients_of_a_step_are_the_sum_of_its_paths(spelling: str) -> None:
    supernet = supernet_of(spelling)
    task = SinglePath(Classification(), supernet, "fair", torch.Generator().manual_seed(0))
    labels = torch.arange(8) % 3
    for batch in task.split((images(), labels), 1):
        task.loss(supernet, batch).backward()
    found = {name: weight.grad for name, weight in supernet.weights.items()}
    supernet.zero_grad(set_to_none=True)
    again = SinglePath(Classification(), supernet, "fair", torch.Generator().manual_seed(0))
    for genotype in again.draw():
        assert not supernet.is_dead(genotype)
        cross_entropy(supernet(images(), genotype), labels).backward()
    for name, weight in supernet.weights.items():
        assert (weight.grad is None) == (found[name] is None), name
        if weight.grad is not None:
            torch.testing.assert_close(found[name], weight.grad, rtol=1e-3, atol=1e-4)


def test_recalibration_takes_the_plain_means_over_its_batches() -> None:
    norm = torch.nn.BatchNorm2d(2)
    norm(images() + 100)  # what was before is forgotten
    recalibrate(torch.nn.Sequential(norm), [images()[:4], images()[4:]])
    parts = images()[:4], images()[4:]
    expected = torch.stack([part.mean((0, 2, 3)) for part in parts]).mean(0)
    spread = torch.stack([part.transpose(0, 1).flatten(1).var(1) for part in parts]).mean(0)
    torch.testing.assert_close(norm.running_mean, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_var, spread, rtol=1e-5, atol=1e-6)
