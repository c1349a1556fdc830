"""Supernets: a path computes what its network computes alone, and shares what stands in the same place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from evo_nas.phenotypes.kinds import build_network
from evo_nas.phenotypes.shared.pieces import weights_of
from evo_nas.phenotypes.shared.supernet import Supernet, sharing_of
from genotypes.catalogue import build_space

SIZE: dict[str, Any] = {"cells_per_stack": 1, "filters": 4, "classes": 3, "channels": 2, "image_size": 8}
SPACES = [
    "nasbench201",
    "detnas(stages=1+2,widths=8+12,stem=4,last=16,bias=True)",
    "darts(blocks=2,ops=max_pool_3x3+skip_connect+sep_conv_3x3)",
    "amoebanet(blocks=2,ops=identity+sep_conv_3x3+avg_pool_3x3)",
    "pnas(blocks=2,ops=identity+max_pool_3x3+conv_1x7_7x1)",
    "nasnet(blocks=2,ops=identity+conv_3x3+max_pool_3x3,combines=add)",
    "nasnet(blocks=2,ops=identity+conv_1x1+max_pool_3x3,combines=add+concat+add_layer_norm)",
]


def images(n: int = 4) -> torch.Tensor:
    return torch.randn(n, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def supernet_of(spelling: str, **size: Any) -> Supernet:
    torch.manual_seed(3)
    return Supernet(build_space(spelling), **{**SIZE, **size}).double()


@pytest.mark.slow
@pytest.mark.parametrize("spelling", SPACES)
def test_a_path_computes_what_its_network_computes_with_the_same_weights(spelling: str) -> None:
    supernet, rng = supernet_of(spelling), np.random.default_rng(1)
    for _ in range(3):
        genotype = supernet.space.sample(rng)
        alone = build_network(supernet.space, genotype, **SIZE).double()
        alone.load_state_dict(supernet.extract(genotype))
        path = supernet.path(genotype)
        with torch.no_grad():
            torch.testing.assert_close(supernet(images(), genotype), alone(images()), rtol=0, atol=1e-9)
            path(images())  # in training mode, as the other, so that batch norms have statistics
            torch.testing.assert_close(path.eval()(images()), alone.eval()(images()), rtol=0, atol=1e-9)
    assert not list(supernet.buffers())


@pytest.mark.parametrize("spelling", [SPACES[0], SPACES[-1]])
def test_gradients_reach_the_weights_of_the_path_alone(spelling: str) -> None:
    supernet = supernet_of(spelling)
    genotype = supernet.space.sample(np.random.default_rng(4))
    supernet(images(), genotype).square().sum().backward()
    reached = {name for name, weight in supernet.weights.items() if weight.grad is not None}
    alone = build_network(supernet.space, genotype, **SIZE).double()
    alone.load_state_dict(supernet.extract(genotype))
    alone(images()).square().sum().backward()
    total = sum(supernet.weights[name].grad.abs().sum() for name in reached)
    own = [p for name, p in alone.named_parameters() if p.grad is not None and name in set(weights_of(alone))]
    torch.testing.assert_close(total, sum(p.grad.abs().sum() for p in own))
    assert sum(supernet.weights[name].numel() for name in reached) == sum(p.numel() for p in own)
    assert 0 < len(reached) < len(supernet.weights)


def test_what_stands_in_the_same_place_is_shared_and_nothing_else() -> None:
    supernet = supernet_of("nasbench201")
    one, other = (supernet.space.genotype(choices) for choices in ((3, 3, 0, 2, 0, 0), (2, 3, 0, 2, 0, 0)))
    state, changed = supernet.extract(one), supernet.extract(other)
    differing = {name for name in state if not torch.equal(state[name], changed.get(name, torch.empty(0)))}
    assert differing == {f"cells.{cell}.edges.0.1.weight" for cell in (0, 2, 4)}, "one edge, in the three cells"
    first, second = state["cells.0.edges.0.1.weight"], state["cells.0.edges.1.1.weight"]
    assert first.shape == second.shape
    assert not torch.equal(first, second), "each edge has weights of its own"


def test_a_cell_that_reads_fewer_states_has_the_same_weights_for_those() -> None:
    supernet = supernet_of("nasnet(blocks=2,ops=conv_1x1,combines=add)")
    both, chained = (
        supernet.space.genotype(cell * 2) for cell in ((0, 1, 0, 0, 0) * 2, (0, 1, 0, 0, 0, 0, 2, 0, 0, 0))
    )
    wide, narrow = supernet.extract(both)["classifier.weight"], supernet.extract(chained)["classifier.weight"]
    assert wide.shape == (3, 32)
    torch.testing.assert_close(narrow, wide[:, 16:], rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("spelling", ["darts(blocks=2,ops=skip_connect)", "nasnet(blocks=2,ops=conv_1x1)", SPACES[4]])
def test_every_weight_of_every_network_is_there(spelling: str) -> None:
    supernet, rng = supernet_of(spelling, cells_per_stack=2), np.random.default_rng(2)
    for _ in range(12):
        supernet.path(supernet.space.sample(rng))


@pytest.mark.parametrize(
    ("spelling", "words"),
    [
        ("bits", "the space bits describes a dict"),
        ("nasfpn", "a supernet is known for CellPair, EdgeCell, Chain; the space nasfpn describes a Pyramid"),
    ],
)
def test_a_space_without_a_supernet_is_refused(spelling: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sharing_of(build_space(spelling))


def test_a_dead_cell_is_known() -> None:
    supernet = supernet_of("nasbench201")
    assert supernet.is_dead(supernet.space.genotype((3, 0, 0, 0, 0, 3)))
    assert not supernet.is_dead(supernet.space.genotype((3, 0, 0, 0, 3, 3)))
