"""A blueprint: all that is needed to build a network again, and the file in which it lies beside the weights."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evo_nas.errors import DataError
from evo_nas.phenotypes.named import refuse_foreign
from evo_nas.phenotypes.plan import AVERAGES, SMALLEST_IMAGE, check_edge_size, plan_network
from evo_nas.phenotypes.tensors import fits
from evo_nas.system.atomic import replace_whole
from genotypes.cell import CellPair
from genotypes.chain import Chain
from genotypes.edge_cell import EdgeCell
from genotypes.genotype import GenotypeError, shorten
from genotypes.pyramid import Pyramid
from genotypes.widths import Widths

if TYPE_CHECKING:
    from torch import Tensor, nn

    from evo_nas.phenotypes.detector import Detector
    from evo_nas.phenotypes.edges import EdgeNetwork
    from evo_nas.phenotypes.network import CellNetwork
    from evo_nas.phenotypes.shufflenet import ShuffleNet

_KEY: Final = "evo_nas.blueprint"
"""The entry of a safetensors file's metadata that holds the blueprint, as JSON."""

_LARGEST: Final = {"channels": 10_000, "image": 10_000}
"""Where the plan sets no limit; as on the command line."""


@dataclass(frozen=True, kw_only=True)
class Blueprint(ABC):
    """A network but for its weights, and the images that it takes: of cells, widths or a chain, or a detector.

    ``image`` is the side of an image in pixels; ``mean`` and ``std``, one number per channel, fractions in [0, 1], are
    what images are normalised with; ``classes`` are the names of the classes, in the order of the logits.

    Raises:
        ValueError: if no images are like this, or there is not one mean and one deviation per channel.
    """

    classes: tuple[str, ...]
    channels: int = 3
    image: int = 32
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        self._check_whole("channels")
        self._check_whole("image", SMALLEST_IMAGE)
        if not self.classes:
            raise ValueError("a network needs at least one class")
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std must have {self.channels} numbers, one per channel")
        if not all(math.isfinite(value) for value in self.mean) or not all(0 < value < math.inf for value in self.std):
            raise ValueError("mean must be finite, and std positive")

    def _check_whole(self, name: str, least: int = 1) -> None:
        value = getattr(self, name)
        if type(value) is not int or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, not {shorten(value)}")
        if value > _LARGEST.get(name, value):
            raise ValueError(f"{name} must be at most {_LARGEST[name]}, not {shorten(value)}")

    @property
    @abstractmethod
    def design(self) -> CellPair | EdgeCell | Widths | Chain | Pyramid | str:
        """The cells, the cell, the widths, the chain, or the neck."""

    @abstractmethod
    def network(self, **training: Any) -> nn.Module:
        """Build the network, with weights from torch's default generator; ``training`` are the options of training.

        Raises:
            GenotypeError: if a cell names an unknown operation or combination.
            ValueError: if the numbers make no network.
            UsageError: if the network that widths name cannot be made, or has other groups of channels.
        """

    def ghost(self) -> Any:
        """Build the network with shapes and no numbers, so that it takes no memory; raises what ``network`` raises."""
        import torch

        with torch.device("meta"):
            return self.network()

    def strip(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors without those that only training needs."""
        return dict(tensors)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: every field by its name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value.to_json() if hasattr(value, "to_json") else value for name, value in values.items()}

    @staticmethod
    def from_json(record: object) -> Blueprint:
        """Read the JSON form of any kind.

        Raises:
            ValueError: if a field is missing, unknown, or impossible.
        """
        if not isinstance(record, Mapping):
            raise ValueError("a blueprint is a JSON object")
        kinds: dict[str, type[Blueprint]] = {
            "widths": WidthsBlueprint,
            "edges": EdgeBlueprint,
            "neck": DetectorBlueprint,
            "chain": ChainBlueprint,
        }
        kind = next((kind for name, kind in kinds.items() if name in record), CellBlueprint)
        if unknown := set(record) - {field.name for field in fields(kind)}:
            raise ValueError(f"a blueprint has no field {shorten(min(unknown, key=str))!r}")
        if missing := {field.name for field in fields(kind) if field.default is MISSING} - set(record):
            raise ValueError(f"the blueprint lacks the field {min(missing)!r}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
        }
        for name, of in (("classes", str), ("mean", (int, float)), ("std", (int, float))):
            value = values.get(name, ())
            if not isinstance(value, tuple) or not all(isinstance(item, of) and item is not True for item in value):
                raise ValueError(f"{name} must be a list, not {shorten(value)}")
        for name, design in (("cells", CellPair), ("edges", EdgeCell), ("widths", Widths), ("chain", Chain)):
            if name in record:
                values[name] = design.from_json(record[name])
        if isinstance(record.get("neck"), Mapping):
            values["neck"] = Pyramid.from_json(record["neck"])
        try:
            return kind(**values)
        except (TypeError, OverflowError) as error:  # a dictionary for a name, a number beyond all floats
            raise ValueError(str(error)) from error


@dataclass(frozen=True)
class CellBlueprint(Blueprint):
    """A network of cells but for its weights, and the images that it takes.

    Cells and sizes are what :class:`evo_nas.phenotypes.network.CellNetwork` takes.

    Raises:
        ValueError: if no network can be planned like this, or no images are like this.
    """

    cells: CellPair
    cells_per_stack: int
    filters: int
    macro: str = "cifar"
    stem: int | None = None
    skip_reduction_input: bool | None = None
    average: str = "same"

    def __post_init__(self) -> None:
        for name in ("cells_per_stack", "filters", *(() if self.stem is None else ("stem",))):
            self._check_whole(name)
        super().__post_init__()
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

    @property
    def design(self) -> CellPair:
        """The cells."""
        return self.cells

    @property
    def size(self) -> dict[str, Any]:
        """The numbers that decide the size of the network, as ``CellNetwork`` and ``cost_of`` take them."""
        names = ("macro", "cells_per_stack", "filters", "channels", "stem", "skip_reduction_input", "average")
        return {name: getattr(self, name) for name in names}

    def network(self, **training: Any) -> CellNetwork:
        """Build the network."""
        from evo_nas.phenotypes.network import CellNetwork

        return CellNetwork(self.cells, classes=len(self.classes), **self.size, **training)

    def strip(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors without those of an auxiliary classifier."""
        return {name: tensor for name, tensor in tensors.items() if not name.startswith("auxiliary.")}


@dataclass(frozen=True)
class EdgeBlueprint(Blueprint):
    """A network of a cell of edges, as those of NAS-Bench-201, but for its weights, and the images that it takes.

    Raises:
        ValueError: if no network has this size, or no images are like this.
    """

    edges: EdgeCell
    cells_per_stack: int
    filters: int

    def __post_init__(self) -> None:
        for name in ("cells_per_stack", "filters"):
            self._check_whole(name)
        super().__post_init__()
        check_edge_size(self.cells_per_stack, self.filters)

    @property
    def design(self) -> EdgeCell:
        """The cell."""
        return self.edges

    @property
    def size(self) -> dict[str, Any]:
        """The numbers that decide the size of the network, as ``build_edges`` takes them."""
        return {name: getattr(self, name) for name in ("cells_per_stack", "filters", "channels")}

    def network(self, **training: Any) -> EdgeNetwork:
        """Build the network, on which no option of training has an effect."""
        from evo_nas.phenotypes.edges import build_edges

        return build_edges(self.edges, classes=len(self.classes), **self.size)


@dataclass(frozen=True)
class WidthsBlueprint(Blueprint):
    """A network of widths but for its weights, and the images that it takes."""

    widths: Widths

    @property
    def design(self) -> Widths:
        """The widths."""
        return self.widths

    @property
    def size(self) -> dict[str, Any]:
        """The numbers of the images, as :func:`evo_nas.phenotypes.named.build_by_name` takes them."""
        return {"classes": len(self.classes), "channels": self.channels, "image_size": self.image}

    def network(self, **training: Any) -> nn.Module:
        """Build the network, on which no option of training has an effect."""
        from evo_nas.phenotypes.widths.draw import build_widths

        return build_widths(self.widths, **self.size)

    def ghost(self) -> nn.Module:
        """Build the network without memory."""
        from evo_nas.phenotypes.widths.draw import build_ghost, build_widths

        return build_widths(self.widths, build=build_ghost, **self.size)


@dataclass(frozen=True)
class ChainBlueprint(Blueprint):
    """A network of a chain of blocks but for its weights, and the images that it takes."""

    chain: Chain

    @property
    def design(self) -> Chain:
        """The chain."""
        return self.chain

    def network(self, **training: Any) -> ShuffleNet:
        """Build the network, on which no option of training has an effect."""
        from evo_nas.phenotypes.shufflenet import ShuffleNet

        return ShuffleNet(self.chain, classes=len(self.classes), channels=self.channels)


@dataclass(frozen=True)
class DetectorBlueprint(Blueprint):
    """A detector but for its weights, and the images that it takes: ``image`` is the side of its canvas.

    The other fields are those of :class:`evo_nas.phenotypes.detector.Detector`.
    """

    backbone: str
    neck: Pyramid | str
    width: int
    repeats: int
    depth: int
    finest_stride: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "repeats", "finest_stride"):
            self._check_whole(name)
        self._check_whole("depth", 0)
        if not isinstance(self.backbone, str) or not isinstance(self.neck, str | Pyramid):
            raise ValueError("backbone must be a name, and neck a name or a pyramid")

    @property
    def design(self) -> Pyramid | str:
        """The neck."""
        return self.neck

    def network(self, **training: Any) -> Detector:
        """Build the detector, on which no option of training has an effect."""
        from evo_nas.phenotypes.detector import Detector

        sizes = {name: getattr(self, name) for name in ("channels", "width", "repeats", "depth", "finest_stride")}
        return Detector(self.backbone, self.neck, classes=len(self.classes), canvas=self.image, **sizes)


