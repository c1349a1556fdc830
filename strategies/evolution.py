"""Regularized evolution: a tournament with aging (Real et al. 2018, "Regularized Evolution for Image Classifier ...").

The whole of algorithm 1: sample S of the P that live, with replacement, mutate the best of the sample, add the child
and let the oldest die. Asynchronous workers need nothing more: an idle one samples the present population (section
3.3).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Self

import numpy as np
from deap import base, tools

from genotypes.donor import Donor, list_best_of_all, require_whole
from genotypes.genotype import Genotype, shorten
from genotypes.individual import Individual, Proposal
from genotypes.population import Population
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace
from strategies.base import SearchStrategy
from strategies.models.evidence import is_misleading
from strategies.objectives import Member, remove_by_crowding, select_by_crowding

PAPER_POPULATION: Final = 100
PAPER_SAMPLE: Final = 25
"""The best of the settings that Real et al. 2018 tried (section 4)."""

MEMBERS_A_DECISION: Final = 8
"""So many members for each decision, up to the paper's hundred: a small space is searched in few trials."""

SMALL_SPACE: Final = 1_000_000
"""Size up to which a space is small: a search would meet the same genotypes again and again."""

OBJECTIVES: Final = ("accuracy", "pareto")
"""Names of the objectives of a tournament."""

_MOST_STEPS: Final = 100
"""Mutations after which a known genotype is proposed all the same: there may be no new one."""


