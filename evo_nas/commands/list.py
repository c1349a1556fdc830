"""What ``list`` prints: the names that can be chosen, what each is, and its options with their defaults."""

from __future__ import annotations

from typing import Any

from evo_nas.evaluators.catalogue import EVALUATORS
from evo_nas.training.recipes import TRAININGS
from genotypes.catalogue import SPACES
from genotypes.registry import Registry, options_of
from genotypes.zoo import CELLS
from strategies.catalogue import STRATEGIES


def listing(what: str) -> dict[str, str]:
    """Return name -> description for strategies, spaces, evaluators, presets, trainings or cells."""
    if what == "presets":
        from evo_nas.evaluators.proxy.presets import PRESETS

        return {name: preset.summary() for name, preset in PRESETS.items()}
    if what == "trainings":
        return {name: preset.summary() for name, preset in TRAININGS.items()}
    if what == "cells":
        return {name: _counts(name) for name in CELLS}
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
