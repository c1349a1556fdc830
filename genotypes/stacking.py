"""The stackings of cells in which the papers' families of networks differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Stacking:
    """The decisions of a family besides its cells; the defaults are those of NASNet (Zoph et al. 2017, figure 2).

    ``in_place``: a reduction cell takes the place of the first normal cell of the second and the third stack, so that
    three stacks of N make 3N cells. Otherwise it comes before the stack, and they make 3N + 2.

    ``fits_always``: h_{i-1} gets a 1x1 convolution even where it has F channels, and so does the copy of h_i that the
    first cell reads in its place. Otherwise these two are read as they are.

    ``strided_stem``: for large images, three convolutions of stride 2 come before the first cell; otherwise one, and
    two reduction cells of F/4 and F/2 filters.

    ``stems`` are the filters of that one convolution, in small and in large networks; for small images it has 3F.

    ``large_skips``: in large networks for large images, the cell after a reduction cell reads as h_{i-1} what the
    reduction cell read as its own. Otherwise it reads the output of the cell before the reduction cell.

    ``auxiliary_after``: the auxiliary classifier reads the output of the second reduction cell; otherwise of the cell
    before it. ``auxiliary_share`` is the factor on its widths of 128 and 768.

    ``large_epsilon`` is batch norm's epsilon in networks for large images; in those for small ones it is 1e-5.
    """

    in_place: bool = False
    fits_always: bool = False
    strided_stem: bool = False
    stems: tuple[int, int] = (32, 96)
    large_skips: bool = False
    auxiliary_after: bool = False
    auxiliary_share: float = 1.0
    large_epsilon: float = 1e-3


LARGE: Final = 100
"""Filters from which on a network for large images is a large one: the papers have 44 and 54, and 168 and 216."""

STACKINGS: Final[dict[str, Stacking]] = {
    # tensorflow/models, slim/nets/nasnet/nasnet.py: the mobile and the large network differ in ``skip_reduction_...``.
    "nasnet": Stacking(large_skips=True),
    # tensorflow/tpu, models/official/amoeba_net: one stem for all sizes, and an auxiliary head of 0.4 of the widths.
    "amoebanet": Stacking(stems=(32, 32), auxiliary_share=0.4),
    # tensorflow/models, slim/nets/nasnet/pnasnet.py.
    "pnasnet": Stacking(in_place=True),
    # quark0/darts, cnn/model.py.
    "darts": Stacking(fits_always=True, strided_stem=True, auxiliary_after=True, large_epsilon=1e-5),
}
"""Name, as a pair of cells carries it -> how its networks are stacked."""