@dataclass
class RegularizedEvolution(SearchStrategy):
    """Regularized evolution: tournament selection with aging.

    ``population`` is P and ``sample`` is S. While fewer than P live, proposals are random. Failures never enter the
    population, and no member dies for them. ``aging=False`` is the paper's ablation, "non-aging evolution"
    (figure 7): the worst of the sample dies instead of the oldest. If it has died meanwhile, because several workers
    drew it, then the worst of a new sample does.

    ``distinct`` leaves algorithm 1: a child that was proposed before is mutated on until it is new, and so is a random
    genotype. Without it a repeat is proposed like any other, to be trained once more under ``--repeats retrain``.

    ``objective`` is what a tournament is won by: ``accuracy``, which is the fitness whatever it measures, or
    ``pareto``, where ``costs`` count as well. These are metrics of the evaluation, the smaller the better, such as
    ``mult_adds``, ``parameters`` or ``latency``. The sample is then sorted into fronts, and of the first the member
    with the most room around it wins: the crowded-comparison operator of NSGA-II (Deb et al. 2002, section III.C).
    Aging stays as it is.

    Open options (``None``) depend on the space. P is 8 members per decision with a choice, at most the paper's 100;
    S is the paper's 25, at most half of P; ``distinct`` is true where the space has at most a million genotypes.
    The NASNet space gets 100, 25 and false, which is the paper; NAS-Bench-201 gets 48, 24 and true (see
    docs/measurements/strategies.md for the measurements).

    After :meth:`use_knowledge` every other of the first P proposals is one of the donors' best networks, to be
    evaluated like any other, unless those turn out to be worse than the random ones between them.

    ``toolbox`` is deap's registry of the operators, filled by :meth:`start`; register others there to swap them:
    ``draw(members) -> sample``, ``select(sample) -> [winner]``, ``remove(sample) -> [loser]`` (without aging only) and
    ``mutate(genotype, rng) -> genotype``.

    Raises:
        ValueError: if the sample is not from 1 to the size of the population, the objective is neither, or there is
            not at least one cost, each named once.
    """

    name: ClassVar[str] = "evolution"

    population: int | None = None
    sample: int | None = None
    aging: bool = True
    distinct: bool | None = None
    objective: str = "accuracy"
    costs: tuple[str, ...] = ("mult_adds",)

    def __post_init__(self) -> None:
        check_ranges(self, population="[1, inf)", sample="[1, inf)")
        if self.population is not None and self.sample is not None and self.sample > self.population:
            raise ValueError(f"sample must be from 1 to the population of {self.population}, not {self.sample}")
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective must be {' or '.join(OBJECTIVES)}, not {shorten(repr(self.objective))}")
        self._donors: tuple[Donor, ...] = ()
        if not self.costs or len(set(self.costs)) < len(self.costs):
            raise ValueError(f"costs names at least one metric, each once, not {shorten(list(self.costs))}")

    @property
    def needs(self) -> tuple[str, ...]:
        """The costs, where they count."""
        return self.costs if self.objective == "pareto" else ()

    @property
    def window(self) -> int:
        """P, so that the population holds the members; with aging they are the youngest P."""
        return self.population or 0

    @property
    def lookback(self) -> int | None:
        """P with aging, because dead members have no effect; all if children must be distinct."""
        return self.population if self.aging and self.distinct is False else None

    def suited(self, space: SearchSpace) -> Self:
        """Return a copy with the open options filled in."""
        if None not in (self.population, self.sample, self.distinct):
            return self
        population, sample, distinct = self.population, self.sample, self.distinct
        if population is None:
            open_ = sum(len(decision.options) > 1 for decision in space.decisions)
            population = max(1, sample or 1, min(PAPER_POPULATION, MEMBERS_A_DECISION * open_))
        if sample is None:
            sample = max(1, min(PAPER_SAMPLE, population // 2))
        if distinct is None:
            distinct = space.size <= SMALL_SPACE
        return replace(self, population=population, sample=sample, distinct=distinct)

    def use_knowledge(self, space: SearchSpace, donors: Sequence[Donor]) -> None:
        """Take the donors whose best fill a part of the first population.

        Raises:
            ValueError: if none of their networks is of the space itself.
        """
        self._donors = require_whole(donors, space.spelling)

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Start with an empty population, and register the operators."""
        super().start(space, rng)
        options = self.suited(space)
        self._size, self._distinct = options.population or 1, bool(options.distinct)
        self._members: list[Member] = []  # in the order told, the oldest first; at most P
        self._tried: set[Genotype] = set()  # everything told; kept only where children are to be distinct
        self._donated = list_best_of_all(self._donors)[: (self._size + 1) // 2]
        self._told = 0  # counts, and the fitnesses below are kept, only as long as fewer than P live
        self._advised: list[float | None] = []  # fitnesses of the donors' best here
        self._others: list[float | None] = []  # and of the random genotypes
        self.toolbox = base.Toolbox()
        # selRandom draws with replacement, as Real et al. do; the first of the sample wins a tie, or loses it.
        self.toolbox.register("draw", tools.selRandom, k=options.sample)
        is_crowded = self.objective == "pareto"
        select, remove = (select_by_crowding, remove_by_crowding) if is_crowded else (tools.selBest, tools.selWorst)
        self.toolbox.register("select", select, k=1)
        self.toolbox.register("remove", remove, k=1)
        self.toolbox.register("mutate", space.mutate)

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        """Propose a mutation of the winner of a tournament, or a random genotype while too few live."""
        if len(self._members) < self._size:
            if (advised := self._find_advice(self._told + len(pending))) is not None:
                return Proposal(advised)
            return Proposal(self._new(self.space.sample(rng), pending, rng))
        with _deap_draws_from(rng):
            sample = self.toolbox.draw(self._members)
            (winner,) = self.toolbox.select(sample)
            memo = () if self.aging else (float(self.toolbox.remove(sample)[0].individual.id),)
        parent: Individual = winner.individual
        child = self._new(self.toolbox.mutate(parent.genotype, rng), pending, rng)
        return Proposal(child, parent=parent.id, memo=memo)

    def tell(self, individual: Individual, rng: np.random.Generator) -> None:
        """Add the individual to the population; if it was full, remove another.

        Raises:
            ValueError: if it has a fitness and lacks a cost that counts.
        """
        if len(self._members) < self._size:
            self._told += 1
            is_advised = individual.genotype in self._donated
            (self._advised if is_advised else self._others).append(individual.fitness)
        if self._distinct:
            self._tried.add(individual.genotype)
        if individual.fitness is None:
            return
        member = Member.of(individual, self.needs)
        if len(self._members) == self._size:
            del self._members[0 if self.aging else self._loser(individual.memo, rng)]
        self._members.append(member)

    def _find_advice(self, asked: int) -> Genotype | None:
        """Return the network of the donors that is proposed after so many asks, if one is."""
        index, is_random = divmod(asked, 2)
        if is_random or index >= len(self._donated) or is_misleading(self._advised, self._others):
            return None
        return self._donated[index]

    def possible_parents(self) -> list[int]:
        """Return the members of the population."""
        return [member.individual.id for member in self._members]

    def _loser(self, memo: tuple[float, ...], rng: np.random.Generator) -> int:
        """Return the position of the member that lost when the child was proposed, or of the worst of a new sample."""
        ids = [member.individual.id for member in self._members]
        if memo and memo[0] in ids:
            return ids.index(int(memo[0]))
        # It is dead already, or the child was proposed while fewer than P lived.
        with _deap_draws_from(rng):
            (loser,) = self.toolbox.remove(self.toolbox.draw(self._members))
        return ids.index(loser.individual.id)

    def _new(self, genotype: Genotype, pending: Sequence[Proposal], rng: np.random.Generator) -> Genotype:
        """Mutate the genotype further until it is new, if genotypes must be distinct."""
        if self._distinct:
            waiting = {proposal.genotype for proposal in pending}
            for _ in range(_MOST_STEPS):
                if genotype not in self._tried and genotype not in waiting:
                    break
                genotype = self.toolbox.mutate(genotype, rng)
        return genotype


@contextmanager
def _deap_draws_from(rng: np.random.Generator) -> Iterator[None]:
    """Make deap draw from ``rng`` within the block, and restore Python's global generator afterwards."""
    before = random.getstate()
    random.seed(int(rng.integers(2**63)))
    try:
        yield
    finally:
        random.setstate(before)
