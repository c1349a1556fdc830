"""The contract of an evaluator, and the job that it is given."""

from __future__ import annotations

import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from evo_nas.errors import Stopped, calling
from evo_nas.system.terminal import keep_streams
from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.individual import Cost, Evaluation, NotANumber, Outcome
from genotypes.measure import ACCURACY, Measure
from genotypes.plain import check_count, check_names
from genotypes.population import Population
from genotypes.space import SearchSpace


@dataclass(frozen=True, slots=True)
class Job:
    """One genotype to evaluate: everything that the result may depend on.

    ``id`` counts asks from 1; ``seed`` is the seed of the run; ``brief`` is what :meth:`Evaluator.brief` gave.
    ``parent`` is the trial that trained the network which was changed, if any; see :attr:`Evaluator.inherits`.
    ``until`` is the epoch, counted from 1, after which the evaluation pauses, or ends if that is the last one; ``None``
    for one that does not pause. ``so_far`` is its result at its last pause, if any, from which it goes on; see
    :meth:`Evaluator.count_pausable_epochs`.
    """

    id: int
    genotype: Genotype
    seed: int
    brief: tuple[float, ...] = ()
    parent: int | None = None
    until: int | None = None
    so_far: Evaluation | None = None

    def rng(self) -> np.random.Generator:
        """Make the generator of this training: a function of the run's seed and the id alone."""
        # The tags 1 and 2 belong to ask and tell. None is 0: numpy drops trailing zeros of a seed.
        return np.random.default_rng([self.seed, self.id, 3])


@dataclass(frozen=True, slots=True)
class Placement:
    """The place where evaluations run: it may change between two parts of a run without changing its science.

    ``device`` is ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; ``data_dir`` is where image sets lie;
    ``threads`` is how many threads one evaluation may use; ``keep_weights`` says whether trained weights are to be
    written. ``workers`` is how many evaluations go on at a time: more than one get in the way of each other's clocks.
    ``device_url`` is the address of the machine that the latency of deployed networks is measured on, if not this one.
    """

    device: str = "auto"
    data_dir: Path | None = None
    threads: int = 1
    keep_weights: bool = False
    workers: int = 1
    device_url: str | None = None


