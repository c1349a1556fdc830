"""Blueprints of networks of widths, and the files in which they lie beside the weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from evo_nas.errors import DataError, UsageError
from evo_nas.phenotypes.blueprint import (
    Blueprint,
    WidthsBlueprint,
    difference,
    load_network,
    load_whole,
    save_network,
)
from evo_nas.phenotypes.named import build_by_name, spell_cells
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.tensors import load_tensors
from evo_nas.phenotypes.widths.draw import build_ghost
from evo_nas.phenotypes.widths.trace import trace_layout
from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.widths import LARGEST_WIDTH, Widths
from genotypes.zoo import NASNET_A

OWN = {"conv1": 4, "blocks.0.conv1": 4, "blocks.1.conv1": 8, "blocks.1.conv2": 8} | {
    f"blocks.2.conv{index}": 16 for index in (1, 2)
}
WIDTHS = Widths("resnet:8x4", OWN | {"conv1": 3, "blocks.2.conv1": 21}, OWN)
SMALL = WidthsBlueprint(WIDTHS, classes=("cat", "dog"), image=16)
_CONV = Cell((Block(Edge(0, "conv_3x3"), Edge(1, "conv_1x1"), "add"),), (2,))
FOREIGN = """
from torch import nn

class Own(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.auxiliary = nn.Conv2d(3, 6, 3)
        self.last = nn.Linear(6, classes)

    def forward(self, x):
        return self.last(self.auxiliary(x).mean((2, 3)))
"""


def is_equal(some: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return some.keys() == other.keys() and all(torch.equal(some[name], other[name]) for name in some)


def test_a_blueprint_survives_json() -> None:
    assert Blueprint.from_json(json.loads(json.dumps(SMALL.to_json()))) == SMALL


def test_a_saved_network_is_the_same_when_it_is_loaded(tmp_path: Path) -> None:
    network = SMALL.network()
    assert network.get_parameter("conv1.weight").shape == (3, 3, 3, 3)
    save_network(path := tmp_path / "w.safetensors", SMALL, network.state_dict(), label="kept")
    read, tensors = load_whole(path)
    assert read == SMALL
    again = read.network()
    again.load_state_dict(tensors)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(again.eval()(images), network.eval()(images))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": 3}, "image must be a whole number of at least 8, not 3"),
        ({"cells_per_stack": 1}, "a blueprint has no field 'cells_per_stack'"),
        ({"classes": []}, "at least one class"),
        ({"widths": None}, "widths in JSON are"),
        ({"widths": {"network": "resnet:8x4", "widths": {"a": 0}, "seed": {"a": 1}}}, "from 1 to 1000000, not 0"),
        ({"widths": {"network": 3, "widths": {"a": 1}, "seed": {"a": 1}}}, "need the name of their network"),
    ],
)
def test_a_damaged_record_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    record = SMALL.to_json() | changes
    with pytest.raises(ValueError, match=message):
        Blueprint.from_json(record)
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors", metadata={"evo_nas.blueprint": json.dumps(record)})
    with pytest.raises(DataError, match=r"the blueprint in .*w\.safetensors is damaged: "):
        load_network(tmp_path / "w.safetensors")


def test_modules_that_refuse_tensors_without_a_version_take_those_of_a_file(tmp_path: Path) -> None:
    """As MNASNet's stem of two versions does."""
    network = build_by_name("torchvision:mnasnet0_5", classes=2, channels=3, image_size=32)
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match="version"):
        network.load_state_dict(tensors)
    load_tensors(network, tensors)
    with pytest.raises(RuntimeError, match="Missing key"):
        load_tensors(network, {})


def test_a_deep_network_is_not_traced_for_a_file_without_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = WidthsBlueprint(Widths("resnet:302x4", {"conv1": 2}, {"conv1": 4}), classes=("a", "b"))
    save_network(path := tmp_path / "w.safetensors", plan, {"conv1.weight": torch.zeros(2, 3, 3, 3)})
    monkeypatch.setattr(WidthsBlueprint, "ghost", None)
    with pytest.raises(DataError, match=r"holds the weights of another network: it has no bn1\.weight"):
        load_whole(path)


def test_another_networks_weights_are_told_apart(tmp_path: Path) -> None:
    tensors = SMALL.network().state_dict()
    assert difference(SMALL, tensors) is None
    tensors["conv1.weight"] = torch.zeros(4, 3, 3, 3)
    assert difference(SMALL, tensors) == "conv1.weight has the shape (4, 3, 3, 3), not (3, 3, 3, 3)"
    save_network(path := tmp_path / "w.safetensors", SMALL, tensors)
    with pytest.raises(DataError, match="holds the weights of another network: conv1"):
        load_whole(path)


