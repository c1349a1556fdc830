"""The contract of an evaluator, and the job that it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from genotypes.genotype import Genotype
from genotypes.individual import Evaluation, Individual
from genotypes.space import SearchSpace

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Job:
    """One genotype to evaluate: everything that the result may depend on.

    ``id`` counts asks from 1; ``seed`` is the seed of the run; ``brief`` is what :meth:`Evaluator.brief` gave.
    """

    id: int
    genotype: Genotype
    seed: int
    brief: tuple[float, ...] = ()

    def rng(self) -> np.random.Generator:
        """Make the generator of this training: a function of the run's seed and the id alone."""
        import numpy as np

        # The tags 1 and 2 belong to ask and tell. None is 0: numpy drops trailing zeros of a seed.
        return np.random.default_rng([self.seed, self.id, 3])


@dataclass(frozen=True, slots=True)
class Cost:
    """What a network costs at the size at which it would be trained."""

    parameters: int
    mult_adds: int


class Evaluator(ABC):
    """From a genotype to its fitness, a fraction in [0, 1].

    A subclass is a dataclass: its fields are its options, each with a default, checked in ``__post_init__`` (which
    raises ``ValueError`` with the rule and the value). It is pickled into worker processes after ``bind`` and ``prepare``, so
    heavy state (data on a device) is loaded lazily, once a process, and left out of the pickle.

    The caller promises: ``bind`` is called once, then ``prepare``, both before any ``evaluate``.
    An implementation promises: ``evaluate`` depends on the job and the options alone, and writes nothing but
    files named after the job's id below the directory that ``prepare`` was given.
    """

    name: ClassVar[str]

    optimum: float | None = None
    """Best fitness that can be reached, a fraction in [0, 1], where it is known; regret is measured from it."""

    def bind(self, space: SearchSpace) -> None:
        """Take the space whose genotypes will come; by default remember it as ``self.space``.

        Raises:
            ValueError: if the genotypes of this space cannot be evaluated.
        """
        self.space = space

    def prepare(self, directory: Path) -> None:
        """Do once a run what evaluations need; may be killed and repeated. By default remember ``self.directory``.

        Raises:
            evo_nas.errors.DataError: if data is missing or damaged.
        """
        self.directory = directory

    def brief(self, ended: Sequence[Individual]) -> tuple[float, ...]:
        """Say what the next trial must know of those that ended; recorded with the ask. By default nothing."""
        return ()

    def cost(self, genotype: Genotype) -> Cost | None:
        """Count the network's parameters and mult-adds without training it; ``None`` where that has no meaning."""
        return None

    def expected_seconds(self) -> float | None:
        """Guess how long one evaluation takes on this machine, in seconds; ``None`` if that is not known."""
        return None

    @abstractmethod
    def evaluate(self, job: Job) -> Evaluation:
        """Evaluate one genotype. An exception becomes a failed evaluation, so none needs to be caught."""
