"""The evaluator that blends scores with the loss of a short training: one more term, common random numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evo_nas.evaluators.base import Job, Placement, check_evaluator
from evo_nas.evaluators.blend import BlendEvaluator
from evo_nas.evaluators.scores.catalogue import place_among
from evo_nas.phenotypes.edges import build_edges
from evo_nas.phenotypes.network import draw_by_place
from genotypes.catalogue import build_space
from genotypes.edge_cell import EdgeCell
from genotypes.genotype import Genotype

SPACE = build_space("nasbench201")
GENOTYPE = Genotype("nasbench201", (3, 2, 1, 0, 4, 3))
MEASURES = ("naswot", "depth")
DEAD = Genotype("nasbench201", (0,) * 6)


def ready(folder: Path, heard: list[str] | None = None, **options: Any) -> BlendEvaluator:
    small = {"dataset": "digits", "image_size": 8, "cells_per_stack": 1, "filters": 2, "images": 8, "yardstick": 20}
    small |= {"measures": MEASURES, "epochs": 1, "train_images": 64}
    evaluator = BlendEvaluator(**{**small, **options})
    check_evaluator(evaluator)
    evaluator.bind(SPACE, Placement(device="cpu", keep_weights=True))
    folder.mkdir(exist_ok=True)
    evaluator.prepare(folder)
    evaluator.groundwork([].append if heard is None else heard.append)
    return evaluator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run")
    ready(place)
    return place


def test_the_loss_is_one_more_term_of_its_weight(folder: Path) -> None:
    evaluation = ready(folder).evaluate(Job(1, GENOTYPE, 0))
    networks = json.loads((folder / "yardstick.json").read_text())["networks"]
    assert {*MEASURES, "validation_loss"} == networks[0]["scores"].keys()

    def place(name: str, sign: float = 1) -> float:
        known = sign * np.array([row["scores"][name] for row in networks], dtype=float)
        return float(place_among(np.array([sign * evaluation.metrics.get(name, math.nan)]), known)[0])

    terms = [place("naswot"), place("depth"), place("validation_loss", -1)]
    assert evaluation.fitness == pytest.approx(np.prod(terms) ** (1 / 3))
    assert 0 < evaluation.metrics["accuracy"] < 1, "what is reported, and steers nothing"
    twice = ready(folder, loss_weight=2.0).evaluate(Job(1, GENOTYPE, 0))
    assert twice.fitness == pytest.approx((terms[0] * terms[1] * terms[2] ** 2) ** (1 / 4))
    assert list(folder.rglob("*.safetensors")) == [], "no weights of a training that is a term"


def test_a_fitness_depends_on_the_genotype_alone(folder: Path) -> None:
    first, second = (ready(folder).evaluate(job) for job in (Job(1, GENOTYPE, 0), Job(9, GENOTYPE, 5)))
    assert first.fitness == second.fitness
    assert first.metrics["validation_loss"] == second.metrics["validation_loss"]
    dead = ready(folder).evaluate(Job(2, DEAD, 0)).fitness
    assert dead is not None
    assert first.fitness is not None
    assert 0 < dead < first.fitness


def test_a_training_that_diverges_costs_its_term(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = ready(folder)
    whole = evaluator.evaluate(Job(1, GENOTYPE, 0))
    monkeypatch.setattr(evaluator._training, "learning_rate", 1e30)
    rest = evaluator.evaluate(Job(1, GENOTYPE, 0))
    assert "validation_loss" not in rest.metrics
    assert rest.fitness is not None
    assert whole.fitness is not None
    assert 0 < rest.fitness < whole.fitness


def test_the_yardstick_is_trained_once_and_a_killed_build_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    trained: list[str] = []
    evaluate = BlendEvaluator._score

    def count(self: BlendEvaluator, genotype: Genotype) -> Any:
        if len(trained) == 7:
            trained.append("the blow")
            raise Killed
        trained.append(str(genotype))
        return evaluate(self, genotype)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(BlendEvaluator, "_score", count)
    with pytest.raises(Killed):
        ready(tmp_path / "run", seed=5)
    ready(tmp_path / "run", seed=5)
    assert len(trained) == 20 + 1, "seven before the blow, thirteen after it"
    heard: list[str] = []
    ready(tmp_path / "other", heard, seed=5)
    assert (len(trained), heard) == (21, []), "another run finds it in the cache"


def test_layers_of_one_name_and_shape_begin_alike() -> None:
    size = {"cells_per_stack": 1, "filters": 4, "classes": 10}
    first = build_edges(EdgeCell(("nor_conv_3x3",) + ("skip_connect",) * 5), **size)
    second = build_edges(EdgeCell(("nor_conv_3x3",) * 6), **size)
    for network in (first, second):
        draw_by_place(network, 7)
    own, other = first.state_dict(), second.state_dict()
    assert all(torch.equal(other[name], tensor) for name, tensor in own.items())
    draw_by_place(second, 8)
    assert not torch.equal(second.state_dict()["classifier.weight"], own["classifier.weight"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "nothing"}, "there is no preset 'nothing'"),
        ({"loss_weight": 0.0}, "loss_weight"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"yardstick": 19}, "yardstick must be at least 20"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        BlendEvaluator(**options)
