"""The common part of evaluators that train: presets, the training of a candidate, pauses, stopping, latency, pace."""

from __future__ import annotations

import logging
import statistics
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from evo_nas.errors import DataError, UsageError
from evo_nas.evaluators.base import Evaluator, Job, weights_file
from evo_nas.evaluators.states import keep_states, load_state, save_state, state_file
from evo_nas.evaluators.stopping import RULES, stopping_rule
from genotypes.genotype import Genotype
from genotypes.individual import Cost, Evaluation, Outcome
from genotypes.population import Population
from genotypes.ranges import check_ranges

if TYPE_CHECKING:
    import torch
    from torch import nn

    from evo_nas.evaluators.pace import Pace
    from evo_nas.phenotypes.blueprint import Blueprint
    from evo_nas.training.loop import Epoch, Training
    from evo_nas.training.recipes import Recipe
    from evo_nas.training.task import HeldData, Task


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OnDevice:
    """The data of a process, which it keeps between trials."""

    device: torch.device
    train: HeldData
    validation: HeldData


@dataclass(frozen=True)
class _Trained:
    """One training of a candidate: its curve, its metrics, and the network until it is let go."""

    curve: tuple[float, ...]
    metrics: dict[str, float]
    network: nn.Module | None


class _StateLost(Exception):
    """The state of a paused training is not there, or not whole."""


class _Failed(Exception):
    """A training came to a number that is not finite, after a curve."""

    def __init__(self, reason: str, curve: tuple[float, ...]) -> None:
        super().__init__(reason)
        self.reason, self.curve = reason, curve


