"""Widths under a budget: MorphNet (Gordon et al. 2018), and the multiplier that it must beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Self

import numpy as np

from genotypes.genotype import Genotype
from genotypes.individual import Cost, Individual, Proposal
from genotypes.population import Population
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace
from genotypes.spaces.widths import WidthsSpace
from genotypes.widths import ALIVE, Budget, expand_widths
from strategies.base import SearchStrategy

BEGINNINGS: Final = ("budget", "seed")


@dataclass
class _UnderBudget(SearchStrategy):
    """A search of the widths of a network for those that cost no more than a budget."""

    budget: str = "0.5x-mult-adds"

    def __post_init__(self) -> None:
        self._budget = Budget.parse(self.budget)

    def suited(self, space: SearchSpace) -> Self:
        """Return this strategy for the space of widths; there is none for another.

        Raises:
            ValueError: if it is another space.
        """
        if not isinstance(space, WidthsSpace):
            raise ValueError(f"the strategy {self.name} searches the space widths, not {space.spelling}")
        return self

    def use_cost(
        self,
        space: SearchSpace,
        cost: Callable[[Genotype], Cost | None],
        allows: Callable[[Genotype], bool] = lambda genotype: True,
    ) -> None:
        """Take the function that counts costs, and what the budget comes to.

        Raises:
            ValueError: if costs are not counted, or no widths of the space cost the budget or less, or all do.
        """
        assert isinstance(space, WidthsSpace), "suited has looked"
        seed, least = (space.nearest(widths) for widths in (tuple(space.seed.values()), [1] * len(space.seed)))
        if (whole := cost(seed)) is None or cost(least) is None:
            raise ValueError(f"the strategy {self.name} needs an evaluator that counts costs, such as widths")
        resource, self._limit = self._budget.resource, self._budget.limit(whole)
        self._count: Callable[[Genotype], float] = lambda genotype: getattr(cost(genotype), resource)
        words = resource.replace("_", "-")
        if self._limit > self._count(seed):
            raise ValueError(
                f"the budget of {self._limit:,.0f} {words} is more than the {self._count(seed):,} of {space.network}: "
                "choose a smaller one"
            )
        if self._limit < self._count(least):
            raise ValueError(
                f"the budget of {self._limit:,.0f} {words} is less than the {self._count(least):,} of one channel per "
                "group: choose a larger one"
            )

    def expand(self, space: WidthsSpace, widths: Sequence[int]) -> Genotype:
        """Return the widths times the largest factor that the budget allows, on the grid of the space."""
        highest = max(grid[-1] / max(1, width) for grid, width in zip(space.grids, widths, strict=True))
        _, expanded = expand_widths(
            [max(1, width) for width in widths],
            lambda some: self._count(space.nearest(some)),
            self._limit,
            most=highest,
        )
        return space.nearest(expanded)


@dataclass
class MorphNet(_UnderBudget):
    """MorphNet: train with a sparsity term, read which channels are alive, expand what is left to the budget, repeat.

    Each trial is trained twice by the evaluator ``widths``: with the term, to learn which channels matter, and without
    it, for the fitness. An ask multiplies the alive widths of the last trial by the largest factor that ``budget``
    allows: a share of the network's cost, as in ``0.5x-mult-adds`` or ``0.5x-parameters``, or a number, as in
    ``40000000-mult-adds``. The cost that the budget limits is the one that the term counts.

    The first trial is the network with all widths scaled alike to the budget (``begin=budget``), so that every trial
    is within it, or the network itself (``begin=seed``), whose own accuracy is then beyond the budget. After
    ``rounds`` expansions the search ends; by default it goes on while there are trials, until widths come up again.

    ``strength``, ``share``, ``floor`` and ``threshold`` are those of the evaluator, if they are given.

    One trial follows from the other, so that more than one worker is of no use. The search ends after a failure.

    Raises:
        ValueError: if the budget is none, or a name or number is out of range.
    """

    name: ClassVar[str] = "morphnet"

    rounds: int | None = None
    begin: str = "budget"
    strength: float | None = None
    share: float | None = None
    floor: float | None = None
    threshold: float | None = None
    _groups: tuple[str, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, rounds="[1, inf)", strength="(0, inf)", share="(0, 1)", floor="[0, 1]", threshold="[0, inf)")
        if self.begin not in BEGINNINGS:
            raise ValueError(f"begin must be {' or '.join(BEGINNINGS)}, not {self.begin!r}")

    @property
    def needs(self) -> tuple[str, ...]:
        """The number of alive channels of each group."""
        return tuple(f"{ALIVE}{group}" for group in self._groups)

    @property
    def evaluator_options(self) -> Mapping[str, object]:
        """The training with the sparsity term, the resource of the budget, and the options that both have."""
        shared = {name: getattr(self, name) for name in ("strength", "share", "floor", "threshold")}
        resource = "flops" if self._budget.resource == "mult_adds" else "parameters"
        return {"shrink": True, "resource": resource} | {k: v for k, v in shared.items() if v is not None}

    @property
    def lookback(self) -> int | None:
        """All, because the number of rounds counts."""
        return None

    def suited(self, space: SearchSpace) -> Self:
        """Return a copy that knows the groups of the space."""
        strategy = super().suited(space)
        assert isinstance(space, WidthsSpace)
        if strategy._groups == tuple(space.seed):
            return strategy
        strategy = replace(strategy)
        strategy._groups = tuple(space.seed)
        return strategy

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Start with nothing told."""
        super().start(space, rng)
        self._told: list[Individual] = []

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal | None:
        """Propose the alive widths of the last trial, expanded to the budget."""
        space = self.space
        assert isinstance(space, WidthsSpace)
        if pending:
            return None
        if not self._told:
            seed = tuple(space.seed.values())
            return Proposal(self.expand(space, seed) if self.begin == "budget" else space.nearest(seed))
        last = self._told[-1]
        if not last.ok or len(self._told) - 1 == self.rounds:
            return None
        genotype = self.expand(space, [int(last.metrics[name]) for name in self.needs])
        is_known = any(one.genotype == genotype for one in self._told)
        return None if is_known else Proposal(genotype, parent=last.id)

    def tell(self, individual: Individual, rng: np.random.Generator) -> Mapping[str, float] | None:
        """Store the trial, and note how many groups died."""
        self._told.append(individual)
        if not individual.ok:
            return None
        return {"dead_groups": sum(individual.metrics[name] == 0 for name in self.needs)}


@dataclass
class Multiplier(_UnderBudget):
    """The width multiplier: all widths of the network times the largest common factor that ``budget`` allows.

    The baseline of Gordon et al. 2018. There is one such network, so that the search ends after one trial.

    Raises:
        ValueError: if the budget is none.
    """

    name: ClassVar[str] = "multiplier"
    names_parents: ClassVar[bool] = False

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Start with nothing told."""
        super().start(space, rng)
        self._is_over = False

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal | None:
        """Propose the scaled network, once."""
        assert isinstance(self.space, WidthsSpace)
        if pending or self._is_over:
            return None
        return Proposal(self.expand(self.space, tuple(self.space.seed.values())))

    def tell(self, individual: Individual, rng: np.random.Generator) -> None:
        """Remember that it is over."""
        self._is_over = True
