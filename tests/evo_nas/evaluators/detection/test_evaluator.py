from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evo_nas.cli import main
from evo_nas.config import RunConfig, read_toml
from evo_nas.errors import UsageError
from evo_nas.evaluators.base import Job, Placement, evaluate_safely
from evo_nas.evaluators.detection import evaluator as module
from evo_nas.evaluators.detection.evaluator import DetectionEvaluator
from evo_nas.evaluators.detection.presets import PRESETS
from evo_nas.evaluators.latency import METRICS
from evo_nas.run.parts import choose_evaluator, load_config
from evo_nas.training import precision
from genotypes.catalogue import build_space
from genotypes.individual import Outcome
from genotypes.space import SearchSpace

SMALL: dict[str, Any] = {"preset": "tiny", "width": 8, "train_images": 16, "validation_images": 8, "epochs": 1}
SETTINGS = [f"--set=evaluator.{name}={value}" for name, value in SMALL.items() if name != "preset"]
RUN = ["run", "--space", "nasfpn", "--preset", "tiny", "--strategy", "random", "--workers", "1", "--threads", "1"]


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return build_space("nasfpn", {})


def bind(space: SearchSpace, folder: Path, **options: Any) -> DetectionEvaluator:
    evaluator = DetectionEvaluator(**{**SMALL, **options})
    evaluator.bind(space, Placement(device="cpu"))
    evaluator.prepare(folder)
    return evaluator


def job(space: SearchSpace, number: int = 1) -> Job:
    return Job(number, space.sample(np.random.default_rng(number)), seed=0)


def test_a_candidate_is_trained_and_measured(space: SearchSpace, tmp_path: Path) -> None:
    evaluator = bind(space, tmp_path)
    told = evaluator.evaluate(job(space))
    assert told.outcome is Outcome.OK
    assert told.curve == (told.fitness,)
    assert set(evaluator.metrics) <= set(told.metrics)
    assert set(told.metrics) - set(evaluator.metrics) <= {"ap_small", "ap_medium", "ap_large"}
    assert told.metrics["train_loss"] == pytest.approx(told.metrics["class_loss"] + told.metrics["box_loss"], rel=1e-5)
    cost = evaluator.cost(job(space).genotype)
    assert (told.metrics["parameters"], told.metrics["mult_adds"]) == (cost.parameters, cost.mult_adds)
    assert evaluator.measure.name == "AP"


def test_latency_is_measured_on_one_image(space: SearchSpace, tmp_path: Path) -> None:
    evaluator = bind(space, tmp_path, latency=True)
    told = evaluator.evaluate(job(space))
    assert set(METRICS) <= set(evaluator.metrics)
    assert told.metrics["latency"] > 0


def test_an_evaluation_depends_on_its_job_alone(space: SearchSpace, tmp_path: Path) -> None:
    evaluator = bind(space, tmp_path)
    first = evaluator.evaluate(job(space))
    evaluator.evaluate(job(space, 2))
    copy = pickle.loads(pickle.dumps(evaluator))
    for again in (evaluator.evaluate(job(space)), copy.evaluate(job(space))):
        assert again.curve == first.curve
        assert again.metrics["train_loss"] == first.metrics["train_loss"]


def test_a_training_in_parts_is_the_same_training(space: SearchSpace, tmp_path: Path) -> None:
    evaluator = bind(space, tmp_path, epochs=2)
    whole, first = evaluator.evaluate(job(space)), evaluator.evaluate(replace(job(space), until=1))
    assert (len(first.curve), first.metrics["stopped"]) == (1, 1)
    last = evaluator.evaluate(replace(job(space), until=2, so_far=first))
    assert (last.curve, last.metrics["stopped"], last.metrics.get("restarts", 0)) == (whole.curve, 0, 0)
    for name in ("train_loss", "class_loss", "box_loss", "ap50"):
        assert last.metrics[name] == whole.metrics[name]


