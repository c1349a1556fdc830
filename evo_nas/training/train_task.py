"""One training to the end, as ``train.json`` has it, and where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from evo_nas.phenotypes.blueprint import Blueprint
from evo_nas.training.recipes import Recipe

VERSION: Final = 1
"""Version of ``train.json`` and ``checkpoint.json``."""


@dataclass(frozen=True)
class TrainTask:
    """One training, but for where it runs.

    ``label`` names the network, ``genotype`` describes it if anything does. ``blueprint`` is complete once the images
    were opened. Of the train images ``validation_images`` are held out, as ``split_seed`` has it, but at most the share
    ``validation_share``, a fraction in (0, 1]; ``train_images`` of the others are used, 0 for all. ``start`` is a file
    of weights to begin with. Each of so many ``processes`` computes its share of every batch.
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
    processes: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``train.json``."""
        names = ("label", "genotype", "dataset", "fingerprint", "seed", "split_seed", "train_images", "processes")
        return {
            "version": VERSION,
            **{name: getattr(self, name) for name in (*names, "validation_images", "validation_share", "start")},
            "blueprint": self.blueprint.to_json(),
            "recipe": asdict(self.recipe),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TrainTask:
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
class TrainPlacement:
    """The place of a training, which decides nothing: device, threads, the folder of the images, readers ahead."""

    device: str = "auto"
    threads: int = 1
    data_dir: Path | None = None
    loaders: int = 0
