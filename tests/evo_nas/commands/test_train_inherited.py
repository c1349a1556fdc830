"""Networks that a run found on a supernet, trained to the end: begun with the weights that they have there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from evo_nas.cli import main
from evo_nas.phenotypes.blueprint import DetectorBlueprint, load_network, load_whole
from evo_nas.training.single_path import read_supernet

SEARCH = [
    *("run", "--space", "detnas(stages=1+1+1,widths=8+12+16,stem=4,last=16)", "--evaluator", "supernet"),
    *("--dataset", "scenes", "--preset", "tiny", "--strategy", "random", "--trials", "3", "--threads", "1"),
    *("--set=evaluator.width=8", "--set=evaluator.train_images=16", "--set=evaluator.validation_images=8"),
    *("--set=evaluator.recalibration_images=8", "--set=evaluator.epochs=1", "--set=evaluator.pretraining=none"),
]
PLACE = ["--device", "cpu", "--threads", "1", "--epochs", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of a search on a supernet, which lies beside it in ``cache``."""
    home = tmp_path_factory.mktemp("supernet")
    (home / "cache").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evo_nas.evaluators.groundwork.writable_cache", lambda: home / "cache")
        assert main([*SEARCH, "--run-dir", str(home / "run")]) == 0
        yield home / "run"


def test_the_best_are_trained_with_inherited_weights_or_from_scratch(run: Path, tmp_path: Path) -> None:
    inherited, scratch = tmp_path / "inherited", tmp_path / "scratch"
    assert main(["train", str(run), "--top", "2", "--from", "supernet", *PLACE, "--train-dir", str(inherited)]) == 0
    files = sorted((run / "weights").iterdir())
    assert len(files) == 2
    starts = {json.loads(path.read_text())["start"] for path in inherited.glob("*/train.json")}
    assert starts == {str(file) for file in files}
    (place,) = (path for path in (run.parent / "cache/groundwork").iterdir() if path.is_dir())
    shared = read_supernet(place)
    for file in files:
        blueprint, tensors = load_whole(file)
        assert isinstance(blueprint, DetectorBlueprint)
        assert blueprint.backbone.startswith("chain:")
        stem = tensors["backbone.trunk.stem.0.weight"]
        torch.testing.assert_close(stem, shared["trunk/stem/0/weight"], rtol=0, atol=0)
        assert tensors["backbone.trunk.stem.1.running_var"].ne(1).any(), "batch norms are recalibrated"
    assert main(["train", str(run), *PLACE, "--train-dir", str(scratch)]) == 0
    assert json.loads((scratch / "train.json").read_text())["start"] is None


def test_the_files_are_written_once_and_the_supernet_is_trained_again_if_it_is_gone(run: Path, tmp_path: Path) -> None:
    words = ["train", str(run), "--from", "supernet", *PLACE, "--train-dir"]
    assert main([*words, str(tmp_path / "first")]) == 0
    file = Path(json.loads((tmp_path / "first/train.json").read_text())["start"])
    _, before = load_network(file)
    cache = run.parent / "cache/groundwork"
    shutil.rmtree(cache)
    assert main([*words, str(tmp_path / "second")]) == 0
    assert not cache.exists(), "the file that is there is taken"
    file.unlink()
    assert main([*words, str(tmp_path / "third")]) == 0
    _, after = load_network(file)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_another_supernet_than_that_of_the_run_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other", ignore=shutil.ignore_patterns("weights")))
    record = json.loads((other / "env.json").read_text())
    record["data"]["supernet"] = "0" * 64
    (other / "env.json").write_text(json.dumps(record))
    assert main(["train", str(other), "--from", "supernet", *PLACE, "--train-dir", str(tmp_path / "training")]) == 2
    assert "the supernet in the cache is not the one that" in capsys.readouterr().err
    assert not (tmp_path / "training").exists()


def test_a_run_without_a_supernet_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--from", "supernet", "--train-dir", str(tmp_path / "training")]
    assert main(["train", "--cell", "darts-v2", *words]) == 2
    assert "name the folder of a run" in capsys.readouterr().err
    search = ["run", "--space", "nasbench201", "--evaluator", "toy", "--strategy", "random", "--trials", "1"]
    assert main([*search, "--run-dir", str(tmp_path / "toy")]) == 0
    assert main(["train", str(tmp_path / "toy"), *words]) == 2
    assert "was searched with the evaluator toy, and --from supernet takes a run" in capsys.readouterr().err
    assert not (tmp_path / "training").exists()
