"""Plans of trainings: cells from anywhere at their final size, one pair or a run's best, and how each plan is done."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo_nas.commands.cell_sources import CellSource
from evo_nas.commands.count import read_size
from evo_nas.data.sources.catalogue import data_set
from evo_nas.errors import RunFolderError, UsageError
from evo_nas.phenotypes.blueprint import Blueprint, load_whole
from evo_nas.system.atomic import make_folder, write_whole
from evo_nas.system.links import refuse_links
from evo_nas.training.recipes import RECIPES, Preset, Recipe
from evo_nas.training.resumable import Result, train
from evo_nas.training.train_task import TrainPlacement, TrainTask
from genotypes.genotype import shorten
from genotypes.registry import build_with_options

if TYPE_CHECKING:
    from evo_nas.training.loop import Epoch

OnEpoch = Callable[[TrainTask, "Epoch", int], None]
"""Called after each epoch with what is trained, what the epoch came to, and how many are done."""


@dataclass(frozen=True)
class TrainOptions:
    """The options of a training on the command line; ``None`` is the preset's, or that of the file ``start``."""

    preset: str | None = None
    dataset: str | None = None
    macro: str | None = None
    size: str | None = None
    cells_per_stack: int | None = None
    filters: int | None = None
    stem: int | None = None
    skip_reduction_input: bool | None = None
    image: int | None = None
    epochs: int | None = None
    train_images: int | None = None
    validation_images: int | None = None
    seed: int = 0
    start: Path | None = None
    settings: tuple[str, ...] = ()


def plan_training(source: CellSource | None, wanted: TrainOptions, device: str = "auto") -> TrainTask:
    """Plan one training: the preset, and whatever is wanted otherwise; without a source, of the network in ``start``.

    Raises:
        UsageError: if a name is unknown, a number impossible, or there are no cells.
        DataError: if the start weights are missing or damaged.
    """
    from evo_nas.phenotypes.cost import cost_of

    given = None if wanted.start is None else load_whole(wanted.start)[0]
    if source is None:
        if given is None:
            raise UsageError(
                "name cells: a run, a genotype or a JSON file, --cell NAME, or --from a file that has them"
            )
        source = CellSource(given.cells, shorten(wanted.start.stem, 255) if wanted.start else "")
    preset = _preset(wanted.preset, device)
    dataset = wanted.dataset or source.dataset or "cifar10"
    channels = data_set(dataset).channels
    try:
        size = _size(source, wanted, preset, given)
        # Names, means and deviations are those of the images, which are opened later.
        unknown = (0.5,) * channels
        blueprint = Blueprint(source.cells, classes=("?",), channels=channels, mean=unknown, std=unknown, **size)
        recipe = _recipe(preset.recipe, wanted)
        cost_of(blueprint.cells, image=blueprint.image, **blueprint.size, **recipe.network_options(blueprint.image))
    except ValueError as error:
        raise UsageError(str(error)) from error
    return TrainTask(
        source.label,
        blueprint,
        recipe,
        dataset,
        seed=wanted.seed,
        train_images=preset.train_images if wanted.train_images is None else wanted.train_images,
        validation_images=preset.validation_images if wanted.validation_images is None else wanted.validation_images,
        # A preset cannot know how many images there are.
        validation_share=0.2 if wanted.validation_images is None else 1.0,
        genotype=source.genotype,
        start=None if wanted.start is None else str(wanted.start.absolute()),
    )


def _preset(name: str | None, device: str) -> Preset:
    """Find the preset; by default the short one where there is a GPU, and that for a CPU where there is none."""
    if name is None:
        from evo_nas.training.devices import resolve_device

        try:
            name = "cpu" if resolve_device(device).type == "cpu" else "cifar-short"
        except ValueError as error:
            raise UsageError(str(error)) from error
    if name not in RECIPES:
        raise UsageError(f"there is no training preset {shorten(name)!r}; there are: {', '.join(RECIPES)}")
    return RECIPES[name]


