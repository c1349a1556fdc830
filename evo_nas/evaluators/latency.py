"""Latency of a trained network for one image: measured where the training ran, and marked where it was disturbed.

One image at a time, as a network is used that answers as soon as it is asked, and as Tan et al. 2018 (MnasNet, section
4) measure it. The clock is that of the wall, so whatever else runs beside it counts too.
"""

from __future__ import annotations

import time
from typing import Final

import torch
from torch import Tensor, nn

from evo_nas.evaluators.devices.timing import REPEATS, summarise_times
from evo_nas.training.devices import autocast, synchronize

WARM_UP: Final = 20
"""Inferences that are not counted: the first ones pay for memory and for the choice of algorithms."""

METRICS: Final = ("latency", "latency_spread", "latency_noisy")
"""Metrics that :func:`measure_latency` returns."""


def measure_latency(network: nn.Module, image: Tensor, *, workers: int) -> dict[str, float]:
    """Time inferences of one normalised image, of shape (1, c, h, w), on the device where it and the network are.

    ``latency`` is the median in seconds; ``latency_spread`` the interquartile range as a fraction of it.
    ``latency_noisy`` is 1.0 where the number is not to be trusted to a tenth, else 0.0: if ``workers``, the number of
    evaluations that go on at a time, is more than one, so that others were at work meanwhile; or if the spread is
    above :data:`evo_nas.evaluators.devices.timing.STEADY`. Afterwards the network is in evaluation mode.
    """
    device = image.device
    network.eval()
    seconds = []
    with torch.inference_mode(), autocast(device):
        for _ in range(WARM_UP + REPEATS):
            synchronize(device)
            start = time.perf_counter()
            network(image)
            synchronize(device)
            seconds.append(time.perf_counter() - start)
    return dict(zip(METRICS, summarise_times(seconds[WARM_UP:], workers), strict=True))
