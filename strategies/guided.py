"""Guided evolution: a surrogate picks one of many children of the best for training.

Ours. Its parts are those of the predictor literature: a Gaussian process on encodings of cells (Ru et al. 2020,
"Interpretable Neural Architecture Search via Bayesian Optimisation", arXiv 2006.07556), candidates made by mutating the
best so far and screened by an acquisition function (White et al. 2019, BANANAS, arXiv 1910.11858).
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from genotypes.genotype import Genotype, GenotypeError
from genotypes.individual import Cost, Individual, Proposal
from genotypes.population import Population
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace
from strategies.base import SearchStrategy
from strategies.models.gaussian_process import (
    Array,
    Encoder,
    Features,
    Posterior,
    compute_expected_improvement,
    kernels,
    likeliest,
    on_one_thread,
    scores,
)

_GROWTH: Final = 1.2
"""Factor by which the number of examples grows between two choices of the kernel."""

_MOST_LOOKS: Final = 200
"""Candidates of which one within the limits is sought; each is counted, in milliseconds."""

_LAST_RESORT: Final = 100
"""Random genotypes to look through for a new one where all children are known."""


@dataclass
class GuidedEvolution(SearchStrategy):
    """Evolution whose children are screened by a surrogate, a Gaussian process.

    The first ``initial`` candidates are spread evenly: each decision takes its options equally often. Then each ask
    makes ``children`` children of the ``parents`` best told, and ``strangers`` random genotypes beside them; a
    Gaussian process predicts each one's fitness and how sure that is; the one with the largest expected improvement is
    proposed. A child is mutated once, with probability ``further`` once more, and so on. A known candidate,
    by the space's key, is not proposed again, as long as anything else is found.

    Pending candidates count with their expected fitness, which sends several workers to different places. Failures
    are left out of the surrogate, but not proposed again. The surrogate sees fitnesses by their ranks only, and of at
    most ``memory`` examples: half of them the best, the others the latest, so that the cost of a trial stays bounded.

    Raises:
        ValueError: if an option is out of range.
    """

    name: ClassVar[str] = "guided"

    initial: int = 8
    parents: int = 10
    children: int = 150
    strangers: int = 50
    further: float = 0.3
    memory: int = 500

    def __post_init__(self) -> None:
        self._allows: Callable[[Genotype], bool] = lambda genotype: True
        check_ranges(self, initial="[2, inf)", parents="[1, inf)", children="[1, inf)")
        check_ranges(self, strangers="[0, inf)", memory="[10, inf)", further="[0, 1)")

    def use_cost(
        self,
        space: SearchSpace,
        cost: Callable[[Genotype], Cost | None],
        allows: Callable[[Genotype], bool] = lambda genotype: True,
    ) -> None:
        """Take what says which candidates are within the limits: of the others nothing can be learned."""
        self._allows = allows

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Draw the first candidates, and scale the distances between genotypes."""
        super().start(space, rng)
        with on_one_thread():
            self._encode = Encoder(space, rng)
        self._design = list(spread(space, self.initial, rng))
        self._grid = kernels(self._encode.has_words)
        self._kernel = self._grid[0]
        self._fitted = 0
        self._told = 0
        self._keys: set[str] = set()
        self._examples: list[Individual] = []  # with a fitness, in the order told
        self._best: list[tuple[float, int]] = []  # (-fitness, id) of the examples, the best first
        self._features: Features | None = None  # theirs, row by row

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal | None:
        """Propose the next of the first candidates, or the most promising child.

        Returns ``None``, the end of the search, once every genotype of the space was told.
        """
        if len(self._keys) >= self.space.size:
            return None
        asked = self._told + len(pending)
        if asked < self.initial:
            return Proposal(self._design[asked])
        if len(self._examples) < 2:
            samples = [self.space.sample(rng) for _ in range(_MOST_LOOKS)]
            return Proposal(next(filter(self._allows, samples), samples[0]))
        known = self._keys | {self.space.key(proposal.genotype) for proposal in pending}
        ranking = self._rank(self._candidates(rng), [proposal.genotype for proposal in pending])
        strangers = (Proposal(self.space.sample(rng)) for _ in range(_LAST_RESORT))
        proposal = Proposal(self.space.sample(rng))
        looks = 0
        # Keys and costs are dear: only those of the most promising are looked at.
        for proposal in itertools.chain(ranking, strangers):
            if self.space.key(proposal.genotype) not in known:
                looks += 1
                if looks == _MOST_LOOKS or self._allows(proposal.genotype):
                    break
        return proposal

    def tell(self, individual: Individual, rng: np.random.Generator) -> None:
        """Add the candidate to the examples; now and then choose the surrogate's kernel again."""
        self._told += 1
        self._keys.add(self.space.key(individual.genotype))
        if individual.fitness is None:
            return
        features = self._encode([individual.genotype], examples=True)
        self._features = features if self._features is None else self._features + features
        self._examples.append(individual)
        bisect.insort(self._best, (-individual.fitness, individual.id))
        if len(self._examples) > self.memory:
            self._forget()
        if len(self._examples) >= max(2, _GROWTH * self._fitted) and self._fitted < self.memory:
            self._fitted = len(self._examples)
            with on_one_thread():
                distances = self._encode.distances(self._features, self._features)
                self._kernel = likeliest(self._grid, distances, self._targets())

    def possible_parents(self) -> list[int]:
        """Return the best examples; the better half is never dropped, so that only others can move up."""
        kept = self.parents if self.parents <= self.memory // 2 else len(self._best)
        return [id for _, id in self._best[:kept]]

    def _forget(self) -> None:
        """Drop the oldest example that is not among the better half."""
        assert self._features is not None
        best = {id for _, id in self._best[: self.memory // 2]}
        gone = next(index for index, one in enumerate(self._examples) if one.id not in best)
        one = self._examples.pop(gone)
        self._best.remove((-one.score, one.id))
        self._features = self._features[np.flatnonzero(np.arange(len(self._features)) != gone)]

    def _targets(self) -> Array:
        return scores([one.score for one in self._examples])

    def _candidates(self, rng: np.random.Generator) -> list[Proposal]:
        """Return distinct children and random genotypes that are no examples."""
        by_id = {one.id: one for one in self._examples}
        parents = [by_id[id] for _, id in self._best[: self.parents]]
        told = {one.genotype for one in self._examples}
        mutate = self.space.mutate
        made: dict[Genotype, int | None] = {}
        for choice in rng.integers(len(parents), size=self.children).tolist():
            child = mutate(parents[choice].genotype, rng)
            while rng.random() < self.further:
                child = mutate(child, rng)
            made.setdefault(child, parents[choice].id)
        for _ in range(self.strangers):
            made.setdefault(self.space.sample(rng), None)
        return [Proposal(genotype, parent) for genotype, parent in made.items() if genotype not in told]

    def _rank(self, candidates: Sequence[Proposal], pending: Sequence[Genotype]) -> list[Proposal]:
        """Return the candidates by their expected improvement over the best expected fitness, told or pending."""
        if not candidates:
            return []
        assert self._features is not None, "there are examples"
        distances, features, targets = self._encode.distances, self._features, self._targets()
        with on_one_thread():
            posterior = Posterior.of(self._kernel, distances(features, features), targets)
            if pending:
                waiting = self._encode(pending, examples=True)
                targets = np.concatenate([targets, posterior.mean(distances(waiting, features))])
                features = features + waiting
                posterior = Posterior.of(self._kernel, distances(features, features), targets)
            incumbent = float(posterior.mean(distances(features, features)).max())
            screened = self._encode([candidate.genotype for candidate in candidates])
            mean, sd = posterior.mean_and_sd(distances(screened, features))
            worth = compute_expected_improvement(mean, sd, incumbent)
        return [candidates[index] for index in np.argsort(-worth, kind="stable")]


def spread(space: SearchSpace, n: int, rng: np.random.Generator) -> Iterator[Genotype]:
    """Return n genotypes in which each decision takes its options equally often (McKay et al. 1979: Latin hypercube).

    A uniform sample replaces a combination that does not exist or came up before.
    """
    columns = []
    for decision in space.decisions:
        options = len(decision.options)
        rounds = np.concatenate([rng.permutation(options) for _ in range(-(-n // options))])[:n]
        columns.append(rng.permutation(rounds).tolist())
    drawn: set[Genotype] = set()
    for choices in zip(*columns, strict=True):
        genotype = Genotype(space.spelling, choices)
        for _ in range(_LAST_RESORT):
            if genotype not in drawn and _exists(space, genotype):
                break
            genotype = space.sample(rng)
        drawn.add(genotype)
        yield genotype


def _exists(space: SearchSpace, genotype: Genotype) -> bool:
    try:
        space.check(genotype)
    except GenotypeError:
        return False
    return True
