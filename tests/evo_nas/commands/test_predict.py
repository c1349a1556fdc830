"""The command predict: what it prints and draws, and what becomes of files that are no images."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evo_nas.cli import main
from evo_nas.phenotypes.blueprint import CellBlueprint, WidthsBlueprint, save_network
from evo_nas.training.pruning import widths_of_seed
from genotypes.zoo import CELLS


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with weights, ``w.safetensors``, and a folder of three images, ``photos``."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    blueprint = CellBlueprint(
        CELLS["darts-v2"], cells_per_stack=1, filters=2, classes=("cat", "dog", "a\x1b[31m bird"), image=8
    )
    save_network(Path("w.safetensors"), blueprint, blueprint.network().state_dict())
    rng = np.random.default_rng(0)
    for name in ("b.png", "a.png", "below/c.jpg", ".hidden.png", "notes.txt"):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("x")
        else:
            Image.fromarray(rng.integers(0, 256, (20, 12, 3), dtype=np.uint8)).save(path)
    return tmp_path


def test_a_table_has_a_row_per_image(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "w.safetensors", "photos/b.png", "photos", "--top", "2", "--device", "cpu"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["image", "1", "2"]
    assert [row.split()[0] for row in rows] == ["photos/b.png", "photos/a.png", "photos/b.png", "photos/below/c.jpg"]
    assert all(row.count(" %") == 2 for row in rows)
    assert not any("\x1b" in row for row in rows)


def test_json_holds_the_probabilities_of_all_classes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "w.safetensors", "photos", "--top", "9", "--json", "--device", "cpu"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["weights"] == "w.safetensors"
    assert [each["image"] for each in told["images"]] == ["photos/a.png", "photos/b.png", "photos/below/c.jpg"]
    for each in told["images"]:
        shares = [found["probability"] for found in each["classes"]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1)
        assert {found["class"] for found in each["classes"]} == {"cat", "dog", "a\x1b[31m bird"}


def test_a_picture_shows_the_images(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "w.safetensors", "photos", "-o", "grid.png"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["picture: grid.png", "picture: grid.svg"]
    with Image.open("grid.png") as picture:
        assert picture.width > picture.height > 200
    assert main(["predict", "w.safetensors", "photos", "-o", "grid.docx"]) == 2
    assert "a picture ends in" in capsys.readouterr().err


def test_an_image_that_cannot_be_read_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/aa.png").write_bytes(b"no image")
    Path("photos/b.png").write_bytes(Path("photos/b.png").read_bytes()[:200])
    assert main(["predict", "w.safetensors", "photos", "--json", "-o", "grid.png"]) == 4
    out, err = capsys.readouterr()
    assert "2 of 4 images cannot be read: photos/aa.png" in err
    assert err.count("\n") == 1
    told = json.loads(out)["images"]
    assert ["fault" in each for each in told] == [False, True, True, False]
    assert main(["predict", "w.safetensors", "photos/aa.png", "-o", "empty.png"]) == 4
    assert capsys.readouterr().out.strip() == ""
    assert not Path("empty.png").exists()


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["w.safetensors", "missing.png"], 4, "there is no image or folder missing.png"),
        (["w.safetensors", "empty"], 4, "empty holds no image"),
        (["w.safetensors", "pipe"], 4, "pipe is a pipe or a device"),
        (["missing.safetensors", "photos"], 4, "there is no file of weights"),
        (["photos/a.png", "photos"], 4, "holds no weights that can be read"),
        (["own.safetensors", "photos"], 2, "whose code no file can name alone"),
        (["w.safetensors", "photos", "--device", "tpu"], 2, "unknown device"),
        (["w.safetensors", "photos", "--network", "own:make"], 2, "these are not widths of it"),
    ],
)
def test_bad_input_is_one_line(words: list[str], code: int, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    os.mkfifo("pipe")
    widths = widths_of_seed("resnet:8x4", classes=2, channels=3, image_size=8)
    blueprint = WidthsBlueprint(widths, classes=("a", "b"), image=8)
    own = replace(blueprint, widths=replace(widths, network="own:make"))
    save_network(Path("own.safetensors"), own, blueprint.network().state_dict())
    assert main(["predict", *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert err.count("\n") == 1


def test_networks_of_widths_predict_too(capsys: pytest.CaptureFixture[str]) -> None:
    widths = widths_of_seed("resnet:8x4", classes=2, channels=1, image_size=8)
    blueprint = WidthsBlueprint(widths, classes=("a", "b"), channels=1, image=8, mean=(0.4,), std=(0.2,))
    save_network(Path("small.safetensors"), blueprint, blueprint.network().state_dict())
    assert main(["predict", "small.safetensors", "photos", "--top", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
