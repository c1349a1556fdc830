"""The optimizers of Nevergrad (Rapin & Teytaud 2018) as a strategy. Needs the extra ``nevergrad``."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar, Self

import numpy as np

from genotypes.genotype import Genotype
from genotypes.individual import Individual, Proposal
from genotypes.population import Population
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace
from strategies.base import SearchStrategy
from strategies.models.libraries import ask_until_it_exists, compute_quietly, require_packages


@dataclass
class NevergradOptimizer(SearchStrategy):
    """Nevergrad: an optimizer of that library, asked and told in turns as its authors do it.

    ``optimizer`` is a name of its registry, such as ``NGOpt`` (its default: it chooses one by ``budget``, the number of
    trials, and by the size of the space), ``PortfolioDiscreteOnePlusOne``, ``TwoPointsDE`` or ``CMA``. The options of a
    decision are categories (``Choice``); with ``ordered`` neighbours in the order of the space are near
    (``TransitionChoice``).

    An optimizer of Nevergrad is a process, whose state depends on what it was asked for, so that a fresh one that is
    told the history is another one. Here ``tell`` alone moves it: it hands in the result, and asks for the next
    candidate, which :meth:`ask` only reads. With W workers it is W candidates ahead, as many as the library would be
    asked for; W is learned from the memos, the number of pending candidates. Results that it did not ask for are told
    as such; failures are left out. Its random numbers come from the generator of ``start``.

    Raises:
        ValueError: if the budget is out of range.
    """

    name: ClassVar[str] = "nevergrad"
    names_parents: ClassVar[bool] = False

    optimizer: str = "NGOpt"
    ordered: bool = False
    budget: int = 200

    def __post_init__(self) -> None:
        check_ranges(self, budget="[1, inf)")

    def suited(self, space: SearchSpace) -> Self:
        """Return the strategy as it is.

        Raises:
            ValueError: if Nevergrad is not installed, has no such optimizer, or runs it in a thread of its own.
        """
        require_packages(self.name, ["nevergrad"])
        from nevergrad.optimization import registry

        if self.optimizer not in registry:
            near = get_close_matches(self.optimizer, list(registry), 3) or ["NGOpt", "TwoPointsDE", "CMA"]
            raise ValueError(f"nevergrad has no optimizer {self.optimizer!r}; it has, for example, {', '.join(near)}")
        if registry[self.optimizer].recast:
            raise ValueError(f"the optimizer {self.optimizer} of nevergrad runs in a thread, which cannot be resumed")
        return self

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Make the optimizer, and ask it for the first candidate."""
        import nevergrad

        super().start(space, rng)
        sizes = {position: len(decision.options) for position, decision in enumerate(space.decisions)}
        self._open = [position for position, size in sizes.items() if size > 1]
        kind = nevergrad.p.TransitionChoice if self.ordered else nevergrad.p.Choice
        with compute_quietly():
            variables = nevergrad.p.Tuple(*(kind(list(range(sizes[position]))) for position in self._open))
            variables.random_state = np.random.RandomState(int(rng.integers(2**32)))
            self._optimizer = nevergrad.optimizers.registry[self.optimizer](variables, self.budget)
        self._ahead = 1
        self._held: list[tuple[Genotype, Any]] = []
        """What the optimizer was asked for and not told: genotypes and its own candidates."""
        self._ask_ahead(rng)

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal | None:
        """Propose the first candidate that is not pending."""
        memo, waiting = (len(pending),), Counter(proposal.genotype for proposal in pending)
        for genotype in self._list_candidates(rng, len(pending)):
            if not waiting[genotype]:
                return Proposal(genotype, memo=memo)
            waiting[genotype] -= 1
        return Proposal(self.space.sample(rng), memo=memo)

    def tell(self, individual: Individual, rng: np.random.Generator) -> None:
        """Tell the optimizer, and ask it for the next candidate."""
        from nevergrad.common.errors import TellNotAskedNotSupportedError

        found = next((number for number, (one, _) in enumerate(self._held) if one == individual.genotype), None)
        candidate = None if found is None else self._held.pop(found)[1]
        if individual.fitness is not None and self._open:
            with compute_quietly(), suppress(TellNotAskedNotSupportedError):
                if candidate is None:
                    choices = tuple(individual.genotype.choices[position] for position in self._open)
                    candidate = self._optimizer.parametrization.spawn_child(new_value=choices)
                self._optimizer.tell(candidate, 1.0 - individual.fitness)
        self._ahead = max(self._ahead, 1 + int(individual.memo[0]) if individual.memo else 1)
        self._ask_ahead(rng)

    def _ask_ahead(self, rng: np.random.Generator) -> None:
        """Ask the optimizer until as many candidates are held as there are workers."""
        while len(self._held) < self._ahead:
            self._held.append(self._ask_library(self._optimizer, rng))

    def _list_candidates(self, rng: np.random.Generator, further: int) -> Iterator[Genotype]:
        """Yield the candidates that are held, then ``further`` ones that a copy of the optimizer is asked for."""
        yield from (genotype for genotype, _ in self._held)
        library = copy.deepcopy(self._optimizer) if further and self._open else self._optimizer
        yield from (self._ask_library(library, rng)[0] for _ in range(further))

    def _ask_library(self, library: Any, rng: np.random.Generator) -> tuple[Genotype, Any]:
        """Return a genotype that exists, and the candidate that it was read from, if there is one."""
        asked: dict[Genotype, Any] = {}

        def ask() -> Proposal:
            candidate = library.ask()
            choices = dict(zip(self._open, candidate.value, strict=True))
            genotype = Genotype(self.space.spelling, tuple(choices.get(i, 0) for i in range(len(self.space.decisions))))
            asked[genotype] = candidate
            return Proposal(genotype)

        with compute_quietly():
            genotype = ask_until_it_exists(self.space, ask, rng).genotype if self._open else self.space.sample(rng)
        return genotype, asked.get(genotype)