class Evaluator(ABC):
    """From a genotype to its fitness, a fraction in [0, 1].

    A subclass is a dataclass: its fields are its options, each with a default, checked in ``__post_init__`` (which
    raises ``ValueError`` with the rule and the value). It is pickled into worker processes, so heavy state, such
    as data on a device, is loaded lazily, once per process, and left out of the pickle. An option ``seed`` whose
    default is ``None`` gets the seed of the run where the user leaves it open.

    The caller promises to call ``complete``, ``bind``, then ``prepare``, before any ``cost``, and ``groundwork`` before
    ``evaluate``.
    An implementation promises that ``evaluate`` depends on the job and the options alone, and that it writes nothing
    but files named after the job's id below the directory that ``prepare`` was given.
    """

    name: ClassVar[str]

    @property
    def measure(self) -> Measure:
        """Meaning of the fitness, by default the validation accuracy. The run records it; all words come from it."""
        return ACCURACY

    @property
    def optimum(self) -> float | None:
        """Best fitness that can be reached, a fraction in [0, 1], where it is known after ``prepare``.

        Regret is measured from it.
        """
        return None

    preload: ClassVar[tuple[str, ...]] = ()
    """Modules that take long to import, which worker processes are forked with."""

    is_harmless: ClassVar[bool] = False
    """Whether no evaluation can hang, take its process down or eat its memory: then it needs no process of its own."""

    @property
    def inherits(self) -> bool:
        """Whether evaluations begin with the weights of a job's parent, which are kept for that; by default not."""
        return False

    def count_pausable_epochs(self) -> int:
        """Return the epochs of an evaluation that can pause after each of them; by default none can. After ``bind``.

        Such an evaluation ends with the epoch that the job names, with a curve so long, and goes on from there when it
        is evaluated again with that result, which it completes: curve, seconds and metrics are those of all its parts.
        In the end they are what one evaluation without a pause would have given, but for the times.

        Raises:
            ValueError: if it cannot pause; it says why, and what can.
        """
        raise ValueError(
            f"the evaluator {self.name} has no trainings that could pause: choose one that trains, such as proxy"
        )

    def keep_states(self, wanted: Mapping[int, int]) -> None:  # noqa: B027  # most keep none
        """Remove what was kept of paused evaluations, but for these trials: after so many epochs or more.

        Called in the process of the search, also while workers evaluate: those are among them. By default nothing is
        kept.
        """

    network_metrics: ClassVar[tuple[str, ...]] = ("parameters", "mult_adds")
    """Metrics that belong to the network: it keeps them when it comes up again and its fitness is reused.

    The others, such as seconds, are those of one training.
    """

    @property
    def metrics(self) -> tuple[str, ...] | None:
        """Names of the metrics that every evaluation with a fitness carries; ``None``, by default, if nobody knows.

        Where they are known, a strategy that needs another one is refused before anything is evaluated.
        """
        return None

    def fingerprint(self) -> Mapping[str, str]:
        """Return the data that determine the results, name -> digest; by default none. Called after ``groundwork``.

        A run is resumed on the same data only.
        """
        return {}

    def complete(self, space: SearchSpace, placement: Placement) -> SearchSpace:
        """Return the space with what only the evaluator can find out filled in, before ``bind``; by default as it is.

        Raises:
            ValueError: if it cannot be found out.
        """
        return space

    def bind(self, space: SearchSpace, placement: Placement | None = None) -> None:
        """Take the space whose genotypes will come, and where to run; by default remember both.

        Raises:
            ValueError: if the genotypes of this space cannot be evaluated, or the device is not there.
        """
        self.space = space
        self.placement = placement or Placement()

    def prepare(self, directory: Path) -> None:
        """Prepare evaluations once per run; may be killed and repeated. By default remember ``self.directory``.

        Raises:
            evo_nas.errors.DataError: if data is missing or damaged.
        """
        self.directory = directory

    def groundwork(self, hear: Callable[[str], None]) -> None:  # noqa: B027  # most need none
        """Build once what takes long and all trials need, such as a supernet; by default nothing.

        Called once per run and part of a run, after ``prepare``, in the process of the search: never to estimate
        (``--dry-run``, ``doctor``) and never in a worker. ``hear`` takes lines of progress. It may be killed at any
        time; :func:`evo_nas.evaluators.groundwork.build_once` keeps it whole, in the user's cache, for all runs that
        need the same. Its digest belongs into :meth:`fingerprint`.

        Raises:
            evo_nas.errors.DataError: if it cannot be built, or is damaged.
        """

    @property
    def window(self) -> int:
        """Number of the youngest individuals that the population must keep for :meth:`brief`; by default 0."""
        return 0

    def brief(self, population: Population) -> tuple[float, ...]:
        """Return what the next trial must know of those that were told; recorded with the ask. By default nothing.

        A function of the youngest :attr:`window` of the population, so that a resumed run says the same.
        """
        return ()

    def cost(self, genotype: Genotype) -> Cost | None:
        """Count the network's parameters and mult-adds without training it; ``None`` where that has no meaning."""
        return None

    def expected_seconds(self, genotypes: Sequence[Genotype]) -> float | None:
        """Return how long one evaluation takes here, in seconds, judged by these genotypes; ``None`` if unknown."""
        return None

    def memory(self) -> int | None:
        """Return how many bytes a process that evaluates takes at most, beyond what such processes share.

        ``None``, by default, if nobody knows or it hardly matters. Where it is known, more workers than there is memory
        for are refused. Called after ``prepare``.
        """
        return None

    @abstractmethod
    def evaluate(self, job: Job) -> Evaluation:
        """Evaluate one genotype. An exception becomes a failed evaluation, so none needs to be caught."""


def prepare_evaluator(evaluator: Evaluator, folder: Path) -> None:
    """Have an evaluator prepare what it needs for the run in a folder.

    Raises:
        PluginError: naming the evaluator, if that raises what is no error of ours.
    """
    with calling(evaluator, "prepare", OSError):
        evaluator.prepare(folder)


def check_evaluator(evaluator: Evaluator) -> None:
    """Raise unless the properties of an evaluator are what a search needs.

    Raises:
        ValueError: with the rule and the value.
    """
    check_names("name", (evaluator.name,))
    check_names("network_metrics", evaluator.network_metrics)
    check_names("preload", evaluator.preload)
    if evaluator.metrics is not None:
        check_names("metrics", evaluator.metrics)
    check_count("window", evaluator.window)
    if not isinstance(evaluator.measure, Measure):
        raise ValueError(f"measure must be a Measure, not {shorten(repr(evaluator.measure))}")


