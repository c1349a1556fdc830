"""The executor that a configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from evo_nas.config import Hardware
from evo_nas.evaluators.base import Evaluator
from evo_nas.executors.base import Executor
from evo_nas.executors.serial import SerialExecutor


def build_executor(
    hardware: Hardware, evaluator: Evaluator, alive: Path, watch: Callable[[int], AbstractContextManager[None]]
) -> Executor:
    """Build the executor; those that need worker processes are imported only where there are any.

    ``alive`` is the file by which these know that the search lives, ``watch`` what the serial executor takes.
    """
    timeout, recycle = hardware.trial_timeout, hardware.recycle_after or None
    kind = hardware.executor
    if kind == "auto":
        alone = hardware.workers == 1 and evaluator.is_harmless and timeout is None and recycle is None
        kind = "serial" if alone else "slots"
    if kind == "serial":
        return SerialExecutor(evaluator, hardware.grace, watch)
    if kind == "ray":
        from evo_nas.executors.ray import RayExecutor

        return RayExecutor(
            evaluator,
            hardware.workers,
            address=hardware.ray_address,
            cpus=hardware.cpus_per_trial,
            gpus=hardware.gpus_per_trial,
            trial_timeout=timeout,
            recycle_after=recycle,
        )
    from evo_nas.executors.slots import SlotsExecutor

    gpus: Sequence[str] = ()
    if "torch" in evaluator.preload:  # nothing else needs a device, and torch takes seconds to import
        from evo_nas.training.devices import gpus_for

        gpus = gpus_for(evaluator.placement.device)
        if gpus:  # settled here, because a worker whose GPU is lost must fail, and not train on the processor instead
            evaluator.placement = replace(evaluator.placement, device="cuda")
    return SlotsExecutor(evaluator, hardware.workers, alive, trial_timeout=timeout, recycle_after=recycle, gpus=gpus)
