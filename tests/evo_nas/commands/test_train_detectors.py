"""Detectors trained to the end, and written for other programs."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evo_nas.cli import main
from evo_nas.phenotypes.blueprint import Blueprint, CellBlueprint, DetectorBlueprint, load_whole, save_network
from evo_nas.phenotypes.boxes import select_detections
from evo_nas.phenotypes.detector import Detector
from evo_nas.phenotypes.tensors import load_tensors
from genotypes.zoo import CELLS, NAS_FPN

SMALL = ["--preset", "tiny", "--train-images", "16", "--validation-images", "8", "--set", "width=8", "--epochs", "1"]
PLACE = ["--device", "cpu", "--threads", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a training that has ended."""
    path = tmp_path_factory.mktemp("detector") / "training"
    assert main(["train", "--cell", "nas-fpn", "--dataset", "plates", *SMALL, *PLACE, "--train-dir", str(path)]) == 0
    return path


def test_a_training_keeps_ap_the_curves_and_the_network(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    assert {"validation_ap", "best_ap", "test_ap", "goal"} <= set(result)
    assert (folder / "curve.csv").read_text().startswith("epoch,loss,ap,")
    told = json.loads((folder / "precision.json").read_text())
    assert told["classes"] == [str(digit) for digit in range(10)]
    assert told["ap"] == result["test_ap"]
    assert len(told["curves"]) == len(told["ap50_by_class"]) == 10
    assert (folder / "precision.png").is_file()
    blueprint, tensors = load_whole(folder / "last.safetensors")
    assert isinstance(blueprint, DetectorBlueprint)
    assert blueprint.neck == NAS_FPN
    assert Blueprint.from_json(json.loads(json.dumps(blueprint.to_json()))) == blueprint
    load_tensors(blueprint.network(), tensors)


def test_the_same_command_gives_the_result_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--cell", "nas-fpn", "--dataset", "plates", *SMALL, *PLACE, "--train-dir", str(folder)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "validation AP" in out
    assert "test AP50: 0 " in out
    assert "accuracy" not in out


@pytest.mark.slow
def test_a_training_is_resumed_exactly(tmp_path: Path) -> None:
    words = ["train", "--neck", "none", *SMALL[:-1]]
    tensors = []
    for name, parts in (("whole", [3]), ("parts", [3, 3])):
        path = tmp_path / name
        for number, epochs in enumerate(parts):
            if number == 0 and len(parts) > 1:
                (path).mkdir()
                _stop_after_first_epoch([*words, str(epochs), *PLACE, "--train-dir", str(path)])
            else:
                assert main([*words, str(epochs), *PLACE, "--train-dir", str(path)]) == 0
        tensors.append(load_whole(path / "last.safetensors")[1])
    assert all(tensors[0][name].equal(tensors[1][name]) for name in tensors[0])


def _stop_after_first_epoch(words: list[str]) -> None:
    """Run a training that is interrupted when its first epoch is reported."""
    from evo_nas.training import resumable

    def save_and_stop(*args: Any) -> None:
        save(*args)
        raise KeyboardInterrupt

    save = resumable._save
    resumable._save = save_and_stop  # type: ignore[assignment]
    try:
        assert main(words) != 0
    finally:
        resumable._save = save


@pytest.mark.slow
def test_the_best_of_a_run_are_trained_at_its_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ("width=8", "train_images=16", "validation_images=8", "epochs=1")
    settings = [f"--set=evaluator.{setting}" for setting in sizes]
    run = ["run", "--space", "nasfpn", "--preset", "tiny", "--strategy", "random", "--trials", "2", "--threads", "1"]
    assert main([*run, *settings, "--executor", "serial", "--run-dir", str(tmp_path / "run")]) == 0
    weights = next((tmp_path / "run" / "weights").glob("*.safetensors"))
    assert isinstance(load_whole(weights)[0], DetectorBlueprint)
    capsys.readouterr()
    words = [
        "train",
        str(tmp_path / "run"),
        "--top",
        "2",
        "--epochs",
        "1",
        *PLACE,
        "--train-dir",
        str(tmp_path / "top"),
    ]
    assert main(words) == 0
    assert capsys.readouterr().out.count(" %") > 2
    task = json.loads(next((tmp_path / "top").rglob("train.json")).read_text())
    assert (task["blueprint"]["width"], task["train_images"], task["dataset"]) == (8, 16, "plates")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cell", "nas-fpn", "--dataset", "plates", "--image-size", "72"], "the next sizes are 64 and 128"),
        (["--cell", "nas-fpn", "--dataset", "cifar10"], "there is no data set with boxes 'cifar10'"),
        (
            ["--cell", "nas-fpn", "--dataset", "plates", "--preset", "cifar-paper"],
            "no preset 'cifar-paper' of detectors",
        ),
        (["--cell", "nas-fpn", "--dataset", "plates", "--filters", "8"], "--filters is for classifiers"),
        (["--cell", "nas-fpn", "--dataset", "plates", "--set", "width=wide"], "width is a whole number, not 'wide'"),
        (["--cell", "nas-fpn", "--dataset", "plates", "--backbone", "slim"], "there is no backbone 'slim'"),
        (["--neck", "bifpn"], "there is no neck 'bifpn'; there are: none, fpn"),
        (["--cell", "nasnet-a", "--neck", "fpn"], "is a neck of its own: leave nasnet-a out"),
        (["--cell", "nasnet-a", "--backbone", "thin"], "--backbone is for detectors, and nasnet-a is a classifier"),
    ],
)
def test_what_makes_no_detector_is_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *words, *PLACE, "--train-dir", str(tmp_path / "training")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "training").exists()


