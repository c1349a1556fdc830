"""The command ``count``: parameters and mult-adds of the network of given cells, widths, chain or feature pyramid."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any, Final

from evo_nas.commands.base import Parser, add_cells, add_json, add_size, whole
from evo_nas.errors import UsageError
from genotypes.chain import Chain
from genotypes.edge_cell import EdgeCell
from genotypes.genotype import shorten
from genotypes.individual import Cost
from genotypes.pyramid import Pyramid
from genotypes.widths import Widths

if TYPE_CHECKING:
    from evo_nas.commands.cell_sources import CellSource

DETECTOR: Final[dict[str, Any]] = {
    "backbone": "torchvision:resnet50",
    "width": 256,
    "repeats": 1,
    "depth": 4,
    "finest_stride": 8,
    "anchors": 9,
}
"""The detector of Ghiasi et al. 2019, whose images have 640 pixels a side and whose head has 91 classes."""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    add_cells(parser)
    add_size(parser, macro=None)
    parser.add_argument(
        "--image-size",
        metavar="PIXELS",
        type=whole(10**4),
        help="side of the image (default: 32, 224 for imagenet and chains, 640 for detectors)",
    )
    parser.add_argument(
        "--channels", metavar="C", type=whole(10**4), default=3, help="channels of the image (default: 3)"
    )
    parser.add_argument(
        "--classes",
        metavar="K",
        type=whole(10**6),
        help="number of classes (default: 10, 1000 for imagenet and chains, 91 for detectors)",
    )
    detector = parser.add_argument_group("of feature pyramids, the detector around them (default: as published)")
    detector.add_argument("--neck", metavar="NAME", help="in place of a pyramid: none or fpn, to compare with")
    detector.add_argument("--backbone", metavar="NAME", help=f"as in thin or timm:NAME ({DETECTOR['backbone']})")
    for name, metavar, what in (
        ("width", "W", "channels of the pyramid"),
        ("repeats", "R", "how often its merging cells are stacked"),
        ("depth", "D", "convolutions of the head's towers"),
        ("finest-stride", "S", "stride of level 3"),
        ("anchors", "A", "anchors per cell of a level"),
    ):
        least = 0 if name == "depth" else 1
        default = DETECTOR[name.replace("-", "_")]
        detector.add_argument(f"--{name}", metavar=metavar, type=whole(10**4, least), help=f"{what} ({default})")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the counts."""
    from evo_nas.commands.cell_sources import find_design

    given = {name: getattr(arguments, name) for name in DETECTOR if getattr(arguments, name) is not None}
    if arguments.neck is not None:
        if arguments.source is not None or arguments.cell is not None:
            raise UsageError("--neck stands in place of a pyramid: name one of both")
        _print_detector(arguments.neck, arguments.neck, given, arguments)
        return
    source = find_design(arguments.source, arguments.cell, arguments.trial, arguments.network)
    if isinstance(source.design, Pyramid):
        _print_detector(source.label, source.design, given, arguments)
        return
    if given:
        name = next(iter(given)).replace("_", "-")
        raise UsageError(f"--{name} is for detectors, and {shorten(source.label)} is no feature pyramid")
    is_large = arguments.macro == "imagenet" or isinstance(source.design, Chain)
    result = count(
        source,
        size=arguments.size,
        macro=arguments.macro,
        cells_per_stack=arguments.cells_per_stack,
        filters=arguments.filters,
        stem=arguments.stem,
        image=arguments.image_size or (224 if is_large else 32),
        channels=arguments.channels,
        classes=arguments.classes or (1000 if is_large else 10),
    )
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['parameters']:,} parameters")
    print(f"{result['mult_adds']:,} mult-adds per image of {result['image']}x{result['image']}")
    if parts := result.get("parts"):
        words = (f"{name} {cost['parameters']:,} and {cost['mult_adds']:,}" for name, cost in parts.items())
        print(f"of these {', '.join(words)}")


