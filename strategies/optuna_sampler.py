"""The samplers of Optuna (Akiba et al. 2019, arXiv 1907.10902) as a strategy. Needs the extra ``optuna``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np

from genotypes.genotype import Genotype
from genotypes.individual import Individual, Proposal
from genotypes.population import Population
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace
from strategies.base import SearchStrategy
from strategies.models.examples import drop_beyond
from strategies.models.libraries import MEMORY as MOST
from strategies.models.libraries import ask_until_it_exists, compute_quietly, require_packages

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

_GENERATION: Final = {"nsgaii": "NSGAIISampler:generation", "cmaes": "cma:generation"}
"""Sampler -> the attribute in which it keeps the generation of a trial: with us it is the memo."""

MEMORY: Final = {"tpe": MOST, "gp": 100, "cmaes": MOST, "nsgaii": MOST}
"""Sampler -> how many told individuals it sees by default."""


@dataclass
class OptunaSampler(SearchStrategy):
    """Optuna: a sampler of that library, made afresh for each ask and told the history.

    ``sampler`` is ``tpe`` (Optuna's default: a tree-structured Parzen estimator), ``gp`` (a Gaussian process),
    ``cmaes`` or ``nsgaii`` (here with the fitness alone), each with the library's own defaults. The options of a
    decision are categories; with ``ordered`` they are whole numbers in the order of the space, as suits widths.
    ``cmaes`` knows numbers alone.

    At most ``memory`` told individuals are shown to it, half of them the best, the others the latest, so that the cost
    of an ask stays bounded: by default 1,000, but 100 for ``gp``, whose cost grows with their cube. Pending
    candidates are shown as running trials. Failures are left out, as Optuna's samplers leave them out. What is known is
    proposed again where the library does so.

    CMA-ES and NSGA-II proceed by generations: the generation of a proposal is its memo. The state of CMA-ES is computed
    when a generation is complete, by ``tell``.

    Raises:
        ValueError: if the sampler is unknown or the memory is out of range.
    """

    name: ClassVar[str] = "optuna"
    names_parents: ClassVar[bool] = False

    sampler: str = "tpe"
    ordered: bool = False
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.sampler not in MEMORY:
            raise ValueError(f"sampler must be one of {', '.join(MEMORY)}, not {self.sampler!r}")
        if self.sampler == "cmaes":
            self.ordered = True
        check_ranges(self, memory="[1, inf)")

    def suited(self, space: SearchSpace) -> Self:
        """Return the strategy with its memory filled in.

        Raises:
            ValueError: if Optuna, or what the sampler needs beside it, is not installed.
        """
        require_packages(self.name, ["optuna", "cmaes"] if self.sampler == "cmaes" else ["optuna"])
        return replace(self, memory=self.memory or MEMORY[self.sampler])

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Describe the space to Optuna; nobody has been told yet."""
        from strategies.models.optuna_study import describe

        super().start(space, rng)
        self._names = [f"{position}" for position in range(len(space.decisions))]
        sizes = [len(decision.options) for decision in space.decisions]
        self._space = describe(dict(zip(self._names, sizes, strict=True)), self.ordered)
        self._examples: list[Individual] = []
        self._trials: dict[int, FrozenTrial] = {}  # theirs, by id

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal | None:
        """Propose what the sampler proposes."""

        def ask() -> Proposal:
            choices, attributes = self._ask_sampler(pending, rng)
            genotype = Genotype(self.space.spelling, tuple(choices.get(name, 0) for name in self._names))
            generation = attributes.get(_GENERATION.get(self.sampler, ""))
            return Proposal(genotype, memo=() if generation is None else (generation,))

        return ask_until_it_exists(self.space, ask, rng)

    def tell(self, individual: Individual, rng: np.random.Generator) -> None:
        """Add the individual to what the sampler is shown; compute the state of CMA-ES anew."""
        if individual.fitness is None:
            return
        self._examples = drop_beyond([*self._examples, individual], self.memory or MEMORY[self.sampler])
        trial = self._make_trial(individual.id, individual, individual.fitness)
        self._trials[individual.id] = trial
        self._trials = {one.id: self._trials[one.id] for one in self._examples}
        if self.sampler == "cmaes":
            _, attributes = self._ask_sampler((), rng)
            trial.system_attrs.update(
                {name: value for name, value in attributes.items() if name.startswith("cma:optimizer")}
            )

    def _make_trial(self, number: int, one: Individual | Proposal, fitness: float | None) -> FrozenTrial:
        from strategies.models.optuna_study import make_trial

        choices = dict(zip(self._names, one.genotype.choices, strict=True))
        key = _GENERATION.get(self.sampler)
        return make_trial(number, self._space, choices, fitness, {key: int(one.memo[0])} if key and one.memo else {})

    def _ask_sampler(
        self, pending: Sequence[Proposal], rng: np.random.Generator
    ) -> tuple[dict[str, int], Mapping[str, Any]]:
        """Return the choices of a fresh sampler by name, and the attributes that it gave them."""
        from strategies.models.optuna_study import ask_sampler

        first = 1 + max(self._trials, default=0)
        running = [self._make_trial(number, one, None) for number, one in enumerate(pending, start=first)]
        with compute_quietly():
            sampler = self._make_sampler(int(rng.integers(2**31)))
            return ask_sampler(sampler, [*self._trials.values(), *running], self._space)

    def _make_sampler(self, seed: int) -> BaseSampler:
        from optuna import samplers

        make: dict[str, Callable[[], BaseSampler]] = {
            "tpe": lambda: samplers.TPESampler(seed=seed),
            "nsgaii": lambda: samplers.NSGAIISampler(seed=seed),
            "cmaes": lambda: samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
            "gp": lambda: samplers.GPSampler(seed=seed, warn_independent_sampling=False),
        }
        return make[self.sampler]()
