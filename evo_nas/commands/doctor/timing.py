"""A few steps of a few candidates, timed: with the threads of the search, with one, and with all cores."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from evo_nas.evaluators.pace import Pace
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator

CANDIDATES: Final = 3
"""Random candidates by which the others are judged."""

LONG: Final = 5.0
"""Seconds that a single step of one candidate may take for more of them to be tried."""


@dataclass(frozen=True)
class TimedSteps:
    """The measured pace by number of threads, over ``candidates`` random ones.

    ``noise`` says that the images were random, because those of the search are not there, or not decoded.
    """

    paces: dict[int, Pace]
    candidates: int
    noise: bool


def try_out(
    evaluator: ProxyEvaluator, seed: int, others: set[int], *, noise: bool, hear: Callable[[str], None]
) -> TimedSteps:
    """Train random candidates for a few steps, with the threads of the placement and then with ``others``.

    ``hear`` is told what is going on. Where a single step takes long, it is all that is measured.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    candidates = [evaluator.space.sample(rng) for _ in range(CANDIDATES)]
    threads = evaluator.placement.threads
    hear(f"training {CANDIDATES} random candidates for a few steps, with {pluralize(threads, 'thread')}")
    start = time.perf_counter()
    first = evaluator.pace(candidates[:1], steps=1, noise=noise)
    if time.perf_counter() - start > LONG:
        return TimedSteps({threads: first}, 1, noise)
    paces = {threads: evaluator.pace(candidates, noise=noise)}
    for number in sorted(others - {threads}):
        hear(f"the same with {pluralize(number, 'thread')}")
        paces[number] = evaluator.pace(candidates, threads=number, noise=noise)
    return TimedSteps(paces, CANDIDATES, noise)


def pluralize(number: int, word: str) -> str:
    """Write how many there are of something."""
    return f"{number} {word}{'s' * (number != 1)}"
