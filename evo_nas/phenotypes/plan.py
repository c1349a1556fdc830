"""The plan of a network: which cell stands where, how wide it is and what it reads; no torch, no weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from genotypes.cell import INPUTS, Cell, CellPair
from genotypes.edge_cell import EDGES
from genotypes.genotype import shorten
from genotypes.ranges import check_range
from genotypes.stacking import LARGE, STACKINGS, Stacking

MACROS: Final[dict[str, str]] = {
    "cifar": "small images: a 3x3 convolution, then three stacks of cells",
    "imagenet": "large images: a strided 3x3 convolution and two reduction cells, then three stacks of cells",
}
"""The macro-architectures (Zoph et al. 2017, figure 2)."""

AVERAGES: Final = ("same", "zeros")
"""Padding of average pooling of stride 2: SAME as in the released networks, or by zeros that count, as in timm's."""

SMALLEST_IMAGE: Final = 8
"""Pixels a side; of a smaller image the reductions would leave nothing to look at."""

LARGEST_NETWORK: Final = 10_000
"""Operations of the largest network that is planned: NASNet-A at 6@4032 has 200, this many take minutes to build."""

WIDEST: Final = 10**6
"""Filters of the widest first stack, and of the widest stem; much wider ones have more weights than 64 bits count."""

_SIZE = re.compile(r"\s*(\d{1,4})\s*@\s*(\d{1,9})\s*")


@dataclass(frozen=True)
class Layer:
    """One cell in its place.

    Outputs are counted backwards: ``current``, h_i, is always the output 1 back, that of the layer before; h_{i-1} is
    the output ``previous`` back, 1 if h_i stands in for it, fitted as any h_{i-1}, and ``None`` if it does so unfitted.
    ``previous_is_larger`` says that a reduction lies between the two.
    """

    cell: Cell
    filters: int
    stride: int
    previous: int | None
    previous_is_larger: bool = False

    @property
    def back(self) -> int:
        """Distance back to the output that is read as h_{i-1}; h_i is 1 back."""
        return self.previous or 1


@dataclass(frozen=True)
class Plan:
    """A network but for its classes: ``stem`` are the filters of the stem's convolutions, output by output.

    The stem of small images is one convolution of stride 1. That of large ones is one of stride 2 without padding, or,
    as DARTS has it, two of stride 2 that make the first output, and a third that makes the second.
    ``auxiliary`` is the index of the layer whose output the auxiliary classifier reads.
    """

    macro: str
    stacking: Stacking
    cells_per_stack: int
    filters: int
    stem: int
    layers: tuple[Layer, ...]
    auxiliary: int

    @property
    def stem_outputs(self) -> tuple[int, ...]:
        """The channels of the stem's outputs."""
        return (self.stem, self.stem) if self.has_strided_stem else (self.stem,)

    @property
    def has_strided_stem(self) -> bool:
        """Whether convolutions of stride 2 stand for the first reduction cells."""
        return self.macro == "imagenet" and self.stacking.strided_stem

    @property
    def penultimate(self) -> int:
        """The channels that the classifier reads: P of the notation N @ P."""
        last = self.layers[-1]
        return output_channels(last.cell, last.filters)


