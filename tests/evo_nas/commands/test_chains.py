"""Chains of blocks from the command line: counted, drawn, searched, trained as classifiers and backbones, exported."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from evo_nas.cli import main
from evo_nas.phenotypes.blueprint import ChainBlueprint, DetectorBlueprint, load_whole
from genotypes.catalogue import build_space
from genotypes.zoo import CHAINS

PUBLISHED = "detnas-coco-fpn-300m"
SPACE = "detnas(stages=1+1+2,widths=8+12+16,stem=4,stem_stride=1,last=8)"
GENOTYPE = f"{SPACE}:0.3.1.2"
TRAINING = [
    *("--dataset", "digits", "--preset", "cpu", "--image-size", "8", "--epochs", "1", "--train-images", "64"),
    *("--validation-images", "32", "--set", "padding=1", "--set", "flip=false", "--threads", "1"),
]
SEARCH = ["--preset", "tiny", "--strategy", "random", "--run-dir", "run"]


def test_a_published_chain_is_counted_part_by_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["count", "--cell", PUBLISHED]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "3,531,072 parameters",
        "321,219,008 mult-adds per image of 224x224",
        "of these trunk 1,849,664 and 288,082,368, head 1,681,408 and 33,136,640",
    ]
    assert main(["count", GENOTYPE, "--image-size", "16", "--classes", "5", "--channels", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["channels"], told["image"], told["classes"]) == (1, 16, 5)
    assert told["parameters"] == sum(part["parameters"] for part in told["parts"].values())


def test_a_chain_is_counted_as_the_backbone_of_a_detector(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["count", "--neck", "fpn", "--backbone", f"chain:{PUBLISHED}", "--image-size", "256", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parts"]["backbone"]["parameters"] == 1_849_664


def test_chains_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", PUBLISHED, GENOTYPE, "--kind", "cells", "-o", str(tmp_path / "x.png")]) == 0
    assert (tmp_path / "x.png").stat().st_size > 1000
    assert main(["plot", GENOTYPE, "--kind", "cells", "-o", str(tmp_path / "x.dot")]) == 0
    assert (tmp_path / "x.dot").read_text().count("->") == 4
    assert main(["plot", GENOTYPE, "nasnet-a", "--kind", "cells", "-o", str(tmp_path / "y.png")]) == 2
    assert "chains of blocks and feature pyramids need a picture each" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["count", GENOTYPE, "--size", "6@768"], "--size is for networks of cells"),
        (["count", GENOTYPE, "--backbone", "thin"], "--backbone is for detectors"),
        (["count", f"{GENOTYPE}.1"], "a genotype of detnas(stages=1+1+2,widths=8+12+16"),
        (["count", "--neck", "fpn", "--backbone", "chain:resnet"], "there is no published chain 'resnet'"),
        (["count", "--neck", "fpn", "--backbone", "chain:{}"], "names no chain of blocks"),
        (
            ["count", "--neck", "fpn", "--backbone", f"chain:{PUBLISHED}", "--finest-stride", "2"],
            "4 stages have a finest stride of 4 or more, not 2",
        ),
        (["export", GENOTYPE, "--format", "cells"], "has no cells: it is a chain of blocks"),
        (["diff", PUBLISHED, GENOTYPE], "has no cells: it is a chain of blocks"),
        (["train", GENOTYPE, *TRAINING, "--filters", "8"], "--filters is for networks of cells"),
        (["train", GENOTYPE, *TRAINING, "--set", "dropout=0.5"], "dropout is for networks of cells"),
        (["train", GENOTYPE, "--dataset", "plates", "--backbone", "thin"], "is a backbone itself"),
        (
            ["run", "--space", "detnas(stages=1+1)", "--evaluator", "detection", *SEARCH],
            "a backbone needs 3 stages or more, and this chain has 2",
        ),
        (
            ["run", "--space", SPACE, "--evaluator", "detection", *SEARCH, "--set", "evaluator.backbone=thin"],
            "the backbone is what is searched here: leave the option backbone out",
        ),
        (
            ["run", "--space", SPACE, "--evaluator", "detection", *SEARCH, "--set", "evaluator.neck=pafpn"],
            "neck must be one of none, fpn, not 'pafpn'",
        ),
    ],
)
def test_what_a_chain_cannot_be_is_refused_in_one_line(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("history.db"))


@pytest.mark.slow
def test_a_search_finds_shows_and_trains_a_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    search = [
        *("run", "--space", SPACE, "--dataset", "digits", "--strategy", "genetic", "--trials", "3", "--threads", "1"),
        *("--workers", "1", "--keep-weights", "1", "--run-dir", str(run), "--set", "evaluator.epochs=1"),
        *("--set", "evaluator.train_images=64", "--set", "strategy.population=2", "--set", "strategy.mutations=1"),
        *("--set", "strategy.crossovers=1", "--set", "strategy.parents=1"),
    ]
    assert main(search) == 0
    assert main(["show", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "chain of blocks, of trial" in shown
    assert "gene: " in shown
    (weights,) = (run / "weights").glob("*.safetensors")
    blueprint, _ = load_whole(weights)
    assert isinstance(blueprint, ChainBlueprint)
    assert main(["train", str(run), *TRAINING, "--train-dir", str(tmp_path / "train")]) == 0
    assert main(["train", "--from", str(weights), *TRAINING, "--train-dir", str(tmp_path / "more")]) == 0
    assert main(["plot", str(run), "--kind", "operations"]) == 0


@pytest.mark.slow
def test_a_run_for_boxes_trains_detectors_of_its_chains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faster_coco_eval")
    run = tmp_path / "run"
    small = [f"--set=evaluator.{name}" for name in ("width=8", "train_images=16", "validation_images=8", "epochs=1")]
    search = [
        *("run", "--space", SPACE, "--evaluator", "detection", "--preset", "tiny", "--strategy", "random"),
        *("--trials", "1", "--threads", "1", "--workers", "1", "--keep-weights", "1", "--run-dir", str(run), *small),
        "--set=evaluator.neck=none",
    ]
    assert main(search) == 0
    (weights,) = (run / "weights").glob("*.safetensors")
    blueprint, _ = load_whole(weights)
    assert isinstance(blueprint, DetectorBlueprint)
    assert blueprint.neck == "none"
    assert blueprint.backbone.startswith('chain:{"chain"')
    capsys.readouterr()
    assert main(["train", str(run), "--epochs", "1", "--threads", "1", "--train-dir", str(tmp_path / "train")]) == 0
    assert "test AP50: " in capsys.readouterr().out
    trained, _ = load_whole(tmp_path / "train" / "last.safetensors")
    assert isinstance(trained, DetectorBlueprint)
    assert (trained.backbone, trained.neck, trained.width) == (blueprint.backbone, "none", 8)


def test_an_exported_module_computes_what_the_network_does(tmp_path: Path) -> None:
    files = ["--format", "module,safetensors,json", "--image-size", "16", "--classes", "3", "-o", str(tmp_path)]
    assert main(["export", GENOTYPE, *files]) == 0
    (path,) = tmp_path.glob("*.py")
    spec = importlib.util.spec_from_file_location("exported", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (weights,) = tmp_path.glob("*.safetensors")
    blueprint, tensors = load_whole(weights)
    assert blueprint is not None
    network = blueprint.network()
    network.load_state_dict(tensors)
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(module.load(str(weights))(images), network.eval()(images))
    (record,) = tmp_path.glob("*.json")
    assert json.loads(record.read_text())["choices"] == [0, 3, 1, 2]


def test_a_file_of_a_chain_is_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain = build_space(SPACE).decode(build_space(SPACE).parse(GENOTYPE))
    (tmp_path / "chain.json").write_text(json.dumps(chain.to_json()))
    counts = []
    for source in (GENOTYPE, str(tmp_path / "chain.json")):
        assert main(["count", source]) == 0
        counts.append(capsys.readouterr().out)
    assert counts[0] == counts[1]
    (tmp_path / "chain.json").write_text(json.dumps({**chain.to_json(), "stem": -1}))
    assert main(["count", str(tmp_path / "chain.json")]) == 2
    assert "no chain has this size: stem must be from 1" in capsys.readouterr().err
    assert set(CHAINS) >= {PUBLISHED}
