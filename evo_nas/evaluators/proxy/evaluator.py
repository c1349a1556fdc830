"""The proxy trainer: train a small network of the cells for a few epochs, and take its validation accuracy.

The one evaluator that all strategies share. Heavy modules are imported when the first candidate comes, data is loaded
to the device once a process and stays there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from evo_nas.data.catalogue import DATA_SETS
from evo_nas.evaluators.base import Cost, Evaluator, Job, Placement, weights_file
from evo_nas.evaluators.proxy.presets import PRESETS, Preset
from evo_nas.phenotypes.plan import SMALLEST_IMAGE
from genotypes.cell import CellPair
from genotypes.genotype import Genotype
from genotypes.individual import Evaluation, Outcome
from genotypes.space import SearchSpace

if TYPE_CHECKING:
    import torch

    from evo_nas.data.images import ImageSet
    from evo_nas.phenotypes.network import CellNetwork
    from evo_nas.recipes import Recipe
    from evo_nas.training import Epoch, Examples


@dataclass
class ProxyEvaluator(Evaluator):
    """Train each candidate shortly on a part of the train images; its fitness is the accuracy on the rest.

    ``dataset`` is a name of :data:`evo_nas.data.catalogue.DATA_SETS`. ``preset`` is a name of
    :data:`evo_nas.evaluators.proxy.presets.PRESETS`; by default ``digits`` for the digits, else ``gpu`` where there is
    a GPU and ``cpu`` where there is none; and the preset ``digits`` alone means the data set too. Every other field is
    one of the preset's, and overrides it; a preset's ``validation_images`` are at most a fifth of the train part.
    ``channels`` is 1 (grey) or 3 (colour), by default the data set's own. ``split_seed`` decides which images are held
    out: one split for all candidates, and for all runs that are to be compared. The test images are never read.

    Raises:
        ValueError: if a name is unknown or a number out of range.
    """

    name: ClassVar[str] = "proxy"
    preload: ClassVar[tuple[str, ...]] = ("torch", "evo_nas.training")

    dataset: str | None = None
    preset: str | None = None
    channels: int | None = None
    split_seed: int = 0
    image_size: int | None = None
    cells_per_stack: int | None = None
    filters: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    train_images: int | None = None
    validation_images: int | None = None
    padding: int | None = None
    flip: bool | None = None
    cutout: int | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    drop_path_keep: float | None = None
    gradient_norm: float | None = None

    def __post_init__(self) -> None:
        self._given = {field.name for field in fields(self) if getattr(self, field.name) is not None}
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"there is no preset {self.preset!r}; the presets are: {', '.join(PRESETS)}")
        if self.dataset is None:
            self.dataset = "digits" if self.preset == "digits" else "cifar10"
        if self.dataset not in DATA_SETS:
            raise ValueError(f"there is no data set {self.dataset!r}; the data sets are: {', '.join(DATA_SETS)}")
        for option, lowest in _LOWEST.items():
            value = getattr(self, option)
            if value is not None and not lowest <= value < math.inf:
                raise ValueError(f"{option} must be finite and at least {lowest}, not {value}")
        if self.channels not in (None, 1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (colour), not {self.channels}")
        if self.drop_path_keep is not None and not 0 < self.drop_path_keep <= 1:
            raise ValueError(f"drop_path_keep must lie in (0, 1], not {self.drop_path_keep}")

    def bind(self, space: SearchSpace, placement: Placement | None = None) -> None:
        """Take space and placement, and settle every field that was not given.

        Raises:
            ValueError: if the space describes no pair of cells, or the device is not there.
        """
        import numpy as np

        from evo_nas.devices import resolve_device

        super().bind(space, placement)
        if not isinstance(space.decode(space.sample(np.random.default_rng(0))), CellPair):
            raise ValueError(
                f"the proxy trainer needs pairs of cells, which the space {space.spelling} does not give; "
                "choose another evaluator with --evaluator, such as tabular or toy"
            )
        device = resolve_device(self.placement.device)
        if self.preset is None:
            self.preset = "digits" if self.dataset == "digits" else "cpu" if device.type == "cpu" else "gpu"
        for field in fields(Preset):
            if field.name != "about" and getattr(self, field.name) is None:
                setattr(self, field.name, getattr(PRESETS[self.preset], field.name))
        if self.channels is None:
            self.channels = DATA_SETS[self.dataset or ""].channels

    def prepare(self, directory: Path) -> None:
        """Find the images, decode them if this is the first time, and check that they can be split.

        Raises:
            DataError: if images are missing or damaged.
            UsageError: if fewer images are there than are to be held out.
        """
        super().prepare(directory)
        images = self._images()
        self._classes = len(images.classes)
        if "validation_images" not in self._given:
            self.validation_images = min(self._int("validation_images"), max(len(images.train) // 5, self._classes))
        self._split(images)

    def fingerprint(self) -> dict[str, str]:
        """Give the SHA-256 of the train part's classes, labels and pixels."""
        return {str(self.dataset): self._images().fingerprint}

    def cost(self, genotype: Genotype) -> Cost:
        """Count the network at the size of the proxy training."""
        from evo_nas.phenotypes.cost import cost_of

        return cost_of(self.space.decode(genotype), image=self._int("image_size"), **self._size())

    def evaluate(self, job: Job) -> Evaluation:
        """Train the candidate and measure it; a loss that is no number ends the training at once."""
        import torch

        from evo_nas.devices import seeded
        from evo_nas.training import Diverged, Training

        loaded = self._loaded
        seed = int(job.rng().integers(2**62))
        start = time.perf_counter()
        history: list[Epoch] = []
        with seeded(seed, loaded.device, self.placement.threads):
            network = self._network(job.genotype, loaded.device)
            cost = self.cost(job.genotype)
            try:
                generator = torch.Generator().manual_seed(seed)
                training = Training(network, self._recipe(), generator)
                for epoch in training.epochs(loaded.train, loaded.validation):
                    history.append(epoch)  # one by one: those before a NaN are wanted too
            except Diverged as error:
                return Evaluation.failed(Outcome.NAN, str(error), time.perf_counter() - start, _curve(history))
        if self.placement.keep_weights:
            self._save(network, job)
        return Evaluation(
            Outcome.OK,
            fitness=_curve(history)[-1],
            seconds=time.perf_counter() - start,
            curve=_curve(history),
            metrics={
                "parameters": cost.parameters,
                "mult_adds": cost.mult_adds,
                "train_loss": history[-1].loss,
                "train_seconds": sum(epoch.train_seconds for epoch in history),
                "validation_seconds": sum(epoch.validation_seconds for epoch in history),
            },
        )

    def expected_seconds(self, genotypes: Sequence[Genotype]) -> float:
        """Time a few steps of these candidates, and multiply."""
        from dataclasses import replace

        import torch

        from evo_nas.devices import seeded
        from evo_nas.training import Training

        loaded = self._loaded
        recipe = replace(self._recipe(), epochs=1)
        few = loaded.train.first(3 * recipe.batch_size)
        some = loaded.validation.first(recipe.batch_size)
        total = 0.0
        with seeded(0, loaded.device, self.placement.threads):
            for genotype in genotypes:
                network = self._network(genotype, loaded.device)
                for _ in range(2):  # the first pays for whatever is set up once
                    (epoch,) = Training(network, recipe, torch.Generator().manual_seed(0)).epochs(few, some)
                total += epoch.train_seconds * len(loaded.train) / len(few)
                total += epoch.validation_seconds * len(loaded.validation) / len(some)
        return total * self._int("epochs") / len(genotypes)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the loaded data behind: a worker process loads it to its own device."""
        return {name: value for name, value in self.__dict__.items() if name != "_cache"}

    @property
    def _loaded(self) -> _Loaded:
        """The data on the device, loaded once a process."""
        if "_cache" not in self.__dict__:
            self._cache = self._load()
        return self._cache

    def _load(self) -> _Loaded:
        from evo_nas.devices import resolve_device
        from evo_nas.training import Examples

        device = resolve_device(self.placement.device)
        images = self._images()
        train, validation = (
            Examples(*images.train.tensors(device, indices), images.mean, images.std) for indices in self._split(images)
        )
        return _Loaded(device, images, train, validation)

    def _images(self) -> ImageSet:
        from evo_nas.data.images import open_images

        return open_images(self.dataset or "", self.placement.data_dir, size=self.image_size, channels=self.channels)

    def _split(self, images: ImageSet) -> Iterator[Any]:
        """Give the indices of the train and the validation images, both stratified."""
        from evo_nas.data.split import split_indices, subset_indices

        labels = images.train.labels
        train, validation = split_indices(labels, self._int("validation_images"), self.split_seed)
        wanted = self._int("train_images")
        if 0 < wanted < len(train):
            train = train[subset_indices(labels[train], wanted, self.split_seed)]
        return iter((train, validation))

    def _network(self, genotype: Genotype, device: torch.device) -> CellNetwork:
        import torch

        from evo_nas.phenotypes.network import CellNetwork

        keep = float(self.drop_path_keep or 1.0)
        network = CellNetwork(self.space.decode(genotype), drop_path_keep=keep, **self._size())
        network.to(device)
        network.to(memory_format=torch.channels_last)
        return network

    def _save(self, network: CellNetwork, job: Job) -> None:
        """Keep the weights, with all that is needed to build the network again."""
        from evo_nas.phenotypes.blueprint import Blueprint, save_network

        images = self._loaded.images
        blueprint = Blueprint(
            self.space.decode(job.genotype),
            classes=images.classes,
            image=self._int("image_size"),
            mean=images.mean,
            std=images.std,
            cells_per_stack=self._int("cells_per_stack"),
            filters=self._int("filters"),
            channels=self._int("channels"),
        )
        path = weights_file(self.directory, job.id)
        path.parent.mkdir(exist_ok=True)
        save_network(path, blueprint, network.state_dict(), genotype=str(job.genotype))

    def _size(self) -> dict[str, Any]:
        """Give the size of the network as ``CellNetwork`` and ``cost_of`` take it."""
        size = {option: self._int(option) for option in ("cells_per_stack", "filters", "channels")}
        return {**size, "classes": self._classes}

    def _recipe(self) -> Recipe:
        from evo_nas.recipes import Recipe

        known = [field.name for field in fields(Recipe) if hasattr(self, field.name)]
        return Recipe(**{name: getattr(self, name) for name in known})

    def _int(self, option: str) -> int:
        """Give an option that ``bind`` has settled."""
        value = getattr(self, option)
        assert value is not None, f"{option} is settled by bind()"
        return int(value)


@dataclass(frozen=True)
class _Loaded:
    """What a process keeps between trials."""

    device: torch.device
    images: ImageSet
    train: Examples
    validation: Examples


_LOWEST = {
    "image_size": SMALLEST_IMAGE,
    "cells_per_stack": 1,
    "filters": 1,
    "epochs": 1,
    "batch_size": 2,
    "learning_rate": 0,
    "train_images": 0,
    "validation_images": 1,
    "padding": 0,
    "cutout": 0,
    "momentum": 0,
    "weight_decay": 0,
    "gradient_norm": 0,
    "split_seed": 0,
}


def _curve(history: Sequence[Epoch]) -> tuple[float, ...]:
    """Give the validation accuracy of each epoch."""
    return tuple(epoch.accuracy for epoch in history if epoch.accuracy is not None)
