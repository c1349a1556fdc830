"""The search space: decisions in order, and the operations on their genotypes."""

from __future__ import annotations

import dataclasses
import json
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Final, overload

import numpy as np

from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.plain import check_names, plain_in_json, readable


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """One choice to be made: its name, unique in its space, and what can be chosen.

    Raises:
        ValueError: if there is nothing to choose from.
    """

    name: str
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options:
            raise ValueError(f"decision {self.name!r} needs at least one option")


class SearchSpace(ABC):
    """A finite set of genotypes: one option for each decision.

    A subclass is a frozen dataclass whose fields are its options, each with a default; its ``name`` and the fields
    that differ from their defaults make its :attr:`spelling`, from which the catalogue builds it again. It must
    give :attr:`decisions`; everything else has a default that suits a space in which every combination of
    options is valid and means something of its own. Override

    * :meth:`mutate`, where the field has an operator of its own;
    * :meth:`check`, where some combinations do not exist (then also :meth:`sample` and :meth:`mutate`);
    * :meth:`decode`, to return a readable object; one with ``to_json`` is what the history stores and plots draw;
    * :meth:`network`, where what it describes is no pair of cells and it is to be trained all the same;
    * :meth:`key`, where several genotypes mean the same network;
    * :meth:`words`, where genotypes have parts that can be compared wherever they stand, such as paths;
    * :meth:`neighbours`, where :meth:`check` refuses some combinations;
    * :meth:`crossover`, where :meth:`check` refuses some, or a decision means something else after another one.

    Randomness arrives as a ``numpy.random.Generator``; a space draws from nothing else and holds no state.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def decisions(self) -> tuple[Decision, ...]:
        """The decisions, in the order in which a controller predicts them; computed once."""

    @cached_property
    def spelling(self) -> str:
        """The name, with every option that is not the default: ``nasnet(blocks=3)``; a search asks for it often."""
        words = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            value = getattr(self, field.name)
            if value != field.default:
                words.append(f"{field.name}={'+'.join(map(str, value)) if isinstance(value, tuple) else value}")
        return f"{self.name}({','.join(words)})" if words else self.name

    @property
    def size(self) -> int:
        """The number of genotypes; symmetric ones count apart."""
        return math.prod(len(decision.options) for decision in self.decisions)

    def genotype(self, choices: Sequence[int]) -> Genotype:
        """Return a checked genotype of this space from option indices.

        Raises:
            GenotypeError: if the choices do not exist in this space.
        """
        genotype = Genotype(self.spelling, tuple(choices))
        self.check(genotype)
        return genotype

    def parse(self, text: str) -> Genotype:
        """Read the text form of a genotype of this space.

        Raises:
            GenotypeError: if the text is no genotype, or not one of this space.
        """
        genotype = Genotype.parse(text)
        self.check(genotype)
        return genotype

    def check(self, genotype: Genotype) -> None:
        """Raise if this space does not contain the genotype.

        Raises:
            GenotypeError: naming the first thing that is wrong, and what could stand there instead.
        """
        if genotype.space != self.spelling:
            raise GenotypeError(f"the genotype is of space {genotype.space!r}, not of {self.spelling!r}")
        if len(genotype.choices) != len(self.decisions):
            raise GenotypeError(
                f"a genotype of {self.spelling} has {len(self.decisions)} choices, not {len(genotype.choices)}"
            )
        if not any(map(operator.ge, genotype.choices, self._sizes)):  # a table of results checks row after row
            return
        for position, (choice, decision) in enumerate(zip(genotype.choices, self.decisions, strict=True)):
            if choice >= len(decision.options):
                raise GenotypeError(
                    f"choice {position} ({decision.name}) is {shorten(choice)}, but its options are "
                    f"0 to {len(decision.options) - 1}: {', '.join(map(str, decision.options))}"
                )

    def sample(self, rng: np.random.Generator) -> Genotype:
        """Return a random genotype; each decision is drawn uniformly and independently."""
        draws = rng.random(len(self.decisions)).tolist()
        # One vectorised draw: fifty calls of integers() would cost more than all the rest of a random search.
        choices = tuple([int(u * size) for u, size in zip(draws, self._sizes, strict=True)])
        return Genotype.without_check(self.spelling, choices)

    def mutate(self, parent: Genotype, rng: np.random.Generator) -> Genotype:
        """Change one decision, drawn uniformly from those with a choice, to another option, drawn uniformly."""
        if not self._open:
            return parent
        # random() costs a fifth of integers(), and is as uniform as far as numbers this small can tell.
        position = self._open[int(rng.random() * len(self._open))]
        step = 1 + int(rng.random() * (self._sizes[position] - 1))
        return _replace(parent, position, (parent.choices[position] + step) % self._sizes[position])

    @property
    def has_crossover(self) -> bool:
        """Whether :meth:`crossover` makes valid children only: by default where every combination is valid."""
        kind = type(self)
        return kind.check is SearchSpace.check or kind.crossover is not SearchSpace.crossover

    def crossover(self, first: Genotype, second: Genotype, rng: np.random.Generator, share: float = 0.5) -> Genotype:
        """Return a child of two parents: each decision is the second's with probability ``share``, else the first's.

        This is uniform crossover (Syswerda 1989). With a random genotype as the second parent each decision is drawn
        again with that probability.
        """
        draws = rng.random(len(first.choices)).tolist()
        pairs = zip(first.choices, second.choices, draws, strict=True)
        return Genotype.without_check(self.spelling, tuple([b if u < share else a for a, b, u in pairs]))

    def neighbours(self, genotype: Genotype) -> Sequence[Genotype]:
        """Return every valid genotype that differs in one decision, in a fixed order; made when they are looked at.

        By default every change of one decision, position by position. A space in which some combinations do not exist
        overrides this.
        """
        return _Neighbours(genotype, self._moves)

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        """The number of options of each decision."""
        return tuple(len(decision.options) for decision in self.decisions)

    @cached_property
    def _open(self) -> tuple[int, ...]:
        """The positions of the decisions with a choice."""
        return tuple(position for position, size in enumerate(self._sizes) if size > 1)

    @cached_property
    def _moves(self) -> tuple[tuple[int, int, int], ...]:
        """Every change of one decision: position, number of options, offset from the present option."""
        return tuple((position, size, step) for position, size in enumerate(self._sizes) for step in range(1, size))

    def decode(self, genotype: Genotype) -> Any:
        """Return the readable object that the genotype describes; by default ``{decision name: option}``.

        Raises:
            GenotypeError: if this space does not contain the genotype.
        """
        self.check(genotype)
        pairs = zip(genotype.choices, self.decisions, strict=True)
        return {decision.name: decision.options[choice] for choice, decision in pairs}

    def readable(self, genotype: Genotype) -> Mapping[str, Any]:
        """Return what :meth:`decode` gives as JSON: what a history keeps, so that no plug-in is needed to look at it.

        Raises:
            GenotypeError: if this space does not contain the genotype.
        """
        decoded = self.decode(genotype)
        form = decoded.to_json() if hasattr(decoded, "to_json") else decoded
        try:
            _encode(form)
        except (TypeError, ValueError):
            form = str(decoded)
        return form if isinstance(form, Mapping) else {"text": str(form)}

    def network(self, genotype: Genotype, **size: Any) -> Any:
        """Build the ``torch.nn.Module`` of a genotype, where a space brings its own network; by default ``None``.

        ``size`` is what the evaluator knows: ``classes``, ``channels`` and ``image_size`` (pixels a side) of the
        images, and ``cells_per_stack`` and ``filters``, which a network may pass over. It maps images of shape
        (n, channels, h, w) to logits, (n, classes), and draws its weights from torch's default generator. With a method
        ``set_drop_path`` it is told before each step how far the training has come, a fraction in [0, 1]. torch is
        imported inside this method, so that the space can be looked at without it.

        Raises:
            GenotypeError: if no network can be built from the genotype.
        """
        return None

    def key(self, genotype: Genotype) -> str:
        """Return a text that is equal for two genotypes exactly when they describe the same network.

        Raises:
            GenotypeError: if this space does not contain the genotype.
        """
        self.check(genotype)
        return ".".join(map(str, genotype.choices))

    def words(self, genotype: Genotype) -> tuple[str, ...]:
        """Return the parts of the described network, for surrogates; a word per occurrence. By default none.

        Two genotypes with many words in common should do about as well. The decisions need not be repeated.
        """
        return ()

    def _another(self, parent: Genotype, position: int, rng: np.random.Generator) -> Genotype:
        """Return the parent with another option of one decision, drawn uniformly; the decision must have a choice."""
        draw = int(rng.integers(len(self.decisions[position].options) - 1))
        return _replace(parent, position, draw + (draw >= parent.choices[position]))


_encode: Final = json.JSONEncoder(default=plain_in_json).encode
"""Made once: ``dumps`` makes an encoder per call."""


def check_space(space: SearchSpace) -> None:
    """Raise unless the decisions and the spelling of a space are what a search needs.

    Raises:
        ValueError: with the rule and the value.
    """
    decisions = space.decisions
    if not isinstance(decisions, Sequence) or not decisions or not all(isinstance(d, Decision) for d in decisions):
        raise ValueError(f"decisions must be a tuple of at least one Decision, not {shorten(repr(decisions))}")
    names = [decision.name for decision in decisions]
    check_names("the names of the decisions", names)
    if len(set(names)) < len(names):
        raise ValueError(f"each decision has a name of its own, and {shorten(max(names, key=names.count))!r} has not")
    spelling, choices = space.spelling, (0,) * len(names)
    if not isinstance(spelling, str) or Genotype.parse(str(Genotype(spelling, choices))) != Genotype(spelling, choices):
        raise ValueError(f"a genotype of {shorten(repr(spelling))} cannot be written as text and read back")
    check_names("the name", (spelling,))


def describe(space: SearchSpace, genotype: Genotype) -> tuple[str, Mapping[str, Any]]:
    """Return the key of a genotype, and its readable form, as a history keeps them.

    Raises:
        GenotypeError: if the space does not contain the genotype.
        ValueError: if the space answers with something else.
    """
    key, cell = space.key(genotype), space.readable(genotype)
    if not isinstance(key, str) or (not key.isascii() and readable(key) != key):
        raise ValueError(f"key must return text that UTF-8 can hold, not {shorten(repr(key))}")
    if not isinstance(cell, Mapping):
        raise ValueError(f"readable must return a mapping, not {shorten(repr(cell))}")
    return str(key), cell


def _replace(genotype: Genotype, position: int, option: int) -> Genotype:
    """Copy a genotype with one choice changed."""
    choices = genotype.choices
    return Genotype.without_check(genotype.space, (*choices[:position], option, *choices[position + 1 :]))


class _Neighbours(Sequence[Genotype]):
    """The neighbours of a genotype, each made when it is looked at: a local search needs one at a time."""

    def __init__(self, genotype: Genotype, moves: Sequence[tuple[int, int, int]]) -> None:
        self._genotype = genotype
        self._moves = moves

    def __len__(self) -> int:
        return len(self._moves)

    @overload
    def __getitem__(self, index: int) -> Genotype: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Genotype]: ...
    def __getitem__(self, index: int | slice) -> Genotype | Sequence[Genotype]:
        if isinstance(index, slice):
            return _Neighbours(self._genotype, self._moves[index])
        position, size, step = self._moves[index]
        return _replace(self._genotype, position, (self._genotype.choices[position] + step) % size)
