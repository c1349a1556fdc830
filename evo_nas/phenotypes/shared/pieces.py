"""The pieces that a supernet keeps: a weight of a network is one of them, or several side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn

from genotypes.space import SearchSpace


class Piece(NamedTuple):
    """A part of a weight: its name in the supernet, and how many input channels it has; 0 where it is all of them."""

    name: str
    channels: int = 0


def is_of_norm(network: nn.Module, name: str) -> bool:
    """Return whether a tensor of a network, by its name, belongs to a batch norm."""
    return isinstance(network.get_submodule(name.rpartition(".")[0]), nn.BatchNorm2d)


def weights_of(network: nn.Module) -> Iterator[str]:
    """Yield the names of a network's weights but for those of batch norms, which a supernet does without."""
    for prefix, module in network.named_modules():
        if not isinstance(module, nn.BatchNorm2d):
            for name, _ in module.named_parameters(recurse=False):
                yield f"{prefix}.{name}" if prefix else name


def cover_options(space: SearchSpace) -> Iterator[Any]:
    """Yield designs in which every option of every decision stands at least once.

    They have every weight of a space in which a weight belongs to one option of one decision, or to all networks.
    """
    sizes = [len(decision.options) for decision in space.decisions]
    for turn in range(max(sizes)):
        yield space.decode(space.genotype([turn % size for size in sizes]))


def whole(name: str) -> tuple[Piece, ...]:
    """Return the one piece of a weight that all networks share; a piece's name has no dots."""
    return (Piece(name.replace(".", "/")),)
