"""The command ``count``: parameters and mult-adds of the network of the given cells."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from evo_nas.commands.base import Parser, add_cells, add_json, add_size, whole
from evo_nas.errors import UsageError

if TYPE_CHECKING:
    from evo_nas.commands.cell_sources import CellSource


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    add_cells(parser)
    add_size(parser)
    parser.add_argument(
        "--image-size", metavar="PIXELS", type=whole(10**4), help="side of the image (default: 32, or 224 for imagenet)"
    )
    parser.add_argument(
        "--channels", metavar="C", type=whole(10**4), default=3, help="channels of the image (default: 3)"
    )
    parser.add_argument(
        "--classes", metavar="K", type=whole(10**6), help="number of classes (default: 10, or 1000 for imagenet)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the counts."""
    from evo_nas.commands.cell_sources import find_cells

    is_large = arguments.macro == "imagenet"
    result = count(
        find_cells(arguments.source, arguments.cell, arguments.trial),
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


def count(
    source: CellSource, *, size: str | None, macro: str, image: int, classes: int, **numbers: Any
) -> dict[str, Any]:
    """Count parameters and mult-adds of the network that is made of these cells.

    ``numbers`` are ``cells_per_stack``, ``filters``, ``stem`` and ``channels``; in place of the first two, ``size`` may
    be N@P, as in 6@4032.

    Raises:
        UsageError: if the size is not given, given twice, or no network has it.
    """
    from evo_nas.phenotypes.cost import cost_of
    from evo_nas.phenotypes.plan import plan_network

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
