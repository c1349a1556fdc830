"""The published cells, as pairs with the output lists and the stacking of their released networks; pyramids, chains.

The cells are those that the released code builds. Where a transcription of a paper's figure differs from it, the
published counts of parameters and mult-adds decide (see docs/networks.md).
"""

from __future__ import annotations

from typing import Final

from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.chain import Chain, ChainSize
from genotypes.pyramid import Merge, Pyramid

_OPS: Final = {
    "id": "identity",
    "skip": "skip_connect",
    "avg3": "avg_pool_3x3",
    "max2": "max_pool_2x2",
    "max3": "max_pool_3x3",
    "sep3": "sep_conv_3x3",
    "sep5": "sep_conv_5x5",
    "sep7": "sep_conv_7x7",
    "dil3": "dil_sep_conv_3x3",
    "c1": "conv_1x1",
    "c3": "conv_3x3",
    "c17": "conv_1x7_7x1",
}
"""The operations, as the papers' figures abbreviate them."""


def _cell(blocks: str, output: str) -> Cell:
    """Read a cell as tables print it: in ``sep5 0 + sep3 1, ...`` each block adds two operations of a state."""
    read = []
    for block in blocks.split(","):
        left_op, left, _, right_op, right = block.split()
        read.append(Block(Edge(int(left), _OPS[left_op]), Edge(int(right), _OPS[right_op])))
    return Cell(tuple(read), tuple(map(int, output.split())))


NASNET_A: Final = CellPair(
    # State 1 is an output although blocks read it: 6F channels, not 5F. So is state 3 of the reduction cell.
    _cell("sep5 0 + sep3 1, sep5 1 + sep3 1, avg3 0 + id 1, avg3 1 + avg3 1, sep3 0 + id 0", "1 2 3 4 5 6"),
    _cell("sep5 0 + sep7 1, max3 0 + sep7 1, avg3 0 + sep5 1, id 3 + avg3 2, sep3 2 + max3 0", "3 4 5 6"),
)
"""NASNet-A (Zoph et al. 2017, figure 4), outputs as in the released code (tensorflow/models, slim/nets/nasnet)."""

AMOEBANET_A: Final = CellPair(
    _cell("avg3 0 + max3 0, sep3 1 + id 1, id 0 + avg3 1, sep3 0 + sep5 2, avg3 5 + sep3 0", "1 3 4 6"),
    _cell("sep3 1 + avg3 0, max3 0 + sep7 2, max3 1 + max3 0, sep3 4 + c17 0, avg3 1 + sep7 0", "2 3 4 5 6"),
    "amoebanet",
)
"""AmoebaNet-A (Real et al. 2018, figure 5), as released (tensorflow/tpu, models/official/amoeba_net)."""

AMOEBANET_B: Final = CellPair(
    _cell("c1 1 + max3 1, id 1 + sep3 0, c1 1 + sep3 0, c1 2 + id 2, avg3 1 + c1 5", "0 3 4 6"),
    # The paper's block 2 dilates its separable convolution; the released code reads the name and drops the rate.
    _cell("max2 0 + max3 0, id 2 + c3 1, sep5 2 + max3 2, id 3 + sep3 1, avg3 4 + c1 3", "5 6"),
    "amoebanet",
)
"""AmoebaNet-B (Real et al. 2018, supplement), as released (ibid.)."""

AMOEBANET_C: Final = CellPair(
    _cell("avg3 0 + sep3 0, id 0 + sep3 0, avg3 2 + sep3 1, id 0 + sep3 1, avg3 3 + sep3 0", "1 2 4 5 6"),
    _cell("max3 0 + max3 0, sep7 2 + sep3 0, sep7 0 + max3 1, sep5 4 + sep5 4, max3 1 + sep3 1", "0 2 3 4 5 6"),
    "amoebanet",
)
"""AmoebaNet-C (Real et al. 2018, supplement), as released (ibid.)."""

AMOEBANET_D: Final = CellPair(
    _cell("c1 1 + max3 1, id 1 + c17 0, c1 0 + c17 0, max3 2 + id 2, avg3 1 + c1 5", "0 3 4 6"),
    _cell("max2 0 + max3 0, id 2 + c3 1, c17 2 + max3 2, id 3 + max2 1, avg3 2 + c1 3", "4 5 6"),
    "amoebanet",
)
"""AmoebaNet-D, which has no paper: as released (ibid.)."""

