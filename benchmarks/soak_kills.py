"""What many kills cost: every strategy, with one worker and with four, killed at random moments and resumed.

    python -m benchmarks.soak_kills --kills 200
    python -m benchmarks.soak_kills --kills 100 --pauses

Trainings on the toy landscape of 5 to 50 ms. SIGKILL hits the main process alone, half of the times at a moment of the
whole duration of a run, start-up and resuming included, half of the times within so-manieth training. Then the run is
resumed, and killed again, until it ends. What is counted is documented in ``benchmarks/kills.py``. Every run is
compared, decision by decision, with its strategy told the recorded sequence again; one with a single worker is also
compared, row by row, with a run that was never killed. With ``--pauses`` trainings pause at rungs, with a file for the
state of each, which is missed where it is gone. Exits with 1 if anything was not as it should be.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.kills import SPACES, Killed, Search, Tally, kill_often, uninterrupted
from strategies.catalogue import STRATEGIES

WORKERS = (1, 4)
KILLS_A_RUN = 6
PROMISED = 2.0
"""Seconds that the workers of a run may outlive it."""
TRIALS = 40


def soak(search: Search, kills: int, seed: int, root: Path) -> Tally:
    """Kill runs of one search until there were so many kills, each run at most :data:`KILLS_A_RUN` times."""
    rng = np.random.default_rng([seed, list(STRATEGIES).index(search.strategy), search.workers])
    reference, duration = uninterrupted(search, root / "whole")
    tally = Tally()
    for number in count():
        if tally.kills >= kills:
            return tally
        run = Killed(search, root / f"run{number}")
        kill_often(run, min(KILLS_A_RUN, kills - tally.kills), rng, duration)
        tally += run.judge(reference if search.workers == 1 else None)
    raise AssertionError("count() has no end")


def row(search: Search, tally: Tally, seconds: float) -> str:
    """Write one line of the table."""
    cells = [search.strategy, search.workers, tally.kills, tally.in_flight, tally.runs, tally.trials, tally.repeated]
    cells += [tally.lost, tally.duplicated, "ok" if not tally.damaged else f"{tally.damaged} damaged"]
    cells += [tally.different, tally.survivors, f"{tally.slowest:.2f} s", f"{seconds:.0f} s"]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> int:
    """Print the table, and what went wrong below it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--pauses", action="store_true", help="trainings pause at rungs; not for strategies of widths")
    given = parser.parse_args()
    searches = [
        Search(strategy, workers, trials=TRIALS, seconds=0.015, sigma=0.6, pauses=given.pauses)
        for strategy in given.strategies
        if not (given.pauses and SPACES.get(strategy) == "widths")
        for workers in WORKERS
    ]
    heads = ["strategy", "workers", "kills", "in flight", "runs", "trials", "repeated", "lost", "duplicated"]
    heads += ["integrity", "different", "survivors", "slowest death", "time"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    total, began = Tally(), time.monotonic()
    for number, search in enumerate(searches):
        kills = (number + 1) * given.kills // len(searches) - number * given.kills // len(searches)
        with TemporaryDirectory(prefix="soak-") as folder:
            start = time.monotonic()
            tally = soak(search, kills, given.seed, Path(folder))
            print(row(search, tally, time.monotonic() - start), flush=True)
        total += tally
    print(row(Search("all", sum(WORKERS)), total, time.monotonic() - began).replace(f"| {sum(WORKERS)} |", "| |", 1))
    print(f"seed {given.seed}; Python {platform.python_version()}, {os.cpu_count()} cores")
    if total.slowest > PROMISED:
        total.add("survivors", [f"the slowest process outlived its run by {total.slowest:.2f} s, not {PROMISED:g} s"])
    print("\n".join(total.problems))
    return 1 if total.problems else 0


if __name__ == "__main__":
    sys.exit(main())
