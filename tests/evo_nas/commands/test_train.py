"""Training to the end: exact resumption, checkpoints, the best of a run, transfer; on images of 8 pixels."""

from __future__ import annotations

import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from evo_nas.cli import main
from evo_nas.commands.cell_sources import CellSource
from evo_nas.commands.train_options import TrainOptions
from evo_nas.commands.training_plan import plan_training
from evo_nas.errors import DataError, EvoNasError, UsageError
from evo_nas.phenotypes.blueprint import load_network, save_network
from evo_nas.phenotypes.transfer import load_fitting
from evo_nas.run.search import Run
from evo_nas.system.atomic import write_whole
from evo_nas.training import resumable
from evo_nas.training.classification import Classification
from evo_nas.training.images import TrainingImages
from evo_nas.training.loop import Epoch
from evo_nas.training.recipes import RECIPES, Recipe
from evo_nas.training.resumable import load_task, train
from evo_nas.training.train_task import TrainPlacement, TrainTask
from genotypes.cell import Block, Cell, CellPair, Edge
from tests.stepwise import is_done_before
from tests.waiting import wait_for

ROOT = Path(__file__).parents[3]
_POOLS = Cell.join_leaves([Block(Edge(0, "max_pool_3x3"), Edge(1, "identity"))])
CELLS = CellPair(_POOLS, Cell.join_leaves([Block(Edge(0, "sep_conv_3x3"), Edge(1, "max_pool_3x3"))]))
SMALL = TrainOptions(
    preset="cpu",
    dataset="digits",
    image=8,
    cells_per_stack=1,
    filters=4,
    epochs=3,
    train_images=256,
    validation_images=100,
    settings=("learning_rate=0.05", "padding=1", "flip=false"),
)
EVERYTHING = (
    "auxiliary_weight=0.4",
    "label_smoothing=0.1",
    "ema_decay=0.99",
    "accumulate=2",
    "dropout=0.2",
    "drop_path_keep=0.7",
    "cutout=2",
)


def small(**changes: Any) -> TrainTask:
    wanted = replace(SMALL, **changes)
    return plan_training(
        CellSource(CELLS, "pools"), replace(wanted, settings=(*SMALL.settings, *changes.get("settings", ())))
    )


def stopping_after(epochs: int) -> Callable[[Epoch, int], None]:
    def hear(epoch: Epoch, done: int) -> None:
        if done == epochs:
            raise KeyboardInterrupt

    return hear


def curve(path: Path) -> list[str]:
    """The curve without its seconds."""
    return [line.rsplit(",", 2)[0] for line in (path / "curve.csv").read_text().splitlines()]


def test_a_training_that_was_stopped_goes_on_to_the_very_same_weights(tmp_path: Path) -> None:
    task = small(settings=EVERYTHING)
    whole = train(task, tmp_path / "whole", TrainPlacement())
    for epochs in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            train(task, tmp_path / "parts", TrainPlacement(), stopping_after(epochs))
    parts = train(task, tmp_path / "parts", TrainPlacement())
    for name in ("last", "best", "state-0003"):
        a, b = (load_network(tmp_path / folder / f"{name}.safetensors")[1] for folder in ("whole", "parts"))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")
    assert replace(whole, seconds=0) == replace(parts, seconds=0)


@pytest.mark.slow
def test_a_training_that_was_killed_goes_on(tmp_path: Path) -> None:
    words = [
        "train",
        "--cell",
        "darts-v1",
        "--preset",
        "cpu",
        "--dataset",
        "digits",
        "--image-size",
        "8",
        "--filters",
        "4",
    ]
    words += ["--epochs", "5000", "--train-images", "64", "--validation-images", "20", "--train-dir", "here"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "evo_nas", *words], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: (tmp_path / "here/checkpoint.json").is_file() or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(json.loads((tmp_path / "here/checkpoint.json").read_text())["curve"])
    assert 1 <= done < 5000
    heard: list[int] = []
    task = load_task(tmp_path / "here")
    with pytest.raises(KeyboardInterrupt):
        train(
            task,
            tmp_path / "here",
            TrainPlacement(),
            lambda epoch, n: heard.append(n) or stopping_after(done + 1)(epoch, n),
        )
    assert heard == [done + 1]


