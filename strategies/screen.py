"""Screening: any strategy, of whose proposals the one is tried that its scores before training speak for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar, Final, Self

import numpy as np

from genotypes.donor import Donor
from genotypes.genotype import Genotype
from genotypes.individual import Cost, Individual, Proposal
from genotypes.population import Population
from genotypes.ranges import check_range
from genotypes.space import SearchSpace
from strategies.base import Score, SearchStrategy
from strategies.models.examples import drop_beyond
from strategies.models.gaussian_process import Distances, Kernel, Posterior, likeliest, on_one_thread, scores
from strategies.models.trust import TRUSTS, Array, Sample, note_weights

_MEMORY: Final = 200
"""Told individuals from which it is learned what scores are worth: half of them the best, the others the latest."""

_EVIDENCE: Final = 6
"""Examples from which on the likelihood chooses how far scores are trusted."""

_GROWTH: Final = 1.2
"""Factor by which the number of examples grows between two choices of the trust in scores."""

_KERNELS: Final = tuple(
    Kernel(reach=1.0, span=1.0, choices=0.0, words=0.0, linear=0.0, noise=noise, trust=trust)
    for trust in TRUSTS
    for noise in (0.5, 0.2, 1.0)
)
"""Of a genotype they see its scores alone."""


class Screened(SearchStrategy):
    """Another strategy, asked several times with generators of their own; one of its proposals counts.

    It is the one with the highest fitness that the scores let expect, by weights that are drawn from what is known of
    them (Thompson 1933): without any training by the sum of the logarithms of its places in a sample of the space, give
    or take; later by what the trainings say, signs included. Before that counts that a network is within the limits,
    and that it was neither told nor is pending. What a strategy does not draw at random, such as the first candidates
    of ``guided``, it proposes each time: then screening changes nothing.

    Raises:
        ValueError: if there are fewer than two proposals to choose from.
    """

    name: ClassVar[str] = "screened"

    def __init__(self, strategy: SearchStrategy, proposals: int) -> None:
        check_range("proposals", proposals, "[2, inf)")
        self.strategy, self.proposals = strategy, proposals
        self.names_parents = strategy.names_parents  # type: ignore[misc]  # it depends on the other one
        self._allows: Callable[[Genotype], bool] = lambda genotype: True

    @property
    def window(self) -> int:
        """That of the other strategy."""
        return self.strategy.window

    @property
    def needs(self) -> tuple[str, ...]:
        """Those of the other strategy."""
        return self.strategy.needs

    @property
    def evaluator_options(self) -> Mapping[str, object]:
        """Those of the other strategy."""
        return self.strategy.evaluator_options

    def possible_parents(self) -> Collection[int] | None:
        """Return those of the other strategy."""
        return self.strategy.possible_parents()

    def suited(self, space: SearchSpace) -> Self:
        """Return the screening of the strategy that suits the space."""
        suited = self.strategy.suited(space)
        return self if suited is self.strategy else type(self)(suited, self.proposals)

    def use_cost(
        self,
        space: SearchSpace,
        cost: Callable[[Genotype], Cost | None],
        allows: Callable[[Genotype], bool] = lambda genotype: True,
    ) -> None:
        """Take the limits, and hand all on."""
        self._allows = allows
        self.strategy.use_cost(space, cost, allows)

    def use_knowledge(self, space: SearchSpace, donors: Sequence[Donor]) -> None:
        """Hand it on."""
        self.strategy.use_knowledge(space, donors)

    @property
    def wants_scores(self) -> bool:
        """It does."""
        return True

    def use_scores(self, score: Score) -> None:
        """Take what scores proposals, and hand it on."""
        self._score = score
        if self.strategy.wants_scores:
            self.strategy.use_scores(score)

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Start the other strategy, and draw the sample by which scores are measured."""
        super().start(space, rng)
        self._told: set[str] = set()  # keys of networks
        self._examples: list[Individual] = []
        self._sample = Sample(space, self._score, rng.spawn(1)[0])
        self._kernel = _KERNELS[0]
        self._fitted = 0
        self.strategy.start(space, rng)

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal | None:
        """Propose the one of so many proposals that the scores speak for; ``None`` if there is none."""
        asked = [self.strategy.ask(population, pending, child) for child in rng.spawn(self.proposals)]
        different = {self.space.key(one.genotype): one for one in reversed(asked) if one is not None}
        if len(different) < 2:
            return next(iter(different.values()), None)
        known = self._told | {self.space.key(proposal.genotype) for proposal in pending}
        new = [one for key, one in different.items() if key not in known] or list(different.values())
        allowed = [one for one in new if self._allows(one.genotype)] or new
        if len(allowed) == 1:
            return allowed[0]
        order = sorted(allowed, key=asked.index)
        return order[int(np.argmax(self._guess([one.genotype for one in order], rng)))]

    def tell(self, individual: Individual, rng: np.random.Generator) -> Mapping[str, float] | None:
        """Remember the network, and tell the other strategy; now and then learn how far to trust each score."""
        self._told.add(self.space.key(individual.genotype))
        notes = {}
        if individual.fitness is not None:
            self._examples = drop_beyond([*self._examples, individual], _MEMORY)
            if len(self._examples) >= max(_EVIDENCE, _GROWTH * self._fitted) and self._fitted < _MEMORY:
                self._fitted = len(self._examples)
                columns = self._measure_examples()
                with on_one_thread():
                    self._kernel = likeliest(_KERNELS, _compare(columns, columns), self._targets())
                    weights = self._learn(columns).weigh_scores(_compare(columns, columns))
                notes = note_weights(self._sample.names, weights)
        return {**notes, **(self.strategy.tell(individual, rng) or {})}

    def _targets(self) -> Array:
        return scores([one.score for one in self._examples])

    def _measure_examples(self) -> Array:
        return self._sample.measure([one.genotype for one in self._examples])

    def _learn(self, examples: Array) -> Posterior:
        return Posterior.of(self._kernel, _compare(examples, examples), self._targets())

    def _guess(self, genotypes: Sequence[Genotype], rng: np.random.Generator) -> Array:
        """Return the fitnesses of n genotypes by weights of their scores that are drawn from the posterior, (n,)."""
        columns, examples = self._sample.measure(genotypes), self._measure_examples()
        with on_one_thread():
            return self._learn(examples).draw(_compare(columns, examples), _compare(columns, columns), rng)


def _compare(some: Array, others: Array) -> Distances:
    nothing = np.zeros((len(some), len(others)))
    return Distances(nothing, nothing, (some, others))