def test_a_search_never_opens_the_test_part(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    whole = module.open_boxes

    def spy(*args: Any, **options: Any) -> Any:
        images = whole(*args, **options)
        return replace(images, open_part=lambda part: asked.append(part) or images.open_part(part))

    monkeypatch.setattr(module, "open_boxes", spy)
    evaluator = bind(space, tmp_path)
    evaluator.evaluate(job(space))
    assert set(asked) == {"train", "val"}


def test_a_loss_that_is_no_number_costs_one_trial(space: SearchSpace, tmp_path: Path) -> None:
    evaluator = bind(space, tmp_path, optimizer="sgd", learning_rate=1e30, gradient_norm=0.0, warmup=0)
    assert evaluate_safely(evaluator, job(space)).outcome is Outcome.NAN


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_builds_a_detector(preset: str, space: SearchSpace) -> None:
    evaluator = DetectionEvaluator(preset=preset)
    evaluator.bind(space, Placement(device="cpu"))
    known = PRESETS[preset].settings()
    for name, value in known.items():
        assert getattr(evaluator, name, value) == value
    assert evaluator.cost(job(space).genotype).mult_adds > 10**6
    assert evaluator.recipe() == PRESETS[preset].recipe


def test_the_set_and_the_preset_mean_each_other(space: SearchSpace) -> None:
    for given, dataset, preset in (
        ({}, "plates", "plates"),
        ({"dataset": "scenes"}, "scenes", "digits"),
        ({"preset": "digits"}, "scenes", "digits"),
        ({"preset": "tiny"}, "plates", "tiny"),
    ):
        evaluator = DetectionEvaluator(**given)
        evaluator.bind(space, Placement(device="cpu"))
        assert (evaluator.dataset, evaluator.preset) == (dataset, preset)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "huge"}, "there is no preset 'huge'; the presets are: tiny, plates"),
        ({"dataset": "cifar10"}, "there is no data set with boxes 'cifar10'; those are: scenes, plates"),
        ({"channels": 2}, "channels must be 1"),
        ({"positive": 0.3}, "negative must be at most positive, which is 0.3, not 0.4"),
        ({"box_loss": "l3"}, "box_loss must be one of l1, huber, not 'l3'"),
        ({"cuda_graphs": True}, "cuda_graphs are for classifiers"),
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"optimizer": "lamb"}, "optimizer must be one of sgd, adamw"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str, space: SearchSpace) -> None:
    with pytest.raises(ValueError, match=words):
        DetectionEvaluator(**options).bind(space, Placement(device="cpu"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"canvas": 72}, "the next sizes are 64 and 128"),
        ({"backbone": "slim"}, "there is no backbone 'slim'"),
        ({"early_stopping": "median", "stopping_epochs": 9}, "stopping_epochs|first"),
    ],
)
def test_what_does_not_suit_is_refused_when_it_is_bound(
    options: dict[str, Any], words: str, space: SearchSpace
) -> None:
    with pytest.raises(ValueError, match=words):
        DetectionEvaluator(**{**SMALL, **options}).bind(space, Placement(device="cpu"))


def test_a_space_of_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="the evaluator detection takes the space nasfpn"):
        DetectionEvaluator().bind(build_space("nasnet", {}), Placement(device="cpu"))


def test_a_batch_beyond_the_images_is_refused(space: SearchSpace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a batch of 17 needs more images than the 16"):
        bind(space, tmp_path, batch_size=17)


def test_the_memory_of_a_worker_grows_with_the_batch_and_the_canvas(space: SearchSpace) -> None:
    def estimate(**options: int) -> int:
        evaluator = DetectionEvaluator(**{**SMALL, **options})
        evaluator.bind(space, Placement(device="cpu"))
        return evaluator.memory() or 0

    assert 100 * 2**20 < estimate(batch_size=2) < estimate(batch_size=8) < estimate(batch_size=8, canvas=128) < 2**30


def test_a_missing_extra_is_one_line_before_a_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(precision, "find_spec", lambda name: None)
    assert main([*RUN, "--run-dir", str(tmp_path / "run")]) == 2
    assert "needs faster-coco-eval: python -m pip install 'evo_nas[detection]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_evaluator_follows_from_the_space() -> None:
    assert load_config({"space": "nasfpn"}, environ={}).run.evaluator == "detection"
    assert load_config({"space": "nasfpn(merges=5)"}, environ={}).run.evaluator == "detection"
    assert load_config({"space": "nasfpn", "evaluator": "toy"}, environ={}).run.evaluator == "toy"
    assert load_config({"space": "nasnet"}, environ={}).run.evaluator == "proxy"
    assert choose_evaluator({}) == {}


def test_a_search_from_the_command_line_and_its_resumption(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert main([*RUN, *SETTINGS, "--trials", "2", "--executor", "serial", "--run-dir", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "AP" in out
    assert "accuracy" not in out
    assert RunConfig.from_tables(read_toml(folder / "run.toml")).run.evaluator == "detection"
    assert main(["resume", str(folder), "--trials", "3"]) == 0
    assert main(["table", str(folder), "--format", "csv"]) == 0


def test_a_dry_run_and_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, *SETTINGS, "--trials", "2", "--dry-run"]) == 0
    assert "mult-adds" in capsys.readouterr().out
    folder = str(tmp_path / "run")
    limits = ["--max-mult-adds", "1000", "--max-repeats", "2"]
    assert main([*RUN, *SETTINGS, *limits, "--trials", "2", "--executor", "serial", "--run-dir", folder]) == 2
    assert "were refused" in capsys.readouterr().err
