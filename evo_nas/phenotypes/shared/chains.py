"""The weights that networks of chains of blocks share: of a block at a place (Guo et al. 2020; Chen et al. 2019)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from evo_nas.phenotypes.shared.pieces import Piece, weights_of, whole
from evo_nas.phenotypes.shufflenet import ShuffleNet
from genotypes.chain import Chain

_BLOCK: Final = re.compile(r"trunk\.blocks\.(\d+)\.(.+)")


def place_chain(network: ShuffleNet, chain: Chain) -> Mapping[str, tuple[Piece, ...]]:
    """Return the pieces of each weight: own ones per place and block."""
    pieces = {}
    for name in weights_of(network):
        found = _BLOCK.fullmatch(name)
        pieces[name] = whole(name if found is None else f"trunk/{found[1]}/{chain.blocks[int(found[1])]}/{found[2]}")
    return pieces
