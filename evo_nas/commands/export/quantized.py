"""A classifier in ONNX with whole numbers of 8 bits: calibrated with train images, held to the network before it."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from evo_nas.commands.export.calibration import Calibration
from evo_nas.errors import UsageError
from evo_nas.phenotypes.blueprint import Blueprint, DetectorBlueprint
from evo_nas.phenotypes.onnx.graph import IMAGES, LOGITS

if TYPE_CHECKING:
    import numpy as np

    from evo_nas.training.images import TrainingImages
    from evo_nas.training.task import Data
    from evo_nas.training.train_task import TrainTask

VALIDATION: Final = (5000, 0.2)
"""Images that are held out of a data set that no training has split, and at most which share: as presets have it."""


@dataclass(frozen=True)
class Quality:
    """A quantised network beside the one it was made of: accuracies in [0, 1], seconds per image, and image counts.

    Each pair is before and after. ``accuracies`` is ``None`` if the training held out no images.
    """

    accuracies: tuple[float, float] | None
    seconds: tuple[float, float]
    calibration_images: int
    validation_images: int

    def lines(self) -> Iterator[str]:
        """Yield a line on accuracy and one on latency."""
        if self.accuracies is None:
            yield "accuracy: not measured, for the training held out no validation images"
        else:
            before, after = self.accuracies
            yield (
                f"accuracy on {self.validation_images:,} validation images: {100 * before:.2f} % in float32, "
                f"{100 * after:.2f} % in int8, calibrated with {self.calibration_images:,} train images"
            )
        first, second = self.seconds
        yield f"latency per image: {1e3 * first:.3f} ms in float32, {1e3 * second:.3f} ms in int8"


def require_quantizer(blueprint: Blueprint) -> None:
    """Raise unless a network can be quantised here.

    Raises:
        UsageError: if it is no classifier, or a package is missing.
    """
    if isinstance(blueprint, DetectorBlueprint):
        raise UsageError("onnx-int8 is for classifiers: write the detector as onnx")
    if importlib.util.find_spec("onnxruntime") is None:
        raise UsageError("onnx-int8 needs onnxruntime: python -m pip install 'evo_nas[onnx]'")


def open_calibration(blueprint: Blueprint, calibration: Calibration) -> TrainingImages:
    """Open the images: ``train`` are those to calibrate with, ``validation`` those that the training held out.

    Raises:
        UsageError: if no images are named, or they are not of the network's classes.
        DataError: if they are missing or damaged.
    """
    import torch

    from evo_nas.training.images import TrainingImages
    from evo_nas.training.train_task import TrainPlacement

    if calibration.images < (least := len(blueprint.classes)):
        raise UsageError(
            f"the network has {least} classes: calibrate it with at least so many images, not {calibration.images}"
        )
    task = _find_task(blueprint, calibration)
    is_same_size = task.blueprint.image == blueprint.image
    task = replace(
        task, blueprint=blueprint, train_images=min(task.train_images or calibration.images, calibration.images)
    )
    place = TrainPlacement("cpu", calibration.threads, calibration.data_dir)
    images = TrainingImages.open(task, place, torch.device("cpu"))
    if images.classes != blueprint.classes:
        raise UsageError(
            f"the images of {task.dataset} have other classes than the network: name those that it was trained on with "
            "--dataset and --data-dir"
        )
    if calibration.dataset is None and is_same_size and task.fingerprint not in (None, images.fingerprint):
        raise UsageError(
            f"the images of {task.dataset} are not those of the training: name their folder with --data-dir, or others "
            "with --dataset"
        )
    train, validation = (_normalise_as(part, blueprint) for part in (images.train, images.validation))
    return replace(images, train=train, validation=validation)


def quantize(content: bytes, blueprint: Blueprint, images: TrainingImages, threads: int) -> tuple[bytes, Quality]:
    """Return the ONNX file of a network with int8 weights, and how it compares with ``content``, the file in float32.

    Weights have a scale per output channel, activations one per tensor, from the least to the largest value that the
    train images give; nodes between them are wrapped in QuantizeLinear and DequantizeLinear.
    """
    from evo_nas.evaluators.devices.timing import TimingSettings, open_model, time_inferences

    found = _quantize_graph(content, images.train)
    seconds, accuracies = [], []
    for graph in (content, found):
        seconds.append(statistics.median(time_inferences(open_model(graph, TimingSettings(threads)))))
        if images.validation is not None:
            accuracies.append(_measure(graph, images.validation, threads))
    quality = Quality(
        (accuracies[0], accuracies[1]) if accuracies else None,
        (seconds[0], seconds[1]),
        len(images.train),
        0 if images.validation is None else len(images.validation),
    )
    return found, quality


def _normalise_as(data: Any, blueprint: Blueprint) -> Any:
    """Return data that are normalised by the numbers of the network, which other images need not have."""
    from evo_nas.training.loop import Examples

    return replace(data, mean=blueprint.mean, std=blueprint.std) if isinstance(data, Examples) else data


def _find_task(blueprint: Blueprint, calibration: Calibration) -> TrainTask:
    """Return the training of the weights, or one on the data set that is named."""
    from evo_nas.data.stream import MEAN, STD
    from evo_nas.training.recipes import RECIPES
    from evo_nas.training.resumable import load_task
    from evo_nas.training.train_task import TrainTask

    folder = None if calibration.weights is None else calibration.weights.parent
    if folder is not None and (folder / "train.json").is_file() and calibration.dataset is None:
        return load_task(folder)
    if calibration.dataset is None:
        raise UsageError(
            "onnx-int8 is calibrated with train images: name weights in the folder of their training, or the images "
            "with --dataset and --data-dir"
        )
    held, share = VALIDATION
    recipe = RECIPES["cpu"].recipe
    if (blueprint.mean, blueprint.std) == (MEAN, STD):  # as evo_nas.training.prediction knows streamed images
        recipe = replace(recipe, augmentation="imagenet")
    return TrainTask(
        "calibration", blueprint, recipe, calibration.dataset, validation_images=held, validation_share=share
    )


def _quantize_graph(content: bytes, train: Data) -> bytes:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        def __init__(self) -> None:
            self._batches = _batches(train)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(({IMAGES: images} for images, _ in self._batches), None)

    with TemporaryDirectory() as folder:
        plain, prepared, small = (Path(folder) / name for name in ("plain", "prepared", "small"))
        plain.write_bytes(content)
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(small),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,  # processors multiply u8 by s8 in one instruction
            weight_type=QuantType.QInt8,
        )
        return small.read_bytes()


def _measure(graph: bytes, data: Data, threads: int) -> float:
    """Return the accuracy of an ONNX file, a fraction in [0, 1]."""
    from evo_nas.evaluators.devices.timing import start_session

    session = start_session(graph, threads)
    right = 0
    for images, labels in _batches(data):
        (logits,) = session.run([LOGITS], {IMAGES: images})
        right += int((logits.argmax(1) == labels).sum())
    return right / len(data)


def _batches(data: Data) -> Iterator[tuple[np.ndarray, Any]]:
    """Yield normalised images, float32 of shape (n, c, h, w), with their labels (n,)."""
    for images, labels in data.in_order():
        yield images.contiguous().numpy(), labels.numpy()