@dataclass
class TrainingEvaluator(Evaluator):
    """Train each candidate, and take what its task measures on the validation images.

    A subclass says what is trained (:meth:`build`), on what (:meth:`load`), for what (:meth:`task`) and how
    (:meth:`recipe`); it calls :meth:`fill` and :meth:`settle_rule` in ``bind``.

    ``dataset`` names the images, and ``preset`` the settings of all that was not given: the subclass says which there
    are.

    ``trainings`` trains each candidate so many times, from other weights and in another order; the fitness is the mean,
    and the metric ``trainings_sd`` the standard deviation of one training. The weights that are kept are those of the
    best.

    ``latency`` measures after each training how long the network takes for one image, see
    :mod:`evo_nas.evaluators.latency`; as any time, it is not the same twice.

    ``cuda_graphs`` computes each step of a training as one graph, on a GPU, see :mod:`evo_nas.training.cuda_graphs`;
    elsewhere, and with paths that are dropped, nothing changes. Untested on CUDA hardware.

    ``inherit`` lets a child begin with the weights that it shares with its parent, and train for a share of the epochs,
    ``inherit_epochs``. The metric ``inherited`` says which share of its weights that was. A network without a parent,
    or which shares nothing, is trained from scratch, for all epochs; so is one whose parent's weights are gone, which
    the metric ``orphaned`` says. It needs a strategy that names parents, and goes with no stopping rule.

    ``early_stopping`` is a name of :data:`evo_nas.evaluators.stopping.RULES`: whether a training that falls behind is
    stopped before its last epoch. Its fitness is then the score that it had. ``stopping_epochs`` is the first epoch
    after which that may happen, ``stopping_trials`` and ``stopping_window`` how many trials decide, at least and at
    most, and ``stopping_eta`` the reduction factor of ``halving``.

    Raises:
        ValueError: if a name is unknown or a number out of range.
    """

    preload: ClassVar[tuple[str, ...]] = ("torch", "evo_nas.training.loop")
    network_metrics: ClassVar[tuple[str, ...]] = (
        *Evaluator.network_metrics,
        *("latency", "latency_spread", "latency_noisy"),
    )
    ranges: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("trainings", "stopping_epochs", "stopping_trials", "stopping_window"), "[1, inf)"),
        "stopping_eta": "[2, inf)",
        "inherit_epochs": "(0, 1]",
    }
    """The range of each option that has one, as :func:`genotypes.ranges.check_ranges` takes it."""

    dataset: str | None = None
    preset: str | None = None
    trainings: int = 1
    latency: bool = False
    cuda_graphs: bool = False
    inherit: bool = False
    inherit_epochs: float = 0.5
    early_stopping: str = "none"
    stopping_epochs: int = 1
    stopping_trials: int = 10
    stopping_window: int = 200
    stopping_eta: int = 4

    def __post_init__(self) -> None:
        self._given = {field.name for field in fields(self) if getattr(self, field.name) is not None}
        check_ranges(self, **self.ranges)
        if self.early_stopping not in RULES:
            raise ValueError(f"there is no stopping rule {self.early_stopping!r}; the rules are: {', '.join(RULES)}")
        if self.inherit and self.early_stopping != "none":
            raise ValueError(
                "inherit goes with no stopping rule: curves that begin with inherited weights and such that do not "
                "cannot be compared; leave early_stopping out"
            )

    def fill(self, settings: Mapping[str, Any]) -> None:
        """Settle every option that was not given, as a preset has it; what is no option is passed over."""
        for name, value in settings.items():
            if getattr(self, name, value) is None:
                setattr(self, name, value)

    def settle_rule(self, epochs: int) -> None:
        """Make the stopping rule for trainings of so many epochs.

        Raises:
            ValueError: if the two do not fit each other.
        """
        self._epochs = epochs
        if self.trainings > 1 and self.early_stopping != "none":
            raise ValueError("early_stopping looks at one training a candidate: leave it out, or trainings")
        self._rule = stopping_rule(
            self.early_stopping,
            epochs=epochs,
            first=self.stopping_epochs,
            trials=self.stopping_trials,
            window=self.stopping_window,
            eta=self.stopping_eta,
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Costs, loss and times; with ``latency`` what that is; with a stopping rule how far the training went.

        With ``inherit`` how far, and which share of the weights was inherited.
        """
        extent = () if self.early_stopping == "none" else ("epochs", "stopped")
        extent = ("epochs", "inherited") if self.inherit else extent
        spread = () if self.trainings == 1 else ("trainings_sd",)
        costs = ("parameters", "mult_adds", "train_loss", "cpu_seconds", "train_seconds", "validation_seconds")
        known = (*costs, *spread)
        if not self.latency:
            return (*known, *extent)
        from evo_nas.evaluators.latency import METRICS

        return (*known, *extent, *METRICS)

    def count_pausable_epochs(self) -> int:
        """Return the epochs of a training, which pauses after any of them if nothing else changes its length.

        Raises:
            ValueError: if an option is given that does.
        """
        for option, is_given, what in (
            ("early_stopping", self.early_stopping != "none", "decides itself which trainings end early"),
            ("trainings", self.trainings > 1, "pauses one training a candidate"),
            ("inherit", self.inherit, "compares trainings that began alike"),
        ):
            if is_given:
                raise ValueError(f"it {what}: leave {option} out")
        return self.integer("epochs")

    def keep_states(self, wanted: Mapping[int, int]) -> None:
        """Remove the states of paused trainings that nobody wants."""
        keep_states(self.directory, wanted)

    @property
    def window(self) -> int:
        """Number of the youngest individuals that the stopping rule looks at; 0 without one."""
        return 0 if self.early_stopping == "none" else self.stopping_window

    def brief(self, population: Population) -> tuple[float, ...]:
        """Return the thresholds of the stopping rule; nothing without one."""
        return () if self._rule is None else self._rule.brief(population)

    @property
    def inherits(self) -> bool:
        """Whether a child begins with its parent's weights."""
        return self.inherit

    @abstractmethod
    def build(self, genotype: Genotype, device: torch.device) -> nn.Module:
        """Build the network of a genotype, with weights from torch's default generator, on the device."""

    @abstractmethod
    def load(self) -> OnDevice:
        """Load the data to the device; called once per process."""

    @abstractmethod
    def recipe(self) -> Recipe:
        """Return how candidates are trained."""

    @abstractmethod
    def task(self, data: OnDevice | None = None) -> Task:
        """Return what candidates are trained for, on these data or those of this process; its goal is the fitness."""

    @abstractmethod
    def measure_cost(self, network: nn.Module) -> Cost:
        """Count the parameters and mult-adds of a network that :meth:`build` gave."""

    def look(self, network: nn.Module) -> Mapping[str, float]:
        """Return metrics of a network before its training; by default none."""
        return {}

    def add_metrics(self, measures: Mapping[str, float]) -> Mapping[str, float]:
        """Return the metrics among what the task has measured after the last epoch; by default none."""
        return {}

    def keep(self, network: nn.Module, job: Job) -> None:
        """Write the weights of a trained network, where the placement wants that; by default nowhere."""

    def find_design(self, blueprint: Blueprint) -> object:
        """Return the design by which networks share weights, of a blueprint that :meth:`keep` wrote."""
        return blueprint.design

    def evaluate(self, job: Job) -> Evaluation:
        """Train the candidate and measure it; a loss that is no number ends the training at once.

        So does the stopping rule, if there is one: then ``epochs`` (how many were trained) and ``stopped`` (1 if those
        are not all, else 0) are among the metrics. Of several trainings fitness, curve and metrics are means.

        A job that pauses is trained until the epoch that it names, from the state that it paused with, which is saved
        in the run folder; ``epochs`` and ``stopped`` are told as above. If that state is lost or damaged, the training
        begins anew and comes to the same; the metric ``restarts`` says how often.

        ``cpu_seconds`` is the processor time of this process, all its threads together: the work, however crowded the
        machine is. What a GPU does is not in it; what scores and latency take is.
        """
        start, cpu_start = time.perf_counter(), time.process_time()
        seeds = job.rng().integers(2**62, size=self.trainings).tolist()
        ended: list[_Trained] = []
        restarts: dict[str, float] = {}
        for seed in seeds:
            try:
                try:
                    one = self._train(job, seed)
                except _StateLost as lost:
                    _log.warning("warning: trial %d is trained from the beginning again: %s", job.id, lost)
                    restarts = {"restarts": 1.0}
                    one = self._train(replace(job, so_far=None), seed)
            except _Failed as failed:
                return Evaluation.failed(Outcome.NAN, failed.reason, time.perf_counter() - start, failed.curve)
            if not ended or one.curve[-1] > max(other.curve[-1] for other in ended):
                best = one.network
            ended.append(replace(one, network=None))
        if self.placement.keep_weights or self.inherit:
            assert best is not None
            self.keep(best, job)
        curve = tuple(statistics.fmean(scores) for scores in zip(*(one.curve for one in ended), strict=True))
        metrics = _average([one.metrics for one in ended])
        if self.trainings > 1:
            metrics["trainings_sd"] = statistics.stdev(one.curve[-1] for one in ended)
        metrics |= restarts
        metrics["cpu_seconds"] = time.process_time() - cpu_start
        seconds = time.perf_counter() - start
        if job.so_far is not None:
            metrics = _add_up(job.so_far.metrics, metrics)
            seconds += job.so_far.seconds or 0.0
        return Evaluation(Outcome.OK, fitness=curve[-1], seconds=seconds, curve=curve, metrics=metrics)

    def _train(self, job: Job, seed: int) -> _Trained:
        """Train the candidate once.

        Raises:
            _Failed: if a loss or an output is not finite.
            _StateLost: if it paused before, and cannot go on from there.
        """
        import torch

        from evo_nas.training.devices import seed_torch
        from evo_nas.training.loop import Training
        from evo_nas.training.task import Diverged

        loaded = self.loaded
        history: list[Epoch] = []
        earlier = () if job.so_far is None else job.so_far.curve
        with seed_torch(seed, loaded.device, self.placement.threads):
            network = self.build(job.genotype, loaded.device)
            cost = self.measure_cost(network)
            before = self.look(network) if job.so_far is None else {}
            heritage = self._inherit(network, job) if self.inherit else {}
            try:
                generator = torch.Generator().manual_seed(seed)
                recipe = self._shorten(self.recipe(), heritage)
                training = Training(network, self.task(loaded), recipe, generator, graphs=self.cuda_graphs)
                if job.so_far is not None:
                    self._resume(training, job, earlier)
                for epoch in training.epochs(loaded.train, loaded.validation):
                    history.append(epoch)  # one by one: those before a NaN are wanted too
                    if self._rule is not None and self._rule.stops(_curve(history), job.brief):
                        break
                    if training.done == job.until:
                        break
            except Diverged as error:
                raise _Failed(str(error), earlier + _curve(history)) from error
            latency = self._latency(network) if self.latency and job.so_far is None else {}
            if job.until is not None and training.done < recipe.epochs:
                save_state(state_file(self.directory, job.id, training.done), training.state())
        metrics = {
            "parameters": cost.parameters,
            "mult_adds": cost.mult_adds,
            "train_loss": history[-1].loss,
            "train_seconds": sum(epoch.train_seconds for epoch in history),
            "validation_seconds": sum(epoch.validation_seconds for epoch in history),
            **latency,
            **before,
            **self.add_metrics(history[-1].measures),
            **self._extent(training.done, job),
            **heritage,
        }
        return _Trained(earlier + _curve(history), metrics, network)

    def _resume(self, training: Training, job: Job, earlier: Sequence[float]) -> None:
        """Bring a training to where it paused.

        Raises:
            _StateLost: if its state is missing, damaged, or that of another training.
        """
        try:
            training.restore(load_state(state_file(self.directory, job.id, len(earlier))), len(earlier))
        except (DataError, ValueError) as error:
            raise _StateLost(str(error)) from error

    def measure_pace(self, genotypes: Sequence[Genotype], data: OnDevice, *, threads: int, steps: int) -> Pace:
        """Time a few steps of each of these candidates on some data."""
        from evo_nas.evaluators.pace import measure_pace
        from evo_nas.training.devices import seed_torch

        with seed_torch(0, data.device, threads):
            networks = (self.build(genotype, data.device) for genotype in genotypes)
            return measure_pace(networks, self.task(data), self.recipe(), data.train, data.validation, steps)

    @property
    def all_epochs(self) -> int:
        """Number of epochs of a candidate, all its trainings together, if nothing stops them."""
        return self.integer("epochs") * self.trainings

    @property
    def device(self) -> torch.device:
        """The device that the placement names, as this process sees it."""
        from evo_nas.training.devices import resolve_device

        return resolve_device(self.placement.device)

    @property
    def loaded(self) -> OnDevice:
        """The data on the device, loaded once per process."""
        if "_cache" not in self.__dict__:
            self._cache = self.load()
        return self._cache

    def __getstate__(self) -> dict[str, Any]:
        """Leave the loaded data behind: a worker process loads it to its own device."""
        return {name: value for name, value in self.__dict__.items() if name != "_cache"}

    def integer(self, option: str) -> int:
        """Return an option that ``bind`` has settled."""
        value = getattr(self, option)
        assert value is not None, f"{option} is settled by bind()"
        return int(value)

    def _latency(self, network: nn.Module) -> dict[str, float]:
        from evo_nas.evaluators.latency import measure_latency

        image, _ = self.loaded.validation.batch(slice(1))
        return measure_latency(network, image, workers=self.placement.workers)

    def _extent(self, epochs: int, job: Job) -> dict[str, float]:
        """Return how far a training went, where trainings may pause, be stopped or shorter."""
        if self.inherit:
            return {"epochs": epochs}
        may_end_early = self._rule is not None or job.until is not None
        return {} if not may_end_early else {"epochs": epochs, "stopped": epochs < self._epochs}

    def _inherit(self, network: nn.Module, job: Job) -> dict[str, float]:
        """Let a network take over what it shares with its parent; return which share that is, and what is missing."""
        if job.parent is None:
            return {"inherited": 0.0}
        from evo_nas.phenotypes.blueprint import load_whole
        from evo_nas.phenotypes.kinds import brings_network
        from evo_nas.phenotypes.shared.heredity import hand_down

        try:
            blueprint, tensors = load_whole(weights_file(self.directory, job.parent), getattr(self, "backbone", None))
        except (DataError, UsageError):
            return {"inherited": 0.0, "orphaned": 1.0}
        if blueprint is None or brings_network(self.space):
            return {"inherited": hand_down(network, None, tensors, None, None)}
        own = self.space.decode(job.genotype)
        design = self.find_design(blueprint)
        return {"inherited": hand_down(network, own, tensors, blueprint.ghost(), design)}

    def _shorten(self, recipe: Recipe, heritage: Mapping[str, float]) -> Recipe:
        """Return the recipe of a network that has inherited so much."""
        if not heritage.get("inherited"):
            return recipe
        return replace(recipe, epochs=max(1, round(self.inherit_epochs * recipe.epochs)))


def _curve(history: Sequence[Epoch]) -> tuple[float, ...]:
    """Return the validation score of each epoch."""
    return tuple(epoch.score for epoch in history if epoch.score is not None)


def _add_up(earlier: Mapping[str, float], metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of all parts of a training: times are added up, others are those that were measured last."""
    summed = ("train_seconds", "validation_seconds", "cpu_seconds", "restarts")
    sums = {name: earlier.get(name, 0.0) + metrics.get(name, 0.0) for name in summed if name in {*earlier, *metrics}}
    return {**earlier, **metrics, **sums}


def _average(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each number that all have; one that is the same everywhere stays as it is."""
    names = [name for name in metrics[0] if all(name in one for one in metrics)]
    columns = {name: [one[name] for one in metrics] for name in names}
    return {name: values[0] if len(set(values)) == 1 else statistics.fmean(values) for name, values in columns.items()}
