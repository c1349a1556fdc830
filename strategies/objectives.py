"""Objectives by which tournaments compare members: fitness alone, or fitness and costs.

With costs, by the crowded-comparison operator of NSGA-II (Deb et al. 2002, "A Fast and Elitist Multiobjective Genetic
Algorithm: NSGA-II", section III.C).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

from deap import base, tools

from genotypes.individual import Individual


class Objectives(base.Fitness):  # type: ignore[misc]  # deap has no types
    """The fitness of a member for deap's operators: the value to maximise, then costs to minimise."""

    def __init__(self, accuracy: float, costs: Sequence[float] = ()) -> None:
        self.weights = (1.0, *(-1.0 for _ in costs))
        super().__init__((accuracy, *costs))


@dataclass(frozen=True, slots=True)
class Member:
    """An individual in the form that deap's selections read: an object with a ``fitness``."""

    individual: Individual
    fitness: Objectives

    @classmethod
    def of(cls, individual: Individual, costs: Sequence[str] = ()) -> Member:
        """Compare an individual by its fitness, and by those of its metrics that ``costs`` names.

        Raises:
            ValueError: if it has no fitness, or lacks one of the metrics.
        """
        if missing := [name for name in costs if name not in individual.metrics]:
            has = ", ".join(individual.metrics) or "none at all"
            raise ValueError(f"individual {individual.id} has no metric {missing[0]!r} to compare by; it has: {has}")
        # An individual that lives has a fitness, and it is never NaN.
        return cls(individual, Objectives(individual.score, [individual.metrics[name] for name in costs]))


def select_by_crowding(sample: Sequence[Member], k: int = 1) -> list[Member]:
    """Return the ``k`` best by the crowded-comparison operator; of equals those first drawn.

    The member of the better front wins; within a front, the one with the larger crowding distance.
    """
    standing = _standing(sample)
    return sorted(sample, key=lambda member: standing[member.fitness])[:k]


def remove_by_crowding(sample: Sequence[Member], k: int = 1) -> list[Member]:
    """Return the ``k`` worst by the crowded-comparison operator, the worst first; of equals those first drawn."""
    standing = _standing(sample)
    return sorted(sample, key=lambda member: standing[member.fitness], reverse=True)[:k]


def _standing(sample: Sequence[Member]) -> dict[Objectives, tuple[int, float]]:
    """Return the front rank and negative crowding distance of each member of a sample; the smaller, the better.

    A sample that is drawn with replacement holds some members twice, and different members may be worth exactly the
    same. Each worth counts once: as neighbours of each other, copies would have no room around them.
    """
    # Made anew, because deap writes crowding distances into what it compares, and asking changes no member.
    worths = {member.fitness: replace(member, fitness=copy(member.fitness)) for member in sample}
    standing: dict[Objectives, tuple[int, float]] = {}
    for rank, front in enumerate(tools.sortNondominated(list(worths.values()), len(worths))):
        tools.emo.assignCrowdingDist(front)
        standing |= {member.fitness: (rank, -member.fitness.crowding_dist) for member in front}
    return standing
