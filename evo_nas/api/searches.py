"""Searches from Python, started and resumed: the twins of the commands ``run`` and ``resume``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evo_nas.api.runs import Run
from evo_nas.config import from_environment, from_flags, merge
from evo_nas.errors import UsageError
from evo_nas.loop.listener import Listener
from evo_nas.run.parts import build, load_config, new_folder, read_stored_config
from evo_nas.run.search import resume as resume_run
from evo_nas.run.search import start
from evo_nas.storage.run_folder import RunFolder


def search(
    *,
    run_dir: str | os.PathLike[str] | None = None,
    settings: Sequence[str] = (),
    listeners: Sequence[Listener] = (),
    **flags: Any,
) -> Run:
    """Return a finished run, which ``analysis.load_history`` turns into a DataFrame.

    The keywords are the flags of ``python -m evo_nas run``, as in ``search(strategy="evolution", dataset="digits",
    trials=100, population=20, sample=5)``; ``settings`` are what ``--set`` takes. To search with objects of your own
    instead of names, use :class:`evo_nas.manager.PopulationManager`.

    Raises:
        UsageError: if a flag, a name or an option is unknown, or a value impossible.
        RunFolderError: if ``run_dir`` is not empty, in use or cannot be made.
        EvoNasError: for whatever else ends a run: see :func:`evo_nas.run.search.start`.
    """
    config = load_config(flags, settings=settings)
    parts = build(config)
    with RunFolder.create(Path(run_dir) if run_dir else new_folder(config, parts)) as folder:
        return Run.of(start(config, folder, parts, listeners=listeners))


def resume(
    run_dir: str | os.PathLike[str],
    *,
    settings: Sequence[str] = (),
    listeners: Sequence[Listener] = (),
    **flags: Any,
) -> Run:
    """Return a run, resumed where it stopped, after its budget is used up.

    The keywords are the flags of ``python -m evo_nas resume``, as in ``resume("runs/a", trials=200, workers=2)``;
    ``settings`` are what ``--set`` takes. A plug-in of the run is named again, as in ``strategy="mine:Own"``.

    Raises:
        UsageError: if a flag is unknown, would change the search, or a plug-in is not named.
        RunFolderError: if the folder holds no run, is damaged or in use.
        EvoNasError: for whatever else ends a run: see :func:`evo_nas.run.search.resume`.
    """
    path = Path(run_dir)
    if any((path / name).is_file() for name in ("train.json", "top.json")):
        raise UsageError(f"{path} holds a training, no search; evo_nas.train resumes it")
    plugins = [flags[name] for name in ("strategy", "space", "evaluator") if flags.get(name)]
    # As on the command line: variables of hardware count, those of science would only be refused.
    variables = {"hardware": from_environment(os.environ).get("hardware", {})}
    with RunFolder.open(path) as folder:
        config = read_stored_config(path, merge(variables, from_flags(flags, settings)), plugins)
        return Run.of(resume_run(config, folder, build(config), listeners=listeners))
