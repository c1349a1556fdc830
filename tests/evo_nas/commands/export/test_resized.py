"""Networks of widths as files: a module of each kind of seed, and the formats that cells have and these have not."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.fx
from safetensors.torch import save_file

from evo_nas.cli import main
from evo_nas.commands.export.resized import write_module
from evo_nas.phenotypes.blueprint import WidthsBlueprint, load_whole
from evo_nas.phenotypes.named import build_by_name
from evo_nas.phenotypes.widths.trace import trace_layout
from genotypes.widths import Widths

ROOT = Path(__file__).parents[4]
FOREIGN = """
from torch import nn

def make(classes, image_size):
    last = nn.Linear(10 * (image_size // 2) ** 2, classes)
    return nn.Sequential(nn.Conv2d(1, 10, 2, stride=2), nn.PReLU(10), nn.Flatten(), last)

def tied(classes, channels):
    layers = nn.Sequential(nn.Conv2d(channels, 6, 3), nn.Conv2d(6, 6, 1, bias=False), nn.Conv2d(6, 6, 1, bias=False))
    layers[2].weight = layers[1].weight
    return nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes))
"""


def widths_of(name: str, factor: float = 0.6, **size: int) -> Widths:
    images = {"classes": 3, "channels": 3, "image_size": 16, **size}
    shape = (images["channels"], images["image_size"], images["image_size"])
    own = trace_layout(build_by_name(name, **images), shape).widths
    return Widths(name, {group: max(1, int(factor * width)) for group, width in own.items()}, own)


def import_text(text: str, folder: Path) -> ModuleType:
    (path := folder / "exported.py").write_text(text, "utf-8")
    spec = importlib.util.spec_from_file_location("exported", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_the_same(plan: WidthsBlueprint, folder: Path) -> None:
    """Compare the network of an exported module with ours, in double precision, whole and traced by torch.fx."""
    torch.manual_seed(0)
    network = plan.network()
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.2, 1)
    save_file({name: tensor.clone() for name, tensor in network.state_dict().items()}, folder / "w.safetensors")
    text = write_module(plan)
    assert not re.search("^(import|from) evo_nas", text, re.MULTILINE)
    assert write_module(plan) == text
    module = import_text(text, folder)
    other = module.load(str(folder / "w.safetensors"))
    images = module.normalised(torch.rand(2, plan.channels, plan.image, plan.image)).double()
    expected = network.eval().double()(images).detach()
    scale = float(expected.abs().max())
    for again in (other.double(), torch.fx.symbolic_trace(other)):
        assert torch.allclose(again(images), expected, rtol=0, atol=1e-6 * scale)
    modules = dict(other.named_modules())
    for name, ours in network.named_modules():
        if name in modules:  # a module of cells has no dropout
            sizes = ("in_channels", "out_channels", "groups", "num_features", "in_features", "out_features")
            assert [getattr(modules[name], size, None) for size in sizes] == [
                getattr(ours, size, None) for size in sizes
            ]
    fresh = dict(module.build_network().named_parameters())  # it can be trained from scratch
    assert all(parameter.isfinite().all() for parameter in fresh.values())
    for name, parameter in list(plan.network().named_parameters())[1:]:
        if parameter.dim() > 3 and parameter.numel() > 50:
            assert float(fresh[name].detach().std()) == pytest.approx(float(parameter.detach().std()), rel=0.5)


SLOW = (
    "torchvision:resnet18",
    "torchvision:mobilenet_v2",
    "torchvision:googlenet",
    "cell:nasnet-a@1x4",
    "timm:test_resnet",
)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["resnet:8x4", *[pytest.param(name, marks=pytest.mark.slow) for name in SLOW]])
def test_a_module_is_the_network(name: str, channels: int, tmp_path: Path) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    image = 64 if "googlenet" in name else 16
    classes = ("cat", 'a "dog"', "eel")
    size = {"channels": channels, "image": image, "mean": (0.4,) * channels, "std": (0.2,) * channels}
    widths = widths_of(name, channels=channels, image_size=image)
    is_the_same(WidthsBlueprint(widths, classes=classes, **size), tmp_path)


@pytest.mark.slow
def test_a_module_of_wider_layers_and_of_cells_without_a_name(tmp_path: Path) -> None:
    is_the_same(WidthsBlueprint(widths_of("resnet:8x4", 2.5), classes=("a", "b", "c"), image=16), tmp_path)
    pair = {"blocks": [{"left": [0, "sep_conv_3x3"], "right": [1, "conv_1x1"], "combine": "add"}], "output": [2]}
    record = {"cells": {"normal": pair, "reduction": pair}, "cells_per_stack": 1, "filters": 6, "average": "zeros"}
    name = "cell:" + json.dumps(record)
    is_the_same(WidthsBlueprint(widths_of(name), classes=("a", "b", "c"), image=16), tmp_path)


def test_a_module_imports_a_users_own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "seeds_of_users.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("make", "tied"):
        widths = widths_of(f"seeds_of_users:{name}", channels=1)
        plan = WidthsBlueprint(widths, classes=("a", "b", "c"), image=16, channels=1, mean=(0.5,), std=(0.5,))
        is_the_same(plan, tmp_path)
    module = import_text(write_module(plan), tmp_path)
    built = module.build_network()
    assert built[0][1].weight is built[0][2].weight


@pytest.mark.slow
def test_a_module_needs_no_evo_nas(tmp_path: Path) -> None:
    (tmp_path / "exported.py").write_text(write_module(WidthsBlueprint(widths_of("resnet:8x4"), classes=("a", "b"))))
    code = "import sys, exported; exported.build_network(); sys.exit('evo_nas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0


def test_json_of_widths_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    widths = widths_of("resnet:8x4")
    Path("mine.json").write_text(json.dumps(widths.to_json()))
    size = ["--image-size", "16", "--classes", "3"]
    assert main(["export", "mine.json", "--format", "json,safetensors", *size, "-o", "out"]) == 0
    assert json.loads(Path("out/mine.json").read_text()) == widths.to_json()
    plan, _ = load_whole(Path("out/mine.safetensors"))
    assert plan == WidthsBlueprint(widths, classes=("0", "1", "2"), image=16)
    assert main(["export", "--weights", "out/mine.safetensors", "--format", "json", "-o", "again"]) == 0
    assert json.loads(Path("again/mine.json").read_text()) == widths.to_json()
    capsys.readouterr()
    assert main(["count", "out/mine.json", *size, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parameters"] == sum(parameter.numel() for parameter in plan.network().parameters())


@pytest.mark.parametrize("format", ["dot", "cells"])
def test_widths_have_no_cells(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.json").write_text(json.dumps(widths_of("resnet:8x4").to_json()))
    assert main(["export", "mine.json", "--format", f"json,{format}"]) == 2
    said = "evo_nas: mine has no cells: it is resnet:8x4 with other widths, which plot RUN --kind widths draws\n"
    assert capsys.readouterr().err == said
    assert not Path("export").exists()


@pytest.mark.parametrize("flags", ["--size 6@768", "--filters 8", "--macro cifar", "--stem 3", "--cells-per-stack 2"])
@pytest.mark.parametrize("command", ["count", "export --format module"])
def test_sizes_of_cells_are_refused(
    command: str, flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.json").write_text(json.dumps(widths_of("resnet:8x4").to_json()))
    assert main([*command.split(), "mine.json", *flags.split()]) == 2
    message = f"evo_nas: {flags.split()[0]} is for networks of cells; mine says every width of resnet:8x4 itself\n"
    assert capsys.readouterr().err == message


@pytest.mark.slow
def test_torch_and_onnx_hold_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    Path("mine.json").write_text(json.dumps(widths_of("torchvision:mobilenet_v2").to_json()))
    words = "export mine.json --format torch,onnx,safetensors --image-size 16 --classes 3 -o out"
    assert main(words.split()) == 0
    plan, tensors = load_whole(Path("out/mine.safetensors"))
    assert plan is not None
    network = plan.network().eval()
    network.load_state_dict(tensors)
    images = torch.rand(3, 3, 16, 16)
    expected = network(images)
    assert torch.allclose(torch.export.load("out/mine.pt2").module()(images), expected, atol=1e-5)
    (found,) = runtime.InferenceSession("out/mine.onnx").run(None, {"images": images.numpy()})
    assert torch.allclose(torch.from_numpy(found), expected, atol=1e-4)
