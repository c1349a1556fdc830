"""The weights that networks of chains of blocks share: of a block at a place (Guo et al. 2020; Chen et al. 2019).

Of classifiers and of detectors these have the same names, so that a supernet of the one can begin with the weights of
the other (DetNAS, section 3.3: the supernet is trained on images first, then on boxes).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from torch import Tensor, nn

from evo_nas.phenotypes.detector import Detector, Tower
from evo_nas.phenotypes.named import spell_chain
from evo_nas.phenotypes.shared.pieces import Piece, weights_of, whole
from evo_nas.phenotypes.shufflenet import draw_chain
from genotypes.chain import Chain

TRUNK: Final = "trunk/"
"""How the names of the weights begin that classifiers and detectors have in common."""

_BLOCK: Final = re.compile(r"trunk\.blocks\.(\d+)\.(.+)")


def place_chain(
    network: nn.Module, chain: Chain, names: Iterable[str] | None = None
) -> Mapping[str, tuple[Piece, ...]]:
    """Return the pieces of each weight of a classifier or a detector, or of ``names``: own ones per place and block."""
    pieces = {}
    for path in weights_of(network) if names is None else names:
        name = path.removeprefix("backbone.")
        found = _BLOCK.fullmatch(name)
        pieces[path] = whole(name if found is None else f"trunk/{found[1]}/{chain.blocks[int(found[1])]}/{found[2]}")
    return pieces


def build_detector(chain: Chain, *, drop_path_keep: float, neck: str, **size: Any) -> Detector:
    """Build the detector whose backbone a chain is; the other options are the detector's own."""
    return Detector(spell_chain(chain), neck, **size)


def draw_detector(network: nn.Module, path: str) -> None:
    """Draw the weights of a layer of a detector as :class:`evo_nas.phenotypes.detector.Detector` has them."""
    part, _, rest = path.partition(".")
    layer = network.get_submodule(path)
    if part == "backbone":
        draw_chain(layer)
    elif part == "head":
        tower = network.get_submodule(f"{part}.{rest.partition('.')[0]}")
        cast("Tower", tower).draw(cast("nn.Conv2d", layer))


def place_anchors(network: nn.Module, like: Tensor) -> None:
    """Give a detector that was built without memory its anchors, of the type and on the device of ``like``."""
    detector = cast("Detector", network)
    detector.anchors = detector.make_anchors().to(like)
