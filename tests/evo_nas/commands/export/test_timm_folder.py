"""``export --format timm`` and ``card``: a folder that timm loads without evo_nas, and what its card says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from evo_nas.cli import main
from evo_nas.commands.export.timm_folder import write_folder
from evo_nas.phenotypes.blueprint import (
    Blueprint,
    CellBlueprint,
    ChainBlueprint,
    EdgeBlueprint,
    WidthsBlueprint,
    save_network,
)
from evo_nas.training.pruning import widths_of_seed
from evo_nas.training.recipes import RECIPES
from evo_nas.training.train_task import TrainTask
from genotypes.chain import Chain, ChainSize
from genotypes.edge_cell import EdgeCell
from genotypes.spaces.nasbench201 import NASBench201Space
from genotypes.zoo import CELLS

IMAGES: dict[str, Any] = {"classes": ("cat", "dog", "eel"), "image": 16, "mean": (0.4,) * 3, "std": (0.2,) * 3}

SCRIPT = """\
import sys
import warnings
from pathlib import Path

warnings.simplefilter("error")
sys.path[:] = [each for each in sys.path if not Path(each, "evo_nas").exists()]
sys.meta_path[:] = [each for each in sys.meta_path if "editable" not in repr(each)]
sys.path.insert(0, sys.argv[1])

import importlib

import timm
import torch
from safetensors.torch import load_file

for name in sys.argv[2:]:
    importlib.import_module(f"{name}_timm")
    folder = Path(sys.argv[1], f"{name}_timm")
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    known = load_file(Path(sys.argv[1], f"{name}.logits"))
    with torch.no_grad():
        logits = network(known["images"])
        assert (logits - known["logits"]).abs().max() <= 1e-6 * known["logits"].abs().max(), name
        again = timm.create_model(f"{name}_timm", pretrained=True).eval()(known["images"])
        assert (again == logits).all()
    other = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=5).eval()
    assert other(known["images"]).shape == (2, 5)
    same, own = other.state_dict(), network.state_dict()
    assert sum(not torch.equal(same[key], own[key]) for key in own if same[key].shape == own[key].shape) == 0, name
prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
assert [type(each).__name__ for each in prepare.transforms][:2] == ["Resize", "CenterCrop"]
try:
    timm.create_model(f"local-dir:{folder}", pretrained=True, in_chans=1)
except ValueError as error:
    assert "takes images of 3 channels, not 1" in str(error)
try:
    import evo_nas
except ImportError:
    print("without evo_nas")
"""


def kinds() -> dict[str, Blueprint]:
    """Return a small network of each kind."""
    space = NASBench201Space()
    cell = space.decode(space.parse("nasbench201:3.3.3.1.3.2"))
    chain = Chain(("shuffle_7x7", "xception_3x3"), ChainSize((1, 1), (8, 16), stem=4, last=16))
    assert isinstance(cell, EdgeCell)
    return {
        "cells": CellBlueprint(CELLS["darts-v2"], cells_per_stack=1, filters=4, **IMAGES),
        "edges": EdgeBlueprint(cell, cells_per_stack=1, filters=4, **IMAGES),
        "chain": ChainBlueprint(chain, **IMAGES),
        "widths": WidthsBlueprint(widths_of_seed("resnet:8x4", classes=3, channels=3, image_size=16), **IMAGES),
    }


@pytest.mark.slow
def test_timm_loads_every_kind_without_evo_nas(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, plan in kinds().items():
        network = plan.network().eval()
        for tensor in network.state_dict().values():
            if tensor.is_floating_point() and tensor.dim() == 1:  # running means, norms and biases included
                tensor.uniform_(0.5, 1.5, generator=generator)
        save_network(tmp_path / f"{name}.safetensors", plan, network.state_dict())
        weights = (tmp_path / f"{name}.safetensors").read_bytes()
        (tmp_path / f"{name}_timm").mkdir()
        for file, content in write_folder(plan, f"{name}_timm", weights).items():
            (tmp_path / f"{name}_timm" / file).write_bytes(content)
        images = torch.randn(2, 3, 16, 16, generator=generator)
        with torch.no_grad():
            save_file({"images": images, "logits": network(images)}, tmp_path / f"{name}.logits")
    done = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT, str(tmp_path), *kinds()], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "without evo_nas\n"


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to the folder of a training that is over, as far as a card reads it."""
    monkeypatch.chdir(tmp_path)
    plan = kinds()["widths"]
    save_network(Path("best.safetensors"), plan, plan.network().state_dict())
    task = TrainTask("small", plan, RECIPES["cpu"].recipe, "digits", seed=7, fingerprint="aa17")
    result = {
        "label": "small",
        "epochs": 4,
        "seconds": 9.0,
        "parameters": 1,
        "best_epoch": 3,
        "validation_accuracy": 0.5,
        "best_accuracy": 0.625,
        "test_accuracy": 0.75,
    }
    Path("train.json").write_text(json.dumps(task.to_json()))
    Path("result.json").write_text(json.dumps(result))
    Path("env.json").write_text(json.dumps({"command": ["/x/evo_nas/__main__.py", "train", "--cell", "a b"]}))
    return tmp_path


