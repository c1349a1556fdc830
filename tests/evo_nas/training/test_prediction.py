"""Predictions: images are prepared as the test images of the training were, and weights of another kind are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from evo_nas.commands.cell_sources import CellSource
from evo_nas.commands.train_options import TrainOptions
from evo_nas.commands.training_plan import plan_training
from evo_nas.data.sources.layout import find_images
from evo_nas.errors import DataError, UsageError
from evo_nas.phenotypes.blueprint import CellBlueprint, EdgeBlueprint, load_network, save_network
from evo_nas.training.images import TrainingImages
from evo_nas.training.prediction import load_classifier, predict
from evo_nas.training.resumable import train
from evo_nas.training.train_task import TrainPlacement
from genotypes.edge_cell import EdgeCell
from genotypes.zoo import CELLS

SETTINGS = {"crop": ("padding=1",), "imagenet": ("augmentation=imagenet",)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an image folder of two classes; its pictures are no squares."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 6)):
        for name, light in (("night", 60), ("day", 200)):
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.normal(light, 50, (18, 26, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "pictures" / part / name / f"{index:02d}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize("augmentation", SETTINGS)
def test_images_are_prepared_as_those_of_the_training(augmentation: str, folder: Path, tmp_path: Path) -> None:
    options = TrainOptions(
        preset="cpu",
        dataset="folder",
        image=10,
        cells_per_stack=1,
        filters=2,
        epochs=1,
        validation_images=4,
        settings=(*SETTINGS[augmentation], "learning_rate=0.01"),
    )
    task = plan_training(CellSource(CELLS["darts-v2"], "darts"), options)
    place = TrainPlacement("cpu", 1, folder)
    train(task, tmp_path / "training", place)
    blueprint, tensors = load_classifier(tmp_path / "training/last.safetensors")
    predictions = predict(blueprint, tensors, find_images([folder / "test"]), top=2, device="cpu")
    assert blueprint.classes == ("day", "night")
    network = blueprint.network()
    network.load_state_dict(dict(tensors))
    network.eval()
    images = TrainingImages.open(task, place, torch.device("cpu"))
    with torch.inference_mode():
        expected = torch.cat([network(batch).softmax(1) for batch, _ in images.test().in_order()])
    found = torch.tensor([[dict(each.classes)[name] for name in blueprint.classes] for each in predictions])
    assert len(found) == 12
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert all(each.classes[0][1] >= each.classes[1][1] for each in predictions)


def test_cells_of_edges_predict_too(folder: Path) -> None:
    edges = EdgeCell.parse("|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    blueprint = EdgeBlueprint(edges, cells_per_stack=1, filters=2, classes=("a", "b"), image=8)
    save_network(folder / "w.safetensors", blueprint, blueprint.network().state_dict())
    found, tensors = load_classifier(folder / "w.safetensors")
    assert len(predict(found, tensors, find_images([folder / "test"]), device="cpu")) == 12


def test_weights_that_say_nothing_of_classes_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pt")
    for name in ("a.safetensors", "a.pt"):
        with pytest.raises(UsageError, match="does not say what classifier it holds"):
            load_classifier(tmp_path / name)
    (tmp_path / "b.safetensors").write_text("x")
    with pytest.raises(DataError, match="holds no weights that can be read"):
        load_classifier(tmp_path / "b.safetensors")


def test_a_network_whose_numbers_are_none_says_so(tmp_path: Path) -> None:
    blueprint = CellBlueprint(CELLS["darts-v2"], cells_per_stack=1, filters=2, classes=("a", "b"), image=8)
    tensors = blueprint.network().state_dict()
    tensors["classifier.bias"].fill_(float("nan"))
    save_network(tmp_path / "nan.safetensors", blueprint, tensors)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="no finite number"):
        predict(blueprint, load_network(tmp_path / "nan.safetensors")[1], [tmp_path / "a.png"])
