"""Networks by name: published cells and chains, residual networks, those of torchvision and timm, and a user's own."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from evo_nas.errors import UsageError
from genotypes.cell import CellPair
from genotypes.chain import Chain
from genotypes.edge_cell import EdgeCell
from genotypes.genotype import GenotypeError, shorten
from genotypes.widths import Widths
from genotypes.zoo import CELLS, CHAINS

if TYPE_CHECKING:
    from torch import nn

OURS: Final = ("cell", "edges", "chain", "resnet")
"""What stands before the colon of our own networks, whose size anybody can choose."""

KNOWN: Final = ("torchvision", "timm", *OURS)
"""What stands before the colon where no code of a user's is imported."""

FORMS: Final = (
    "torchvision:resnet18, timm:NAME, cell:nasnet-a@1x16, chain:detnas-coco-fpn-300m, resnet:20x16 or your own as "
    "package.module:make"
)

WITHOUT_AUXILIARY: Final = {name: {"init_weights": True, "aux_logits": False} for name in ("googlenet", "inception_v3")}
"""Options of torchvision's networks whose auxiliary classifiers would take no part in evaluation."""

_CELL: Final = re.compile(r"([a-z0-9-]+)(?:@([1-9][0-9]{0,3})x([1-9][0-9]{0,4}))?")
_EDGES: Final = re.compile(r"(\|.+\|)@([1-9][0-9]{0,3})x([1-9][0-9]{0,4})")
_RESNET: Final = re.compile(r"([1-9][0-9]{0,3})(?:x([1-9][0-9]{0,4}))?")


def is_foreign(name: str) -> bool:
    """Return whether a name is that of a user's own network, as ``package.module:make``, whose code is imported."""
    return name.partition(":")[0] not in KNOWN


def is_foreign_backbone(name: str) -> bool:
    """Return whether the name of a backbone is that of a user's own network; our own stages are of no package."""
    return ":" in name and not name.startswith(("residual:", "plain:")) and is_foreign(name)


def refuse_foreign(design: object, own: str | None) -> None:
    """Raise if a design that was read as data is one of a user's own network, and that is not ``own``.

    The network is that of widths, or the backbone of a detector by its name. Data alone imports no code.

    Raises:
        UsageError: naming the network, and the flag.
    """
    network = design.network if isinstance(design, Widths) else design if isinstance(design, str) else None
    if own is not None and own != network:
        raise UsageError(f"--network names {shorten(own)}, and these are not widths of it")
    if network is not None and network != own and is_foreign_backbone(network):
        what = "these widths are" if isinstance(design, Widths) else "the backbone of this detector is that"
        raise UsageError(
            f"{what} of the network {shorten(network)}, whose code no file can name alone; name it too, with "
            f"--network {shorten(network)}"
        )


def spell_name(name: str, *, cells_per_stack: int, filters: int) -> str:
    """Return the name of a network with its size, where it is one of cells that leaves the size open.

    Raises:
        UsageError: if no network has such a name.
    """
    kind, colon, rest = name.partition(":")
    if not (kind and colon and rest):
        raise UsageError(f"{shorten(name)!r} names no network; write {FORMS}")
    if kind != "cell":
        return name
    if rest.startswith("{"):
        return name
    match = _CELL.fullmatch(rest)
    if match is None or match[1] not in CELLS:
        raise UsageError(
            f"{shorten(name)!r} names no network of cells; write cell:NAME, or cell:NAME@CxF for C cells per stack and "
            f"F filters, with one of {', '.join(CELLS)}"
        )
    return name if match[2] else f"{name}@{cells_per_stack}x{filters}"


def spell_cells(cells: CellPair, size: Mapping[str, Any]) -> str:
    """Return the name of a network of cells, of a ``size`` as ``CellNetwork`` takes it, but for the images."""
    size = {name: value for name, value in size.items() if value is not None and name != "channels"}
    plain = {"macro": "cifar", "average": "same"} | {name: size[name] for name in ("cells_per_stack", "filters")}
    if size == plain and (known := next((name for name, pair in CELLS.items() if pair == cells), None)):
        return f"cell:{known}@{size['cells_per_stack']}x{size['filters']}"
    return "cell:" + json.dumps({"cells": cells.to_json(), **size})


