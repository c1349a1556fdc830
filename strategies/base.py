"""The contract between a search strategy and its caller."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar, Self

import numpy as np

from genotypes.donor import Donor
from genotypes.genotype import Genotype, shorten
from genotypes.individual import Cost, Individual, Proposal
from genotypes.plain import check_count, check_names, real
from genotypes.population import Population
from genotypes.space import SearchSpace

Score = Callable[[Genotype], Mapping[str, float]]
"""Scores a network without training it, a pure function: name -> number, higher for what is thought to be better.

No finite number is the worst of all. A name that is left out is not known, and says nothing of the network.
"""


class SearchStrategy(ABC):
    """A way to choose what to evaluate next. It never sees evaluator, executor or history.

    A subclass is a dataclass: its fields are its options, each with a default, checked in ``__post_init__`` (which
    raises ``ValueError`` with the rule and the value). It must implement :meth:`ask`; one that learns overrides
    :meth:`start` and :meth:`tell` too; one that looks back on the youngest individuals declares a :attr:`window`.

    The caller promises:

    * ``suited`` is called first, before anything is written, and the search uses the strategy that it returns; then
      :attr:`window` is read; then ``use_cost`` is called, ``use_scores`` if :attr:`wants_scores`, and ``use_knowledge``
      if other searches are to be learned from; then ``start``, once.
    * ``ask`` and ``tell`` each get a generator of their own, a function of the run's seed and of the id that the
      ask will get or the tell has. Nothing else may be drawn from.
    * an individual with a fitness carries the metrics that :attr:`needs` names.
    * ``tell`` is called exactly once for every proposal that ended, failures included, in the order in which
      they ended, which need not be the order of the asks. By then the individual is in the population.

    An implementation promises:

    * ``ask`` is pure: a function of the state that ``start`` and ``tell`` built, of the population, of the
      pending proposals and of the generator. It changes nothing, so that asking twice gives the same answer.
    * ``tell`` is the only place where state is built. So a strategy is restored by telling it the history
      again, or as much of it as its :attr:`lookback` says: there is no other format in which it is stored.
    * Numbers may be those of numpy, torch or pandas. What the contract does not allow ends the run in a line.
    * The same calls give the same answers, on the same machine and library versions, to the last bit.

    Example: with ``population=2``, regularized evolution answers asks 1 and 2 with random genotypes. Told 1 (0.6) and
    2 (failed), ask 3 is random again, because only one individual lives. Told 3 (0.7), ask 4 mutates 1 or 3.
    """

    name: ClassVar[str]

    @property
    def window(self) -> int:
        """The number of youngest individuals that the population must keep for this strategy; by default 0."""
        return 0

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the metrics that an individual with a fitness must carry; by default none.

        A search whose evaluator does not measure them is refused.
        """
        return ()

    names_parents: ClassVar[bool] = True
    """Whether a proposal may name a parent. A search with inherited weights is refused where none does."""

    def possible_parents(self) -> Collection[int] | None:
        """Return the ids that a later ask may name as a parent, given what was told; ``None``, by default, for all.

        The weights of others are removed where children inherit them. Each id was told; more of them cost only room.
        """
        return None

    @property
    def evaluator_options(self) -> Mapping[str, object]:
        """Options that an evaluator must have for this strategy, where the user leaves them open; by default none.

        Those that the evaluator does not have are passed over.
        """
        return {}

    @property
    def lookback(self) -> int | None:
        """The number of youngest individuals with a fitness that determine all later asks; by default ``None``: all.

        A search is resumed by telling that many again, in the order told, with the failures among them. Earlier ones
        may be left out, so that resuming a long search takes no longer than a short one.
        """
        return None

    def suited(self, space: SearchSpace) -> Self:
        """Return the strategy that will search ``space``: by default this one, as it is.

        A strategy whose defaults depend on the space returns a copy in which every option that was left open is filled
        in; one that needs a structure refuses a space that lacks it. The
        returned strategy is suited already: its ``suited`` returns itself.

        Raises:
            ValueError: naming what the space lacks, and which spaces have it.
        """
        return self

    def use_cost(  # noqa: B027
        self,
        space: SearchSpace,
        cost: Callable[[Genotype], Cost | None],
        allows: Callable[[Genotype], bool] = lambda genotype: True,
    ) -> None:
        """Take the evaluator's count of a network that is not trained, a pure function; by default do without it.

        It says ``None`` where costs have no meaning. ``allows`` says whether a network is within the limits of the
        search: one that is not is refused, without training. Both take milliseconds, and more for a large network.

        Raises:
            ValueError: if this strategy can do nothing with it; it says why.
        """

    def use_knowledge(self, space: SearchSpace, donors: Sequence[Donor]) -> None:
        """Take what other searches found, one or more; by default refuse it.

        Their networks are of ``space``, or of a level of it where it grows. They are knowledge of tasks of their own:
        nothing of them counts as told. A donor may mislead, and must not cost much then.

        Raises:
            ValueError: if this strategy cannot learn from them; it says why.
        """
        raise ValueError(f"the strategy {self.name} does not learn from other runs")

    @property
    def wants_scores(self) -> bool:
        """Whether this strategy is to be handed scores of candidates before they are tried; by default not.

        A search of a space without networks is refused then.
        """
        return False

    def use_scores(self, score: Score) -> None:  # noqa: B027
        """Take what scores a network without training it; by default do without it.

        A network takes a third of a second, and none when it is scored again. Candidates are scored in ``ask``, and
        those that were told again where a search is resumed: both must be few.
        """

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Prepare to search ``space``; by default store it as ``self.space``."""
        self.space = space

    @abstractmethod
    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal | None:
        """Return the proposal to evaluate next, and change nothing.

        ``population`` holds the told individuals. ``pending`` holds the proposals that were asked and not yet told, by
        ascending id. ``None`` means that there is nothing to try until something pending is told; with nothing
        pending it ends the search.
        """

    def tell(self, individual: Individual, rng: np.random.Generator) -> Mapping[str, float] | None:
        """Learn from a candidate that ended; by default do nothing.

        The returned finite numbers by name, such as an entropy or a baseline, are recorded as notes.
        """
        return None


def check_strategy(strategy: SearchStrategy) -> None:
    """Raise unless the properties of a strategy are what a search needs.

    Raises:
        ValueError: with the rule and the value.
    """
    if not isinstance(strategy, SearchStrategy):
        raise ValueError(f"suited must return a strategy, not {shorten(repr(strategy))}")
    check_names("name", (strategy.name,))
    check_names("needs", strategy.needs)
    check_count("window", strategy.window)
    if strategy.lookback is not None:
        check_count("lookback", strategy.lookback)


def check_proposal(answer: object, last: int) -> Proposal | None:
    """Return what :meth:`SearchStrategy.ask` answered, as a history gives it back; ``last`` is the id of the last ask.

    Raises:
        ValueError: with the rule and the value.
    """
    if answer is None:
        return None
    if not isinstance(answer, Proposal):
        raise ValueError(f"it must return a Proposal or None, not {shorten(repr(answer))}")
    space, choices = answer.genotype.space, answer.genotype.choices
    # Only what may not come back is written and read, which takes ten times as long as to look.
    if not (set(map(type, choices)) == {int} and min(choices) >= 0 and max(choices) < 256 and space == space.strip()):
        genotype = Genotype.parse(str(answer.genotype))
        if genotype != answer.genotype:
            raise ValueError(f"the genotype {shorten(repr(answer.genotype))} cannot be written as text and read back")
        answer = Proposal(genotype, answer.parent, answer.memo)
    if answer.parent is not None and not 1 <= answer.parent <= last:
        raise ValueError(f"a parent is the id of an individual that was told, from 1 to {last}, not {answer.parent}")
    return answer


def check_notes(answer: object) -> Mapping[str, float]:
    """Return the numbers that :meth:`SearchStrategy.tell` returned, as a history gives them back.

    Raises:
        ValueError: with the rule and the value.
    """
    if not answer:
        return {}
    if not isinstance(answer, Mapping):
        raise ValueError(f"it must return numbers by name, or None, not {shorten(repr(answer))}")
    check_names("what it returns", list(answer))
    try:
        return {str(name): real(value) for name, value in answer.items()}
    except ValueError:
        raise ValueError(f"it must return numbers by name, not {shorten(repr(answer))}") from None
