"""Blueprints, and the files in which they lie beside the weights."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from evo_nas.errors import DataError
from evo_nas.phenotypes.blueprint import Blueprint, CellBlueprint, load_network, save_network, save_tensors
from genotypes.zoo import AMOEBANET_A, DARTS_V2, NASNET_A

SMALL = CellBlueprint(NASNET_A, cells_per_stack=1, filters=4, classes=("cat", "dog"))
FULL = CellBlueprint(
    DARTS_V2,
    cells_per_stack=2,
    filters=6,
    classes=("0", "1", "ten"),
    macro="imagenet",
    channels=1,
    image=64,
    mean=(0.25,),
    std=(0.125,),
    stem=8,
    skip_reduction_input=True,
    average="zeros",
)


@pytest.mark.parametrize("blueprint", [SMALL, FULL], ids=["defaults", "all given"])
def test_a_blueprint_survives_json(blueprint: Blueprint) -> None:
    text = json.dumps(blueprint.to_json())
    assert Blueprint.from_json(json.loads(text)) == blueprint


@pytest.mark.parametrize("blueprint", [SMALL, FULL], ids=["defaults", "all given"])
def test_a_saved_network_is_the_same_when_it_is_loaded(blueprint: Blueprint, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = blueprint.network().eval()
    path = tmp_path / "best.safetensors"
    save_network(path, blueprint, network.state_dict(), note="kept")
    read, tensors = load_network(path)
    assert read == blueprint
    again = read.network().eval()
    again.load_state_dict(tensors)
    images = torch.randn(2, blueprint.channels, blueprint.image, blueprint.image)
    assert torch.equal(again(images), network(images))
    assert again(images).shape == (2, len(blueprint.classes))
    assert list(tmp_path.iterdir()) == [path]


def test_options_of_training_are_no_part_of_a_blueprint() -> None:
    network = SMALL.network(drop_path_keep=0.5, auxiliary_image=16)
    assert network.auxiliary is not None
    assert network.drop_path_keep == 0.5


def test_weights_alone_have_no_blueprint(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.ones(3)}, path)
    blueprint, tensors = load_network(path)
    assert blueprint is None
    assert torch.equal(tensors["a"], torch.ones(3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filters": None}, "filters must be a whole number of at least 1, not None"),
        ({"filters": 0}, "filters must be a whole number of at least 1, not 0"),
        ({"filters": 4.0}, "filters must be a whole number of at least 1, not 4.0"),
        ({"filters": True}, "filters must be a whole number of at least 1, not True"),
        ({"cells_per_stack": "2"}, "cells_per_stack must be a whole number of at least 1, not 2"),
        ({"channels": -1}, "channels must be a whole number of at least 1, not -1"),
        ({"image": 7}, "image must be a whole number of at least 8, not 7"),
        ({"stem": 0}, "stem must be a whole number of at least 1, not 0"),
        ({"stem": "12"}, "stem must be a whole number of at least 1, not 12"),
        ({"macro": "mnist"}, "no macro-architecture 'mnist'; there are: cifar, imagenet"),
        ({"macro": "imagenet", "filters": 3}, "a quarter of the filters: at least 4, not 3"),
        ({"macro": {}}, "unhashable"),
        ({"skip_reduction_input": "yes"}, "skip_reduction_input must be true, false or null, not 'yes'"),
        ({"average": "reflect"}, "average must be one of same, zeros, not reflect"),
        ({"classes": []}, "at least one class"),
        ({"classes": "cat"}, "classes must be a list, not cat"),
        ({"classes": [1]}, "classes must be a list"),
        ({"mean": [0.5]}, "mean and std must have 3 numbers, one per channel"),
        ({"std": [0.5, 0.5, 0]}, "mean must be finite, and std positive"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean must be finite, and std positive"),
        ({"mean": ["0", "0", "0"]}, "mean must be a list"),
        ({"mean": 0.5}, "mean must be a list, not 0.5"),
        ({"cells": None}, "a cell pair in JSON is"),
        ({"cells": {"normal": {}, "reduction": {}}}, "normal cell: a cell in JSON is"),
        ({"cells": {**NASNET_A.to_json(), "stacking": "resnet"}}, "no stacking 'resnet'"),
        ({"colour": "red"}, "a blueprint has no field 'colour'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_damaged_record_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    record = SMALL.to_json() | changes
    with pytest.raises(ValueError, match=message) as caught:
        Blueprint.from_json(record)
    assert "\n" not in str(caught.value)
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.ones(1)}, path, metadata={"evo_nas.blueprint": json.dumps(record)})
    with pytest.raises(DataError, match=r"the blueprint in .*weights\.safetensors is damaged: ") as caught_too:
        load_network(path)
    assert "\n" not in str(caught_too.value)


@pytest.mark.parametrize("field", ["cells", "cells_per_stack", "filters", "classes"])
def test_what_must_be_there_is_missed(field: str) -> None:
    record = SMALL.to_json()
    del record[field]
    with pytest.raises(ValueError, match=f"the blueprint lacks the field '{field}'"):
        Blueprint.from_json(record)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '"text"', "[" * 100_000])
def test_what_is_no_record_is_damaged(text: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.ones(1)}, path, metadata={"evo_nas.blueprint": text})
    with pytest.raises(DataError, match="is damaged: "):
        load_network(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file of weights .*nowhere"):
        load_network(tmp_path / "nowhere.safetensors")
    with pytest.raises(DataError):
        load_network(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.3, 0.999])
def test_a_file_that_is_cut_short_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_network(path, SMALL, SMALL.network().state_dict())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"weights\.safetensors holds no weights that can be read; it is cut short"):
        load_network(path)


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.trace, "executed"))


@pytest.mark.parametrize("kind", ["pickle", "torch.save"])
def test_code_that_is_named_weights_is_refused_and_not_executed(kind: str, tmp_path: Path) -> None:
    path, trace = tmp_path / "weights.safetensors", tmp_path / "trace"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil(trace)))
    else:
        torch.save({"a": torch.ones(1), "evil": Evil(trace)}, path)
    with pytest.raises(DataError, match="holds no weights that can be read") as caught:
        load_network(path)
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Evil(trace)))  # the trap works
    assert trace.exists()


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_network(path, SMALL, {"a": torch.ones(1)})
    before = path.read_bytes()
    with pytest.raises(Exception, match=r".+"):
        save_network(path, SMALL, {"a": "no tensor"})  # type: ignore[dict-item]
    assert path.read_bytes() == before


def test_a_blueprint_knows_the_size_of_its_network() -> None:
    from evo_nas.phenotypes.cost import cost_of

    blueprint = CellBlueprint(
        AMOEBANET_A, cells_per_stack=1, filters=5, classes=("a",) * 7, channels=1, mean=(0,), std=(1,)
    )
    counted = cost_of(blueprint.cells, image=blueprint.image, classes=7, **blueprint.size)
    assert counted.parameters == sum(parameter.numel() for parameter in blueprint.network().parameters())


def test_a_label_that_utf8_cannot_hold_is_spelled_out(tmp_path: Path) -> None:
    """As the name of a folder from another system can be."""
    save_tensors(tmp_path / "w.safetensors", {"x": torch.zeros(1)}, label="run-\udcff")
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        assert file.metadata() == {"label": "run-\\udcff"}