@pytest.mark.parametrize("width", [300, LARGEST_WIDTH])
@pytest.mark.parametrize("network", ["resnet:8x4", "resnet:8x999", "cell:nasnet-a@1x4"])
def test_a_file_cannot_ask_for_more_memory_than_it_has_weights(
    network: str, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = trace_layout(build_ghost(network, classes=2, channels=3, image_size=16), (3, 16, 16)).widths
    huge = dict.fromkeys(own, width)
    tensors = {"conv1.weight": torch.zeros(3, 3, 3, 3), "stem.stages.0.0.weight": torch.zeros(12, 30, 30, 3)}
    plan = WidthsBlueprint(Widths(network, huge, own), classes=("a", "b"), image=16)
    save_network(path := tmp_path / "w.safetensors", plan, tensors)
    assert width > 300 or all(tensor.is_meta for tensor in plan.ghost().state_dict().values())
    monkeypatch.setattr(WidthsBlueprint, "network", None)  # it is never built
    with pytest.raises(DataError, match="another network"):
        load_whole(path)


@pytest.mark.parametrize("network", ["resnet:9", "cell:nobody", "cell:nasnet-a@3000x4", "cell:{}", "nothing"])
def test_a_network_that_cannot_be_is_said_in_one_line(network: str, tmp_path: Path) -> None:
    plan = WidthsBlueprint(Widths(network, {"a": 1}, {"a": 1}), classes=("a",))
    save_network(path := tmp_path / "w.safetensors", plan, {"a": torch.zeros(1)})
    with pytest.raises((UsageError, DataError)) as caught:
        load_whole(path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WidthsBlueprint]:
    """Return the blueprint of a user's own network, whose module is on the path."""
    (tmp_path / "own_network.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)
    yield WidthsBlueprint(Widths("own_network:Own", {"auxiliary": 4}, {"auxiliary": 6}), classes=("a", "b"))
    __import__("sys").modules.pop("own_network", None)


def test_a_file_alone_imports_no_code(foreign: WidthsBlueprint, tmp_path: Path) -> None:
    save_network(path := tmp_path / "w.safetensors", foreign, foreign.network().state_dict())
    assert load_whole(path, "own_network:Own")[0] == foreign
    (tmp_path / "own_network.py").write_text("raise SystemExit('imported')")
    del __import__("sys").modules["own_network"]
    with pytest.raises(UsageError, match="whose code no file can name alone; name it too, with --network own_network:"):
        load_whole(path)
    with pytest.raises(UsageError, match="--network names other:make, and these are not widths of it"):
        load_whole(path, "other:make")
    with pytest.raises(SystemExit, match="imported"):  # the trap works
        load_whole(path, "own_network:Own")


def test_an_auxiliary_classifier_is_one_of_cells_alone(foreign: WidthsBlueprint) -> None:
    network = foreign.network()
    assert is_equal(foreign.strip(network.state_dict()), network.state_dict())
    assert difference(foreign, network.state_dict()) is None
    assert difference(foreign, {"last.weight": torch.zeros(2, 4)}) == "it has no auxiliary.weight"


@pytest.mark.parametrize(
    ("cells", "size", "name"),
    [
        (NASNET_A, {}, "cell:nasnet-a@1x4"),
        (NASNET_A, {"average": "zeros"}, None),
        (NASNET_A, {"stem": 5}, None),
        (CellPair(_CONV, _CONV, "darts"), {}, None),
        (CellPair(_CONV, _CONV), {"macro": "imagenet", "filters": 8}, None),
    ],
)
def test_any_cells_have_a_name(cells: CellPair, size: dict[str, Any], name: str | None) -> None:
    torch.manual_seed(0)
    network = CellNetwork(cells, **{"cells_per_stack": 1, "filters": 4, "channels": 1, "classes": 3, **size})
    given = {
        "cells_per_stack": 1,
        "filters": 4,
        "macro": "cifar",
        "average": "same",
        "stem": None,
        "channels": 1,
        **size,
    }
    spelled = spell_cells(cells, given)
    assert name is None or spelled == name
    torch.manual_seed(0)
    again = build_by_name(spelled, classes=3, channels=1, image_size=32)
    assert is_equal(network.state_dict(), again.state_dict())
    images = torch.randn(2, 1, 32, 32)
    assert torch.equal(network.eval()(images), again.eval()(images))


@pytest.mark.parametrize("text", ["{}", "{", '{"cells": 3}', "[1]", '{"cells": null, "filters": 1}'])
def test_what_spells_no_cells_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no network of cells") as caught:
        build_by_name(f"cell:{text}", classes=3, channels=1, image_size=32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"filters": "8"}, "no network of cells"),
        ({"filters": 2.5}, "no network of cells"),
        ({"filters": 8, "colour": 1}, "colour"),
        ({"filters": 0}, "least 1"),
    ],
)
def test_cells_of_no_size_are_refused(size: dict[str, Any], words: str) -> None:
    name = "cell:" + json.dumps({"cells": NASNET_A.to_json(), "cells_per_stack": 1, **size})
    with pytest.raises(UsageError, match=words) as caught:
        build_by_name(name, classes=3, channels=1, image_size=32)
    assert "\n" not in str(caught.value)