def test_a_card_says_what_is_known(training: Path) -> None:
    assert main(["export", "--weights", "best.safetensors", "--format", "card", "-o", "."]) == 0
    card = Path("best.md").read_text()
    for words in (
        "# best",
        "classifier of images of 16x16 pixels, in colours (RGB)",
        "3 classes: `cat`, `dog`, `eel`.",
        "![The network](best-cells.png)",
        "| parameters | 5,",
        "| validation accuracy after the last epoch | 50.00 % |",
        "| test accuracy after the last epoch | 75.00 % |",
        "| best validation accuracy, epoch 3 | 62.50 % |",
        "These are the weights of the best epoch",
        "Data set `digits`",
        "Seed 7.",
        "`aa17`",
        "python -m evo_nas train --cell 'a b'",
        "learning_rate 0.1",
        "## Limits",
        "Apache-2.0",
    ):
        assert words in card
    assert Path("best-cells.png").read_bytes().startswith(b"\x89PNG")
    Path("other").mkdir()
    Path("other/new.safetensors").write_bytes(Path("best.safetensors").read_bytes())
    assert main(["export", "--weights", "other/new.safetensors", "--format", "card", "-o", "other"]) == 0
    assert "No record of the training lay beside the weights." in Path("other/new.md").read_text()


def test_nothing_is_overwritten_unless_forced(training: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "--weights", "best.safetensors", "--format", "timm,card", "-o", "out"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == ["out/best_timm", "out/best.md"]
    assert {file.name for file in Path("out/best_timm").iterdir()} == {
        *("__init__.py", "network.py", "config.json", "model.safetensors", "README.md", "cells.png")
    }
    card = Path("out/best_timm/README.md").read_text()
    assert 'timm.create_model("local-dir:PATH/best_timm", pretrained=True)' in card
    assert card.startswith("---\nlibrary_name: timm\n")  # by which the hub knows how to load it
    Path("out/best.md").unlink()
    assert main([*words[:4], "card", "-o", "out"]) == 2
    assert "best-cells.png is there already" in capsys.readouterr().err
    assert main(words) == 2
    assert "best_timm is there already" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0


def test_weights_that_nobody_trained_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    size = ["--cells-per-stack", "1", "--filters", "4", "--image-size", "16"]
    assert main(["export", "--cell", "darts-v2", *size, "--format", "card", "-o", "card.md"]) == 0
    card = Path("card.md").read_text()
    assert "the weights are random" in card
    assert "Nobody trained these weights." in card


def test_damaged_records_are_one_line(training: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("env.json").write_text("[")
    assert main(["export", "--weights", "best.safetensors", "--format", "card", "-o", "."]) == 3
    err = capsys.readouterr().err
    assert "env.json is damaged" in err
    assert err.count("\n") == 1
