"""One training of a network to the end, in a folder from which it can be gone on with after every epoch.

The folder holds

* ``train.json``: what is trained, on what and how; with it the training can be repeated;
* ``env.json``: versions and machine;
* ``checkpoint.json`` and the state file that it names: where the training stands, replaced after every epoch;
* ``best.safetensors`` and ``last.safetensors``: the networks (:mod:`evo_nas.phenotypes.blueprint`) of the epoch with
  the highest validation accuracy and of the last one;
* ``curve.csv``: a line per epoch; and ``result.json``, once it is over.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evo_nas.errors import DataError, EvoNasError, RunFolderError, UsageError
from evo_nas.phenotypes.blueprint import Blueprint, fits, load_network, save_network
from evo_nas.storage.run_folder import take_lock
from evo_nas.system.atomic import write_whole, written_whole
from evo_nas.system.links import refuse_links
from evo_nas.training.recipes import Recipe
from genotypes.genotype import GenotypeError, shorten

if TYPE_CHECKING:
    import torch

    from evo_nas.phenotypes.network import CellNetwork
    from evo_nas.training.loop import Data, Epoch

VERSION: Final = 1
"""Version of ``train.json`` and ``checkpoint.json``."""

_log = logging.getLogger(__name__)

_COLUMNS: Final = ("epoch", "loss", "accuracy", "train_seconds", "validation_seconds")

_FILES: Final = (
    *("train.lock", "train.json", "env.json", "checkpoint.json", "curve.csv", "result.json"),
    *("best.safetensors", "last.safetensors"),
)
"""What is written in a training folder, but for the state file."""

_STATE: Final = re.compile(r"state-[0-9]{4,9}\.safetensors")


@dataclass(frozen=True)
class Task:
    """One training, but for where it runs.

    ``label`` names the cells, ``genotype`` describes them if anything does. ``blueprint`` is complete once the images
    were opened. Of the train images ``validation_images`` are held out, as ``split_seed`` has it, but at most the share
    ``validation_share``, a fraction in (0, 1]; ``train_images`` of the others are used, 0 for all. ``start`` is a file
    of weights to begin with.
    """

    label: str
    blueprint: Blueprint
    recipe: Recipe
    dataset: str
    seed: int = 0
    split_seed: int = 0
    train_images: int = 0
    validation_images: int = 0
    validation_share: float = 1.0
    genotype: str | None = None
    start: str | None = None
    fingerprint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``train.json``."""
        names = ("label", "genotype", "dataset", "fingerprint", "seed", "split_seed", "train_images")
        return {
            "version": VERSION,
            **{name: getattr(self, name) for name in (*names, "validation_images", "validation_share", "start")},
            "blueprint": self.blueprint.to_json(),
            "recipe": asdict(self.recipe),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Task:
        """Read ``train.json``.

        Raises:
            ValueError: if a field is missing, unknown or impossible.
        """
        fields = {name: value for name, value in record.items() if name != "version"}
        try:
            fields["blueprint"] = Blueprint.from_json(fields.get("blueprint"))
            fields["recipe"] = Recipe(**fields.get("recipe", {}))
            return cls(**fields)
        except TypeError as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True)
class Place:
    """Where a training runs, which decides nothing: device, threads, the folder of the images, who reads ahead."""

    device: str = "auto"
    threads: int = 1
    data_dir: Path | None = None
    loaders: int = 0


