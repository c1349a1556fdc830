"""Local search: climb from neighbour to neighbour, start anew on every top (White et al. 2020, arXiv 2005.02960)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from genotypes.genotype import Genotype, GenotypeError
from genotypes.individual import Individual, Proposal
from genotypes.population import Population
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace
from strategies.base import SearchStrategy

VARIANTS: Final = ("steepest", "first")

_MOST_SAMPLES: Final = 100
"""Known random genotypes in a row after which the space is enumerated in order."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A genotype to climb from."""

    id: int
    genotype: Genotype
    fitness: float


@dataclass
class LocalSearch(SearchStrategy):
    """Hill climbing: move to better neighbours of the incumbent, and restart at random where none is better.

    ``variant`` says when to move: ``steepest`` looks at all neighbours and moves to the best of them (White et al.
    2020, algorithm 1), ``first`` moves to the first that is better. Better is strictly better; a failure never is.
    A climb starts from the best of ``starts`` random genotypes.

    Nothing is proposed twice: known neighbours are passed without asking. The search therefore stores a number per told
    candidate, about 200 bytes. It ends when the whole space was tried.

    With several workers the next neighbours are asked for before the first has ended. When only
    pending neighbours are left, random genotypes are asked for: they count for the next start.

    Raises:
        ValueError: if the variant is unknown.
    """

    name: ClassVar[str] = "local"

    variant: str = "first"
    starts: int = 10

    def __post_init__(self) -> None:
        check_ranges(self, starts="[1, inf)")
        if self.variant not in VARIANTS:
            raise ValueError(f"variant must be steepest or first, not {self.variant!r}")

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Start without any known genotype."""
        super().start(space, rng)
        # By the hash of the choices, which is one integer and takes less memory than they do.
        self._known: dict[int, tuple[float, int]] = {}  # fitness and id of everything told
        self._incumbent: _Place | None = None
        self._drawn = 0  # random genotypes told since the climb began
        self._start: _Place | None = None  # the best of these
        self._neighbours: Sequence[Genotype] = ()
        self._order: Sequence[int] = ()
        self._next = 0  # position in the order; all neighbours before it are known, and none of them is better
        self._best: _Place | None = None  # of the neighbours before that position, in the steepest variant

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal | None:
        """Return the next neighbour of the incumbent, or a random genotype; ``None`` when the whole space is known."""
        waiting = {hash(proposal.genotype.choices) for proposal in pending}
        if self._incumbent is not None:
            for position in range(self._next, len(self._order)):
                neighbour = self._neighbours[self._order[position]]
                if self._is_new(neighbour, waiting):
                    return Proposal(neighbour, parent=self._incumbent.id)
        genotype = self._draw_new(waiting, rng)
        return None if genotype is None else Proposal(genotype)

    def tell(self, individual: Individual, rng: np.random.Generator) -> None:
        """Store the candidate's fitness; move if the next incumbent is known."""
        fitness = -math.inf if individual.fitness is None else individual.fitness
        self._known[hash(individual.genotype.choices)] = fitness, individual.id
        self._drawn += individual.parent is None
        if individual.fitness is not None:
            place = _Place(individual.id, individual.genotype, fitness)
            if individual.parent is None:
                if self._start is None or fitness > self._start.fitness:
                    self._start = place
            elif self.variant == "first" and self._incumbent is not None and fitness > self._incumbent.fitness:
                self._climb_from(place, rng)
        while (goal := self._look() or self._start_over()) is not None:
            self._climb_from(goal, rng)

    def _look(self) -> _Place | None:
        """Skip the known neighbours; return the one to move to, if it is decided."""
        if self._incumbent is None:
            return None
        while self._next < len(self._order):
            neighbour = self._neighbours[self._order[self._next]]
            known = self._known.get(hash(neighbour.choices))
            if known is None:
                return None
            self._next += 1
            fitness, id = known
            if fitness > (self._best or self._incumbent).fitness:
                self._best = _Place(id, neighbour, fitness)
                if self.variant == "first":
                    break
        return self._best

    def _start_over(self) -> _Place | None:
        """Return the best of the random genotypes, if the incumbent is a top and there are enough of them."""
        if self._next < len(self._order) or self._start is None or self._drawn < self.starts:
            return None
        start, self._start, self._drawn = self._start, None, 0
        return start

    def _climb_from(self, place: _Place, rng: np.random.Generator) -> None:
        """Make the genotype the incumbent, with its neighbours in a random order."""
        self._incumbent, self._best = place, None
        self._neighbours = self.space.neighbours(place.genotype)
        self._order, self._next = rng.permutation(len(self._neighbours)).tolist(), 0

    def _draw_new(self, waiting: Container[int], rng: np.random.Generator) -> Genotype | None:
        """Return a random genotype that was not proposed before; ``None`` if there is none."""
        for _ in range(_MOST_SAMPLES):
            genotype = self.space.sample(rng)
            if self._is_new(genotype, waiting):
                return genotype
        return next((other for other in self._everything_after(genotype) if self._is_new(other, waiting)), None)

    def _is_new(self, genotype: Genotype, waiting: Container[int]) -> bool:
        key = hash(genotype.choices)
        return key not in self._known and key not in waiting

    def _everything_after(self, genotype: Genotype) -> Iterator[Genotype]:
        """Yield the rest of the space, in the order of its choices from a genotype on, and around to it."""
        sizes = [len(decision.options) for decision in self.space.decisions]
        choices = list(genotype.choices)
        while True:
            for position in reversed(range(len(sizes))):
                choices[position] = (choices[position] + 1) % sizes[position]
                if choices[position]:  # else carry
                    break
            if tuple(choices) == genotype.choices:
                return
            other = Genotype(genotype.space, tuple(choices))
            with contextlib.suppress(GenotypeError):
                self.space.check(other)
                yield other
