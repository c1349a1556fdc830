"""The proxy trainer: train a small network of the cells for a few epochs, and take its validation accuracy.

A space that brings its own network (:meth:`genotypes.space.SearchSpace.network`) is trained like cells.

The one evaluator that all strategies share. Heavy modules are imported when the first candidate comes, data is loaded
to the device once per process and stays there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from evo_nas.data.images import LARGEST, ImageSet, open_images
from evo_nas.data.sources.catalogue import DATA_SETS
from evo_nas.data.split import hold_out
from evo_nas.errors import UsageError
from evo_nas.evaluators.base import Job, Placement, weights_file
from evo_nas.evaluators.proxy.presets import PRESETS
from evo_nas.evaluators.training_evaluator import OnDevice, TrainingEvaluator
from evo_nas.phenotypes.blueprint import Blueprint, save_network, save_tensors
from evo_nas.phenotypes.kinds import BUILDERS, brings_network, build_network, count_cost, has_network, kind_of
from evo_nas.phenotypes.plan import SMALLEST_IMAGE
from evo_nas.training.recipes import RANGES, Recipe
from genotypes.cell import CellPair
from genotypes.genotype import Genotype
from genotypes.individual import Cost
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace

if TYPE_CHECKING:
    import torch
    from torch import nn

    from evo_nas.evaluators.pace import Pace
    from evo_nas.training.task import Task


@dataclass
class ProxyEvaluator(TrainingEvaluator):
    """Train each candidate shortly on a part of the train images; its fitness is the accuracy on the rest.

    ``dataset`` is a name of :data:`evo_nas.data.sources.catalogue.DATA_SETS`. ``preset`` is a name of
    :data:`evo_nas.evaluators.proxy.presets.PRESETS`; by default ``digits`` for the digits, else ``gpu`` where there is
    a GPU and ``cpu`` where there is none; and the preset ``digits`` alone means the data set too. Every other field is
    one of the preset's, and overrides it; a preset's ``validation_images`` are at most a fifth of the train part, its
    ``batch_size`` at most what is left to train on.
    ``channels`` is 1 (grey) or 3 (colour), by default the data set's own. ``split_seed`` decides which images are held
    out: one split for all candidates, and for all runs that are to be compared. The test images are never read.
    ``scores`` are names of :data:`evo_nas.evaluators.proxy.scores.SCORES`: what is computed of each network before its
    training, which goes on as without them. They count for nothing in the fitness.

    The other options are those of every :class:`evo_nas.evaluators.training_evaluator.TrainingEvaluator`.

    Raises:
        ValueError: if a name is unknown or a number out of range.
    """

    name: ClassVar[str] = "proxy"
    ranges: ClassVar[Mapping[str, str]] = {
        **TrainingEvaluator.ranges,
        **dict.fromkeys(("cells_per_stack", "filters", "validation_images"), "[1, inf)"),
        **dict.fromkeys(("train_images", "split_seed"), "[0, inf)"),
        "image_size": f"[{SMALLEST_IMAGE}, {LARGEST}]",
    }

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
    scores: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, **{name: interval for name, interval in RANGES.items() if hasattr(self, name)})
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"there is no preset {self.preset!r}; the presets are: {', '.join(PRESETS)}")
        if self.dataset is None:
            self.dataset = "digits" if self.preset == "digits" else "cifar10"
        if self.dataset not in DATA_SETS:
            raise ValueError(f"there is no data set {self.dataset!r}; the data sets are: {', '.join(DATA_SETS)}")
        if self.channels not in (None, 1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (colour), not {self.channels}")
        if self.scores:
            from evo_nas.evaluators.proxy.scores import SCORES

            if unknown := [name for name in self.scores if name not in SCORES]:
                raise ValueError(f"there is no score {unknown[0]!r}; the scores are: {', '.join(SCORES)}")
            if len(set(self.scores)) < len(self.scores):
                raise ValueError(f"scores names each score once, not {list(self.scores)}")

    def bind(self, space: SearchSpace, placement: Placement | None = None) -> None:
        """Take space and placement, and settle every field that was not given.

        Raises:
            ValueError: if what the space describes has no network, the device is not there, or the stopping rule does
                not fit the epochs.
        """
        super().bind(space, placement)
        if not has_network(space):
            raise ValueError(
                f"the proxy trainer takes {' and '.join(kind.__name__ for kind in BUILDERS)}, or a space with its own "
                f"network(); the space {space.spelling} describes a {kind_of(space).__name__}; choose another "
                "evaluator with --evaluator, such as tabular or toy"
            )
        device = self.device
        if self.preset is None:
            self.preset = "digits" if self.dataset == "digits" else "cpu" if device.type == "cpu" else "gpu"
        self.fill(PRESETS[self.preset].settings())
        if self.channels is None:
            self.channels = DATA_SETS[self.dataset or ""].channels
        # Until the images have been seen.
        known = DATA_SETS[self.dataset or ""]
        self._classes = known.classes or 10
        held_out = self.integer("validation_images")
        self._counts = self.integer("train_images") or max(0, (known.train or 0) - held_out), held_out
        self.settle_rule(self.integer("epochs"))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of every training, and the ``scores`` if there are any.

        A score that is no finite number is left out of an evaluation: see :mod:`evo_nas.evaluators.proxy.scores`.
        """
        return (*super().metrics, *((*self.scores, "scores_seconds") if self.scores else ()))

    def prepare(self, directory: Path) -> None:
        """Find the images, decode them if this is the first time, check that they can be split, and this processor.

        Raises:
            DataError: if images are missing or damaged.
            UsageError: if fewer images are there than are to be held out, or a batch takes more than are left.
        """
        from evo_nas.training.devices import warn_of_faults

        super().prepare(directory)
        warn_of_faults(self.device)
        images = self._images()
        self.settle(images.train.labels, len(images.classes))

    def settle(self, labels: np.ndarray, classes: int) -> None:
        """Fit what was not given to the images that there are, of which the labels are enough.

        Raises:
            UsageError: if fewer images are there than are to be held out, or a batch takes more than are left.
        """
        self._classes = classes
        if "validation_images" not in self._given:
            self.validation_images = min(self.integer("validation_images"), max(len(labels) // 5, classes))
        train, validation = self._split(labels)
        if "batch_size" not in self._given:
            self.batch_size = min(self.integer("batch_size"), len(train))
        if self.integer("batch_size") > len(train):
            raise UsageError(
                f"a batch of {self.batch_size} needs more images than the {len(train)} that there are to train on "
                f"({len(validation)} are held out for validation); choose another batch_size, such as "
                f"--set evaluator.batch_size={min(64, len(train))}"
            )
        self._counts = len(train), len(validation)

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of the train part's classes, labels and pixels."""
        return {str(self.dataset): self._images().fingerprint}

    def cost(self, genotype: Genotype) -> Cost:
        """Count the network at the size of the proxy training."""
        import torch

        from evo_nas.phenotypes.cost import cost_of

        if brings_network(self.space):
            with torch.random.fork_rng([]):
                return self.measure_cost(self.build(genotype, torch.device("cpu")))
        return cost_of(self.space.decode(genotype), image=self.integer("image_size"), **self._size())

    def build(self, genotype: Genotype, device: torch.device) -> nn.Module:
        """Build the network at the size of the proxy training."""
        import torch

        keep, side = float(self.drop_path_keep or 1.0), self.integer("image_size")
        network = build_network(self.space, genotype, drop_path_keep=keep, image_size=side, **self._size())
        network.to(device)
        network.to(memory_format=torch.channels_last)
        return network

    def recipe(self) -> Recipe:
        """Return the settled options that are a recipe's."""
        return replace(
            PRESETS[self.preset or ""].recipe,
            **{field.name: getattr(self, field.name) for field in fields(Recipe) if hasattr(self, field.name)},
        )

    def task(self) -> Task:
        """Return the task of telling the classes apart."""
        from evo_nas.training.classification import Classification

        return Classification.of(self.recipe())

    def measure_cost(self, network: nn.Module) -> Cost:
        """Count the network at the size of its images."""
        from evo_nas.phenotypes.cost import cost_of_network
        from evo_nas.phenotypes.network import CellNetwork

        if isinstance(network, CellNetwork):
            return cost_of_network(network, self.integer("image_size"))
        return Cost(*count_cost(network, channels=self.integer("channels"), image_size=self.integer("image_size")))

    def look(self, network: nn.Module) -> Mapping[str, float]:
        """Compute the scores, if any are wanted."""
        if not self.scores:
            return {}
        from evo_nas.evaluators.proxy.scores import measure_scores, mini_batch

        return measure_scores(network, mini_batch(self.loaded.train), self.scores)

    def expected_seconds(self, genotypes: Sequence[Genotype]) -> float | None:
        """Time a few steps of these candidates, and multiply."""
        return self.seconds_at(self.pace(genotypes))

    def seconds_at(self, pace: Pace) -> float | None:
        """Return how long a training takes at this pace, if no rule stops it; ``None`` if the images are uncounted."""
        train, validation = self._counts
        return pace.seconds(train, validation, self.integer("epochs")) if train else None

    def pace(
        self, genotypes: Sequence[Genotype], *, threads: int | None = None, steps: int = 3, noise: bool = False
    ) -> Pace:
        """Time a few steps of each of these candidates, by default with the threads of the placement.

        With ``noise`` on random images of the right shape: then ``prepare`` need not have been called.
        """
        from evo_nas.evaluators.pace import random_examples

        if noise:
            shape = {"image_size": self.integer("image_size"), "channels": self.integer("channels")}
            count = steps * self.integer("batch_size")
            some = random_examples(count, **shape, classes=self._classes, device=self.device)
            data = OnDevice(self.device, some, some)
        else:
            data = self.loaded
        return self.measure_pace(genotypes, data, threads=threads or self.placement.threads, steps=steps)

    def memory(self) -> int | None:
        """Estimate what a worker takes from a few random candidates; ``None`` where nobody has measured it.

        That is on a GPU, and for networks that a space brings itself.

        Before ``prepare`` a preset's number of images is taken for that of the data.
        """
        from evo_nas.evaluators.proxy.memory import worker_bytes

        if self.device.type != "cpu" or kind_of(self.space) is not CellPair:
            return None
        rng = np.random.default_rng(0)
        return worker_bytes(
            [self.space.decode(self.space.sample(rng)) for _ in range(_WEIGHED)],
            images=sum(self._counts),
            image_size=self.integer("image_size"),
            batch_size=self.integer("batch_size"),
            **self._size(),
        )

    def load(self) -> _Loaded:
        """Load the images, and split them."""
        from evo_nas.training.devices import keep_freed_memory
        from evo_nas.training.loop import Examples

        keep_freed_memory()
        device, images = self.device, self._images()
        train, validation = (
            Examples(*images.train.tensors(device, indices), images.mean, images.std)
            for indices in self._split(images.train.labels)
        )
        return _Loaded(device, train, validation, images)

    def _images(self) -> ImageSet:
        return open_images(self.dataset or "", self.placement.data_dir, size=self.image_size, channels=self.channels)

    def _split(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of the train and the validation images, both stratified."""
        return hold_out(labels, self.integer("validation_images"), self.integer("train_images"), self.split_seed)

    def keep(self, network: nn.Module, job: Job) -> None:
        """Keep the weights, with all that is needed to build the network again."""
        path = weights_file(self.directory, job.id)
        path.parent.mkdir(exist_ok=True)
        if brings_network(self.space):  # it can be built again by its space alone
            save_tensors(path, network.state_dict(), genotype=str(job.genotype))
            return
        images = cast("_Loaded", self.loaded).images
        blueprint = Blueprint(
            self.space.decode(job.genotype),
            classes=images.classes,
            image=self.integer("image_size"),
            mean=images.mean,
            std=images.std,
            cells_per_stack=self.integer("cells_per_stack"),
            filters=self.integer("filters"),
            channels=self.integer("channels"),
        )
        save_network(path, blueprint, network.state_dict(), genotype=str(job.genotype))

    def _size(self) -> dict[str, Any]:
        """Return the size of the network as ``CellNetwork`` and ``cost_of`` take it."""
        size = {option: self.integer(option) for option in ("cells_per_stack", "filters", "channels")}
        return {**size, "classes": self._classes}


@dataclass(frozen=True)
class _Loaded(OnDevice):
    """With what is known of the images."""

    images: ImageSet


_WEIGHED = 4
"""Random candidates by whose largest the memory of a worker is judged."""
