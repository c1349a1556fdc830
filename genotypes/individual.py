"""An evaluated genotype: its outcome, and the result of its evaluation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from genotypes.genotype import Genotype


class Outcome(StrEnum):
    """The end of an ask. Only ``OK`` and ``REUSED`` have a fitness."""

    OK = "ok"
    """trained and measured"""
    REUSED = "reused"
    """the same network had been trained before; its fitness was taken over"""
    REFUSED = "refused"
    """beyond a limit of the run, such as its largest number of parameters; not trained"""
    NAN = "nan"
    """the training diverged: a loss or a fitness that is no number"""
    OOM = "oom"
    """out of memory"""
    TIMEOUT = "timeout"
    """stopped at the time limit of a trial"""
    CRASH = "crash"
    """the process in which it was trained died"""
    INVALID = "invalid"
    """the genotype cannot be built"""
    ERROR = "error"
    """anything else; the error text says what"""

    @property
    def has_fitness(self) -> bool:
        """Whether an evaluation with this outcome carries a fitness."""
        return self in (Outcome.OK, Outcome.REUSED)


class NotANumber(ValueError):
    """A fitness that is NaN: the training diverged without an error."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The evaluator's result for one genotype.

    ``fitness`` is what a search maximises, a fraction in [0, 1]; only failures, and nothing else, have none.
    ``test_fitness`` is a second measure that a search never sees, such as a test accuracy in a benchmark table, also a
    fraction in [0, 1]. ``seconds`` is the duration of the evaluation, ``None`` where nothing was evaluated.
    ``curve`` holds the evaluator's measure, a fraction in [0, 1], after each epoch. ``metrics`` holds any further
    finite numbers by name; ``parameters`` and ``mult_adds`` are the ones that histories keep in columns of their
    own. ``error`` says in one or more lines why it failed.

    Numbers may come as whatever is a number, of numpy or torch too; they are kept as ``float``.

    Raises:
        NotANumber: if the fitness is NaN.
        ValueError: if the fitness is missing, not expected, or no fraction; or if another number is not finite.
        TypeError: if a value is not a number.
    """

    outcome: Outcome
    fitness: float | None = None
    test_fitness: float | None = None
    seconds: float | None = 0.0
    curve: tuple[float, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None

    def __post_init__(self) -> None:
        for name in ("fitness", "test_fitness", "seconds"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, float(value))
        object.__setattr__(self, "curve", tuple(map(float, self.curve)))
        object.__setattr__(self, "metrics", {str(name): float(value) for name, value in self.metrics.items()})
        if self.fitness is not None and math.isnan(self.fitness):
            raise NotANumber("the fitness is no number")
        if self.outcome.has_fitness != (self.fitness is not None):
            rule = "needs a fitness" if self.outcome.has_fitness else "has no fitness"
            raise ValueError(f"an evaluation that ended {self.outcome} {rule}, got {self.fitness}")
        for name, value in (("fitness", self.fitness), ("test_fitness", self.test_fitness)):
            if value is not None and not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is a fraction in [0, 1], got {value}")
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds >= 0.0):
            raise ValueError(f"seconds must be finite and not negative, got {self.seconds}")
        if not all(map(math.isfinite, self.curve)):
            raise ValueError(f"a learning curve holds finite numbers only, got {self.curve}")
        for name, value in self.metrics.items():
            if not math.isfinite(value):
                raise ValueError(f"metric {name!r} must be finite, got {value}")

    @classmethod
    def failed(cls, outcome: Outcome, error: str, seconds: float = 0.0, curve: tuple[float, ...] = ()) -> Evaluation:
        """Return the evaluation of a failed trial, with the reason."""
        return cls(outcome, seconds=seconds, curve=curve, error=error)


@dataclass(frozen=True, slots=True)
class Individual:
    """A told candidate, as strategies and populations see it.

    ``id`` counts asks from 1; ``parent`` is the id of the individual that was mutated, if any; ``memo`` is what the
    strategy put into the proposal for itself. ``metrics`` and ``curve`` are those of its :class:`Evaluation`.
    """

    id: int
    genotype: Genotype
    outcome: Outcome
    fitness: float | None
    parent: int | None = None
    memo: tuple[float, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    curve: tuple[float, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it has a fitness: trained, or taken over from the same network."""
        return self.fitness is not None

    @property
    def score(self) -> float:
        """The fitness of an individual that has one.

        Raises:
            ValueError: for a failed individual, which has none.
        """
        if self.fitness is None:
            raise ValueError(f"individual {self.id} ended {self.outcome} and has no fitness")
        return self.fitness


@dataclasses.dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate that a strategy proposes to evaluate next.

    ``parent`` is the id of the individual that was changed, if any. ``memo`` holds finite numbers that the strategy
    wants back in :meth:`SearchStrategy.tell`, such as PPO's log-probabilities.

    Raises:
        ValueError: if a number of the memo is not finite.
    """

    genotype: Genotype
    parent: int | None = None
    memo: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        # As the history gives it back, so that a resumed search sees the same numbers.
        object.__setattr__(self, "memo", tuple(map(float, self.memo)))
        if not all(map(math.isfinite, self.memo)):
            raise ValueError(f"the memo of a proposal holds finite numbers only, got {self.memo}")


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a network at the size of its training."""

    parameters: int
    mult_adds: int