def names(path: Path) -> dict[str, int]:
    """The files of a folder, each with its mode."""
    return {file.name: file.stat().st_mode for file in path.iterdir()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of later Pythons, that other threads are not forked
def test_killed_between_any_two_steps_a_training_becomes_what_it_would_have_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, place = small(epochs=2, train_images=16, validation_images=10), TrainPlacement()
    whole = train(task, tmp_path / "whole", place)
    tensors = {name: load_network(tmp_path / "whole" / name)[1] for name in ("last.safetensors", "best.safetensors")}
    moments = set()
    for steps in range(100):
        path = tmp_path / f"killed{steps}"
        if is_done_before(steps, partial(train, task, path, place), monkeypatch):
            break
        moments.add(frozenset(names(path)) if path.exists() else None)
        assert replace(train(task, path, place), seconds=0) == replace(whole, seconds=0)
        assert names(path) == names(tmp_path / "whole")
        assert curve(path) == curve(tmp_path / "whole")
        for name, expected in tensors.items():
            _, found = load_network(path / name)
            assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert steps > 30
    assert len(moments) > 15
    assert len(set(names(path).values())) == 1


def test_weights_of_an_epoch_that_was_killed_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU an epoch that is trained again may end elsewhere: then the best is not what the killed one wrote."""
    accuracies = iter([0.3, 0.5, 0.2])
    monkeypatch.setattr(Classification, "measure", lambda *_: {"accuracy": next(accuracies, 0.1)})
    first = []

    def stop_in_second_epoch(path: Path, text: str) -> None:
        if path.name == "checkpoint.json" and path.exists():
            raise KeyboardInterrupt
        write_whole(path, text)

    def keep(*_: Any) -> None:
        first.append(load_network(tmp_path / "best.safetensors")[1])

    with monkeypatch.context() as patch:
        patch.setattr(resumable, "write_whole", stop_in_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            train(small(), tmp_path, TrainPlacement(), keep)
    result = train(small(), tmp_path, TrainPlacement())
    assert (result.best_epoch, result.best_accuracy) == (1, 0.3)
    best = load_network(tmp_path / "best.safetensors")[1]
    assert all(torch.equal(best[name], first[0][name]) for name in best)


@pytest.mark.parametrize("left", ["train.json.partial", "env.json", "env.json.partial", "train.lock"])
def test_a_start_that_was_killed_leaves_a_new_folder(tmp_path: Path, left: str) -> None:
    (tmp_path / left).write_text("{")
    train(small(epochs=1), tmp_path, TrainPlacement())
    assert "partial" not in " ".join(names(tmp_path))


def test_what_a_kill_left_is_removed_and_what_is_the_users_stays(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small(epochs=2), tmp_path, TrainPlacement(), stopping_after(1))
    litter = {"state-0002.safetensors", "state-0002.safetensors.partial", "last.safetensors.partial"}
    own = {"notes.txt", "state.safetensors", "thesis.partial", "state-0001.safetensors.old"}
    for name in litter | own:
        (tmp_path / name).write_text("x")
    train(small(epochs=2), tmp_path, TrainPlacement(), stopping_after(3))
    assert own <= set(names(tmp_path))
    assert not set(names(tmp_path)) & (litter - {"state-0002.safetensors"})


def test_the_best_epoch_and_the_last_are_kept_and_old_states_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = iter([0.3, 0.5, 0.4])
    monkeypatch.setattr(Classification, "measure", lambda *_: {"accuracy": next(accuracies, 0.9)})
    kept = []
    result = train(
        small(),
        tmp_path / "here",
        TrainPlacement(),
        lambda *_: kept.append(load_network(tmp_path / "here/last.safetensors")[1]),
    )
    assert (result.best_epoch, result.best_accuracy, result.validation_accuracy, result.test_accuracy) == (
        2,
        0.5,
        0.4,
        0.9,
    )
    best, last = (load_network(tmp_path / f"here/{name}.safetensors")[1] for name in ("best", "last"))
    assert all(torch.equal(best[name], kept[1][name]) for name in best)
    assert all(torch.equal(last[name], kept[2][name]) for name in last)
    assert [path.name for path in (tmp_path / "here").glob("state-*")] == ["state-0003.safetensors"]


def test_a_network_file_builds_the_measured_network_again(tmp_path: Path) -> None:
    from evo_nas.data.images import open_images
    from evo_nas.training.loop import Examples, measure

    result = train(small(settings=EVERYTHING), tmp_path / "here", TrainPlacement())
    blueprint, tensors = load_network(tmp_path / "here/last.safetensors")
    assert blueprint is not None
    network = blueprint.network()
    network.load_state_dict(tensors)
    images = open_images("digits", size=8)
    assert (blueprint.classes, blueprint.mean, blueprint.std) == (images.classes, images.mean, images.std)
    test = Examples(*images.test.tensors(), blueprint.mean, blueprint.std)
    assert measure(Classification(), network, test)["accuracy"] == result.test_accuracy


def test_the_test_images_are_looked_at_once_and_only_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    open_images = TrainingImages.open

    def watched(*arguments: Any) -> TrainingImages:
        images = open_images(*arguments)
        return replace(images, test=lambda: opened.append(1) or images.test())

    monkeypatch.setattr(TrainingImages, "open", watched)
    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path / "here", TrainPlacement(), stopping_after(2))
    assert not opened
    first = train(small(), tmp_path / "here", TrainPlacement())
    assert train(small(), tmp_path / "here", TrainPlacement()) == first
    assert len(opened) == 1


def test_without_validation_images_the_best_is_the_last(tmp_path: Path) -> None:
    result = train(small(validation_images=0, epochs=2), tmp_path / "here", TrainPlacement())
    assert (result.validation_accuracy, result.best_epoch) == (None, None)
    best, last = (load_network(tmp_path / f"here/{name}.safetensors")[1] for name in ("best", "last"))
    assert all(torch.equal(best[name], last[name]) for name in last)
    assert curve(tmp_path / "here")[1].endswith(",")


def test_a_damaged_checkpoint_is_named_and_nothing_is_overwritten(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path / "here", TrainPlacement(), stopping_after(1))
    state = tmp_path / "here/state-0001.safetensors"
    whole = state.read_bytes()
    state.write_bytes(whole[: len(whole) // 2])
    before = {path: path.read_bytes() for path in (tmp_path / "here").iterdir() if path.name != "train.lock"}
    with pytest.raises(DataError, match=r"state-0001\.safetensors holds no weights that can be read"):
        train(small(), tmp_path / "here", TrainPlacement())
    assert {path: path.read_bytes() for path in before} == before
    save_file({"network.classifier.bias": torch.zeros(3)}, state)
    with pytest.raises(DataError, match=r"state-0001\.safetensors: the checkpoint is not one of this training"):
        train(small(), tmp_path / "here", TrainPlacement())
    (tmp_path / "here/checkpoint.json").write_text("{")
    with pytest.raises(DataError, match=r"checkpoint\.json is damaged"):
        train(small(), tmp_path / "here", TrainPlacement())
    state.write_bytes(whole)
    for damage in ({"state": "../../secret", "curve": []}, {"state": "state-0001.safetensors", "curve": [{"a": 1}]}):
        (tmp_path / "here/checkpoint.json").write_text(json.dumps(damage))
        with pytest.raises(DataError, match="damaged"):
            train(small(), tmp_path / "here", TrainPlacement())


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path / "here", TrainPlacement(), stopping_after(1))
    with pytest.raises(UsageError, match="holds another training, it differs in seed; name another folder"):
        train(small(seed=1), tmp_path / "here", TrainPlacement())
    (tmp_path / "there").mkdir()
    (tmp_path / "there/letter").write_text("dear")
    with pytest.raises(EvoNasError, match="is not empty and holds no training"):
        train(small(), tmp_path / "there", TrainPlacement())
    assert [path.name for path in (tmp_path / "there").iterdir() if path.name != "train.lock"] == ["letter"]


def test_a_loss_that_is_no_number_ends_with_what_may_help(tmp_path: Path) -> None:
    with pytest.raises(EvoNasError, match=r"in epoch 1 of .*; a lower learning rate may help: --set learning_rate="):
        train(small(settings=("learning_rate=1e30", "gradient_norm=0")), tmp_path / "here", TrainPlacement())


# --- weights to begin with ----------------------------------------------------------------------------------------


def pictures(root: Path, classes: int, size: int = 20) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 3)):
        for label in range(classes):
            folder = root / part / f"class{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                shape = (size + 3 * index, size + label, 3)
                Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{index}.png")
    return root


def test_a_network_moves_to_other_images_and_says_what_it_took_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pictures(tmp_path / "data", 3)
    first = ["train", "--cell", "darts-v1", "--preset", "cpu", "--dataset", "folder", "--data-dir", str(data)]
    first += ["--image-size", "8", "--filters", "4", "--epochs", "1", "--validation-images", "6", "--train-dir"]
    assert main([*first, str(tmp_path / "first")]) == 0
    more = pictures(tmp_path / "more", 4)
    second = [
        "train",
        "--from",
        str(tmp_path / "first/last.safetensors"),
        "--dataset",
        "folder",
        "--data-dir",
        str(more),
    ]
    second += ["--image-size", "12", "--epochs", "1", "--validation-images", "8", "--preset", "cpu", "--train-dir"]
    assert main([*second, str(tmp_path / "second")]) == 0
    said = capsys.readouterr().err
    assert "2 have another shape and start at random: classifier.weight, classifier.bias" in said
    blueprint, _ = load_network(tmp_path / "second/last.safetensors")
    assert blueprint is not None
    assert (len(blueprint.classes), blueprint.image, blueprint.filters) == (4, 12, 4)


def test_every_tensor_that_fits_is_taken_over(tmp_path: Path) -> None:
    torch.manual_seed(0)
    blueprint = small().blueprint
    given, network = blueprint.network(), replace(blueprint, classes=("a", "b")).network(auxiliary_image=8)
    save_network(tmp_path / "w.safetensors", blueprint, {**given.state_dict(), "more": torch.zeros(1)})
    carried = load_fitting(network, tmp_path / "w.safetensors")
    own = network.state_dict()
    assert all(torch.equal(own[name], given.state_dict()[name]) for name in carried.loaded)
    assert set(carried.resized) == {"classifier.weight", "classifier.bias"}
    assert carried.unused == ("more",)
    assert all(name.startswith("auxiliary.") for name in carried.missing)
    assert {*carried.loaded, *carried.resized, *carried.missing} == set(own)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_network(
        tmp_path / "w.safetensors", small(filters=6).blueprint, small(filters=6).blueprint.network().state_dict()
    )
    with pytest.raises(UsageError, match=r"holds the weights of another network: only \d+ of \d+ tensors"):
        load_fitting(small().blueprint.network(), tmp_path / "w.safetensors")


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path("sprung").touch, ()


def test_code_in_a_file_of_weights_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("trap.safetensors").write_bytes(pickle.dumps(Trap()))
    words = ["train", "--cell", "nasnet-a", "--dataset", "digits", "--from", "trap.safetensors", "--train-dir", "here"]
    assert main(words) == 4
    assert "trap.safetensors holds no weights that can be read" in capsys.readouterr().err
    assert not Path("sprung").exists()
    assert not Path("here").exists()


# --- the best of a run --------------------------------------------------------------------------------------------

TOP = [
    "--preset",
    "cpu",
    "--dataset",
    "digits",
    "--image-size",
    "8",
    "--cells-per-stack",
    "1",
    "--filters",
    "4",
    "--epochs",
    "1",
]
TOP += ["--train-images", "64", "--validation-images", "50", "--train-dir"]


def test_the_best_of_a_run_are_trained_longer_and_the_winner_alone_is_tested(
    tmp_path: Path, toy_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    run = toy_run(settings=("space.blocks=1",), trials=5)
    words = ["train", str(run.path), "--top", "2", *TOP, str(tmp_path / "top")]
    assert main([*words, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert len(results) == 2
    assert results[0]["validation_accuracy"] >= results[1]["validation_accuracy"]
    assert results[0]["test_accuracy"] is not None
    assert results[1]["test_accuracy"] is None
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("top/*/state-*")}
    assert len(before) == 2
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"] == results
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("top/*/state-*")} == before
    assert main(words) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[3].split() == ["class", "images", "recall", "precision", "F1"]  # of the winner alone
    winner = next(tmp_path.glob("top/*/confusion.png")).parent
    assert table[-6] == f"confusion matrix: {winner / 'confusion.png'}"
    assert table[-5].startswith(f"weights: {winner / 'last.safetensors'}, ")
    predict, export = (shlex.split(line)[3:] for line in table[-2:])
    pixel = tmp_path / "pixel.png"
    Image.new("L", (8, 8)).save(pixel)
    assert main([word.replace("IMAGES", str(pixel)) for word in predict]) == 0
    assert main([*export[:-1], "json", "-o", str(tmp_path / "cells.json")]) == 0
    assert table[1].split()[0] == results[0]["label"]
    assert table[2].split()[-2] == "-"


@pytest.mark.slow
@pytest.mark.parametrize("left", ["top.json.partial", "top.json"])
def test_a_start_with_the_best_of_a_run_that_was_killed_goes_on(
    tmp_path: Path, toy_run: Callable[..., Run], left: str
) -> None:
    run = toy_run(settings=("space.blocks=1",), trials=5)
    words = ["train", str(run.path), "--top", "1", *TOP, str(tmp_path / "top")]
    assert main(words) == 0
    for file in (tmp_path / "top").iterdir():
        shutil.rmtree(file) if file.is_dir() else file.rename(tmp_path / "top" / left)
    assert main(words) == 0
    assert not (tmp_path / "top/top.json.partial").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--top", "2"], "--top takes the best of a run: name its folder"),
        (["nowhere", "--top", "2"], "nowhere holds no run"),
        (["--cell", "nasnet-z"], "there is no published cell 'nasnet-z'; there are: nasnet-a"),
        ([], "name either a run, a genotype"),
        (["--cell", "nasnet-a", "--preset", "fast"], "there is no training preset 'fast'; there are: cifar-paper"),
        (["--cell", "nasnet-a", "--size", "6@1538"], "near it are 6@1536 and 6@1560"),
        (
            ["--cell", "nasnet-a", "--size", "6@1536", "--filters", "64"],
            "--size N@P, as in 6@4032, or --cells-per-stack N",
        ),
        (["--cell", "nasnet-a", "--image-size", "7"], "image must be a whole number of at least 8, not 7"),
        (["--cell", "nasnet-a", "--set", "epochs"], "--set takes NAME=VALUE"),
        (["--cell", "nasnet-a", "--set", "speed=9"], "the recipe has no option 'speed'; its options are: epochs"),
        (["--cell", "nasnet-a", "--set", "momentum=1"], "momentum must be at least 0 and below 1, not 1.0"),
        (["--cell", "nasnet-a", "--macro", "imagenet", "--filters", "3"], "at least 4, not 3"),
        (["--cell", "nasnet-a", "--dataset", "mnist"], "there is no data set 'mnist'"),
        (["--cell", "nasnet-a", "--dataset", "digits", "--validation-images", "9999"], "cannot be held out"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--device", "cpu", *words]) in (2, 3)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("evo_nas: ")]
    assert message in lines[-1]
    assert not list(tmp_path.glob("runs/*/checkpoint.json"))


def test_presets_are_recipes_that_can_be_planned() -> None:
    for name, preset in RECIPES.items():
        task = plan_training(CellSource(CELLS, "pools"), TrainOptions(preset=name), "cpu")
        assert task.recipe == preset.recipe
        assert (task.blueprint.filters, task.blueprint.macro) == (preset.filters, preset.macro)
        assert str(preset.recipe.epochs) in preset.summary()


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"learning_rate": float("nan")},
        {"accumulate": 40},
        {"drop_path_keep": 0.0},
        {"augmentation": "x"},
    ],
)
def test_a_recipe_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Recipe(**{"epochs": 1, "batch_size": 64, "learning_rate": 0.1, **wrong})


# --- images from files --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_images_are_read_from_files_the_same_by_any_number_of_readers(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 2, size=30)
    wanted = replace(SMALL, dataset="folder", image=16, epochs=2, train_images=0, validation_images=4)
    wanted = replace(wanted, settings=("augmentation=imagenet", "batch_size=4"))
    task = plan_training(CellSource(CELLS, "pools"), wanted, "cpu")
    losses = []
    for loaders in (0, 2):
        path = tmp_path / f"with{loaders}"
        train(task, path, TrainPlacement(data_dir=data, loaders=loaders))
        losses.append(curve(path))
    assert losses[0] == losses[1]


def test_evaluation_sees_the_centre_of_a_picture(tmp_path: Path) -> None:
    from evo_nas.data.stream import MEAN, STD, Stream

    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    picture[8:56, 8:56] = 255
    Image.fromarray(picture).save(tmp_path / "square.png")
    ((images, labels),) = Stream([tmp_path / "square.png"], torch.tensor([1]), 42, torch.device("cpu")).in_order()
    assert images.shape == (1, 3, 42, 42)  # 48 of 64 pixels, of which 42 are the centre
    assert labels.tolist() == [1]
    white = (1 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(images[0, :, 21, 21], white)
    assert images[0, 0, 0, 0] < white[0]


def spoil(data: Path, how: str) -> None:
    """Make the test part of an image folder unfit for a training on it."""
    test = data / "test"
    match how:
        case "missing":
            shutil.rmtree(test)
        case "misnamed":
            test.rename(data / "tests")
        case "class more":
            shutil.copytree(test / "class0", test / "class9")
        case "class less":
            shutil.rmtree(test / "class1")
        case "damaged":
            (test / "class0/0.png").write_bytes(b"no picture")


@pytest.mark.parametrize("augmentation", ["crop", "imagenet"])
@pytest.mark.parametrize("how", ["missing", "misnamed", "class more", "class less", "damaged"])
def test_a_test_part_that_is_unfit_is_refused_before_the_first_step(
    tmp_path: Path, how: str, augmentation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if (how, augmentation) == ("damaged", "imagenet"):
        pytest.skip("files that are read as they are needed are not decoded before")
    spoil(data := pictures(tmp_path / "data", 2), how)
    words = ["train", "--cell", "darts-v1", "--preset", "cpu", "--dataset", "folder", "--data-dir", str(data)]
    words += ["--image-size", "8", "--filters", "4", "--epochs", "1", "--validation-images", "6"]
    assert main([*words, "--set", f"augmentation={augmentation}", "--train-dir", str(tmp_path / "here")]) == 4
    lines = capsys.readouterr().err.splitlines()
    assert str(data / "test") in lines[-1]
    assert not [line for line in lines if "epoch 1/" in line]
    assert not (tmp_path / "here").exists()


def test_a_training_that_is_over_gives_its_result_without_test_images(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 2)
    task = plan_training(CellSource(CELLS, "x"), replace(SMALL, dataset="folder", epochs=1, validation_images=4), "cpu")
    result = train(task, tmp_path / "here", TrainPlacement(data_dir=data))
    spoil(data, "missing")
    assert train(task, tmp_path / "here", TrainPlacement(data_dir=data)) == result


def test_a_disk_without_room_is_named_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(EvoNasError, match=r"take 0\.0 GB, and the disk of .* has 0\.0 GB left: make room, or name"):
        train(small(), tmp_path / "here", TrainPlacement())
    monkeypatch.undo()
    assert train(small(), tmp_path / "here", TrainPlacement()).epochs == 3


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    from evo_nas.data.stream import Stream

    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.png cannot be decoded"):
        list(Stream([tmp_path / "bad.png"], torch.tensor([0]), 8, torch.device("cpu")).in_order())


def test_resume_says_how_to_go_on_with_a_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.json").write_text("{}")
    assert main(["resume", str(tmp_path)]) == 2
    assert "the train command that began it resumes it" in capsys.readouterr().err


def test_weights_that_fit_nowhere_leave_no_folder_behind(tmp_path: Path) -> None:
    wider = small(filters=6).blueprint
    save_network(tmp_path / "w.safetensors", wider, wider.network().state_dict())
    with pytest.raises(UsageError, match="another network"):
        train(small(start=tmp_path / "w.safetensors"), tmp_path / "here", TrainPlacement())
    assert not (tmp_path / "here").exists()


def test_weights_bring_everything_that_decides_what_their_network_computes(tmp_path: Path) -> None:
    own = {"stem": 5, "skip_reduction_input": True, "average": "zeros", "cells_per_stack": 2, "image": 10}
    blueprint = replace(small().blueprint, **own)
    save_network(tmp_path / "w.safetensors", blueprint, blueprint.network().state_dict())
    task = plan_training(None, TrainOptions(preset="cpu", dataset="digits", start=tmp_path / "w.safetensors"))
    assert {name: getattr(task.blueprint, name) for name in own} == own
    changed = TrainOptions(
        preset="cpu", dataset="digits", start=tmp_path / "w.safetensors", stem=7, skip_reduction_input=False
    )
    assert (
        plan_training(None, changed).blueprint.stem,
        plan_training(None, changed).blueprint.skip_reduction_input,
    ) == (7, False)
