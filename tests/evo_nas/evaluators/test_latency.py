"""The latency of a trained network: what the clock says, and when it is not to be believed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evo_nas.config import Hardware
from evo_nas.evaluators import latency
from evo_nas.evaluators.base import Job, Placement
from evo_nas.evaluators.devices.timing import REPEATS, STEADY
from evo_nas.evaluators.latency import METRICS, WARM_UP, measure_latency
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.run.parts import placement
from genotypes.catalogue import build_space

SPACE = build_space("nasnet(blocks=1,combines=add)")
IMAGE = torch.zeros(1, 1, 8, 8)
SMALL: dict[str, Any] = {"dataset": "digits", "filters": 4, "epochs": 1, "validation_images": 200, "train_images": 128}


class Network(nn.Module):
    """Notes how it is run."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[tuple[bool, bool, int]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.runs.append((self.training, torch.is_inference_mode_enabled(), len(images)))
        return images


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[float]], None]:
    """Let inferences take these seconds, over and over."""

    def take(seconds: Sequence[float]) -> None:
        ticks = itertools.accumulate(itertools.chain.from_iterable((0.0, s) for s in itertools.cycle(seconds)))
        monkeypatch.setattr(latency.time, "perf_counter", lambda: next(ticks))

    return take


def test_it_is_the_median_of_single_images_in_evaluation_mode(clock: Callable[..., None]) -> None:
    clock([0.002] * WARM_UP + [0.004] * 60 + [9.0] * 40)
    network = Network()
    measured = measure_latency(network.train(), IMAGE, workers=1)
    assert measured["latency"] == pytest.approx(0.004)
    assert network.runs == [(False, True, 1)] * (WARM_UP + REPEATS)


@pytest.mark.parametrize(
    ("seconds", "workers", "noisy"),
    [
        ([0.010], 1, 0.0),
        ([0.010], 2, 1.0),
        ([0.0100, 0.0105], 1, 0.0),
        ([0.010, 0.012], 1, 1.0),
        ([0.010] * 9 + [1.0], 1, 0.0),
    ],
)
def test_it_is_noisy_where_others_work_or_where_it_varies(
    clock: Callable[..., None], seconds: list[float], workers: int, noisy: float
) -> None:
    clock(seconds)
    measured = measure_latency(Network(), IMAGE, workers=workers)
    assert tuple(measured) == METRICS
    assert measured["latency_noisy"] == noisy
    assert (measured["latency_spread"] > STEADY) == (noisy == 1.0 and workers == 1)


def test_all_that_a_network_does_is_measured_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    class Layer(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            nonlocal now
            now += 0.001
            return images

    monkeypatch.setattr(latency.time, "perf_counter", lambda: now)
    for layers in (1, 12):
        network = nn.Sequential(*[Layer() for _ in range(layers)])
        assert measure_latency(network, IMAGE, workers=1)["latency"] == pytest.approx(0.001 * layers)


def proxy(directory: Path, **options: Any) -> ProxyEvaluator:
    evaluator = ProxyEvaluator(**{**SMALL, **options})
    evaluator.bind(SPACE, Placement(device="cpu", workers=2))
    evaluator.prepare(directory)
    return evaluator


@pytest.mark.parametrize("options", [{}, {"latency": True}, {"epochs": 2, "early_stopping": "median"}])
def test_the_proxy_trainer_gives_the_metrics_that_it_declares(tmp_path: Path, options: dict[str, Any]) -> None:
    evaluator = proxy(tmp_path, **options)
    assert evaluator.metrics is not None
    evaluation = evaluator.evaluate(Job(1, SPACE.genotype([0, 1, 8, 10, 0, 0, 1, 10, 5, 0]), 0))
    assert set(evaluation.metrics) == set(evaluator.metrics)


def test_measuring_changes_nothing_else_and_knows_of_other_workers(tmp_path: Path) -> None:
    job = Job(1, SPACE.genotype([0, 1, 8, 10, 0, 0, 1, 10, 5, 0]), 0)
    without, measured = (proxy(tmp_path, latency=on).evaluate(job) for on in (False, True))
    assert measured.curve == without.curve
    assert measured.metrics["train_loss"] == without.metrics["train_loss"]
    assert measured.metrics["latency_noisy"] == 1.0
    assert 0 < measured.metrics["latency"] < math.inf
    assert "latency" not in without.metrics


def test_an_evaluator_hears_how_many_workers_there_are() -> None:
    assert placement(Hardware(workers=3)).workers == 3
    assert placement(Hardware()).workers == 1
