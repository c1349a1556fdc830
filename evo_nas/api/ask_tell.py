"""A search in the hands of somebody else's loop: ask for a genotype, evaluate it anywhere, tell its fitness."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from evo_nas.errors import DataError, UsageError
from evo_nas.loop.caller import ASK, TELL, draw_for
from evo_nas.run.parts import build_pair
from evo_nas.system.atomic import write_whole
from evo_nas.system.text import read_text
from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.individual import Evaluation, Individual, Outcome, Proposal
from genotypes.population import Population
from genotypes.registry import options_of
from genotypes.space import SearchSpace
from strategies.base import SearchStrategy, check_proposal

if TYPE_CHECKING:
    import pandas as pd

_VERSION: Final = 1


@dataclass(frozen=True)
class Candidate:
    """A genotype that is to be evaluated: its ``id``, which counts asks from 1, and the ``genotype``.

    ``decoded`` is what the space makes of it, such as the cells of a network; ``key`` is the same text for genotypes
    of the same network, so that a caller can look up what was evaluated before.
    """

    id: int
    genotype: Genotype
    decoded: object
    key: str


class AskTell:
    """A search without an evaluator: :meth:`ask` proposes, :meth:`tell` learns; nothing is on disk before :meth:`save`.

    ``space`` and ``strategy`` are names as ``python -m evo_nas list`` has them (``nasnet(blocks=3)``, ``evolution``),
    or objects of one's own; ``options`` are those of the strategy. With the same ``seed`` and the same fitnesses, told
    one by one, the candidates are those of ``evo_nas.search(..., repeats="retrain")``. Any number of candidates may be
    asked before one is told, and they may be told in any order. ``best`` and ``trials`` say what was found.

    Example::

        search = evo_nas.AskTell("nasbench201", "evolution", seed=1, population=20, sample=5)
        for _ in range(100):
            candidate = search.ask()
            search.tell(candidate.id, evaluate(candidate.decoded))  # a fraction in [0, 1]
        search.save("search.json")  # AskTell.load("search.json") goes on as if nothing had happened
        print(search.best.genotype, search.best.fitness)

    Raises:
        UsageError: if a name or an option is unknown, a value impossible, or the strategy does not suit the space.
    """

    def __init__(
        self,
        space: str | SearchSpace = "nasnet",
        strategy: str | SearchStrategy = "evolution",
        *,
        seed: int = 0,
        **options: Any,
    ) -> None:
        self.space, self.strategy = build_pair(space, strategy, options)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UsageError(f"the seed is a whole number of at least 0, not {shorten(repr(seed))}")
        self.seed = seed
        self._population = Population(self.strategy.window)
        self._pending: dict[int, Proposal] = {}
        self._told: list[Individual] = []
        self._last_id = 0
        self.strategy.start(self.space, draw_for(seed))

    def ask(self) -> Candidate | None:
        """Return the next candidate; ``None`` if there is nothing to try until a pending one is told.

        Raises:
            UsageError: if the strategy proposes what its space does not contain.
        """
        id = self._last_id + 1
        rng = draw_for(self.seed, id, ASK)
        proposal = check_proposal(self.strategy.ask(self._population, list(self._pending.values()), rng), self._last_id)
        if proposal is None:
            return None
        self._last_id = id
        self._pending[id] = proposal
        return self._candidate(id)

    @property
    def pending(self) -> list[Candidate]:
        """Candidates that were asked and not told, by ascending id, as after :meth:`load`."""
        return [self._candidate(id) for id in sorted(self._pending)]

    def tell(
        self, id: int, fitness: float, *, metrics: Mapping[str, float] | None = None, curve: Iterable[float] = ()
    ) -> None:
        """Say what a candidate is worth: ``fitness`` and ``curve`` (one per epoch) are fractions in [0, 1].

        ``metrics`` are further finite numbers; a strategy may need some, such as ``mult_adds``.

        Raises:
            UsageError: if no such candidate is pending, or a number is none, out of range or missing.
        """
        try:
            evaluation = Evaluation(Outcome.OK, fitness=fitness, curve=tuple(curve), metrics=metrics or {})
        except (ValueError, TypeError) as error:
            raise UsageError(f"candidate {id}: {error}") from error
        if missing := [name for name in self.strategy.needs if name not in evaluation.metrics]:
            raise UsageError(f"candidate {id}: the strategy {self.strategy.name} needs the metric {missing[0]!r}")
        self._learn(id, evaluation)

    def tell_failure(self, id: int) -> None:
        """Say that a candidate could not be evaluated: strategies see that it failed, and nothing else.

        Raises:
            UsageError: if no such candidate is pending.
        """
        self._learn(id, Evaluation.failed(Outcome.ERROR, "told as a failure"))

    @property
    def best(self) -> Individual | None:
        """The told individual of the highest fitness, the oldest of equals; ``None`` while there is none."""
        best = self._population.best(1)
        return best[0] if best else None

    @property
    def trials(self) -> pd.DataFrame:
        """A row per told candidate, in the order told: id, parent, outcome, fitness, genotype, and its metrics."""
        import pandas as pd

        names = ("id", "parent", "outcome", "fitness", "genotype")
        rows = [
            {"id": one.id, "parent": one.parent, "outcome": str(one.outcome), "fitness": one.fitness}
            | {"genotype": str(one.genotype)}
            | {name: value for name, value in one.metrics.items() if name not in names}
            for one in self._told
        ]
        return pd.DataFrame(rows, columns=None if rows else list(names)).astype({"parent": "Int64"})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the search to a JSON file, whole or not at all; it holds what was asked and told, and no code."""
        record = {
            "version": _VERSION,
            "space": self.space.spelling,
            "strategy": self.strategy.name,
            "options": options_of(self.strategy),
            "seed": self.seed,
            "last_id": self._last_id,
            "told": [asdict(one) | {"genotype": str(one.genotype)} for one in self._told],
            "pending": {id: asdict(one) | {"genotype": str(one.genotype)} for id, one in self._pending.items()},
        }
        write_whole(Path(path), json.dumps(record) + "\n")

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        space: SearchSpace | None = None,
        strategy: SearchStrategy | None = None,
    ) -> Self:
        """Return a saved search, which goes on as if it had never stopped; objects of one's own are given again.

        Raises:
            DataError: if the file is missing, damaged or of another version.
            UsageError: if an object is not the one that the search was made with.
        """
        try:
            record = json.loads(read_text(Path(path)))
            if record["version"] != _VERSION:
                raise ValueError(f"it has version {record['version']}, and this evo_nas reads {_VERSION}")
            for what, own, known in (("space", space, record["space"]), ("strategy", strategy, record["strategy"])):
                name = None if own is None else own.spelling if isinstance(own, SearchSpace) else own.name
                if name is not None and name != known:
                    raise UsageError(f"{path} was made with the {what} {shorten(known)}, not {shorten(name)}")
            if strategy is None and ":" in record["strategy"]:
                raise ValueError(f"a file alone imports no code, and it names {shorten(record['strategy'])}")
            options = {} if strategy is not None else dict(record["options"])
            search = cls(
                space or str(record["space"]), strategy or str(record["strategy"]), seed=record["seed"], **options
            )
            for told in record["told"]:
                one = Individual(**_read_fields(told, outcome=Outcome(told["outcome"]), curve=tuple(told["curve"])))
                search._pending[one.id] = Proposal(one.genotype, one.parent, one.memo)
                search._learn(one.id, Evaluation(one.outcome, one.fitness, curve=one.curve, metrics=one.metrics))
            search._pending = {int(id): Proposal(**_read_fields(one)) for id, one in record["pending"].items()}
            search._last_id = int(record["last_id"])
            return search
        except FileNotFoundError as error:
            raise DataError(f"there is no saved search {path}") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{path} is no saved search, or damaged: {shorten(str(error), 200)}") from error

    def _candidate(self, id: int) -> Candidate:
        genotype = self._pending[id].genotype
        try:
            return Candidate(id, genotype, self.space.decode(genotype), self.space.key(genotype))
        except GenotypeError as error:
            raise UsageError(f"the strategy {self.strategy.name} proposed what is not in the space: {error}") from error

    def _learn(self, id: int, evaluation: Evaluation) -> None:
        if id not in self._pending:
            raise UsageError(f"no candidate {shorten(repr(id))} is pending; told or never asked")
        individual = Individual.of(id, self._pending.pop(id), evaluation)
        self._population.add(individual)
        self._told.append(individual)
        self.strategy.tell(individual, draw_for(self.seed, id, TELL))


def _read_fields(record: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the fields of a proposal or an individual from the form of JSON."""
    return {**record, "genotype": Genotype.parse(record["genotype"]), "memo": tuple(record["memo"]), **changes}
