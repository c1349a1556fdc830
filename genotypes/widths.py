"""The widths of a network's groups of channels, a budget for them, and MorphNet's expansion by one factor for all.

Gordon et al. 2018, section 3.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from genotypes.genotype import GenotypeError, shorten
from genotypes.individual import Cost
from genotypes.ranges import check_range

ALIVE: Final = "alive."
"""The name of the metric that counts the alive channels of a group: this, and the group's name."""

LARGEST_WIDTH: Final = 1_000_000
"""Channels of a group, at most: as many parameters that belong to one channel alone already fill memories."""


@dataclass(frozen=True)
class Widths:
    """The widths of a network's groups of channels by their names, and those that the network has by itself, its seed.

    ``network`` names it, as :func:`evo_nas.phenotypes.named.build_by_name` takes it.

    Raises:
        GenotypeError: if there is no group, one lacks a width, or a width is no whole number of at least 1.
    """

    network: str
    widths: Mapping[str, int]
    seed: Mapping[str, int]

    def __post_init__(self) -> None:
        if not (self.network and isinstance(self.network, str)):
            raise GenotypeError("widths need the name of their network, as in torchvision:resnet18")
        if not self.widths or list(self.widths) != list(self.seed):
            raise GenotypeError(f"the widths of {shorten(self.network)} and of its seed name different groups, or none")
        for name, width in (*self.widths.items(), *self.seed.items()):
            if type(width) is not int or not 1 <= width <= LARGEST_WIDTH:
                raise GenotypeError(
                    f"the width of {shorten(name)} must be a whole number from 1 to {LARGEST_WIDTH}, "
                    f"not {shorten(repr(width))}"
                )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, ``{"network": ..., "widths": {...}, "seed": {...}}``."""
        return {"network": self.network, "widths": dict(self.widths), "seed": dict(self.seed)}

    @classmethod
    def from_json(cls, record: object) -> Widths:
        """Read the JSON form.

        Raises:
            GenotypeError: if the record has another shape, or such widths cannot exist.
        """
        if not isinstance(record, Mapping) or set(record) != {"network", "widths", "seed"}:
            raise GenotypeError(
                'widths in JSON are {"network": "...", "widths": {...}, "seed": {...}}, not ' + shorten(record)
            )
        for name in ("widths", "seed"):
            if not isinstance(record[name], Mapping):
                raise GenotypeError(
                    f'"{name}" must give a width for each group by its name, not {shorten(record[name])}'
                )
        return cls(record["network"], dict(record["widths"]), dict(record["seed"]))

    def lines(self, metrics: Mapping[str, float] | None = None) -> Iterator[str]:
        """Write a table for a terminal: a line a group, with its alive channels where a trial's ``metrics`` have them.

        The groups that died are named in a last line.
        """
        alive = {name: (metrics or {}).get(f"{ALIVE}{name}") for name in self.seed}
        names = {name: shorten(name, 60) for name in self.seed}
        wide = max(map(len, (*names.values(), "group")))
        is_known = any(number is not None for number in alive.values())
        yield f"{'group':<{wide}} {'seed':>7} {'now':>7} {'share':>7}" + is_known * f" {'alive':>7}"
        for name, seed in self.seed.items():
            width, left = self.widths[name], "-" if alive[name] is None else f"{alive[name]:.0f}"
            yield f"{names[name]:<{wide}} {seed:>7} {width:>7} {width / seed:>6.2f}x" + is_known * f" {left:>7}"
        if died := [names[name] for name, number in alive.items() if number == 0]:
            yield f"died: {', '.join(died)}"


_BUDGET: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:e[0-9]{1,2})?)(x?)-(mult-adds|parameters)", re.ASCII)


@dataclass(frozen=True)
class Budget:
    """The cost that a network may have: ``mult_adds`` or ``parameters``, as a share of its seed's or as a number.

    Raises:
        ValueError: if the amount is not positive and finite.
    """

    amount: float
    is_share: bool
    resource: str

    def __post_init__(self) -> None:
        check_range("a budget", self.amount, "(0, inf)")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read the text form, as in ``0.5x-mult-adds``, ``0.25x-parameters`` or ``20000000-mult-adds``.

        Raises:
            ValueError: if it is another text.
        """
        if (match := _BUDGET.fullmatch(text)) is None:
            raise ValueError(
                "a budget is a share of the seed or a number, as in 0.5x-mult-adds, 0.5x-parameters or "
                f"20000000-mult-adds, not {shorten(repr(text))}"
            )
        return cls(float(match[1]), match[2] == "x", match[3].replace("-", "_"))

    def __str__(self) -> str:
        return f"{self.amount:.12g}{'x' if self.is_share else ''}-{self.resource.replace('_', '-')}"

    def limit(self, seed_cost: Cost) -> float:
        """Return the most of the resource that a network may have whose seed costs this."""
        share: float = self.amount * getattr(seed_cost, self.resource)
        return share if self.is_share else self.amount


def scale_widths(widths: Sequence[int], omega: Fraction | float) -> tuple[int, ...]:
    """Return each width times ``omega``, rounded to the nearest whole number, halves up; at least 1."""
    factor = Fraction(omega)
    return tuple(
        max(1, (2 * factor.numerator * width + factor.denominator) // (2 * factor.denominator)) for width in widths
    )


def expand_widths(
    widths: Sequence[int], cost: Callable[[tuple[int, ...]], float], budget: float, *, most: Fraction | float = 1000
) -> tuple[Fraction, tuple[int, ...]]:
    """Return the largest factor up to ``most`` whose scaled widths cost no more than the budget, and these widths.

    The answer is exact: between the factors at which a width changes nothing does, so that only these are searched.
    ``cost`` must not fall where a width grows; it is called about 2 log2(``most`` times the sum of widths) times. The
    factor is the smallest one that gives these widths.

    Raises:
        ValueError: if there is no width, one is less than 1, or a network of one channel per width costs more.
    """
    if not widths or min(widths) < 1:
        raise ValueError(f"widths must be 1 or more, not {tuple(widths)}")
    smallest = (1,) * len(widths)
    if (least := cost(smallest)) > budget:
        raise ValueError(f"one channel per width costs {least:g}, more than the budget of {budget:g}")
    # First by powers of two, so that the list of factors stays as short as the answer needs.
    top, limit = Fraction(1, max(widths)), Fraction(most)
    while top < limit and cost(scale_widths(widths, top)) <= budget:
        top = min(2 * top, limit)
    factors = sorted(
        {Fraction(2 * n - 1, 2 * width) for width in set(widths) for n in range(2, scale_widths([width], top)[0] + 1)}
    )
    affordable = bisect_right(factors, False, key=lambda factor: cost(scale_widths(widths, factor)) > budget)
    omega = factors[affordable - 1] if affordable else Fraction(0)
    return omega, scale_widths(widths, omega)
