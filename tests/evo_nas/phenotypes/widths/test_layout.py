from __future__ import annotations

import numpy as np
import pytest

from evo_nas.phenotypes.named import build_by_name
from evo_nas.phenotypes.widths.cost import CostModel
from evo_nas.phenotypes.widths.resize import resize_network
from evo_nas.phenotypes.widths.slots import Ints
from evo_nas.phenotypes.widths.trace import trace_layout


def number(classes: Ints) -> list[int]:
    """Number classes in the order in which they come up; the fixed one is 0."""
    known = {0: 0}
    return [known.setdefault(one, len(known)) for one in classes.tolist()]


@pytest.mark.parametrize("name", ["resnet:8x6", "cell:darts-v2@1x4", "torchvision:mobilenet_v2"])
def test_a_resized_layout_is_what_a_trace_of_the_resized_network_finds(name: str) -> None:
    network = build_by_name(name, classes=10, channels=3, image_size=16)
    layout = trace_layout(network, (3, 16, 16))
    rng = np.random.default_rng(0)
    widths = {group: max(2, int(width * rng.uniform(0.3, 1.8))) for group, width in layout.widths.items()}
    copies = layout.copies(widths)
    found, traced = layout.resize(copies), trace_layout(resize_network(network, layout, copies), (3, 16, 16))
    assert found.widths == widths == traced.widths
    assert dict(found.shapes) == dict(traced.shapes)
    assert found.count == traced.count
    for attribute in ("axes", "gates"):
        one, other = (getattr(each, attribute) for each in (found, traced))
        assert [(axis.name, axis.dim) for axis in one] == [(axis.name, axis.dim) for axis in other]
        pooled = [np.concatenate([axis.classes for axis in axes]) for axes in (one, other)]
        assert number(pooled[0]) == number(pooled[1])
    for resource in ("flops", "parameters", "activations"):
        costs = [CostModel(each, resource).total(np.ones(each.count, np.int64)) for each in (found, traced)]
        assert costs[0] == costs[1] == CostModel(layout, resource).total(copies)
