"""Training and exporting from Python: the same deeds as those of the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import evo_nas
from evo_nas.errors import UsageError
from genotypes.zoo import CELLS

pytestmark = pytest.mark.slow

TINY: dict[str, Any] = {
    "dataset": "digits",
    "preset": "cpu",
    "image_size": 8,
    "cells_per_stack": 1,
    "filters": 2,
    "epochs": 1,
    "train_images": 64,
    "validation_images": 32,
    "threads": 1,
}


def test_a_training_gives_its_result_tells_its_epochs_and_is_not_done_twice(tmp_path: Path) -> None:
    heard: list[int] = []
    for _ in range(2):
        result = evo_nas.train(
            cell="pnasnet-5", train_dir=tmp_path / "train", hear=lambda _, done: heard.append(done), **TINY
        )
        assert result.to_json() == json.loads((tmp_path / "train" / "result.json").read_text())
    assert heard == [1]
    weights = tmp_path / "train" / "last.safetensors"
    files = evo_nas.export(weights=weights, format=["json", "safetensors"], output=tmp_path / "out")
    assert list(files) == ["json", "safetensors"]
    assert all(path.parent == tmp_path / "out" and path.stat().st_size for path in files.values())
    assert json.loads(files["json"].read_text()) == CELLS["pnasnet-5"].to_json()
    assert evo_nas.train(start=weights, train_dir=tmp_path / "on", **TINY).epochs == 1


def test_a_run_is_named_by_what_a_search_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = evo_nas.search(strategy="random", evaluator="toy", trials=4, run_dir="run")
    (file,) = evo_nas.export(run, trial=3, format="json", output="third.json").values()
    third = evo_nas.load_history(run).set_index("id").loc[3]
    assert file == Path("third.json")
    assert json.loads(file.read_text())["space"] == third["genotype"].partition(":")[0]
    result = evo_nas.train(run, trial=3, **TINY)
    assert Path(f"runs/train-{result.label}-digits-seed0/result.json").is_file()


def test_what_is_no_flag_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"train takes no 'epoch'; it takes image_size, preset, dataset, "):
        evo_nas.train(cell="nasnet-a", epoch=1)
    with pytest.raises(UsageError, match=r"export takes no 'cells'; it takes image_size, size, cells_per_stack, "):
        evo_nas.export(cell="nasnet-a", format="module", cells=1)


def test_nothing_is_overwritten_unless_it_is_asked_for(tmp_path: Path) -> None:
    for force in (False, True):
        evo_nas.export(cell="nasnet-a", format="cells", output=tmp_path, force=force)
    with pytest.raises(UsageError, match="is there already"):
        evo_nas.export(cell="nasnet-a", format="cells", output=tmp_path)


def test_no_cells_are_a_clear_line(tmp_path: Path) -> None:
    for call in (lambda: evo_nas.train(), lambda: evo_nas.export(format="json")):
        with pytest.raises(UsageError, match="name "):
            call()


def test_a_trained_network_looks_at_images(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "photos").mkdir()
    Image.new("RGB", (9, 7)).save(tmp_path / "photos/a.png")
    (tmp_path / "photos/b.png").write_text("x")
    (file,) = evo_nas.export(
        cell="darts-v2", cells_per_stack=1, filters=2, format="safetensors", output=tmp_path
    ).values()
    with pytest.raises(UsageError, match="holds a classifier, and no detector"):
        evo_nas.detect(file, tmp_path / "photos")
    first, second = evo_nas.predict(file, tmp_path / "photos", top=2, device="cpu")
    assert (first.image.name, len(first.classes), first.fault) == ("a.png", 2, None)
    assert (second.classes, second.fault is not None) == ((), True)