def spell_edges(cell: EdgeCell, *, cells_per_stack: int, filters: int) -> str:
    """Return the name of a network of a cell of edges."""
    return f"edges:{cell.architecture}@{cells_per_stack}x{filters}"


def spell_chain(chain: Chain) -> str:
    """Return the name of a network of a chain: of a published one ``chain:NAME``, of any other ``chain:{...}``."""
    known = next((name for name, other in CHAINS.items() if other == chain), None)
    return f"chain:{known or json.dumps(chain.to_json())}"


def build_by_name(name: str, *, classes: int, channels: int, image_size: int) -> nn.Module:
    """Build a classifier of images of ``image_size`` pixels a side, with weights from torch's default generator.

    ``torchvision:NAME`` and ``timm:NAME`` are networks of these libraries without their weights; ``resnet:DEPTHxF``
    is :class:`evo_nas.phenotypes.resnet.ResNet`; ``cell:NAME@CxF`` a published cell in a network of C cells per stack
    and F filters; ``cell:{...}`` any cells, as :func:`spell_cells` spells them. ``edges:ARCHITECTURE@NxC`` is a cell of
    NAS-Bench-201 in a network of N cells per stack and C filters. ``chain:NAME`` is a published chain of blocks, and
    ``chain:{...}`` any, as :func:`spell_chain` spells it. ``package.module:make`` imports the module and calls
    ``make`` with those of the keywords ``classes``, ``channels`` and ``image_size`` that it takes.

    Raises:
        UsageError: if there is no such network, a package is missing, or what is made is no torch module.
    """
    from torch import nn

    name = spell_name(name, cells_per_stack=1, filters=8)
    kind, _, rest = name.partition(":")
    maker: Callable[..., object] = {
        "torchvision": _build_of_torchvision,
        "timm": _build_of_timm,
        "cell": _build_cells,
        "edges": _build_edges,
        "chain": _build_chain,
        "resnet": _build_resnet,
    }.get(kind, _build_foreign)
    network = maker(rest if kind in KNOWN else name, classes=classes, channels=channels, image_size=image_size)
    if not isinstance(network, nn.Module):
        raise UsageError(f"{shorten(name)} returned {shorten(repr(network))}, which is no torch module")
    return network


def _build_of_torchvision(name: str, *, classes: int, channels: int, image_size: int) -> nn.Module:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise UsageError(
            f"torchvision has no classifier of images {shorten(name)!r}; see torchvision.models.list_models()"
        )
    network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **WITHOUT_AUXILIARY.get(name, {}))
    if channels != 3:
        _take_channels(network, channels)
    return network


def _take_channels(network: nn.Module, channels: int) -> None:
    """Replace the first convolution by one that reads images of so many channels."""
    from torch import nn

    for path, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3:
            parent, _, attribute = path.rpartition(".")
            like: dict[str, Any] = {
                name: getattr(module, name)
                for name in ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
            }
            fresh = nn.Conv2d(channels, module.out_channels, bias=module.bias is not None, **like)
            setattr(network.get_submodule(parent), attribute, fresh)
            return
    raise UsageError(f"no convolution of {type(network).__name__} reads 3 channels, so it cannot read {channels}")


def _build_of_timm(name: str, *, classes: int, channels: int, image_size: int) -> Any:
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise UsageError("timm:NAME needs timm: pip install timm") from error
    if not timm.is_model(name):
        raise UsageError(f"timm has no network {shorten(name)!r}; see timm.list_models()")
    return timm.create_model(name, pretrained=False, num_classes=classes, in_chans=channels)


def _build_cells(name: str, *, classes: int, channels: int, image_size: int) -> nn.Module:
    from evo_nas.phenotypes.network import CellNetwork

    cells, size = read_cells(name)
    try:
        return CellNetwork(cells, classes=classes, channels=channels, **size)
    except (TypeError, ValueError) as error:
        raise UsageError(f"no network of cells is like this: {shorten(str(error), 200)}") from error


