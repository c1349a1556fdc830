"""A trained network without its weakest channels, as large as a budget allows, with the weights of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from evo_nas.errors import UsageError
from evo_nas.phenotypes.blueprint import WidthsBlueprint, difference
from evo_nas.phenotypes.tensors import load_tensors
from evo_nas.phenotypes.widths.cost import CostModel
from evo_nas.phenotypes.widths.draw import build_ghost, find_layout
from evo_nas.phenotypes.widths.layout import Layout
from evo_nas.phenotypes.widths.resize import resize_network
from evo_nas.phenotypes.widths.slots import Ints
from evo_nas.training.regularizers import SparsityTerm
from genotypes.genotype import shorten
from genotypes.individual import Cost
from genotypes.widths import Budget, Widths


@dataclass(frozen=True)
class Pruning:
    """A network of fewer channels with its weights, and the cost before and after."""

    blueprint: WidthsBlueprint
    tensors: Mapping[str, Tensor]
    before: Cost
    after: Cost


def widths_of_seed(network: str, **size: int) -> Widths:
    """Return the widths that a network of this name has by itself.

    Raises:
        UsageError: if there is none, or it cannot be traced.
    """
    own = _find_seed_layout(network, size).widths
    return Widths(network, own, own)


def prune_network(
    blueprint: WidthsBlueprint, tensors: Mapping[str, Tensor], budget: Budget, gates: str | None = None
) -> Pruning:
    """Leave out the channels with the smallest gates, so that as many stay as the budget allows, at least 1 per group.

    The network computes what it did with the others masked. ``gates`` are those of
    :class:`evo_nas.training.regularizers.SparsityTerm`: by default gamma, or lasso in a network without batch norm.
    A share is one of what the network costs. The weights must be those of the blueprint.

    Raises:
        UsageError: if the budget cannot be met or leaves everything, or there are no such gates.
    """
    seed = _find_seed_layout(blueprint.widths.network, blueprint.size)
    layout = seed.resize(seed.copies(blueprint.widths.widths))
    before = _count(layout, np.ones(layout.count, np.int64))
    limit, cost = budget.limit(before), getattr(before, budget.resource)
    unit = budget.resource.replace("_", "-")
    if limit >= cost:
        raise UsageError(
            f"the network has {cost:,} {unit}, no more than the budget {budget}: there is nothing to prune"
        )
    with torch.random.fork_rng(devices=[]):
        network = blueprint.network()
    load_tensors(network, tensors)
    is_flops = budget.resource == "mult_adds"
    model = CostModel(layout, "flops" if is_flops else "parameters")
    term = SparsityTerm(network, model, gates=gates or ("gamma" if layout.gates else "lasso"))
    if not term.values().isfinite().all():
        raise UsageError("the gates of the network are not all finite: its training has diverged")
    try:
        alive = term.find_strongest(limit * (2 if is_flops else 1))
    except UsageError as error:
        raise UsageError(
            f"the budget {budget} is too small: {error}{' FLOPs, two per mult-add' if is_flops else ''}"
        ) from error
    kept = resize_network(network, layout, alive).state_dict()
    for axis in layout.axes:
        if axis.name not in kept and not alive[axis.classes].all():
            raise UsageError(
                f"no file of weights holds the buffer {shorten(axis.name)} of the network, whose channels are pruned: "
                "make it persistent"
            )
    widths = replace(blueprint.widths, widths=layout.alive_widths(alive))
    smaller = replace(blueprint, widths=widths)
    if (found := difference(smaller, kept)) is not None:
        raise UsageError(f"the network without these channels is not told by its widths alone: {found}")
    return Pruning(smaller, kept, before, _count(layout, alive))


def _find_seed_layout(network: str, size: Mapping[str, int]) -> Layout:
    return find_layout(build_ghost(network, **size), network, **size)


def _count(layout: Layout, copies: Ints) -> Cost:
    parameters, flops = (CostModel(layout, resource).total(copies) for resource in ("parameters", "flops"))
    return Cost(round(parameters), round(flops / 2))
