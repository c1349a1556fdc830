"""The executor that a configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from warnings import catch_warnings, simplefilter

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
    kind = choose_kind(hardware, evaluator)
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
    with catch_warnings():  # joblib warns of shared memory that cannot be used; an error will say so
        simplefilter("ignore")
        from evo_nas.executors.slots import SlotsExecutor

    gpus: Sequence[str] = ()
    if "torch" in evaluator.preload:  # nothing else needs a device, and torch takes seconds to import
        from evo_nas.training.devices import gpus_for

        gpus = gpus_for(evaluator.placement.device)
        if gpus:  # settled here, because a worker whose GPU is lost must fail, and not train on the processor instead
            evaluator.placement = replace(evaluator.placement, device="cuda")
    return SlotsExecutor(evaluator, hardware.workers, alive, trial_timeout=timeout, recycle_after=recycle, gpus=gpus)


def choose_kind(hardware: Hardware, evaluator: Evaluator) -> str:
    """Return the name of the executor that a configuration asks for: what ``auto`` stands for, else the name itself."""
    if hardware.executor != "auto":
        return hardware.executor
    needs_none = hardware.trial_timeout is None and not hardware.recycle_after and evaluator.is_harmless
    return "serial" if hardware.workers == 1 and needs_none else "slots"


def try_workers(hardware: Hardware, evaluator: Evaluator) -> None:
    """Start a worker and end it, if the search has workers on this machine.

    Raises:
        UsageError: if this process may start none, or the evaluator cannot be sent to it.
        WorkersError: if it does not start.
    """
    if choose_kind(hardware, evaluator) == "slots":
        with catch_warnings():
            simplefilter("ignore")
            from evo_nas.executors.slots import try_worker

        try_worker(evaluator)
