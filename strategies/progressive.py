"""Progressive search: cells grow block by block, and a surrogate picks which (Liu et al. 2017, arXiv 1712.00559)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import ClassVar, Final, Self

import numpy as np
import numpy.typing as npt

from genotypes.donor import Donor, keep_spelling
from genotypes.genotype import Genotype
from genotypes.individual import Individual, Proposal
from genotypes.population import Population
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace
from genotypes.spaces.growing import GrowingSpace
from strategies.base import SearchStrategy
from strategies.models.lstm_surrogate import KINDS, Surrogate

AGREEMENT: Final = 0.3
"""Rank correlation from which on what a surrogate has learned from other runs is better than nothing."""


@dataclass
class ProgressiveSearch(SearchStrategy):
    """Progressive search: extend the best small cells by every block, and keep the children a surrogate ranks best.

    Algorithm 1 of Liu et al. 2017. Level 1 are all cells of one block that differ. When all members of a level have
    ended, failed or not, the surrogate is fitted on their scores; the K best of them, ``beam``, get every
    possible block; and the K children that the surrogate ranks highest are the next level, proposed in that order.
    After the level of whole cells the search is over. In the PNAS space that makes 136 + 4 * 256 trials. Between levels
    ``ask`` waits for the last that are pending.

    * Cells that differ only in their spelling are one, by the space's ``key``.
    * Where several cells grow, as in the NASNet space, all get the same block.
    * A first level of more than K cells is a random sample of K.
    * If a whole level failed, the next K of its ranking are tried, as long as there are any. Failures are not learned
      from, and never grown.

    ``predictor`` is ``mlp`` (the paper's choice for its main search), ``lstm``, or ``both``, averaged; ``ensemble`` is
    the number of each; see :class:`strategies.models.lstm_surrogate.Surrogate`. A level's fit starts from the weights
    of the level before and sees the new level only (Algorithm 1), ``epochs`` times, which the paper leaves open.

    After :meth:`use_knowledge` a second surrogate is fitted on the donors' networks, level by level. Half of a first
    level that is a sample are those that it ranks best. It goes on in place of the other if its predictions of the
    first level agree with the scores there, by a rank correlation of at least :data:`AGREEMENT`.

    A resumed search fits and chooses all its levels again.

    Raises:
        ValueError: if an option is out of range.
    """

    name: ClassVar[str] = "pnas"

    beam: int = 256
    predictor: str = "mlp"
    ensemble: int = 5
    epochs: int = 30

    def __post_init__(self) -> None:
        check_ranges(self, beam="[1, inf)", ensemble="[1, inf)", epochs="[1, inf)")
        if self.predictor not in KINDS:
            raise ValueError(f"predictor must be one of {', '.join(KINDS)}, not {self.predictor!r}")
        self._donors: tuple[Donor, ...] = ()

    def suited(self, space: SearchSpace) -> Self:
        """Raise if the genotypes of the space cannot grow.

        Raises:
            ValueError: naming those that can.
        """
        if not isinstance(space, GrowingSpace):
            raise ValueError(
                f"the strategy {self.name} grows cells block by block, which the space {space.spelling} has none of; "
                "search nasnet, amoebanet, pnas or darts, or a GrowingSpace of your own"
            )
        return self

    def use_knowledge(self, space: SearchSpace, donors: Sequence[Donor]) -> None:
        """Take the donors on whose networks, of any level, a second surrogate is fitted."""
        self._donors = tuple(donors)

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """List the first level, and make a surrogate with initial weights from ``rng``."""
        super().start(space, rng)
        assert isinstance(space, GrowingSpace), "suited() refuses others"
        self._growing = space
        self._surrogate = Surrogate(space.last_block(space.blocks), self.predictor, self.ensemble, self.epochs, rng)
        self._told: dict[Genotype, Individual] = {}  # in the order told; strangers too, some may be proposed later
        self._level = 1
        self._parents: list[int] = []  # of the level
        first = list(self._unique(Proposal(space.grow(None, way)) for way in self._ways(1)))
        is_sample = len(first) > self.beam
        if is_sample:
            first = [first[i] for i in rng.permutation(len(first))]
        self._taught = self._teach(rng) if self._donors else None
        if self._taught is not None and is_sample:
            ranked = self._taught.predict(self._choices([one.genotype for one in first])).mean(0)
            best = [first[index] for index in np.argsort(-ranked, kind="stable")[: self.beam // 2]]
            first = [*best, *(one for one in first if one not in best)]
        self._candidates = iter(first)
        self._take()

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal | None:
        """Propose the next of the level; ``None`` once all of them were asked."""
        asked = {proposal.genotype for proposal in pending}
        return next((proposal for genotype, proposal in self._left.items() if genotype not in asked), None)

    def tell(self, individual: Individual, rng: np.random.Generator) -> Mapping[str, float] | None:
        """Learn from a candidate; with the last of a level, fit the surrogate, choose the next one and return notes.

        ``level`` is the level that ended. ``rank_predicted`` is the rank correlation of its scores with what the
        surrogate predicted when it chose them, ``rank_fit`` with its predictions after the fit on them;
        ``rank_donors``, of the first level, is that with the predictions of the surrogate that the donors taught;
        ``..._single`` is the mean of the same over the networks of the ensemble, each taken alone. An undefined one,
        because all scores are equal, is left out.
        """
        self._told.setdefault(individual.genotype, individual)
        self._left.pop(individual.genotype, None)
        notes: dict[str, float] = {}
        while self._members and not self._left:
            notes = self._end_of_level(rng) or notes
        return notes or None

    def possible_parents(self) -> list[int]:
        """Return the parents of this level, and its members, of which those of the next are."""
        return [*self._parents, *(one.id for genotype, one in self._told.items() if genotype in self._members)]

    def _end_of_level(self, rng: np.random.Generator) -> dict[str, float]:
        """Start the next level, or the next candidates of this one if all its members failed."""
        lived = [one for one in self._told.values() if one.genotype in self._members and one.ok]
        if not lived:
            self._take()
            return {}
        notes: dict[str, float] = {"level": self._level}
        choices = self._choices([one.genotype for one in lived])
        scores = [one.score for one in lived]
        notes |= self._compare_surrogates(choices, scores)
        if self._level > 1:
            notes |= _correlations("rank_predicted", self._surrogate.predict(choices), scores)
        if self._level == self._growing.blocks:
            self._candidates = iter(())
        else:
            self._surrogate.fit(choices, scores, rng)
            notes |= _correlations("rank_fit", self._surrogate.predict(choices), scores)
            lived.sort(key=lambda one: one.score, reverse=True)  # of equal ones the earlier told stays ahead
            self._level += 1
            self._candidates = self._children(lived[: self.beam])
            self._parents = [one.id for one in lived[: self.beam]]
        self._take()
        return notes

    def _teach(self, rng: np.random.Generator) -> Surrogate:
        """Return a surrogate that is fitted on what the donors found, from the smallest cells up."""
        space = self._growing
        taught = Surrogate(space.last_block(space.blocks), self.predictor, self.ensemble, self.epochs, rng)
        for level in (*space.below, space):
            for donor in keep_spelling(self._donors, level.spelling):
                taught.fit(self._choices(donor.genotypes), donor.fitnesses, rng)
        return taught

    def _compare_surrogates(self, choices: npt.NDArray[np.int64], scores: Sequence[float]) -> dict[str, float]:
        """Go on with the surrogate that the donors taught if it knows the scores of the first level."""
        if self._taught is None:
            return {}
        notes = _correlations("rank_donors", self._taught.predict(choices), scores)
        if notes.get("rank_donors", 0.0) >= AGREEMENT:
            self._surrogate = self._taught
        self._taught = None
        return notes

    def _take(self) -> None:
        """Make the next K candidates the members of the level; without any, the search ends."""
        members = list(islice(self._candidates, self.beam))
        self._members = {proposal.genotype for proposal in members}
        self._left = {one.genotype: one for one in members if one.genotype not in self._told}

    def _children(self, parents: Sequence[Individual]) -> Iterator[Proposal]:
        """Yield the children of the parents, the one with the highest prediction first, each network once.

        The memo of a proposal is the prediction.
        """
        ways = self._ways(self._level)
        choices = self._choices([parent.genotype for parent in parents])
        predicted = self._surrogate.predict_children(choices, np.array(ways)).ravel()
        ranking = np.argsort(-predicted, kind="stable")

        def child(index: int) -> Proposal:
            parent, way = parents[index // len(ways)], ways[index % len(ways)]
            return Proposal(self._growing.grow(parent.genotype, way), parent.id, (float(predicted[index]),))

        return self._unique(map(child, map(int, ranking)))

    def _unique(self, proposals: Iterable[Proposal]) -> Iterator[Proposal]:
        """Yield the first spelling of each network."""
        seen = set()
        for proposal in proposals:
            key = self._growing.key(proposal.genotype)
            if key not in seen:
                seen.add(key)
                yield proposal

    def _ways(self, level: int) -> list[tuple[int, ...]]:
        """Return every choice of the last block of a level, each in one order only."""
        options = (range(len(decision.options)) for decision in self._growing.last_block(level))
        return list(filter(self._growing.in_order, product(*options)))

    def _choices(self, genotypes: Sequence[Genotype]) -> npt.NDArray[np.int64]:
        """Return the choices of the first cell of n genotypes of one level of b blocks: (n, b, w)."""
        cell = len(genotypes[0].choices) // len(self._growing.cells)
        blocks = self._growing.level_of(genotypes[0]).blocks
        return np.array([genotype.choices[:cell] for genotype in genotypes]).reshape(len(genotypes), blocks, -1)


def _correlations(name: str, predictions: npt.NDArray[np.float32], scores: Sequence[float]) -> dict[str, float]:
    """Correlate the mean of predictions, (networks, n), and each on its own, with scores, (n,)."""
    together = rank_correlation(predictions.mean(0), scores)
    alone = [rho for one in predictions if (rho := rank_correlation(one, scores)) is not None]
    notes = {} if together is None else {name: together}
    return notes | ({f"{name}_single": float(np.mean(alone))} if alone else {})


def rank_correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> float | None:
    """Return Spearman's rank correlation; equal values share their mean rank, and constant ones have ``None``."""
    first, second = (_ranks(values) for values in (a, b))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ranks: npt.NDArray[np.float64] = counts.cumsum() - (counts - 1) / 2
    return ranks[inverse]
