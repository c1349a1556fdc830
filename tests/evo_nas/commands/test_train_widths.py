"""Found widths trained to the end, from a file, a run or weights; on images of 8 pixels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evo_nas.cli import main
from evo_nas.commands.cell_sources import CellSource, find_cells, find_design
from evo_nas.commands.train_options import TrainOptions
from evo_nas.commands.training_plan import plan_training
from evo_nas.errors import UsageError
from evo_nas.phenotypes.blueprint import WidthsBlueprint, load_network, load_whole
from evo_nas.training.loop import Epoch
from evo_nas.training.resumable import load_task, train
from evo_nas.training.train_task import TrainPlacement
from genotypes.widths import Widths

OWN = {"conv1": 4, "blocks.0.conv1": 4, "blocks.1.conv1": 8, "blocks.1.conv2": 8} | {
    f"blocks.2.conv{index}": 16 for index in (1, 2)
}
WIDTHS = Widths("resnet:8x4", OWN | {"conv1": 3, "blocks.2.conv1": 11}, OWN)
SMALL = TrainOptions(
    preset="cpu",
    dataset="digits",
    image=8,
    epochs=2,
    train_images=128,
    validation_images=50,
    settings=("padding=1", "flip=false"),
)


def stop_after_one(epoch: Epoch, done: int) -> None:
    if done == 1:
        raise KeyboardInterrupt


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a new folder with a file of widths."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text(json.dumps(WIDTHS.to_json()))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("network", ["resnet", "cell"])
def test_a_training_of_widths_goes_on_to_the_very_same_weights(network: str, tmp_path: Path) -> None:
    widths = WIDTHS
    if network == "cell":
        from evo_nas.phenotypes.widths.draw import build_ghost
        from evo_nas.phenotypes.widths.trace import trace_layout

        name = "cell:darts-v1@1x4"
        own = trace_layout(build_ghost(name, classes=10, channels=1, image_size=8), (1, 8, 8)).widths
        widths = Widths(name, {group: max(1, width - 1) for group, width in own.items()}, own)
    task = plan_training(CellSource(widths, "mine"), replace(SMALL, settings=(*SMALL.settings, "ema_decay=0.9")), "cpu")
    whole = train(task, tmp_path / "whole", TrainPlacement())
    with pytest.raises(KeyboardInterrupt):
        train(task, tmp_path / "parts", TrainPlacement(), stop_after_one)
    parts = train(task, tmp_path / "parts", TrainPlacement())
    for name in ("last", "best", "state-0002"):
        a, b = (load_network(tmp_path / folder / f"{name}.safetensors")[1] for folder in ("whole", "parts"))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert replace(whole, seconds=0) == replace(parts, seconds=0)
    assert whole.test_accuracy is not None
    blueprint, tensors = load_whole(tmp_path / "whole" / "last.safetensors")
    assert isinstance(blueprint, WidthsBlueprint)
    assert blueprint.widths == widths
    assert len(blueprint.classes) == 10
    assert whole.parameters == sum(parameter.numel() for parameter in blueprint.network().parameters())
    assert load_task(tmp_path / "whole").blueprint == blueprint
    blueprint.network().load_state_dict(tensors)


@pytest.mark.slow
def test_the_command_trains_a_file_of_widths_and_then_its_weights(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--preset cpu --dataset digits --image-size 8 --train-images 100 --validation-images 20 --epochs 1 --json"
    assert main(["train", "mine.json", *words.split(), "--set", "padding=1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["results"][0]["label"] == "mine"
    last = Path(told["folder"]) / "last.safetensors"
    assert main(["train", "--from", str(last), *words.split(), "--train-dir", "again"]) == 0
    assert "tensors were loaded" in capsys.readouterr().err
    blueprint, _ = load_whole(Path("again/last.safetensors"))
    assert isinstance(blueprint, WidthsBlueprint)
    assert blueprint.widths == WIDTHS


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--size 6@768", "--size is for networks of cells; mine says every width of resnet:8x4 itself"),
        ("--filters 8", "--filters is for networks of cells"),
        ("--macro imagenet", "--macro is for networks of cells"),
        ("--skip-reduction-input", "--skip-reduction-input is for networks of cells"),
        ("--set auxiliary_weight=0.4", "auxiliary_weight is for networks of cells, and mine is one of widths"),
        ("--set drop_path_keep=0.5", "drop_path_keep is for networks of cells"),
        ("--network own:make", "--network names own:make, and these are not widths of it"),
    ],
)
def test_what_belongs_to_cells_is_refused(
    flags: str, words: str, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "mine.json", "--preset", "cpu", "--dataset", "digits", *flags.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"evo_nas: {words}")
    assert error.count("\n") == 1
    assert [path.name for path in mine.iterdir()] == ["mine.json"]


def test_presets_for_cells_train_widths_without_what_only_cells_have() -> None:
    task = plan_training(CellSource(WIDTHS, "mine"), TrainOptions(preset="cifar-short"), "cpu")
    assert (task.recipe.auxiliary_weight, task.recipe.drop_path_keep, task.recipe.dropout) == (0, 1, 0)
    assert task.recipe.cutout == 16


def test_widths_of_another_network_are_found_out_before_a_folder_is_made(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {**WIDTHS.to_json(), "network": "resnet:8x5"}
    (mine / "mine.json").write_text(json.dumps(wrong))
    assert main(["train", "mine.json", "--preset", "cpu", "--dataset", "digits", "--train-dir", "new"]) == 2
    assert "these widths are of another resnet:8x5: its group conv1 is 5, not 4" in capsys.readouterr().err
    assert not Path("new").exists()


def test_widths_in_a_file_import_no_code(mine: Path) -> None:
    (mine / "trap_of_users.py").write_text("raise SystemExit('imported')")
    widths = Widths("trap_of_users:make", {"a": 1}, {"a": 2})
    (mine / "mine.json").write_text(json.dumps(widths.to_json()))
    assert find_cells("mine.json", None).design == widths
    with pytest.raises(UsageError, match="name it too, with --network trap_of_users:make"):
        find_design("mine.json", None)
    assert find_design("mine.json", None, network="trap_of_users:make").design == widths


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"network": "resnet:8x4", "widths": {}, "seed": {}}, "name different groups, or none"),
        ({"network": "resnet:8x4", "widths": {"a": 1.5}, "seed": {"a": 1}}, "whole number from 1 to 1000000, not 1.5"),
        ({"network": "resnet:8x4", "widths": {"a": 1}}, "widths in JSON are"),
        ({"network": "resnet:8x4", "widths": [1], "seed": {"a": 1}}, '"widths" must give a width for each group'),
    ],
)
def test_a_damaged_file_of_widths_is_named(record: object, words: str, mine: Path) -> None:
    (mine / "mine.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match=rf"^mine\.json: .*{words}"):
        find_cells("mine.json", None)


@pytest.mark.slow
def test_the_best_widths_of_a_run_are_trained_exported_and_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    search = "run --space widths --set space.network=resnet:8x4 --evaluator widths --strategy random --dataset digits"
    short = "--trials 2 --set evaluator.epochs=1 --set evaluator.train_images=100 --keep-weights 2 --run-dir found"
    assert main([*search.split(), *short.split()]) == 0
    found = find_design("found", None)
    assert isinstance(found.design, Widths)
    assert found.dataset == "digits"
    with pytest.raises(UsageError, match="has no cells: it is resnet:8x4 with other widths"):
        _ = found.cells
    words = "--preset cpu --image-size 8 --train-images 100 --validation-images 20 --epochs 1 --set padding=1"
    assert main(["train", "found", *words.split(), "--train-dir", "trained"]) == 0
    blueprint, _ = load_whole(Path("trained/last.safetensors"))
    assert isinstance(blueprint, WidthsBlueprint)
    assert blueprint.widths == found.design
    assert main(["train", "found", "--top", "2", *words.split(), "--train-dir", "both"]) == 0
    assert len(list(Path("both").glob("*/result.json"))) == 2
    assert main(["export", "found", "--format", "json,module"]) == 0
    assert find_cells(f"export/{found.label.replace('-', '_')}.json", None).design == found.design
    # The search kept the weights with their blueprint.
    best = f"found/weights/trial-{int(found.label.rpartition('trial')[2]):06d}.safetensors"
    kept, _ = load_whole(Path(best))
    assert kept is not None
    assert kept.design == found.design
    assert main(["prune", best, "--to", "0.9x-parameters", "-o", "small.safetensors"]) == 0
