"""Cells and widths that become networks from Python: trained to the end, used, or written for other programs.

Cells are named as on the command line: by a run (a folder, or what a search returned), a genotype, a JSON file, or as
``cell="nasnet-a"``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo_nas.commands import training_plan as trainings
from evo_nas.commands.cell_sources import find_design
from evo_nas.commands.export import formats as exports
from evo_nas.commands.export.calibration import CALIBRATION_IMAGES, Calibration
from evo_nas.commands.train_options import TrainOptions
from evo_nas.data.sources.layout import find_images
from evo_nas.errors import UsageError
from evo_nas.system.resources import usable_cores
from evo_nas.training.resumable import Result
from evo_nas.training.resumable import train as train_task
from evo_nas.training.train_task import TrainPlacement
from genotypes.genotype import shorten
from genotypes.plain import plain

if TYPE_CHECKING:
    from evo_nas.training.finding import Finding
    from evo_nas.training.loop import Epoch
    from evo_nas.training.prediction import Prediction

_log = logging.getLogger(__name__)

Name = str | os.PathLike[str]
"""A path, or a genotype in its text form."""


def train(
    source: Name | None = None,
    *,
    cell: str | None = None,
    trial: int | None = None,
    image_size: int | None = None,
    start: Name | None = None,
    train_dir: Name | None = None,
    device: str = "auto",
    threads: int | None = None,
    data_dir: Name | None = None,
    loaders: int = 0,
    hear: Callable[[Epoch, int], None] = lambda epoch, done: None,
    settings: Sequence[str] = (),
    **wanted: Any,
) -> Result:
    """Return what a training of cells at their final size came to; the same call goes on where it stopped.

    ``trial`` picks one of a run, by default its best. ``start`` is a file of weights to begin with. The folder is by
    default ``runs/train-...``. ``hear`` is called after each epoch. ``settings`` are what ``--set`` takes, and
    ``wanted`` the other flags of ``python -m evo_nas train``, as in
    ``train("runs/a", preset="cpu", filters=4, epochs=2)``.

    Raises:
        UsageError: if a name or a flag is unknown, a number impossible, or another training was begun in the folder.
        EvoNasError: for whatever else ends a training: see :func:`evo_nas.training.resumable.train`.
    """
    _refuse_unknown_flags(wanted, TrainOptions, "train")
    start = None if start is None else Path(start)
    is_named = source is not None or cell is not None or (start is None and wanted.get("neck") is None)
    network = wanted.get("network")
    found = (
        find_design(None if source is None else os.fspath(source), cell, plain(trial), network) if is_named else None
    )
    task = trainings.plan_training(
        found, TrainOptions(image=plain(image_size), start=start, settings=tuple(settings), **wanted), device
    )
    images = None if data_dir is None else Path(data_dir)
    if images is None and wanted.get("dataset") is None and found is not None:
        images = found.data_dir  # where the search had its images
    path = trainings.default_folder(task.label, task.dataset, task.seed) if train_dir is None else Path(train_dir)
    return train_task(task, path, TrainPlacement(device, threads or usable_cores(), images, loaders), hear)


def export(
    source: Name | None = None,
    *,
    format: str | Sequence[str],
    output: Name = "export",
    cell: str | None = None,
    trial: int | None = None,
    image_size: int | None = None,
    weights: Name | None = None,
    network: str | None = None,
    force: bool = False,
    seed: int = 0,
    fold: bool = True,
    dataset: str | None = None,
    data_dir: Name | None = None,
    calibration_images: int = CALIBRATION_IMAGES,
    **size: Any,
) -> Mapping[str, Path]:
    """Return the files that were written, by format: a genotype, cells or a network for other programs.

    ``format`` is one of ``evo_nas.commands.export.formats.FORMATS``, or several. ``output`` is a folder, or the file
    of the only format. ``weights`` is a file of a training; without one they are random, of ``seed``. ``fold`` makes
    batch norms part of the convolutions before them in an ONNX file. ``onnx-int8`` is calibrated with so many train
    images of the training that wrote the weights, or of ``dataset``; what it measures is logged. ``size`` are the
    other flags of ``python -m evo_nas export``, as in ``export("runs/a", format="module", size="6@768")``. ``network``
    is your own ``package.module:make``, where widths are of one.

    Raises:
        UsageError: if a name or a flag is unknown, a size missing, or a file is there already and not ``force``.
        DataError: if the weights cannot be read, or are those of another network.
    """
    from analysis.plots.cells import design_dot

    _refuse_unknown_flags(size, exports.Size, "export")
    names = exports.parse_formats([format] if isinstance(format, str) else format)
    weights = None if weights is None else Path(weights)
    is_named = source is not None or cell is not None or weights is None
    found = (
        find_design(None if source is None else os.fspath(source), cell, plain(trial), network) if is_named else None
    )
    subject = exports.subject_of(found, weights, exports.Size(image=plain(image_size), **size), names, network)
    files = exports.targets(Path(output), subject, names, force=force)
    calibration = Calibration(weights, dataset, None if data_dir is None else Path(data_dir), plain(calibration_images))
    for line in exports.export(subject, files, design_dot, seed=seed, fold=fold, calibration=calibration):
        _log.info("%s", line)
    return files


def predict(
    weights: Name,
    images: Name | Sequence[Name],
    *,
    top: int = 3,
    network: str | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> list[Prediction]:
    """Return the ``top`` classes that a trained network sees in image files, or in all below folders, one by one.

    ``weights`` is a file of a training. What cannot be read has its ``fault`` in the place of classes. ``network`` is
    your own ``package.module:make``, where widths are of one.

    Raises:
        UsageError: if the file does not say what classifier it holds, or there is no such device.
        DataError: if the weights cannot be read, there is no image, or the network puts out no finite numbers.
    """
    from evo_nas.training.prediction import load_classifier
    from evo_nas.training.prediction import predict as predict_files

    blueprint, tensors = load_classifier(Path(weights), network)
    return predict_files(
        *(blueprint, tensors, _find_images(images)),
        top=plain(top),
        device=device,
        threads=threads or usable_cores(),
    )


def detect(
    weights: Name,
    images: Name | Sequence[Name],
    *,
    score: float = 0.3,
    most: int = 100,
    network: str | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> list[Finding]:
    """Return the objects above a ``score`` that a trained detector finds in image files, or in all below folders.

    There are ``most`` at most of each image, the likeliest first, with boxes in pixels of the image. ``weights`` is a
    file of a training. What cannot be read has its ``fault`` in the place of objects. ``network`` is your own
    ``package.module:make``, where the backbone is one.

    Raises:
        UsageError: if the file does not say what detector it holds, or there is no such device.
        DataError: if the weights cannot be read, there is no image, or the network puts out no finite numbers.
    """
    from evo_nas.training.finding import find_objects, load_detector

    blueprint, tensors = load_detector(Path(weights), network)
    return find_objects(
        *(blueprint, tensors, _find_images(images)),
        score=score,
        most=plain(most),
        device=device,
        threads=threads or usable_cores(),
    )


def _find_images(images: Name | Sequence[Name]) -> list[Path]:
    places = [images] if isinstance(images, str | os.PathLike) else images
    return find_images(list(map(Path, places)))


def _refuse_unknown_flags(given: Mapping[str, Any], kind: type, command: str) -> None:
    """Refuse a keyword that is no flag of the command.

    Raises:
        UsageError: naming it, and what there is.
    """
    parameters = {"image", "start", "settings"}  # those of the functions themselves
    known = ["image_size", *(field.name for field in fields(kind) if field.name not in parameters)]
    if unknown := [name for name in given if name not in known]:
        raise UsageError(f"{command} takes no {shorten(unknown[0])!r}; it takes {', '.join(known)}")
