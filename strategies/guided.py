"""Guided evolution: a surrogate picks one of many children of the best for training.

Ours. Its parts are those of the predictor literature: a Gaussian process on encodings of cells (Ru et al. 2020,
"Interpretable Neural Architecture Search via Bayesian Optimisation", arXiv 2006.07556), candidates made by mutating the
best so far and screened by an acquisition function (White et al. 2019, BANANAS, arXiv 1910.11858).
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np

from genotypes.donor import Donor, require_whole
from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.individual import Cost, Individual, Proposal
from genotypes.population import Population
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace
from strategies.base import Score, SearchStrategy
from strategies.models.gaussian_process import (
    Encoder,
    Features,
    Kernel,
    Posterior,
    compute_expected_improvement,
    kernels,
    likeliest,
    on_one_thread,
    scores,
)
from strategies.models.lessons import Lessons
from strategies.models.trust import FIRST_TRUST, TRUSTS, Array, Sample, note_weights

_GROWTH: Final = 1.2
"""Factor by which the number of examples grows between two choices of the kernel."""

_MOST_LOOKS: Final = 200
"""Candidates of which one within the limits is sought; each is counted, in milliseconds."""

_LAST_RESORT: Final = 100
"""Random genotypes to look through for a new one where all children are known."""

PRIORS: Final = ("none", "scores")

_OPENERS: Final = 4
"""Examples from which on the surrogate decides where there are scores."""

_SCORED: Final = 24
"""Candidates that are scored per ask, the most promising by what their scores are likely to be,"""

_SCORED_STRANGERS: Final = 8
"""and so many random ones."""

_BROAD: Final = Kernel(reach=0.5, span=1.0, choices=0.5, words=0.5, linear=1.0, noise=0.1)
"""The kernel by which scores are predicted, and fitnesses until there is evidence."""

_EVIDENCE: Final = 12
"""Examples from which on the likelihood chooses the kernel where there are scores; by fewer it chooses badly."""


@dataclass
class GuidedEvolution(SearchStrategy):
    """Evolution whose children are screened by a surrogate, a Gaussian process.

    The first ``initial`` candidates are spread evenly: each decision takes its options equally often. Then each ask
    makes ``children`` children of the ``parents`` best told, and ``strangers`` random genotypes beside them; a
    Gaussian process predicts each one's fitness and how sure that is; the one with the largest expected improvement is
    proposed. A child is mutated once, with probability ``further`` once more, and so on. A known candidate,
    by the space's key, is not proposed again, as long as anything else is found.

    After :meth:`use_knowledge` the predictions of donors are the prior (:mod:`strategies.models.lessons`): the search
    begins with their four best networks instead, and their best are among the candidates of every ask.

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
    prior: str = "none"

    def __post_init__(self) -> None:
        self._allows: Callable[[Genotype], bool] = lambda genotype: True
        self._score: Score | None = None
        self._donors: tuple[Donor, ...] = ()
        if self.prior not in PRIORS:
            raise ValueError(f"prior must be {' or '.join(PRIORS)}, not {shorten(repr(self.prior))}")
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

    @property
    def wants_scores(self) -> bool:
        """Whether scores are its prior."""
        return self.prior == "scores"

    def use_scores(self, score: Score) -> None:
        """Take what scores candidates, if scores are its prior."""
        self._score = score if self.wants_scores else None

    def use_knowledge(self, space: SearchSpace, donors: Sequence[Donor]) -> None:
        """Take the donors whose predictions are the prior.

        Raises:
            ValueError: if scores are, or none of their networks is of the space itself.
        """
        if self.wants_scores:
            raise ValueError("guided has one prior: scores, or other runs; leave out either prior=scores or the runs")
        self._donors = require_whole(donors, space.spelling)

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Draw the first candidates, and scale the distances between genotypes."""
        super().start(space, rng)
        with on_one_thread():
            self._encode = Encoder(space, rng)
        self._design = list(spread(space, self.initial, rng))
        self._grid = kernels(self._encode.has_words)
        self._kernel = self._grid[0]
        self._sample: Sample | Lessons | None = None
        if self._donors:
            self._sample = Lessons(self._encode, self._grid, self._donors)
            self._open_with(self._sample.genotypes[:_OPENERS], [])
        elif self.wants_scores:
            assert self._score is not None, "the caller hands scores over"
            self._sample = self._lay_prior(self._score, rng)
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
        if asked < self.initial and (self._sample is None or len(self._examples) < _OPENERS):
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

    def tell(self, individual: Individual, rng: np.random.Generator) -> Mapping[str, float] | None:
        """Add the candidate to the examples; now and then choose the surrogate's kernel again.

        Then the weights of the scores are returned, where these are the prior.
        """
        self._told += 1
        self._keys.add(self.space.key(individual.genotype))
        if individual.fitness is None:
            return None
        features = self._describe([individual.genotype], examples=True)
        self._features = features if self._features is None else self._features + features
        self._examples.append(individual)
        bisect.insort(self._best, (-individual.fitness, individual.id))
        if len(self._examples) > self.memory:
            self._forget()
        fewest = 2 if self._sample is None else _EVIDENCE
        if len(self._examples) < max(fewest, _GROWTH * self._fitted) or self._fitted >= self.memory:
            return None
        self._fitted = len(self._examples)
        with on_one_thread():
            distances = self._encode.distances(self._features, self._features)
            self._kernel = likeliest(self._grid, distances, self._targets())
            if self._sample is None:
                return None
            posterior = Posterior.of(self._kernel, distances, self._targets())
            return note_weights(self._sample.names, posterior.weigh_scores(distances))

    def _lay_prior(self, score: Score, rng: np.random.Generator) -> Sample:
        """Draw the sample by which scores are measured; every other one of the first candidates is its best."""
        sample = Sample(self.space, score, rng)
        with on_one_thread():
            self._sampled = self._encode(sample.genotypes, examples=True).with_scores(sample.columns)
        order = np.argsort(-sample.columns[:, 0], kind="stable")
        self._open_with([sample.genotypes[index] for index in order], self._design)
        return sample

    def _open_with(self, best: Sequence[Genotype], between: Sequence[Genotype]) -> None:
        """Begin with what the prior holds for the best, one of others after each, and learn how far to trust it."""
        allowed = [one for one in best if self._allows(one)]
        pairs = itertools.zip_longest(allowed, between[: len(allowed)])
        self._design = [one for one in itertools.chain.from_iterable(pairs) if one is not None] + self._design
        self._grid = tuple(replace(kernel, trust=trust) for trust in TRUSTS for kernel in self._grid)
        self._kernel = replace(_BROAD, trust=FIRST_TRUST)

    def _describe(self, genotypes: Sequence[Genotype], *, examples: bool = False) -> Features:
        """Encode genotypes, with their scores where these are the prior."""
        features = self._encode(genotypes, examples=examples)
        return features if self._sample is None else features.with_scores(self._sample.measure(genotypes))

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
        for genotype in () if self._sample is None else self._sample.genotypes:
            made.setdefault(genotype, None)
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
                waiting = self._describe(pending, examples=True)
                targets = np.concatenate([targets, posterior.mean(distances(waiting, features))])
                features = features + waiting
                posterior = Posterior.of(self._kernel, distances(features, features), targets)
            incumbent = float(posterior.mean(distances(features, features)).max())
            if isinstance(self._sample, Sample):
                candidates = self._preselect(candidates, pending, self._sample, posterior, features, incumbent)
            screened = self._describe([candidate.genotype for candidate in candidates])
            mean, sd = posterior.mean_and_sd(distances(screened, features))
            worth = compute_expected_improvement(mean, sd, incumbent)
        return [candidates[index] for index in np.argsort(-worth, kind="stable")]

    def _preselect(
        self,
        candidates: Sequence[Proposal],
        pending: Sequence[Genotype],
        sample: Sample,
        posterior: Posterior,
        features: Features,
        incumbent: float,
    ) -> list[Proposal]:
        """Return the candidates that are worth scoring: few, because that is dear.

        These are the sample, whose scores are known, the most promising by what their scores are likely to be, by a
        Gaussian process of scores, and some strangers.
        """
        distances, sampled = self._encode.distances, set(sample.genotypes)
        scored = [one for one in candidates if one.genotype in sampled]
        others = [one for one in candidates if one.genotype not in sampled]
        if not others:
            return scored
        known = self._sampled + features
        assert known.scores is not None, "all of them have"
        told, encoded = known.with_scores(None), self._encode([one.genotype for one in others])
        likely = Posterior.of(_BROAD, distances(told, told), known.scores).mean(distances(encoded, told))
        mean, sd = posterior.mean_and_sd(distances(encoded.with_scores(likely), features))
        order = np.argsort(-compute_expected_improvement(mean, sd, incumbent), kind="stable")
        ranked = [others[index] for index in order]
        strangers = [one for one in others if one.parent is None]
        chosen = [*self._find_new(ranked, pending, _SCORED), *self._find_new(strangers, pending, _SCORED_STRANGERS)]
        return [*scored, *dict.fromkeys(chosen)]

    def _find_new(self, candidates: Sequence[Proposal], pending: Sequence[Genotype], most: int) -> list[Proposal]:
        """Return the first so many that are not known and within the limits."""
        known = self._keys | {self.space.key(genotype) for genotype in pending}
        new = (one for one in candidates[:_MOST_LOOKS] if self.space.key(one.genotype) not in known)
        return list(itertools.islice((one for one in new if self._allows(one.genotype)), most))


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
