"""The vocabulary of cells: what an edge may do to a hidden state, and how a block joins two of them.

Names only. What an operation computes is written once, in :mod:`evo_nas.phenotypes.ops`, and a test holds the
two in step. Zoph et al. 2017 (NASNet), section 3.1, lists the thirteen operations of the NASNet space; the
5x5 average pooling appears in some descriptions of it and can be named in a space's ``ops``.
The 2x2 poolings are AmoebaNet's (tensorflow/tpu, models/official/amoeba_net), the last three operations DARTS's
(quark0/darts, cnn/operations.py).
"""

from __future__ import annotations

from typing import Final

OPERATIONS: Final[dict[str, str]] = {
    "identity": "the hidden state itself; at stride 2 or another width ReLU, 1x1 convolution, batch norm",
    "conv_1x3_3x1": "1x3 then 3x1 convolution, inside a bottleneck of 3/8 of the filters",
    "conv_1x7_7x1": "1x7 then 7x1 convolution, inside a bottleneck of 1/4 of the filters",
    "dil_conv_3x3": "3x3 convolution of dilation 2, inside a bottleneck of 1/4 of the filters",
    "avg_pool_3x3": "3x3 average pooling; padded pixels do not count",
    "avg_pool_5x5": "5x5 average pooling; padded pixels do not count",
    "avg_pool_2x2": "2x2 average pooling; padded pixels do not count",
    "max_pool_2x2": "2x2 max pooling",
    "max_pool_3x3": "3x3 max pooling",
    "max_pool_5x5": "5x5 max pooling",
    "max_pool_7x7": "7x7 max pooling",
    "conv_1x1": "1x1 convolution",
    "conv_3x3": "3x3 convolution, inside a bottleneck of 1/4 of the filters",
    "sep_conv_3x3": "3x3 depthwise-separable convolution, applied twice",
    "sep_conv_5x5": "5x5 depthwise-separable convolution, applied twice",
    "sep_conv_7x7": "7x7 depthwise-separable convolution, applied twice",
    "dil_sep_conv_3x3": "3x3 depthwise-separable convolution of dilation 2, applied once",
    "dil_sep_conv_5x5": "5x5 depthwise-separable convolution of dilation 2, applied once",
    "skip_connect": "the hidden state itself; at stride 2 or another width ReLU, factorized reduction",
}
"""Every operation that a cell can name, with a description in one line."""

COMBINES: Final[dict[str, str]] = {
    "add": "element-wise sum, F channels",
    "concat": "concatenation along the channels, 2F of them; whoever reads it fits it back to F",
    "add_layer_norm": "element-wise sum, then layer norm over channels and pixels, F channels",
    "add_instance_norm": "element-wise sum, then instance norm, F channels",
}
"""The ways in which a block joins its two results (Zoph et al. 2017, section 3.1, step 5).

The NASNet space has the first two; NASNet-B and NASNet-C were found in spaces with all four (ibid., appendix).
"""
