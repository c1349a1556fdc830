"""The memory that a worker of the evaluator of detectors takes, estimated before one is started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch

from evo_nas.data.boxes.value import Targets
from evo_nas.evaluators.live_bytes import SLACK, WORKER, LiveBytes
from evo_nas.phenotypes.detector import Detector
from evo_nas.training.boxed import EVALUATION_BATCH
from evo_nas.training.detection import Detection, detect_batch
from evo_nas.training.devices import use_threads

_FEW: Final = 2
"""Images of the passes in which tensors are followed; batch norm needs two."""

_COPIES: Final = 4
"""Vectors as long as the weights: these, their gradients, and the two moments of AdamW."""


def worker_bytes(detectors: Sequence[Detector], *, images: int, batch_size: int) -> int:
    """Estimate what a worker on the processor takes at most, in bytes, while it trains the largest of some detectors.

    ``images`` are those to train and to validate on, together. The passes are made for two images, at full size.
    """
    with use_threads(1):
        most = max(_detector_bytes(detector, batch_size, images) for detector in detectors)
    pixels = detectors[0].canvas ** 2 * detectors[0].channels
    return WORKER + images * pixels + int(SLACK * most)


def _detector_bytes(detector: Detector, batch_size: int, images: int) -> int:
    """Count what lives at the peak of a training step and at that of an evaluation, together.

    Together, because what a step has freed is in pieces that the evaluation's larger tensors do not fit into. In the
    backward pass gradients come as activations go.
    """
    detector.to(memory_format=torch.channels_last)
    side = float(detector.canvas)
    pixels = torch.zeros(_FEW, detector.channels, detector.canvas, detector.canvas)
    pixels = pixels.to(memory_format=torch.channels_last)
    whole = torch.tensor([[0.0, 0.0, side, side]] * _FEW)
    labels, ignored = torch.zeros(_FEW, dtype=torch.int64), torch.zeros(_FEW, dtype=torch.bool)
    targets = Targets(_FEW, whole, labels, ignored, torch.arange(_FEW))
    with torch.random.fork_rng([]):  # layers that drop something draw
        detector.train()
        with LiveBytes() as training:
            Detection().loss(detector, (pixels, targets))
        detector.eval()
        with torch.inference_mode(), LiveBytes() as evaluation:
            detect_batch(detector, pixels)
    activations = training.peak * batch_size + evaluation.peak * min(EVALUATION_BATCH, images)
    parameters = sum(parameter.nbytes for parameter in detector.parameters())
    return int(activations / _FEW + _COPIES * parameters)
