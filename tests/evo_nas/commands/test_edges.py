"""Cells of NAS-Bench-201 from the command line: counted, searched, trained, exported, pruned."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from evo_nas.cli import main
from evo_nas.phenotypes.blueprint import EdgeBlueprint, load_whole

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
GENOTYPE = "nasbench201:3.0.1.4.0.2"
SIZE = ["--cells-per-stack", "1", "--filters", "4"]
TRAINING = [
    *("--dataset", "digits", "--preset", "cpu", "--image-size", "8", "--epochs", "1", "--train-images", "100"),
    *("--validation-images", "50", "--set", "padding=1", "--set", "flip=false"),
]


@pytest.mark.parametrize("source", [CELL, GENOTYPE])
def test_a_cell_is_counted(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["count", source, "--cells-per-stack", "5", "--filters", "16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 344_346


def test_cells_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", CELL, "nasbench201:3.3.3.3.3.3", "--kind", "cells", "-o", str(tmp_path / "x.png")]) == 0
    assert (tmp_path / "x.png").stat().st_size > 1000
    assert (
        main(["plot", CELL.replace("skip_connect~1", "none~1"), "--kind", "cells", "-o", str(tmp_path / "x.dot")]) == 0
    )
    assert (tmp_path / "x.dot").read_text().count("->") == 3
    assert main(["plot", GENOTYPE, "nasnet-a", "--kind", "cells", "-o", str(tmp_path / "y.png")]) == 2
    assert "need a picture each" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["count", GENOTYPE], "say how large the network is: --cells-per-stack N --filters C"),
        (["count", GENOTYPE, "--size", "6@768"], "--size is for pairs of cells"),
        (["count", GENOTYPE, *SIZE, "--macro", "imagenet"], "--macro is for pairs of cells"),
        (["count", CELL.replace("nor_conv_3x3", "x"), *SIZE], "edge 1<-0 has the unknown operation 'x'"),
        (["export", GENOTYPE, "--format", "cells"], "is one cell of edges"),
        (
            ["train", GENOTYPE, *SIZE, *TRAINING, "--set", "drop_path_keep=0.5"],
            "drop_path_keep is for networks of cells",
        ),
    ],
)
def test_what_belongs_to_pairs_of_cells_is_refused_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_cell_is_trained_exported_and_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", CELL, *SIZE, *TRAINING, "--train-dir", "t"]) == 0, capsys.readouterr().err
    weights = "t/best.safetensors"
    blueprint, tensors = load_whole(Path(weights))
    assert isinstance(blueprint, EdgeBlueprint)
    assert blueprint.edges.architecture == CELL
    assert main(["export", "--weights", weights, "--format", "module,safetensors,torch,json", "-o", "e"]) == 0

    network = blueprint.network().eval()
    network.load_state_dict(tensors)
    images = torch.rand(3, 1, 8, 8)
    (module,) = Path("e").glob("*.py")
    specification = importlib.util.spec_from_file_location("exported", module)
    assert specification is not None
    assert specification.loader is not None
    exported = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(exported)
    (written,) = Path("e").glob("*.safetensors")
    assert load_file(written).keys() == tensors.keys()
    with torch.no_grad():
        assert torch.equal(exported.load(str(written))(images), network(images))
        (program,) = Path("e").glob("*.pt2")
        assert torch.allclose(torch.export.load(program).module()(images), network(images), atol=1e-5)

    capsys.readouterr()
    assert main(["prune", weights, "--to", "0.8x-parameters", "-o", "p.safetensors"]) == 0, capsys.readouterr().err
    assert main(["export", "--weights", "p.safetensors", "--format", "module", "-o", "p.py"]) == 0


@pytest.mark.slow
def test_a_search_trains_cells_and_keeps_networks_that_can_be_read(tmp_path: Path) -> None:
    options = {"dataset": "digits", "epochs": 1, "filters": 4, "train_images": 100, "validation_images": 50}
    settings = [word for name, value in options.items() for word in ("--set", f"evaluator.{name}={value}")]
    run = tmp_path / "run"
    arguments = ["run", "--space", "nasbench201", "--strategy", "random", "--trials", "2", "--run-dir", str(run)]
    assert main([*arguments, "--seed", "1", "--keep-weights", "2", *settings]) == 0
    files = sorted((run / "weights").iterdir())
    assert files
    assert isinstance(load_whole(files[0])[0], EdgeBlueprint)
    assert main(["export", str(run), *SIZE, "--format", "module", "-o", str(tmp_path / "best.py")]) == 0
