"""A space that brings its own network is trained by the proxy trainer like any other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from evo_nas.evaluators.base import Job, Placement, evaluate_safely
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.phenotypes.blueprint import load_network
from genotypes.catalogue import build_space
from genotypes.genotype import Genotype
from genotypes.individual import Cost, Outcome
from genotypes.space import Decision, SearchSpace
from genotypes.spaces.nasnet import NASNetSpace


@dataclass(frozen=True)
class Plain(SearchSpace):
    """One convolution."""

    name: ClassVar[str] = "plain"

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        return (Decision("width", ("4", "8", "none")),)

    def network(self, genotype: Genotype, **size: Any) -> Any:
        width = self.decode(genotype)["width"]
        if width == "none":
            return None
        convolution = nn.Conv2d(size["channels"], int(width), 3, padding=1, bias=False)
        return nn.Sequential(
            convolution, nn.BatchNorm2d(int(width)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(int(width), 10)
        )


SPACE = Plain()


def proxy(directory: Path, **options: Any) -> ProxyEvaluator:
    evaluator = ProxyEvaluator(dataset="digits", epochs=2, train_images=128, **options)
    evaluator.bind(SPACE, Placement(device="cpu", keep_weights=True))
    evaluator.prepare(directory)
    return evaluator


def test_it_is_trained_counted_and_kept(tmp_path: Path) -> None:
    evaluator, genotype = proxy(tmp_path, latency=True, scores=("synflow",)), SPACE.genotype([1])
    evaluation = evaluator.evaluate(Job(1, genotype, 0))
    assert evaluation.outcome is Outcome.OK
    assert len(evaluation.curve) == 2
    expected = Cost(8 * 9 + 2 * 8 + 8 * 10 + 10, 8 * 9 * 64 + 80)
    assert (evaluation.metrics["parameters"], evaluation.metrics["mult_adds"]) == (
        expected.parameters,
        expected.mult_adds,
    )
    assert {"latency", "synflow"} <= set(evaluation.metrics)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert evaluator.cost(genotype) == expected
    assert torch.equal(torch.get_rng_state(), before), "counting draws nothing"
    weights = load_file(tmp_path / "weights/trial-000001.safetensors")
    network = SPACE.network(genotype, channels=1)
    network.load_state_dict(weights)
    again = evaluator.evaluate(Job(1, genotype, 0))
    assert (again.fitness, again.curve) == (evaluation.fitness, evaluation.curve)
    assert evaluator.memory() is None
    assert evaluator.expected_seconds([genotype]) is not None


def test_what_is_no_module_ends_its_trial_as_invalid(tmp_path: Path) -> None:
    evaluation = evaluate_safely(proxy(tmp_path), Job(1, SPACE.genotype([2]), 0))
    assert evaluation.outcome is Outcome.INVALID
    assert evaluation.error is not None
    assert "the network() of the space plain returned None, which is no torch module" in evaluation.error


def test_a_space_without_a_network_is_refused_in_one_line() -> None:
    space = build_space("bits")
    refusal = (
        r"the proxy trainer takes CellPair, EdgeCell, Widths, Chain, or a space with its own network\(\); "
        "the space bits describes a dict; choose another"
    )
    with pytest.raises(ValueError, match=refusal):
        ProxyEvaluator(dataset="digits").bind(space, Placement(device="cpu"))
    assert space.network(space.sample(np.random.default_rng(0))) is None


class Own(NASNetSpace):
    """Cells that its own network does not look at."""

    def network(self, genotype: Genotype, **size: Any) -> Any:
        return SPACE.network(SPACE.genotype([0]), **size)


def test_a_network_of_its_own_counts_also_where_the_space_describes_cells(tmp_path: Path) -> None:
    evaluator = ProxyEvaluator(dataset="digits", epochs=1, train_images=128)
    evaluator.bind(Own(), Placement(device="cpu", keep_weights=True))
    evaluator.prepare(tmp_path)
    genotype = Own().sample(np.random.default_rng(0))
    assert evaluator.cost(genotype) == Cost(4 * 9 + 2 * 4 + 4 * 10 + 10, 4 * 9 * 64 + 40)
    evaluator.evaluate(Job(1, genotype, 0))
    blueprint, tensors = load_network(tmp_path / "weights/trial-000001.safetensors")
    assert blueprint is None
    assert tensors["0.weight"].shape == (4, 1, 3, 3)
