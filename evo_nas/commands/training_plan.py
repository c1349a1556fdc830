"""Plans of trainings: cells at their final size or widths, one network or a run's best, and how each plan is done."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo_nas.commands.cell_sources import CellSource
from evo_nas.commands.count import read_edge_size, read_size, refuse_cell_size
from evo_nas.commands.detector_plan import is_detector, name_neck, plan_detector, refuse_detector
from evo_nas.commands.train_options import TrainOptions
from evo_nas.data.sources.catalogue import data_set
from evo_nas.errors import RunFolderError, UsageError
from evo_nas.phenotypes.blueprint import (
    Blueprint,
    CellBlueprint,
    ChainBlueprint,
    EdgeBlueprint,
    WidthsBlueprint,
    load_whole,
)
from evo_nas.system.atomic import make_folder, write_whole
from evo_nas.system.links import refuse_links
from evo_nas.training.recipes import RECIPES, Preset, Recipe
from evo_nas.training.resumable import Result, train
from evo_nas.training.train_task import TrainPlacement, TrainTask
from genotypes.chain import Chain
from genotypes.edge_cell import EdgeCell
from genotypes.genotype import shorten
from genotypes.registry import build_with_options
from genotypes.widths import Widths

if TYPE_CHECKING:
    from evo_nas.training.loop import Epoch

OnEpoch = Callable[[TrainTask, "Epoch", int], None]
"""Called after each epoch with what is trained, what the epoch came to, and how many are done."""


def plan_training(source: CellSource | None, wanted: TrainOptions, device: str = "auto") -> TrainTask:
    """Plan one training: the preset, and whatever is wanted otherwise; without a source, of the network in ``start``.

    Raises:
        UsageError: if a name is unknown, a number impossible, or there are no cells.
        DataError: if the start weights are missing or damaged.
    """
    given = None if wanted.start is None else load_whole(wanted.start, wanted.network)[0]
    if wanted.neck is not None:
        if source is not None:
            raise UsageError(f"--neck {shorten(wanted.neck)} is a neck of its own: leave {shorten(source.label)} out")
        source = name_neck(wanted.neck)
    if source is None:
        if given is None:
            raise UsageError(
                "name cells: a run, a genotype or a JSON file, --cell NAME, or --from a file that has them"
            )
        source = CellSource(given.design, shorten(wanted.start.stem, 255) if wanted.start else "")
    if is_detector(source, given, wanted.dataset):
        return plan_detector(source, wanted, given, device)
    refuse_detector(given, wanted.start)
    if wanted.backbone is not None:
        raise UsageError(f"--backbone is for detectors, and {shorten(source.label)} is a classifier")
    preset = _preset(wanted.preset, device)
    dataset = wanted.dataset or source.dataset or "cifar10"
    channels = data_set(dataset).channels
    # Names, means and deviations are those of the images, which are opened later.
    images = {"classes": ("?",), "channels": channels, "mean": (0.5,) * channels, "std": (0.5,) * channels}
    images["image"] = wanted.image or (given or preset).image
    plan = _plan_cells
    if isinstance(source.design, Widths | Chain):
        plan = _plan_without_cells
    elif isinstance(source.design, EdgeCell):
        plan = _plan_edges
    try:
        blueprint, recipe = plan(source, wanted, preset, given, images)
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
        processes=wanted.processes,
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


def _plan_cells(
    source: CellSource, wanted: TrainOptions, preset: Preset, given: Blueprint | None, images: dict[str, Any]
) -> tuple[Blueprint, Recipe]:
    from evo_nas.phenotypes.cost import cost_of

    size = _size(source, wanted, preset, given if isinstance(given, CellBlueprint) else None)
    blueprint = CellBlueprint(source.cells, **size, **images)
    recipe = _recipe(preset.recipe, wanted)
    cost_of(blueprint.cells, image=blueprint.image, **blueprint.size, **recipe.network_options(blueprint.image))
    return blueprint, recipe


def _plan_without_cells(
    source: CellSource, wanted: TrainOptions, preset: Preset, given: Blueprint | None, images: dict[str, Any]
) -> tuple[Blueprint, Recipe]:
    """Plan with the recipe of the preset but for what only networks of cells can do."""
    names = ("macro", "size", "cells_per_stack", "filters", "stem", "skip_reduction_input")
    refuse_cell_size(source, **{name: getattr(wanted, name) for name in names})
    if isinstance(source.design, Chain):
        return ChainBlueprint(source.design, **images), _plain_recipe(source, wanted, preset, "of a chain of blocks")
    assert isinstance(source.design, Widths)
    return WidthsBlueprint(source.design, **images), _plain_recipe(source, wanted, preset, "of widths")


def _plan_edges(
    source: CellSource, wanted: TrainOptions, preset: Preset, given: Blueprint | None, images: dict[str, Any]
) -> tuple[Blueprint, Recipe]:
    """Plan as without cells, at a size that is wanted, else that of the weights to begin with, else the preset's."""
    assert isinstance(source.design, EdgeCell)
    model = given if isinstance(given, EdgeBlueprint) else preset
    names = ("macro", "size", "stem", "skip_reduction_input")
    size = read_edge_size(
        source,
        cells_per_stack=wanted.cells_per_stack or model.cells_per_stack,
        filters=wanted.filters or model.filters,
        **{name: getattr(wanted, name) for name in names},
    )
    images |= size
    return EdgeBlueprint(source.design, **images), _plain_recipe(source, wanted, preset, "of a cell of edges")


def _plain_recipe(source: CellSource, wanted: TrainOptions, preset: Preset, kind: str) -> Recipe:
    """Make the recipe of a network that has no auxiliary classifier and drops nothing."""
    plain = replace(preset.recipe, auxiliary_weight=0.0, dropout=0.0, drop_path_keep=1.0)
    recipe = _recipe(plain, wanted)
    for name in ("auxiliary_weight", "dropout", "drop_path_keep"):
        if getattr(recipe, name) != getattr(plain, name):
            raise UsageError(f"{name} is for networks of cells, and {shorten(source.label)} is one {kind}")
    return recipe


def _size(source: CellSource, wanted: TrainOptions, preset: Preset, given: CellBlueprint | None) -> dict[str, Any]:
    """Settle the size of the network: as wanted, else that of the weights to begin with, else the preset's."""
    model = preset if given is None else given
    size: dict[str, Any] = {"macro": wanted.macro or model.macro}
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
    named = {name: getattr(wanted, name) for name in ("epochs", "policy")}
    options = asdict(recipe) | {name: value for name, value in named.items() if value is not None}
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


def plan_top(
    sources: Sequence[CellSource], wanted: TrainOptions, device: str = "auto", starts: Sequence[Path] = ()
) -> list[TrainTask]:
    """Plan the training of the best of a run, as :func:`evo_nas.commands.cell_sources.best_of_run` lists them.

    ``starts`` are files of weights to begin with, one for each, if any.

    Raises:
        UsageError: as :func:`plan_training`; or if no validation images are held out, by which the winner is found.
    """
    each = [replace(wanted, start=start) for start in starts] if starts else [wanted] * len(sources)
    tasks = [plan_training(source, one, device) for source, one in zip(sources, each, strict=True)]
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
