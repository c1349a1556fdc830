"""A merging graph over a feature pyramid, with its extra inputs resolved (Ghiasi et al. 2019, NAS-FPN, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from genotypes.genotype import GenotypeError, shorten

LEVELS: Final = (3, 4, 5, 6, 7)
"""The levels of a pyramid as the paper names them; a level is half as large as the one before it."""

MERGES: Final = ("sum", "attention")
"""How two features become one: added, or the finer one weighted by the global maximum of the coarser one."""

LARGEST_PYRAMID: Final = 12
"""Merging cells of a pyramid, at most: the canonical text tries every order of equal cells, here 7! orders at most."""


@dataclass(frozen=True, slots=True)
class Merge:
    """A merging cell: the level of its output, its combination, and the two features of the pool that it reads.

    Feature 0 to 4 are the inputs of the pyramid, levels 3 to 7; 5 is what the first merging cell makes, and so on.

    Raises:
        GenotypeError: if there is no such level or combination, or a feature is no whole number of at least 0.
    """

    level: int
    combine: str
    inputs: tuple[int, int]

    def __post_init__(self) -> None:
        if type(self.level) is not int or self.level not in LEVELS:
            raise GenotypeError(
                f"a merging cell has a level from {LEVELS[0]} to {LEVELS[-1]}, not {_quote(self.level)}"
            )
        if self.combine not in MERGES:
            raise GenotypeError(f"there is no combination {_quote(self.combine)}; there are: {', '.join(MERGES)}")
        object.__setattr__(self, "inputs", tuple(self.inputs))
        if len(self.inputs) != 2 or any(type(feature) is not int or feature < 0 for feature in self.inputs):
            raise GenotypeError(f"a merging cell reads two features by their numbers, not {_quote(self.inputs)}")


@dataclass(frozen=True)
class Pyramid:
    """Merging cells in their order; the last five make the outputs, one per level, in any order of the levels.

    Each cell reads features that exist before it: the five inputs and the cells before it. A feature that no cell
    needs is lost in no pyramid: see :attr:`extras`.

    Raises:
        GenotypeError: if there are fewer than five cells, a cell reads a feature that does not exist before it, or the
            last five cells are not of five levels.
    """

    merges: tuple[Merge, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "merges", tuple(self.merges))
        count = len(LEVELS)
        if not count <= len(self.merges) <= LARGEST_PYRAMID:
            raise GenotypeError(
                f"a pyramid has {count} to {LARGEST_PYRAMID} merging cells, one per output at least, not "
                f"{len(self.merges)}"
            )
        for index, merge in enumerate(self.merges):
            for feature in merge.inputs:
                if feature >= count + index:
                    raise GenotypeError(
                        f"merging cell {index} reads feature {shorten(feature)}, but only the features 0 to "
                        f"{count + index - 1} exist before it"
                    )
        if sorted(merge.level for merge in self.merges[-count:]) != list(LEVELS):
            levels = ", ".join(str(merge.level) for merge in self.merges[-count:])
            raise GenotypeError(f"the last {count} merging cells make the levels 3 to 7, each once, not {levels}")

    @cached_property
    def feature_levels(self) -> tuple[int, ...]:
        """The level of each feature: the five inputs, then each merging cell's."""
        return (*LEVELS, *(merge.level for merge in self.merges))

    @property
    def intermediates(self) -> int:
        """The number of merging cells that make no output; they come first."""
        return len(self.merges) - len(LEVELS)

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """The features that leave the pyramid, by level from 3 to 7."""
        first = len(LEVELS) + self.intermediates
        return tuple(first + [merge.level for merge in self.merges[-len(LEVELS) :]].index(level) for level in LEVELS)

    @cached_property
    def extras(self) -> tuple[tuple[int, ...], ...]:
        """The features that each merging cell adds before its activation, beside its two inputs.

        A cell that makes an output adds every feature of its own level that nothing has read so far: no cell up to this
        one, and no cell's extras. A later cell may read such a feature all the same (Ghiasi et al. 2019, section 3.1,
        and its released code).
        """
        is_read = [False] * len(self.feature_levels)
        found = []
        for index, merge in enumerate(self.merges):
            for feature in merge.inputs:
                is_read[feature] = True
            extra: tuple[int, ...] = ()
            if index >= self.intermediates:
                pool = range(len(LEVELS) + index)
                extra = tuple(f for f in pool if self.feature_levels[f] == merge.level and not is_read[f])
                for feature in extra:
                    is_read[feature] = True
            found.append(extra)
        return tuple(found)

    def order_inputs(self, index: int) -> tuple[int, int]:
        """Return the inputs of a merging cell, counted from 0, the coarser one first; of one level, in their order."""
        one, other = self.merges[index].inputs
        is_finer = self.feature_levels[other] > self.feature_levels[one]
        return (other, one) if is_finer else (one, other)

    def canonical(self) -> str:
        """Return a text that is equal for two pyramids exactly when they compute the same function of their weights.

        The order of the terms of a sum leaves no trace, and an extra input is one of them: of three features of one
        level it does not matter which is the extra one. The inputs of an attention may be swapped, unless both have one
        level, because then the first takes the part of the coarser one. Neither the order of the cells that make no
        output, nor that of the outputs, leaves a trace where the graph is the same. Two equal cells are two cells,
        because they would be trained apart.
        """
        names = {feature: f"P{level}" for feature, level in enumerate(LEVELS)}
        names |= {feature: f"O{level}" for feature, level in zip(self.outputs, LEVELS, strict=True)}
        texts = []
        for cells, all_names in self._number([], names):
            outputs = [self._spell(feature - len(LEVELS), all_names) for feature in self.outputs]
            texts.append(" ".join([*cells, ">", *outputs]))
        return min(texts)

    def _number(self, cells: list[str], names: dict[int, str]) -> Iterator[tuple[list[str], dict[int, str]]]:
        """Yield the texts of the cells that make no output, and names for all features, for each way to break ties.

        Of the cells whose inputs have names, the one with the smallest text comes next.
        """
        first = len(LEVELS)
        ready = {
            feature: self._spell(feature - first, names)
            for feature in range(first, first + self.intermediates)
            if feature not in names and all(source in names for source in self.merges[feature - first].inputs)
        }
        if not ready:
            yield cells, names
            return
        smallest = min(ready.values())
        for feature, text in ready.items():
            if text == smallest:
                yield from self._number([*cells, text], {**names, feature: f"M{len(cells)}"})

    def _spell(self, index: int, names: Mapping[int, str]) -> str:
        """Return the text of a merging cell whose inputs have names."""
        merge, extra = self.merges[index], self.extras[index]
        if merge.combine == "sum":
            return f"{merge.level}:{'+'.join(sorted(names[feature] for feature in (*merge.inputs, *extra)))}"
        coarse, fine = self.order_inputs(index)
        return "+".join([f"{merge.level}:{names[fine]}*{names[coarse]}", *sorted(names[feature] for feature in extra)])

    def name_feature(self, feature: int) -> str:
        """Return a short name of a feature: ``P3`` is an input, ``5`` the cell that makes it."""
        return f"P{LEVELS[feature]}" if feature < len(LEVELS) else str(feature)

    def lines(self) -> Iterator[str]:
        """Write a table for a terminal: a line per merging cell, in their order."""
        yield f"{'feature':>7}  {'level':>5}  {'made of':<40} output"
        for index, (merge, extra) in enumerate(zip(self.merges, self.extras, strict=True)):
            inputs = ", ".join(map(self.name_feature, merge.inputs))
            made = " + ".join([f"{merge.combine}({inputs})", *map(self.name_feature, extra)])
            output = f"P{merge.level}" if index >= self.intermediates else ""
            yield f"{len(LEVELS) + index:>7}  {merge.level:>5}  {made:<40} {output}".rstrip()

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: ``{"pyramid": [{"level": 4, "combine": "sum", "inputs": [1, 3], "extra": []}]}``."""
        return {
            "pyramid": [
                {"level": merge.level, "combine": merge.combine, "inputs": list(merge.inputs), "extra": list(extra)}
                for merge, extra in zip(self.merges, self.extras, strict=True)
            ]
        }

    @classmethod
    def from_json(cls, record: object) -> Pyramid:
        """Read the JSON form; "extra" follows from the rest and may be left out.

        Raises:
            GenotypeError: if the record has another shape, such a pyramid cannot exist, or its extra inputs are not
                those that the rule gives.
        """
        cells = record.get("pyramid") if isinstance(record, Mapping) and set(record) == {"pyramid"} else None
        if not isinstance(cells, list):
            raise GenotypeError(f'a pyramid in JSON is {{"pyramid": [merging cells]}}, not {shorten(record)}')
        pyramid = cls(tuple(_merge_from_json(index, cell) for index, cell in enumerate(cells)))
        for index, (cell, extra) in enumerate(zip(cells, pyramid.extras, strict=True)):
            if (told := cell.get("extra", list(extra))) != list(extra):
                raise GenotypeError(
                    f"merging cell {index} adds the extra inputs {list(extra)}, which no cell has read so far, not "
                    f"{shorten(told)}"
                )
        return pyramid


def _merge_from_json(index: int, record: object) -> Merge:
    """Read one merging cell of the JSON form; ``index`` is named in the error."""
    needed = {"level", "combine", "inputs"}
    if not isinstance(record, Mapping) or not needed <= set(record) <= {*needed, "extra"}:
        raise GenotypeError(
            f'merging cell {index} must be {{"level": 4, "combine": "sum", "inputs": [1, 3]}}, not {shorten(record)}'
        )
    if not isinstance(record["inputs"], Sequence) or isinstance(record["inputs"], str):
        raise GenotypeError(f'"inputs" of merging cell {index} must be two features, not {shorten(record["inputs"])}')
    try:
        return Merge(record["level"], record["combine"], tuple(record["inputs"]))
    except GenotypeError as error:
        raise GenotypeError(f"merging cell {index}: {error}") from None


def _quote(value: object) -> str:
    return shorten(repr(value))
