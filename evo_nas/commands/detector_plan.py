"""Plans of the training of detectors: a neck from a run, a genotype or the zoo, at its final length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from evo_nas.commands.cell_sources import CellSource
from evo_nas.commands.train_options import TrainOptions
from evo_nas.data.boxes.catalogue import BOX_SETS, box_set
from evo_nas.errors import UsageError
from evo_nas.evaluators.detection.presets import NECK_OF_CHAINS, PRESETS, SUITED, DetectorPreset
from evo_nas.phenotypes.blueprint import Blueprint, DetectorBlueprint
from evo_nas.phenotypes.named import is_foreign_backbone, spell_chain
from evo_nas.phenotypes.neck import NECKS
from evo_nas.training.class_weights import NONE
from evo_nas.training.recipes import Recipe
from evo_nas.training.train_task import TrainTask
from genotypes.chain import Chain
from genotypes.genotype import shorten
from genotypes.pyramid import Pyramid
from genotypes.registry import build_with_options

SIZES: Final = ("backbone", "width", "repeats", "depth", "finest_stride")
"""What decides the size of a detector beside its canvas: each can be set by ``--set NAME=VALUE``."""

_OF_CELLS: Final = ("macro", "size", "cells_per_stack", "filters", "stem", "skip_reduction_input", "network")


def name_neck(name: str) -> CellSource:
    """Return a neck that is no pyramid of merging cells as a source.

    Raises:
        UsageError: if there is no such neck.
    """
    if name not in NECKS:
        raise UsageError(
            f"there is no neck {shorten(name)!r}; there are: {', '.join(NECKS)}, and pyramids, as --cell nas-fpn"
        )
    return CellSource(name, f"neck-{name}")


def plan_detector(source: CellSource, wanted: TrainOptions, given: Blueprint | None, device: str) -> TrainTask:
    """Plan the training of a detector with this neck, or with this chain of blocks as its backbone.

    ``given`` is what the weights to begin with are of.

    Sizes are those that are wanted, else those of the weights, else those of the run's own trainings, else the
    preset's.

    Raises:
        UsageError: if a name is unknown, a number impossible, or the canvas does not suit the strides.
    """
    part = "the backbone" if isinstance(source.design, Chain) else "the neck"
    for name in _OF_CELLS:
        if getattr(wanted, name) is not None:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is for classifiers, and {shorten(source.label)} is {part} of a detector")
    if given is not None and not isinstance(given, DetectorBlueprint):
        raise UsageError(
            f"{wanted.start} holds a classifier, and {shorten(source.label)} is {part} of a detector; leave it out"
        )
    searched = {} if wanted.preset else source.options
    neck, backbone = _choose_parts(source, wanted, searched)
    dataset = wanted.dataset or source.dataset or ("plates" if given is None else None)
    if dataset is None:
        raise UsageError("name the images to train on with --dataset: plates, scenes, voc or coco")
    known = box_set(dataset)
    preset = _find_preset(wanted.preset or searched.get("preset"), dataset, device)
    settings = dict(_split(setting) for setting in wanted.settings)
    sizes = _choose_sizes(preset, searched, given, {**settings, "backbone": settings.get("backbone", backbone)})
    canvas = wanted.image or getattr(given, "image", None) or searched.get("canvas") or preset.canvas
    channels = getattr(given, "channels", None) or searched.get("channels") or known.channels
    grey = (0.5,) * channels  # until the images are opened
    try:
        blueprint = DetectorBlueprint(
            neck=neck, classes=("?",), image=canvas, channels=channels, mean=grey, std=grey, **sizes
        )
        blueprint.ghost()
        options = asdict(preset.recipe) | {"epochs": wanted.epochs or preset.final_epochs}
        options |= {} if wanted.policy is None else {"policy": wanted.policy}
        options |= {name: value for name, value in settings.items() if name not in SIZES}
        recipe = build_with_options(Recipe, "the recipe", options)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error
    _refuse_for_classifiers(recipe)
    counts = {name: searched.get(name, getattr(preset, name)) for name in ("train_images", "validation_images")}
    counts |= {name: value for name in counts if (value := getattr(wanted, name)) is not None}
    return TrainTask(
        source.label,
        blueprint,
        recipe,
        dataset,
        seed=wanted.seed,
        split_seed=searched.get("split_seed", 0),
        genotype=source.genotype,
        start=None if wanted.start is None else str(wanted.start.absolute()),
        processes=wanted.processes,
        **counts,
    )


def _refuse_for_classifiers(recipe: Recipe) -> None:
    """Raise if a recipe has what no detector can be trained with.

    Raises:
        UsageError: naming the number.
    """
    if recipe.class_weights != NONE:
        raise UsageError("class_weights are for classifiers: a detector has the focal loss; leave them out")
    if recipe.policy != NONE:
        raise UsageError("policies are for classifiers: they would move objects out of their boxes; leave them out")
    if recipe.smallest_image:
        raise UsageError("smallest_image is for classifiers: boxes would not shrink with the image; leave it out")


def _choose_parts(
    source: CellSource, wanted: TrainOptions, searched: Mapping[str, Any]
) -> tuple[Pyramid | str, str | None]:
    """Return the neck, and the name of the backbone if it is said: a chain of blocks is one, with the run's neck.

    Raises:
        UsageError: if another backbone is wanted than the chain.
    """
    if not isinstance(source.design, Chain):
        assert isinstance(source.design, Pyramid | str)
        return source.design, wanted.backbone
    if wanted.backbone is not None or any(setting.startswith("backbone=") for setting in wanted.settings):
        raise UsageError(f"{shorten(source.label)} is a backbone itself: leave --backbone out")
    return searched.get("neck", NECK_OF_CHAINS), spell_chain(source.design)


def _find_preset(name: str | None, dataset: str, device: str) -> DetectorPreset:
    if name is None:
        from evo_nas.training.devices import resolve_device

        try:
            name = SUITED.get(dataset) or ("cpu" if resolve_device(device).type == "cpu" else "gpu")
        except ValueError as error:
            raise UsageError(str(error)) from error
    if name not in PRESETS:
        raise UsageError(f"there is no preset {shorten(name)!r} of detectors; there are: {', '.join(PRESETS)}")
    return PRESETS[name]


def _split(setting: str) -> tuple[str, str]:
    name, equals, value = setting.partition("=")
    if not equals:
        raise UsageError(f"--set takes NAME=VALUE, as in learning_rate=0.05, not {shorten(setting)!r}")
    return name.strip(), value.strip()


def _choose_sizes(
    preset: DetectorPreset, searched: Mapping[str, Any], given: DetectorBlueprint | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the sizes of the detector.

    Raises:
        UsageError: if one that is set is no whole number, or the backbone of a run is a user's own network.
    """
    sizes: dict[str, Any] = {}
    for name in SIZES:
        own = getattr(given, name, None) if given is not None else searched.get(name)
        value = settings.get(name)
        if value is None:
            value = getattr(preset, name) if own is None else own
            if name == "backbone" and is_foreign_backbone(str(value)):
                raise UsageError(
                    f"the backbone is {shorten(value)}, whose code no file can name alone; name it too, with --backbone"
                )
        elif name != "backbone":
            if not value.isdecimal():
                raise UsageError(f"{name} is a whole number, not {shorten(value)!r}")
            value = int(value)
        sizes[name] = value
    return sizes


def is_detector(source: CellSource | None, given: Blueprint | None, dataset: str | None) -> bool:
    """Return whether it is a detector that is to be trained; a chain of blocks is its backbone if images have boxes."""
    if source is None:
        return isinstance(given, DetectorBlueprint)
    if isinstance(source.design, Chain):
        return (dataset or source.dataset) in BOX_SETS
    return isinstance(source.design, Pyramid | str)


def refuse_detector(given: Blueprint | None, file: Path | None) -> None:
    """Raise if weights to begin with are those of a detector, and a classifier is to be trained.

    Raises:
        UsageError: naming the file.
    """
    if isinstance(given, DetectorBlueprint):
        raise UsageError(f"{file} holds a detector, and a classifier is to be trained; leave it out")