# One cell, at stride 1 and at stride 2. State 4 is an output although block 3 reads it: 5F channels, not 4F.
_PNASNET_5: Final = _cell(
    "sep5 1 + max3 1, sep7 0 + max3 0, sep5 0 + sep3 0, sep3 4 + max3 0, sep3 1 + id 0", "2 3 4 5 6"
)
PNASNET_5: Final = CellPair(_PNASNET_5, _PNASNET_5, "pnasnet")
"""PNASNet-5 (Liu et al. 2017, figure 1), as released (tensorflow/models, slim/nets/nasnet/pnasnet.py)."""

# The released code of DARTS counts the inputs the other way round; here, as everywhere, 0 is h_i and 1 is h_{i-1}.
DARTS_V1: Final = CellPair(
    _cell("sep3 0 + sep3 1, skip 1 + sep3 0, skip 1 + sep3 0, sep3 1 + skip 2", "2 3 4 5"),
    _cell("max3 1 + max3 0, skip 2 + max3 1, max3 1 + skip 2, skip 2 + avg3 1", "2 3 4 5"),
    "darts",
)
"""The cells that first-order DARTS found (Liu et al. 2018), as released (quark0/darts, cnn/genotypes.py)."""

DARTS_V2: Final = CellPair(
    _cell("sep3 1 + sep3 0, sep3 1 + sep3 0, sep3 0 + skip 1, skip 1 + dil3 2", "2 3 4 5"),
    _cell("max3 1 + max3 0, skip 2 + max3 0, max3 1 + skip 2, skip 2 + max3 0", "2 3 4 5"),
    "darts",
)
"""The cells that second-order DARTS found (Liu et al. 2018, figures 4 and 5), as released (ibid.)."""

CELLS: Final[dict[str, CellPair]] = {
    "nasnet-a": NASNET_A,
    "amoebanet-a": AMOEBANET_A,
    "amoebanet-b": AMOEBANET_B,
    "amoebanet-c": AMOEBANET_C,
    "amoebanet-d": AMOEBANET_D,
    "pnasnet-5": PNASNET_5,
    "darts-v1": DARTS_V1,
    "darts-v2": DARTS_V2,
}
"""Name, as ``--cell`` takes it -> the published pair of cells."""

NAS_FPN: Final = Pyramid(
    (
        Merge(4, "attention", (1, 3)),
        Merge(4, "sum", (1, 5)),
        Merge(3, "sum", (0, 6)),
        Merge(4, "sum", (6, 7)),
        Merge(5, "attention", (7, 8)),
        Merge(7, "attention", (6, 9)),
        Merge(6, "attention", (9, 10)),
    )
)
"""The pyramid of NAS-FPN at 7 merging cells (Ghiasi et al. 2019), as released (tensorflow/tpu, detection/nasfpn.py)."""

PYRAMIDS: Final[dict[str, Pyramid]] = {"nas-fpn": NAS_FPN}
"""Name, as ``--cell`` takes it -> the published feature pyramid."""

_LARGE: Final = (8, 8, 16, 8)
_LARGE_GENE: Final = "0 0 3 1 2 1 0 2 | 0 3 1 2 3 3 2 0 | 2 1 1 3 2 0 2 2 2 1 3 1 0 3 3 3 | 1 3 3 3 3 3 3 3"
CHAINS: Final[dict[str, Chain]] = {
    "detnas-coco-fpn-300m": Chain.of_gene("2 1 2 0 | 2 1 1 2 | 3 3 1 3 0 0 3 1 | 3 1 3 2"),
    "detnas-coco-retinanet-300m": Chain.of_gene("2 3 1 1 | 3 2 1 3 | 3 1 1 1 3 3 2 0 | 3 3 3 3"),
    "detnas-coco-fpn-1.3g": Chain.of_gene(_LARGE_GENE, ChainSize(_LARGE, (96, 240, 480, 960), stem=48)),
    "detnas-coco-fpn-3.8g": Chain.of_gene(_LARGE_GENE, ChainSize(_LARGE, (172, 432, 864, 1728), stem=72, last=1728)),
    "single-path-one-shot": Chain.of_gene("2 1 0 1 | 2 0 2 0 | 2 0 2 3 0 0 0 0 | 3 2 3 3"),
}
"""Name, as ``--cell`` takes it -> the published chain.

DetNAS (Chen et al. 2019) as released (megvii-model/DetNAS, configs), and the network of single path one-shot (Guo et
al. 2019; megvii-model/SinglePathOneShot, README).
"""
