"""Whether main and worker stay as small as they are: memory and open files over many trials on one slot.

    python -m benchmarks.memory --evaluator proxy --trials 1000

The proxy trains cells of two blocks on 100 of the digits for an epoch: a training of a fraction of a second that goes
through everything that a long one does. Prints megabytes and open files of both processes after 20 trials and at the
end. Reads /proc, so it needs Linux.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from evo_nas.executors.slots import SlotsExecutor
from evo_nas.loop.listener import Listener
from evo_nas.manager import PopulationManager
from evo_nas.run.parts import build, load_config
from evo_nas.storage.history import History
from genotypes.individual import Evaluation, Individual
from genotypes.population import Population

SETTLED: Final = 20
"""After so many trials everything is loaded and every pool of memory is filled."""

OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "toy": {},
    "proxy": {"epochs": 1, "train_images": 100, "validation_images": 50, "image_size": 8},
}


@dataclass(frozen=True)
class Size:
    """Resident memory in megabytes, and open files, of a process."""

    megabytes: float
    files: int

    @classmethod
    def of(cls, pid: int) -> Size:
        """Measure a process that lives."""
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return cls(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(list(Path(f"/proc/{pid}/fd").iterdir())))


class Scales(Listener):
    """Weighs both processes when the run has settled, and at the end."""

    def __init__(self, executor: SlotsExecutor, trials: int) -> None:
        self.executor = executor
        self.trials = trials
        self.main: list[Size] = []
        self.worker: list[Size] = []
        self.pids: set[int] = set()

    def told(self, individual: Individual, evaluation: Evaluation, population: Population, trained: int) -> None:
        """Weigh."""
        if trained in (SETTLED, self.trials):
            (slot,) = self.executor._idle.values()
            (pid,) = slot.worker._loky._processes  # type: ignore[attr-defined]
            self.pids.add(pid)
            self.main.append(Size.of(os.getpid()))
            self.worker.append(Size.of(pid))


def weigh(evaluator: str, trials: int, folder: Path) -> Scales:
    """Search on one slot, by random, and weigh the processes."""
    flags = {"strategy": "random", "evaluator": evaluator, "space": "nasnet(blocks=2)", "trials": trials}
    flags |= {
        "repeats": "retrain",
        "threads": 1,
        **({"dataset": "digits", "device": "cpu"} if evaluator == "proxy" else {}),
    }
    settings = [f"evaluator.{name}={value}" for name, value in OPTIONS[evaluator].items()]
    parts = build(load_config(flags, settings=settings, environ={}))
    parts.evaluator.prepare(folder)
    executor = SlotsExecutor(parts.evaluator, 1, folder / "alive.lock", trial_timeout=600.0)
    scales = Scales(executor, trials)
    try:
        with History.create(folder / "history.db") as history:
            PopulationManager(
                *(parts.space, parts.strategy, parts.evaluator, executor, history),
                trials=trials,
                repeats="retrain",
                listeners=[scales],
            ).run()
    finally:
        executor.close()
    return scales


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--evaluator", choices=list(OPTIONS), default="proxy")
    parser.add_argument("--trials", type=int, default=1000)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        scales = weigh(given.evaluator, given.trials, Path(folder))
    for name, (early, late) in (("main", scales.main), ("worker", scales.worker)):
        print(
            f"{name:>7}: {early.megabytes:.1f} MB and {early.files} files after {SETTLED} trials, "
            f"{late.megabytes:.1f} MB and {late.files} files after {given.trials:,}"
        )


if __name__ == "__main__":
    main()
