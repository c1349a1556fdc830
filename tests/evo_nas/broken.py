"""Plug-ins that do not keep their contracts: each option ``how`` breaks another promise, and an error says which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch

from evo_nas.evaluators.toy import ToyEvaluator
from genotypes.genotype import Genotype
from genotypes.individual import Cost, Individual, Proposal
from genotypes.population import Population
from genotypes.space import Decision, SearchSpace
from strategies.base import SearchStrategy

GOOD: Final = Genotype("bits(length=4)", (0, 1, 0, 1))


def divide() -> Any:
    """Raise what is no fault of a value."""
    return 1 / 0


def leave() -> Any:
    """Raise what is no Exception."""
    raise SystemExit(0)


STRATEGIES: Final[Mapping[str, tuple[str, Callable[[], Any], str]]] = {
    # how -> the method, what it answers, and what is said of it
    "window raises": ("window", divide, "its properties: ZeroDivisionError: division by zero (broken.py, line "),
    "window": ("window", lambda: -1, "its properties: window must be a whole number of at least 0, not -1"),
    "window a float": ("window", lambda: 2.5, "window must be a whole number of at least 0, not 2.5"),
    "lookback": ("lookback", lambda: "all", "lookback must be a whole number of at least 0, not 'all'"),
    "needs": ("needs", lambda: "parameters", "needs must be a tuple of names, not 'parameters'"),
    "suited": ("suited", lambda: None, "its properties: suited must return a strategy, not None"),
    "suited raises": ("suited", divide, "suited: ZeroDivisionError: division by zero (broken.py, line "),
    "start": ("start", divide, "start: ZeroDivisionError: division by zero (broken.py, line "),
    "ask raises": ("ask", divide, "ask: ZeroDivisionError: division by zero (broken.py, line "),
    "ask exits": ("ask", leave, "ask: SystemExit: 0 (broken.py, line "),
    "ask": ("ask", lambda: GOOD, "ask: it must return a Proposal or None, not Genotype(space='bits"),
    "no genotype": ("ask", lambda: Proposal((0, 1)), "ask: a proposal holds a Genotype, got (0, 1) (broken.py, line"),
    "parent": ("ask", lambda: Proposal(GOOD, 7), "the id of an individual that was told, from 1 to 2, not 7"),
    "parent 0": ("ask", lambda: Proposal(GOOD, 0), "that was told, from 1 to 2, not 0"),
    "parent a text": ("ask", lambda: Proposal(GOOD, "1"), "the parent of a proposal is an id, got '1'"),
    "memo": ("ask", lambda: Proposal(GOOD, memo=(float("nan"),)), "the memo of a proposal holds finite numbers only"),
    "memo a text": ("ask", lambda: Proposal(GOOD, memo=("a",)), "the memo must be a number, got 'a'"),
    "memo too long": ("ask", lambda: Proposal(GOOD, memo=(0.1,) * 300_000), "memo: memo must be text that UTF-8"),
    "negative": ("ask", lambda: Proposal(Genotype.without_check(GOOD.space, (0, 1, 0, -1))), "choice 3 of"),
    "fraction": ("ask", lambda: Proposal(Genotype.without_check(GOOD.space, (0.5,))), "cannot be written as text"),
    "tell raises": ("tell", divide, "tell: ZeroDivisionError: division by zero (broken.py, line "),
    "tell": ("tell", lambda: 0.5, "tell: it must return numbers by name, or None, not 0.5"),
    "note": ("tell", lambda: {"loss": "low"}, "tell: it must return numbers by name, not {'loss': 'low'}"),
    "note name": ("tell", lambda: {"\udcff": 1.0}, "tell: what it returns must be a tuple of names, not ["),
}
FINE: Final[Mapping[str, tuple[str, Callable[[], Any]]]] = {
    "window of numpy": ("window", lambda: np.int64(3)),
    "lookback of numpy": ("lookback", lambda: np.int16(3)),
    "parent of numpy": ("ask", lambda: Proposal(GOOD, np.int64(2))),
    "parent of torch": ("ask", lambda: Proposal(GOOD, torch.tensor(2))),
    "choices of numpy": ("ask", lambda: Proposal(Genotype(GOOD.space, np.array([0, 1, 0, 1])))),
    "unchecked choices": ("ask", lambda: Proposal(Genotype.without_check(GOOD.space, tuple(np.array([0, 1, 0, 1]))))),
    "memo of torch": ("ask", lambda: Proposal(GOOD, memo=torch.tensor([0.5, 1.0]))),
    "notes of numpy": ("tell", lambda: {np.str_("loss"): np.float32(0.5), "nan": torch.tensor(float("nan"))}),
}
"""Answers in numbers of other libraries."""


@dataclass
class Strategy(SearchStrategy):
    """Breaks one promise, in its third ask or its second tell."""

    how: str = ""

    name = "broken"

    def _answer(self, method: str, otherwise: Any) -> Any:
        mine, answer = {**STRATEGIES, **FINE}.get(self.how, (None, None))[:2]
        return answer() if mine == method and answer else otherwise

    @property
    def window(self) -> int:
        return self._answer("window", 0)

    @property
    def lookback(self) -> int | None:
        return self._answer("lookback", None)

    @property
    def needs(self) -> tuple[str, ...]:
        return self._answer("needs", ())

    def suited(self, space: SearchSpace) -> Any:
        return self._answer("suited", self)

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        super().start(space, rng)
        self._answer("start", None)

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal | None:
        proposal = Proposal(self.space.sample(rng))
        return self._answer("ask", proposal) if len(population) == 2 else proposal

    def tell(self, individual: Individual, rng: np.random.Generator) -> Mapping[str, float] | None:
        return self._answer("tell", None) if individual.id == 2 else None


SPACES: Final[Mapping[str, tuple[str, Callable[[], Any], str]]] = {
    "decisions raise": ("decisions", divide, "its decisions and spelling: ZeroDivisionError: division"),
    "no decisions": ("decisions", lambda: (), "decisions must be a tuple of at least one Decision, not ()"),
    "decisions": ("decisions", lambda: ("a", "b"), "at least one Decision, not ('a', 'b')"),
    "names": ("decisions", lambda: (Decision("a", ("x",)),) * 2, "has a name of its own, and 'a' has not"),
    "a name": ("decisions", lambda: (Decision(3, ("x",)),), "the decisions must be a tuple of names, not [3]"),
    "no options": ("decisions", lambda: (Decision("a", ()),), "decision 'a' needs at least one option"),
    "spelling": ("spelling", lambda: " x", "a genotype of ' x' cannot be written as text and read back"),
    "spelling a number": ("spelling", lambda: 3, "a genotype of 3 cannot be written as text"),
    "spelling no text": ("spelling", lambda: "\udcff", "the name must be a tuple of names, not ("),
    "key": ("key", lambda: 3, "key and readable: key must return text that UTF-8 can hold, not 3"),
    "key no text": ("key", lambda: "\udcff", r"key must return text that UTF-8 can hold, not '\udcff'"),
    "key raises": ("key", divide, "key and readable: ZeroDivisionError: division by zero (broken.py, line "),
    "readable": ("readable", lambda: None, "readable must return a mapping, not None"),
    "readable nan": ("readable", lambda: {"a": float("nan")}, "cell: cell must be finite numbers and texts"),
    "readable object": ("readable", lambda: {"a": object()}, "cell: cell must be finite numbers and texts"),
    "readable text": ("readable", lambda: {"a": "\udcff"}, "cell: cell must be finite numbers and texts"),
}


@dataclass(frozen=True)
class Space(SearchSpace):
    """Breaks one promise."""

    how: str = ""

    name = "broken"

    def _answer(self, method: str, otherwise: Any) -> Any:
        mine, answer, _ = SPACES.get(self.how, (None, None, None))
        return answer() if mine == method and answer else otherwise

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        return self._answer("decisions", (Decision("a", (np.int64(16), np.float32(0.5))), Decision("b", ["x", "y"])))

    @cached_property
    def spelling(self) -> str:
        return self._answer("spelling", "broken")

    def key(self, genotype: Genotype) -> str:
        return self._answer("key", super().key(genotype))

    def readable(self, genotype: Genotype) -> Mapping[str, Any]:
        return self._answer("readable", super().readable(genotype))


EVALUATORS: Final[Mapping[str, tuple[str, Callable[[], Any], str]]] = {
    "measure": ("measure", lambda: "accuracy", "its properties: measure must be a Measure, not 'accuracy'"),
    "metrics": ("metrics", lambda: "loss", "metrics must be a tuple of names, not 'loss'"),
    "network_metrics": ("network_metrics", lambda: "parameters", "network_metrics must be a tuple of names, not"),
    "window": ("window", lambda: None, "window must be a whole number of at least 0, not None"),
    "bind": ("bind", divide, "bind: ZeroDivisionError: division by zero (broken.py, line "),
    "prepare": ("prepare", divide, "prepare: ZeroDivisionError: division by zero (broken.py, line "),
    "groundwork": ("groundwork", divide, "groundwork: ZeroDivisionError: division by zero (broken.py, line "),
    "fingerprint": ("fingerprint", lambda: 3, "fingerprint: TypeError: 'int' object is not a mapping"),
    "memory": ("memory", lambda: "much", "memory: it is no whole number"),
    "cost": ("cost", lambda: 7, "cost: AttributeError: 'int' object has no attribute 'parameters'"),
    "cost nan": ("cost", lambda: Cost(float("nan"), 3), "cost: the parameters of a network must be a whole number"),
    "brief": ("brief", lambda: (float("nan"),), "brief: brief must be finite numbers"),
    "brief a number": ("brief", lambda: 0.5, "brief: TypeError: 'float' object is not iterable"),
    "brief a text": ("brief", lambda: ("a",), "brief: it is no number"),
}


@dataclass
class Measuring(ToyEvaluator):
    """Breaks one promise."""

    how: str = ""

    name = "broken"

    def __getattribute__(self, name: str) -> Any:
        """Answer for all methods."""
        found = super().__getattribute__(name)
        mine, answer, _ = EVALUATORS.get(object.__getattribute__(self, "__dict__").get("how", ""), (None, None, None))
        if name != mine or answer is None:
            return found
        return (lambda *_: answer()) if callable(found) else answer()
