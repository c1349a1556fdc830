"""The evaluator with a supernet: trained once, resumed to the bit, and never changed by those that it judges."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from evo_nas.errors import DataError, EvoNasError, UsageError
from evo_nas.evaluators.base import Job, Placement, check_evaluator
from evo_nas.evaluators.supernet.evaluator import SupernetEvaluator
from evo_nas.training import single_path
from genotypes.catalogue import build_space

ROOT = Path(__file__).parents[4]
SPACE = build_space("nasbench201")
SMALL: dict[str, Any] = {
    "dataset": "digits",
    "cells_per_stack": 1,
    "filters": 2,
    "epochs": 3,
    "batch_size": 16,
    "train_images": 64,
    "validation_images": 40,
    "recalibration_images": 32,
}


def ready(folder: Path, heard: list[str] | None = None, **options: Any) -> SupernetEvaluator:
    evaluator = SupernetEvaluator(**{**SMALL, **options})
    check_evaluator(evaluator)
    evaluator.bind(SPACE, Placement(device="cpu"))
    evaluator.prepare(folder)
    evaluator.groundwork([].append if heard is None else heard.append)
    return evaluator


def digest(evaluator: SupernetEvaluator) -> str:
    return evaluator.fingerprint()["supernet"]


def test_a_genotype_has_one_number_and_leaves_no_trace(cache: Path, tmp_path: Path) -> None:
    evaluator = ready(tmp_path)
    one, other = SPACE.genotype((3, 2, 1, 1, 4, 3)), SPACE.genotype((2, 2, 1, 3, 0, 1))
    before = {path: path.read_bytes() for path in [*cache.rglob("*"), *tmp_path.glob("*")] if path.is_file()}
    first = evaluator.evaluate(Job(1, one, 0))
    second = evaluator.evaluate(Job(2, other, 0))
    copied: SupernetEvaluator = pickle.loads(pickle.dumps(evaluator))
    again = copied.evaluate(Job(7, one, 9))
    assert (again.fitness, again.metrics["validation_loss"]) == (first.fitness, first.metrics["validation_loss"])
    assert first.metrics["validation_loss"] != second.metrics["validation_loss"]
    assert evaluator.cost(one).parameters == first.metrics["parameters"]
    assert set(evaluator.metrics) == set(first.metrics)
    after = {path: path.read_bytes() for path in [*cache.rglob("*"), *tmp_path.glob("*")] if path.is_file()}
    assert after == before


@pytest.mark.slow
def test_the_supernet_learns_and_its_dead_cells_do_not(cache: Path, tmp_path: Path) -> None:
    evaluator = ready(tmp_path, train_images=512, epochs=6, filters=4)
    live = evaluator.evaluate(Job(1, SPACE.genotype((3, 3, 1, 1, 3, 3)), 0))
    dead = evaluator.evaluate(Job(2, SPACE.genotype((0,) * 6), 0))
    assert live.fitness is not None
    assert dead.fitness is not None
    assert dead.fitness <= 0.15
    assert live.fitness > dead.fitness


def test_it_is_trained_once_whatever_the_recalibration(cache: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    first = ready(tmp_path, heard)
    assert [line for line in heard if line.startswith("supernet: epoch 3 of 3, loss ")]
    heard.clear()
    assert digest(ready(tmp_path, heard, recalibration_images=48)) == digest(first)
    assert heard == []
    assert digest(ready(tmp_path, sampling="fair")) != digest(first)
    assert digest(ready(tmp_path, seed=1)) != digest(first)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["uniform", "fair"])
def test_a_training_that_was_killed_ends_with_the_same_weights(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampling: str
) -> None:
    whole = digest(ready(tmp_path, sampling=sampling))
    for place in cache.glob("supernet-*"):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    save, left = single_path.save_tensors, [1, 2, 1, 1]

    def save_and_die(path: Path, tensors: dict[str, torch.Tensor]) -> None:
        save(path, tensors)
        left[0] -= 1
        if left[0] == 0:
            left.pop(0)
            raise KeyboardInterrupt

    monkeypatch.setattr(single_path, "save_tensors", save_and_die)
    for done in (1, 3, 3):  # the last time when the weights are written and the state is still there
        with pytest.raises(KeyboardInterrupt):
            ready(tmp_path, sampling=sampling)
        (partial,) = cache.glob("supernet-*.partial")
        assert (partial / f"state-{done:04d}.safetensors").exists()
    monkeypatch.setattr(single_path, "save_tensors", save)
    heard: list[str] = []
    assert digest(ready(tmp_path, heard, sampling=sampling)) == whole
    (place,) = (path for path in cache.iterdir() if path.is_dir())
    assert sorted(path.name for path in place.iterdir()) == ["groundwork.json", "supernet.safetensors"]


def test_a_damaged_state_is_trained_anew_and_that_of_another_training_refused(cache: Path, tmp_path: Path) -> None:
    whole = digest(ready(tmp_path))
    (place,) = (path for path in cache.iterdir() if path.is_dir())
    partial = place.rename(place.with_name(f"{place.name}.partial"))
    (partial / "groundwork.json").unlink()
    (partial / "supernet.safetensors").rename(partial / "state-0001.safetensors")
    with pytest.raises(DataError, match=r"does not fit; remove \S+, and the supernet is trained anew"):
        ready(tmp_path)
    (partial / "state-0001.safetensors").write_bytes(b"cut")
    heard: list[str] = []
    assert digest(ready(tmp_path, heard)) == whole
    assert any("begins anew: " in line for line in heard)


def test_a_damaged_supernet_and_one_of_other_settings_are_refused_in_one_line(cache: Path, tmp_path: Path) -> None:
    first, second = ready(tmp_path, epochs=1), ready(tmp_path, epochs=1, seed=1)
    shutil.rmtree(second._place)
    first._place.rename(second._place)
    with pytest.raises(DataError, match=r"is of other settings; remove that folder, and it is built again"):
        ready(tmp_path, epochs=1, seed=1)
    (second._place / "supernet.safetensors").write_bytes(b"cut")
    with pytest.raises(DataError, match=r"is damaged; remove that folder, and it is built again"):
        ready(tmp_path, epochs=1, seed=1)


def test_a_full_disk_is_one_line_and_costs_one_epoch_at_most(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = single_path.save_tensors

    def fill_up(path: Path, tensors: dict[str, torch.Tensor]) -> None:
        if path.name == "state-0002.safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        save(path, tensors)

    monkeypatch.setattr(single_path, "save_tensors", fill_up)
    with pytest.raises(DataError, match=r"cannot build the groundwork \S+: No space left on device"):
        ready(tmp_path)
    monkeypatch.setattr(single_path, "save_tensors", save)
    heard: list[str] = []
    ready(tmp_path, heard)
    assert any("goes on after epoch 1 of 3" in line for line in heard)


def test_a_loss_that_is_no_number_is_one_line(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(EvoNasError, match=r"in epoch \d of the supernet; a lower learning rate may help"):
        ready(tmp_path, learning_rate=1e30, gradient_norm=0.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampling": "sandwich"}, "sampling must be one of uniform, fair, not 'sandwich'"),
        ({"recalibration_images": 15}, "recalibration_images must be at least one batch, batch_size is 16, not 15"),
        ({"recalibration_images": 1}, "recalibration_images must be at least 2"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"preset": "huge"}, "there is no preset 'huge'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SupernetEvaluator(**{**SMALL, **options}).bind(SPACE, Placement(device="cpu"))


def test_a_space_without_a_supernet_and_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a supernet is known for .*; the space bits describes a dict"):
        SupernetEvaluator(**SMALL).bind(build_space("bits"))
    evaluator = SupernetEvaluator(**{**SMALL, "train_images": 20, "batch_size": 32})
    evaluator.bind(SPACE, Placement(device="cpu"))
    with pytest.raises(UsageError, match="a batch of 32 needs more images than the 20"):
        evaluator.prepare(tmp_path)


@pytest.mark.slow
def test_a_search_on_a_supernet_ends_and_resumes_on_the_same_one(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    options = [word for name, value in SMALL.items() for word in ("--set", f"evaluator.{name}={value}")]

    def evo_nas(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "evo_nas", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    folder = str(tmp_path / "run")
    run = ("run", "--space", "nasbench201", "--strategy", "random", "--evaluator", "supernet")
    done = evo_nas(*run, "--trials", "4", "--threads", "1", "--run-dir", folder, *options)
    assert (done.returncode, "4 ok" in done.stdout) == (0, True), done.stderr
    assert "supernet: epoch 1 of 3, loss " in done.stderr
    resumed = evo_nas("resume", folder, "--trials", "6")
    assert (resumed.returncode, "6 ok" in resumed.stdout) == (0, True), resumed.stderr
    assert "supernet: epoch" not in resumed.stderr
    assert len(json.loads((tmp_path / "run/env.json").read_text())["data"]["supernet"]) == 64
