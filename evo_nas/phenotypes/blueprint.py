"""A blueprint: all that is needed to build a network again, and the file in which it lies beside the weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evo_nas.errors import DataError
from evo_nas.phenotypes.plan import AVERAGES, SMALLEST_IMAGE, plan_network
from evo_nas.system.atomic import replace_whole
from genotypes.cell import CellPair
from genotypes.genotype import GenotypeError, shorten

if TYPE_CHECKING:
    from torch import Tensor

    from evo_nas.phenotypes.network import CellNetwork

_KEY: Final = "evo_nas.blueprint"
"""The entry of a safetensors file's metadata that holds the blueprint, as JSON."""

_LARGEST: Final = {"channels": 10_000, "image": 10_000}
"""Where the plan sets no limit; as on the command line."""


@dataclass(frozen=True)
class Blueprint:
    """A network but for its weights, and the images that it takes.

    Cells and sizes are what :class:`evo_nas.phenotypes.network.CellNetwork` takes. ``image`` is the side of an image in
    pixels; ``mean`` and ``std``, one number per channel, fractions in [0, 1], are what images are normalised with;
    ``classes`` are the names of the classes, in the order of the logits.

    Raises:
        ValueError: if no network can be planned like this, or there is not one mean and one deviation per channel.
    """

    cells: CellPair
    cells_per_stack: int
    filters: int
    classes: tuple[str, ...]
    macro: str = "cifar"
    channels: int = 3
    image: int = 32
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    stem: int | None = None
    skip_reduction_input: bool | None = None
    average: str = "same"

    def __post_init__(self) -> None:
        for name in ("cells_per_stack", "filters", "channels", "image", "stem"):
            value = getattr(self, name)
            least = SMALLEST_IMAGE if name == "image" else 1
            if (value is not None or name != "stem") and (type(value) is not int or value < least):
                raise ValueError(f"{name} must be a whole number of at least {least}, not {shorten(value)}")
            if value is not None and value > _LARGEST.get(name, value):
                raise ValueError(f"{name} must be at most {_LARGEST[name]}, not {shorten(value)}")
        if not (self.skip_reduction_input is None or isinstance(self.skip_reduction_input, bool)):
            raise ValueError(
                f"skip_reduction_input must be true, false or null, not {shorten(repr(self.skip_reduction_input))}"
            )
        if self.average not in AVERAGES:
            raise ValueError(f"average must be one of {', '.join(AVERAGES)}, not {shorten(self.average)}")
        plan_network(
            self.cells,
            macro=self.macro,
            cells_per_stack=self.cells_per_stack,
            filters=self.filters,
            stem=self.stem,
            skip_reduction_input=self.skip_reduction_input,
        )
        if not self.classes:
            raise ValueError("a network needs at least one class")
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std must have {self.channels} numbers, one per channel")
        if not all(math.isfinite(value) for value in self.mean) or not all(0 < value < math.inf for value in self.std):
            raise ValueError("mean must be finite, and std positive")

    @property
    def size(self) -> dict[str, Any]:
        """The numbers that decide the size of the network, as ``CellNetwork`` and ``cost_of`` take them."""
        names = ("macro", "cells_per_stack", "filters", "channels", "stem", "skip_reduction_input", "average")
        return {name: getattr(self, name) for name in names}

    def network(self, **training: Any) -> CellNetwork:
        """Build the network, with weights from torch's default generator; ``training`` are the options of training.

        Raises:
            GenotypeError: if a cell names an unknown operation or combination.
            ValueError: if the numbers make no network.
        """
        from evo_nas.phenotypes.network import CellNetwork

        return CellNetwork(self.cells, classes=len(self.classes), **self.size, **training)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: every field by its name."""
        return {**asdict(replace(self)), "cells": self.cells.to_json()}

    @classmethod
    def from_json(cls, record: object) -> Blueprint:
        """Read the JSON form.

        Raises:
            ValueError: if a field is missing, unknown, or impossible.
        """
        if not isinstance(record, Mapping):
            raise ValueError("a blueprint is a JSON object")
        names = {field.name for field in fields(cls)}
        if unknown := set(record) - names:
            raise ValueError(f"a blueprint has no field {shorten(min(unknown, key=str))!r}")
        if missing := {"cells", "cells_per_stack", "filters", "classes"} - set(record):
            raise ValueError(f"the blueprint lacks the field {min(missing)!r}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
        }
        for name, kind in (("classes", str), ("mean", (int, float)), ("std", (int, float))):
            value = values.get(name, ())
            if not isinstance(value, tuple) or not all(isinstance(item, kind) and item is not True for item in value):
                raise ValueError(f"{name} must be a list, not {shorten(value)}")
        try:
            return cls(**{**values, "cells": CellPair.from_json(record["cells"])})
        except (TypeError, OverflowError) as error:  # a dictionary for a name, a number beyond all floats
            raise ValueError(str(error)) from error


def save_network(path: Path, blueprint: Blueprint, tensors: Mapping[str, Tensor], **metadata: str) -> None:
    """Write weights with their blueprint to a safetensors file, whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    save_tensors(path, tensors, **{**metadata, _KEY: json.dumps(blueprint.to_json())})


