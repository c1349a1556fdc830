"""The proxy trainer: train a small network of the cells for a few epochs, and take its validation accuracy.

The one evaluator that all strategies share. Heavy modules are imported when the first candidate comes, data is loaded
to the device once per process and stays there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from evo_nas.data.images import LARGEST
from evo_nas.data.sources.catalogue import DATA_SETS
from evo_nas.errors import UsageError
from evo_nas.evaluators.base import Evaluator, Job, Placement, weights_file
from evo_nas.evaluators.proxy.presets import PRESETS, Preset
from evo_nas.evaluators.proxy.stopping import RULES, stopping_rule
from evo_nas.phenotypes.plan import SMALLEST_IMAGE
from genotypes.cell import CellPair
from genotypes.genotype import Genotype
from genotypes.individual import Cost, Evaluation, Outcome
from genotypes.population import Population
from genotypes.space import SearchSpace

if TYPE_CHECKING:
    import numpy as np
    import torch

    from evo_nas.data.images import ImageSet
    from evo_nas.evaluators.proxy.pace import Pace
    from evo_nas.phenotypes.network import CellNetwork
    from evo_nas.training.loop import Epoch, Examples
    from evo_nas.training.recipes import Recipe


@dataclass
class ProxyEvaluator(Evaluator):
    """Train each candidate shortly on a part of the train images; its fitness is the accuracy on the rest.

    ``dataset`` is a name of :data:`evo_nas.data.sources.catalogue.DATA_SETS`. ``preset`` is a name of
    :data:`evo_nas.evaluators.proxy.presets.PRESETS`; by default ``digits`` for the digits, else ``gpu`` where there is
    a GPU and ``cpu`` where there is none; and the preset ``digits`` alone means the data set too. Every other field is
    one of the preset's, and overrides it; a preset's ``validation_images`` are at most a fifth of the train part, its
    ``batch_size`` at most what is left to train on.
    ``channels`` is 1 (grey) or 3 (colour), by default the data set's own. ``split_seed`` decides which images are held
    out: one split for all candidates, and for all runs that are to be compared. The test images are never read.
    ``latency`` measures after each training how long the network takes for one image, see
    :mod:`evo_nas.evaluators.proxy.latency`; as any time, it is not the same twice.
    ``scores`` are names of :data:`evo_nas.evaluators.proxy.scores.SCORES`: what is computed of each network before its
    training, which goes on as without them. They count for nothing in the fitness.

    ``cuda_graphs`` computes each step of a training as one graph, on a GPU, see :mod:`evo_nas.training.cuda_graphs`;
    elsewhere, and with paths that are dropped, nothing changes. Untested on CUDA hardware.

    ``early_stopping`` is a name of :data:`evo_nas.evaluators.proxy.stopping.RULES`: whether a training that falls
    behind is stopped before its last epoch. Its fitness is then the accuracy that it had. ``stopping_epochs`` is the
    first epoch after which that may happen, ``stopping_trials`` and ``stopping_window`` how many trials decide, at
    least and at most, and ``stopping_eta`` the reduction factor of ``halving``.

    Raises:
        ValueError: if a name is unknown or a number out of range.
    """

    name: ClassVar[str] = "proxy"
    preload: ClassVar[tuple[str, ...]] = ("torch", "evo_nas.training.loop")

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
    latency: bool = False
    cuda_graphs: bool = False
    scores: tuple[str, ...] = ()
    early_stopping: str = "none"
    stopping_epochs: int = 1
    stopping_trials: int = 10
    stopping_window: int = 200
    stopping_eta: int = 4

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
        if self.image_size is not None and self.image_size > LARGEST:
            raise ValueError(f"image_size must be at most {LARGEST} pixels a side, not {self.image_size}")
        if self.channels not in (None, 1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (colour), not {self.channels}")
        if self.drop_path_keep is not None and not 0 < self.drop_path_keep <= 1:
            raise ValueError(f"drop_path_keep must lie in (0, 1], not {self.drop_path_keep}")
        if self.early_stopping not in RULES:
            raise ValueError(f"there is no stopping rule {self.early_stopping!r}; the rules are: {', '.join(RULES)}")
        if self.scores:
            from evo_nas.evaluators.proxy.scores import SCORES

            if unknown := [name for name in self.scores if name not in SCORES]:
                raise ValueError(f"there is no score {unknown[0]!r}; the scores are: {', '.join(SCORES)}")
            if len(set(self.scores)) < len(self.scores):
                raise ValueError(f"scores names each score once, not {list(self.scores)}")

    def bind(self, space: SearchSpace, placement: Placement | None = None) -> None:
        """Take space and placement, and settle every field that was not given.

        Raises:
            ValueError: if the space describes no pair of cells, the device is not there, or the stopping rule does not
                fit the epochs.
        """
        import numpy as np

        from evo_nas.training.devices import resolve_device

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
        # Until the images have been seen.
        known = DATA_SETS[self.dataset or ""]
        self._classes = known.classes or 10
        held_out = self._int("validation_images")
        self._counts = self._int("train_images") or max(0, (known.train or 0) - held_out), held_out
        self._rule = stopping_rule(
            self.early_stopping,
            epochs=self._int("epochs"),
            first=self.stopping_epochs,
            trials=self.stopping_trials,
            window=self.stopping_window,
            eta=self.stopping_eta,
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Costs, loss and times; with ``latency`` and ``scores`` what they are; with a stopping rule how far it went.

        A score that is no finite number is left out of an evaluation: see :mod:`evo_nas.evaluators.proxy.scores`.
        """
        extent = () if self.early_stopping == "none" else ("epochs", "stopped")
        scores = (*self.scores, "scores_seconds") if self.scores else ()
        known = ("parameters", "mult_adds", "train_loss", "cpu_seconds", "train_seconds", "validation_seconds")
        known = (*known, *scores, *extent)
        if not self.latency:
            return known
        from evo_nas.evaluators.proxy.latency import METRICS

        return (*known, *METRICS)

    def prepare(self, directory: Path) -> None:
        """Find the images, decode them if this is the first time, check that they can be split, and this processor.

        Raises:
            DataError: if images are missing or damaged.
            UsageError: if fewer images are there than are to be held out, or a batch takes more than are left.
        """
        from evo_nas.training.devices import resolve_device, warn_of_faults

        super().prepare(directory)
        warn_of_faults(resolve_device(self.placement.device))
        images = self._images()
        self.settle(images.train.labels, len(images.classes))

    def settle(self, labels: np.ndarray, classes: int) -> None:
        """Fit what was not given to the images that there are, of which the labels are enough.

        Raises:
            UsageError: if fewer images are there than are to be held out, or a batch takes more than are left.
        """
        self._classes = classes
        if "validation_images" not in self._given:
            self.validation_images = min(self._int("validation_images"), max(len(labels) // 5, classes))
        train, validation = self._split(labels)
        if "batch_size" not in self._given:
            self.batch_size = min(self._int("batch_size"), len(train))
        if self._int("batch_size") > len(train):
            raise UsageError(
                f"a batch of {self.batch_size} needs more images than the {len(train)} that there are to train on "
                f"({len(validation)} are held out for validation); choose another batch_size, such as "
                f"--set evaluator.batch_size={min(64, len(train))}"
            )
        self._counts = len(train), len(validation)

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of the train part's classes, labels and pixels."""
        return {str(self.dataset): self._images().fingerprint}

    @property
    def window(self) -> int:
        """How many of the youngest individuals the stopping rule looks at; 0 without one."""
        return 0 if self.early_stopping == "none" else self.stopping_window

    def brief(self, population: Population) -> tuple[float, ...]:
        """Return the thresholds of the stopping rule; nothing without one."""
        return () if self._rule is None else self._rule.brief(population)

    def cost(self, genotype: Genotype) -> Cost:
        """Count the network at the size of the proxy training."""
        from evo_nas.phenotypes.cost import cost_of

        return cost_of(self.space.decode(genotype), image=self._int("image_size"), **self._size())

    def evaluate(self, job: Job) -> Evaluation:
        """Train the candidate and measure it; a loss that is no number ends the training at once.

        So does the stopping rule, if there is one: then ``epochs`` (how many were trained) and ``stopped`` (1 if those
        are not all, else 0) are among the metrics.

        ``cpu_seconds`` is the processor time of this process, all its threads together: the work, however crowded the
        machine is. What a GPU does is not in it; what scores and latency take is.
        """
        import torch

        from evo_nas.phenotypes.cost import cost_of_network
        from evo_nas.training.devices import seeded
        from evo_nas.training.loop import Diverged, Training

        loaded = self._loaded
        seed = int(job.rng().integers(2**62))
        start, cpu_start = time.perf_counter(), time.process_time()
        history: list[Epoch] = []
        with seeded(seed, loaded.device, self.placement.threads):
            network = self._network(job.genotype, loaded.device)
            cost = cost_of_network(network, self._int("image_size"))
            scores = self._scores(network) if self.scores else {}
            try:
                generator = torch.Generator().manual_seed(seed)
                training = Training(network, self._recipe(), generator, graphs=self.cuda_graphs)
                for epoch in training.epochs(loaded.train, loaded.validation):
                    history.append(epoch)  # one by one: those before a NaN are wanted too
                    if self._rule is not None and self._rule.stops(_curve(history), job.brief):
                        break
            except Diverged as error:
                return Evaluation.failed(Outcome.NAN, str(error), time.perf_counter() - start, _curve(history))
            latency = self._latency(network) if self.latency else {}
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
                "cpu_seconds": time.process_time() - cpu_start,
                "train_seconds": sum(epoch.train_seconds for epoch in history),
                "validation_seconds": sum(epoch.validation_seconds for epoch in history),
                **latency,
                **scores,
                **self._extent(len(history)),
            },
        )

    def expected_seconds(self, genotypes: Sequence[Genotype]) -> float | None:
        """Time a few steps of these candidates, and multiply."""
        return self.seconds_at(self.pace(genotypes))

    def seconds_at(self, pace: Pace) -> float | None:
        """Return how long a training takes at this pace, if no rule stops it; ``None`` if the images are uncounted."""
        train, validation = self._counts
        return pace.seconds(train, validation, self._int("epochs")) if train else None

    def pace(
        self, genotypes: Sequence[Genotype], *, threads: int | None = None, steps: int = 3, noise: bool = False
    ) -> Pace:
        """Time a few steps of each of these candidates, by default with the threads of the placement.

        With ``noise`` on random images of the right shape: then ``prepare`` need not have been called.
        """
        from evo_nas.evaluators.proxy.pace import measure_pace, random_examples
        from evo_nas.training.devices import resolve_device, seeded

        if noise:
            device = resolve_device(self.placement.device)
            shape = {"image_size": self._int("image_size"), "channels": self._int("channels")}
            train = random_examples(steps * self._int("batch_size"), **shape, classes=self._classes, device=device)
            validation = train
        else:
            device, train, validation = self._loaded.device, self._loaded.train, self._loaded.validation
        with seeded(0, device, threads or self.placement.threads):
            networks = (self._network(genotype, device) for genotype in genotypes)
            return measure_pace(networks, self._recipe(), train, validation, steps)

    def memory(self) -> int | None:
        """Estimate what a worker takes from a few random candidates; ``None`` on a GPU, where nobody has measured it.

        Before ``prepare`` a preset's number of images is taken for that of the data.
        """
        import numpy as np

        from evo_nas.evaluators.proxy.memory import worker_bytes
        from evo_nas.training.devices import resolve_device

        if resolve_device(self.placement.device).type != "cpu":
            return None
        rng = np.random.default_rng(0)
        return worker_bytes(
            [self.space.decode(self.space.sample(rng)) for _ in range(_WEIGHED)],
            images=sum(self._counts),
            image_size=self._int("image_size"),
            batch_size=self._int("batch_size"),
            **self._size(),
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the loaded data behind: a worker process loads it to its own device."""
        return {name: value for name, value in self.__dict__.items() if name != "_cache"}

    @property
    def _loaded(self) -> _Loaded:
        """The data on the device, loaded once per process."""
        if "_cache" not in self.__dict__:
            self._cache = self._load()
        return self._cache

    def _load(self) -> _Loaded:
        from evo_nas.training.devices import keep_freed_memory, resolve_device
        from evo_nas.training.loop import Examples

        keep_freed_memory()
        device = resolve_device(self.placement.device)
        images = self._images()
        train, validation = (
            Examples(*images.train.tensors(device, indices), images.mean, images.std)
            for indices in self._split(images.train.labels)
        )
        return _Loaded(device, images, train, validation)

    def _images(self) -> ImageSet:
        from evo_nas.data.images import open_images

        return open_images(self.dataset or "", self.placement.data_dir, size=self.image_size, channels=self.channels)

    def _split(self, labels: np.ndarray) -> Iterator[Any]:
        """Return the indices of the train and the validation images, both stratified."""
        from evo_nas.data.split import split_indices, subset_indices

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

    def _latency(self, network: CellNetwork) -> dict[str, float]:
        from evo_nas.evaluators.proxy.latency import measure_latency

        image, _ = self._loaded.validation.batch(slice(1))
        return measure_latency(network, image, workers=self.placement.workers)

    def _scores(self, network: CellNetwork) -> dict[str, float]:
        from evo_nas.evaluators.proxy.scores import measure_scores, mini_batch

        return measure_scores(network, mini_batch(self._loaded.train), self.scores)

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
        """Return the size of the network as ``CellNetwork`` and ``cost_of`` take it."""
        size = {option: self._int(option) for option in ("cells_per_stack", "filters", "channels")}
        return {**size, "classes": self._classes}

    def _extent(self, epochs: int) -> dict[str, float]:
        """Return how far a training went, where trainings may be stopped."""
        return {} if self._rule is None else {"epochs": epochs, "stopped": epochs < self._int("epochs")}

    def _recipe(self) -> Recipe:
        from evo_nas.training.recipes import Recipe

        known = [field.name for field in fields(Recipe) if hasattr(self, field.name)]
        return Recipe(**{name: getattr(self, name) for name in known})

    def _int(self, option: str) -> int:
        """Return an option that ``bind`` has settled."""
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
    "stopping_epochs": 1,
    "stopping_trials": 1,
    "stopping_window": 1,
    "stopping_eta": 2,
}


_WEIGHED = 4
"""Random candidates by whose largest the memory of a worker is judged."""


def _curve(history: Sequence[Epoch]) -> tuple[float, ...]:
    """Return the validation accuracy of each epoch."""
    return tuple(epoch.accuracy for epoch in history if epoch.accuracy is not None)
