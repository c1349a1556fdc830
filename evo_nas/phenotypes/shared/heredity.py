"""Heredity: a child takes the weights over that it shares with its parent (Real et al. 2017, section 3.2).

What two networks share is decided by place, as in a supernet: the same operation on the same state of the same cell,
or the same block at the same place of a chain. Of designs that no supernet is known for it is what has the same name
and shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from evo_nas.phenotypes.shared.pieces import Piece, whole
from evo_nas.phenotypes.shared.supernet import SHARINGS
from evo_nas.phenotypes.tensors import fits


@torch.no_grad()
def hand_down(
    network: nn.Module, design: object, tensors: Mapping[str, Tensor], parent: nn.Module | None, parent_design: object
) -> float:
    """Copy into a network all weights, and statistics of batch norms, that it shares with its parent.

    ``tensors`` are the parent's, by name; ``parent`` is its network, which may be without memory, or ``None`` where
    names are all that is known. Returns the share of the network's weights that was taken over, a fraction in [0, 1].
    """
    given: dict[str, Tensor] = {}
    for name, pieces in _place(parent, parent_design, tensors).items():
        given |= {piece.name: part for piece, part in zip(pieces, _split(tensors[name], pieces), strict=True)}
    own, weights = network.state_dict(), dict(network.named_parameters())
    taken = total = 0
    for name, pieces in _place(network, design, own).items():
        for piece, part in zip(pieces, _split(own[name], pieces), strict=True):
            total += part.numel() * (name in weights)
            if (source := given.get(piece.name)) is not None and fits(source, part):
                part.copy_(source)
                taken += part.numel() * (name in weights)
    return taken / total if total else 0.0


def _place(network: nn.Module | None, design: object, names: Iterable[str]) -> Mapping[str, tuple[Piece, ...]]:
    """Return the pieces of each tensor of a network."""
    sharing: Any = SHARINGS.get(type(design))
    if network is None or sharing is None:
        return {name: whole(name) for name in names}
    found: Mapping[str, tuple[Piece, ...]] = sharing.place(network, design, names)
    return found


def _split(tensor: Tensor, pieces: tuple[Piece, ...]) -> tuple[Tensor, ...]:
    widths = [piece.channels for piece in pieces]
    return torch.split(tensor, widths, dim=1) if any(widths) else (tensor,)
