"""The networks for what spaces describe: found by the kind of the decoded object, or brought by the space."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from genotypes.cell import CellPair
from genotypes.chain import Chain
from genotypes.edge_cell import EdgeCell
from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.space import SearchSpace
from genotypes.widths import Widths

if TYPE_CHECKING:
    from torch import nn


def _cell_network(cells: CellPair, *, image_size: int, **options: Any) -> nn.Module:
    from evo_nas.phenotypes.network import CellNetwork

    return CellNetwork(cells, **options)


def _edge_network(cell: EdgeCell, *, image_size: int, drop_path_keep: float, **size: Any) -> nn.Module:
    from evo_nas.phenotypes.edges import build_edges

    return build_edges(cell, **size)


def _network_of_widths(
    widths: Widths, *, classes: int, channels: int, image_size: int, **cell_options: Any
) -> nn.Module:
    from evo_nas.phenotypes.widths.draw import build_widths

    return build_widths(widths, classes=classes, channels=channels, image_size=image_size)


def _network_of_chain(
    chain: Chain,
    *,
    classes: int,
    channels: int,
    image_size: int,
    stem_stride: int | None = None,
    **cell_options: Any,
) -> nn.Module:
    from evo_nas.phenotypes.shufflenet import ShuffleNet

    return ShuffleNet(chain, classes=classes, channels=channels, stem_stride=stem_stride)


BUILDERS: Final[dict[type, Callable[..., nn.Module]]] = {
    CellPair: _cell_network,
    EdgeCell: _edge_network,
    Widths: _network_of_widths,
    Chain: _network_of_chain,
}
"""Kind of a decoded object -> what builds its classifier of images. A new kind of phenotype is a line here.

A builder takes the object, the keywords of :meth:`genotypes.space.SearchSpace.network`, and ``drop_path_keep``.
"""


def brings_network(space: SearchSpace) -> bool:
    """Return whether the space builds its networks itself."""
    own = type(space).network
    return callable(own) and own is not SearchSpace.network


def kind_of(space: SearchSpace) -> type:
    """Return the kind of object that the space decodes to."""
    return type(space.decode(space.sample(np.random.default_rng(0))))


def has_network(space: SearchSpace) -> bool:
    """Return whether a network can be built for the genotypes of this space."""
    return brings_network(space) or kind_of(space) in BUILDERS


def build_network(space: SearchSpace, genotype: Genotype, *, drop_path_keep: float = 1.0, **size: Any) -> nn.Module:
    """Build the network of a genotype, of the ``size`` that :meth:`genotypes.space.SearchSpace.network` documents.

    Raises:
        GenotypeError: if the space builds something else than a network, or its kind has no builder.
    """
    if brings_network(space):
        from torch import nn

        space.check(genotype)
        network = space.network(genotype, **size)
        if not isinstance(network, nn.Module):
            raise GenotypeError(
                f"the network() of the space {space.name} returned {shorten(repr(network))}, which is no torch module"
            )
        return network
    decoded = space.decode(genotype)
    if type(decoded) not in BUILDERS:
        raise GenotypeError(
            f"no network is known for a {type(decoded).__name__}, which the space {space.name} describes"
        )
    return BUILDERS[type(decoded)](decoded, drop_path_keep=drop_path_keep, **size)


def count_cost(network: nn.Module, *, channels: int, image_size: int) -> tuple[int, int]:
    """Count the parameters of any network, and the mult-adds of its convolutions and linear layers for one image.

    The network is run once in evaluation mode, and is left as it was.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    parameters = list(network.parameters())
    device = parameters[0].device if parameters else torch.device("cpu")
    was_training = network.training
    network.eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, channels, image_size, image_size, device=device))
    network.train(was_training)
    return sum(parameter.numel() for parameter in parameters), counter.get_total_flops() // 2