@dataclass(frozen=True)
class Result:
    """What a training came to: accuracies as fractions in [0, 1], seconds of all epochs.

    ``validation_accuracy`` is that of the last epoch, ``best_accuracy`` that of ``best_epoch``, counted from 1; all
    are ``None`` without validation images. ``test_accuracy`` is measured once, with the weights of the last epoch.
    """

    label: str
    epochs: int
    seconds: float
    parameters: int
    validation_accuracy: float | None
    best_accuracy: float | None
    best_epoch: int | None
    test_accuracy: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``result.json``."""
        return asdict(self)


@dataclass
class _Progress:
    """What ``checkpoint.json`` holds: the curve so far, and the name of the state file."""

    state: str = ""
    curve: list[dict[str, float | None]] = field(default_factory=list)

    @property
    def best(self) -> int | None:
        """The first epoch, counted from 1, with the highest validation accuracy."""
        told = [(row["accuracy"], -index) for index, row in enumerate(self.curve, 1) if row["accuracy"] is not None]
        return -int(max(told)[1]) if told else None


def train(
    task: Task,
    path: Path,
    place: Place,
    hear: Callable[[Epoch, int], None] = lambda epoch, done: None,
    *,
    measure_test: bool = True,
) -> Result:
    """Train, or go on where a training of this task stopped, until all epochs are done; then measure the test accuracy.

    ``hear`` is called after each epoch with how many are done. A task that is finished gives its result again.
    The test images are read once, at the end, and only if ``measure_test``.

    Raises:
        RunFolderError: if the folder is in use, holds something else, or cannot be written.
        UsageError: if another task was begun in this folder, or the start weights fit nowhere.
        DataError: if images, checkpoint or start weights are missing or damaged.
        EvoNasError: if the loss is no finite number any more.
    """
    import torch

    from evo_nas.training.devices import seeded, warn_of_faults
    from evo_nas.training.loop import Diverged, Training, evaluate

    device = _device(place)
    warn_of_faults(device)
    images = _Images.opened(task, place, device)
    task = images.complete(task)
    with ExitStack() as stack:
        stack.enter_context(seeded(task.seed, device, place.threads))
        network = task.blueprint.network(**task.recipe.network_options(task.blueprint.image))
        if task.start is not None and not (path / "checkpoint.json").exists():
            for line in carry(network, Path(task.start)).lines():
                _log.info("%s: %s", task.start, line)
        stack.enter_context(_claimed(path, task))
        progress = _read_progress(path)
        network.to(device)
        network.to(memory_format=torch.channels_last)
        training = Training(network, task.recipe, torch.Generator().manual_seed(task.seed))
        if progress.curve:
            _, tensors = load_network(path / progress.state)
            try:
                training.restore(tensors, len(progress.curve))
            except ValueError as error:
                raise DataError(f"{path / progress.state}: {error}; begin anew with --train-dir") from error
        try:
            for epoch in training.epochs(images.train, images.validation):
                progress.curve.append({"epoch": training.done, **{name: getattr(epoch, name) for name in _COLUMNS[1:]}})
                _save(path, task, training, progress)
                hear(epoch, training.done)
            if (known := result_of(path)) is not None and (known.test_accuracy is not None or not measure_test):
                return known  # the test images are looked at once
            test = evaluate(training.measured, images.test()) if measure_test else None
        except Diverged as error:
            raise EvoNasError(
                f"{error}, in epoch {training.done + 1} of {path}; a lower learning rate may help: "
                f"--set learning_rate={task.recipe.learning_rate / 3:.2g}"
            ) from error
        best = progress.best
        result = Result(
            task.label,
            training.done,
            sum((row["train_seconds"] or 0) + (row["validation_seconds"] or 0) for row in progress.curve),
            sum(p.numel() for name, p in network.named_parameters() if not name.startswith("auxiliary.")),
            progress.curve[-1]["accuracy"],
            progress.curve[best - 1]["accuracy"] if best else None,
            best,
            test,
        )
        write_whole(path / "result.json", json.dumps(result.to_json(), indent=2) + "\n")
        return result


def stored(path: Path) -> Task:
    """Read what is trained in a folder.

    Raises:
        RunFolderError: if it holds no training, or its ``train.json`` is damaged.
    """
    try:
        record = json.loads((path / "train.json").read_text("utf-8"))
        if record["version"] != VERSION:
            raise RunFolderError(f"{path} was made by another version of evo_nas; this one reads version {VERSION}")
        return Task.from_json(record)
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
    try:
        result = Result(**json.loads((path / "result.json").read_text("utf-8")))
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


@dataclass(frozen=True)
class Carried:
    """Which weights of a file were taken over: names of tensors."""

    loaded: tuple[str, ...]
    resized: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Say it in words, the first few names of each."""
        yield f"{len(self.loaded)} tensors were loaded"
        for names, what in (
            (self.resized, "have another shape and start at random"),
            (self.missing, "are not in the file and start at random"),
            (self.unused, "of the file have no place in this network"),
        ):
            if names:
                yield f"{len(names)} {what}: {', '.join(map(shorten, names[:3]))}{', ...' if len(names) > 3 else ''}"


