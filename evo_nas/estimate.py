"""What ``run --dry-run`` says: the resolved configuration, the cost of a candidate, and of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from evo_nas.config import RunConfig
from evo_nas.progress import duration
from evo_nas.run import Parts, resolved

CANDIDATES: Final = 4
"""Random candidates by which the others are judged."""


def dry_run(config: RunConfig, parts: Parts) -> Iterator[str]:
    """Give the configuration as TOML, and as comments below it what it would cost on this machine.

    Raises:
        DataError: if the evaluator's data is missing or damaged.
    """
    import numpy as np

    rng = np.random.default_rng(config.run.seed)
    candidates = [parts.space.sample(rng) for _ in range(CANDIDATES)]
    with TemporaryDirectory() as directory:
        parts.evaluator.prepare(Path(directory))
        yield resolved(config, parts).to_toml()
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
        whole = seconds * config.run.trials / config.hardware.workers
        yield f"# a candidate takes about {seconds:.1f} seconds here"
        yield f"# {config.run.trials} trials on {config.hardware.workers} worker(s): about {duration(whole)}"
