"""Latency of a network as it is deployed: at its final size, as an ONNX graph with folded batch norms, in ONNX Runtime.

Neither the size of the proxy training nor eager torch says how fast a network answers in the end: there the overhead of
each operation counts as much as its arithmetic. The clock is that of the wall, so whatever else runs beside it counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from evo_nas.evaluators.devices.timing import (
    TimingSettings,
    list_missing,
    open_model,
    summarise_times,
    time_inferences,
)
from evo_nas.phenotypes.named import OURS
from genotypes.chain import Chain
from genotypes.widths import Widths

METRICS: Final = ("ort_latency", "ort_latency_spread", "ort_latency_noisy")
"""Metrics that :func:`measure_deployment` returns."""


@dataclass(frozen=True)
class Deployment:
    """The use of a network: a ``batch`` of images of ``image_size`` pixels a side, and ``threads`` of the CPU."""

    channels: int
    image_size: int
    batch: int = 1
    threads: int = 1

    @property
    def settings(self) -> TimingSettings:
        """The settings of its measurement."""
        return TimingSettings(self.threads, self.batch)


def require_runtime(design: object) -> None:
    """Raise unless networks of this kind can be written and timed here.

    Raises:
        ValueError: if a package is missing, or no graph is known for the networks.
    """
    if missing := list_missing():
        raise ValueError(f"ort_latency needs {' and '.join(missing)}: python -m pip install 'evo_nas[onnx]'")
    if isinstance(design, Chain):
        raise ValueError("ort_latency is measured for cells and not for chains of blocks: choose the cost latency")
    if isinstance(design, Widths) and design.network.partition(":")[0] not in OURS:
        raise ValueError(
            f"ort_latency is measured for cells and resnet, at any widths, and not for {design.network}, which takes "
            "many seconds to be exported: choose the cost latency"
        )


def measure_deployment(network: nn.Module, deployment: Deployment, *, workers: int) -> dict[str, float]:
    """Time inferences of a network in ONNX Runtime on the CPU; its weights do not matter.

    ``ort_latency`` is the median in seconds for a whole batch, over at most 100 inferences, or about two seconds of
    them. ``ort_latency_spread`` and ``ort_latency_noisy`` are as in :func:`evo_nas.evaluators.latency.measure_latency`.
    """
    seconds = time_inferences(open_session(network, deployment))
    return dict(zip(METRICS, summarise_times(seconds, workers), strict=True))


def open_session(network: nn.Module, deployment: Deployment) -> Callable[[], Any]:
    """Return a function that runs the network on a batch of images in ONNX Runtime.

    Raises:
        TypeError: if its graph is not known.
    """
    return open_model(write_model(network, deployment), deployment.settings)


def write_model(network: nn.Module, deployment: Deployment) -> bytes:
    """Return the network as the content of an ONNX file, its batch norms folded.

    Raises:
        TypeError: if its graph is not known.
    """
    from evo_nas.phenotypes.onnx.network import write_onnx

    model = write_onnx(network.eval(), channels=deployment.channels, image=deployment.image_size)
    return bytes(model.SerializeToString())
