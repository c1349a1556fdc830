"""Heredity: what stands in the same place is handed down, batch norms included, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from evo_nas.phenotypes.detector import Detector
from evo_nas.phenotypes.kinds import build_network
from evo_nas.phenotypes.named import spell_chain
from evo_nas.phenotypes.shared.heredity import hand_down
from genotypes.catalogue import build_space
from genotypes.genotype import Genotype
from genotypes.space import SearchSpace

SIZE: dict[str, Any] = {"cells_per_stack": 1, "filters": 4, "classes": 3, "channels": 2, "image_size": 8}
SPACES = [
    "nasbench201",
    "detnas(stages=1+2,widths=8+12,stem=4,last=16)",
    "darts(blocks=2)",
    "nasnet(blocks=2,combines=add+concat)",
]


def grown(space: SearchSpace, genotype: Genotype) -> nn.Module:
    """Return the network, with statistics as after a training."""
    torch.manual_seed(3)
    network = build_network(space, genotype, **SIZE)
    network(torch.randn(8, 2, 8, 8))
    return network


def pass_on(space: SearchSpace, parent: Genotype, child: Genotype) -> tuple[nn.Module, nn.Module, float]:
    old = grown(space, parent)
    torch.manual_seed(4)
    new = build_network(space, child, **SIZE)
    with torch.device("meta"):
        ghost = build_network(space, parent, **SIZE)
    return old, new, hand_down(new, space.decode(child), old.state_dict(), ghost, space.decode(parent))


@pytest.mark.parametrize("spelling", SPACES)
def test_the_same_network_inherits_all_and_computes_the_same(spelling: str) -> None:
    space = build_space(spelling)
    genotype = space.sample(np.random.default_rng(1))
    old, new, share = pass_on(space, genotype, genotype)
    assert share == 1.0
    images = torch.randn(2, 2, 8, 8)
    torch.testing.assert_close(new.eval()(images), old.eval()(images), rtol=0, atol=0)


@pytest.mark.parametrize("spelling", SPACES)
def test_a_mutant_inherits_most_and_keeps_its_own_of_the_rest(spelling: str) -> None:
    space, rng = build_space(spelling), np.random.default_rng(1)
    shares = []
    for _ in range(5):
        parent = space.sample(rng)
        child = space.mutate(parent, rng)
        torch.manual_seed(4)
        drawn = build_network(space, child, **SIZE).state_dict()
        old, new, share = pass_on(space, parent, child)
        shares.append(share)
        theirs = {tuple(tensor.flatten()[:3].tolist()) for tensor in old.state_dict().values() if tensor.dim() == 4}
        for name, tensor in new.state_dict().items():
            if tensor.dim() == 4 and not torch.equal(tensor, drawn[name]):
                head = tuple(tensor.flatten()[:3].tolist())
                assert head in theirs or tensor.shape[1] > 1, f"{name} is neither drawn nor the parent's"
    assert max(shares) > 0.4
    assert min(shares) < 1.0


def test_the_operation_of_an_edge_that_changed_is_not_handed_down() -> None:
    space = build_space("nasbench201")
    old, new, share = pass_on(space, space.genotype((3, 3, 0, 2, 0, 0)), space.genotype((2, 3, 0, 2, 0, 0)))
    assert 0 < share < 1
    before, after = old.state_dict(), new.state_dict()
    torch.manual_seed(4)
    drawn = build_network(space, space.genotype((2, 3, 0, 2, 0, 0)), **SIZE).state_dict()
    for name, tensor in after.items():
        expected = drawn if ".edges.0." in name else before
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0, msg=name)


def test_a_detector_inherits_the_blocks_that_its_chain_shares_with_neck_and_head() -> None:
    space = build_space("detnas(stages=1+1+1,widths=8+12+16,stem=4)")
    size = {"classes": 3, "canvas": 64, "channels": 1, "width": 8}
    parent, child = (space.decode(space.genotype(choices)) for choices in ((0, 1, 2), (0, 3, 2)))
    old, new = (Detector(spell_chain(chain), "fpn", **size) for chain in (parent, child))
    drawn = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    hand_down(new, child, old.state_dict(), old, parent)
    for name, tensor in new.state_dict().items():
        expected = drawn if ".blocks.1." in name else old.state_dict()
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0, msg=name)


def test_what_no_supernet_is_known_for_goes_by_name_and_shape() -> None:
    torch.manual_seed(0)
    old, new = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)), nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5))
    before = new[1].weight.clone()
    share = hand_down(new, None, old.state_dict(), None, None)
    assert share == 9 / 29
    assert torch.equal(new[0].weight, old[0].weight)
    assert torch.equal(new[1].weight, before)