def _size(source: CellSource, wanted: TrainOptions, preset: Preset, given: Blueprint | None) -> dict[str, Any]:
    """Settle the size of the network: as wanted, else that of the weights to begin with, else the preset's."""
    model = preset if given is None else given
    size = {"macro": wanted.macro or model.macro, "image": wanted.image or (given or preset).image}
    for name in ("stem", "skip_reduction_input"):
        size[name] = getattr(given, name, None) if getattr(wanted, name) is None else getattr(wanted, name)
    if given is not None:
        size["average"] = given.average
    if wanted.size is not None:
        return size | read_size(source, wanted.size, wanted.cells_per_stack, wanted.filters)
    cells, filters = wanted.cells_per_stack, wanted.filters
    return size | {
        "cells_per_stack": model.cells_per_stack if cells is None else cells,
        "filters": model.filters if filters is None else filters,
    }


def _recipe(recipe: Recipe, wanted: TrainOptions) -> Recipe:
    """Change what is wanted otherwise; a setting is NAME=VALUE."""
    options = asdict(recipe) | ({} if wanted.epochs is None else {"epochs": wanted.epochs})
    for setting in wanted.settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set takes NAME=VALUE, as in learning_rate=0.05, not {shorten(setting)!r}")
        options[name.strip()] = value.strip()
    return build_with_options(Recipe, "the recipe", options)


def default_folder(label: str, dataset: str, seed: int) -> Path:
    """Name the folder of a training, the same whenever it is asked for."""
    words = re.sub(r"[^\w.@-]+", "-", label)[:80].strip("-.")
    return Path("runs") / f"train-{words or 'cell'}-{dataset}-seed{seed}"


def train_one(task: TrainTask, path: Path, place: TrainPlacement, hear: OnEpoch) -> Result:
    """Train one pair of cells, or resume it; see :func:`evo_nas.training.resumable.train`."""
    return train(task, path, place, lambda epoch, done: hear(task, epoch, done))


def plan_top(sources: Sequence[CellSource], wanted: TrainOptions, device: str = "auto") -> list[TrainTask]:
    """Plan the training of the best of a run, as :func:`evo_nas.commands.cell_sources.best_of_run` lists them.

    Raises:
        UsageError: as :func:`plan_training`; or if no validation images are held out, by which the winner is found.
    """
    tasks = [plan_training(source, wanted, device) for source in sources]
    if not tasks[0].validation_images:
        raise UsageError("--top finds the winner by validation images: hold some out with --validation-images N")
    return tasks


def train_top(tasks: Sequence[TrainTask], path: Path, place: TrainPlacement, hear: OnEpoch) -> list[Result]:
    """Train the best of a search longer, one after another, and measure the winner alone on the test images.

    As both papers did (Zoph et al. 2017, section 4.1: the 250 best; Real et al. 2018, section 5). Each has a folder of
    its own below ``path``, ``top.json`` says which; what is finished is not trained again. The results come back with
    the winner first: the one with the highest validation accuracy after the last epoch, of equal ones the better in
    the search.

    Raises:
        RunFolderError: if the folder holds something else.
        EvoNasError: whatever ends a training.
    """
    folders = [f"{rank:02d}-{task.label.rpartition('-')[2]}" for rank, task in enumerate(tasks, start=1)]
    named = [{"folder": folder, "task": task.label} for folder, task in zip(folders, tasks, strict=True)]
    record = json.dumps(named, indent=2) + "\n"
    known = path / "top.json"
    refuse_links(path, ["top.json", *folders])
    if known.is_file() and known.read_bytes() != record.encode():
        raise RunFolderError(f"{path} holds other trainings; name another folder with --train-dir")
    if not known.is_file() and path.exists() and any(one.name != "top.json.partial" for one in path.iterdir()):
        raise RunFolderError(f"{path} is not empty and holds no trainings; name another folder with --train-dir")
    make_folder(path)
    write_whole(known, record)
    results = []
    for task, folder in zip(tasks, folders, strict=True):
        told = _name_task(task, hear)
        results.append((train(task, path / folder, place, told, measure_test=False), task, folder))
    results.sort(key=lambda one: -(one[0].validation_accuracy or 0.0))
    _, task, folder = results[0]
    winner = train(task, path / folder, place)
    return [winner, *(result for result, _, _ in results[1:])]


def _name_task(task: TrainTask, hear: OnEpoch) -> Callable[[Epoch, int], None]:
    return lambda epoch, done: hear(task, epoch, done)