BLUEPRINTS: Final[dict[type, Any]] = {
    CellPair: CellBlueprint,
    EdgeCell: EdgeBlueprint,
    Widths: WidthsBlueprint,
    Chain: ChainBlueprint,
}
"""Kind of a decoded object -> the blueprint of its classifier, which takes it first."""


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

    if (best := path / "best.safetensors").is_file():
        raise DataError(f"{path} is the folder of a training: name the weights in it, {best}")
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


def load_whole(path: Path, own: str | None = None) -> tuple[Blueprint | None, dict[str, Tensor]]:
    """Read a file as :func:`load_network` does, and hold what it says of its network to the weights that it holds.

    Otherwise a few bytes could ask for a network that no memory holds. Without a blueprint there is nothing to compare.
    ``own`` is a user's own network that the file may name.

    Raises:
        DataError: as there; or if the weights are not those of the network that the blueprint describes.
        UsageError: if that is a user's own network, and not ``own``; or it cannot be made.
    """
    blueprint, tensors = load_network(path)
    if blueprint is None:
        return None, tensors
    refuse_foreign(blueprint.backbone if isinstance(blueprint, DetectorBlueprint) else blueprint.design, own)
    try:
        found = difference(blueprint, tensors)
    except ValueError as error:
        raise DataError(f"the blueprint in {path} is damaged: {shorten(str(error), 200)}") from error
    if found is not None:
        raise DataError(f"{path} holds the weights of another network: {found}")
    return blueprint, tensors


