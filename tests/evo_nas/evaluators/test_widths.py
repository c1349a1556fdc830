from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evo_nas
from evo_nas.cli import main
from evo_nas.commands.status import resuming
from evo_nas.errors import UsageError
from evo_nas.evaluators.base import Job, Placement
from evo_nas.evaluators.widths import WidthsEvaluator
from evo_nas.phenotypes.kinds import build_network, count_cost
from evo_nas.run.parts import read_stored_config
from genotypes.catalogue import build_space
from genotypes.individual import Outcome
from genotypes.spaces.widths import WidthsSpace

PLACE = Placement(threads=1)
SMALL = {"train_images": 200, "validation_images": 100, "epochs": 1}


def ready(network: str, tmp_path: Path, **options: Any) -> tuple[WidthsEvaluator, WidthsSpace]:
    evaluator = WidthsEvaluator(dataset="digits", **{**SMALL, **options})
    space = evaluator.complete(WidthsSpace(network), PLACE)
    assert isinstance(space, WidthsSpace)
    evaluator.bind(space, PLACE)
    evaluator.prepare(tmp_path)
    return evaluator, space


@pytest.mark.parametrize("network", ["resnet:8x4", "cell:nasnet-a"])
def test_groups_are_found_and_costs_are_those_of_the_networks(network: str, tmp_path: Path) -> None:
    evaluator, space = ready(network, tmp_path)
    assert space.network == {"resnet:8x4": "resnet:8x4", "cell:nasnet-a": "cell:nasnet-a@1x4"}[network]
    rng = np.random.default_rng(0)
    for genotype in (space.nearest(tuple(space.seed.values())), *(space.sample(rng) for _ in range(3))):
        built = build_network(space, genotype, classes=10, channels=1, image_size=8)
        parameters, mult_adds = count_cost(built, channels=1, image_size=8)
        cost = evaluator.cost(genotype)
        assert (cost.parameters, cost.mult_adds) == (parameters, mult_adds)


def test_shrinking_counts_the_alive_channels_of_each_group(tmp_path: Path) -> None:
    evaluator, space = ready("resnet:8x4", tmp_path, shrink=True, strength=30.0, threshold=0.3)
    genotype = space.nearest(tuple(space.seed.values()))
    answer = evaluator.evaluate(Job(1, genotype, 7))
    assert answer.outcome is Outcome.OK, answer.error
    assert evaluator.metrics is not None
    assert set(answer.metrics) == set(evaluator.metrics)
    alive = {name: answer.metrics[f"alive.{name}"] for name in space.seed}
    assert all(0 <= alive[name] <= width for name, width in space.seed.items())
    assert sum(alive.values()) < sum(space.seed.values()), "some have left"
    assert 0 < answer.metrics["alive_share"] < 1
    assert (answer.metrics["strength"], answer.metrics["shrink_epochs"]) == (30.0, 1)
    again = pickle.loads(pickle.dumps(evaluator)).evaluate(Job(1, genotype, 7))
    assert {name: again.metrics[f"alive.{name}"] for name in space.seed} == alive, "a function of the job"
    assert again.fitness == answer.fitness
    plain, _ = ready("resnet:8x4", tmp_path)
    assert plain.evaluate(Job(1, genotype, 7)).fitness == answer.fitness, "the fitness is that without the term"


def test_a_strength_is_found_for_a_share(tmp_path: Path) -> None:
    evaluator, space = ready("resnet:8x4", tmp_path, shrink=True, share=0.5, threshold=0.3, searches=8)
    metrics = evaluator.evaluate(Job(1, space.nearest(tuple(space.seed.values())), 7)).metrics
    assert metrics["alive_share"] == pytest.approx(0.5, abs=0.15)
    assert metrics["shrink_epochs"] > 1, "1 was not the right one"


def test_without_a_threshold_the_strongest_stay_that_a_share_allows(tmp_path: Path) -> None:
    evaluator, space = ready("resnet:8x4", tmp_path, shrink=True, share=0.5)
    metrics = evaluator.evaluate(Job(1, space.nearest(tuple(space.seed.values())), 7)).metrics
    assert 0.4 < metrics["alive_share"] <= 0.5
    assert metrics["shrink_epochs"] == 1
    assert min(metrics[f"alive.{name}"] for name in space.seed) >= 1


def test_a_search_is_resumed_exactly_and_its_fewest_words_suffice(tmp_path: Path) -> None:
    words = {"space": "widths", "evaluator": "widths", "strategy": "morphnet", "dataset": "digits"}
    settings = ["space.network=resnet:8x4", *(f"evaluator.{name}={value}" for name, value in SMALL.items())]
    settings += ["strategy.budget=0.5x-parameters", "strategy.strength=3"]
    whole = evo_nas.search(run_dir=tmp_path / "whole", settings=settings, trials=3, **words)
    evo_nas.search(run_dir=tmp_path / "parts", settings=settings, trials=1, **words)
    parts = evo_nas.resume(tmp_path / "parts", trials=3)
    frames = [evo_nas.load_history(run) for run in (whole, parts)]
    columns = ["genotype", "fitness", "parent", "outcome", "parameters", "mult_adds"]
    assert frames[0][columns].equals(frames[1][columns])
    assert len(frames[0]) > 1
    limit = frames[0]["parameters"].iloc[0] * 1.1
    assert (frames[0]["parameters"] <= limit).all(), "every trial is within the budget"
    assert 'resource = "parameters"' in (tmp_path / "whole" / "run.toml").read_text()