def save_tensors(path: Path, tensors: Mapping[str, Tensor], **metadata: str) -> None:
    """Write weights alone, of a network that no blueprint describes, whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # A name of a folder may hold bytes that UTF-8 has not.
    told = {name: text.encode("utf-8", "backslashreplace").decode("utf-8") for name, text in metadata.items()}
    with replace_whole(path) as partial:
        partial.write_bytes(save(plain, told))


def load_network(path: Path) -> tuple[Blueprint | None, dict[str, Tensor]]:
    """Read the weights of a safetensors file, and their blueprint if they have one. Nothing in it is executed.

    Raises:
        DataError: if there is no such file, or it is damaged or something else.
    """
    from safetensors import SafetensorError, safe_open

    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise DataError(f"{path} is no file, so it holds no weights that can be read")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
    except FileNotFoundError as error:
        raise DataError(f"there is no file of weights {path}") from error
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path} holds no weights that can be read; it is cut short, or no safetensors file: "
            f"{shorten(str(error), 200)}"
        ) from error
    if _KEY not in metadata:
        return None, tensors
    try:
        return Blueprint.from_json(json.loads(metadata[_KEY])), tensors
    except (ValueError, GenotypeError, RecursionError) as error:
        raise DataError(f"the blueprint in {path} is damaged: {shorten(str(error), 200)}") from error


def load_whole(path: Path) -> tuple[Blueprint | None, dict[str, Tensor]]:
    """Read a file as :func:`load_network` does, and hold what it says of its network to the weights that it holds.

    Otherwise a few bytes could ask for a network that no memory holds. Without a blueprint there is nothing to compare.

    Raises:
        DataError: as there; or if the weights are not those of the network that the blueprint describes.
    """
    blueprint, tensors = load_network(path)
    if blueprint is None:
        return None, tensors
    try:
        found = difference(blueprint, tensors)
    except ValueError as error:
        raise DataError(f"the blueprint in {path} is damaged: {shorten(str(error), 200)}") from error
    if found is not None:
        raise DataError(f"{path} holds the weights of another network: {found}")
    return blueprint, tensors


def difference(blueprint: Blueprint, given: Mapping[str, Tensor]) -> str | None:
    """Return what differs first between the weights of a network and those of a file: names, shapes, kinds of numbers.

    An auxiliary classifier is passed over. The network is built without memory.

    Raises:
        GenotypeError: if a cell names an unknown operation or combination.
        ValueError: if the numbers make no network.
    """
    import torch

    with torch.device("meta"):
        expected = blueprint.network().state_dict()
    for name, tensor in expected.items():
        if name not in given:
            return f"it has no {name}"
        if given[name].shape != tensor.shape:
            return f"{name} has the shape {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
        if not fits(given[name], tensor):
            return f"{name} holds {given[name].dtype}, not {tensor.dtype}"
    more = [name for name in given if name not in expected and not name.startswith("auxiliary.")]
    return f"it has {shorten(min(more))} too" if more else None


def fits(given: Tensor, own: Tensor) -> bool:
    """Return whether a tensor of a file can take the place of a network's: the same shape, and numbers of its kind.

    Floats of 16 to 64 bits can stand in for each other, and so can whole numbers; nothing is dropped silently then.
    """
    import torch

    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    whole = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    return given.shape == own.shape and any(given.dtype in kind and own.dtype in kind for kind in (floats, whole))
