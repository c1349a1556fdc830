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
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.crash.disk import State, choose_states, read_tree, replay
from benchmarks.crash.recording import CannotRecord, Operation, compile_recorder, record
from benchmarks.crash.subjects import SUBJECTS, Subject


@dataclass
class Verdict:
    """What the power cuts of a subject have shown, and the processor seconds that it took."""

    subject: str
    operations: int
    states: int
    faults: list[tuple[State, str]]
    seconds: float


def cut_power(subject: Subject, library: Path, folder: Path, count: int, seed: int) -> Verdict:
    """Record a subject in an empty folder, and look at so many states that a power cut may leave.

    Raises:
        CannotRecord: if it writes something that the recorder does not see.
    """
    began = _processor_seconds()
    before, place, whole = (folder.resolve() / name for name in ("before", "at", "whole"))
    before.mkdir()
    subject.prepare(before)
    shutil.copytree(before, place, symlinks=True)
    operations = record(library, place, ["-m", "benchmarks.crash.subjects", subject.name, str(place)], folder / "log")
    place.rename(whole)
    check_recording(before, operations, whole, place)
    states = choose_states(before, operations, count, seed, place)
    faults = []
    for state in states:
        state.write(place, whole)
        faults += [(state, fault) for fault in find_faults(subject, state, place, whole)]
        shutil.rmtree(place)
    return Verdict(subject.name, len(operations), len(states), faults, _processor_seconds() - began)


def find_faults(subject: Subject, state: State, place: Path, whole: Path) -> list[str]:
    """List what is wrong with what a power cut left; a refusal to go on is a fault too."""
    try:
        return subject.problems(place, state.marks, whole)
    except Exception as error:
        return [f"{type(error).__name__}: {error}".replace(str(place), "")]


def check_recording(before: Path, operations: Sequence[Operation], whole: Path, place: Path) -> None:
    """Compare what the recording makes of what was there before with what the program made of it.

    Raises:
        CannotRecord: naming the files that differ.
    """
    replayed, real = replay(before, operations, place), read_tree(whole)
    names = {name for name in replayed.keys() | real.keys() if replayed.get(name, 0) != real.get(name, 0)}
    if names := {name for name in names if not name.endswith("-shm")}:  # which SQLite writes as memory
        raise CannotRecord(f"not everything was recorded of {', '.join(sorted(names))}")


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
            folder = Path(scratch, name)
            folder.mkdir()
            share = left // (len(given.subjects) - number)  # one that has fewer states leaves its share to the others
            verdicts.append(cut_power(SUBJECTS[name], library, folder, share, given.seed))
            left -= verdicts[-1].states
            print(_row(verdicts[-1]), flush=True)
            shutil.rmtree(folder)
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
