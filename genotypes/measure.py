"""The meaning of a fitness: its name and its title, from which headings, axes and sentences are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Final

from genotypes.genotype import printable, shorten


@dataclass(frozen=True, slots=True)
class Measure:
    """The meaning of an evaluator's fitnesses, which are fractions in [0, 1].

    ``name`` is the short word of headings and sentences, such as "accuracy" or "AP"; ``title`` is what stands at
    an axis, such as "validation accuracy". Whatever they are, people read them in per cent.

    Raises:
        ValueError: if one of them is no text of a line, or too long for a heading.
    """

    name: str
    title: str

    def __post_init__(self) -> None:
        for what, text, most in (("name", self.name, 20), ("title", self.title, 60)):
            if not (isinstance(text, str) and 0 < len(text) <= most and printable(text) == text):
                raise ValueError(
                    f"the {what} of a measure must be text of at most {most} letters, not {shorten(repr(text))}"
                )

    @property
    def heading(self) -> str:
        """The name as the first word of a heading."""
        return self.name[:1].upper() + self.name[1:]

    def to_json(self) -> dict[str, str]:
        """Return the form in which a run records it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: object) -> Measure:
        """Read what a run recorded; :data:`ACCURACY` without a record, :data:`FITNESS` if none can read it."""
        if record is None:
            return ACCURACY
        try:
            return cls(**record) if isinstance(record, Mapping) else FITNESS
        except (TypeError, ValueError):
            return FITNESS


ACCURACY: Final = Measure("accuracy", "validation accuracy")

FITNESS: Final = Measure("fitness", "fitness")
"""The word for runs that measure different things, or of which nobody knows what they measure."""


def common_measure(measures: Iterable[Measure]) -> Measure:
    """Return what all measure, or the neutral word where they differ; the accuracy where there are none."""
    found = set(measures)
    return found.pop() if len(found) == 1 else FITNESS if found else ACCURACY
