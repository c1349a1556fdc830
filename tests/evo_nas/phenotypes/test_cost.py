import numpy as np
import pytest
import torch

from evo_nas.evaluators.base import Cost
from evo_nas.phenotypes.cost import cost_by_part, cost_of
from evo_nas.phenotypes.network import CellNetwork
from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.nasnet import NASNetSpace
from genotypes.zoo import NASNET_A


@pytest.mark.parametrize(
    ("cells_per_stack", "filters", "expected"),
    [(6, 32, Cost(3_346_538, 544_333_312)), (2, 24, Cost(757_906, 136_390_272))],
)
def test_nasnet_a_costs_what_the_released_network_costs(cells_per_stack: int, filters: int, expected: Cost) -> None:
    assert cost_of(NASNET_A, cells_per_stack=cells_per_stack, filters=filters) == expected


def test_smallest_network_costs_what_can_be_counted_by_hand() -> None:
    pooling = Cell.unused([Block(Edge(0, "max_pool_3x3"), Edge(0, "max_pool_3x3"))])
    network = CellNetwork(CellPair(pooling, pooling), cells_per_stack=1, filters=2, classes=5, channels=1)
    # Cells of 2, 4, 4, 8, 8 filters hold nothing but the fit of h_i: a 1x1 convolution and a batch norm.
    assert cost_by_part(network, image=8) == {
        "stem": Cost(9 * 6 + 2 * 6, 64 * 9 * 6),
        "cells.0": Cost(6 * 2 + 2 * 2, 64 * 6 * 2),
        "cells.1": Cost(2 * 4 + 2 * 4, 64 * 2 * 4),
        "cells.2": Cost(4 * 4 + 2 * 4, 16 * 4 * 4),
        "cells.3": Cost(4 * 8 + 2 * 8, 16 * 4 * 8),
        "cells.4": Cost(8 * 8 + 2 * 8, 4 * 8 * 8),
        "classifier": Cost(8 * 5 + 5, 8 * 5),
    }


def test_parts_add_up_to_the_real_network() -> None:
    space, rng = NASNetSpace(), np.random.default_rng(0)
    for _ in range(5):
        cells = space.decode(space.sample(rng))
        network = CellNetwork(cells, cells_per_stack=1, filters=4, classes=7, channels=1, stem=5)
        total = cost_of(cells, cells_per_stack=1, filters=4, image=9, channels=1, classes=7, stem=5)
        assert total.parameters == sum(parameter.numel() for parameter in network.parameters())
        assert total.mult_adds == sum(part.mult_adds for part in cost_by_part(network, image=9).values())


def test_counting_leaves_the_network_as_it_was() -> None:
    network = CellNetwork(NASNET_A, cells_per_stack=1, filters=4, classes=10)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cost_by_part(network, image=8)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ValueError, match="no macro-architecture 'mnist'; there are: cifar, imagenet"):
        cost_of(NASNET_A, macro="mnist", cells_per_stack=1, filters=4)
    with pytest.raises(ValueError, match="image must be at least 8 pixels a side, not 7"):
        cost_of(NASNET_A, cells_per_stack=1, filters=4, image=7)
    with pytest.raises(ValueError, match="filters must be at least 1, not 0"):
        cost_of(NASNET_A, cells_per_stack=1, filters=0)
