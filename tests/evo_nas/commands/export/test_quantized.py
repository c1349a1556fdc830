"""``export --format onnx-int8``: what is quantised, with which images, and what is said of it."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from evo_nas.cli import main
from evo_nas.commands.export.calibration import Calibration
from evo_nas.commands.export.quantized import open_calibration
from evo_nas.errors import UsageError
from evo_nas.evaluators.devices.timing import start_session
from evo_nas.phenotypes.blueprint import WidthsBlueprint, save_network
from evo_nas.training.pruning import widths_of_seed
from evo_nas.training.recipes import RECIPES
from evo_nas.training.train_task import TrainTask


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder of a training on the digits, as far as an export reads it: ``best.safetensors``."""
    folder = tmp_path_factory.mktemp("training")
    widths = widths_of_seed("resnet:8x4", classes=10, channels=1, image_size=8)
    digits = {"classes": tuple("0123456789"), "channels": 1, "image": 8, "mean": (0.3,), "std": (0.4,)}
    plan = WidthsBlueprint(widths, **digits)
    torch.manual_seed(0)
    save_network(folder / "best.safetensors", plan, plan.network().state_dict())
    task = TrainTask("small", plan, RECIPES["cpu"].recipe, "digits", validation_images=200, validation_share=0.2)
    (folder / "train.json").write_text(json.dumps(task.to_json()))
    return folder


def export(weights: Path, output: Path, *words: str) -> int:
    return main(["export", "--weights", str(weights), "--format", "onnx-int8", "-o", str(output), *words])


def test_int8_says_what_the_network_says(training: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, output = training / "best.safetensors", tmp_path / "small.onnx"
    assert export(weights, output, "--calibration-images", "60") == 0
    file, accuracy, latency = capsys.readouterr().out.splitlines()
    assert file == str(output)
    assert "on 200 validation images" in accuracy
    assert "calibrated with 60 train images" in accuracy
    assert re.fullmatch(r"latency per image: [\d.]+ ms in float32, [\d.]+ ms in int8", latency)

    model = onnx.load(output)
    scales = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    dequantizers = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    for node in convolutions:
        weight, scale, _ = dequantizers[node.input[1]].input
        assert scales[weight].dtype == np.int8
        assert scales[scale].shape == (len(scales[weight]),), "a scale per channel"
    assert len(convolutions) == 9

    plan, tensors = read(weights)
    network = plan.network()
    network.load_state_dict(tensors)
    images = open_calibration(plan, Calibration(weights, images=60))
    assert images.validation is not None
    ((pixels, labels),) = images.validation.in_order()
    with torch.no_grad():
        expected = network.eval()(pixels)
    (logits,) = start_session(output.read_bytes(), 1).run(None, {"images": pixels.contiguous().numpy()})
    assert np.abs(logits - expected.numpy()).max() < 0.1 * np.abs(expected.numpy()).max()
    shares = [(found == labels.numpy()).mean() for found in (expected.argmax(1).numpy(), logits.argmax(1))]
    assert [f"{100 * share:.2f} %" for share in shares] == re.findall(r"[\d.]+ %", accuracy)
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(about["classes"]) == list(plan.classes)


def test_images_of_every_class_calibrate_and_others_measure(training: Path) -> None:
    plan, _ = read(training / "best.safetensors")
    images = open_calibration(plan, Calibration(training / "best.safetensors", images=40))
    ((train, labels),) = images.train.in_order()
    assert images.validation is not None
    ((held, _),) = images.validation.in_order()
    assert torch.bincount(labels).min() >= 3
    assert len(train) == 40
    distances = torch.cdist(train.flatten(1), held.flatten(1))
    assert distances.min() > 0
    assert (images.train.mean, images.train.std) == ((0.3,), (0.4,)), "as the network has it"
    named = open_calibration(plan, Calibration(dataset="digits"))
    assert len(named.train) == 256


def test_other_images_than_those_of_the_training_are_refused(training: Path, tmp_path: Path) -> None:
    plan, _ = read(training / "best.safetensors")
    task = json.loads((training / "train.json").read_text()) | {"fingerprint": "0" * 64}
    (tmp_path / "train.json").write_text(json.dumps(task))
    with pytest.raises(UsageError, match="the images of digits are not those of the training"):
        open_calibration(plan, Calibration(tmp_path / "best.safetensors"))


def read(weights: Path) -> tuple[WidthsBlueprint, dict[str, torch.Tensor]]:
    from evo_nas.phenotypes.blueprint import load_whole

    plan, tensors = load_whole(weights)
    assert isinstance(plan, WidthsBlueprint)
    return plan, tensors


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["--weights", "alone.safetensors"], 2, "name weights in the folder of their training"),
        (["--weights", "alone.safetensors", "--dataset", "digits", "--calibration-images", "9"], 2, "has 10 classes"),
        (["--weights", "alone.safetensors", "--dataset", "folder", "--data-dir", "none"], 4, "there is no data folder"),
        (["--weights", "alone.safetensors", "--dataset", "moons"], 2, "there is no data set 'moons'"),
        (["--cell", "darts-v2", "--size", "1@32"], 2, "is for trained networks"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    code: int,
    reason: str,
    training: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("alone.safetensors").write_bytes((training / "best.safetensors").read_bytes())
    assert main(["export", "--format", "onnx-int8", *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert err.count("\n") == 1
    assert not Path("export").exists()


def test_a_missing_extra_is_named(
    training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    assert export(training / "best.safetensors", tmp_path / "x") == 2
    assert capsys.readouterr().err == "evo_nas: onnx-int8 needs onnxruntime: python -m pip install 'evo_nas[onnx]'\n"
