"""The sources of cells, widths, chains of blocks and feature pyramids: a genotype text, a file, a run, or the zoo.

Files and texts may come from anybody. Whatever they hold is data, never code, and what is wrong with them is said in
one line that a terminal can be shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NoReturn

from evo_nas.config import read_toml
from evo_nas.data.boxes.catalogue import BOX_SETS
from evo_nas.data.sources.catalogue import DATA_SETS
from evo_nas.errors import RunFolderError, UsageError
from evo_nas.phenotypes.named import refuse_foreign
from evo_nas.storage.history import History
from evo_nas.storage.reader import TopTrial
from evo_nas.storage.run_folder import RunFolder
from evo_nas.system.text import read_text
from genotypes.catalogue import build_space
from genotypes.cell import CellPair
from genotypes.chain import Chain
from genotypes.edge_cell import EdgeCell
from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.pyramid import Pyramid
from genotypes.space import Decision
from genotypes.spaces.nasbench201 import NASBench201Space
from genotypes.widths import Widths
from genotypes.zoo import CELLS, CHAINS, PYRAMIDS

PUBLISHED: Final[dict[str, CellPair | Chain | Pyramid]] = {**CELLS, **PYRAMIDS, **CHAINS}
"""Name, as ``--cell`` takes it -> the published pair of cells, the pyramid, or the chain of blocks."""

LARGEST: Final = 2**20
"""Bytes of the largest file of cells that is read: a hundred times what the largest cells of our spaces need."""

_EDGES: Final = NASBench201Space()

_OF_DETECTORS: Final = {
    **dict.fromkeys(("preset", "backbone", "neck"), str),
    **dict.fromkeys(("canvas", "channels", "width", "repeats", "depth", "finest_stride", "split_seed"), int),
    **dict.fromkeys(("train_images", "validation_images"), int),
}
"""Options of the evaluator that a training to the end takes over, each with the type that it has."""

_LINE: Final = 1000  # characters of a message, at most


@dataclass(frozen=True)
class CellSource:
    """Cells, widths, a chain or a pyramid, what they are called, their genotype, and their fitness in a search, if any.

    ``trial`` is its id in a run. ``dataset`` and ``data_dir`` are the images that a run was searched on, where it says
    so; ``options`` the sizes of its detectors. A neck that is no pyramid is a name.
    """

    design: CellPair | EdgeCell | Widths | Chain | Pyramid | str
    label: str
    genotype: str | None = None
    fitness: float | None = None
    dataset: str | None = None
    data_dir: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    trial: int | None = None

    @property
    def cells(self) -> CellPair:
        """The pair of cells.

        Raises:
            UsageError: if it is a network of widths, a single cell of edges, a chain or a feature pyramid.
        """
        if isinstance(self.design, Chain):
            raise UsageError(f"{shorten(self.label)} has no cells: it is a chain of blocks")
        if isinstance(self.design, Pyramid | str):
            raise UsageError(
                f"{shorten(self.label)} has no cells of a classifier: it is a feature pyramid, the neck of a detector"
            )
        if isinstance(self.design, EdgeCell):
            raise UsageError(
                f"{shorten(self.label)} is one cell of edges, {self.design}, and no pair of a normal and a reduction "
                "cell"
            )
        if isinstance(self.design, Widths):
            raise UsageError(
                f"{shorten(self.label)} has no cells: it is {shorten(self.design.network)} with other widths, which "
                "plot RUN --kind widths draws"
            )
        return self.design


def find_design(
    source: str | None, cell: str | None, trial: int | None = None, network: str | None = None
) -> CellSource:
    """Find cells or widths as :func:`find_cells` does; ``network`` is a user's own one that widths may name.

    Raises:
        UsageError: as there; or if the widths are of a user's own network that is not ``network``.
        RunFolderError: if the run cannot be read.
    """
    found = find_cells(source, cell, trial)
    refuse_foreign(found.design, network)
    return found


def _ask_for(weights: Path) -> str:
    """Return how weights are named to the commands that take them beside cells."""
    return f"to export its network, name --weights {_spell_path(weights)}"


def find_cells(source: str | None, cell: str | None, trial: int | None = None) -> CellSource:
    """Find the cells that are meant: ``source`` is a genotype text, a JSON file or a run folder; ``cell`` is published.

    Of a run it is the best trial, or the one with the id ``trial``. Nothing is built, so that widths may come back too.

    Raises:
        UsageError: if not exactly one of them is given, it cannot be read, or what is written there cannot exist.
        RunFolderError: if the run cannot be read.
    """
    if (source is None) == (cell is None):
        raise UsageError("name either a run, a genotype (text or JSON file) or a published cell (--cell), and one only")
    if cell is not None:
        if trial is not None:
            raise UsageError(f"--trial names a trial of a run, and {shorten(cell)} is a published cell")
        if cell not in PUBLISHED:
            raise UsageError(f"there is no published cell {shorten(cell)!r}; there are: {', '.join(PUBLISHED)}")
        return CellSource(PUBLISHED[cell], cell)
    text = source or ""
    if _is_run(text):
        return of_run(Path(text), trial)
    if text and not text.endswith(".json") and _is_file(text, Path.is_dir):
        if (best := Path(text) / "best.safetensors").is_file():
            raise RunFolderError(f"{_spell_path(Path(text))} is the folder of a training, no run: {_ask_for(best)}")
        raise RunFolderError(f"{_spell_path(Path(text))} is no run folder: there is no history.db in it")
    if text.endswith(".safetensors") and _is_file(text):
        raise UsageError(f"{_spell_path(Path(text))} is a file of weights, no cells: {_ask_for(Path(text))}")
    if trial is not None:
        raise UsageError(f"--trial names a trial of a run, and {shorten(text)} is no run folder")
    if text.startswith("|") or (not text.endswith(".json") and (":" in text or not _is_file(text))):
        return of_text(text)
    path = Path(text)
    try:
        record = _json(path)
        if isinstance(record, dict) and "choices" in record:
            return _decode(Genotype.from_json(record))
        return CellSource(_read_design(record), shorten(path.stem, 255))
    except GenotypeError as error:
        raise UsageError(f"{_spell_path(path)}: {shorten(str(error), _LINE)}") from error
    except RecursionError as error:  # what could be read may still be too deep to be quoted
        raise UsageError(
            f"{_spell_path(path)}: lists or objects are nested too deep for cells or a genotype"
        ) from error


def find_meant_cells(text: str) -> CellSource:
    """Find the cells that one word means: a published cell by its name, or whatever :func:`find_cells` takes.

    A run or a file that is called like a published cell goes before it.

    Raises:
        UsageError: if it cannot be read, or what is written there cannot exist.
        RunFolderError: if the run cannot be read.
    """
    is_published = text in PUBLISHED and not _is_run(text) and not _is_file(text)
    return find_cells(None, text) if is_published else find_cells(text, None)


def of_text(text: str) -> CellSource:
    """Decode the cells of a genotype text, as in ``nasnet:0.1.2``; no file is looked at.

    The architecture string of a cell of NAS-Bench-201, ``|op~0|+...``, means its genotype.

    Raises:
        UsageError: if it is none, or none of a space that describes a pair of cells.
    """
    try:
        return _decode(_EDGES.parse(text) if text.startswith("|") else Genotype.parse(text))
    except GenotypeError as error:
        nothing = f"there is no run or file {shorten(text)}, and that is no genotype such as nasnet:0.1.2.3"
        reason = str(error) if ":" in text or text.startswith("|") else nothing
        raise UsageError(shorten(reason, _LINE)) from error


def of_run(path: Path, trial: int | None = None) -> CellSource:
    """Find the cells of a run's best trial, or of the one with that id.

    Raises:
        UsageError: if no trial has succeeded, there is none with that id, or it has no pair of cells.
        RunFolderError: if the run cannot be read.
    """
    if trial is None:
        return best_of_run(path, 1)[0]
    with _history(path) as history:
        return _of_trial(path, history.trial(trial))


def best_of_run(path: Path, k: int) -> list[CellSource]:
    """List the cells of the K best trials of a run, of different networks, the best first.

    Raises:
        UsageError: if no trial has succeeded, or they have no pairs of cells.
        RunFolderError: if the run cannot be read.
    """
    with _history(path) as history:
        top = history.top(k)
    if not top:
        raise UsageError(f"no trial of the run {_spell_path(path)} has succeeded yet")
    return [_of_trial(path, one) for one in top]


def _history(path: Path) -> History:
    return History.read(RunFolder.existing(path).history)


def _of_trial(path: Path, trial: TopTrial) -> CellSource:
    try:
        design = _read_design(trial.cell)
    except (GenotypeError, RecursionError) as error:
        raise UsageError(
            f"trial {trial.id} of {_spell_path(path)} describes no pair of cells, no widths, no chain and no pyramid, "
            "as only genotypes of these do"
        ) from error
    label = f"{shorten(path.resolve().name, 255)}-trial{trial.id}"
    genotype = trial.genotype if isinstance(trial.genotype, str) else None  # SQLite lets any column hold anything
    return CellSource(design, label, genotype, trial.fitness, **_images(RunFolder(path)), trial=trial.id)


def _read_design(record: object) -> CellPair | EdgeCell | Widths | Chain | Pyramid:
    """Read the JSON form of a pair of cells, of a cell of edges, of widths, of a chain or of a pyramid.

    Raises:
        GenotypeError: if it is none of them.
    """
    if isinstance(record, dict) and "pyramid" in record:
        return Pyramid.from_json(record)
    if isinstance(record, dict) and "chain" in record:
        return Chain.from_json(record)
    if isinstance(record, dict) and "architecture" in record:
        return EdgeCell.from_json(record)
    return Widths.from_json(record) if isinstance(record, dict) and "widths" in record else CellPair.from_json(record)


def _images(folder: RunFolder) -> dict[str, Any]:
    """Read the name of the images that a run was searched on, where they lie, and what its detectors were like."""
    try:
        tables = read_toml(folder.config)
    except (UsageError, RecursionError):
        return {}
    dataset, data_dir = tables.get("evaluator", {}).get("dataset"), tables.get("hardware", {}).get("data_dir")
    if not isinstance(dataset, str) or dataset not in DATA_SETS | BOX_SETS:
        return {}
    found = tables.get("evaluator", {}).items() if dataset in BOX_SETS else ()
    options = {name: value for name, value in found if type(value) is _OF_DETECTORS.get(name)}
    return {
        "dataset": dataset,
        "data_dir": Path(data_dir) if isinstance(data_dir, str) else None,
        "options": options,
    }


def _is_run(text: str) -> bool:
    return _is_file(f"{text}/history.db")


def _is_file(text: str, kind: Callable[[Path], bool] = Path.is_file) -> bool:
    """Return whether a text names a file that is there, or another ``kind`` of place."""
    try:
        return kind(Path(text))
    except (OSError, ValueError):  # too long, or otherwise no name of a file
        return False


def _json(path: Path) -> Any:
    """Read a file of JSON, strictly: no key twice in an object, no NaN.

    Raises:
        UsageError: if it is no file, too large, or something else.
    """
    try:
        return json.loads(read_text(path, LARGEST), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"cannot read {_spell_path(path)}: {shorten(reason or type(error).__name__, 200)}; cells and genotypes are "
            "JSON in UTF-8, as export --format json or cells writes it"
        ) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary of an object's pairs; of a key that stands twice nobody could say which one is meant."""
    record: dict[str, Any] = {}
    for key, value in pairs:
        if key in record:
            raise ValueError(f"the key {shorten(key)!r} stands twice in an object")
        record[key] = value
    return record


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _spell_path(path: Path) -> str:
    """Spell a path for a message: as it is, unless a terminal would obey it."""
    return shorten(str(path), 5000)


@lru_cache(maxsize=4)
def find_decisions(spelling: str) -> tuple[Decision, ...]:
    """Return the decisions of a space of the catalogue; none of a user's own, whose code a spelling does not import."""
    try:
        return build_space(spelling).decisions
    except GenotypeError:
        return ()


def _decode(genotype: Genotype) -> CellSource:
    space = build_space(genotype.space)
    # A spelling may name defaults, or options in another order: it means the same space.
    genotype = Genotype(space.spelling, genotype.choices)
    design = space.decode(genotype)
    if not isinstance(design, CellPair | EdgeCell | Chain | Pyramid):
        raise GenotypeError(f"the space {genotype.space} does not describe a pair of cells")
    return CellSource(design, str(genotype), str(genotype))