def test_a_detector_is_no_classifier(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = str(folder / "last.safetensors")
    (tmp_path / "image.png").write_bytes(b"")
    assert main(["predict", weights, str(tmp_path / "image.png")]) == 2
    assert "holds a detector, and no classifier: python -m evo_nas detect" in capsys.readouterr().err
    assert main(["train", "--cell", "nasnet-a", "--from", weights, "--train-dir", str(tmp_path / "a")]) == 2
    assert "holds a detector, and a classifier is to be trained" in capsys.readouterr().err


def test_a_classifier_is_no_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = CellBlueprint(CELLS["darts-v2"], cells_per_stack=1, filters=2, classes=("a", "b"), image=8)
    save_network(tmp_path / "cells.safetensors", cells, cells.network().state_dict())
    words = ["train", "--dataset", "plates", "--from", str(tmp_path / "cells.safetensors"), *PLACE]
    for neck, label in ((["--cell", "nas-fpn"], "nas-fpn"), (["--neck", "fpn"], "neck-fpn")):
        assert main([*words, *neck, "--train-dir", str(tmp_path / "a")]) == 2
        error = capsys.readouterr().err
        assert f"holds a classifier, and {label} is the neck of a detector; leave it out" in error
        assert error.count("\n") == 1
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_detect_measures_what_the_training_measured(folder: Path, tmp_path: Path) -> None:
    words = ["detect", str(folder / "last.safetensors"), "--dataset", "plates", *PLACE, "--pictures", "2"]
    assert main([*words, "-o", str(tmp_path / "found"), "--score", "0.05"]) == 0
    assert (tmp_path / "found" / "precision.json").read_bytes() == (folder / "precision.json").read_bytes()
    assert (tmp_path / "found" / "precision.png").is_file()
    assert [path.name for path in sorted((tmp_path / "found").glob("0*.png"))] == ["0001.png", "0002.png"]


def test_a_detector_in_one_file_finds_the_same(folder: Path, tmp_path: Path) -> None:
    weights = folder / "last.safetensors"
    files = ["--format", "module,safetensors,json", "-o", str(tmp_path)]
    assert main(["export", "--weights", str(weights), *files]) == 0
    blueprint, tensors = load_whole(weights)
    assert isinstance(blueprint, DetectorBlueprint)
    network = blueprint.network().eval()
    load_tensors(network, tensors)
    spec = importlib.util.spec_from_file_location("written", next(tmp_path.glob("*.py")))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["written"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    written = module.load(str(next(tmp_path.glob("*.safetensors"))))
    with torch.no_grad():
        logits, deltas = network(images)
        for own, theirs in zip((logits, deltas), written(images), strict=True):
            torch.testing.assert_close(theirs, own)
    found = module.select_detections(logits, deltas, written.anchors, 64, score=0.005)
    known = select_detections(logits, deltas, network.anchors, 64, score=0.005)
    for one, other in zip(found, known, strict=True):
        torch.testing.assert_close(one.boxes, other.boxes)
        assert one.labels.equal(other.labels)


@pytest.mark.slow
def test_onnx_gives_the_raw_outputs(folder: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    weights = folder / "last.safetensors"
    assert main(["export", "--weights", str(weights), "--format", "onnx", "-o", str(tmp_path / "d.onnx")]) == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "d.onnx"))
    images = np.random.default_rng(0).random((3, 1, 64, 64), dtype=np.float32)
    names = [one.name for one in session.get_outputs()]
    outputs = {
        name: torch.from_numpy(value) for name, value in zip(names, session.run(None, {"images": images}), strict=True)
    }
    network = _network_of(weights)
    with torch.no_grad():
        logits, deltas = network(torch.from_numpy(images))
    torch.testing.assert_close(outputs["logits"], logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs["deltas"], deltas, atol=1e-4, rtol=0)
    # What the file gives is decoded by the function that evo_nas and the Python module have.
    found = select_detections(outputs["logits"], outputs["deltas"], network.anchors, 64, score=0.0, most=20)
    known = network.detect(torch.from_numpy(images), score=0.0, most=20)
    for one, other in zip(found, known, strict=True):
        assert len(one.scores) == len(other.scores) == 20
        torch.testing.assert_close(one.scores, other.scores, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_program_of_torch_gives_the_raw_outputs(folder: Path, tmp_path: Path) -> None:
    weights, file = folder / "last.safetensors", tmp_path / "d.pt2"
    assert main(["export", "--weights", str(weights), "--format", "torch", "-o", str(file)]) == 0
    about = {"classes": "", "strides": ""}
    program = torch.export.load(str(file), extra_files=about).module()
    images = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    network = _network_of(weights)
    with torch.no_grad():
        for one, other in zip(program(images), network(images), strict=True):
            torch.testing.assert_close(one, other)
    assert json.loads(about["strides"]) == list(network.strides)


def _network_of(weights: Path) -> Detector:
    blueprint, tensors = load_whole(weights)
    assert isinstance(blueprint, DetectorBlueprint)
    network = blueprint.network().eval()
    load_tensors(network, tensors)
    return network
