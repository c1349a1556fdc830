"""One training of a network to the end, in a folder from which it can be resumed after every epoch.

The folder holds

* ``train.json``: what is trained, on what and how; with it the training can be repeated;
* ``env.json``: versions and machine;
* ``checkpoint.json`` and the state file that it names: where the training stands, replaced after every epoch;
* what follows from them, and is written again by whoever resumes: ``best.safetensors`` and ``last.safetensors``, the
  networks (:mod:`evo_nas.phenotypes.blueprint`) of the epoch with the highest validation accuracy and of the last one,
  and ``curve.csv``, a line per epoch;
* ``result.json``, once it is over, and ``confusion.json``, or ``precision.json`` of a detector: what was measured on
  the test images.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING, Any, Final, cast

from evo_nas.errors import DataError, EvoNasError, RunFolderError, UsageError
from evo_nas.phenotypes.blueprint import DetectorBlueprint, load_network, save_network, save_tensors
from evo_nas.phenotypes.transfer import load_fitting
from evo_nas.storage.run_folder import take_lock
from evo_nas.system.atomic import make_folder, write_whole
from evo_nas.system.links import refuse_links
from evo_nas.system.terminal import gigabytes
from evo_nas.system.text import read_text
from evo_nas.training.class_weights import weigh_classes
from evo_nas.training.images import TrainingImages
from evo_nas.training.train_task import VERSION, TrainPlacement, TrainTask
from genotypes.genotype import GenotypeError, shorten

if TYPE_CHECKING:
    import torch
    from torch import nn

    from evo_nas.data.stream import Stream
    from evo_nas.training.loop import Epoch, Examples, Training
    from evo_nas.training.processes import Ranks
    from evo_nas.training.task import Task

_log = logging.getLogger(__name__)

_COLUMNS: Final = ("epoch", "loss", "accuracy", "train_seconds", "validation_seconds")

_FILES: Final = (
    *("train.lock", "train.json", "env.json", "checkpoint.json", "curve.csv", "result.json"),
    *("best.safetensors", "last.safetensors", "precision.json", "confusion.json"),
)
"""Files in a training folder, but for the state file."""

_BEGINNING: Final = ("train.lock", "env.json", "env.json.partial", "train.json.partial")
"""What a start that was killed can leave in a folder that is still new."""

_STATE: Final = re.compile(r"state-[0-9]{4,9}\.safetensors")


@dataclass(frozen=True)
class Result:
    """The result of a training: accuracies, or AP of a detector, as fractions in [0, 1]; seconds of all epochs.

    ``validation_accuracy`` is that of the last epoch, ``best_accuracy`` that of ``best_epoch``, counted from 1; all
    are ``None`` without validation images. ``test_accuracy`` is measured once, with the weights of the last epoch.
    ``goal`` is the word for what they are, as the task has it; the JSON form has it in the place of "accuracy".
    """

    label: str
    epochs: int
    seconds: float
    parameters: int
    validation_accuracy: float | None
    best_accuracy: float | None
    best_epoch: int | None
    test_accuracy: float | None
    goal: str = "accuracy"

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``result.json``."""
        record = {name.replace("accuracy", self.goal): value for name, value in asdict(self).items() if name != "goal"}
        return record if self.goal == "accuracy" else {**record, "goal": self.goal}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Result:
        """Read ``result.json``.

        Raises:
            TypeError: if a field is missing or unknown, or it is no object.
        """
        if not isinstance(record, Mapping):
            raise TypeError("it is no object")
        goal = str(record.get("goal", "accuracy"))
        return cls(**{name.replace(goal, "accuracy") if name != "goal" else name: v for name, v in record.items()})


@dataclass
class _Progress:
    """The content of ``checkpoint.json``: the curve so far, and the name of the state file."""

    state: str = ""
    curve: list[dict[str, float | None]] = field(default_factory=list)

    @property
    def best(self) -> int | None:
        """The first epoch, counted from 1, with the highest validation accuracy."""
        told = [(row["accuracy"], -index) for index, row in enumerate(self.curve, 1) if row["accuracy"] is not None]
        return -int(max(told)[1]) if told else None


