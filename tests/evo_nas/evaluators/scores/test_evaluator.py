"""The evaluator that trains nothing: places among a yardstick that is drawn once and lies in the run folder."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evo_nas.cli import main
from evo_nas.config import RunConfig
from evo_nas.errors import DataError, UsageError
from evo_nas.evaluators.base import Job, Placement, check_evaluator
from evo_nas.evaluators.scores.catalogue import SCORES, place_among
from evo_nas.evaluators.scores.evaluator import ScoresEvaluator
from evo_nas.evaluators.scores.passes import Passes
from evo_nas.run.parts import build
from genotypes.catalogue import build_space
from genotypes.genotype import Genotype
from genotypes.registry import options_of

SPACE = build_space("nasbench201")
GENOTYPE = Genotype("nasbench201", (3, 2, 1, 0, 4, 3))
MEASURES = ("naswot", "depth", "trainability")


def ready(folder: Path, heard: list[str] | None = None, **options: Any) -> ScoresEvaluator:
    small = {"dataset": "digits", "image_size": 8, "cells_per_stack": 1, "filters": 2, "images": 8, "yardstick": 20}
    evaluator = ScoresEvaluator(**{**small, "measures": MEASURES, **options})
    check_evaluator(evaluator)
    evaluator.bind(SPACE, Placement(device="cpu"))
    folder.mkdir(exist_ok=True)
    evaluator.prepare(folder)
    evaluator.groundwork([].append if heard is None else heard.append)
    return evaluator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run")
    ready(place)
    return place


def test_the_fitness_is_the_geometric_mean_of_places_in_the_yardstick(folder: Path) -> None:
    evaluator = ready(folder)
    evaluation = evaluator.evaluate(Job(1, GENOTYPE, 0))
    networks = json.loads((folder / "yardstick.json").read_text())["networks"]
    assert len({row["genotype"] for row in networks}) == 20
    places = [
        place_among(
            np.array([evaluation.metrics.get(name, math.nan)]),
            np.array([row["scores"][name] for row in networks], dtype=float),
        )[0]
        for name in MEASURES
    ]
    assert evaluation.fitness == pytest.approx(np.prod(places) ** (1 / 3))
    assert {"parameters", "mult_adds", "cpu_seconds", "scores_seconds"} <= evaluation.metrics.keys()
    assert evaluator.cost(GENOTYPE).parameters == evaluation.metrics["parameters"]


def test_a_fitness_depends_on_the_genotype_alone(folder: Path) -> None:
    evaluator = ready(folder)
    first = evaluator.evaluate(Job(1, GENOTYPE, 0)).fitness
    dead = evaluator.evaluate(Job(2, Genotype("nasbench201", (0,) * 6), 0)).fitness
    again: ScoresEvaluator = pickle.loads(pickle.dumps(evaluator))
    assert again.evaluate(Job(9, GENOTYPE, 5)).fitness == first
    assert dead is not None
    assert first is not None
    assert 0 < dead < first, "a dead cell has the worst places, and a fitness all the same"


def test_the_yardstick_is_drawn_once_and_lies_with_the_run(folder: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    again = ready(folder, heard)
    assert heard == []
    other = ready(tmp_path / "other", heard)
    assert heard == [], "the cache has it"
    assert other.fingerprint() == again.fingerprint()
    with pytest.raises(DataError, match="is of other settings"):
        ready(folder, filters=3)
    (tmp_path / "other" / "yardstick.json").write_text('{"networks": 3}')
    with pytest.raises(DataError, match="is damaged"):
        ready(tmp_path / "other")


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_score_that_fails_costs_the_candidate_that_score_alone(
    value: float | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(passes: Passes) -> float:
        if value is None:
            raise RuntimeError("no such layer")
        return value

    evaluator = ready(folder)
    whole = evaluator.evaluate(Job(1, GENOTYPE, 0))
    monkeypatch.setitem(SCORES, "naswot", fail)  # type: ignore[misc]
    rest = evaluator.evaluate(Job(1, GENOTYPE, 0))
    assert "naswot" not in rest.metrics
    assert (whole.metrics["scores_missing"], rest.metrics["scores_missing"]) == (0, 1)
    assert rest.metrics.get("naswot_failed") == (1 if value is None else None)
    assert [rest.metrics[name] for name in ("depth", "trainability")] == [
        whole.metrics[name] for name in ("depth", "trainability")
    ]
    assert rest.fitness is not None
    assert whole.fitness is not None
    assert 0 < rest.fitness < whole.fitness, "as the worst of the yardstick by that score"
    rated = evaluator.rate(GENOTYPE)
    assert ("naswot" in rated) == (value is not None), "a search does not hold against a network what failed"
    assert math.isnan(rated.get("naswot", math.nan))
    assert (rated["depth"], rated["trainability"]) == (whole.metrics["depth"], whole.metrics["trainability"])


def test_a_network_that_cannot_be_built_has_no_value_by_any_score(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = ready(folder)
    monkeypatch.setattr(evaluator, "_build", lambda genotype: 1 / 0)
    rated = evaluator.rate(GENOTYPE)
    assert tuple(rated) == MEASURES
    assert all(map(math.isnan, rated.values()))


def test_memory_that_runs_out_is_no_score(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(passes: Passes) -> float:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    evaluator = ready(folder)
    monkeypatch.setitem(SCORES, "naswot", exhaust)  # type: ignore[misc]
    with pytest.raises(RuntimeError, match="can't allocate"):
        evaluator.evaluate(Job(1, GENOTYPE, 0))


@pytest.mark.parametrize("dataset", ["folder", "digits"])
def test_images_that_tell_nothing_are_refused(dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if dataset == "folder":  # whatever the images are, of constant ones there is nothing to learn
        for name in ("cat", "dog"):
            place = tmp_path / "data" / "train" / name
            place.mkdir(parents=True)
            for number in range(8):
                Image.new("RGB", (8, 8), (90, 90, 90)).save(place / f"{number}.png")
        evaluator = ScoresEvaluator(dataset="folder", image_size=8)
        evaluator.bind(SPACE, Placement(device="cpu", data_dir=tmp_path / "data"))
        with pytest.raises(DataError, match="the train images of folder are all alike"):
            evaluator.prepare(tmp_path)
    else:
        monkeypatch.setitem(SCORES, "naswot", lambda passes: math.nan)  # type: ignore[misc]
        with pytest.raises(DataError, match="no network of the yardstick has a value by naswot"):
            ready(tmp_path / "run", seed=11)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--space", "bits"], "scores are those of networks, and the space bits describes"),
        (["--set", "evaluator.yardstick=19"], "yardstick must be at least 20"),
        (["--space", "pnas(blocks=1,ops=identity)"], "and a yardstick is at least 20"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--strategy", "random", "--evaluator", "scores", "--dataset", "digits", "--trials", "2"]
    small = ["--set", "evaluator.image_size=8", "--set", "evaluator.cells_per_stack=1", "--set", "evaluator.filters=2"]
    assert main([*command, *small, *arguments, "--run-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert words in error.splitlines()[-1]
    assert "Traceback" not in error


def test_the_seed_of_the_run_draws_the_yardstick(tmp_path: Path) -> None:
    def drawn(**given: Any) -> dict[str, Any]:
        tables = {"run": {"strategy": "random", "space": "nasbench201", "evaluator": "scores", **given}}
        parts = build(RunConfig.from_tables({**tables, "evaluator": {"dataset": "digits", **options}}))
        return options_of(parts.evaluator)

    options: dict[str, Any] = {}
    assert [drawn(seed=seed)["seed"] for seed in (3, 4)] == [3, 4]
    options = {"seed": 7}
    assert drawn(seed=3)["seed"] == 7
    networks = [
        json.loads((ready(tmp_path / f"{seed}", seed=seed).directory / "yardstick.json").read_text()) for seed in (3, 4)
    ]
    assert [record["key"]["seed"] for record in networks] == [3, 4]
    assert networks[0]["networks"] != networks[1]["networks"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"yardstick": 19}, "yardstick must be at least 20"),
        ({"measures": ("snip",)}, "there is no score 'snip'"),
        ({"measures": ()}, "measures names at least one"),
        ({"measures": ("depth", "depth")}, "each once"),
        ({"dataset": "mnist"}, "there is no data set 'mnist'"),
        ({"channels": 2}, "channels must be 1"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ScoresEvaluator(**options)


def test_a_space_without_networks_or_with_few_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="scores are those of networks, and the space bits describes"):
        ScoresEvaluator(dataset="digits").bind(build_space("bits"))
    evaluator = ScoresEvaluator(dataset="digits", image_size=8, cells_per_stack=1, filters=2)
    evaluator.bind(build_space("pnas(blocks=1,ops=identity)"), Placement(device="cpu"))
    evaluator.prepare(tmp_path)
    with pytest.raises(UsageError, match="and a yardstick is at least 20"):
        evaluator.groundwork([].append)
