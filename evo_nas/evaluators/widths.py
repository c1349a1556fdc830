"""Widths of a network: which channels a sparsity term leaves alive, and how well the network does without the term.

Gordon et al. 2018: MorphNet, section 3.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from evo_nas.errors import UsageError
from evo_nas.evaluators.base import Job, Placement
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.phenotypes.named import build_by_name, spell_name
from genotypes.genotype import Genotype, shorten
from genotypes.individual import Cost, Evaluation, Outcome
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace
from genotypes.spaces.widths import WidthsSpace
from genotypes.widths import ALIVE

if TYPE_CHECKING:
    from evo_nas.phenotypes.widths.cost import CostModel, Device
    from evo_nas.phenotypes.widths.layout import Layout
    from evo_nas.phenotypes.widths.slots import Ints
    from evo_nas.training.regularizers import SparsityTerm

_STRENGTH: Final = 0.1
"""Strength by default: with 1 and more, short trainings keep what is cheap, whatever it is worth."""

_SHARE: Final = 0.6
"""The share of the resource that stays alive by default."""

_FLOOR: Final = 0.5
"""The share of each group that stays alive by default, while channels of others can leave."""

_NEAR: Final = 0.05
"""An alive share this near to the one that is wanted is taken."""

_FACTOR: Final = 4.0
"""Step of a strength while it is too large or too small, before it is bisected."""


@dataclass
class WidthsEvaluator(ProxyEvaluator):
    """Train networks of other widths shortly; with ``shrink`` find out before which channels a sparsity term leaves.

    The fitness is that of the proxy trainer, whose options these are too. With ``shrink`` each network is trained
    first for ``shrink_epochs`` (by default those of the fitness) with the term of MorphNet in its loss, from other
    weights. The metrics ``alive.GROUP`` say how many channels of each group are alive then, and ``alive_share`` what
    share of the resource they cost.

    ``resource`` is what the term counts: flops, parameters, activations or latency. Latency is that of ``hardware``: a
    name of :data:`evo_nas.phenotypes.widths.cost.DEVICES`, or billions of operations and gigabytes per second, as in
    ``8000/300``. ``strength`` is MorphNet's lambda times what the network costs, so that it suits any network; by
    default 0.1.

    By default, the threshold of life is found by bisection: of all channels the strongest stay that cost at most a
    ``share`` of the resource (0.6). Each group keeps at least the share ``floor`` of its channels (0.5), while others
    can leave: a group of few channels severs the network, whatever the rest costs. With a ``threshold`` those stay
    whose gates are above it, as in the paper, also none or all. With a ``threshold`` and a ``share`` the strength is
    found by bisection, over at most ``searches`` trainings.

    ``gates`` and ``l1`` are those of :class:`evo_nas.training.regularizers.SparsityTerm`.

    Raises:
        ValueError: if a name is unknown or a number out of range, or strength, share and threshold are all given.
    """

    name: ClassVar[str] = "widths"
    ranges: ClassVar[Mapping[str, str]] = {
        **ProxyEvaluator.ranges,
        **dict.fromkeys(("shrink_epochs", "searches"), "[1, inf)"),
        "strength": "(0, inf)",
        "share": "(0, 1)",
        "threshold": "[0, inf)",
        **dict.fromkeys(("floor", "l1"), "[0, 1]"),
    }

    shrink: bool = False
    resource: str = "flops"
    hardware: str = "V100"
    strength: float | None = None
    share: float | None = None
    floor: float = _FLOOR
    searches: int = 5
    shrink_epochs: int | None = None
    gates: str = "gamma"
    threshold: float | None = None
    l1: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        from evo_nas.phenotypes.widths.cost import RESOURCES

        check_ranges(self, **{name: self.ranges[name] for name in ("strength", "share", "floor", "threshold", "l1")})
        if self.inherit:
            raise ValueError("networks of other widths inherit no weights: leave inherit out, or search another space")
        if None not in (self.strength, self.share, self.threshold):
            raise ValueError("a share is reached by strength or by threshold: leave one of the three out")
        for what, value, known in (("resource", self.resource, RESOURCES), ("gates", self.gates, ("gamma", "lasso"))):
            if value not in known:
                raise ValueError(f"{what} must be one of {', '.join(known)}, not {shorten(value)!r}")
        _read_hardware(self.hardware)

    def complete(self, space: SearchSpace, placement: Placement) -> SearchSpace:
        """Return the space of widths with the size and the groups of its network; another one as it is."""
        if not isinstance(space, WidthsSpace):
            return space
        self.placement = placement
        self.fill_preset()
        sizes = {name: self.integer(name) for name in ("cells_per_stack", "filters")}
        try:
            network = spell_name(space.network, **sizes)
            layout = self._find_layout(network)
        except UsageError as error:
            raise ValueError(str(error)) from error
        if space.groups and (network, layout.widths) != (space.network, space.seed):
            raise ValueError(
                f"the network {shorten(network)} has other groups of channels than the space says; it has changed "
                "since the run began, or its groups were written by hand: leave them out"
            )
        return WidthsSpace.of(network, layout.widths, steps=space.steps, largest=space.largest)

    def bind(self, space: SearchSpace, placement: Placement | None = None) -> None:
        """Take space and placement, and settle every field that was not given.

        Raises:
            ValueError: if it is another space, the device is not there, the stopping rule does not fit the epochs, or
                the network has no gates.
        """
        if not isinstance(space, WidthsSpace):
            raise ValueError(f"the evaluator widths takes the space widths, not {space.spelling}")
        super().bind(space, placement)
        if self.shrink_epochs is None:
            self.shrink_epochs = self.integer("epochs")
        if self.shrink:
            from evo_nas.training.regularizers import find_gates

            try:
                find_gates(self._layout(), self.gates)
            except UsageError as error:
                raise ValueError(str(error)) from error

    def count_pausable_epochs(self) -> int:
        """Return the epochs of a training, unless it shrinks the network before.

        Raises:
            ValueError: if that or another option changes its length.
        """
        if self.shrink:
            raise ValueError("it pauses one training a candidate, and shrink needs another before: leave shrink out")
        return super().count_pausable_epochs()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of every training; with ``shrink`` also what it was, and the alive channels of each group."""
        if not self.shrink:
            return super().metrics
        assert isinstance(self.space, WidthsSpace)
        shrinking = ("strength", "alive_share", "shrink_epochs", "shrink_seconds")
        return (*super().metrics, *shrinking, *(ALIVE + name for name in self.space.seed))

    def cost(self, genotype: Genotype) -> Cost:
        """Count the network at the size of its training, from the layout of its seed."""
        layout = self._layout()
        copies = layout.copies(self.space.decode(genotype).widths)
        parameters, flops = (self._model(layout, resource).total(copies) for resource in ("parameters", "flops"))
        return Cost(round(parameters), round(flops / 2))

    def expected_seconds(self, genotypes: Sequence[Genotype]) -> float | None:
        """Time a few steps of these candidates, and multiply; the first strength is taken for the right one."""
        seconds = super().expected_seconds(genotypes)
        if seconds is None or not self.shrink:
            return seconds
        return seconds * (1 + self.integer("shrink_epochs") / self.all_epochs)

    def evaluate(self, job: Job) -> Evaluation:
        """Train the candidate with the sparsity term, if it is to shrink, and then without it for its fitness."""
        if not self.shrink:
            return super().evaluate(job)
        from evo_nas.training.task import Diverged

        start, cpu_start = time.perf_counter(), time.process_time()
        try:
            found = self._shrink(job)
        except Diverged as error:
            seconds = time.perf_counter() - start
            return Evaluation.failed(Outcome.NAN, f"with the sparsity term {error}", seconds)
        found["shrink_seconds"], cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        answer = super().evaluate(job)
        if not answer.outcome.has_fitness:
            return answer
        metrics = {**answer.metrics, **found, "cpu_seconds": answer.metrics["cpu_seconds"] + cpu_seconds}
        return replace(answer, metrics=metrics, seconds=(answer.seconds or 0.0) + found["shrink_seconds"])

    def _shrink(self, job: Job) -> dict[str, float]:
        """Return which channels the sparsity term leaves alive, as metrics."""
        layout = self._layout()
        layout = layout.resize(layout.copies(self.space.decode(job.genotype).widths))
        model = self._model(layout, self.resource)
        whole = model.total(np.ones(layout.count, np.int64))
        is_sought = self.share is not None and self.threshold is not None
        found: list[tuple[float, float, float, Ints]] = []
        limit = (self.share or _SHARE) * whole
        low, high, strength = 0.0, math.inf, self.strength or _STRENGTH
        while len(found) < (self.searches if is_sought else 1):
            term = self._train_sparsely(job, model, strength / whole)
            alive = term.alive() if self.threshold is not None else term.find_strongest(limit, self.floor)
            share = model.total(alive) / whole
            found.append((abs(share - (self.share or share)), strength, share, alive))
            if found[-1][0] <= _NEAR:
                break
            low, high = (low, strength) if share < (self.share or 0) else (strength, high)
            strength = _find_between(low, high)
        _, strength, share, alive = min(found, key=lambda one: one[0])
        return {
            "strength": strength,
            "alive_share": share,
            "shrink_epochs": len(found) * self.integer("shrink_epochs"),
            **{ALIVE + name: width for name, width in layout.alive_widths(alive).items()},
        }

    def _train_sparsely(self, job: Job, model: CostModel, strength: float) -> SparsityTerm:
        """Train the candidate with the sparsity term, and return the term."""
        import torch

        from evo_nas.training.devices import seed_torch
        from evo_nas.training.loop import Training
        from evo_nas.training.regularizers import SparseTask, SparsityTerm

        # The trial's own generator, whose first draw is for the other training.
        seed, loaded = int(job.rng().integers(2**62, size=2)[1]), self.loaded
        with seed_torch(seed, loaded.device, self.placement.threads):
            network = self.build(job.genotype, loaded.device)
            threshold = 0.0 if self.threshold is None else self.threshold
            term = SparsityTerm(network, model, gates=self.gates, threshold=threshold, l1=self.l1)
            task = SparseTask(self.task(), term, strength)
            recipe = replace(self.recipe(), epochs=self.integer("shrink_epochs"))
            training = Training(network, task, recipe, torch.Generator().manual_seed(seed), graphs=self.cuda_graphs)
            for _ in training.epochs(loaded.train, None):
                pass
            return term

    def _layout(self) -> Layout:
        """Return the layout of the network itself, for the images that there are."""
        assert isinstance(self.space, WidthsSpace)
        return self._find_layout(self.space.network)

    def _find_layout(self, network: str) -> Layout:
        import torch

        from evo_nas.phenotypes.widths.draw import find_layout

        size = {"channels": self.integer("channels"), "image_size": self.integer("image_size")}
        size["classes"] = getattr(self, "_classes", 10)
        if getattr(self, "_traced", (None,))[0] != (network, size):
            with torch.random.fork_rng(devices=[]):
                seed = build_by_name(network, **size)
            self._traced = (network, size), find_layout(seed, network, **size)
        return self._traced[1]

    def _model(self, layout: Layout, resource: str) -> CostModel:
        from evo_nas.phenotypes.widths.cost import CostModel

        return CostModel(layout, resource, _read_hardware(self.hardware) if resource == "latency" else None)


def _find_between(low: float, high: float) -> float:
    """Return a strength between two of which one is too small and one too large, as far as they are known."""
    if high == math.inf:
        return low * _FACTOR
    return math.sqrt(low * high) if low else high / _FACTOR


def _read_hardware(text: str) -> Device:
    """Read the name of a device, or its peaks.

    Raises:
        ValueError: if it is neither.
    """
    from evo_nas.phenotypes.widths.cost import DEVICES, Device

    if text in DEVICES:
        return DEVICES[text]
    gflops, _, gigabytes = text.partition("/")
    try:
        return Device(float(gflops), float(gigabytes))
    except ValueError:
        raise ValueError(
            f"hardware must be one of {', '.join(DEVICES)}, or GFLOP/s and GB/s as in 8000/300, not {shorten(text)!r}"
        ) from None