def count(
    source: CellSource, *, size: str | None, macro: str | None, image: int, classes: int, **numbers: Any
) -> dict[str, Any]:
    """Count parameters and mult-adds of the network that is made of these cells or blocks, or has these widths.

    ``numbers`` are ``cells_per_stack``, ``filters``, ``stem`` and ``channels``; in place of the first two, ``size`` may
    be N@P, as in 6@4032.

    Raises:
        UsageError: if the size is not given, given twice, or no network has it.
    """
    from evo_nas.phenotypes.cost import cost_of
    from evo_nas.phenotypes.plan import plan_network

    if isinstance(source.design, Widths | Chain):
        channels = numbers.pop("channels")
        refuse_cell_size(source, size=size, macro=macro, **numbers)
        if isinstance(source.design, Chain):
            return _count_chain(source.design, classes=classes, channels=channels, image_size=image)
        return _count_widths(source.design, classes=classes, channels=channels, image_size=image)
    if isinstance(source.design, EdgeCell):
        return _count_edges(source, size=size, macro=macro, image=image, classes=classes, **numbers)
    macro = macro or "cifar"
    try:
        numbers |= read_size(source, size, numbers.pop("cells_per_stack"), numbers.pop("filters"))
        cost = cost_of(source.cells, image=image, classes=classes, macro=macro, **numbers)
        planning = {name: value for name, value in numbers.items() if name != "channels"}
        plan = plan_network(source.cells, macro=macro, **planning)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return {
        "parameters": cost.parameters,
        "mult_adds": cost.mult_adds,
        "macro": macro,
        **numbers,
        "stem": plan.stem,
        "penultimate": plan.penultimate,
        "image": image,
        "classes": classes,
    }


