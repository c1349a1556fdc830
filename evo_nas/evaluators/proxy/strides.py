"""Images that are too small for the strides of a network, as 8x8 digits for chains of a stride of 32.

Their last stages see one pixel, of which a depthwise convolution uses its centre alone, and hardly learn.
"""

from __future__ import annotations

import logging

import numpy as np

from genotypes.chain import Chain
from genotypes.space import SearchSpace

_log = logging.getLogger(__name__)


def find_stride(space: SearchSpace | None) -> int:
    """Return the pixels of an image per pixel of the last features, along a side, of chains of blocks; else 1."""
    design = None if space is None else space.decode(space.sample(np.random.default_rng(0)))
    return design.size.stride if isinstance(design, Chain) else 1


def warn_of_small_images(space: SearchSpace, side: int) -> None:
    """Log a line if images of ``side`` pixels are smaller than the stride of the networks of a space."""
    if side < (stride := find_stride(space)):
        _log.warning(
            "warning: images of %d pixels a side are smaller than the stride of %d of the chains of %s: their last "
            "stages see one pixel and hardly learn; --set evaluator.image_size=%d has a pixel for each",
            *(side, stride, space.spelling, stride),
        )