def carry(network: CellNetwork, file: Path) -> Carried:
    """Load every tensor whose name, shape and kind of number agree, the others stay as they are; say which.

    Raises:
        DataError: if the file is missing or damaged.
        UsageError: if less than half of the network's tensors are found in it: it is of another network.
    """
    _, tensors = load_network(file)
    own = network.state_dict()
    loaded = [name for name in own if name in tensors and fits(tensors[name], own[name])]
    resized = [name for name in own if name in tensors and name not in set(loaded)]
    if 2 * len(loaded) < len(own):
        raise UsageError(
            f"{file} holds the weights of another network: only {len(loaded)} of {len(own)} tensors have the name and "
            "shape of one here; give the same cells, N and F as in that training"
        )
    network.load_state_dict({name: tensors[name] for name in loaded}, strict=False)
    return Carried(
        tuple(loaded),
        tuple(resized),
        tuple(name for name in own if name not in tensors),
        tuple(name for name in tensors if name not in own),
    )


@dataclass(frozen=True)
class _Images:
    """The images of a task on the device; the test part is opened when it is asked for."""

    train: Data
    validation: Data | None
    test: Callable[[], Data]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str | None

    @classmethod
    def opened(cls, task: Task, place: Place, device: torch.device) -> _Images:
        return (
            cls._streamed(task, place, device)
            if task.recipe.augmentation == "imagenet"
            else cls._held(task, place, device)
        )

    def complete(self, task: Task) -> Task:
        """Fill in what the images say, and refuse images that are not those the training was begun with."""
        if task.fingerprint not in (None, self.fingerprint):
            raise UsageError(
                f"the images of {task.dataset} are not those that this training was begun with; name their folder with "
                "--data-dir, or begin anew with --train-dir"
            )
        blueprint = replace(task.blueprint, classes=self.classes, mean=self.mean, std=self.std)
        return replace(task, blueprint=blueprint, fingerprint=self.fingerprint)

    @classmethod
    def _held(cls, task: Task, place: Place, device: torch.device) -> _Images:
        """Hold all images in the device's memory."""
        from evo_nas.data.images import open_images
        from evo_nas.training.loop import Examples

        blueprint = task.blueprint
        images = open_images(task.dataset, place.data_dir, size=blueprint.image, channels=blueprint.channels)
        train, validation = _split(images.train.labels, task)

        def examples(part: Any, indices: Any = None) -> Examples:
            pixels, labels = part.tensors(device, indices)
            return Examples(pixels, labels, images.mean, images.std)

        return cls(
            examples(images.train, train),
            None if validation is None else examples(images.train, validation),
            lambda: examples(images.test),
            images.classes,
            images.mean,
            images.std,
            images.fingerprint,
        )

    @classmethod
    def _streamed(cls, task: Task, place: Place, device: torch.device) -> _Images:
        """Read images from their files as they are needed."""
        import torch

        from evo_nas.data.sources.image_folder import ImageFolder
        from evo_nas.data.sources.locate import locate
        from evo_nas.data.stream import MEAN, STD, Stream

        source = locate(task.dataset, place.data_dir)
        if not isinstance(source, ImageFolder):
            raise UsageError(
                f"augmentation imagenet reads image files, and {task.dataset} is no folder of them; "
                "choose --dataset folder, or --set augmentation=crop"
            )
        if task.blueprint.channels != 3:
            raise UsageError(f"augmentation imagenet reads colour images: 3 channels, not {task.blueprint.channels}")

        def stream(part: Any, indices: Any = None) -> Stream:
            paths, labels = source.paths(part), source.labels(part)
            if indices is not None:
                paths, labels = [paths[index] for index in indices], labels[indices]
            return Stream(paths, torch.from_numpy(labels), task.blueprint.image, device, place.loaders)

        train, validation = _split(source.labels("train"), task)
        return cls(
            stream("train", train),
            None if validation is None else stream("train", validation),
            lambda: stream("test"),
            source.classes(),
            MEAN,
            STD,
            None,
        )


