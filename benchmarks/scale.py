"""What a long search costs: time a trial, opening, resuming and memory after many trials.

    python -m benchmarks.scale --trials 20000 100000 1000000

One search by evolution on the space nasnet, toy evaluator, serial, every commit on the disk, every trial a training
(`--repeats retrain`, as in the paper): it is stopped at each number of trials, measured, and resumed. Prints for
each: milliseconds a trial over the last 5,000, and what a fresh process needs to resume it (imports aside): seconds
and megabytes, after an orderly end and after a kill, when every row is read and compared with its checksum. Beside it
what a commit costs on this disk, of which a trial has two. A million trials take about a quarter of an hour and 2 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from evo_nas.config import RunConfig
from evo_nas.evaluators.toy import ToyEvaluator
from evo_nas.loop.listener import Listener
from evo_nas.run.parts import Parts, build, load_config, read_stored_config
from evo_nas.run.search import resume, start
from evo_nas.storage.checksums import sum_file
from evo_nas.storage.run_folder import RunFolder
from genotypes.individual import Evaluation, Individual
from genotypes.population import Population

WINDOW: Final = 5000


class Stopwatch(Listener):
    """Remembers when the last trials were told."""

    def __init__(self, trials: int, window: int) -> None:
        self.marks = {max(1, trials - window): 0.0, trials: 0.0}

    def told(self, individual: Individual, evaluation: Evaluation, population: Population, trained: int) -> None:
        """Look at the clock at the two ends of the window."""
        if trained in self.marks:
            self.marks[trained] = time.perf_counter()

    @property
    def milliseconds(self) -> float:
        """Mean of a trial within the window."""
        (first, began), (last, ended) = self.marks.items()
        return 1000 * (ended - began) / (last - first)


def commit_milliseconds(folder: Path, commits: int = 500) -> float:
    """Measure what a commit of one row costs on this disk when it must be there before it returns."""
    connection = sqlite3.connect(folder / "commits.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, text TEXT)")
    began = time.perf_counter()
    for id in range(commits):
        with connection:
            connection.execute("INSERT INTO row VALUES (?, ?)", (id, "x" * 1500))
    spent = time.perf_counter() - began
    connection.close()
    return 1000 * spent / commits


def search_until(path: Path, trials: int, strategy: str, window: int = WINDOW) -> float:
    """Search, or go on, until so many trials are done; give the milliseconds of one of the last."""
    watch = Stopwatch(trials, window)
    flags: dict[str, Any] = {"strategy": strategy, "evaluator": "toy", "trials": trials, "repeats": "retrain"}
    if (path / "history.db").exists():
        config = read_stored_config(path, {"run": {"trials": trials}})
        with RunFolder.open(path) as folder:
            resume(config, folder, build(config), listeners=[watch])
    else:
        config = load_config(flags, environ={})
        with RunFolder.create(path) as folder:
            start(config, folder, build(config), listeners=[watch])
    return watch.milliseconds


def resume_once(path: Path) -> dict[str, float]:
    """Resume a run that needs nothing more, in this process; give seconds, and megabytes beyond the imports."""
    config = read_stored_config(path)
    parts = build(config)
    _warm_up(config, parts)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    with RunFolder.open(path) as folder:
        resume(config, folder, parts)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}


def _warm_up(config: RunConfig, parts: Parts) -> None:
    """Have everything imported that a search needs."""
    import numpy as np

    rng = np.random.default_rng(0)
    assert isinstance(parts.evaluator, ToyEvaluator)
    parts.space.key(parts.space.sample(rng))


def resumed_elsewhere(path: Path) -> dict[str, float]:
    """Measure :func:`resume_once` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", "--resume", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, nargs="+", default=[20_000])
    parser.add_argument("--strategy", default="evolution")
    parser.add_argument("--dir", type=Path, help="where to put the run (default: a temporary folder)")
    parser.add_argument("--resume", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.resume:
        print(json.dumps(resume_once(given.resume)))
        return
    with TemporaryDirectory(dir=given.dir) as folder:
        path = Path(folder) / "run"
        heads = (f"{'trials':>9}", f"{'ms a trial':>10}", f"{'a commit':>9}", f"{'resume':>8}", f"{'memory':>8}")
        print(*heads, f"{'after a kill':>12}", " history")
        for trials in sorted(given.trials):
            spent = search_until(path, trials, given.strategy)
            commit = commit_milliseconds(Path(folder))
            (Path(folder) / "commits.db").unlink()
            orderly = resumed_elsewhere(path)
            sum_file(path / "history.db").unlink()  # as a killed run leaves it
            killed = resumed_elsewhere(path)
            size = (path / "history.db").stat().st_size / 2**20
            print(
                f"{trials:>9,} {spent:>10.3f} {commit:>6.3f} ms {orderly['seconds']:>6.2f} s "
                f"{orderly['megabytes']:>5.0f} MB {killed['seconds']:>10.2f} s  {size:,.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