def _print_detector(label: str, neck: Pyramid | str, given: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Print the counts of a detector with this neck, part by part."""
    for name in ("macro", "size", "cells_per_stack", "filters", "stem"):
        if getattr(arguments, name) is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} is for networks of cells; {shorten(label)} is part of a detector, which "
                "has --width and --repeats"
            )
    told = DETECTOR | given
    image, classes = arguments.image_size or 640, arguments.classes or 91
    costs = count_detector(neck, image=image, classes=classes, channels=arguments.channels, **told)
    if arguments.json:
        parts = {name: {"parameters": cost.parameters, "mult_adds": cost.mult_adds} for name, cost in costs.items()}
        record = {**parts.pop("detector"), "parts": parts, **told, "channels": arguments.channels}
        print(json.dumps({**record, "image": image, "classes": classes}, indent=2))
        return
    for name, cost in costs.items():
        print(f"{name:<8}  {cost.parameters:>13,} parameters  {cost.mult_adds:>17,} mult-adds")
    repeated = f" x{told['repeats']}" if isinstance(neck, Pyramid) else ""
    print(f"per image of {image}x{image}, backbone {told['backbone']}, neck {label} of width {told['width']}{repeated}")


def count_detector(neck: Pyramid | str, *, image: int, classes: int, channels: int, **size: Any) -> dict[str, Cost]:
    """Count each part of a detector, and the ``detector``; ``size`` has the names of :data:`DETECTOR`.

    Raises:
        UsageError: if there is no such backbone or neck, or the strides do not divide the image.
    """
    import torch

    from evo_nas.phenotypes.detector import Detector

    backbone, anchors = size.pop("backbone"), size.pop("anchors")
    try:
        with torch.device("meta"):
            detector = Detector(
                *(backbone, neck), classes=classes, canvas=image, channels=channels, scales=anchors, **size
            )
    except ValueError as error:
        raise UsageError(str(error)) from error
    costs = detector.count_parts()
    whole_costs = [(cost.parameters, cost.mult_adds) for cost in costs.values()]
    return costs | {"detector": Cost(*map(sum, zip(*whole_costs, strict=True)))}


def _count_widths(widths: Widths, **size: int) -> dict[str, Any]:
    from evo_nas.phenotypes.kinds import count_cost
    from evo_nas.phenotypes.widths.draw import build_ghost, build_widths

    network = build_widths(widths, build=build_ghost, **size)
    parameters, mult_adds = count_cost(network, channels=size["channels"], image_size=size["image_size"])
    told = {"network": widths.network, "channels": size["channels"], "image": size["image_size"]}
    return {"parameters": parameters, "mult_adds": mult_adds, **told, "classes": size["classes"]}


def _count_chain(chain: Chain, *, classes: int, channels: int, image_size: int) -> dict[str, Any]:
    import torch

    from evo_nas.phenotypes.shufflenet import ShuffleNet

    with torch.device("meta"):
        parts = ShuffleNet(chain, classes=classes, channels=channels).count_parts(image_size)
    told = {name: {"parameters": cost.parameters, "mult_adds": cost.mult_adds} for name, cost in parts.items()}
    sums = {name: sum(part[name] for part in told.values()) for name in ("parameters", "mult_adds")}
    return {**sums, "parts": told, "channels": channels, "image": image_size, "classes": classes}


def _count_edges(source: CellSource, *, image: int, classes: int, **given: Any) -> dict[str, Any]:
    from evo_nas.phenotypes.cost import cost_of_edges

    channels = given.pop("channels")
    assert isinstance(source.design, EdgeCell)
    try:
        numbers = read_edge_size(source, **given)
        told = {**numbers, "channels": channels}
        cost = cost_of_edges(source.design, image=image, classes=classes, **told)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return {
        "parameters": cost.parameters,
        "mult_adds": cost.mult_adds,
        **told,
        "image": image,
        "classes": classes,
    }


def read_edge_size(
    source: CellSource, *, cells_per_stack: int | None, filters: int | None, **others: object
) -> dict[str, int]:
    """Return N and C of a network of a cell of edges; ``others`` are flags for pairs of cells, which it has not.

    Raises:
        UsageError: if a number is not given, or one of the others is.
    """
    for name, value in others.items():
        if value is not None:
            raise UsageError(f"--{name.replace('_', '-')} is for pairs of cells, and {shorten(source.label)} is none")
    if cells_per_stack is None or filters is None:
        raise UsageError(
            "say how large the network is: --cells-per-stack N --filters C, in NAS-Bench-201 itself 5 and 16"
        )
    return {"cells_per_stack": cells_per_stack, "filters": filters}


def refuse_cell_size(source: CellSource, **given: object) -> None:
    """Raise if the size of a network of widths or of a chain is said in the words of cells; ``given`` are flags.

    Raises:
        UsageError: naming the first flag that is not ``None``.
    """
    assert isinstance(source.design, Widths | Chain)
    whose = shorten(source.design.network) if isinstance(source.design, Widths) else "its chain of blocks"
    for name, value in given.items():
        if value is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} is for networks of cells; {shorten(source.label)} says every width of "
                f"{whose} itself"
            )


def read_size(source: CellSource, size: str | None, cells_per_stack: int | None, filters: int | None) -> dict[str, int]:
    """Return N and F, however they were said: as N@P, or one by one.

    Raises:
        UsageError: if they are not given, or given twice.
        ValueError: if the notation is misspelt, or does not fit the cell.
    """
    from evo_nas.phenotypes.plan import parse_size

    one_by_one = cells_per_stack is not None and filters is not None
    if one_by_one == (size is not None) or (size is not None and (cells_per_stack or filters)):
        raise UsageError("say how large the network is: --size N@P, as in 6@4032, or --cells-per-stack N --filters F")
    if size is not None:
        cells_per_stack, filters = parse_size(size, source.cells)
    assert cells_per_stack is not None and filters is not None, "both or the notation"  # noqa: PT018
    return {"cells_per_stack": cells_per_stack, "filters": filters}
