"""The estimate of a search: a few steps of random candidates, timed; ``run --dry-run`` prints it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from evo_nas.config import Hardware, RunConfig
from evo_nas.errors import calling
from evo_nas.evaluators.base import Evaluator
from evo_nas.evaluators.pace import Pace
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.executors.choice import try_workers
from evo_nas.run.parts import Parts, fill_options
from evo_nas.system.resources import processor_quota, usable_cores
from evo_nas.system.terminal import duration, pluralize
from genotypes.genotype import Genotype
from genotypes.space import SearchSpace

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
    candidates = draw_candidates(evaluator.space, seed)
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


def dry_run(config: RunConfig, parts: Parts) -> Iterator[str]:
    """Return the configuration as TOML, and as comments below it what it would cost on this machine.

    Raises:
        DataError: if the evaluator's data is missing or damaged.
        WorkersError: if workers do not start.
    """
    candidates = draw_candidates(parts.space, config.run.seed)
    with TemporaryDirectory() as directory:
        with calling(parts.evaluator, "prepare", OSError):
            parts.evaluator.prepare(Path(directory))
        yield fill_options(config, parts).to_toml()
        for donor in parts.donors:
            yield f"# learns from {donor.name}: {pluralize(len(donor.genotypes), 'network')}"
        with calling(parts.evaluator, "cost and expected_seconds"):
            costs = [cost for candidate in candidates if (cost := parts.evaluator.cost(candidate))]
            seconds = parts.evaluator.expected_seconds(candidates)
    try_workers(config.hardware, parts.evaluator)
    if costs:
        parameters = sum(cost.parameters for cost in costs) / len(costs)
        mult_adds = sum(cost.mult_adds for cost in costs) / len(costs)
        yield (
            f"# a candidate (mean of {len(costs)} random ones): {parameters:,.0f} parameters, "
            f"{mult_adds:,.0f} mult-adds"
        )
    if seconds is not None:
        yield f"# {spell_estimate(seconds, whole_seconds(seconds, config, parts.evaluator), config)}"


def spell_estimate(seconds: float, whole: float, config: RunConfig) -> str:
    """Return in words how long a candidate and the whole search take, both given in seconds."""
    workers = pluralize(config.hardware.workers, "worker")
    about = "about" if config.run.fidelity == "none" else "at most"  # not all are trained to the end
    return (
        f"a candidate takes about {seconds:.1f} s; {config.run.trials} trials on {workers}: {about} {duration(whole)}"
    )


def draw_candidates(space: SearchSpace, seed: int) -> list[Genotype]:
    """Return random candidates, by which the others are judged."""
    rng = np.random.default_rng(seed)
    with calling(space, "sample"):
        return [space.sample(rng) for _ in range(CANDIDATES)]


def whole_seconds(seconds: float, config: RunConfig, evaluator: Evaluator) -> float:
    """Return the estimated seconds of a whole search, given those of one candidate that runs alone."""
    return seconds * config.run.trials / trainings_at_once(config.hardware, evaluator)


def trainings_at_once(hardware: Hardware, evaluator: Evaluator) -> float:
    """Return how many candidates' worth of work is done at a time: that of all workers, if the cores suffice."""
    workers = hardware.workers
    if hardware.executor == "ray" or "torch" not in evaluator.preload:
        return workers
    from evo_nas.training.devices import resolve_device

    if resolve_device(evaluator.placement.device).type != "cpu":
        return workers
    cores = min(usable_cores(), processor_quota() or math.inf)
    return min(workers, max(1.0, cores / evaluator.placement.threads))
