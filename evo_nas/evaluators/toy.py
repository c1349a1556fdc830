"""A known landscape with seeded noise on any space: for tests, demos and soaks, never for science."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from evo_nas.evaluators.base import Evaluator, Job
from genotypes.genotype import Genotype
from genotypes.individual import Evaluation, Outcome
from genotypes.ranges import check_ranges
from genotypes.spaces.growing import GrowingSpace


@dataclass
class ToyEvaluator(Evaluator):
    """Score each decision by the index of its option, and average.

    A decision with n > 1 options whose option j was chosen scores j / (n - 1); the fitness is the mean over these
    decisions, plus Gaussian noise, clipped to [0, 1]. On strings of bits this is the fraction of ones: the toy of
    Real et al. 2018, supplement C. The best genotype takes the last option everywhere and has fitness 1.

    In a space that grows, a smaller genotype scores 0 for every decision of a whole one that it has not made: one of b
    blocks reaches b / B, so that growing pays.

    The metric ``parameters`` is a cost to set against that: option j of the i-th decision, both counted from 0, costs
    (i + 1) * j. All decisions are worth the same, and the first ones are cheap.

    ``noise`` is the standard deviation, a fraction; it is drawn once per trial, so that the same genotype trained
    again differs. The test fitness is the score without noise. ``seconds`` is the simulated duration of a trial, slept
    away; ``sigma`` spreads it log-normally.

    Raises:
        ValueError: if an option is negative or not finite.
    """

    name: ClassVar[str] = "toy"
    is_harmless: ClassVar[bool] = True

    noise: float = 0.01
    seconds: float = 0.0
    sigma: float = 0.0

    def __post_init__(self) -> None:
        check_ranges(self, noise="[0, inf)", seconds="[0, inf)", sigma="[0, inf)")

    @property
    def optimum(self) -> float:
        """The last option everywhere scores 1."""
        return 1.0

    @cached_property
    def _last(self) -> dict[str, tuple[int, ...]]:
        """Index of the last option of every decision, by the spelling of the space or of a level below it."""
        levels = (self.space, *self.space.below) if isinstance(self.space, GrowingSpace) else (self.space,)
        return {level.spelling: tuple(len(d.options) - 1 for d in level.decisions) for level in levels}

    @property
    def metrics(self) -> tuple[str, ...]:
        """A cost for each genotype."""
        return ("parameters",)

    def truth(self, genotype: Genotype) -> float:
        """Return the fitness without noise."""
        whole = self._last[self.space.spelling]
        last = self._last.get(genotype.space, whole)
        scores = [choice / n for choice, n in zip(genotype.choices, last, strict=True) if n]
        return sum(scores) / sum(map(bool, whole)) if any(whole) else 1.0

    def expected_seconds(self, genotypes: Sequence[Genotype]) -> float:
        """Return the mean of the simulated duration."""
        return self.seconds * math.exp(self.sigma**2 / 2)

    def evaluate(self, job: Job) -> Evaluation:
        """Return the fitness in the landscape, after a sleep as long as the simulated training."""
        rng = job.rng()
        truth = self.truth(job.genotype)
        fitness = min(max(truth + self.noise * rng.standard_normal(), 0.0), 1.0)
        seconds = self.seconds * math.exp(self.sigma * rng.standard_normal())
        if seconds:
            time.sleep(seconds)
        parameters = sum(i * choice for i, choice in enumerate(job.genotype.choices, start=1))
        metrics = {"parameters": parameters}
        return Evaluation(Outcome.OK, fitness=float(fitness), test_fitness=truth, seconds=seconds, metrics=metrics)