def read_cells(name: str) -> tuple[CellPair, dict[str, Any]]:
    """Return the cells and the size of which a name speaks, without its ``cell:``.

    Raises:
        UsageError: if it speaks of none.
    """
    if match := _CELL.fullmatch(name):
        return CELLS[match[1]], {"cells_per_stack": int(match[2]), "filters": int(match[3])}
    try:
        size = json.loads(name)
        return CellPair.from_json(size.pop("cells")), size
    except (ValueError, KeyError, RecursionError) as error:
        raise UsageError(f"cell:{{...}} names no network of cells: {shorten(str(error), 200)}") from error


def _build_edges(name: str, *, classes: int, channels: int, image_size: int) -> nn.Module:
    from evo_nas.phenotypes.edges import build_edges

    cell, size = read_edges(name)
    try:
        return build_edges(cell, classes=classes, channels=channels, **size)
    except ValueError as error:
        raise UsageError(f"edges:{shorten(name)}: {error}") from error


def read_edges(name: str) -> tuple[EdgeCell, dict[str, Any]]:
    """Return the cell of edges and the size of which a name speaks, without its ``edges:``.

    Raises:
        UsageError: if it speaks of none.
    """
    match = _EDGES.fullmatch(name)
    if match is None:
        raise UsageError(f"a network of a cell of edges is edges:ARCHITECTURE@NxC, not edges:{shorten(name)}")
    try:
        return EdgeCell.parse(match[1]), {"cells_per_stack": int(match[2]), "filters": int(match[3])}
    except GenotypeError as error:
        raise UsageError(str(error)) from error


def _build_chain(name: str, *, classes: int, channels: int, image_size: int) -> nn.Module:
    from evo_nas.phenotypes.shufflenet import ShuffleNet

    return ShuffleNet(read_chain(name), classes=classes, channels=channels)


def read_chain(name: str) -> Chain:
    """Return the chain of blocks of which a name speaks, without its ``chain:``.

    Raises:
        UsageError: if it speaks of none.
    """
    if not name.startswith("{"):
        if name not in CHAINS:
            raise UsageError(f"there is no published chain {shorten(name)!r}; there are: {', '.join(CHAINS)}")
        return CHAINS[name]
    try:
        return Chain.from_json(json.loads(name))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"chain:{{...}} names no chain of blocks: {shorten(str(error), 200)}") from error


def _build_resnet(name: str, *, classes: int, channels: int, image_size: int) -> nn.Module:
    from evo_nas.phenotypes.resnet import ResNet

    try:
        return ResNet(*read_resnet(name), classes=classes, channels=channels)
    except ValueError as error:
        raise UsageError(f"resnet:{name}: {error}") from error


def read_resnet(name: str) -> tuple[int, int]:
    """Return the depth and the filters of a residual network of which a name speaks, without its ``resnet:``.

    Raises:
        UsageError: if it speaks of none.
    """
    from evo_nas.phenotypes.resnet import FILTERS

    if (match := _RESNET.fullmatch(name)) is None:
        raise UsageError(f"a residual network is resnet:DEPTH or resnet:DEPTHxFILTERS, not {shorten(name)!r}")
    return int(match[1]), int(match[2] or FILTERS)


def _build_foreign(name: str, **size: int) -> object:
    make, taken = find_maker(name)
    try:
        return make(**{key: size[key] for key in taken})
    except Exception as error:  # whatever the user's code does
        raise _explain(name, error) from error


def find_maker(name: str) -> tuple[Callable[..., object], list[str]]:
    """Import a user's own function of this name, and find out which keywords of ``build_by_name`` it takes.

    Raises:
        UsageError: if there is none.
    """
    module, _, attribute = name.partition(":")
    try:
        make = getattr(importlib.import_module(module), attribute)
        taken = inspect.signature(make).parameters
    except Exception as error:  # whatever the user's code does
        raise _explain(name, error) from error
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken.values())
    return make, [key for key in ("classes", "channels", "image_size") if takes_all or key in taken]


def _explain(name: str, error: Exception) -> UsageError:
    reason = f"{type(error).__name__}: {shorten(str(error), 200)}"
    return UsageError(f"cannot make the network {shorten(name)}: {reason}")
