"""What a search learns from other runs before it begins: read for a new run, kept in its folder for a resumed one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evo_nas.config import RunConfig
from evo_nas.errors import UsageError, calling
from evo_nas.run.parts import Parts
from evo_nas.storage.knowledge import read_donor, read_knowledge
from evo_nas.storage.run_folder import RunFolder
from genotypes.donor import Donor
from strategies.catalogue import TAUGHT


def gather_knowledge(config: RunConfig, parts: Parts, folder: Path | None = None) -> Parts:
    """Return the parts of a new run with what the runs that it names found; its strategy has taken that.

    ``folder`` is its own.

    Raises:
        UsageError: if the strategy does not learn from other runs, or one has nothing in the space of this run.
        RunFolderError: if one of them is no run, still running, damaged or empty.
    """
    donors = []
    for run in config.run.warm_start or ():
        path = Path(run)
        if folder is not None and path.exists() and path.samefile(folder):
            raise UsageError(f"a run cannot learn from itself: {path} is where it is to be; resume continues a run")
        donor, others = read_donor(path, parts.space)
        if others:
            print(
                f"evo_nas: note: {len(donor.genotypes):,} networks of {path} are learned from; {others:,} are of "
                f"other spaces than {parts.space.spelling}",
                file=sys.stderr,
            )
        donors.append(donor)
    return _teach(parts, donors)


def restore_knowledge(config: RunConfig, parts: Parts, folder: RunFolder) -> Parts:
    """Return the parts of a resumed run with what it learned from when it began; its strategy has taken that.

    Raises:
        RunFolderError: if that is missing or damaged; or as :func:`gather_knowledge`, of a run that had not begun.
        UsageError: as :func:`gather_knowledge`.
    """
    if not config.run.warm_start:
        return parts
    if not folder.knowledge.is_file() and not folder.history.exists():  # it was killed before it had any
        return gather_knowledge(config, parts, folder.path)
    return _teach(parts, read_knowledge(folder, parts.space))


def _teach(parts: Parts, donors: Sequence[Donor]) -> Parts:
    if not donors:
        return parts
    try:
        with calling(parts.strategy, "use_knowledge", ValueError):
            parts.strategy.use_knowledge(parts.space, donors)
    except ValueError as error:
        raise UsageError(f"--warm-start: {error}; those that can are {', '.join(TAUGHT)}") from error
    return replace(parts, donors=tuple(donors))
