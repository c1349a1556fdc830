"""Whether the memory that a worker is expected to take is what it takes: published cells and random ones.

    python -m benchmarks.worker_memory --preset cpu

Trains each network in a fresh worker for one epoch of a few steps, on the digits brought to the size and the channels
that the preset would have on CIFAR-10, and prints megabytes: the peak of what the worker has to itself, and the
estimate for this network. The peak is that of the resident memory, less what the worker shares at the end (libraries,
and what it was forked with). Last, what the fork server has to itself. Reads /proc, so it needs Linux.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing import forkserver
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np

from evo_nas.evaluators.base import Job, Placement
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.evaluators.proxy.memory import worker_bytes
from evo_nas.evaluators.proxy.presets import PRESETS
from evo_nas.executors.slots import SlotsExecutor
from genotypes.catalogue import build_space
from genotypes.cell import CellPair
from genotypes.genotype import Genotype
from genotypes.individual import Evaluation
from genotypes.space import Decision, SearchSpace
from genotypes.zoo import CELLS

NASNET = build_space("nasnet")
PAIRS: dict[str, CellPair] = {name: CELLS[name] for name in ("nasnet-a", "amoebanet-a", "darts-v2")}
PAIRS |= {f"random {n}": NASNET.decode(NASNET.sample(np.random.default_rng(n))) for n in range(6)}


@dataclass(frozen=True)
class Named(SearchSpace):
    """One decision: which of the pairs of cells."""

    name: ClassVar[str] = "named"

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """The pairs by name."""
        return (Decision("pair", tuple(PAIRS)),)

    def decode(self, genotype: Genotype) -> CellPair:
        """Return the pair."""
        return list(PAIRS.values())[genotype.choices[0]]


def kilobytes(file: Path) -> Mapping[str, int]:
    """Read a file of /proc whose lines are names and kilobytes."""
    lines = [line.split() for line in file.read_text().splitlines()]
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}


def own(pid: int | str) -> int:
    """Count the kilobytes that a process has to itself. Of files, such as libraries, all processes map the same."""
    return kilobytes(Path(f"/proc/{pid}/smaps_rollup"))["Private_Dirty"]


@dataclass
class Weighing(ProxyEvaluator):
    """Trains, and says in kilobytes what that took."""

    def evaluate(self, job: Job) -> Evaluation:
        """Return what the process has to itself before it reads an image, and at most, among the metrics."""
        empty = own("self")
        evaluation = super().evaluate(job)
        peak = kilobytes(Path("/proc/self/status"))["VmHWM"]
        shared = kilobytes(Path("/proc/self/smaps_rollup"))["Rss"] - own("self")
        return replace(evaluation, metrics={"empty": empty, "most": peak - shared})


def main() -> None:
    """Read the command line, weigh, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", default="cpu", choices=PRESETS)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    preset = PRESETS[arguments.preset]
    channels = 1 if arguments.preset == "digits" else 3
    # The digits are 1,442: enough for a few steps and a whole batch of validation.
    options = {
        "dataset": "digits",
        "preset": arguments.preset,
        "channels": channels,
        "validation_images": 700,
        "train_images": 2 * preset.recipe.batch_size,
        "epochs": 1,
    }
    evaluator = Weighing(**options)  # type: ignore[arg-type]
    space = Named()
    evaluator.bind(space, Placement("cpu", threads=arguments.threads))
    with TemporaryDirectory() as folder:
        evaluator.prepare(Path(folder))
        executor = SlotsExecutor(evaluator, 1)
        print(
            f"{'network':<12}  {'empty':>7}  {'peak':>7}  {'estimate':>8}  of peak   MB of a worker, {arguments.preset}"
        )
        try:
            for number, (name, pair) in enumerate(PAIRS.items()):
                executor.submit(Job(number + 1, space.genotype([number]), 0), fresh=True)
                ((_, evaluation),) = executor.next(None)
                estimate = worker_bytes(
                    [pair],
                    images=evaluator.train_images + 700,  # type: ignore[operator]
                    image_size=preset.image,
                    batch_size=preset.recipe.batch_size,
                    cells_per_stack=preset.cells_per_stack,
                    filters=preset.filters,
                    channels=channels,
                    classes=10,
                )
                empty, most = (evaluation.metrics[word] / 1024 for word in ("empty", "most"))
                expected = estimate / 2**20
                print(f"{name:<12}  {empty:7.0f}  {most:7.0f}  {expected:8.0f}  {expected / most:7.2f}", flush=True)
            server = own(forkserver._forkserver._forkserver_pid) / 1024  # type: ignore[attr-defined]
            print(f"the fork server has {server:.0f} MB to itself")
        finally:
            executor.close()


if __name__ == "__main__":
    from benchmarks.worker_memory import main as again  # under the name by which a worker finds these classes

    again()
