"""Weights of a file taken over by a network that may differ from theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evo_nas.errors import UsageError
from evo_nas.phenotypes.blueprint import fits, load_network
from genotypes.genotype import shorten

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LoadReport:
    """The weights of a file that were taken over, and those that were not: names of tensors."""

    loaded: tuple[str, ...]
    resized: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield the report as lines of text, with the first few names of each kind."""
        yield f"{len(self.loaded)} tensors were loaded"
        for names, what in (
            (self.resized, "have another shape and start at random"),
            (self.missing, "are not in the file and start at random"),
            (self.unused, "of the file have no place in this network"),
        ):
            if names:
                yield f"{len(names)} {what}: {', '.join(map(shorten, names[:3]))}{', ...' if len(names) > 3 else ''}"


def load_fitting(network: nn.Module, file: Path) -> LoadReport:
    """Load every tensor whose name, shape and kind of number agree, the others stay as they are; say which.

    Raises:
        DataError: if the file is missing or damaged.
        UsageError: if less than half of the network's tensors are found in it: it is of another network.
    """
    _, tensors = load_network(file)
    own = network.state_dict()
    loaded = [name for name in own if name in tensors and fits(tensors[name], own[name])]
    resized = [name for name in own if name in tensors and name not in set(loaded)]
    if 2 * len(loaded) < len(own):
        raise UsageError(
            f"{file} holds the weights of another network: only {len(loaded)} of {len(own)} tensors have the name and "
            "shape of one here; give the same cells, N and F as in that training"
        )
    network.load_state_dict({name: tensors[name] for name in loaded}, strict=False)
    return LoadReport(
        tuple(loaded),
        tuple(resized),
        tuple(name for name in own if name not in tensors),
        tuple(name for name in tensors if name not in own),
    )
