"""Trackers of a search that runs: a process each, which reads the history and shows it, so that none slows the search.

``python -m evo_nas track`` is what such a process runs; it is told the end of the search through its input.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from evo_nas.errors import RunFolderMoved, UsageError
from evo_nas.executors.guard import PARENT
from evo_nas.storage.run_folder import track_command

PATIENCE: Final = 20.0
"""Seconds that trackers have to show the rest when the search has ended."""

_AT_ONCE: Final = 1.5
"""Seconds of them that pass without a word."""

_LIBRARIES: Final = {"tensorboard": "TensorBoard", "mlflow": "MLflow", "wandb": "Weights & Biases", "optuna": "Optuna"}
"""Tracker, its extra and its library, all of one name -> what people call it."""


def require_trackers(names: Sequence[str]) -> None:
    """Raise unless the libraries of these trackers are installed.

    Raises:
        UsageError: naming the first that is missing, and its extra.
    """
    for name in names:
        if find_spec(name) is None:
            raise UsageError(f"--tracker {name} needs {_LIBRARIES[name]}: python -m pip install 'evo_nas[{name}]'")


class Followers:
    """The processes that show a run to its trackers; a context manager around the search.

    They end with this process, however it ends, and hear no Ctrl-C of its terminal. On leaving they have
    :data:`PATIENCE` seconds together. One that dies or hangs costs a line on stderr, never the search.
    """

    def __init__(self, run: Path, trackers: Sequence[str]) -> None:
        self._run = run
        self._trackers = trackers
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        home = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
        for name in self._trackers:
            words = [sys.executable, "-m", "evo_nas", "track", str(self._run), "--tracker", name]
            try:
                self._processes[name] = subprocess.Popen(
                    words,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                    env={**os.environ, "PYTHONPATH": path, PARENT: str(os.getpid())},
                )
            except OSError as error:
                self._warn(name, f"cannot be started: {error.strerror}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not isinstance(error, RunFolderMoved):  # else they are started again, in the new place
                self._finish()
        finally:
            for process in self._processes.values():
                process.kill()
                process.wait()

    def _finish(self) -> None:
        """Tell all that the search has ended, and wait for them."""
        for process in self._processes.values():
            assert process.stdin is not None
            with suppress(OSError):  # it has died
                process.stdin.write(b"ended\n")
                process.stdin.close()
        deadline = time.monotonic() + PATIENCE
        for name, process in self._processes.items():
            try:
                process.wait(min(_AT_ONCE, max(0.0, deadline - time.monotonic())))
            except subprocess.TimeoutExpired:
                print(f"showing the rest to {name}, for {PATIENCE:.0f}s at most", file=sys.stderr)
            try:
                code = process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._warn(name, "has not been shown all in time")
            else:
                if code < 0:  # else it has said itself what is wrong
                    self._warn(name, f"died of signal {-code}")

    def _warn(self, name: str, words: str) -> None:
        rest = track_command(self._run, [name])
        print(f"evo_nas: warning: the tracker {name} {words}; what it lacks is sent by: {rest}", file=sys.stderr)
