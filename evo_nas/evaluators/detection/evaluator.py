"""The trainer of detectors: train a small detector of a merging graph for a few epochs, and take its AP.

What is searched is the neck (the space ``nasfpn``) or the backbone (the space ``detnas``). Heavy modules are
imported when the first candidate comes, data is loaded to the device once per process and stays there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from evo_nas.data.boxes.catalogue import BOX_SETS
from evo_nas.data.boxes.source import open_boxes
from evo_nas.errors import DataError, UsageError
from evo_nas.evaluators.base import Job, Placement, weights_file
from evo_nas.evaluators.detection.presets import NECK_OF_CHAINS, PRESETS, SUITED
from evo_nas.evaluators.training_evaluator import OnDevice, TrainingEvaluator
from evo_nas.phenotypes.blueprint import Blueprint, DetectorBlueprint, save_network
from evo_nas.phenotypes.kinds import kind_of
from evo_nas.phenotypes.named import read_chain, spell_chain
from evo_nas.phenotypes.neck import NECKS
from evo_nas.training.precision import require_coco
from evo_nas.training.recipes import OPTIMIZERS, RANGES, Recipe
from genotypes.chain import Chain
from genotypes.genotype import Genotype, shorten
from genotypes.individual import Cost
from genotypes.measure import Measure
from genotypes.pyramid import Pyramid
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace

if TYPE_CHECKING:
    import torch
    from torch import nn

    from evo_nas.data.boxes.value import BoxSet
    from evo_nas.phenotypes.detector import Detector
    from evo_nas.training.task import Task

AP: Final = Measure("AP", "validation AP")


@dataclass
class DetectionEvaluator(TrainingEvaluator):
    """Train each candidate shortly to find objects; its fitness is the AP on validation images, as COCO has it.

    The space says what the candidate is: pyramids are necks, chains of blocks are backbones. ``dataset`` is a name of
    :data:`evo_nas.data.boxes.catalogue.BOX_SETS`. ``preset`` is a name of
    :data:`evo_nas.evaluators.detection.presets.PRESETS`; by default the one that is made for the set, else ``gpu``
    where there is a GPU and ``cpu`` where there is none; and the presets ``tiny``, ``plates`` and ``digits`` alone mean
    their data set too. Every other field is one of the preset's, and overrides it; a preset's ``batch_size`` is at most
    what there is to train on.

    ``canvas`` is the side of an image in pixels, ``channels`` 1 (grey) or 3 (colour), by default the data set's own.
    ``split_seed`` decides which images are held out where the set has no validation part, and which scenes are drawn
    where it is made: one for all candidates, and for all runs that are to be compared. The test part is never read.

    ``backbone``, ``neck``, ``width``, ``repeats``, ``depth`` and ``finest_stride`` are those of
    :class:`evo_nas.phenotypes.detector.Detector`; ``neck`` is that of searched backbones, ``fpn`` as in DetNAS, or
    ``none``; a searched neck takes its place. ``alpha``, ``gamma``, ``box_loss``, ``box_weight`` and the thresholds
    ``positive`` and ``negative`` are those of :class:`evo_nas.training.detection.Detection`.

    The other options are those of every :class:`evo_nas.evaluators.training_evaluator.TrainingEvaluator`; there are no
    ``cuda_graphs`` for detectors.

    Raises:
        ValueError: if a name is unknown or a number out of range.
    """

    name: ClassVar[str] = "detection"
    preload: ClassVar[tuple[str, ...]] = ("torch", "torchvision", "evo_nas.training.detection")
    ranges: ClassVar[Mapping[str, str]] = {
        **TrainingEvaluator.ranges,
        **dict.fromkeys(("canvas", "width", "repeats", "finest_stride"), "[1, inf)"),
        **dict.fromkeys(("train_images", "validation_images", "split_seed", "depth"), "[0, inf)"),
        **dict.fromkeys(("alpha", "positive", "negative"), "[0, 1]"),
        **dict.fromkeys(("gamma", "box_weight"), "[0, inf)"),
    }

    channels: int | None = None
    split_seed: int = 0
    canvas: int | None = None
    backbone: str | None = None
    neck: str = NECK_OF_CHAINS  # no None: "none" is a neck
    width: int | None = None
    repeats: int | None = None
    depth: int | None = None
    finest_stride: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    warmup: int | None = None
    train_images: int | None = None
    validation_images: int | None = None
    flip: bool | None = None
    scale: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    gradient_norm: float | None = None
    alpha: float = 0.25
    gamma: float = 2.0
    box_loss: str = "l1"
    box_weight: float = 1.0
    positive: float = 0.5
    negative: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [field.name for field in fields(self)]
        check_ranges(self, **{name: interval for name, interval in RANGES.items() if name in names})
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"there is no preset {shorten(self.preset)!r}; the presets are: {', '.join(PRESETS)}")
        if self.dataset is None:
            self.dataset = "scenes" if self.preset == "digits" else "plates"
        if self.dataset not in BOX_SETS:
            raise ValueError(
                f"there is no data set with boxes {shorten(self.dataset)!r}; those are: {', '.join(BOX_SETS)}"
            )
        if self.channels not in (None, 1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (colour), not {self.channels}")
        if self.negative > self.positive:
            raise ValueError(f"negative must be at most positive, which is {self.positive}, not {self.negative}")
        if self.cuda_graphs:
            raise ValueError("cuda_graphs are for classifiers: the boxes of two batches differ in number")
        if self.optimizer not in (None, *OPTIMIZERS):
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, not {shorten(self.optimizer)!r}")
        if self.neck not in NECKS:
            raise ValueError(f"neck must be one of {', '.join(NECKS)}, not {shorten(self.neck)!r}")
        if self.box_loss not in (known := ("l1", "huber")):
            raise ValueError(f"box_loss must be one of {', '.join(known)}, not {shorten(self.box_loss)!r}")

    @property
    def measure(self) -> Measure:
        """The AP on validation images."""
        return AP

    def bind(self, space: SearchSpace, placement: Placement | None = None) -> None:
        """Take space and placement, and settle every field that was not given.

        Raises:
            ValueError: if the space describes nothing that a detector can have, the device is not there, the canvas
                does not suit the strides, the stopping rule does not fit the epochs, or faster-coco-eval is missing.
        """
        super().bind(space, placement)
        if kind_of(space) not in (Pyramid, Chain):
            raise ValueError(
                "the evaluator detection takes the space nasfpn, whose pyramids are necks of detectors, and detnas, "
                f"whose chains are backbones; the space {space.spelling} describes a {kind_of(space).__name__}: choose "
                "one of these, or another evaluator"
            )
        if kind_of(space) is Chain and self.backbone is not None:
            raise ValueError("the backbone is what is searched here: leave the option backbone out")
        try:
            require_coco()
            self.fill_preset()
            self._check_detector()
        except UsageError as error:
            raise ValueError(str(error)) from error
        self._classes = BOX_SETS[self.dataset or ""].classes or 10
        self._counts = self.integer("train_images"), self.integer("validation_images")
        self.settle_rule(self.integer("epochs"))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of every training, AP at two IoU, and the losses of classes and boxes in the last epoch."""
        return (*super().metrics, "ap50", "ap75", "class_loss", "box_loss")

    def prepare(self, directory: Path) -> None:
        """Find the images, decode them if this is the first time, and check that there is something to learn from.

        Raises:
            DataError: if images or boxes are missing or damaged.
            UsageError: if a batch takes more images than there are.
        """
        from evo_nas.training.devices import warn_of_faults

        super().prepare(directory)
        warn_of_faults(self.device)
        images = self._images()
        self._classes = len(images.classes)
        train, validation = len(self._rows(images)[0]), images.val.subset(self._rows(images)[1])
        self._counts = train, len(validation)
        if "batch_size" not in self._given:
            self.batch_size = max(2, min(self.integer("batch_size"), train))
        if self.integer("batch_size") > train:
            raise UsageError(
                f"a batch of {self.batch_size} needs more images than the {train} that there are to train on; choose "
                f"another batch_size, such as --set evaluator.batch_size={max(2, min(8, train))}"
            )
        if validation.ignored.all():
            raise DataError(f"no validation image of {self.dataset} has an object that is to be found")

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of class names, boxes and pixels that a search may see."""
        return {str(self.dataset): self._images().fingerprint}

    def cost(self, genotype: Genotype) -> Cost:
        """Count the whole detector at the size of its training."""
        import torch

        with torch.random.fork_rng([]), torch.device("meta"):
            return self.measure_cost(self._detector(genotype))

    def build(self, genotype: Genotype, device: torch.device) -> nn.Module:
        """Build the detector at the size of its training."""
        import torch

        detector = self._detector(genotype).to(device)
        detector.to(memory_format=torch.channels_last)
        return detector

    def recipe(self) -> Recipe:
        """Return the settled options that are a recipe's."""
        own = {field.name for field in fields(self)}
        return replace(
            PRESETS[self.preset or ""].recipe,
            **{field.name: getattr(self, field.name) for field in fields(Recipe) if field.name in own},
        )

    def task(self, data: OnDevice | None = None) -> Task:  # boxes need none
        """Return the task of finding objects."""
        from evo_nas.training.detection import Detection

        names = ("alpha", "gamma", "box_loss", "box_weight", "positive", "negative")
        return Detection(**{name: getattr(self, name) for name in names})

    def measure_cost(self, network: nn.Module) -> Cost:
        """Count backbone, neck and head together."""
        from evo_nas.phenotypes.detector import Detector

        assert isinstance(network, Detector)
        parts = network.count_parts().values()
        return Cost(sum(part.parameters for part in parts), sum(part.mult_adds for part in parts))

    def add_metrics(self, measures: Mapping[str, float]) -> dict[str, float]:
        """Return all that was measured in the last epoch but for the AP itself, which is the fitness."""
        return {name: value for name, value in measures.items() if name != "ap"}

    def find_design(self, blueprint: Blueprint) -> object:
        """Return the chain of blocks that is the backbone, or the neck."""
        assert isinstance(blueprint, DetectorBlueprint)
        kind, _, name = blueprint.backbone.partition(":")
        return read_chain(name) if kind == "chain" else blueprint.neck

    def keep(self, network: nn.Module, job: Job) -> None:
        """Keep the weights, with all that is needed to build the detector again."""
        path = weights_file(self.directory, job.id)
        path.parent.mkdir(exist_ok=True)
        (backbone, neck), images = self._parts(job.genotype), self._images()
        sizes = {name: self.integer(name) for name in ("channels", "width", "repeats", "depth", "finest_stride")}
        told: dict[str, Any] = {"classes": images.classes, "mean": images.mean, "std": images.std, **sizes}
        blueprint = DetectorBlueprint(neck=neck, backbone=backbone, image=self.integer("canvas"), **told)
        save_network(path, blueprint, network.state_dict(), genotype=str(job.genotype))

    def memory(self) -> int | None:
        """Estimate what a worker takes from a few random candidates; ``None`` on a GPU, where nobody has measured it.

        Before ``prepare`` a preset that takes all images counts as one without any.
        """
        from evo_nas.evaluators.detection.memory import worker_bytes
        from evo_nas.evaluators.live_bytes import WEIGHED

        if self.device.type != "cpu":
            return None
        import torch

        rng = np.random.default_rng(0)
        with torch.random.fork_rng([]):
            detectors = [self._detector(self.space.sample(rng)) for _ in range(WEIGHED)]
        return worker_bytes(detectors, images=sum(self._counts), batch_size=self.integer("batch_size"))

    def expected_seconds(self, genotypes: Sequence[Genotype]) -> float:
        """Time a few steps of these candidates, and multiply."""
        pace = self.measure_pace(genotypes, self.loaded, threads=self.placement.threads, steps=3)
        return pace.seconds(len(self.loaded.train), len(self.loaded.validation), self.all_epochs)

    def load(self) -> OnDevice:
        """Load the images."""
        from evo_nas.training.boxed import BoxedExamples
        from evo_nas.training.devices import keep_freed_memory

        keep_freed_memory()
        device, images = self.device, self._images()
        parts = zip((images.train, images.val), self._rows(images), strict=True)
        train, validation = (BoxedExamples.open(part, rows, images.mean, images.std, device) for part, rows in parts)
        return OnDevice(device, train, validation)

    def _parts(self, genotype: Genotype) -> tuple[str, Pyramid | str]:
        """Return the backbone's name and the neck of a candidate."""
        design: Pyramid | Chain = self.space.decode(genotype)
        if isinstance(design, Chain):
            return spell_chain(design), self.neck
        return self.backbone or "", design

    def fill_preset(self) -> None:
        """Settle what was not given and does not depend on the images, once space and placement are known.

        Raises:
            ValueError: if the device is not there.
        """
        if self.preset is None:
            other = "cpu" if self.device.type == "cpu" else "gpu"
            self.preset = SUITED.get(self.dataset or "", other)
        settings = PRESETS[self.preset].settings()
        if kind_of(self.space) is Chain:
            del settings["backbone"]
        self.fill(settings)
        if self.channels is None:
            self.channels = BOX_SETS[self.dataset or ""].channels

    def _check_detector(self) -> None:
        """Raise unless the backbone and the strides suit the canvas.

        Raises:
            UsageError: with the mend.
        """
        from evo_nas.phenotypes.backbones import build_backbone
        from evo_nas.phenotypes.detector import check_canvas

        sizes = {name: self.integer(name) for name in ("canvas", "finest_stride")}
        check_canvas(**sizes)
        import torch

        with torch.random.fork_rng([]), torch.device("meta"):
            backbone, _ = self._parts(self.space.sample(np.random.default_rng(0)))
            build_backbone(backbone, channels=self.integer("channels"), **sizes)

    def _detector(self, genotype: Genotype) -> Detector:
        from evo_nas.phenotypes.detector import Detector

        return Detector(*self._parts(genotype), **self.size())

    def size(self) -> dict[str, Any]:
        """Return the size of the detector as ``Detector`` takes it, once ``bind`` has settled it."""
        sizes = ("canvas", "channels", "width", "repeats", "depth", "finest_stride")
        return {"classes": self._classes, **{name: self.integer(name) for name in sizes}}

    def _images(self) -> BoxSet:
        held_out = self.integer("validation_images")
        return open_boxes(
            self.dataset or "",
            self.placement.data_dir,
            canvas=self.canvas,
            channels=self.channels,
            seed=self.split_seed,
            validation=held_out if "validation_images" in self._given else 0,
            counts={"train": self.integer("train_images"), "val": held_out},
        )

    def _rows(self, images: BoxSet) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of the images to train on, and of those to validate on, in the order of the set.

        Where there are more than wanted, ``split_seed`` decides which.
        """
        parts = (images.train, self.integer("train_images")), (images.val, self.integer("validation_images"))
        train, validation = (
            np.sort(np.random.default_rng(self.split_seed).permutation(len(part))[: wanted or len(part)])
            for part, wanted in parts
        )
        return train, validation