def plan_network(
    cells: CellPair,
    *,
    macro: str = "cifar",
    cells_per_stack: int,
    filters: int,
    stem: int | None = None,
    skip_reduction_input: bool | None = None,
) -> Plan:
    """Lay three stacks of N cells at F, 2F and 4F filters out, as the stacking of the pair has it.

    ``stem`` is by default 3F for small images, and what the papers have for large ones: 32, or 96 where F is
    at least 100. ``skip_reduction_input`` says which of two wirings the cell after a reduction cell has: it reads as
    h_{i-1} either what the reduction cell read as its own, or the output of the cell before the reduction cell. By
    default the first for NASNet's large networks for large images, and the second otherwise (tensorflow/models,
    slim/nets/nasnet). With two cells per stack or more, it changes no count.

    Raises:
        ValueError: if a number is out of range, or the macro-architecture is unknown.
    """
    if macro not in MACROS:
        raise ValueError(f"there is no macro-architecture {shorten(macro)!r}; there are: {', '.join(MACROS)}")
    for name, value in (("cells_per_stack", cells_per_stack), ("filters", filters), ("stem", stem)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
        if value is not None and name != "cells_per_stack" and value > WIDEST:
            raise ValueError(f"{name} must be at most {WIDEST:,}, not {shorten(value)}")
    # Before anything is listed: the numbers may come from a file.
    blocks = max(len(cells.normal.blocks), len(cells.reduction.blocks))
    if (3 * cells_per_stack + 4) * blocks * 2 > LARGEST_NETWORK:
        raise ValueError(
            f"{shorten(cells_per_stack)} cells per stack of {blocks} blocks each make more than the "
            f"{LARGEST_NETWORK:,} operations of the largest network: name a smaller size"
        )
    stacking = STACKINGS[cells.stacking]
    large = macro == "imagenet" and filters >= LARGE
    if macro == "cifar":
        stem = 3 * filters if stem is None else stem
    elif stacking.strided_stem:
        stem = filters if stem is None else stem
        if stem < 2:
            raise ValueError(f"this stem begins with half of its filters and needs at least 2, not {stem}")
    else:
        stem = stacking.stems[large] if stem is None else stem
        if filters < 4:
            raise ValueError(f"the first reduction cell has a quarter of the filters: at least 4, not {filters}")
    places = _places(cells, stacking, macro, cells_per_stack, filters)
    skips = stacking.large_skips and large if skip_reduction_input is None else skip_reduction_input
    reductions = [index for index, (_, _, stride) in enumerate(places) if stride == 2][-2:]
    return Plan(
        macro,
        stacking,
        cells_per_stack,
        filters,
        stem,
        layers=_wire(places, stacking, macro, reductions if skips else []),
        auxiliary=reductions[1] if stacking.auxiliary_after else reductions[1] - 1,
    )


def _places(
    cells: CellPair, stacking: Stacking, macro: str, cells_per_stack: int, filters: int
) -> list[tuple[Cell, int, int]]:
    """List cell, filters and stride of each layer."""
    places: list[tuple[Cell, int, int]] = []
    if macro == "imagenet" and not stacking.strided_stem:
        places += [(cells.reduction, filters // share, 2) for share in (4, 2)]
    for stack in range(3):
        width = filters * 2**stack
        normal = cells_per_stack
        if stack > 0:
            places.append((cells.reduction, width, 2))
            normal -= stacking.in_place
        places += [(cells.normal, width, 1)] * normal
    return places


def _wire(places: list[tuple[Cell, int, int]], stacking: Stacking, macro: str, skipped: list[int]) -> tuple[Layer, ...]:
    """Return for each layer what it reads; after those ``skipped``, h_{i-1} lies one further back."""
    # How often each output was halved, those of the stem first.
    halvings = [1, 2] if macro == "imagenet" and stacking.strided_stem else [0]
    layers = []
    for index, (cell, filters, stride) in enumerate(places):
        previous: int | None = 3 if index - 1 in skipped else 2
        if len(halvings) == 1:  # nothing lies before the stem
            previous = 1 if stacking.fits_always else None
        larger = previous is not None and halvings[-previous] < halvings[-1]
        layers.append(Layer(cell, filters, stride, previous, larger))
        halvings.append(halvings[-1] + (stride == 2))
    return tuple(layers)


def check_edge_size(cells_per_stack: int, filters: int) -> None:
    """Raise if no network of cells of edges has this size.

    Raises:
        ValueError: naming the number.
    """
    check_range("cells_per_stack", cells_per_stack, "[1, inf)")
    check_range("filters", filters, "[1, inf)")
    if filters > WIDEST:
        raise ValueError(f"filters must be at most {WIDEST:,}, not {shorten(filters)}")
    if 3 * cells_per_stack * len(EDGES) > LARGEST_NETWORK:
        raise ValueError(
            f"{shorten(cells_per_stack)} cells per stack of {len(EDGES)} edges each make more than the "
            f"{LARGEST_NETWORK:,} operations of the largest network: name a smaller size"
        )


def state_channels(cell: Cell, state: int, filters: int) -> int:
    """Count the channels of a fitted input or of a block's result: F, or 2F if the block concatenates."""
    concatenated = state >= INPUTS and cell.blocks[state - INPUTS].combine == "concat"
    return 2 * filters if concatenated else filters


def output_channels(cell: Cell, filters: int) -> int:
    """Count the channels that the cell puts out at F filters."""
    return sum(state_channels(cell, state, filters) for state in cell.output)


def parse_size(text: str, cells: CellPair) -> tuple[int, int]:
    """Read the papers' notation N @ P, as in ``6@4032``: give N cells per stack, and F filters in the first one.

    P counts the channels before the classifier (Zoph et al. 2017, section 4): 24F for NASNet-A, whose normal cell puts
    out six states, at 4F filters in the last stack.

    Raises:
        ValueError: if the text is no such notation, or no F gives this P.
    """
    match = _SIZE.fullmatch(text)
    if match is None or not int(match[1]):
        raise ValueError(f"a size is N@P, cells per stack and penultimate filters, as in 6@4032, not {shorten(text)!r}")
    cells_per_stack, penultimate = int(match[1]), int(match[2])
    share = plan_network(cells, cells_per_stack=cells_per_stack, filters=1).penultimate
    filters = penultimate // share
    if filters == 0 or filters * share != penultimate:
        near = sorted({max(filters, 1) * share, (filters + 1) * share})
        raise ValueError(
            f"{shorten(text)} does not fit this cell, whose penultimate filters are a multiple of {share}; "
            f"near it are {' and '.join(f'{cells_per_stack}@{other}' for other in near)}"
        )
    return cells_per_stack, filters
