"""Latency of a network as it is deployed: at its final size, as an ONNX graph with folded batch norms, in ONNX Runtime.

Neither the size of the proxy training nor eager torch says how fast a network answers in the end: there the overhead of
each operation counts as much as its arithmetic. The clock is that of the wall, so whatever else runs beside it counts.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from torch import nn

from evo_nas.evaluators.latency import REPEATS, summarise_times
from evo_nas.phenotypes.named import OURS
from evo_nas.phenotypes.onnx.graph import IMAGES
from genotypes.chain import Chain
from genotypes.widths import Widths

METRICS: Final = ("ort_latency", "ort_latency_spread", "ort_latency_noisy")
"""Metrics that :func:`measure_deployment` returns."""

_WARM_UP: Final = 5
_FEWEST: Final = 10
_SECONDS: Final = 2.0
"""After which a network is not run more often than :data:`_FEWEST` times: large ones take long, and vary less."""


@dataclass(frozen=True)
class Deployment:
    """The use of a network: a ``batch`` of images of ``image_size`` pixels a side, and ``threads`` of the CPU."""

    channels: int
    image_size: int
    batch: int = 1
    threads: int = 1


def require_runtime(design: object) -> None:
    """Raise unless networks of this kind can be written and timed here.

    Raises:
        ValueError: if a package is missing, or no graph is known for the networks.
    """
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
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
    return dict(zip(METRICS, time_inferences(open_session(network, deployment), workers), strict=True))


def time_inferences(infer: Callable[[], Any], workers: int) -> tuple[float, float, float]:
    """Return median, spread and noise of the seconds that an inference takes, as ``measure_deployment`` has them."""
    seconds: list[float] = []
    for _ in range(_WARM_UP):
        infer()
    while len(seconds) < REPEATS and (len(seconds) < _FEWEST or sum(seconds) < _SECONDS):
        start = time.perf_counter()
        infer()
        seconds.append(time.perf_counter() - start)
    return summarise_times(seconds, workers)


def open_session(network: nn.Module, deployment: Deployment) -> Callable[[], Any]:
    """Return a function that runs the network on a batch of images in ONNX Runtime.

    Raises:
        TypeError: if its graph is not known.
    """
    from evo_nas.phenotypes.onnx.network import write_onnx

    model = write_onnx(network.eval(), channels=deployment.channels, image=deployment.image_size)
    return open_graph(model.SerializeToString(), deployment)


def open_graph(content: bytes, deployment: Deployment) -> Callable[[], Any]:
    """Return a function that runs the network of an ONNX file on a batch of images in ONNX Runtime."""
    session = start_session(content, deployment.threads)
    side = deployment.image_size
    images = np.zeros((deployment.batch, deployment.channels, side, side), np.float32)
    return lambda: session.run(None, {IMAGES: images})


def start_session(content: bytes, threads: int) -> Any:
    """Return a session of ONNX Runtime for an ONNX file, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # it warns of what it cannot know of the machine
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
