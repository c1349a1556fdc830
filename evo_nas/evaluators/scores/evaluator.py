"""The evaluator that trains nothing: a network's scores, and their places among those of a yardstick of networks."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from evo_nas.data.images import LARGEST, ImageSet, open_images
from evo_nas.data.sources.catalogue import DATA_SETS
from evo_nas.errors import DataError, UsageError
from evo_nas.evaluators.base import Evaluator, Job, Placement, is_fault_of_machine
from evo_nas.evaluators.groundwork import build_once
from evo_nas.phenotypes.kinds import build_network, count_cost, has_network, kind_of
from evo_nas.phenotypes.plan import SMALLEST_IMAGE
from evo_nas.system.atomic import write_whole
from evo_nas.system.links import refuse_links
from evo_nas.system.text import read_text
from genotypes.edge_cell import EdgeCell
from genotypes.genotype import Genotype, shorten
from genotypes.individual import Cost, Evaluation, Outcome
from genotypes.measure import Measure
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace

if TYPE_CHECKING:
    import torch
    from torch import nn

    from evo_nas.evaluators.scores.passes import Batch

FEWEST: Final = 20
"""Networks of a yardstick; among fewer a place says little."""

LESS_IS_BETTER: Final = ("validation_loss",)
"""Terms of a fitness of which a lower value is the better one."""

_FILE: Final = "yardstick.json"
_LARGEST_FILE: Final = 2**26  # bytes
_ATTEMPTS: Final = 100  # draws per network of the yardstick, where few are different


def build_live_network(space: SearchSpace, genotype: Genotype, **size: Any) -> nn.Module:
    """Build the network of a genotype as :func:`build_network` does, without edges that no signal passes.

    Raises:
        GenotypeError: if there is none.
    """
    decoded = space.decode(genotype)
    if isinstance(decoded, EdgeCell):
        from evo_nas.phenotypes.edges import build_edges

        return build_edges(decoded, live_only=True, **{name: size[name] for name in size if name != "image_size"})
    return build_network(space, genotype, **size)


@dataclass
class ScoresEvaluator(Evaluator):
    """Score each candidate before any training; its fitness is where it stands among networks drawn from the space.

    ``measures`` are names of :data:`evo_nas.evaluators.scores.catalogue.SCORES`, by default the six that rank the cells
    of NAS-Bench-201 best. The place of a candidate by a measure is the share of a yardstick that it leaves behind, with
    half of those that it equals, itself included; no value is the worst place. The fitness is the geometric mean of the
    places, in (0, 1]: it ranks as the sum of their logarithms does (Lee and Ham 2024, AZ-NAS). All measures that have a
    value become metrics.

    The ``yardstick`` is so many different networks drawn by ``seed``, scored before the first trial and kept in the run
    folder. ``seed`` decides the weights and the noise of all networks too; by default it is the seed of the run. So a
    fitness depends on the genotype alone, and runs of one ``seed`` compare.

    Networks have ``cells_per_stack`` and ``filters``, images a side of ``image_size`` pixels. ``images`` is the size of
    a mini-batch. ``dataset`` is a name of :data:`evo_nas.data.sources.catalogue.DATA_SETS`, ``channels`` is 1 or 3, by
    default the data set's own. The test images are never read.

    Raises:
        ValueError: if a name is unknown or a number out of range.
    """

    name: ClassVar[str] = "scores"
    preload: ClassVar[tuple[str, ...]] = ("torch", "evo_nas.training.loop")

    dataset: str = "cifar10"
    channels: int | None = None
    image_size: int = 16
    cells_per_stack: int = 5
    filters: int = 8
    images: int = 64
    measures: tuple[str, ...] = (
        *("expressivity", "progressivity", "trainability", "live_mult_adds"),
        *("naswot", "depth"),
    )
    yardstick: int = 64
    seed: int | None = None

    def __post_init__(self) -> None:
        from evo_nas.evaluators.scores.catalogue import SCORES

        check_ranges(self, **dict.fromkeys(("cells_per_stack", "filters"), "[1, inf)"), seed="[0, inf)")
        check_ranges(self, images="[2, inf)", yardstick=f"[{FEWEST}, inf)", image_size=f"[{SMALLEST_IMAGE}, {LARGEST}]")
        if self.dataset not in DATA_SETS:
            raise ValueError(f"there is no data set {self.dataset!r}; the data sets are: {', '.join(DATA_SETS)}")
        if self.channels not in (None, 1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (colour), not {self.channels}")
        if unknown := [name for name in self.measures if name not in SCORES]:
            raise ValueError(f"there is no score {unknown[0]!r}; the scores are: {', '.join(SCORES)}")
        if not self.measures or len(set(self.measures)) < len(self.measures):
            raise ValueError(f"measures names at least one score, and each once, not {list(self.measures)}")

    @property
    def measure(self) -> Measure:
        """The meaning of the fitness."""
        return Measure("score", "score among a yardstick")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Costs and times, and the measures; one that has no value is left out of an evaluation."""
        return ("parameters", "mult_adds", "cpu_seconds", "scores_missing", "scores_seconds", *self.measures)

    @property
    def terms(self) -> Mapping[str, float]:
        """The metrics whose places make the fitness, each with its weight."""
        return dict.fromkeys(self.measures, 1.0)

    def bind(self, space: SearchSpace, placement: Placement | None = None) -> None:
        """Take space and placement.

        Raises:
            ValueError: if what the space describes has no network, or the device is not there.
        """
        super().bind(space, placement)
        if not has_network(space):
            raise ValueError(
                f"scores are those of networks, and the space {space.spelling} describes a {kind_of(space).__name__}; "
                "choose another evaluator with --evaluator, such as tabular or toy"
            )
        self._device()
        if self.channels is None:
            self.channels = DATA_SETS[self.dataset].channels
        if self.seed is None:
            self.seed = 0
        self._classes = DATA_SETS[self.dataset].classes or 10

    def prepare(self, directory: Path) -> None:
        """Find the images.

        Raises:
            DataError: if images are missing, damaged, or all alike.
        """
        super().prepare(directory)
        self._classes = len(self._open().classes)
        pixels, _ = self._batches()[0]
        if bool((pixels == pixels[0]).all()):
            raise DataError(f"the train images of {self.dataset} are all alike, and scores need images that differ")

    def groundwork(self, hear: Callable[[str], None]) -> None:
        """Score the yardstick, unless the run folder has it.

        Raises:
            DataError: if it cannot be kept, or is damaged.
            UsageError: if the space has too few different networks.
        """
        refuse_links(self.directory, [_FILE])
        path, key = self.directory / _FILE, self._key()
        if not path.exists():
            place = build_once("scores", key, lambda folder: self._score_yardstick(folder, hear), hear)
            rows = [json.loads(read_text(file, _LARGEST_FILE)) for file in sorted(place.glob("network-*.json"))]
            write_whole(path, json.dumps({"key": key, "networks": rows}, indent=1) + "\n")
        try:
            record = json.loads(read_text(path, _LARGEST_FILE))
            scores = [row["scores"] for row in record["networks"]]
            self._known = {
                name: np.array([math.nan if row.get(name) is None else float(row[name]) for row in scores])
                for name in self.terms
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"the yardstick {path} is damaged: {shorten(str(error), 100)}") from error
        if record.get("key") != key or len(scores) < FEWEST:
            raise DataError(f"the yardstick {path} is of other settings, or of fewer than {FEWEST} networks")
        for name, known in self._known.items():
            if not np.isfinite(known).any():
                raise DataError(
                    f"no network of the yardstick has a value by {name} on these images; leave it out: "
                    "--set evaluator.measures=..."
                )
        self._digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def fingerprint(self) -> Mapping[str, str]:
        """Return the SHA-256 of the train part, and of the yardstick."""
        return {**self.images_fingerprint(), "yardstick": self._digest}

    def images_fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of the train part, on which :meth:`rate` depends."""
        return {self.dataset: self._open().fingerprint}

    def cost(self, genotype: Genotype) -> Cost:
        """Count the network at the size at which it is scored."""
        import torch

        with torch.random.fork_rng([]), torch.device("meta"):
            return self._count(self._build(genotype))

    def evaluate(self, job: Job) -> Evaluation:
        """Score the candidate, and find its places."""
        start, cpu_start = time.perf_counter(), time.process_time()
        cost, scores = self._score(job.genotype)
        logarithms = [weight * math.log(self._place(scores, name)) for name, weight in self.terms.items()]
        return Evaluation(
            Outcome.OK,
            fitness=math.exp(math.fsum(logarithms) / math.fsum(self.terms.values())),
            seconds=time.perf_counter() - start,
            metrics={
                "parameters": cost.parameters,
                "mult_adds": cost.mult_adds,
                "cpu_seconds": time.process_time() - cpu_start,
                **scores,
            },
        )

    def rate(self, genotype: Genotype) -> dict[str, float]:
        """Return the ``measures`` of a network as a search takes them (:data:`strategies.base.Score`).

        It takes ``prepare`` and no yardstick. What has no value is nan, what failed is left out; a network that cannot
        be built has no value by any.

        Raises:
            Exception: if memory ran out or the device was lost.
        """
        found = self.score(genotype)
        return {name: found.get(name, math.nan) for name in self.measures if f"{name}_failed" not in found}

    def score(self, genotype: Genotype) -> Mapping[str, float]:
        """Return the scores of a network without any training, as metrics; computed once per process."""
        # Not by the key of the network: two spellings of it have scores that differ in their weights.
        known: dict[Genotype, Mapping[str, float]] = self.__dict__.setdefault("_rated", {})
        if genotype not in known:
            try:
                known[genotype] = ScoresEvaluator._score(self, genotype)[1]
            except Exception as error:
                if is_fault_of_machine(error):
                    raise
                known[genotype] = {}
        return known[genotype]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the loaded images behind: a worker process loads them to its own device."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_cache", "_rated")}

    def _place(self, scores: Mapping[str, float], name: str) -> float:
        """Return the place of a candidate among the yardstick by one term, a fraction in (0, 1]."""
        from evo_nas.evaluators.scores.catalogue import place_among

        sign = -1.0 if name in LESS_IS_BETTER else 1.0
        return float(place_among(sign * np.array([scores.get(name, math.nan)]), sign * self._known[name])[0])

    def _key(self) -> dict[str, Any]:
        """Return everything that decides the yardstick."""
        names = ("dataset", "channels", "image_size", "cells_per_stack", "filters", "images", "yardstick", "seed")
        settings = {name: getattr(self, name) for name in names}
        return {"format": 2, "space": self.space.spelling, **settings, "data": self._open().fingerprint} | {
            "measures": list(self.measures)
        }

    def _score_yardstick(self, folder: Path, hear: Callable[[str], None]) -> None:
        networks = self._draw()
        for number, genotype in enumerate(networks, start=1):
            path = folder / f"network-{number:06d}.json"
            if not path.exists():
                if number % 10 == 1:
                    hear(f"yardstick: network {number} of {len(networks)}")
                scores = self._score(genotype)[1]
                row = {"genotype": str(genotype), "scores": {name: scores.get(name) for name in self.terms}}
                write_whole(path, json.dumps(row) + "\n")

    def _draw(self) -> list[Genotype]:
        """Draw the different networks of the yardstick."""
        rng = np.random.default_rng([self.seed or 0, self.yardstick])
        found: dict[str, Genotype] = {}
        for _ in range(_ATTEMPTS * self.yardstick):
            genotype = self.space.sample(rng)
            found.setdefault(self.space.key(genotype), genotype)
            if len(found) == self.yardstick:
                break
        if len(found) < FEWEST:
            raise UsageError(
                f"the space {self.space.spelling} has {len(found)} networks, and a yardstick is at least {FEWEST}"
            )
        return list(found.values())

    def _score(self, genotype: Genotype) -> tuple[Cost, dict[str, float]]:
        """Return what the network costs, and the terms of the fitness that have a value, among other metrics."""
        from evo_nas.evaluators.scores.catalogue import measure_scores
        from evo_nas.training.devices import seed_torch

        batches, seed = self._batches(), self.seed or 0
        with seed_torch(seed, self._device(), self.placement.threads):
            network = self._build(genotype).to(self._device())
            return self._count(network), measure_scores(network, batches, self.measures, seed=seed)

    def _build(self, genotype: Genotype) -> nn.Module:
        names = ("cells_per_stack", "filters", "image_size")
        size = {name: getattr(self, name) for name in names}
        return build_live_network(self.space, genotype, classes=self._classes, channels=self.channels, **size)

    def _count(self, network: nn.Module) -> Cost:
        return Cost(*count_cost(network, channels=self.channels or 3, image_size=self.image_size))

    def _device(self) -> torch.device:
        from evo_nas.training.devices import resolve_device

        return resolve_device(self.placement.device)

    def _open(self) -> ImageSet:
        return open_images(self.dataset, self.placement.data_dir, size=self.image_size, channels=self.channels)

    def _batches(self) -> list[Batch]:
        """Return the mini-batches, loaded once per process."""
        if "_cache" not in self.__dict__:
            from evo_nas.evaluators.scores.catalogue import mini_batches
            from evo_nas.training.loop import Examples

            images = self._open()
            train = Examples(*images.train.tensors("cpu"), images.mean, images.std)
            device = self._device()
            batches = mini_batches(train, self.measures, self.images)
            self._cache = [(pixels.to(device), classes.to(device)) for pixels, classes in batches]
        return self._cache
