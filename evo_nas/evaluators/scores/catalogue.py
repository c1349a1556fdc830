"""Scores of networks before their training, by name: which pass each is read from, and where it has no value.

A score is a number that is higher for a network that is thought to be better. Many rank no better than the size of the
network does (White et al. 2022, "A Deeper Look at Zero-Cost Proxies for Lightweight NAS"): hold them against parameters
and mult-adds before believing them.

Where a score has no value it is no finite number: the kernel of equal codes is singular, constant features have no
entropy, an identity has no trainability, nothing flows through a dead cell. Then it is left out of a trial, and among
other networks it takes the worst place (:func:`place_among`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from evo_nas.evaluators.base import is_fault_of_machine
from evo_nas.evaluators.scores.passes import Batch, Passes
from evo_nas.training.loop import Examples

IMAGES: Final = 128
"""Images in a mini-batch, as in the code released by Mellor et al. 2021; fewer where there are fewer."""


def synflow(passes: Passes) -> float:
    """Return the logarithm of the synaptic flow (Tanaka et al. 2020; as a score of networks: Abdelfattah et al. 2021).

    Of the images the shape alone counts. Not finite if the flow overflows float64, or is 0.
    """
    return float(passes.saliencies.sum().log())


def naswot(passes: Passes) -> float:
    """Return log |K| of the kernel of the network's ReLU codes (Mellor et al. 2021, "NAS without Training").

    Not finite if K is singular to the precision of float64, as it is for two images of one code, such as equal ones.
    """
    kernel = passes.kernel
    if torch.linalg.matrix_rank(kernel, hermitian=True) < len(kernel):
        return -math.inf
    return float(torch.linalg.slogdet(kernel).logabsdet)


def zico(passes: Passes) -> float:
    """Return the sum over layers of log sum of mean |g| / deviation of g over batches (Li et al. 2023, ZiCo).

    g is the gradient of a weight; weights whose gradient is the same in all batches are left out, and so are layers of
    such weights alone. Not finite if that is all of them, or there is a single batch.
    """
    logarithms = []
    for gradients in passes.gradients:
        if len(gradients) > 1:
            stacked = torch.stack(gradients).double()  # (batches, ...)
            deviation = stacked.std(dim=0, correction=0)
            ratio = (stacked.abs().mean(dim=0) / deviation)[deviation > 0].sum()
            if ratio > 0:
                logarithms.append(float(ratio.log()))
    return math.fsum(logarithms) if logarithms else math.nan


def expressivity(passes: Passes) -> float:
    """Return the sum of the entropies of all blocks' features (AZ-NAS: Lee and Ham 2024, expressivity)."""
    return math.fsum(block.entropy for block in passes.blocks) if passes.blocks else math.nan


def progressivity(passes: Passes) -> float:
    """Return the least growth of the entropy from one block to the next (ibid., progressivity)."""
    entropies = [block.entropy for block in passes.blocks]
    growths = [after - before for before, after in pairwise(entropies)]
    return min(growths) if growths and not any(map(math.isnan, growths)) else math.nan


def trainability(passes: Passes) -> float:
    """Return the mean over blocks of 2 - s - 1/s, for the spectral norm s of the Jacobian (ibid., trainability).

    0 at best, where gradients keep their length. An identity would be the best of all, and counts as the worst.
    """
    norms = [block.spectral_norm for block in passes.blocks[1:]]
    return math.fsum(2 - s - 1 / (s + 1e-6) for s in norms) / len(norms) if norms else math.nan


def depth(passes: Passes) -> float:
    """Return the most convolutions on one path from the image to the logits."""
    return float(passes.live.depth)


def live_parameters(passes: Passes) -> float:
    """Return the number of parameters that a signal from the image meets on its way to the logits."""
    return float(passes.live.parameters)


def live_mult_adds(passes: Passes) -> float:
    """Return the mult-adds per image that a signal from the image meets on its way to the logits."""
    return float(passes.live.mult_adds)


Score = Callable[[Passes], float]
"""Reads a score from the passes through a network: no finite number where it has no value."""

SCORES: Final[Mapping[str, Score]] = {
    score.__name__: score
    for score in (
        *(synflow, naswot, zico, expressivity, progressivity, trainability),
        *(depth, live_parameters, live_mult_adds),
    )
}
"""Name -> score. A new score is a function and its name here."""

AGGREGATE: Final = ("expressivity", "progressivity", "trainability", "live_mult_adds", "naswot", "depth")
"""The four of AZ-NAS, naswot and depth: the set that ranked the cells of NAS-Bench-201 best."""


def mini_batches(train: Examples, names: Iterable[str], images: int = IMAGES) -> list[Batch]:
    """Return mini-batches of normalised train images for scores of these names: two for ZiCo, else one.

    They are always the same, spread evenly over all images.
    """
    step = max(1, len(train) // images)
    starts = [0]
    if "zico" in set(names) and len(train) > images:
        starts.append(step // 2 or images)
    return [train.batch(slice(start, start + images * step, step)) for start in starts]


def measure_scores(
    network: nn.Module, batches: Sequence[Batch], names: Iterable[str], *, seed: int = 0
) -> dict[str, float]:
    """Compute scores, names of :data:`SCORES`, of a network that is not trained yet.

    ``scores_seconds`` is what all of them took, in seconds of the wall clock. A score that is no finite number is left
    out, and so is one that raises, which becomes ``NAME_failed``; ``scores_missing`` counts both.

    Raises:
        Exception: if memory ran out or the device was lost: the network's scores are not known then.
    """
    start, names = time.perf_counter(), tuple(names)
    passes = Passes(network, batches, seed=seed, wants_gradients="zico" in names)
    found: dict[str, float] = {}
    failed: dict[str, float] = {}
    for name in names:
        try:
            score = SCORES[name](passes)
        except Exception as error:
            if is_fault_of_machine(error):
                raise
            failed[f"{name}_failed"] = 1
        else:
            if math.isfinite(score):
                found[name] = score
    missing = len(names) - len(found)
    return {**found, **failed, "scores_missing": missing, "scores_seconds": time.perf_counter() - start}


def place_among(values: npt.NDArray[np.float64], yardstick: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the place of each value among those of a yardstick and itself, a fraction in (0, 1], the best 1.

    Equal values share the mean of their places. What is no finite number takes the worst place, with all others of that
    kind.
    """
    known = np.where(np.isfinite(yardstick), yardstick, -np.inf)
    asked = np.where(np.isfinite(values), values, -np.inf)
    ordered = np.sort(known)
    below, up_to = (np.searchsorted(ordered, asked, side=side) for side in ("left", "right"))
    places: npt.NDArray[np.float64] = ((below + up_to) / 2 + 1) / (len(known) + 1)
    return places
