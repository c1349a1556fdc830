"""Predictions of a trained network for image files, which are prepared as those that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from evo_nas.data.augment import normalise
from evo_nas.data.sources.image_folder import read
from evo_nas.data.stream import MEAN, STD, read_centre
from evo_nas.errors import DataError, UsageError
from evo_nas.phenotypes.blueprint import (
    Blueprint,
    CellBlueprint,
    ChainBlueprint,
    DetectorBlueprint,
    EdgeBlueprint,
    WidthsBlueprint,
)
from evo_nas.phenotypes.fast.network import FastNetwork
from evo_nas.phenotypes.transfer import load_weights
from evo_nas.training.image_files import NOT_FINITE, open_network, prepare_batches

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of an image file with their probabilities, fractions in [0, 1], the likeliest first.

    ``fault`` says in one line why the file cannot be read; then there are no classes.
    """

    image: Path
    classes: tuple[tuple[str, float], ...] = ()
    fault: str | None = None


def load_classifier(path: Path, own: str | None = None) -> tuple[Blueprint, Mapping[str, Tensor]]:
    """Read the weights of a trained classifier with their blueprint; ``own`` is a user's own network they may be of.

    Raises:
        UsageError: if the file does not say what network it holds, what its classes are and how images are normalised.
        DataError: if it cannot be read, or its weights are not those of the network that it names.
    """
    blueprint, tensors = load_weights(path, own)
    if isinstance(blueprint, DetectorBlueprint):
        raise UsageError(f"{path} holds a detector, and no classifier: python -m evo_nas detect finds what it knows")
    if not isinstance(blueprint, CellBlueprint | ChainBlueprint | EdgeBlueprint | WidthsBlueprint):
        raise UsageError(
            f"{path} does not say what classifier it holds: name weights that train, prune or export --format "
            "safetensors wrote, or a search with --keep-weights"
        )
    return blueprint, tensors


def predict(
    blueprint: Blueprint,
    tensors: Mapping[str, Tensor],
    images: Sequence[Path],
    *,
    top: int = 3,
    device: str = "auto",
    threads: int = 1,
) -> list[Prediction]:
    """Return the ``top`` classes of each image file, in order; a file that cannot be read has its fault instead.

    Raises:
        UsageError: if there is no such device.
        DataError: if the network puts out what is no finite number.
    """
    found = []
    with open_network(blueprint, tensors, device, threads) as (network, place):
        fast = FastNetwork(network)
        for batch in prepare_batches(images, blueprint, partial(prepare_image, blueprint=blueprint)):
            good = [image for _, image, _ in batch if image is not None]
            rows = iter(_probabilities(fast, torch.stack(good).to(place)).cpu().tolist() if good else [])
            for path, image, fault in batch:
                classes = () if image is None else _likeliest(next(rows), blueprint.classes, top)
                found.append(Prediction(path, classes, fault))
    return found


def prepare_image(path: Path, blueprint: Blueprint) -> Tensor:
    """Return the pixels of a file, normalised float32 of shape (c, h, w), as the training had those of its test images.

    A training on streamed images, as ImageNet's, cuts the centre out; all others squeeze the whole picture into the
    square. Only the former has the mean and deviation of ImageNet to the last digit.

    Raises:
        DataError: naming the file, if it cannot be decoded.
    """
    if (blueprint.mean, blueprint.std) == (MEAN, STD):
        return read_centre(path, blueprint.image)
    pixels = torch.from_numpy(read(path, blueprint.image, blueprint.channels).copy()).permute(2, 0, 1)
    return normalise(pixels[None], blueprint.mean, blueprint.std)[0]


def _probabilities(network: FastNetwork, images: Tensor) -> Tensor:
    """Map images to probabilities, float32 of shape (n, classes)."""
    logits = network.logits(images.contiguous(memory_format=torch.channels_last)).float()
    if not logits.isfinite().all():
        raise DataError(NOT_FINITE)
    return logits.softmax(1)


def _likeliest(row: Sequence[float], classes: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    order = sorted(range(len(row)), key=lambda index: -row[index])[:top]
    return tuple((classes[index], row[index]) for index in order)
