"""What ``list`` prints: the names that can be chosen, what each is, and its options with their defaults."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from evo_nas.commands.base import Parser
from genotypes.registry import Registry, options_of
from genotypes.zoo import CELLS


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument(
        "what", type=_new_name, choices=("strategies", "spaces", "evaluators", "presets", "recipes", "cells")
    )


def _new_name(text: str) -> str:
    if text == "trainings":
        raise argparse.ArgumentTypeError("trainings is now recipes: python -m evo_nas list recipes")
    return text


def run(arguments: argparse.Namespace) -> None:
    """Print the names."""
    _print_table(listing(arguments.what))


def _print_table(rows: Mapping[str, str]) -> None:
    width = max(map(len, rows))
    for name, text in rows.items():
        print(f"{name:<{width}}  {text}")


def listing(what: str) -> dict[str, str]:
    """Return name -> description for strategies, spaces, evaluators, presets, recipes or cells."""
    if what == "presets":
        from evo_nas.evaluators.proxy.presets import PRESETS

        return {name: preset.summary() for name, preset in PRESETS.items()}
    if what == "recipes":
        from evo_nas.training.recipes import TRAININGS

        return {name: preset.summary() for name, preset in TRAININGS.items()}
    if what == "cells":
        return {name: _counts(name) for name in CELLS}
    from evo_nas.evaluators.catalogue import EVALUATORS
    from genotypes.catalogue import SPACES
    from strategies.catalogue import STRATEGIES

    catalogues: dict[str, Registry[Any]] = {"strategies": STRATEGIES, "spaces": SPACES, "evaluators": EVALUATORS}
    return {name: _described(catalogues[what].find(name)) for name in catalogues[what]}


def _described(kind: type) -> str:
    """Return the first sentence of a class and its options with their defaults."""
    sentence = (kind.__doc__ or "").strip().splitlines()[0]
    options = ", ".join(f"{name}={_spelled(value)}" for name, value in options_of(kind()).items())
    return f"{sentence} Options: {options}" if options else sentence


def _spelled(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _counts(name: str) -> str:
    pair = CELLS[name]
    normal, reduction = (len(cell.blocks) for cell in (pair.normal, pair.reduction))
    return f"normal cell of {normal} blocks, reduction cell of {reduction}"
