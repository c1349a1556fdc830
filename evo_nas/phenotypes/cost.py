"""What a network costs: parameters, and mult-adds for one image, counted without memory or arithmetic."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from evo_nas.evaluators.base import Cost
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.plan import SMALLEST_IMAGE
from genotypes.cell import CellPair


def cost_of(cells: CellPair, *, image: int = 32, classes: int = 10, **size: Any) -> Cost:
    """Count the parameters of a network, and its mult-adds for one image of ``image`` x ``image`` pixels.

    ``size`` are the other options of :class:`evo_nas.phenotypes.network.CellNetwork`. Parameters are the trained ones:
    batch norm's scales and shifts count, its running means do not. Mult-adds are those of convolutions and of the
    classifier alone, as papers count them. An auxiliary classifier counts in neither.

    Raises:
        GenotypeError: if a cell names an unknown operation or combination.
        ValueError: if a number is out of range, or the macro-architecture is unknown.
    """
    # The meta device knows shapes only: nothing is allocated, nothing is computed.
    with torch.device("meta"):
        network = CellNetwork(cells, classes=classes, **size)
    parts = cost_by_part(network, image).values()
    return Cost(sum(part.parameters for part in parts), sum(part.mult_adds for part in parts))


def cost_by_part(network: CellNetwork, image: int) -> dict[str, Cost]:
    """Count, for one image of ``image`` x ``image`` pixels, each part: stem, cells.0, cells.1, ..., classifier.

    Raises:
        ValueError: if the image is smaller than 8 pixels a side.
    """
    if image < SMALLEST_IMAGE:
        raise ValueError(f"image must be at least {SMALLEST_IMAGE} pixels a side, not {image}: reductions halve it")
    pixels = torch.empty(1, network.channels, image, image, device=network.classifier.weight.device)
    training = network.training
    network.eval()  # batch norm would take this image into its running means
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(pixels)
    network.train(training)
    flops = counter.get_flop_counts()
    parts: dict[str, nn.Module] = {"stem": network.stem}
    parts |= {f"cells.{index}": cell for index, cell in enumerate(network.cells)}
    parts["classifier"] = network.classifier
    return {
        name: Cost(
            parameters=sum(parameter.numel() for parameter in part.parameters()),
            # A multiplication and an addition are two FLOPs.
            mult_adds=sum(flops.get(f"{type(network).__name__}.{name}", {}).values()) // 2,
        )
        for name, part in parts.items()
    }
