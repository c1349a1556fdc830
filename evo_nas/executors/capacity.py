"""The memory that the workers of a run need, and that this machine has."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from evo_nas.config import Hardware
from evo_nas.errors import UsageError, calling
from evo_nas.evaluators.base import Evaluator
from evo_nas.system.resources import available_memory
from evo_nas.system.terminal import gigabytes
from genotypes.plain import whole
from genotypes.registry import options_of

SERVER: Final = 70 * 10**6
"""Bytes that the fork server of the slots has to itself: measured, see docs/measurements/proxy.md."""

MARGIN: Final = 1.25
"""By how much the estimate must exceed what is available for a run to be refused. Not all workers are at their peak at
one time, and what another program takes now it may have given back in an hour: a smaller excess is only warned of."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Demand:
    """Memory needed by ``workers`` of ``each`` bytes, and the bytes ``available``."""

    workers: int
    each: int
    available: int

    @property
    def total(self) -> int:
        """Bytes that all workers need together with the process that they are forked from."""
        return self.workers * self.each + SERVER

    @property
    def fitting(self) -> int:
        """The number of workers that fit into memory; 0 if none does."""
        return max(0, self.available - SERVER) // self.each

    @property
    def is_met(self) -> bool:
        """Whether there is memory for all of them."""
        return self.total <= self.available

    @property
    def is_hopeless(self) -> bool:
        """Whether so much is missing that the run would not last."""
        return self.total > MARGIN * self.available

    def __str__(self) -> str:
        workers = "1 worker needs" if self.workers == 1 else f"{self.workers} workers need"
        return (
            f"{workers} about {self.workers} x {gigabytes(self.each)} + {gigabytes(SERVER)} = "
            f"{gigabytes(self.total)} of memory, of which {gigabytes(self.available)} are available"
        )


def memory_demand(hardware: Hardware, evaluator: Evaluator) -> Demand | None:
    """Return the memory demand of the workers on this machine; ``None`` on a cluster, or if a figure is unknown."""
    if hardware.executor == "ray" or (available := available_memory()) is None:
        return None
    with calling(evaluator, "memory"):
        each = evaluator.memory()
        each = each if each is None else whole(each)
    return Demand(hardware.workers, each, available) if each else None


def memory_remedy(demand: Demand, evaluator: Evaluator) -> str:
    """Return advice in words: the flags with which the workers would fit."""
    ways = [f"--workers {demand.fitting}"] if demand.fitting else []
    if (batch := options_of(evaluator).get("batch_size")) is not None:
        ways.append(f"a batch smaller than {batch}, with --set evaluator.batch_size=B")
    return f"use {' or '.join(ways)}" if ways else "free some memory"


def check_memory(hardware: Hardware, evaluator: Evaluator) -> None:
    """Raise if the workers of a run need much more memory than is available; warn if they may be short of it.

    Raises:
        UsageError: if much more is needed than is available, with the sum and the flags that mend it.
    """
    demand = memory_demand(hardware, evaluator)
    if demand is None or demand.is_met:
        return
    words = f"{demand}: {memory_remedy(demand, evaluator)}"
    if demand.is_hopeless:
        raise UsageError(words)
    _log.warning("warning: %s", words)
