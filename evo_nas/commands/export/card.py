"""The model card: what a network is, what it was trained on, its numbers, how it was made, and its limits."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from evo_nas.errors import RunFolderError
from evo_nas.phenotypes.blueprint import Blueprint, DetectorBlueprint
from evo_nas.phenotypes.kinds import count_cost
from evo_nas.system.text import read_text
from evo_nas.system.version import __version__
from genotypes.genotype import printable, shorten

if TYPE_CHECKING:
    from torch import nn

    from evo_nas.training.resumable import Result
    from evo_nas.training.train_task import TrainTask

PICTURE: Final = "cells.png"
"""The picture of a network in a folder with its card."""

_NAMED: Final = 20
"""Classes that a card names before it only counts."""

_LIMITS: Final = """\
* The accuracy is that on images of the same source as those of the training. Other cameras, crops, resolutions or
  shares of classes give other numbers: measure on images of your own.
* Every image gets one of the classes above, also one that shows none of them. Probabilities are not calibrated.
* Images are to be prepared as in the training: size, mean and deviation stand above.
* Nothing is known of biases of the images, which the network has learned with them."""

_LICENCE: Final = """\
The code of the network is copied from evo_nas, Apache-2.0. The weights are those of whoever trained them, and the terms
of the images may bind them too: name their licence here before you publish them."""


@dataclass(frozen=True)
class Origin:
    """The training of a network, as the folder of its weights has it; what is not known is ``None``."""

    file: str | None = None
    task: TrainTask | None = None
    result: Result | None = None
    command: str | None = None

    @classmethod
    def of(cls, weights: Path | None, blueprint: Blueprint) -> Origin:
        """Read the folder that the weights of a network lie in; without records of it nothing is known.

        Raises:
            RunFolderError: if a record is damaged.
        """
        if weights is None or not (weights.parent / "train.json").is_file():
            return cls()
        from evo_nas.training.resumable import load_task, result_of

        task = load_task(weights.parent)
        if task.blueprint.design != blueprint.design:
            return cls()
        return cls(weights.name, task, result_of(weights.parent), _read_command(weights.parent / "env.json"))


def write_card(
    name: str,
    blueprint: Blueprint,
    network: nn.Module,
    origin: Origin,
    *,
    genotype: str | None = None,
    is_trained: bool = True,
    picture: str | None = None,
    usage: str = "",
    library: str | None = None,
) -> str:
    """Write the card in Markdown, with the head that the hub of Hugging Face reads.

    ``picture`` names a file beside the card, ``usage`` is Python code that uses the files beside it, and ``library``
    the one that loads them. ``network`` is counted, on the CPU.
    """
    return "\n".join(
        [
            *_write_head(blueprint, library),
            f"# {printable(name)}",
            "",
            *_describe_network(blueprint, genotype),
            *([f"![The network]({picture})", ""] if picture is not None else []),
            *(["```python", usage.strip(), "```", ""] if usage else []),
            *_write_numbers(blueprint, network, origin, is_trained=is_trained),
            *_describe_training(blueprint, origin, is_trained=is_trained),
            "## Limits",
            "",
            _LIMITS,
            "",
            "## Licence",
            "",
            _LICENCE,
            "",
        ]
    )


def draw_picture(blueprint: Blueprint) -> bytes | None:
    """Return the picture of cells, chain, pyramid or widths as a PNG; ``None`` where there is none to draw."""
    from analysis.plots.designs import design_figure
    from analysis.plots.files import save

    design = blueprint.design
    figure = None if isinstance(design, str) else design_figure(json.dumps(design.to_json()))
    if figure is None:
        return None
    with TemporaryDirectory() as folder:
        (file,) = save(figure, Path(folder) / PICTURE, twin=False)
        return file.read_bytes()


def _write_head(blueprint: Blueprint, library: str | None) -> Iterator[str]:
    is_detector = isinstance(blueprint, DetectorBlueprint)
    yield from ("---", *([f"library_name: {library}"] if library else []))
    yield f"pipeline_tag: {'object-detection' if is_detector else 'image-classification'}"
    yield from ("tags: [evo_nas, neural-architecture-search]", "---", "")


def _describe_network(blueprint: Blueprint, genotype: str | None) -> Iterator[str]:
    kind = "detector of objects in images" if isinstance(blueprint, DetectorBlueprint) else "classifier of images"
    colours = {1: "grey", 3: "in colours (RGB)"}.get(blueprint.channels, f"of {blueprint.channels} channels")
    side = blueprint.image
    yield f"A {kind} of {side}x{side} pixels, {colours}, found or written by evo_nas {__version__}."
    yield ""
    names = [f"`{printable(shorten(each, 60))}`" for each in blueprint.classes[:_NAMED]]
    more = "" if len(blueprint.classes) <= _NAMED else f" and {len(blueprint.classes) - _NAMED:,} more"
    yield f"{len(blueprint.classes):,} classes: {', '.join(names)}{more}."
    yield ""
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (blueprint.mean, blueprint.std))
    yield f"Images with values in [0, 1] are normalised by the mean {mean} and the deviation {std} of the channels."
    yield ""
    if genotype is not None:
        yield from (f"Genotype: `{printable(genotype)}`", "")


def _write_numbers(blueprint: Blueprint, network: nn.Module, origin: Origin, *, is_trained: bool) -> Iterator[str]:
    parameters, mult_adds = count_cost(network, channels=blueprint.channels, image_size=blueprint.image)
    yield from ("## Numbers", "", "| what | number |", "| --- | --- |")
    yield f"| parameters | {parameters:,} |"
    yield f"| mult-adds per image | {mult_adds:,} |"
    if not is_trained:
        yield "| trained | no: the weights are random |"
    if (result := origin.result) is not None:
        goal = "AP" if result.goal == "ap" else "accuracy"
        for part, value in (("validation", result.validation_accuracy), ("test", result.test_accuracy)):
            if value is not None:
                yield f"| {part} {goal} after the last epoch | {100 * value:.2f} % |"
        if result.best_accuracy is not None:
            yield f"| best validation {goal}, epoch {result.best_epoch} | {100 * result.best_accuracy:.2f} % |"
        yield f"| epochs | {result.epochs} |"
        if origin.file == "best.safetensors" and result.best_epoch not in (None, result.epochs):
            yield from ("", "These are the weights of the best epoch; the test images were shown to those of the last.")
    yield ""


def _describe_training(blueprint: Blueprint, origin: Origin, *, is_trained: bool) -> Iterator[str]:
    yield from ("## Training", "")
    task = origin.task
    if task is None:
        yield "Nobody trained these weights." if not is_trained else "No record of the training lay beside the weights."
        yield ""
        return
    held = f"up to {task.validation_images:,} of its train images were held out for validation"
    used = f"{task.train_images:,} of the others" if task.train_images else "all others"
    yield f"Data set `{printable(task.dataset)}`: {held}, {used} were trained on. Seed {task.seed}."
    if task.fingerprint is not None:
        yield f"SHA-256 of the train images, as decoded: `{task.fingerprint}`."
    if origin.command is not None:
        yield from ("", "```bash", origin.command, "```")
    recipe = ", ".join(f"{name} {value}" for name, value in asdict(task.recipe).items())
    yield from ("", f"Recipe: {recipe}.", "")


def _read_command(file: Path) -> str | None:
    """Return the command that a training was begun with; ``None`` if it was begun by another program, or is unknown."""
    try:
        words: Any = json.loads(read_text(file)).get("command")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise RunFolderError(f"{file} is damaged: {shorten(str(error), 200)}; remove it") from error
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        return None
    if Path(words[0]).name not in ("__main__.py", "evo_nas"):
        return None
    return printable(shlex.join(["python", "-m", "evo_nas", *words[1:]]))
