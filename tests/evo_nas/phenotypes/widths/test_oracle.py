"""Torch-Pruning, where it is installed and can, finds the same channels that leave together."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from evo_nas.phenotypes.widths.trace import trace_layout
from tests.evo_nas.phenotypes.widths.networks import IMAGE, build

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["flat", "resnet18", "mobilenet_v2", "densenet121", "efficientnet_b0"])
def test_channels_that_leave_together_are_those_of_torch_pruning(name: str) -> None:
    pruning = pytest.importorskip("torch_pruning", reason="torch-pruning is not installed")
    network = build(name).float()
    layout = trace_layout(network, IMAGE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        graph = pruning.DependencyGraph().build_dependency(network, torch.zeros(1, *IMAGE))
    layers = {op.layer: op for op in layout.ops if not op.depthwise}
    modules = dict(network.named_modules())
    names = {module: name for name, module in modules.items()}
    rng = np.random.default_rng(0)
    compared = 0
    for layer, op in layers.items():
        channel = int(rng.integers(len(op.outputs)))
        if op.outputs[channel] == 0:
            continue  # a logit
        group = graph.get_pruning_group(modules[layer], pruning.prune_conv_out_channels, idxs=[channel])
        theirs = {
            (names[dependency.target.module], index)
            for dependency, indices in group
            if isinstance(dependency.target.module, nn.Conv2d | nn.Linear)
            and graph.is_out_channel_pruning_fn(dependency.handler)
            for index in indices
        }
        ours = {
            (other.layer, int(index))
            for other in layout.ops
            for index in np.flatnonzero(other.outputs == op.outputs[channel])
        }
        assert ours == theirs
        compared += 1
    assert compared >= len(layers) - 1
