"""What a tracker costs a search: the same toy search with none and with each, in turns.

    python -m benchmarks.trackers --trials 20000 --rounds 3

Prints per tracker the seconds from the first ask to the last tell, mean and standard deviation over the rounds, and the
mean of their ratios to the search without a tracker in the same round. A toy trial takes well under a millisecond, so
this is the most that a tracker can cost. Trackers are processes of their own: the machine should have a core to spare.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from analysis.frames import load_history
from evo_nas.storage.run_folder import TRACKERS

NONE = "none"


def time_search(tracker: str, trials: int, seed: int) -> float:
    """Return the seconds of a search from its first ask to its last tell."""
    with TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = ["--strategy", "random", "--evaluator", "toy", "--trials", str(trials), "--seed", str(seed)]
        command = [sys.executable, "-m", "evo_nas", "run", *words, "--tracker", tracker, "--run-dir", str(run)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        trials_of = load_history(run, columns=["asked_at", "told_at"])
        return float((trials_of["told_at"].max() - trials_of["asked_at"].min()).total_seconds())


def measure(trackers: Sequence[str], trials: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round by tracker; those without one come first in each round."""
    found: dict[str, list[float]] = {name: [] for name in (NONE, *trackers)}
    for seed in range(rounds):
        for name, seconds in found.items():
            seconds.append(time_search(name, trials, seed))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure what trackers cost a search.")
    parser.add_argument("--trials", type=int, default=20000, help="trials of a search (default: 20000)")
    parser.add_argument("--rounds", type=int, default=3, help="searches with each (default: 3)")
    parser.add_argument("--trackers", nargs="+", choices=TRACKERS, default=list(TRACKERS), metavar="NAME")
    given = parser.parse_args(argv)
    found = measure(given.trackers, given.trials, given.rounds)
    print("| tracker | search, s | ratio |")
    print("| --- | --- | --- |")
    for name, seconds in found.items():
        ratios = np.divide(seconds, found[NONE])
        print(f"| {name} | {np.mean(seconds):.1f} ± {np.std(seconds):.1f} | {ratios.mean():.3f} ± {ratios.std():.3f} |")


if __name__ == "__main__":
    main()
