"""The evaluator that trains one supernet, and judges every candidate with the weights of its path."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from evo_nas.errors import UsageError
from evo_nas.evaluators.base import Evaluator, Job, Placement
from evo_nas.evaluators.groundwork import build_once, digest_of
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.evaluators.supernet.presets import PRESETS
from genotypes.genotype import Genotype
from genotypes.individual import Cost, Evaluation, Outcome
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace

if TYPE_CHECKING:
    import torch

    from evo_nas.phenotypes.shared.supernet import Supernet

FORMAT: Final = 1
"""Version of what decides a supernet besides its settings; another one is trained anew."""

_OWN: Final = ("sampling", "recalibration_images", "seed")
"""The options that a proxy trainer has not."""


@dataclass
class SupernetEvaluator(Evaluator):
    """Train one supernet before the first trial; a candidate's fitness is the accuracy of its path, untrained.

    In each step of the supernet's training ``sampling`` draws the paths: ``uniform`` one, each decision by itself;
    ``fair`` as many as the largest decision has options, so that every option of a decision is trained once, and adds
    their gradients up. ``epochs`` are those of the supernet. ``seed`` decides its weights and draws, not the run's: so
    all runs of the same settings share one supernet, in the user's cache.

    For each candidate the batch norms of its path are recalibrated on the first ``recalibration_images`` of a fixed
    draw of train images, whole batches of ``batch_size``; then the validation images are measured. Nothing is written,
    and the supernet stays as it is.

    The other options are those of :class:`evo_nas.evaluators.proxy.evaluator.ProxyEvaluator`, and have its defaults but
    for :data:`evo_nas.evaluators.supernet.presets.PRESETS`. The test images are never read.

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
    cells_per_stack: int | None = None
    filters: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    momentum: float | None = None
    weight_decay: float = 4e-5
    gradient_norm: float | None = None
    train_images: int | None = None
    validation_images: int | None = None
    padding: int | None = None
    flip: bool | None = None
    cutout: int | None = None
    sampling: str = "uniform"
    recalibration_images: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        from evo_nas.training.single_path import SAMPLINGS

        check_ranges(self, recalibration_images="[2, inf)", seed="[0, inf)")
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling must be one of {', '.join(SAMPLINGS)}, not {self.sampling!r}")
        self._proxy = self._make_proxy()
        self.dataset = self._proxy.dataset

    @property
    def metrics(self) -> tuple[str, ...]:
        """Costs of the network that stands alone, the loss on the validation images, and times."""
        return ("parameters", "mult_adds", "validation_loss", "cpu_seconds")

    def bind(self, space: SearchSpace, placement: Placement | None = None) -> None:
        """Take space and placement, and settle every field that was not given.

        Raises:
            ValueError: if no supernet is known for the space, the device is not there, or a batch of the recalibration
                takes more images than there are for it.
        """
        from evo_nas.phenotypes.shared.supernet import sharing_of

        super().bind(space, placement)
        sharing_of(space)
        self._proxy = self._make_proxy()
        self._proxy.placement = self.placement
        self._proxy.fill_preset()
        for name, value in PRESETS[self._proxy.preset or ""].items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        self._proxy = self._make_proxy()
        self._proxy.bind(space, self.placement)
        self._take_over()
        self._check_recalibration()

    def prepare(self, directory: Path) -> None:
        """Find the images, and check that they can be split.

        Raises:
            DataError: if images are missing or damaged.
            UsageError: if there are too few.
        """
        super().prepare(directory)
        self._proxy.prepare(directory)
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
        return {**self._proxy.fingerprint(), "supernet": self._digest}

    def cost(self, genotype: Genotype) -> Cost:
        """Count the network as it would stand alone, at the size of the supernet."""
        return self._proxy.cost(genotype)

    def evaluate(self, job: Job) -> Evaluation:
        """Recalibrate the path of the candidate, and measure it."""
        from evo_nas.training.devices import seed_torch
        from evo_nas.training.loop import measure
        from evo_nas.training.recalibration import recalibrate
        from evo_nas.training.task import Diverged

        start, cpu_start = time.perf_counter(), time.process_time()
        supernet, batches = self._load()
        with seed_torch(self.seed, self._proxy.device, self.placement.threads):
            path = supernet.path(job.genotype)
            recalibrate(path, batches)
            try:
                measures = measure(self._proxy.task(), path, self._proxy.loaded.validation)
            except Diverged as error:
                return Evaluation.failed(Outcome.NAN, str(error), time.perf_counter() - start)
        cost = self.cost(job.genotype)
        return Evaluation(
            Outcome.OK,
            fitness=measures["accuracy"],
            seconds=time.perf_counter() - start,
            metrics={
                "parameters": cost.parameters,
                "mult_adds": cost.mult_adds,
                "validation_loss": measures["loss"],
                "cpu_seconds": time.process_time() - cpu_start,
            },
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the loaded supernet behind: a worker process loads it to its own device."""
        return {name: value for name, value in self.__dict__.items() if name != "_cache"}

    def _make_proxy(self) -> ProxyEvaluator:
        """Return a proxy trainer of the same options: it knows images, sizes and costs."""
        known = {field.name for field in fields(ProxyEvaluator)}
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name in known}
        return ProxyEvaluator(**{name: value for name, value in given.items() if value is not None})

    def _take_over(self) -> None:
        """Take what the proxy trainer has settled."""
        for field in fields(self):
            if field.name not in _OWN:
                setattr(self, field.name, getattr(self._proxy, field.name))

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
        for name in ("preset", "recalibration_images"):
            del settings[name]
        return {"format": FORMAT, "space": self.space.spelling, **settings, "data": self._proxy.fingerprint()}

    def _size(self) -> dict[str, Any]:
        return {**self._proxy.size(), "image_size": self.image_size or 0}

    def _train(self, folder: Path, hear: Callable[[str], None]) -> None:
        from evo_nas.phenotypes.shared.supernet import Supernet
        from evo_nas.training.devices import seed_torch
        from evo_nas.training.single_path import train_supernet

        proxy = self._proxy
        with seed_torch(self.seed, proxy.device, self.placement.threads):
            hear("drawing the weights of the supernet")
            supernet = Supernet(self.space, **self._size()).to(proxy.device)
            recipe, data = proxy.recipe(), proxy.loaded.train
            options: dict[str, Any] = {"sampling": self.sampling, "seed": self.seed, "hear": hear}
            train_supernet(supernet, proxy.task(), recipe, data, folder, **options)

    def _load(self) -> tuple[Supernet, list[torch.Tensor]]:
        """Return the supernet, and the batches for recalibration, loaded once per process."""
        if "_cache" not in self.__dict__:
            import torch

            from evo_nas.training.single_path import load_supernet

            train, device, batch = self._proxy.loaded.train, self._proxy.device, self.batch_size or 0
            order = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.seed))
            whole = min(self.recalibration_images or 0, len(train)) // batch * batch
            batches = [train.batch(indices.to(device))[0] for indices in torch.split(order[:whole], batch)]
            self._cache = load_supernet(self._place, self.space, **self._size()).to(device), batches
        return self._cache
