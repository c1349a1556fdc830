"""The algorithms of Hyperopt (Bergstra et al. 2013) as a strategy. Needs the extra ``hyperopt``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np

from genotypes.genotype import Genotype
from genotypes.individual import Individual, Proposal
from genotypes.population import Population
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace
from strategies.base import SearchStrategy
from strategies.models.examples import drop_beyond
from strategies.models.libraries import MEMORY, ask_until_it_exists, compute_quietly, require_packages

ALGORITHMS: Final = ("tpe", "anneal")


@dataclass
class HyperoptAlgorithm(SearchStrategy):
    """Hyperopt: an algorithm of that library, which is a function of the told trials and of a seed.

    ``algorithm`` is ``tpe`` (the tree-structured Parzen estimator by its author, Bergstra et al. 2011; the first 20
    trials are random) or ``anneal`` (simulated annealing), with the library's own defaults. The options of a decision
    are categories; with ``ordered`` they are whole numbers in the order of the space.

    At most ``memory`` told individuals are shown to it, half of them the best, the others the latest. Failures and
    pending candidates are left out: several workers differ by their seeds. What is known is proposed again where the
    library does so.

    Raises:
        ValueError: if the algorithm is unknown or the memory is out of range.
    """

    name: ClassVar[str] = "hyperopt"

    algorithm: str = "tpe"
    ordered: bool = False
    memory: int = MEMORY

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, not {self.algorithm!r}")
        check_ranges(self, memory="[1, inf)")

    def suited(self, space: SearchSpace) -> Self:
        """Return the strategy as it is.

        Raises:
            ValueError: if Hyperopt is not installed.
        """
        require_packages(self.name, ["hyperopt"])
        return self

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Describe the space to Hyperopt; nobody has been told yet."""
        from hyperopt import hp
        from hyperopt.base import Domain

        super().start(space, rng)
        sizes = {f"{position}": len(decision.options) for position, decision in enumerate(space.decisions)}
        with compute_quietly():
            variables = {
                name: hp.uniformint(name, 0, size - 1) if self.ordered else hp.choice(name, list(range(size)))
                for name, size in sizes.items()
                if size > 1  # a decision without a choice is left out
            }
            self._domain = Domain(len, variables, pass_expr_memo_ctrl=False)
        self._names = list(sizes)
        self._examples: list[Individual] = []
        self._trials: dict[int, dict[str, Any]] = {}  # theirs, by id

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal | None:
        """Propose what the algorithm proposes."""
        if not self._domain.params:
            return Proposal(self.space.sample(rng))
        return ask_until_it_exists(self.space, lambda: self._ask_library(rng), rng)

    def tell(self, individual: Individual, rng: np.random.Generator) -> None:
        """Add the individual to what the algorithm is shown."""
        if individual.fitness is None:
            return
        self._examples = drop_beyond([*self._examples, individual], self.memory)
        self._trials[individual.id] = self._describe_trial(individual, individual.fitness)
        self._trials = {one.id: self._trials[one.id] for one in self._examples}

    def _ask_library(self, rng: np.random.Generator) -> Proposal:
        from hyperopt import Trials, anneal, tpe

        trials = Trials()
        trials._dynamic_trials = list(self._trials.values())  # what inserting them would do, after checks of each
        trials.refresh()
        suggest = {"tpe": tpe.suggest, "anneal": anneal.suggest}[self.algorithm]
        options = {"verbose": False} if self.algorithm == "tpe" else {}
        seed, number = int(rng.integers(2**31 - 1)), max(self._trials, default=0)
        with compute_quietly():
            (asked,) = suggest([number], self._domain, trials, seed, **options)
        values = asked["misc"]["vals"]
        choices = tuple(int(values[name][0]) if name in values else 0 for name in self._names)
        return Proposal(Genotype(self.space.spelling, choices))

    def _describe_trial(self, one: Individual, fitness: float) -> dict[str, Any]:
        """Return a finished trial in Hyperopt's form, which counts from 0, as its seeds do."""
        from hyperopt import JOB_STATE_DONE, STATUS_OK

        number, params = one.id - 1, self._domain.params
        choices = {name: c for name, c in zip(self._names, one.genotype.choices, strict=True) if name in params}
        return {
            "state": JOB_STATE_DONE,
            "tid": number,
            "spec": None,
            "result": {"status": STATUS_OK, "loss": 1.0 - fitness},
            "misc": {
                "tid": number,
                "cmd": self._domain.cmd,
                "workdir": None,
                "idxs": {name: [number] for name in choices},
                "vals": {name: [choice] for name, choice in choices.items()},
            },
            "exp_key": None,
            "owner": None,
            "version": 0,
            "book_time": None,
            "refresh_time": None,
        }
