"""The proxy trainer: train a small network of the cells for a few epochs, and take its validation accuracy.

A space that brings its own network (:meth:`genotypes.space.SearchSpace.network`) is trained like cells.

The one evaluator that all strategies share. Heavy modules are imported when the first candidate comes, data is loaded
to the device once per process and stays there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from evo_nas.data.images import LARGEST, ImageSet, open_images
from evo_nas.data.sources.catalogue import DATA_SETS
from evo_nas.data.split import hold_out
from evo_nas.errors import UsageError
from evo_nas.evaluators.base import Job, Placement, weights_file
from evo_nas.evaluators.devices.timing import TimingSettings
from evo_nas.evaluators.proxy.judging import refuse_misfits
from evo_nas.evaluators.proxy.presets import PRESETS
from evo_nas.evaluators.proxy.strides import find_stride, warn_of_small_images
from evo_nas.evaluators.training_evaluator import OnDevice, TrainingEvaluator
from evo_nas.phenotypes.blueprint import BLUEPRINTS, save_network, save_tensors
from evo_nas.phenotypes.kinds import BUILDERS, brings_network, build_network, count_cost, has_network, kind_of
from evo_nas.phenotypes.plan import SMALLEST_IMAGE
from evo_nas.training.class_weights import NONE, read_weights
from evo_nas.training.metrics import check_metric
from evo_nas.training.recipes import RANGES, Recipe
from genotypes.cell import CellPair
from genotypes.edge_cell import EdgeCell
from genotypes.genotype import Genotype
from genotypes.individual import Cost, Evaluation
from genotypes.measure import Measure
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace

if TYPE_CHECKING:
    import torch
    from torch import nn

    from evo_nas.evaluators.pace import Pace
    from evo_nas.evaluators.proxy.deploying import Deployed
    from evo_nas.training.loop import Examples
    from evo_nas.training.task import Task


@dataclass
class ProxyEvaluator(TrainingEvaluator):
    """Train each candidate shortly on a part of the train images; its fitness is the accuracy on the rest.

    ``dataset`` is a name of :data:`evo_nas.data.sources.catalogue.DATA_SETS`. ``preset`` is a name of
    :data:`evo_nas.evaluators.proxy.presets.PRESETS`; by default ``digits`` for the digits, else ``gpu`` where there is
    a GPU and ``cpu`` where there is none; and the preset ``digits`` alone means the data set too. Every other field is
    one of the preset's, and overrides it; a preset's ``validation_images`` are at most a fifth of the train part, its
    ``batch_size`` at most what is left to train on, and its ``image_size`` is at least the stride of chains of blocks.
    ``channels`` is 1 (grey) or 3 (colour), by default the data set's own. ``split_seed`` decides which images are held
    out: one split for all candidates, and for all runs that are to be compared. The test images are never read.
    ``metric`` is what the fitness is, by default the accuracy: a name of :data:`evo_nas.training.metrics.METRICS`, or a
    function of one's own as ``package.module:function``, from probabilities (n, classes) and labels (n,) to a fraction.
    ``class_weights`` is that of :class:`evo_nas.training.recipes.Recipe`.

    ``scores`` are names of :data:`evo_nas.evaluators.scores.catalogue.SCORES`: what is computed of each network before
    its training, which goes on as without them. They count for nothing in the fitness.

    ``ort_latency`` measures after each training how long the network takes as it is deployed, see
    :mod:`evo_nas.evaluators.deployment`: built of ``deploy_cells_per_stack`` and ``deploy_filters`` in the
    macro-architecture ``deploy_macro``, for a batch of ``deploy_batch`` images of ``deploy_image_size`` pixels a side,
    with ``deploy_threads``. By default N = 6 and F = 32 (Zoph et al. 2017, section 4.1), one small image, one thread.
    With ``deploy_table`` it is predicted instead: a table of the latencies of pieces is measured before the first trial
    and kept with the run, see :mod:`evo_nas.evaluators.latency_table`.

    The other options are those of every :class:`evo_nas.evaluators.training_evaluator.TrainingEvaluator`.

    Raises:
        ValueError: if a name is unknown or a number out of range.
    """

    name: ClassVar[str] = "proxy"
    ranges: ClassVar[Mapping[str, str]] = {
        **TrainingEvaluator.ranges,
        **dict.fromkeys(("cells_per_stack", "filters", "validation_images"), "[1, inf)"),
        **dict.fromkeys(("train_images", "split_seed"), "[0, inf)"),
        **dict.fromkeys(("image_size", "deploy_image_size"), f"[{SMALLEST_IMAGE}, {LARGEST}]"),
        **dict.fromkeys(("deploy_cells_per_stack", "deploy_filters"), "[1, inf)"),
        **{f"deploy_{name}": TimingSettings.ranges[name] for name in ("batch", "threads")},
    }
    network_metrics: ClassVar[tuple[str, ...]] = (
        *TrainingEvaluator.network_metrics,
        *("ort_latency", "ort_latency_spread", "ort_latency_noisy", "ort_latency_tabled"),
    )

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
    metric: str = "accuracy"
    class_weights: str = NONE
    scores: tuple[str, ...] = ()
    ort_latency: bool = False
    deploy_macro: str = "cifar"
    deploy_cells_per_stack: int = 6
    deploy_filters: int = 32
    deploy_image_size: int = 32
    deploy_batch: int = 1
    deploy_threads: int = 1
    deploy_table: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, **{name: interval for name, interval in RANGES.items() if hasattr(self, name)})
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"there is no preset {self.preset!r}; the presets are: {', '.join(PRESETS)}")
        if self.dataset is None:
            self.dataset = "digits" if self.preset == "digits" else "cifar10"
        if self.dataset not in DATA_SETS:
            raise ValueError(f"there is no data set {self.dataset!r}; the data sets are: {', '.join(DATA_SETS)}")
        if self.deploy_table and not self.ort_latency:
            raise ValueError(
                "deploy_table predicts ort_latency, which this search does not want: add --cost ort-latency"
            )
        check_metric(self.metric)
        read_weights(self.class_weights)
        if self.channels not in (None, 1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (colour), not {self.channels}")
        if self.scores:
            from evo_nas.evaluators.scores.catalogue import SCORES

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
                f"the proxy trainer takes {', '.join(kind.__name__ for kind in BUILDERS)}, or a space with its own "
                f"network(); the space {space.spelling} describes a {kind_of(space).__name__}; choose another "
                "evaluator with --evaluator, such as tabular or toy"
            )
        self.fill_preset()
        # Until the images have been seen.
        known = DATA_SETS[self.dataset or ""]
        self._classes = known.classes or 10
        if self.ort_latency:
            self._describe_deployment().refuse()
        held_out = self.integer("validation_images")
        self._counts = self.integer("train_images") or max(0, (known.train or 0) - held_out), held_out
        self.settle_rule(self.integer("epochs"))

    def fill_preset(self) -> None:
        """Settle what was not given and does not depend on the images, once ``placement`` is known.

        Raises:
            ValueError: if the device is not there.
        """
        device = self.device
        if self.preset is None:
            self.preset = "digits" if self.dataset == "digits" else "cpu" if device.type == "cpu" else "gpu"
        settings = PRESETS[self.preset].settings()
        settings["image_size"] = max(settings["image_size"], find_stride(getattr(self, "space", None)))
        self.fill(settings)
        if self.channels is None:
            self.channels = DATA_SETS[self.dataset or ""].channels

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of every training and what else is wanted; one may lack a score that has no value."""
        scores = (*self.scores, "scores_missing", "scores_seconds") if self.scores else ()
        told = ("tabled",) if self.deploy_table else ("spread", "noisy")
        deployed = ("ort_latency", *(f"ort_latency_{name}" for name in told)) if self.ort_latency else ()
        other = () if self.metric == "accuracy" else ("accuracy",)
        return (*super().metrics, "validation_loss", *other, *scores, *deployed)

    def prepare(self, directory: Path) -> None:
        """Find the images, decode them if this is the first time, check that they can be split, and this processor.

        Raises:
            DataError: if images are missing or damaged, or the device that measures latencies does not answer.
            UsageError: if fewer images are there than are to be held out, or a batch takes more than are left.
        """
        from evo_nas.training.devices import warn_of_faults

        super().prepare(directory)
        if self.placement.device_url is not None:
            from evo_nas.evaluators.devices.client import Device

            self._device = Device(self.placement.device_url).describe()
        warn_of_faults(self.device)
        warn_of_small_images(self.space, self.integer("image_size"))
        images = self._images()
        self.settle(images.train.labels, len(images.classes))

    def settle(self, labels: np.ndarray, classes: int) -> None:
        """Fit what was not given to the images that there are, of which the labels are enough.

        Raises:
            UsageError: if fewer images are there than are to be held out, a batch takes more than are left, or metric
                or class weights do not fit.
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
        refuse_misfits(self.metric, self.class_weights, labels[train], labels[validation], classes)

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of the train part's classes, labels and pixels, and the device that measures latencies."""
        device = {} if self.placement.device_url is None else {"latency device": self._device}
        table = {"latency table": self._table.digest} if self.deploy_table else {}
        return {str(self.dataset): self._images().fingerprint, **device, **table}

    def groundwork(self, hear: Callable[[str], None]) -> None:
        """Open the table of latencies, if one is wanted; the run folder gets one if it has none.

        Raises:
            DataError: if it cannot be measured or kept, or is damaged.
        """
        if self.deploy_table:
            url = self.placement.device_url
            agent = None if url is None else (url, self._device)
            self._table = self._describe_deployment().open_table(self.directory, hear, agent)

    def cost(self, genotype: Genotype) -> Cost:
        """Count the network at the size of the proxy training."""
        import torch

        from evo_nas.phenotypes.cost import cost_of

        if brings_network(self.space) or kind_of(self.space) is not CellPair:
            with torch.random.fork_rng([]):
                return self.measure_cost(self.build(genotype, torch.device("cpu")))
        return cost_of(self.space.decode(genotype), image=self.integer("image_size"), **self.size())

    def build(self, genotype: Genotype, device: torch.device) -> nn.Module:
        """Build the network at the size of the proxy training."""
        import torch

        keep, side = float(self.drop_path_keep or 1.0), self.integer("image_size")
        network = build_network(self.space, genotype, drop_path_keep=keep, image_size=side, **self.size())
        network.to(device)
        network.to(memory_format=torch.channels_last)
        return network

    def evaluate(self, job: Job) -> Evaluation:
        """Train the candidate and measure it, and how fast it is where it is deployed, if that is wanted."""
        evaluation = super().evaluate(job)
        if not (self.ort_latency and evaluation.outcome.has_fitness) or job.so_far is not None:
            return evaluation
        start = time.perf_counter()
        measured = self._measure_deployment(job.genotype)
        seconds = (evaluation.seconds or 0.0) + time.perf_counter() - start
        return replace(evaluation, metrics={**evaluation.metrics, **measured}, seconds=seconds)

    def recipe(self) -> Recipe:
        """Return the settled options that are a recipe's."""
        return replace(
            PRESETS[self.preset or ""].recipe,
            **{field.name: getattr(self, field.name) for field in fields(Recipe) if hasattr(self, field.name)},
        )

    def task(self, data: OnDevice | None = None) -> Task:
        """Return the task of telling the classes apart."""
        from evo_nas.training.classification import Classification

        labels = None if self.class_weights == NONE else cast("Examples", (data or self.loaded).train).labels
        return Classification.of(self.recipe(), labels, self.metric)

    def add_metrics(self, measures: Mapping[str, float]) -> Mapping[str, float]:
        """Return the loss on the validation images, and the accuracy where that is not the fitness."""
        accuracy = {} if self.metric == "accuracy" else {"accuracy": measures["accuracy"]}
        return {"validation_loss": measures["loss"], **accuracy}

    @property
    def measure(self) -> Measure:
        """Meaning of the fitness: the metric on the validation images."""
        if self.metric == "accuracy":
            return super().measure
        name = self.metric.rpartition(":")[2].replace("_", " ")[:20]
        return Measure(name, f"validation {name}")

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
        from evo_nas.evaluators.scores.catalogue import measure_scores, mini_batches

        return measure_scores(network, mini_batches(cast("Examples", self.loaded.train), self.scores), self.scores)

    def expected_seconds(self, genotypes: Sequence[Genotype]) -> float | None:
        """Time a few steps of these candidates, and multiply."""
        return self.seconds_at(self.pace(genotypes))

    def seconds_at(self, pace: Pace) -> float | None:
        """Return how long a training takes at this pace, if no rule stops it; ``None`` if the images are uncounted."""
        train, validation = self._counts
        return pace.seconds(train, validation, self.all_epochs) if train else None

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
        from evo_nas.evaluators.live_bytes import WEIGHED
        from evo_nas.evaluators.proxy.memory import worker_bytes

        if self.device.type != "cpu" or kind_of(self.space) is not CellPair:
            return None
        rng = np.random.default_rng(0)
        return worker_bytes(
            [self.space.decode(self.space.sample(rng)) for _ in range(WEIGHED)],
            images=sum(self._counts),
            image_size=self.integer("image_size"),
            batch_size=self.integer("batch_size"),
            **self.size(),
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
        design = None if brings_network(self.space) else self.space.decode(job.genotype)
        images = cast("_Loaded", self.loaded).images
        told: dict[str, Any] = {"classes": images.classes, "mean": images.mean, "std": images.std}
        told |= {"image": self.integer("image_size"), "channels": self.integer("channels")}
        if (kind := BLUEPRINTS.get(type(design))) is None:  # it can be built again by its space alone
            save_tensors(path, network.state_dict(), genotype=str(job.genotype))
            return
        if isinstance(design, CellPair | EdgeCell):
            told |= {name: self.integer(name) for name in ("cells_per_stack", "filters")}
        blueprint = kind(design, **told)
        save_network(path, blueprint, network.state_dict(), genotype=str(job.genotype))

    def _describe_deployment(self) -> Deployed:
        """Return the candidates as they are deployed."""
        from evo_nas.evaluators.deployment import Deployment
        from evo_nas.evaluators.proxy.deploying import Deployed

        size = {"cells_per_stack": self.deploy_cells_per_stack, "filters": self.deploy_filters}
        deployment = Deployment(self.channels or 3, self.deploy_image_size, self.deploy_batch, self.deploy_threads)
        return Deployed(self.space, deployment, self.deploy_macro, {**size, "classes": self._classes})

    def _measure_deployment(self, genotype: Genotype) -> dict[str, float]:
        """Time a candidate as it is deployed, on the device that was asked in ``prepare``, or here; or predict it."""
        if self.deploy_table:
            return self._describe_deployment().predict(genotype, self._table)
        if self.placement.device_url is not None:
            return self._describe_deployment().measure_at(self.placement.device_url, self._device, genotype)
        return self._describe_deployment().measure(genotype, workers=self.placement.workers)

    def size(self) -> dict[str, Any]:
        """Return the size of the network as ``CellNetwork`` and ``cost_of`` take it, once ``bind`` has settled it."""
        size = {option: self.integer(option) for option in ("cells_per_stack", "filters", "channels")}
        return {**size, "classes": self._classes}


@dataclass(frozen=True)
class _Loaded(OnDevice):
    """With what is known of the images."""

    images: ImageSet
