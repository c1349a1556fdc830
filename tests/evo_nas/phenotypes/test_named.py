"""Networks by name: each kind, grey images, and what is no network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from evo_nas.errors import UsageError
from evo_nas.phenotypes.named import build_by_name, is_foreign, spell_name
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.resnet import ResNet

IMAGES = {"classes": 7, "channels": 3, "image_size": 32}

MODULE = """
import torch
from torch import nn

def takes_some(classes, channels=3):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))

def takes_none():
    return takes_some(11)

def takes_all(*, classes, channels, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * image_size ** 2, classes))

def takes_any(**size):
    network = takes_some(size["classes"], size["channels"])
    network.size = size
    return network

class Own(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.classifier = nn.Linear(2, classes)

def asks_for_more(depth):
    raise AssertionError

def fails():
    raise RuntimeError("no weights\\nhere")

def returns_none():
    pass

class_of = nn.Linear
number = 3
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a user's module that can be imported."""
    (tmp_path / "users_networks.py").write_text(MODULE)
    (tmp_path / "users_fault.py").write_text("raise ImportError('lacks a part')")
    monkeypatch.syspath_prepend(tmp_path)
    return "users_networks"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("torchvision:mobilenet_v2", models.MobileNetV2),
        ("cell:nasnet-a", CellNetwork),
        ("cell:nasnet-a@1x16", CellNetwork),
        ("resnet:8", ResNet),
        ("resnet:8x4", ResNet),
    ],
)
def test_each_kind_takes_colour_and_grey_images(name: str, kind: type, channels: int) -> None:
    network = build_by_name(name, classes=7, channels=channels, image_size=32).eval()
    assert isinstance(network, kind)
    assert network(torch.randn(2, channels, 32, 32)).shape == (2, 7)


def test_networks_of_timm_take_colour_and_grey_images() -> None:
    pytest.importorskip("timm")
    network = build_by_name("timm:test_resnet", classes=7, channels=1, image_size=32).eval()
    assert network(torch.randn(2, 1, 32, 32)).shape == (2, 7)


def test_timm_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(UsageError, match="needs timm: pip install timm"):
        build_by_name("timm:test_resnet", **IMAGES)


def test_auxiliary_classifiers_of_torchvision_are_left_out() -> None:
    with torch.device("meta"):
        network = build_by_name("torchvision:googlenet", **IMAGES)
    assert not [name for name, _ in network.named_parameters() if "aux" in name]


def test_a_published_cell_has_the_size_of_its_name() -> None:
    assert spell_name("cell:nasnet-a", cells_per_stack=2, filters=12) == "cell:nasnet-a@2x12"
    assert spell_name("cell:nasnet-a@1x16", cells_per_stack=2, filters=12) == "cell:nasnet-a@1x16"
    assert spell_name("resnet:20", cells_per_stack=2, filters=12) == "resnet:20"
    network = build_by_name("cell:nasnet-a@2x12", **IMAGES)
    assert isinstance(network, CellNetwork)
    assert len(network.plan.layers) == 8
    assert network.plan.layers[0].filters == 12


def test_only_the_code_of_users_is_foreign() -> None:
    assert not any(map(is_foreign, ("torchvision:resnet18", "timm:x", "cell:nasnet-a", "resnet:20")))
    assert is_foreign("package.module:make")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet20", r"'resnet20' names no network; write torchvision:resnet18, timm:NAME"),
        (":resnet18", "names no network"),
        ("torchvision:", "names no network"),
        ("torchvision:resnet19", "torchvision has no classifier of images 'resnet19'"),
        ("torchvision:fcn_resnet50", "torchvision has no classifier of images 'fcn_resnet50'"),
        ("cell:nobody", "names no network of cells; write cell:NAME"),
        ("cell:nasnet-a@0x4", "names no network of cells"),
        ("cell:nasnet-a@1", "names no network of cells"),
        ("resnet:9", r"resnet:9: a residual network for small images has 6n \+ 2 layers"),
        ("resnet:2", r"6n \+ 2 layers"),
        ("resnet:20x0", "a residual network is resnet:DEPTH or resnet:DEPTHxFILTERS, not '20x0'"),
        ("resnet:twenty", "not 'twenty'"),
    ],
)
def test_what_is_no_network_is_said_in_one_line(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        build_by_name(name, **IMAGES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("make", "classes"), [("takes_some", 7), ("takes_none", 11), ("takes_all", 7), ("Own", 7)])
def test_a_users_function_gets_the_keywords_that_it_takes(plugin: str, make: str, classes: int) -> None:
    network = build_by_name(f"{plugin}:{make}", classes=7, channels=1, image_size=5)
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    assert last.out_features == classes


def test_a_users_function_of_any_keywords_gets_all(plugin: str) -> None:
    size = {"classes": 2, "channels": 4, "image_size": 9}
    assert build_by_name(f"{plugin}:takes_any", **size).size == size


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("asks_for_more", "cannot make the network users_networks:asks_for_more: TypeError"),
        ("fails", r"cannot make the network users_networks:fails: RuntimeError: .no weights"),
        ("missing", "AttributeError"),
        ("number", "TypeError"),
        ("returns_none", "users_networks:returns_none returned None, which is no torch module"),
        ("class_of", "TypeError"),
    ],
)
def test_what_a_users_function_does_wrong_is_said_in_one_line(plugin: str, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        build_by_name(f"{plugin}:{name}", **IMAGES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [("users_fault:make", "ImportError: lacks a part"), ("no_such_module_here:make", "ModuleNotFoundError")],
)
def test_a_module_that_cannot_be_imported_is_named(plugin: str, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_by_name(name, **IMAGES)


def test_a_network_that_reads_no_colours_cannot_read_others() -> None:
    from evo_nas.phenotypes.named import _take_channels

    with pytest.raises(UsageError, match="no convolution of Sequential reads 3 channels, so it cannot read 1"):
        _take_channels(nn.Sequential(nn.Linear(3, 2)), 1)