def train(
    task: TrainTask,
    path: Path,
    place: TrainPlacement,
    hear: Callable[[Epoch, int], None] = lambda epoch, done: None,
    *,
    measure_test: bool = True,
) -> Result:
    """Train, or go on where a training of this task stopped, until all epochs are done; then measure the test accuracy.

    ``hear`` is called after each epoch with how many are done. A task that is finished gives its result again.
    The test images are looked at once, at the end, and only if ``measure_test``; that they are there and can be read is
    checked before the first step.

    Raises:
        RunFolderError: if the folder is in use, holds something else, cannot be written, or its disk has no room.
        UsageError: if another task was begun in this folder, or the start weights fit nowhere.
        DataError: if images, checkpoint or start weights are missing or damaged.
        EvoNasError: if the loss is no finite number any more.
    """
    from evo_nas.training.devices import seed_torch, warn_of_faults, warn_of_slow_precision
    from evo_nas.training.loop import measure
    from evo_nas.training.processes import start_followers
    from evo_nas.training.task import Diverged

    device = _device(place)
    if task.processes > 1 and device.type != "cpu":
        raise UsageError(f"several processes train on the CPU alone, not on {device}: choose --device cpu")
    warn_of_faults(device)
    warn_of_slow_precision(device, task.recipe.precision)
    images = TrainingImages.open(task, place, device)
    task = images.complete(task)
    least, most = 2 * task.processes * task.recipe.accumulate, min(task.recipe.batch_size, len(images.train))
    if task.processes > 1 and most < least:
        raise UsageError(f"{task.processes} processes need batches of at least {least} images, and there are {most}")
    if (known := result_of(path)) is None or known.test_accuracy is None:
        images.check_test()
    with ExitStack() as stack:
        stack.enter_context(seed_torch(task.seed, device, max(1, place.threads // task.processes)))
        network = _build_network(task, is_new=not (path / "checkpoint.json").exists())
        stack.enter_context(_claim(path, task))
        _require_room(path, network)
        progress = _read_progress(path)
        state = path / progress.state if progress.curve else None
        ranks = None
        if task.processes > 1 and len(progress.curve) < task.recipe.epochs:
            ranks = stack.enter_context(start_followers(task.processes, _follow, task, place, state))
        training = _begin(task, network, images, device, state, len(progress.curve), ranks)
        if progress.curve and result_of(path) is None:
            _show(path, task, training, progress)
        _remove_strays(path, progress.state)
        try:
            for epoch in training.epochs(images.train, images.validation):
                progress.curve.append(_row(epoch, training.done))
                _save(path, task, training, progress)
                hear(epoch, training.done)
            if (known := result_of(path)) is not None and (known.test_accuracy is not None or not measure_test):
                return known  # the test images are looked at once
            measures = measure(training.task, training.measured, images.test()) if measure_test else {}
        except Diverged as error:
            raise EvoNasError(
                f"{error}, in epoch {training.done + 1} of {path}; a lower learning rate may help: "
                f"--set learning_rate={task.recipe.learning_rate / 3:.2g}"
            ) from error
        if measure_test and (told := training.task.report()):
            told = {"classes": task.blueprint.classes, **told}
            write_whole(path / training.task.report_file, json.dumps(told) + "\n")
        best = progress.best
        result = Result(
            task.label,
            training.done,
            sum((row["train_seconds"] or 0) + (row["validation_seconds"] or 0) for row in progress.curve),
            sum(parameter.numel() for parameter in task.blueprint.strip(dict(network.named_parameters())).values()),
            progress.curve[-1]["accuracy"],
            progress.curve[best - 1]["accuracy"] if best else None,
            best,
            measures.get(training.task.goal),
            training.task.goal,
        )
        write_whole(path / "result.json", json.dumps(result.to_json(), indent=2) + "\n")
        return result


def _build_network(task: TrainTask, *, is_new: bool) -> nn.Module:
    """Build the network of a task; a new training begins with the weights that the task names, if any."""
    network = task.blueprint.network(**task.recipe.network_options(task.blueprint.image))
    if task.start is not None and is_new:
        for line in load_fitting(network, Path(task.start)).lines():
            _log.info("%s: %s", task.start, line)
    return network


def _begin(
    task: TrainTask,
    network: nn.Module,
    images: TrainingImages,
    device: torch.device,
    state: Path | None,
    done: int,
    ranks: Ranks | None,
) -> Training:
    """Return the training of a network on the device, after ``done`` epochs of which a file holds the ``state``.

    Raises:
        DataError: if the state is damaged, or that of another training.
    """
    import torch

    from evo_nas.training.loop import Training

    network.to(device)
    network.to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(task.seed)
    training = Training(network, _goal_of(task, images), task.recipe, generator, ranks=ranks)
    if state is not None:
        _, tensors = load_network(state)
        try:
            training.restore(tensors, done)
        except ValueError as error:
            raise DataError(f"{state}: {error}; begin anew with --train-dir") from error
    return training


def _follow(ranks: Ranks, task: TrainTask, place: TrainPlacement, state: Path | None) -> None:
    """Train as another process than the first: the same batches, another share of each, and nothing is written."""
    from evo_nas.training.devices import seed_torch

    device = _device(place)
    images = TrainingImages.open(task, place, device)
    with seed_torch(task.seed, device, max(1, place.threads // task.processes)):
        network = _build_network(task, is_new=state is None)
        done = 0 if state is None else int(state.stem.rpartition("-")[2])
        for _ in _begin(task, network, images, device, state, done, ranks).epochs(images.train, None):
            pass


def _goal_of(task: TrainTask, images: TrainingImages) -> Task:
    """Return what a network is trained for.

    Raises:
        UsageError: if the class weights do not fit the classes.
    """
    if isinstance(task.blueprint, DetectorBlueprint):
        from evo_nas.training.detection import Detection

        return Detection()
    from evo_nas.training.classification import Classification

    labels = cast("Examples | Stream", images.train).labels
    try:
        weigh_classes(task.recipe.class_weights, labels, len(images.classes))
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Classification.of(task.recipe, labels)


def _row(epoch: Epoch, done: int) -> dict[str, float | None]:
    """Return the row of the curve for an epoch, the last of ``done``."""
    values = (done, epoch.loss, epoch.score, epoch.train_seconds, epoch.validation_seconds)
    return dict(zip(_COLUMNS, values, strict=True))


def load_task(path: Path) -> TrainTask:
    """Read what is trained in a folder.

    Raises:
        RunFolderError: if it holds no training, or its ``train.json`` is damaged.
    """
    try:
        record = json.loads(read_text(path / "train.json"))
        if record["version"] != VERSION:
            raise RunFolderError(f"{path} was made by another version of evo_nas; this one reads version {VERSION}")
        return TrainTask.from_json(record)
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} holds no training: there is no train.json in it") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, GenotypeError) as error:
        raise RunFolderError(
            f"{path / 'train.json'} is damaged: {shorten(str(error), 200)}; name another folder with --train-dir"
        ) from error


def result_of(path: Path) -> Result | None:
    """Read the result of a training folder; ``None`` while there is none.

    Raises:
        RunFolderError: if it is damaged.
    """
    refuse_links(path, ["result.json"])
    try:
        result = Result.from_json(json.loads(read_text(path / "result.json")))
        whole = (result.epochs, result.parameters, result.best_epoch or 0)
        accuracies = (result.validation_accuracy, result.best_accuracy, result.test_accuracy)
        if not all(type(value) is int for value in whole) or not isinstance(result.label, str):
            raise ValueError("its numbers are no numbers, or its label is no text")
        if not all(map(_is_number, (result.seconds, *accuracies))):
            raise ValueError("its accuracies or seconds are no numbers")
        return result
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise RunFolderError(
            f"{path / 'result.json'} is damaged: {shorten(str(error), 200)}; remove it, and the same command makes it "
            "again"
        ) from error


def _is_number(value: object) -> bool:
    """Return whether ``value`` is a finite number below 1e18 in size, or ``None``."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18)


def _device(place: TrainPlacement) -> torch.device:
    from evo_nas.training.devices import resolve_device

    try:
        return resolve_device(place.device)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _differences(old: TrainTask, new: TrainTask) -> Iterator[str]:
    """Name the fields, those of blueprint and recipe one by one, that are not the same."""
    before, after = old.to_json(), new.to_json()
    for name in before:
        if isinstance(before[name], dict):
            yield from (f"{name}.{key}" for key in before[name] if before[name][key] != after[name][key])
        elif before[name] != after[name]:
            yield name


@contextmanager
def _claim(path: Path, task: TrainTask) -> Iterator[None]:
    """Hold the lock of a new or known training folder, in which the task is written down."""
    from evo_nas.system.resources import environment

    try:
        make_folder(path)
    except OSError as error:
        raise RunFolderError(f"cannot make the training folder {path}: {error.strerror}") from error
    refuse_links(path, _FILES)
    lock, _ = take_lock(path / "train.lock", f"the training folder {path}")
    with closing(lock):
        if (path / "train.json").is_file():
            if changed := ", ".join(_differences(load_task(path), task)):
                raise UsageError(
                    f"{path} holds another training, it differs in {changed}; name another folder with --train-dir"
                )
        elif any(entry.name not in _BEGINNING for entry in path.iterdir()):
            raise RunFolderError(f"{path} is not empty and holds no training; name another folder with --train-dir")
        else:
            write_whole(path / "env.json", json.dumps(environment(), indent=2) + "\n")
            write_whole(path / "train.json", json.dumps(task.to_json(), indent=2) + "\n")
        yield


def _require_room(path: Path, network: nn.Module) -> None:
    """Raise if the disk has no room for what a training keeps at least: twice weights and momentum, and two networks.

    Raises:
        RunFolderError: naming how much is needed, and how much there is.
    """
    needed = 6 * sum(tensor.nbytes for tensor in network.state_dict().values())
    held = sum(file.stat().st_size for file in path.iterdir() if file.suffix == ".safetensors")
    if needed - held > (free := disk_usage(path).free):
        raise RunFolderError(
            f"the checkpoints of this training take {gigabytes(needed)}, and the disk of {path} has {gigabytes(free)} "
            "left: make room, or name another folder with --train-dir"
        )


def _save(path: Path, task: TrainTask, training: Training, progress: _Progress) -> None:
    """Write the state of an epoch, which is done once ``checkpoint.json`` says so, and what follows from it."""
    before, progress.state = progress.state, f"state-{training.done:04d}.safetensors"
    save_tensors(path / progress.state, training.state())
    record = {"version": VERSION, "state": progress.state, "curve": progress.curve}
    write_whole(path / "checkpoint.json", json.dumps(record, indent=2) + "\n")
    if before and before != progress.state:
        (path / before).unlink(missing_ok=True)
    _show(path, task, training, progress)


def _show(path: Path, task: TrainTask, training: Training, progress: _Progress) -> None:
    """Write the networks and the curve of an epoch that is done."""
    weights = task.blueprint.strip(training.measured.state_dict())
    for name in ("last", *(["best"] if progress.best in (None, training.done) else [])):
        save_network(path / f"{name}.safetensors", task.blueprint, weights, label=task.label)
    rows = [",".join("" if row[name] is None else str(row[name]) for name in _COLUMNS) for row in progress.curve]
    columns = ",".join(_COLUMNS).replace("accuracy", training.task.goal)
    write_whole(path / "curve.csv", "\n".join([columns, *rows]) + "\n")


def _remove_strays(path: Path, state: str) -> None:
    """Remove what a kill has left: parts of files, and the states of other epochs."""
    for file in path.iterdir():
        name = file.name.removesuffix(".partial")
        is_state = _STATE.fullmatch(name) is not None
        if (is_state and file.name != state) or (name != file.name and name in _FILES):
            file.unlink()


def _read_progress(path: Path) -> _Progress:
    """Read how far a training has come; a folder without a checkpoint is at its beginning."""
    try:
        record = json.loads(read_text(path / "checkpoint.json"))
        progress = _Progress(str(record["state"]), list(record["curve"]))
        if not _STATE.fullmatch(progress.state):
            raise ValueError(f"{shorten(progress.state)} is no state file, as in state-0001.safetensors")
        for row in progress.curve:
            if set(row) != set(_COLUMNS) or not all(map(_is_number, row.values())) or row["loss"] is None:
                raise ValueError("its curve has other columns, or what is no number")
        return progress
    except FileNotFoundError:
        return _Progress()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path / 'checkpoint.json'} is damaged: {shorten(str(error), 200)}; begin anew with --train-dir"
        ) from error
