"""The weights that the networks of a run have on its supernet, as files that a training to the end begins with."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from evo_nas.commands.cell_sources import CellSource
from evo_nas.errors import DataError, UsageError
from evo_nas.evaluators.base import prepare_evaluator, weights_file
from evo_nas.evaluators.supernet.evaluator import SupernetEvaluator
from evo_nas.run.parts import build, read_stored_config
from evo_nas.storage.run_folder import RunFolder
from evo_nas.system.links import refuse_links
from evo_nas.system.text import read_text
from genotypes.genotype import Genotype, shorten

SUPERNET: Final = Path("supernet")
"""The word, in the place of a file of weights, for those of a run's supernet."""


def write_heritage(run: Path, sources: Sequence[CellSource], device: str) -> list[Path]:
    """Return a file of weights for each of these trials of a run, in the run's folder; those that are there are taken.

    A supernet that is no longer in the cache is trained again, with lines of progress on stderr.

    Raises:
        UsageError: if the run was not searched on a supernet, or the supernet is not the one that it was searched on.
        DataError: if the supernet or its images are damaged or missing, or the files cannot be written.
    """
    trials = [source.trial for source in sources]
    files = [weights_file(run, trial) for trial in trials if trial is not None]
    assert len(files) == len(sources), "they are trials of a run"
    config = read_stored_config(run)
    if config.run.evaluator != SupernetEvaluator.name:
        raise UsageError(
            f"{shorten(str(run), 5000)} was searched with the evaluator {shorten(config.run.evaluator)}, and --from "
            "supernet takes a run that was searched on one: name a file of weights, or leave --from out"
        )
    refuse_links(run, ["weights", *(f"weights/{file.name}" for file in files)])
    if all(file.is_file() for file in files):
        return files
    evaluator = build(replace(config, hardware=replace(config.hardware, device=device))).evaluator
    assert isinstance(evaluator, SupernetEvaluator)
    prepare_evaluator(evaluator, run)
    evaluator.groundwork(lambda words: print(words, file=sys.stderr, flush=True))
    if evaluator.fingerprint()["supernet"] != _read_digest(RunFolder(run)):
        raise UsageError(
            f"the supernet in the cache is not the one that {shorten(str(run), 5000)} was searched on: it was trained "
            "again, by another version or on another machine; train from scratch, without --from"
        )
    try:
        for file, source in zip(files, sources, strict=True):
            if not file.is_file():
                evaluator.write_path(Genotype.parse(source.genotype or ""), source.trial or 0)
    except OSError as error:
        raise DataError(f"cannot write the weights {error.filename}: {error.strerror}") from error
    return files


def _read_digest(folder: RunFolder) -> object:
    """Return the digest of the supernet that a run was searched on, if the run says so."""
    try:
        return json.loads(read_text(folder.environment))["data"]["supernet"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
