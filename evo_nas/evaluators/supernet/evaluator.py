"""The evaluator that trains one supernet, and judges every candidate with the weights of its path.

Guo et al. 2020, single path one-shot, for classifiers; Chen et al. 2019, DetNAS, for detectors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from evo_nas.errors import UsageError
from evo_nas.evaluators.base import Evaluator, Job, Placement
from evo_nas.evaluators.detection.evaluator import DetectionEvaluator
from evo_nas.evaluators.groundwork import build_once, digest_of
from evo_nas.evaluators.supernet.judges import AUTO, KINDS, Judge, make_judge, size_of
from evo_nas.evaluators.supernet.presets import NATURAL, OF_DETECTORS, PRESETS
from evo_nas.evaluators.supernet.pretraining import KINDS as PRETRAININGS
from evo_nas.evaluators.supernet.pretraining import Pretraining, choose_dataset
from genotypes.genotype import Genotype
from genotypes.individual import Cost, Evaluation, Outcome
from genotypes.measure import Measure
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace
from genotypes.spaces.detnas import DetNASSpace

if TYPE_CHECKING:
    import torch

    from evo_nas.phenotypes.shared.supernet import Supernet

FORMAT: Final = 1
"""Version of what decides a supernet besides its settings; another one is trained anew."""

PRETRAINING_SIZE: Final = 32
"""Pixels a side of the images that a supernet of detectors begins with."""

_PRETRAINING: Final = ("pretraining", "pretraining_dataset", "pretraining_size", "pretraining_epochs")


@dataclass
class SupernetEvaluator(Evaluator):
    """Train one supernet before the first trial; a candidate's fitness is what its path is worth, untrained.

    That is the accuracy, or the AP where ``dataset`` has boxes: then networks are detectors, and candidates backbones.

    In each step of the supernet's training ``sampling`` draws the paths: ``uniform`` one, each decision by itself;
    ``fair`` as many as the largest decision has options, so that every option of a decision is trained once, and adds
    their gradients up. ``epochs`` are those of the supernet. ``seed`` decides its weights and draws, not the run's: so
    all runs of the same settings share one supernet, in the user's cache.

    For each candidate the batch norms of its path are recalibrated on the first ``recalibration_images`` of a fixed
    draw of train images, whole batches of ``batch_size``; then the validation images are measured. Nothing is written,
    and the supernet stays as it is.

    ``pretraining``, for detectors, is ``none``, or ``classification``: then the supernet of backbones is trained first,
    for ``pretraining_epochs``, to tell the classes of ``pretraining_dataset`` apart, images of ``pretraining_size``
    pixels a side. ``auto`` is ``classification`` where :data:`evo_nas.evaluators.supernet.presets.NATURAL` knows such
    images, or some are named. ``neck`` is ``auto``, which is that of DetNAS, or a name.

    The other options are those of :class:`evo_nas.evaluators.proxy.evaluator.ProxyEvaluator` or
    :class:`evo_nas.evaluators.detection.evaluator.DetectionEvaluator`, and have their defaults but for
    :data:`evo_nas.evaluators.supernet.presets.PRESETS` and ``OF_DETECTORS``. The test images are never read.

    Raises:
        ValueError: if a name is unknown or a number out of range.
    """

    name: ClassVar[str] = "supernet"
    preload: ClassVar[tuple[str, ...]] = ("torch", "evo_nas.training.loop")

    dataset: str | None = None
    preset: str | None = None
    channels: int | None = None
    split_seed: int = 0
    image_size: int | None = None
    canvas: int | None = None
    neck: str = AUTO  # no None: "none" is a neck
    width: int | None = None
    depth: int | None = None
    finest_stride: int | None = None
    cells_per_stack: int | None = None
    filters: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    warmup: int | None = None
    momentum: float | None = None
    weight_decay: float = 4e-5
    gradient_norm: float | None = None
    train_images: int | None = None
    validation_images: int | None = None
    padding: int | None = None
    flip: bool | None = None
    cutout: int | None = None
    scale: float | None = None
    pretraining: str = AUTO
    pretraining_dataset: str | None = None
    pretraining_size: int | None = None
    pretraining_epochs: int | None = None
    sampling: str = "uniform"
    recalibration_images: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        from evo_nas.training.single_path import SAMPLINGS

        check_ranges(self, recalibration_images="[2, inf)", seed="[0, inf)")
        check_ranges(self, pretraining_size="[8, 1024]", pretraining_epochs="[1, inf)")
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling must be one of {', '.join(SAMPLINGS)}, not {self.sampling!r}")
        if self.pretraining not in PRETRAININGS:
            raise ValueError(f"pretraining must be one of {', '.join(PRETRAININGS)}, not {self.pretraining!r}")
        self._judge = self._make_judge()
        self.dataset = self._judge.dataset
        given = [name for name in _PRETRAINING if getattr(self, name) not in (None, AUTO)]
        if given and not self._detects:
            raise ValueError(f"{given[0]} is for detectors, and {self.dataset} has no boxes: leave it out")

    @property
    def measure(self) -> Measure:
        """Meaning of the fitness: accuracy or AP on the validation images."""
        return self._judge.measure

    @property
    def metrics(self) -> tuple[str, ...]:
        """Costs of the network that stands alone, times, and the loss on the validation images, or AP at two IoU."""
        measured = ("ap50", "ap75") if self._detects else ("validation_loss",)
        return ("parameters", "mult_adds", *measured, "cpu_seconds")

    def bind(self, space: SearchSpace, placement: Placement | None = None) -> None:
        """Take space and placement, and settle every field that was not given.

        Raises:
            ValueError: if no supernet is known for the space, the device is not there, or a batch of the recalibration
                takes more images than there are for it.
        """
        from evo_nas.phenotypes.shared.supernet import sharing_of

        super().bind(space, placement)
        sharing_of(space, detects=self._detects)
        self._judge = self._make_judge()
        self._judge.space, self._judge.placement = space, self.placement
        self._judge.fill_preset()
        settings = dict((OF_DETECTORS if self._detects else PRESETS)[self._judge.preset or ""])
        if self._detects:
            self._settle_pretraining(settings)
        for name, value in settings.items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        self._judge = self._make_judge()
        self._judge.bind(space, self.placement)
        self._take_over()
        self._check_recalibration()

    def prepare(self, directory: Path) -> None:
        """Find the images, and check that they can be split.

        Raises:
            DataError: if images are missing or damaged.
            UsageError: if there are too few.
        """
        super().prepare(directory)
        self._judge.prepare(directory)
        self._take_over()
        try:
            self._check_recalibration()
        except ValueError as error:
            raise UsageError(str(error)) from error

    def groundwork(self, hear: Callable[[str], None]) -> None:
        """Train the supernet, unless the cache has it.

        Raises:
            DataError: if it cannot be kept, or is damaged.
            EvoNasError: if its training diverges.
        """
        self._place = build_once("supernet", self._key(), lambda folder: self._train(folder, hear), hear)
        self._digest = digest_of(self._place)

    def fingerprint(self) -> Mapping[str, str]:
        """Return the SHA-256 of the train part, and that of the supernet."""
        return {**self._judge.fingerprint(), "supernet": self._digest}

    def cost(self, genotype: Genotype) -> Cost:
        """Count the network as it would stand alone, at the size of the supernet."""
        return self._judge.cost(genotype)

    def evaluate(self, job: Job) -> Evaluation:
        """Recalibrate the path of the candidate, and measure it."""
        from evo_nas.training.devices import seed_torch
        from evo_nas.training.loop import measure
        from evo_nas.training.recalibration import recalibrate
        from evo_nas.training.task import Diverged

        start, cpu_start = time.perf_counter(), time.process_time()
        supernet, batches = self._load()
        task = self._judge.task()
        with seed_torch(self.seed, self._judge.device, self.placement.threads):
            path = supernet.path(job.genotype)
            recalibrate(path, batches)
            try:
                measures = measure(task, path, self._judge.loaded.validation)
            except Diverged as error:
                return Evaluation.failed(Outcome.NAN, str(error), time.perf_counter() - start)
        cost = self.cost(job.genotype)
        return Evaluation(
            Outcome.OK,
            fitness=measures[task.goal],
            seconds=time.perf_counter() - start,
            metrics={
                "parameters": cost.parameters,
                "mult_adds": cost.mult_adds,
                **self._judge.add_metrics(measures),
                "cpu_seconds": time.process_time() - cpu_start,
            },
        )

    def write_path(self, genotype: Genotype, id: int) -> None:
        """Write the weights of a path, its batch norms recalibrated, as those of the trial ``id`` of the run.

        They are those of a network that stands alone, whose batch norms have a gamma of 1 and a beta of 0.
        """
        from evo_nas.training.devices import seed_torch
        from evo_nas.training.recalibration import recalibrate

        supernet, batches = self._load()
        with seed_torch(self.seed, self._judge.device, self.placement.threads):
            path = supernet.path(genotype)
            recalibrate(path, batches)
        self._judge.keep(path, Job(id, genotype, 0))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the loaded supernet behind: a worker process loads it to its own device."""
        return {name: value for name, value in self.__dict__.items() if name != "_cache"}

    @property
    def _detects(self) -> bool:
        return isinstance(self._judge, DetectionEvaluator)

    def _make_judge(self) -> Judge:
        """Return what knows images, sizes and costs, of the same options."""
        known = {field.name for kind in KINDS for field in fields(kind)}
        options = {field.name: getattr(self, field.name) for field in fields(self) if field.name in known}
        return make_judge({name: value for name, value in options.items() if value not in (None, AUTO)})

    def _take_over(self) -> None:
        """Take what the judge has settled."""
        known = {field.name for field in fields(self._judge)}
        for field in fields(self):
            if field.name in known:
                setattr(self, field.name, getattr(self._judge, field.name))

    def _settle_pretraining(self, settings: dict[str, Any]) -> None:
        """Settle how a supernet of detectors begins, and take what is not wanted from the settings of the preset.

        Raises:
            ValueError: if the options do not suit each other.
        """
        default = NATURAL.get(self.dataset or "")
        begins = self.pretraining_dataset or default
        if self.pretraining == AUTO:
            self.pretraining = "classification" if begins else "none"
        self.pretraining_dataset = choose_dataset(self.pretraining, self.pretraining_dataset, default)
        if self.pretraining == "none":
            settings.pop("pretraining_epochs")
            if given := [name for name in _PRETRAINING[1:] if getattr(self, name) is not None]:
                raise ValueError(f"pretraining is none: leave {given[0]} out")
        else:
            self.pretraining_size = self.pretraining_size or PRETRAINING_SIZE

    def _check_recalibration(self) -> None:
        count, batch = self.recalibration_images or 0, self.batch_size or 0
        if count < batch:
            raise ValueError(
                f"recalibration_images must be at least one batch, batch_size is {batch}, not {count}: statistics of "
                "fewer images than a batch are noise"
            )

    def _key(self) -> dict[str, Any]:
        """Return everything that decides the supernet."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("preset", "recalibration_images", *_PRETRAINING):
            del settings[name]
        settings = {name: value for name, value in settings.items() if value not in (None, AUTO)}
        begins = {} if (first := self._pretraining()) is None else {"pretraining": first.key()}
        data = self._judge.fingerprint()
        return {"format": FORMAT, "space": self.space.spelling, **settings, **begins, "data": data}

    def _pretraining(self) -> Pretraining | None:
        """Return the training on images that goes before that on boxes, if there is one."""
        if self.pretraining != "classification":
            return None
        from evo_nas.phenotypes.backbones import TAPS, find_stem_stride

        space = self.space
        assert isinstance(space, DetNASSpace), "a supernet of detectors is known for its chains alone"
        strides = [(self.finest_stride or 0) << level for level in range(TAPS)]
        return Pretraining(
            space,
            self.pretraining_dataset or "",
            image=self.pretraining_size or 0,
            channels=self.channels or 0,
            stem_stride=find_stem_stride(space.chain_size, strides),
            epochs=self.pretraining_epochs or 0,
            boxed=self.dataset or "",
            split_seed=self.split_seed,
            sampling=self.sampling,
            seed=self.seed,
            data_dir=self.placement.data_dir,
            threads=self.placement.threads,
        )

    def _train(self, folder: Path, hear: Callable[[str], None]) -> None:
        from evo_nas.phenotypes.shared.chains import TRUNK
        from evo_nas.phenotypes.shared.supernet import Supernet
        from evo_nas.training.devices import seed_torch
        from evo_nas.training.single_path import read_supernet, train_supernet

        judge, first = self._judge, self._pretraining()
        begins = None if first is None else read_supernet(first.build(judge.device, FORMAT, hear))
        with seed_torch(self.seed, judge.device, self.placement.threads):
            hear("drawing the weights of the supernet")
            supernet = Supernet(self.space, **size_of(judge)).to(judge.device)
            if begins is not None:
                supernet.adopt(begins, TRUNK)
            recipe, data = judge.recipe(), judge.loaded.train
            options: dict[str, Any] = {"sampling": self.sampling, "seed": self.seed, "hear": hear}
            train_supernet(supernet, judge.task(), recipe, data, folder, **options)

    def _load(self) -> tuple[Supernet, list[torch.Tensor]]:
        """Return the supernet, and the batches for recalibration, loaded once per process."""
        if "_cache" not in self.__dict__:
            import torch

            from evo_nas.training.single_path import load_supernet

            train, device, batch = self._judge.loaded.train, self._judge.device, self.batch_size or 0
            order = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.seed))
            whole = min(self.recalibration_images or 0, len(train)) // batch * batch
            batches = [train.batch(indices.to(device))[0] for indices in torch.split(order[:whole], batch)]
            self._cache = load_supernet(self._place, self.space, **size_of(self._judge)).to(device), batches
        return self._cache