@pytest.mark.parametrize("strategy", ["evolution", "guided"])
def test_other_strategies_search_the_same_space_under_limits(strategy: str, tmp_path: Path) -> None:
    settings = ["space.network=resnet:8x4", *(f"evaluator.{name}={value}" for name, value in SMALL.items())]
    run = evo_nas.search(
        run_dir=tmp_path / "run",
        settings=settings,
        space="widths",
        evaluator="widths",
        strategy=strategy,
        dataset="digits",
        trials=4,
        max_mult_adds=30_000,
    )
    frame = evo_nas.load_history(run)
    trained = frame[frame["outcome"] == "ok"]
    assert len(trained) == 4
    assert (trained["mult_adds"] <= 30_000).all()
    assert "shrink = false" in (tmp_path / "run" / "run.toml").read_text()


MINE = """
from torch import nn

def make(classes, channels):
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes),
    )

def without_norms(classes, channels):
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )

def nothing():
    return 3
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_networks.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_networks"


def test_a_network_of_ones_own_is_named_again_to_resume(mine: str, tmp_path: Path) -> None:
    network = f"{mine}:make"
    settings = [f"space.network={network}", *(f"evaluator.{name}={value}" for name, value in SMALL.items())]
    words = {"space": "widths", "evaluator": "widths", "strategy": "multiplier", "dataset": "digits"}
    run = evo_nas.search(run_dir=tmp_path / "run", settings=settings, trials=2, **words)
    with pytest.raises(UsageError, match=f"with --set space.network={network}, because a run folder alone imports"):
        read_stored_config(run.path)
    config = read_stored_config(run.path, {"space": {"network": network}})
    assert resuming(run.path, config).endswith(f"--set space.network={network}")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--set", "space.network=torchvision:nothing"], "torchvision has no classifier of images 'nothing'"),
        (["--set", "space.network=own_networks:nothing"], "returned 3, which is no torch module"),
        (["--set", "space.network=own_networks:missing"], "cannot make the network own_networks:missing"),
        (["--set", "space.network=own_networks:without_norms"], "use gates=lasso"),
        (["--set", "strategy.budget=1.5x-mult-adds"], "is more than the"),
        (["--set", "strategy.budget=5-parameters"], "of one channel per group"),
        (["--set", "strategy.budget=half"], "a budget is a share"),
        (["--set", "evaluator.resource=watts"], "resource must be one of flops"),
        (["--set", "evaluator.hardware=abacus"], "hardware must be one of K80"),
        (["--set", "evaluator.gates=none"], "gates must be one of gamma, lasso"),
        (["--set", "evaluator.strength=1", "--set", "evaluator.share=0.5", "--set", "strategy.threshold=0.1"], "three"),
        (["--evaluator", "proxy"], "only a run folder and the evaluator widths know them"),
    ],
)
def test_bad_words_are_refused_in_one_line_and_leave_no_folder(
    capsys: pytest.CaptureFixture[str], mine: str, tmp_path: Path, flags: list[str], words: str
) -> None:
    begin = ["run", "--space", "widths", "--evaluator", "widths", "--strategy", "morphnet", "--trials", "2"]
    where = ["--dataset", "digits", "--set", "space.network=resnet:8x4", "--run-dir", str(tmp_path / "run")]
    assert main([*begin, *where, *flags]) == 2
    stderr = capsys.readouterr().err
    assert words in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--strategy", "morphnet", "--space", "darts"], "searches the space widths, not darts"),
        (["--strategy", "random", "--space", "darts"], "takes the space widths, not darts"),
        (["--strategy", "random", "--space", "widths", "--evaluator", "toy"], "the evaluator widths know them"),
    ],
)
def test_other_parts_are_refused(capsys: pytest.CaptureFixture[str], flags: list[str], words: str) -> None:
    assert main(["run", "--evaluator", "widths", "--trials", "2", *flags]) == 2
    stderr = capsys.readouterr().err
    assert words in stderr
    assert stderr.count("\n") == 1


def test_a_strength_that_kills_all_channels_does_not_end_the_search(tmp_path: Path) -> None:
    settings = ["space.network=resnet:8x4", *(f"evaluator.{name}={value}" for name, value in SMALL.items())]
    settings += ["evaluator.strength=10000", "evaluator.threshold=10"]
    words = {"space": "widths", "evaluator": "widths", "strategy": "morphnet", "dataset": "digits"}
    run = evo_nas.search(run_dir=tmp_path / "run", settings=settings, trials=2, **words)
    frame = evo_nas.load_history(run)
    assert list(frame["outcome"]) == ["ok"] or list(frame["outcome"]) == ["ok", "ok"]
    metrics = evo_nas.load_metrics(run).set_index("name")["value"]
    assert metrics["alive.conv1"].max() == 0


def test_the_space_of_another_network_is_refused(tmp_path: Path) -> None:
    evaluator = WidthsEvaluator(dataset="digits", **SMALL)
    with pytest.raises(ValueError, match="has changed since the run began"):
        evaluator.complete(WidthsSpace.of("resnet:8x4", {"conv1": 4}), PLACE)
    assert evaluator.complete(build_space("bits"), PLACE) == build_space("bits")
