"""A training in two processes: the same as in one but for rounding and batch norm, and resumed to the bit."""

from __future__ import annotations

import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from evo_nas.errors import EvoNasError
from evo_nas.phenotypes.blueprint import WidthsBlueprint
from evo_nas.training.classification import Classification
from evo_nas.training.loop import Epoch, Examples, Training
from evo_nas.training.processes import LostProcess, Ranks, start_followers
from evo_nas.training.pruning import widths_of_seed
from evo_nas.training.recipes import Recipe
from evo_nas.training.resumable import train
from evo_nas.training.train_task import TrainPlacement, TrainTask

RECIPE = Recipe(epochs=2, batch_size=15, learning_rate=0.1, padding=1, accumulate=2)


def train_plainly(ranks: Ranks | None, dropout: float = 0.0) -> tuple[torch.Tensor, list[float]]:
    """Return the weights of a network without batch norm after a training, and its losses."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (45, 1, 4, 4), dtype=torch.uint8)
    data = Examples(images, torch.arange(45) % 3, (0.5,), (0.5,), 3)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    generator = torch.Generator().manual_seed(1)
    training = Training(network, Classification.of(RECIPE), RECIPE, generator, ranks=ranks)
    losses = [epoch.loss for epoch in training.epochs(data, None)]
    return torch.cat([each.detach().reshape(-1) for each in network.parameters()]), losses


def follow(ranks: Ranks) -> None:
    train_plainly(ranks)
    train_plainly(ranks, 0.5)


def test_two_processes_do_what_one_does() -> None:
    alone, losses = train_plainly(None)
    with start_followers(2, follow) as ranks:
        assert ranks == Ranks(0, 2)
        together, same = train_plainly(ranks)
        dropped, _ = train_plainly(ranks, 0.5)
        with pytest.raises(LostProcess, match="a process of the training has ended"):
            train_plainly(ranks)  # which the other does not
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    assert same == pytest.approx(losses, rel=1e-5)
    assert not torch.allclose(dropped, alone, rtol=1e-3)
    assert multiprocessing.active_children() == []


def test_shares_make_up_a_batch() -> None:
    images, labels = torch.arange(7.0).reshape(7, 1, 1, 1), torch.arange(7)
    shares = [Ranks(rank, 3).share(images, labels) for rank in range(3)]
    assert [len(each) for each, _ in shares] == [2, 2, 3]
    assert torch.equal(torch.cat([each for _, each in shares]), labels)


def small(processes: int = 2) -> TrainTask:
    widths = widths_of_seed("resnet:8x4", classes=2, channels=3, image_size=8)
    recipe = Recipe(epochs=2, batch_size=32, learning_rate=0.1, padding=1)
    blueprint = WidthsBlueprint(widths, classes=("?",), image=8)
    return TrainTask("small", blueprint, recipe, "folder", processes=processes, validation_images=16)


@pytest.fixture
def place(tmp_path: Path) -> TrainPlacement:
    """Return where the trainings are to run, on an image folder of 80 train images."""
    rng = np.random.default_rng(0)
    for name, count in (("train/a", 40), ("train/b", 40), ("test/a", 2), ("test/b", 2)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    return TrainPlacement("cpu", 2, tmp_path / "images")


def test_a_training_of_two_processes_is_resumed_to_the_bit(tmp_path: Path, place: TrainPlacement) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"

    def keep(epoch: Epoch, done: int) -> None:
        if done == 1:
            shutil.copytree(whole, cut)

    train(small(), whole, place, keep)
    train(small(), cut, place)
    resumed, expected = (load_file(folder / "state-0002.safetensors") for folder in (cut, whole))
    assert resumed.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(resumed[name], tensor), name
    with pytest.raises(EvoNasError, match="differs in processes"):
        train(small(1), whole, place)


def test_batches_too_small_for_so_many_are_one_line(tmp_path: Path, place: TrainPlacement) -> None:
    task = small(20)
    with pytest.raises(EvoNasError, match="20 processes need batches of at least 40 images, and there are 32"):
        train(task, tmp_path / "new", place)
    task = replace(task, processes=2, recipe=replace(task.recipe, accumulate=16))
    with pytest.raises(EvoNasError, match="2 processes need batches of at least 64 images"):
        train(task, tmp_path / "new", place)