def weights_file(directory: Path, id: int) -> Path:
    """Name the file for the trained weights of a trial, below the directory that ``prepare`` was given."""
    return directory / "weights" / f"trial-{id:06d}.safetensors"


def evaluate_safely(evaluator: Evaluator, job: Job, *, in_worker: bool = False) -> Evaluation:
    """Evaluate, and turn whatever is raised into a failed evaluation: one bad trial costs that trial only.

    Only signals to us go on: see :class:`evo_nas.errors.Stopped`.

    ``in_worker`` says that this process can be replaced. Then a device that was lost is no fault of the trial, which
    would be the first of many that fail in this process, but a crash: it is tried once more, in a fresh worker.
    """
    start = time.monotonic()
    try:
        with keep_streams():
            return _copy(evaluator.evaluate(job), f"{type(evaluator).__name__}.evaluate")
    except Stopped:
        raise
    except BaseException as error:  # an evaluator that exits ends its trial, not the search
        outcome = Outcome.ERROR
        last = "".join(traceback.format_exception(error)[-3:]).strip()
        kind_and_words, words = _spell(error)
        if isinstance(error, BaseExceptionGroup):  # the last line is what is shown
            last += f"\n{kind_and_words}"
        if _is_out_of_memory(error, words):
            outcome = Outcome.OOM
        elif in_worker and _is_device_lost(error, words):
            outcome = Outcome.CRASH
            # Last, because the last line is what is shown; what CUDA says goes on for lines of general advice.
            last += f"\nthe device was lost: {words.partition(chr(10))[0]}"
        elif isinstance(error, GenotypeError):
            outcome = Outcome.INVALID
        elif isinstance(error, NotANumber):
            outcome = Outcome.NAN
        return Evaluation.failed(outcome, last, seconds=time.monotonic() - start)


def _copy(answer: object, method: str) -> Evaluation:
    """Check once more what an evaluator returned, which can have been changed since it was made, and return it plain.

    Raises:
        TypeError: if it is no evaluation.
        ValueError: if it is none that an evaluator can give.
    """
    if not isinstance(answer, Evaluation):
        raise TypeError(f"{method} returned {shorten(repr(answer))}, which is no Evaluation")
    if answer.outcome in (Outcome.REUSED, Outcome.REFUSED):
        raise ValueError(f"{method} returned the outcome {answer.outcome}, which is for what was not evaluated")
    return Evaluation(*[getattr(answer, field.name) for field in _FIELDS])


_FIELDS: Final = fields(Evaluation)


def is_fault_of_machine(error: BaseException) -> bool:
    """Return whether memory ran out or the device was lost, which says nothing about a network."""
    words = _spell(error)[1]
    return _is_out_of_memory(error, words) or _is_device_lost(error, words)


def _spell(error: BaseException) -> tuple[str, str]:
    """Return the kind of an error with its words, and the words alone; ``str(error)`` may raise another."""
    kind_and_words = traceback.format_exception_only(error)[0].strip()
    return kind_and_words, kind_and_words.partition(": ")[2]


def _is_out_of_memory(error: BaseException, words: str) -> bool:
    """Return whether memory ran out, by the name of torch's exception or its message; torch is not imported for it."""
    return (
        isinstance(error, MemoryError)
        or "OutOfMemory" in type(error).__name__
        or "can't allocate" in words
        or "out of memory" in words
    )


def _is_device_lost(error: BaseException, words: str) -> bool:
    """Return whether after this error the process cannot use its device any more.

    CUDA calls most of them sticky: whatever is asked of the device later fails in the same way, and only a new process
    gets a new context (CUDA Runtime API, ``cudaErrorLaunchFailure`` and others: "the process must be terminated and
    relaunched"). The few that are not cost a fresh worker for nothing. torch raises ``AcceleratorError``, older
    versions a plain ``RuntimeError``. Untested on CUDA hardware.
    """
    return type(error).__name__ in ("AcceleratorError", "DeviceMissing") or words.startswith("CUDA error")
