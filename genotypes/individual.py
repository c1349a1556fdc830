"""An evaluated genotype: its outcome, and the result of its evaluation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from genotypes.genotype import Genotype, shorten
from genotypes.plain import check_count, readable, real, whole

LONGEST: Final = 9e9
"""Seconds of the longest evaluation that a history and its readers hold."""


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


COSTS: Final = ("parameters", "mult_adds")
"""The metrics that a history keeps in columns of their own, as whole numbers."""


def _number(what: str, value: object) -> float:
    """Return a value as a ``float``.

    Raises:
        ValueError: if it is no number.
    """
    try:
        return real(value)
    except ValueError:
        raise ValueError(f"{what} must be a number, got {shorten(repr(value))}") from None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The evaluator's result for one genotype.

    ``fitness`` is what a search maximises, a fraction in [0, 1]; only failures, and nothing else, have none.
    ``test_fitness`` is a second measure that a search never sees, such as a test accuracy in a benchmark table, also a
    fraction in [0, 1]. ``seconds`` is the duration of the evaluation, ``None`` where nothing was evaluated.
    ``curve`` holds the evaluator's measure, a fraction in [0, 1], after each epoch. ``metrics`` holds any further
    finite numbers by name; ``parameters`` and ``mult_adds`` are whole ones, which histories keep in columns of their
    own. ``error`` says in one or more lines why it failed; what UTF-8 cannot hold of it is spelled out.

    Numbers may come from numpy, torch or pandas; they are kept as ``float``.

    Raises:
        NotANumber: if the fitness is NaN.
        ValueError: if the fitness is missing, not expected, or no fraction; or if another value is no number, or one
            that a history cannot hold.
    """

    outcome: Outcome
    fitness: float | None = None
    test_fitness: float | None = None
    seconds: float | None = 0.0
    curve: tuple[float, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None

    def __post_init__(self) -> None:
        take = object.__setattr__
        if type(self.outcome) is not Outcome:
            take(self, "outcome", Outcome(self.outcome))
        for name in ("fitness", "test_fitness", "seconds"):
            value = getattr(self, name)
            if type(value) is not float and value is not None:
                take(self, name, _number(name, value))
        if not (type(self.curve) is tuple and set(map(type, self.curve)) <= {float}):
            take(self, "curve", tuple([_number("a learning curve", value) for value in self.curve]))
        metrics = {name if type(name) is str else str(name): value for name, value in self.metrics.items()}
        for name, value in metrics.items():
            if type(value) is not float:
                metrics[name] = _number(f"metric {name!r}", value)
        take(self, "metrics", metrics)
        if self.error is not None:
            take(self, "error", readable(self.error))
        if self.fitness is not None and math.isnan(self.fitness):
            raise NotANumber("the fitness is no number")
        if self.outcome.has_fitness != (self.fitness is not None):
            rule = "needs a fitness" if self.outcome.has_fitness else "has no fitness"
            raise ValueError(f"an evaluation that ended {self.outcome} {rule}, got {self.fitness}")
        for name, value in (("fitness", self.fitness), ("test_fitness", self.test_fitness)):
            if value is not None and not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is a fraction in [0, 1], got {value}")
        if self.seconds is not None and not 0.0 <= self.seconds <= LONGEST:
            raise ValueError(f"seconds must be finite and not negative, got {self.seconds}")
        for value in self.curve:
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"a learning curve holds fractions in [0, 1] only, got {value}")
        for name, value in self.metrics.items():
            if not math.isfinite(value):
                raise ValueError(f"metric {name!r} must be finite, got {value}")
            if name in COSTS and not (value.is_integer() and abs(value) < 2**63):
                raise ValueError(f"metric {name!r} must be a whole number of 64 bits, got {value}")
            if not name.isascii() and readable(name) != name:
                raise ValueError(f"the name of a metric must be text that UTF-8 can hold, got {name!r}")

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

    @classmethod
    def of(cls, id: int, proposal: Proposal, evaluation: Evaluation) -> Individual:
        """Return what a proposal, asked under this id, has become with its evaluation."""
        genotype, parent, memo = proposal.genotype, proposal.parent, proposal.memo
        outcome, fitness = evaluation.outcome, evaluation.fitness
        return cls(id, genotype, outcome, fitness, parent, memo, evaluation.metrics, evaluation.curve)

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
    wants back in :meth:`SearchStrategy.tell`, such as PPO's log-probabilities. Numbers may come from numpy, torch or
    pandas; the parent is kept as ``int``, the memo as ``float``.

    Raises:
        ValueError: if there is no genotype, the parent is no id, or a number of the memo is not finite.
    """

    genotype: Genotype
    parent: int | None = None
    memo: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.genotype, Genotype):
            raise ValueError(f"a proposal holds a Genotype, got {shorten(repr(self.genotype))}")
        # As the history gives it back, so that a resumed search sees the same numbers.
        if self.parent is not None:
            try:
                object.__setattr__(self, "parent", whole(self.parent))
            except ValueError:
                raise ValueError(f"the parent of a proposal is an id, got {shorten(repr(self.parent))}") from None
        object.__setattr__(self, "memo", tuple([_number("the memo", value) for value in self.memo]))
        if not all(map(math.isfinite, self.memo)):
            raise ValueError(f"the memo of a proposal holds finite numbers only, got {self.memo}")


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a network at the size of its training.

    Raises:
        ValueError: if one of the numbers is no whole one.
    """

    parameters: int
    mult_adds: int

    def __post_init__(self) -> None:
        for name in COSTS:
            check_count(f"the {name} of a network", getattr(self, name))
