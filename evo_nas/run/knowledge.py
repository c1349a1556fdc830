"""Knowledge of other runs for a search: read from their folders when it begins, from its own when it is resumed."""

from __future__ import annotations

import sys
from pathlib import Path

from evo_nas.config import RunConfig
from evo_nas.errors import UsageError
from evo_nas.run.parts import Parts, teach
from evo_nas.storage.knowledge import read_donor, read_knowledge
from evo_nas.storage.run_folder import RunFolder


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
    return teach(parts, donors)


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
    return teach(parts, read_knowledge(folder, parts.space))
