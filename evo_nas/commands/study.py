"""The command ``study``: strategies compared over many seeds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from evo_nas.system.terminal import RenewedLine, duration

if TYPE_CHECKING:
    from evo_nas.study import Ended


class StudyProgress:
    """The same for a study: says how each run ended as it does, and how long the rest may take."""

    def __init__(self, title: str, runs: int, unfinished: int) -> None:
        self._line = RenewedLine()
        self._start = time.monotonic()
        self._runs, self._before, self._done = runs, runs - unfinished, 0
        before = f", {self._before} of them finished" if self._before else ""
        self._line.say(f"{title}; {runs} runs{before}", always=True)

    def __call__(self, ended: Ended, left: int) -> None:
        """Hear how one run ended, and how many are left."""
        self._done += 1
        how = f"ended ({ended.reason})" if ended.reason else "failed"
        words = [f"{self._before + self._done}/{self._runs} runs", f"{ended.label} seed {ended.seed} {how}"]
        if ended.best is not None:
            words.append(f"best {100 * ended.best:.2f} %")
        if left:
            words.append(f"ETA {duration((time.monotonic() - self._start) / self._done * left)}")
        self._line.say("  ".join(words), always=not left)

    def close(self) -> None:
        """Give the terminal back."""
        self._line.close()
