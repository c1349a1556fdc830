"""Weights of a file taken over by a network that may differ from theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evo_nas.errors import DataError, UsageError
from evo_nas.phenotypes.blueprint import Blueprint, load_network, load_whole
from evo_nas.phenotypes.tensors import fits, load_tensors
from genotypes.genotype import shorten

if TYPE_CHECKING:
    from torch import Tensor, nn


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


def load_weights(path: Path, own: str | None = None) -> tuple[Blueprint | None, dict[str, Tensor]]:
    """Read a file of weights as :func:`load_whole` does, or a state dict of torch (.pt, .pth); nothing is executed.

    A state dict may lie under ``state_dict`` or ``model``, and its names may begin with what ``DataParallel`` or
    ``torch.compile`` put before them.

    Raises:
        DataError: as there; or if the file holds no state dict, or more than tensors.
        UsageError: as there.
    """
    if path.suffix not in (".pt", ".pth"):
        return load_whole(path, own)
    import torch

    if not path.is_file():
        raise DataError(f"there is no file of weights {path}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged pickle does
        reason = shorten(str(error).strip().partition("\n")[0], 200)
        raise DataError(
            f"{path} holds no weights that can be read; it is cut short, no state dict, or holds code, which is not "
            f"executed: {reason}"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in found.items()
    ):
        raise DataError(f"{path} holds no state dict, which has a tensor for each name: save network.state_dict()")
    for prefix in ("module.", "_orig_mod."):
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return None, dict(found)


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
    load_tensors(network, {name: tensors[name] for name in loaded}, strict=False)
    return LoadReport(
        tuple(loaded),
        tuple(resized),
        tuple(name for name in own if name not in tensors),
        tuple(name for name in tensors if name not in own),
    )
