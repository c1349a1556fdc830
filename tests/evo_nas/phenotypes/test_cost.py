from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from evo_nas.phenotypes.cost import cost_by_part, cost_of, cost_of_network
from evo_nas.phenotypes.network import CellNetwork
from genotypes.catalogue import build_space
from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.individual import Cost
from genotypes.operations import COMBINES, OPERATIONS
from genotypes.spaces.nasnet import NASNetSpace
from genotypes.zoo import NASNET_A

pytestmark = pytest.mark.slow

PAIRS = ("nasnet", "amoebanet", "pnas", "darts")
"""The spaces of pairs of cells, which have an option ``blocks``."""

EVERYTHING = f"nasnet(ops={'+'.join(OPERATIONS)},combines={'+'.join(COMBINES)})"


@pytest.mark.parametrize(
    ("cells_per_stack", "filters", "expected"),
    [(6, 32, Cost(3_346_538, 544_333_312)), (2, 24, Cost(757_906, 136_390_272))],
)
def test_nasnet_a_costs_what_the_released_network_costs(cells_per_stack: int, filters: int, expected: Cost) -> None:
    assert cost_of(NASNET_A, cells_per_stack=cells_per_stack, filters=filters) == expected


def test_smallest_network_costs_what_can_be_counted_by_hand() -> None:
    pooling = Cell.join_leaves([Block(Edge(0, "max_pool_3x3"), Edge(0, "max_pool_3x3"))])
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


class ConvolutionFlops(TorchFunctionMode):
    """Sums what torch's formulas give for the shapes that convolutions and the classifier meet in a real forward.

    :class:`FlopCounterMode` finds them in anything that computes, but takes ten times as long.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.conv2d:
            convolution = flop_registry[torch.ops.aten.convolution]
            self.flops += convolution(*args[:2], None, None, None, None, False, out_val=result)
        elif func is F.linear:
            self.flops += flop_registry[torch.ops.aten.mm](args[0], args[1].T)
        return result


def sizes(rng: np.random.Generator) -> Iterator[tuple[int, dict[str, Any]]]:
    """Draw sides of images, and sizes of networks that a CPU computes in milliseconds."""
    while True:
        size: dict[str, Any] = {
            "macro": rng.choice(["cifar", "imagenet"]),
            "cells_per_stack": int(rng.integers(1, 3)),
            "filters": int(rng.integers(8, 13)),
            "classes": int(rng.integers(1, 6)),
            "channels": int(rng.integers(1, 5)),
            "stem": None if rng.random() < 0.5 else int(rng.integers(2, 9)),
            "skip_reduction_input": rng.choice([None, False, True]),
            "average": rng.choice(["same", "zeros"]),
        }
        image = int(rng.integers(8, 24))
        yield image, {**size, "auxiliary_image": image if rng.random() < 0.2 else None}


def counted_by_torch(network: CellNetwork, image: int) -> dict[str, Cost]:
    """Count each part in a real forward."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network.eval()(torch.zeros(1, network.channels, image, image))
    flops = counter.get_flop_counts()
    parts: dict[str, nn.Module] = {"stem": network.stem}
    parts |= {f"cells.{index}": cell for index, cell in enumerate(network.cells)}
    parts["classifier"] = network.classifier
    return {
        name: Cost(
            sum(parameter.numel() for parameter in part.parameters()),
            # A multiplication and an addition are two FLOPs.
            sum(flops.get(f"CellNetwork.{name}", {}).values()) // 2,
        )
        for name, part in parts.items()
    }


@pytest.mark.parametrize("spelling", [*PAIRS, EVERYTHING], ids=[*PAIRS, "everything"])
def test_every_part_costs_what_torch_counts_in_it(spelling: str) -> None:
    space, rng = build_space(spelling), np.random.default_rng(0)
    for _, (image, size) in zip(range(3), sizes(rng), strict=False):
        network = CellNetwork(space.decode(space.sample(rng)), **size)
        assert cost_by_part(network, image) == counted_by_torch(network, image), (network.plan, image)


@pytest.mark.parametrize("name", PAIRS)
def test_any_genotype_costs_what_torch_counts(name: str) -> None:
    space, rng = build_space(f"{name}(blocks=2)"), np.random.default_rng(1)
    for _, (image, size) in zip(range(50), sizes(rng), strict=False):
        small = {**size, "cells_per_stack": 1, "auxiliary_image": None}
        network = CellNetwork(space.decode(space.sample(rng)), **small).eval()
        with ConvolutionFlops() as counter, torch.inference_mode():
            network(torch.zeros(1, network.channels, image, image))
        assert cost_of_network(network, image).mult_adds * 2 == counter.flops, (network.plan, image)


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


def test_a_layer_of_a_new_kind_is_refused_and_not_counted_as_nothing() -> None:
    network = CellNetwork(NASNET_A, cells_per_stack=1, filters=4, classes=10)
    network.stem.stages[0].append(nn.ConvTranspose2d(12, 12, 1))  # type: ignore[operator]
    with pytest.raises(TypeError, match="nobody has said how to count a ConvTranspose2d"):
        cost_by_part(network, image=8)


def test_counting_draws_no_weights() -> None:
    state = torch.random.get_rng_state()
    cost_of(NASNET_A, cells_per_stack=1, filters=4)
    assert torch.equal(torch.random.get_rng_state(), state)
