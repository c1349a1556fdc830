"""The latency of the deployed network: what is built, what is timed, and for whom it is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from evo_nas.cli import build_parser, main
from evo_nas.commands.config_flags import MEASURED_ON_REQUEST, read_flags
from evo_nas.evaluators import deployment
from evo_nas.evaluators.base import Job, Placement
from evo_nas.evaluators.deployment import METRICS, Deployment, measure_deployment, open_session, require_runtime
from evo_nas.evaluators.devices import timing
from evo_nas.evaluators.proxy import deploying
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.phenotypes.cost import cost_of
from evo_nas.run.parts import load_config
from evo_nas.training.pruning import widths_of_seed
from genotypes.catalogue import build_space
from genotypes.space import SearchSpace

SPACE = build_space("nasnet(blocks=1,combines=add)")
SMALL: dict[str, Any] = {"dataset": "digits", "filters": 4, "epochs": 1, "validation_images": 200, "train_images": 128}
JOB = Job(1, SPACE.genotype([0, 1, 8, 10, 0, 0, 1, 10, 5, 0]), 0)


def proxy(directory: Path, space: SearchSpace = SPACE, **options: Any) -> ProxyEvaluator:
    evaluator = ProxyEvaluator(**{**SMALL, "ort_latency": True, **options})
    evaluator.bind(space, Placement(device="cpu"))
    evaluator.prepare(directory)
    return evaluator


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[int]]:
    """Let inferences take this many seconds, and return a list that grows by each."""

    def take(seconds: float) -> list[int]:
        ticks = itertools.accumulate(itertools.cycle((0.0, seconds)))
        runs: list[int] = []
        monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))
        monkeypatch.setattr(deployment, "open_session", lambda network, how: lambda: runs.append(1))
        return runs

    return take


@pytest.mark.parametrize(("seconds", "counted"), [(0.001, 100), (0.0501, 40), (1.5, 10)])
def test_it_is_the_median_of_as_many_inferences_as_there_is_time_for(
    seconds: float, counted: int, clock: Callable[[float], list[int]]
) -> None:
    runs = clock(seconds)
    measured = measure_deployment(nn.Identity(), Deployment(3, 8), workers=1)
    assert tuple(measured) == METRICS
    assert measured["ort_latency"] == pytest.approx(seconds)
    assert measured["ort_latency_noisy"] == 0.0
    assert len(runs) == 5 + counted
    assert measure_deployment(nn.Identity(), Deployment(3, 8), workers=2)["ort_latency_noisy"] == 1.0


def test_onnx_runtime_runs_the_whole_batch() -> None:
    pytest.importorskip("onnxruntime")
    from evo_nas.phenotypes.resnet import ResNet

    (logits,) = open_session(ResNet(8, 4, classes=7), Deployment(3, 9, batch=5, threads=2))()
    assert logits.shape == (5, 7)


def test_the_network_is_built_at_its_final_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[tuple[int, Deployment]] = []

    def note(network: nn.Module, how: Deployment, *, workers: int) -> dict[str, float]:
        built.append((sum(parameter.numel() for parameter in network.parameters()), how))
        return dict.fromkeys(METRICS, 0.5)

    monkeypatch.setattr(deploying, "measure_deployment", note)
    size = {"macro": "imagenet", "cells_per_stack": 2, "filters": 8}
    options = {f"deploy_{name}": value for name, value in size.items()}
    evaluator = proxy(tmp_path, **options, deploy_image_size=40, deploy_batch=3, deploy_threads=2)
    evaluation = evaluator.evaluate(JOB)
    cells = SPACE.decode(JOB.genotype)
    assert built == [
        (cost_of(cells, image=40, classes=10, channels=1, **size).parameters, Deployment(1, 40, batch=3, threads=2))
    ]
    assert evaluation.metrics["ort_latency"] == 0.5
    assert set(evaluation.metrics) == set(evaluator.metrics)
    assert evaluation.curve == proxy(tmp_path, ort_latency=False).evaluate(JOB).curve
    assert set(METRICS) <= set(ProxyEvaluator.network_metrics)


@pytest.mark.parametrize(
    ("spelling", "options", "reason"),
    [
        ("nasbench201", {"deploy_macro": "imagenet"}, "have no macro-architecture imagenet"),
        ("nasnet", {"deploy_macro": "huge"}, "deploy_macro must be one of cifar, imagenet"),
        ("nasnet", {"deploy_batch": 0}, "deploy_batch"),
    ],
)
def test_a_deployment_that_cannot_be_is_refused(
    spelling: str, options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=reason):
        proxy(tmp_path, build_space(spelling), **options)


def test_networks_of_others_and_missing_packages_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = widths_of_seed("resnet:8x4", classes=2, channels=3, image_size=8)
    require_runtime(ours)
    with pytest.raises(ValueError, match="and not for torchvision:resnet18"):
        require_runtime(replace(ours, network="torchvision:resnet18"))
    monkeypatch.setattr(timing, "find_spec", lambda name: None if name == "onnxruntime" else True)
    with pytest.raises(ValueError, match=r"needs onnxruntime: .*evo_nas\[onnx\]"):
        proxy(tmp_path)


@pytest.mark.parametrize("name", ["ort-latency", "mult-adds,latency"])
def test_the_flag_cost_sets_what_a_search_for_a_front_needs(name: str) -> None:
    arguments = build_parser().parse_args(["run", "--strategy", "evolution", "--cost", name, "--set", "space.blocks=1"])
    config = load_config(read_flags(arguments), settings=arguments.set)
    names = name.replace("-", "_").split(",")
    assert config.strategy == {"objective": "pareto", "costs": ",".join(names)}
    assert config.evaluator == {each: True for each in names if each in MEASURED_ON_REQUEST}
    assert config.space == {"blocks": 1}


def test_a_cost_that_is_none_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--strategy", "evolution", "--evaluator", "toy", "--cost", ","])
    assert "name at least one cost" in capsys.readouterr().err
    assert main(["run", "--strategy", "evolution", "--evaluator", "toy", "--cost", "ort-latency"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_strategy_that_searches_no_front_is_told_who_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--strategy", "guided", "--evaluator", "toy", "--cost", "parameters"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the strategy guided searches no front" in line
    assert line.endswith("add --strategy evolution")
