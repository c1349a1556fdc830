"""Power cuts: what is written is recorded, and the disk is rebuilt as a cut at any moment may leave it.

    python -m benchmarks.crash --states 2000

Each subject of ``subjects.py`` is recorded once (``recording.py``); ``disk.py`` says what may be on the disk then.
Each state is written to a folder of its own, opened, gone on with, and compared with what was never cut off. Exits
with 1 if anything was not as it should be, and prints each fault with the state in which it was found.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.crash.cuts import Recording
from benchmarks.crash.disk import State
from benchmarks.crash.recording import compile_recorder
from benchmarks.crash.subject import Subject
from benchmarks.crash.subjects import SUBJECTS


@dataclass
class Verdict:
    """What the power cuts of a subject have shown, and the processor seconds that it took."""

    subject: str
    operations: int
    states: int = 0
    faults: list[tuple[State, str]] = field(default_factory=list)
    seconds: float = 0.0


def cut_power(subject: Subject, library: Path, count: int, seed: int) -> Verdict:
    """Record a subject, and look at so many states that a power cut may leave, or at all if there are fewer.

    Raises:
        CannotRecord: if it cannot be recorded.
    """
    began = _processor_seconds()
    with TemporaryDirectory(prefix="crash-") as folder:
        recording = Recording.make(subject, library, Path(folder))
        verdict = Verdict(subject.name, len(recording.operations))
        for state in recording.states(count, seed):
            verdict.states += 1
            verdict.faults += [(replace(state, tree={}), fault) for fault in recording.faults(state)]
    verdict.seconds = _processor_seconds() - began
    return verdict


def _processor_seconds() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def main() -> int:
    """Print a line per subject, and what went wrong below."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=2000, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    given = parser.parse_args()
    print("| subject | operations | states | faults | processor seconds |\n| --- | --- | --- | --- | --- |")
    verdicts = []
    with TemporaryDirectory(prefix="crash-") as scratch:
        library = compile_recorder(Path(scratch))
        left = given.states
        for number, name in enumerate(given.subjects):
            share = left // (len(given.subjects) - number)  # one that has fewer states leaves its share to the others
            verdicts.append(cut_power(SUBJECTS[name], library, share, given.seed))
            left -= verdicts[-1].states
            print(_row(verdicts[-1]), flush=True)
    faults = [(verdict.subject, *fault) for verdict in verdicts for fault in verdict.faults]
    sums = (sum(verdict.operations for verdict in verdicts), sum(verdict.states for verdict in verdicts))
    print(_row(Verdict("all", *sums, [fault[1:] for fault in faults], sum(v.seconds for v in verdicts))))
    print(f"seed {given.seed}; Python {platform.python_version()}, {os.cpu_count()} cores")
    kinds = Counter((subject, fault) for subject, _, fault in faults)
    for (subject, fault), times in kinds.most_common():
        state = next(state for name, state, words in faults if (name, words) == (subject, fault))
        print(f"{subject}, {times} times: {fault}; as after {state.after} operations, with {state.cut}")
    return 1 if faults else 0


def _row(verdict: Verdict) -> str:
    cells = (verdict.subject, verdict.operations, verdict.states, len(verdict.faults), f"{verdict.seconds:.0f}")
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    sys.exit(main())