def difference(blueprint: Blueprint, given: Mapping[str, Tensor]) -> str | None:
    """Return what differs first between the weights of a network and those of a file: names, shapes, kinds of numbers.

    What only training needs is passed over. The network is built without memory.

    Raises:
        GenotypeError: if a cell names an unknown operation or combination.
        ValueError: if the numbers make no network.
        UsageError: if the network that widths name cannot be made, or has other groups of channels.
    """
    if isinstance(blueprint, WidthsBlueprint) and (found := _differs_early(blueprint, given)):
        return found
    if isinstance(blueprint, DetectorBlueprint) and max(blueprint.repeats, blueprint.depth) > len(given):
        return (
            f"it has {len(given)} tensors, too few for {blueprint.repeats} repetitions and towers of {blueprint.depth}"
        )
    expected = blueprint.ghost().state_dict()
    for name, tensor in expected.items():
        if name not in given:
            return f"it has no {name}"
        if given[name].shape != tensor.shape:
            return f"{name} has the shape {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
        if not fits(given[name], tensor):
            return f"{name} holds {given[name].dtype}, not {tensor.dtype}"
    more = [name for name in blueprint.strip(given) if name not in expected]
    return f"it has {shorten(min(more))} too" if more else None


def _differs_early(blueprint: WidthsBlueprint, given: Mapping[str, Tensor]) -> str | None:
    """Return what can be seen without tracing the network, which takes long where depth or widths are made up."""
    from evo_nas.phenotypes.widths.draw import build_ghost

    channels, numbers = sum(blueprint.widths.widths.values()), sum(tensor.numel() for tensor in given.values())
    if channels > numbers:
        return f"it has {numbers:,} numbers, fewer than the {channels:,} channels"
    names = build_ghost(blueprint.widths.network, **blueprint.size).state_dict()
    missing = next((name for name in names if name not in given), None)
    return None if missing is None else f"it has no {missing}"