def _split(labels: Any, task: Task) -> tuple[Any, Any]:
    """Return the indices of the images to train on, and of those held out, ``None`` if there are none."""
    import numpy as np

    from evo_nas.data.split import split_indices, subset_indices

    train, validation = np.arange(len(labels)), None
    if task.validation_images:
        most = max(int(task.validation_share * len(labels)), len(np.unique(labels)))
        train, validation = split_indices(labels, min(task.validation_images, most), task.split_seed)
    if 0 < task.train_images < len(train):
        train = train[subset_indices(labels[train], task.train_images, task.split_seed)]
    return train, validation


def _device(place: Place) -> torch.device:
    from evo_nas.training.devices import resolve_device

    try:
        return resolve_device(place.device)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _differences(old: Task, new: Task) -> Iterator[str]:
    """Name the fields, those of blueprint and recipe one by one, that are not the same."""
    before, after = old.to_json(), new.to_json()
    for name in before:
        if isinstance(before[name], dict):
            yield from (f"{name}.{key}" for key in before[name] if before[name][key] != after[name][key])
        elif before[name] != after[name]:
            yield name


@contextmanager
def _claimed(path: Path, task: Task) -> Iterator[None]:
    """Hold the lock of a new or known training folder, in which it is written down what is trained."""
    from evo_nas.system.resources import environment

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot make the training folder {path}: {error.strerror}") from error
    refuse_links(path, _FILES)
    lock, _ = take_lock(path / "train.lock", f"the training folder {path}")
    with closing(lock):
        if (path / "train.json").is_file():
            if changed := ", ".join(_differences(stored(path), task)):
                raise UsageError(
                    f"{path} holds another training, it differs in {changed}; name another folder with --train-dir"
                )
        elif any(entry.name != "train.lock" for entry in path.iterdir()):
            raise RunFolderError(f"{path} is not empty and holds no training; name another folder with --train-dir")
        else:
            write_whole(path / "env.json", json.dumps(environment(), indent=2) + "\n")
            write_whole(path / "train.json", json.dumps(task.to_json(), indent=2) + "\n")
        yield


def _save(path: Path, task: Task, training: Any, progress: _Progress) -> None:
    """Write state, networks and curve of an epoch; it is done once ``checkpoint.json`` says so."""
    from safetensors.torch import save_file

    before, progress.state = progress.state, f"state-{training.done:04d}.safetensors"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in training.state().items()}
    with written_whole(path / progress.state) as partial:
        save_file(tensors, partial)
    weights = {
        name: tensor
        for name, tensor in training.measured.state_dict().items()
        if not name.startswith("auxiliary.")  # it is of no use after the training
    }
    for name in ("last", *(["best"] if progress.best in (None, training.done) else [])):
        save_network(path / f"{name}.safetensors", task.blueprint, weights, label=task.label)
    rows = [",".join("" if row[name] is None else str(row[name]) for name in _COLUMNS) for row in progress.curve]
    write_whole(path / "curve.csv", "\n".join([",".join(_COLUMNS), *rows]) + "\n")
    record = {"version": VERSION, "state": progress.state, "curve": progress.curve}
    write_whole(path / "checkpoint.json", json.dumps(record, indent=2) + "\n")
    if before and before != progress.state:
        (path / before).unlink(missing_ok=True)


def _read_progress(path: Path) -> _Progress:
    """Read how far a training has come; a folder without a checkpoint is at its beginning."""
    try:
        record = json.loads((path / "checkpoint.json").read_text("utf-8"))
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
