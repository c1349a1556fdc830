"""The evaluator with a supernet of detectors: two trainings, each once and resumed to the bit, and AP of paths."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evo_nas.data.boxes.scenes import load_glyphs
from evo_nas.evaluators.base import Job, Placement, check_evaluator
from evo_nas.evaluators.supernet.evaluator import SupernetEvaluator
from evo_nas.training import single_path
from evo_nas.training.recalibration import recalibrate
from genotypes.catalogue import build_space
from genotypes.individual import Outcome

SPACE = build_space("detnas(stages=1+1+1,widths=8+12+16,stem=4,last=16)")
SMALL: dict[str, Any] = {
    "dataset": "scenes",
    "preset": "tiny",
    "width": 8,
    "epochs": 2,
    "train_images": 16,
    "validation_images": 8,
    "recalibration_images": 8,
    "pretraining_size": 8,
}


def bind(folder: Path, **options: Any) -> SupernetEvaluator:
    evaluator = SupernetEvaluator(**{**SMALL, **options})
    check_evaluator(evaluator)
    evaluator.bind(SPACE, Placement(device="cpu"))
    evaluator.prepare(folder)
    return evaluator


def ready(folder: Path, heard: list[str] | None = None, **options: Any) -> SupernetEvaluator:
    evaluator = bind(folder, **options)
    evaluator.groundwork([].append if heard is None else heard.append)
    return evaluator


def digest(evaluator: SupernetEvaluator) -> str:
    return evaluator.fingerprint()["supernet"]


def job(number: int) -> Job:
    return Job(number, SPACE.sample(np.random.default_rng(number)), 0)


def test_a_genotype_has_one_ap_and_leaves_no_trace(cache: Path, tmp_path: Path) -> None:
    evaluator = ready(tmp_path)
    before = {path: path.read_bytes() for path in [*cache.rglob("*"), *tmp_path.glob("*")] if path.is_file()}
    first = evaluator.evaluate(job(1))
    evaluator.evaluate(job(2))
    copied: SupernetEvaluator = pickle.loads(pickle.dumps(evaluator))
    again = copied.evaluate(Job(7, job(1).genotype, 9))
    assert first.outcome is Outcome.OK
    assert (again.fitness, again.metrics["ap50"]) == (first.fitness, first.metrics["ap50"])
    assert set(evaluator.metrics) <= set(first.metrics)
    assert evaluator.cost(job(1).genotype).mult_adds == first.metrics["mult_adds"]
    assert evaluator.measure.name == "AP"
    after = {path: path.read_bytes() for path in [*cache.rglob("*"), *tmp_path.glob("*")] if path.is_file()}
    assert after == before


def test_it_begins_with_images_of_single_digits_and_those_are_trained_on_once(cache: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    first = ready(tmp_path, heard, epochs=1)
    assert any(line.startswith("supernet, on images of digits: epoch 1 of 1, loss ") for line in heard)
    heard.clear()
    other = ready(tmp_path, heard, epochs=1, depth=1)
    assert not any("on images of digits: epoch" in line for line in heard), "they are trained on once"
    assert any(line.startswith("supernet: epoch 1 of 1, loss ") for line in heard)
    alone = ready(tmp_path, epochs=1, pretraining="none", pretraining_size=None)
    assert len({digest(each) for each in (first, other, alone)}) == 3


def test_digits_of_the_validation_scenes_are_not_trained_on(tmp_path: Path) -> None:
    found = bind(tmp_path)._pretraining()
    assert found is not None
    seen = found._load(torch.device("cpu")).images.numpy()
    glyphs = {part: {bytes(glyph) for glyph in load_glyphs(part, 0)[0]} for part in ("train", "val", "test")}
    assert {bytes(np.ascontiguousarray(image[0])) for image in seen} == glyphs["train"] - glyphs["val"]


@pytest.mark.slow
def test_a_groundwork_killed_at_any_stage_ends_with_the_same_weights(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = digest(ready(tmp_path))
    shutil.rmtree(cache)
    save, left = single_path.save_tensors, [1]

    def save_and_die(path: Path, tensors: dict[str, torch.Tensor]) -> None:
        save(path, tensors)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(single_path, "save_tensors", save_and_die)
    written = []
    for _ in range(5):  # an epoch on images, their weights, two epochs on boxes, their weights
        left[0] = 1
        with pytest.raises(KeyboardInterrupt):
            ready(tmp_path)
        written.append(sorted(str(path.relative_to(cache)) for path in cache.rglob("*.safetensors")))
    assert len({tuple(names) for names in written}) == 5, written
    monkeypatch.setattr(single_path, "save_tensors", save)
    heard: list[str] = []
    assert digest(ready(tmp_path, heard)) == whole
    assert not any("epoch" in line for line in heard)
    assert not list(cache.glob("*.partial"))


def test_recalibration_moves_the_statistics_of_the_path_alone(cache: Path, tmp_path: Path) -> None:
    evaluator = ready(tmp_path, epochs=1, pretraining="none", pretraining_size=None)
    supernet, batches = evaluator._load()
    before = {name: weight.clone() for name, weight in supernet.weights_by_name().items()}
    path = supernet.path(job(1).genotype)
    recalibrate(path, batches)
    norms = [module for module in path.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(int(norm.num_batches_tracked or 0) in (1, 5) for norm in norms), "towers of the head see five levels"
    assert all(torch.equal(before[name], weight) for name, weight in supernet.weights_by_name().items())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cells_per_stack": 1}, "cells_per_stack is for classifiers, and scenes has boxes: leave it out"),
        ({"dataset": "digits", "preset": "digits"}, "width is for detectors, and digits has no boxes: leave it out"),
        (
            {"pretraining": "none"},
            "pretraining is none: leave pretraining_size out",
        ),
        ({"pretraining": "boxes"}, "pretraining must be one of auto, none, classification, not 'boxes'"),
        ({"pretraining_dataset": "plates"}, "there is no data set 'plates' to begin with; those are: "),
        (
            {"dataset": "voc", "pretraining": "classification"},
            "pretraining=classification needs images: name a set with --set evaluator.pretraining_dataset=NAME",
        ),
        ({"recalibration_images": 7}, "recalibration_images must be at least one batch, batch_size is 8, not 7"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SupernetEvaluator(**{**SMALL, **options}).bind(SPACE, Placement(device="cpu"))


def test_pretraining_is_for_detectors() -> None:
    with pytest.raises(ValueError, match="pretraining is for detectors, and digits has no boxes: leave it out"):
        SupernetEvaluator(dataset="digits", pretraining="none")
