"""A genotype: the name of a search space and one option index for each of its decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from genotypes.plain import whole

_NUMBERS: Final = {str(number): number for number in range(256)}
"""Nearly all numbers that choices are: looking a spelling up takes a fraction of the time of reading it."""


class GenotypeError(ValueError):
    """A genotype, a cell or the spelling of a space that cannot exist; the message says where and why."""


@dataclass(frozen=True, slots=True, order=True)
class Genotype:
    """One point of a search space, as plain choices.

    ``space`` is the full spelling of the space: its name, and in brackets every option that is not the
    default, as in ``nasnet`` or ``nasnet(blocks=3)``. ``choices`` holds one option index per decision, counted
    from 0, in the order in which a controller predicts them. Whether the choices fit the space is known to the
    space alone: see :meth:`genotypes.space.SearchSpace.check`.

    Integers may come from numpy, torch or pandas; they are kept as ``int``.

    Raises:
        GenotypeError: if the space is empty or a choice is not a non-negative integer.
    """

    space: str
    choices: tuple[int, ...]

    def __post_init__(self) -> None:
        if not (self.space and isinstance(self.space, str)):
            raise GenotypeError("a genotype needs the name of its space, as in 'nasnet:0.1.2.3'")
        object.__setattr__(self, "choices", tuple(self.choices))
        if not set(map(type, self.choices)) <= {int}:
            object.__setattr__(self, "choices", tuple(map(_whole_or_same, self.choices)))
        for position, choice in enumerate(self.choices):
            if type(choice) is not int or choice < 0:
                raise GenotypeError(f"choice {position} must be an integer of at least 0, not {shorten(repr(choice))}")

    @classmethod
    def without_check(cls, space: str, choices: tuple[int, ...]) -> Genotype:
        """Return a genotype without checking its choices, which are known to be integers of at least 0."""
        genotype = object.__new__(cls)
        object.__setattr__(genotype, "space", space)
        object.__setattr__(genotype, "choices", choices)
        return genotype

    def __str__(self) -> str:
        """Return the text form, ``nasnet:0.3.1.7``; :meth:`parse` reads it back."""
        form = "%d." * len(self.choices)  # takes half as long as str() of each
        return f"{self.space}:{form[:-1] % tuple(self.choices)}"

    @classmethod
    def parse(cls, text: str) -> Genotype:
        """Read the text form, ``space:choice.choice...``.

        Raises:
            GenotypeError: if the text has no colon, or something other than integers between the dots.
        """
        space, colon, choices = text.strip().rpartition(":")
        if not colon:
            raise GenotypeError(
                f"{shorten(text)!r} is no genotype: write the space, a colon, and the choices between dots, "
                "as in 'nasnet:0.1.2.3'"
            )
        fields = choices.split(".")
        try:
            numbers = tuple([_NUMBERS[field] for field in fields])
        except KeyError:  # a larger number, one that begins with 0, or none
            numbers = _whole_numbers(fields, text)
        return cls.without_check(space, numbers) if space else cls(space, numbers)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, ``{"space": ..., "choices": [...]}``."""
        return {"space": self.space, "choices": list(self.choices)}

    @classmethod
    def from_json(cls, record: object) -> Genotype:
        """Read the JSON form.

        Raises:
            GenotypeError: if the record is anything but a space's spelling and a list of choices.
        """
        if not isinstance(record, Mapping) or set(record) != {"space", "choices"}:
            raise GenotypeError('a genotype in JSON is {"space": "...", "choices": [...]}, not ' + shorten(record))
        space, choices = record["space"], record["choices"]
        if not isinstance(space, str) or not isinstance(choices, list):
            raise GenotypeError('"space" must be a string and "choices" a list of integers')
        return cls(space, tuple(choices))


def _whole_or_same(choice: object) -> Any:
    """Return a choice as an ``int``, and what is none as it is."""
    try:
        return whole(choice)
    except ValueError:
        return choice


def _whole_numbers(fields: Sequence[str], text: str) -> tuple[int, ...]:
    """Return the integers between the dots of ``text``, which the error names."""
    for position, field in enumerate(fields):
        # isdecimal() alone would let through digits of other scripts and numbers of any length.
        if not (field.isascii() and field.isdecimal() and len(field) <= 9):
            raise GenotypeError(f"choice {position} of {shorten(text)!r} is {shorten(field)!r}, not a whole number")
    return tuple(map(int, fields))


def printable(text: object) -> str:
    """Return a text as one line of printable characters."""
    return "".join(character if character.isprintable() else "?" for character in str(text))


def shorten(value: object, limit: int = 60) -> str:
    """Return a value as at most ``limit`` printable characters, so that an error message stays one readable line."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
