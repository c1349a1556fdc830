"""The estimate that ``run --dry-run`` prints: the whole configuration, the cost of a candidate, and of the search."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from evo_nas.config import Hardware, RunConfig
from evo_nas.evaluators.base import Evaluator
from evo_nas.run import Parts, fill_options
from evo_nas.system.resources import processor_quota, usable_cores
from evo_nas.system.terminal import duration

CANDIDATES: Final = 4
"""Random candidates by which the others are judged."""


def dry_run(config: RunConfig, parts: Parts) -> Iterator[str]:
    """Return the configuration as TOML, and as comments below it what it would cost on this machine.

    Raises:
        DataError: if the evaluator's data is missing or damaged.
    """
    import numpy as np

    rng = np.random.default_rng(config.run.seed)
    candidates = [parts.space.sample(rng) for _ in range(CANDIDATES)]
    with TemporaryDirectory() as directory:
        parts.evaluator.prepare(Path(directory))
        yield fill_options(config, parts).to_toml()
        costs = [cost for candidate in candidates if (cost := parts.evaluator.cost(candidate))]
        seconds = parts.evaluator.expected_seconds(candidates)
    if costs:
        parameters = sum(cost.parameters for cost in costs) / len(costs)
        mult_adds = sum(cost.mult_adds for cost in costs) / len(costs)
        yield (
            f"# a candidate (mean of {len(costs)} random ones): {parameters:,.0f} parameters, "
            f"{mult_adds:,.0f} mult-adds"
        )
    if seconds is not None:
        whole = whole_seconds(seconds, config, parts.evaluator)
        yield f"# a candidate takes about {seconds:.1f} seconds here"
        yield f"# {config.run.trials} trials on {config.hardware.workers} worker(s): about {duration(whole)}"


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
