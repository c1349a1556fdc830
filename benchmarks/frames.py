"""What a long history costs to load, in seconds and in memory: with its cells, without them, without any text.

    python -m benchmarks.frames --trials 1000000

The history is inserted directly, rows as a search by evolution on the space nasnet leaves them, with checksums and
closed in order; every measurement is of a process of its own. A million trials are 2.5 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.frames import COLUMNS, load_history
from evo_nas.storage.checksums import file_sum, row_sum, sum_file
from evo_nas.storage.schema import ASK, TELL, make
from genotypes.spaces.nasnet import NASNetSpace

TEXTS: Final = ("genotype", "key", "error", "cell")
WHAT: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "cells too": {"cells": True},
    "no texts": {"columns": [name for name in COLUMNS if name not in TEXTS]},
}
"""What is loaded, and how that is said."""

_NETWORKS: Final = 4000  # different ones: what a row says has no part in what reading it costs


def insert_history(folder: Path, trials: int) -> None:
    """Make a run folder with so many trained trials, each the child of one of the hundred before it."""
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text(f'[run]\nstrategy = "evolution"\nspace = "nasnet"\ntrials = {trials}\n')
    history = folder / "history.db"
    connection = sqlite3.connect(history, isolation_level=None)
    make(connection)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    names = (*ASK, *TELL[1:], "asked_sum", "told_sum")
    marks = ", ".join("?" * len(names))
    connection.executemany(f"INSERT INTO trial ({', '.join(names)}) VALUES ({marks})", _rows(trials))
    connection.execute("COMMIT")
    connection.close()
    sum_file(history).write_text(file_sum(history) + "\n", "ascii")


def _rows(trials: int) -> Iterator[tuple[Any, ...]]:
    """Return the values of ``ASK``, of ``TELL`` without its id, and their sums."""
    space, rng = NASNetSpace(), np.random.default_rng(0)
    networks = [
        (str(g), space.key(g), json.dumps(space.decode(g).to_json()))
        for g in (space.sample(rng) for _ in range(_NETWORKS))
    ]
    clock = 1.7e9
    for id in range(1, trials + 1):
        genotype, key, cell = networks[int(rng.integers(_NETWORKS))]
        parent = id - int(rng.integers(1, 100)) if id > 100 else None
        seconds, fitness = float(rng.gamma(4, 5)), float(rng.beta(8, 2))
        failed = id % 97 == 0
        ask = (id, parent, genotype, key, 0, "[]", "[]", 2 * id - 1, clock, cell)
        clock += seconds
        costs = (3_000_000 + id % 1000, 400_000_000 + id, '{"cpu_seconds": 12.5}')
        outcome = ("oom", None, None, seconds, *costs, "out of memory") if failed else None
        tell = (2 * id, *(outcome or ("ok", fitness, fitness - 0.01, seconds, *costs, None)), clock)
        yield (*ask, *tell, row_sum(*ask), row_sum(id, *tell, 0))


def load_once(path: Path, what: str) -> dict[str, float]:
    """Load a history in this process; give seconds of processor and wall clock, and megabytes at most."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, processor = time.perf_counter(), time.process_time()
    load_history(path, **WHAT[what])
    return {
        "processor": time.process_time() - processor,
        "wall": time.perf_counter() - wall,
        "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def loaded_elsewhere(path: Path, what: str, times: int) -> pd.DataFrame:
    """Measure :func:`load_once` so many times, each in a process of its own: one row each."""
    command = [sys.executable, "-m", "benchmarks.frames", "--load", str(path), "--what", what]
    return pd.DataFrame(
        json.loads(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(times)
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--dir", type=Path, help="where to put the run (default: a temporary folder)")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--what", choices=WHAT, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load:
        print(json.dumps(load_once(given.load, given.what)))
        return
    with TemporaryDirectory(dir=given.dir) as folder:
        insert_history(Path(folder) / "run", given.trials)
        print(f"{given.trials:,} trials, n = {given.times}: mean, standard deviation, and memory at most")
        print(f"{'':>10}    wall           processor      memory")
        for what in WHAT:
            found = loaded_elsewhere(Path(folder) / "run", what, given.times)
            seconds = [f"{found[name].mean():>5.2f} ± {found[name].std():.2f} s" for name in ("wall", "processor")]
            print(f"{what:>10}  {'  '.join(seconds)}  {found['megabytes'].max():>6.0f} MB")


if __name__ == "__main__":
    main()
