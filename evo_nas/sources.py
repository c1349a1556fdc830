"""Where cells come from: a genotype text, a file, a run, or the zoo."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from evo_nas.config import read_toml
from evo_nas.data.catalogue import DATA_SETS
from evo_nas.errors import UsageError
from evo_nas.folder import RunFolder
from evo_nas.history import History, TopTrial
from genotypes.catalogue import space_named
from genotypes.cell import CellPair
from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.zoo import CELLS


@dataclass(frozen=True)
class Source:
    """A pair of cells, what it is called, the genotype that describes it, and its fitness in a search, if any.

    ``dataset`` and ``data_dir`` are the images that a run was searched on, where it says so.
    """

    cells: CellPair
    label: str
    genotype: str | None = None
    fitness: float | None = None
    dataset: str | None = None
    data_dir: Path | None = None


def cells_named(source: str | None, cell: str | None, trial: int | None = None) -> Source:
    """Find the cells that are meant: ``source`` is a genotype text, a JSON file or a run folder; ``cell`` is published.

    Of a run it is the best trial, or the one with the id ``trial``.

    Raises:
        UsageError: if not exactly one of them is given, it cannot be read, or what is written there cannot exist.
        RunFolderError: if the run cannot be read.
    """
    if (source is None) == (cell is None):
        raise UsageError("name either a run, a genotype (text or JSON file) or a published cell (--cell), and one only")
    if cell is not None:
        if trial is not None:
            raise UsageError(f"--trial names a trial of a run, and {shorten(cell)} is a published cell")
        if cell not in CELLS:
            raise UsageError(f"there is no published cell {shorten(cell)!r}; there are: {', '.join(CELLS)}")
        return Source(CELLS[cell], cell)
    text = source or ""
    if _is_run(text):
        return of_run(Path(text), trial)
    if trial is not None:
        raise UsageError(f"--trial names a trial of a run, and {shorten(text)} is no run folder")
    if not text.endswith(".json") and (":" in text or not _is_file(text)):
        try:
            return _decoded(Genotype.parse(text))
        except GenotypeError as error:
            raise UsageError(
                str(error) if ":" in text else f"there is no run or file {shorten(text)}; {error}"
            ) from error
    path = Path(text)
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: {shorten(str(error), 200)}") from error
    try:
        if isinstance(record, dict) and "choices" in record:
            return _decoded(Genotype.from_json(record))
        return Source(CellPair.from_json(record), path.stem)
    except GenotypeError as error:
        raise UsageError(f"{path}: {error}") from error


def of_run(path: Path, trial: int | None = None) -> Source:
    """Find the cells of a run's best trial, or of the one with that id.

    Raises:
        UsageError: if no trial has succeeded, there is none with that id, or it has no pair of cells.
        RunFolderError: if the run cannot be read.
    """
    if trial is None:
        return best_of_run(path, 1)[0]
    with _history(path) as history:
        found = history.trial(trial)
    if found is None:
        raise UsageError(f"the run {path} has no trial {trial} that has succeeded")
    return _of_trial(path, found)


def best_of_run(path: Path, k: int) -> list[Source]:
    """List the cells of the K best trials of a run, of different networks, the best first.

    Raises:
        UsageError: if no trial has succeeded, or they have no pairs of cells.
        RunFolderError: if the run cannot be read.
    """
    with _history(path) as history:
        top = history.top(k)
    if not top:
        raise UsageError(f"no trial of the run {path} has succeeded yet")
    return [_of_trial(path, one) for one in top]


def _history(path: Path) -> History:
    return History.read(RunFolder.existing(path).history)


def _of_trial(path: Path, trial: TopTrial) -> Source:
    try:
        cells = CellPair.from_json(trial.cell)
    except GenotypeError as error:
        raise UsageError(f"trial {trial.id} of {path} describes no pair of cells, so no network is built") from error
    return Source(
        cells, f"{path.resolve().name}-trial{trial.id}", trial.genotype, trial.fitness, *_images(RunFolder(path))
    )


def _images(folder: RunFolder) -> tuple[str | None, Path | None]:
    """Read the name of the images that a run was searched on, and where they lie; nothing else of it is needed."""
    try:
        tables = read_toml(folder.config)
    except UsageError:
        return None, None
    dataset, data_dir = tables.get("evaluator", {}).get("dataset"), tables.get("hardware", {}).get("data_dir")
    if dataset not in DATA_SETS:
        return None, None
    return str(dataset), Path(data_dir) if isinstance(data_dir, str) else None


def _is_run(text: str) -> bool:
    try:
        return (Path(text) / "history.db").is_file()
    except (OSError, ValueError):  # too long, or otherwise no name of a folder
        return False


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _decoded(genotype: Genotype) -> Source:
    space = space_named(genotype.space)
    # A spelling may name defaults, or options in another order: it means the same space.
    cells = space.decode(Genotype(space.spelling, genotype.choices))
    if not isinstance(cells, CellPair):
        raise GenotypeError(f"the space {genotype.space} does not describe a pair of cells, so no network is built")
    return Source(cells, str(genotype), str(genotype))
