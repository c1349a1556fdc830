"""Histories of runs as tidy frames: :data:`COLUMNS` documents every column and its unit.

Reads the tables that docs/history.md documents and ``run.toml``, and nothing else: no space, strategy or evaluator is
imported, so that the run of a plug-in can be looked at where the plug-in is not installed.
"""

from __future__ import annotations

import glob
import json
import sqlite3
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from analysis.sessions import measure_elapsed_seconds
from evo_nas.errors import HistoryError as HistoryError
from evo_nas.storage import schema
from evo_nas.storage.columns import CHECKS, ColumnCheck, find_unsound, first_genotype, select, select_metrics
from evo_nas.storage.opening import open_to_read
from evo_nas.storage.run_folder import measure_of, read_environment
from evo_nas.storage.schema import CURVE, NOTE, RUNG, TRIAL, Table
from evo_nas.system.cache import expand_home
from evo_nas.system.garbage import without_collection
from evo_nas.system.text import read_text
from genotypes.genotype import printable, shorten
from genotypes.measure import ACCURACY, common_measure

try:
    import pyarrow
except ImportError:  # an extra; or there, but not for this Python
    pyarrow = None

Paths: TypeAlias = str | PathLike[str] | Iterable[str | PathLike[str]]
"""One or many run folders, ``history.db`` files or glob patterns such as ``runs/evolution-*``."""

UNKNOWN: Final = "unknown"
"""Stands for a strategy, space or evaluator that ``run.toml`` does not name."""

_STORED: Final = {"run_seed": "seed"}
"""Column of :func:`load_history` -> what it is called in the history, where that is not the same."""

_PUBLIC: Final = {stored: public for public, stored in _STORED.items()}


def _meanings(table: Table, *names: str) -> dict[str, str]:
    """Return what columns of a history mean, by the names that they have here."""
    columns = {column.name: column for column in table.columns}
    return {
        _PUBLIC.get(name, name): columns[name].meaning + (", UTC" if columns[name].unit == "clock" else "")
        for name in names
    }


COLUMNS: Final[dict[str, str]] = {
    "run": "name of the run's folder, with as many parent folders as it takes to tell the runs apart",
    "strategy": "name of the strategy, from run.toml",
    "space": "full spelling of the space that was searched",
    "evaluator": "name of the evaluator, from run.toml",
    **_meanings(TRIAL, "seed", "id", "parent", "genotype", "key", "outcome", "fitness", "test", "seconds"),
    **_meanings(TRIAL, "parameters", "mult_adds", "asked", "told", "asked_at", "told_at"),
    "trained": "whether this trial is an ended training, failed ones included; reused and refused are none",
    "sample": "how many trainings of the run had ended by this tell, this one included; missing while pending",
    "best_so_far": "highest fitness told in the run until then, fraction in [0, 1]; missing while pending",
    "elapsed": "seconds that the run had been going for by this tell, without the time between its sessions",
    **_meanings(TRIAL, "error", "cell"),
}
"""Column of :func:`load_history` -> what it holds, with its unit. The cell is loaded with ``cells=True``."""

CURVE_COLUMNS: Final = {"run": COLUMNS["run"], **_meanings(CURVE, "trial", "epoch", "accuracy")}
"""Column of :func:`load_curves` -> what it holds, with its unit."""

NOTE_COLUMNS: Final = {"run": COLUMNS["run"], **_meanings(NOTE, "trial", "name", "value")}
"""Column of :func:`load_notes` -> what it holds."""

RUNG_COLUMNS: Final = {
    "run": COLUMNS["run"],
    **_meanings(RUNG, "trial", "epoch", "event", "score", "test", "seconds", "paused_at"),
}
"""Column of :func:`load_rungs` -> what it holds, with its unit."""

METRIC_COLUMNS: Final[dict[str, str]] = {
    "run": COLUMNS["run"],
    "trial": "id of the trial",
    "name": "name of the number, such as cpu_seconds",
    "value": "the number that the evaluator gave beside the fitness",
}
"""Column of :func:`load_metrics` -> what it holds."""

_DTYPES: Final[dict[str, str]] = {
    **dict.fromkeys(("run", "strategy", "space", "evaluator"), "category"),
    **{name: column.dtype for column in TRIAL.columns if (name := _PUBLIC.get(column.name, column.name)) in COLUMNS},
    "trained": "bool",
    "sample": "Int64",
    "best_so_far": "float64",
    "elapsed": "float64",
}

_NUMBERS: Final = {column.name: column.dtype for column in NOTE.columns if column.name != "sum"}

_BLOCK: Final = 8_000
"""Rows that are Python objects at a time, before they join the typed columns: few enough to stay in the caches."""

_FROM_CONFIG: Final = ("run", "strategy", "space", "evaluator")
_DERIVED: Final = ("trained", "sample", "best_so_far", "elapsed")
_CODES: Final = {None: -1} | {outcome: code for code, outcome in enumerate(schema.OUTCOMES)}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run on disk: a name that no other run read with it has, its ``history.db``, and its ``run.toml``."""

    name: str
    history: Path
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder in which the history lies."""
        return self.history.parent

    def table(self, name: str) -> Mapping[str, Any]:
        """Return one table of the configuration, such as ``run`` or ``strategy``; empty if there is none."""
        table = self.config.get(name)
        return table if isinstance(table, Mapping) else {}

    def spell_entry(self, name: str) -> str:
        """Return an entry of the table ``[run]`` as text, or ``unknown``."""
        return str(self.table("run").get(name, UNKNOWN))

    def environment(self) -> Mapping[str, Any]:
        """Read ``env.json``; empty if there is none, or it cannot be read."""
        return read_environment(self.folder)

    def space(self) -> str | None:
        """Return the full spelling of the space that is searched; ``None`` if only its genotypes may tell."""
        space = self.environment().get("space")
        return space if isinstance(space, str) and space else None


def find_runs(paths: Paths) -> list[RunRecord]:
    """Find the runs that are meant, in the order given, each once.

    Raises:
        HistoryError: if a path or a pattern leads to no run, or a ``run.toml`` is no TOML.
    """
    listed = [paths] if isinstance(paths, str | PathLike) else list(paths)
    if not listed:
        raise HistoryError("no run was named: give a run folder, such as runs/<name>")
    histories: dict[Path, None] = {}
    for path in listed:
        try:
            histories |= dict.fromkeys(_histories(Path(path)))
        except OSError as error:  # no permission, or a name that is too long
            raise HistoryError(f"{shorten(str(path))} cannot be read: {error.strerror}") from None
    return [
        RunRecord(name, history, _config(history.parent))
        for name, history in zip(_names(list(histories)), histories, strict=True)
    ]


def load_history(paths: Paths, *, columns: Collection[str] | None = None, cells: bool = False) -> pd.DataFrame:
    """Load one or many runs, a row per trial, in the order told, pending ones last; :data:`COLUMNS` says what is in it.

    ``columns`` names the ones to load, by default all but the readable cell, which is longer than all the rest of a
    trial; ``cells`` adds that. A run may still be going on: it is opened for reading only and never blocks its writer.
    An empty history gives an empty frame with the same columns.

    Raises:
        HistoryError: if there is no such run, a file is no history of this schema, or a trial is damaged.
        ValueError: if a column does not exist.
    """
    wanted = [name for name in COLUMNS if (name in columns if columns is not None else name != "cell")]
    if cells and "cell" not in wanted:
        wanted.append("cell")
    if columns is not None and (unknown := sorted(set(columns) - set(COLUMNS))):
        raise ValueError(f"a history has no column {unknown[0]!r}; its columns are: {', '.join(COLUMNS)}")
    runs = find_runs(paths)
    frame = _concatenate([_trials(run, wanted) for run in runs])
    frame = frame.astype({name: _DTYPES[name] for name in wanted if _DTYPES[name] == "category"})
    if (measure := common_measure(measure_of(run.folder) for run in runs)) != ACCURACY:
        frame.attrs["measure"] = measure.to_json()
    return frame


def load_curves(paths: Paths) -> pd.DataFrame:
    """Load the learning curves, one row per epoch of a trained trial; :data:`CURVE_COLUMNS` says what is in it.

    Raises:
        HistoryError: as :func:`load_history` does.
    """
    return _side_table(paths, CURVE, CURVE_COLUMNS)


def load_notes(paths: Paths) -> pd.DataFrame:
    """Load what the strategies noted, one row a number; :data:`NOTE_COLUMNS` says what is in it.

    Raises:
        HistoryError: as :func:`load_history` does.
    """
    return _side_table(paths, NOTE, NOTE_COLUMNS)


def load_rungs(paths: Paths) -> pd.DataFrame:
    """Load the pauses of trainings, one row per rung that a trial has reached; :data:`RUNG_COLUMNS` says what is in it.

    Raises:
        HistoryError: as :func:`load_history` does.
    """
    return _side_table(paths, RUNG, RUNG_COLUMNS)


def load_metrics(paths: Paths) -> pd.DataFrame:
    """Load what evaluators gave beside the fitness, one row a number; :data:`METRIC_COLUMNS` says what is in it.

    Parameters and mult-adds are not among them: they are columns of :func:`load_history`.

    Raises:
        HistoryError: as :func:`load_history` does.
    """
    frames = []
    for run in find_runs(paths):
        with open_to_read(run.history) as connection:
            refuse_damage(connection, run, TRIAL, ["metrics"])
            values = _read(select_metrics(connection), _NUMBERS)
        frames.append(_beside(run, values, _NUMBERS))
    return _concatenate(frames)


def parse_cell(text: str | None) -> Any:
    """Return the parsed readable cell; ``None`` if it cannot be parsed."""
    try:
        return None if text is None else json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def _histories(path: Path) -> list[Path]:
    """Resolve one path or pattern to the history files that it leads to."""
    if path.is_dir():
        if (path / "history.db").is_file():
            return [(path / "history.db").resolve()]
        inside = any(path.glob("*/history.db"))
        mend = f"; it holds run folders: write {path / '*'}" if inside else ""
        raise HistoryError(f"{path} is no run folder: there is no history.db in it{mend}")
    if path.is_file():
        return [path.resolve()]
    if not glob.has_magic(str(path)):
        raise HistoryError(f"there is no run at {path}")
    matches = [Path(match) for match in sorted(glob.glob(str(expand_home(path))))]  # noqa: PTH207  # may be absolute
    found = [match / "history.db" for match in matches if (match / "history.db").is_file()]
    found += [match for match in matches if match.is_file() and match.suffix == ".db"]
    if not found:
        raise HistoryError(f"no run matches {path}")
    return [history.resolve() for history in found]


def _names(histories: list[Path]) -> list[str]:
    """Name each run after its folder; where two are alike, after as many folders as it takes to differ."""
    places = [path.parent if path.name == "history.db" else path.with_suffix("") for path in histories]
    depths = [1] * len(places)
    while True:
        names = [printable("/".join(place.parts[-depth:])) for place, depth in zip(places, depths, strict=True)]
        alike = [names.count(name) > 1 for name in names]
        if not any(alike):
            return names
        if max(depths) > max(len(place.parts) for place in places):  # they differ in what cannot be printed
            return [f"{name} #{n}" if same else name for n, (name, same) in enumerate(zip(names, alike, strict=True))]
        depths = [depth + same for depth, same in zip(depths, alike, strict=True)]


def _config(folder: Path) -> dict[str, Any]:
    """Read ``run.toml``; a history on its own has none, and that is no reason not to read it."""
    try:
        return tomllib.loads(read_text(folder / "run.toml"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise HistoryError(f"{folder / 'run.toml'} cannot be read: {error}") from None


def _trials(run: RunRecord, wanted: list[str]) -> pd.DataFrame:
    """Load the trials of one run in the order told, with the columns that are wanted."""
    needed = {"told", "seconds", "fitness"}
    needed |= {"asked_at", "told_at"} if "elapsed" in wanted else set()
    stored = [n for n in COLUMNS if n not in _FROM_CONFIG and n not in _DERIVED and n in {*wanted, *needed}]
    with open_to_read(run.history) as connection:
        first = first_genotype(connection)
        values = _read_and_check(connection, run, TRIAL, {name: _DTYPES[name] for name in stored})
    space = run.space() or (first.rpartition(":")[0] if first else run.spell_entry("space"))

    told = np.concatenate(values["told"])  # pending trials are NaN, which sorts last
    order = np.argsort(told, kind="stable")
    pending = np.isnan(told[order])
    clocks = [np.concatenate(values[n])[order] for n in ("asked_at", "told_at") if "elapsed" in wanted]
    frame = pd.DataFrame({name: _column(_DTYPES[name], values.pop(name)) for name in stored})
    # Rows come by id, so that a run with one worker stands in the order told already.
    if not np.array_equal(order, np.arange(len(order))):
        frame = frame.take(order).reset_index(drop=True)
    # What was reused, refused or answered with the failure of a quarantined network has no duration.
    frame["trained"] = frame["told"].notna() & frame["seconds"].notna()
    frame["sample"] = frame["trained"].cumsum().astype("Int64").mask(pending)
    # fmax passes over failures, which have no fitness.
    frame["best_so_far"] = np.where(pending, np.nan, np.fmax.accumulate(frame["fitness"].to_numpy()))
    if clocks:
        frame["elapsed"] = measure_elapsed_seconds(run.folder, *clocks)
    constants = {
        "run": run.name,
        "strategy": run.spell_entry("strategy"),
        "space": space or UNKNOWN,
        "evaluator": run.spell_entry("evaluator"),
    }
    for name in _FROM_CONFIG:
        frame[name] = _constant(constants[name], len(frame))
    return frame[wanted]


def refuse_damage(connection: sqlite3.Connection, run: RunRecord, table: Table, names: Iterable[str]) -> None:
    """Raise if a column that is to be read is not as the schema says.

    Raises:
        HistoryError: if a row is not sound; it names the trial of the first that is not.
    """
    found = find_unsound(connection, table, [_STORED.get(name, name) for name in names])
    if found:
        trial, stored, content = found
        name = _PUBLIC.get(stored, stored)
        columns = {**RUNG_COLUMNS, **COLUMNS, **CURVE_COLUMNS, **NOTE_COLUMNS}
        meaning = {**columns, "metrics": "JSON object of numbers"}[name]
        raise HistoryError(
            f"trial {trial} of {run.name} is damaged: its {name} cannot be {shorten(repr(content))} ({meaning}); "
            f"mend or remove that row of {run.history}"
        )


def _read_and_check(
    connection: sqlite3.Connection, run: RunRecord, table: Table, dtypes: Mapping[str, str], order: str = ""
) -> dict[str, list[Any]]:
    """Read columns of a table as :func:`_read` does, and hold each value to the schema in the same pass.

    Raises:
        HistoryError: as :func:`refuse_damage` does.
    """
    names = [_STORED.get(name, name) for name in dtypes]
    checks = {name: CHECKS.get((table.name, stored)) for name, stored in zip(dtypes, names, strict=True)}
    cursor = select(connection, table, names, order)
    return _read(cursor, dtypes, checks, lambda: refuse_damage(connection, run, table, dtypes))


def _read(
    cursor: sqlite3.Cursor,
    dtypes: Mapping[str, str],
    checks: Mapping[str, ColumnCheck | None] = MappingProxyType({}),
    refuse: Callable[[], None] = lambda: None,
) -> dict[str, list[Any]]:
    """Read the answer to a query as typed arrays, one a block of rows and column, for :func:`_column` to join.

    ``refuse`` is called, and raises, where a value does not pass its column's check.
    """
    columns: dict[str, list[Any]] = {name: [_array(dtype, ())] for name, dtype in dtypes.items()}
    with without_collection():  # millions of tuples
        while rows := cursor.fetchmany(_BLOCK):
            for (name, arrays), values in zip(columns.items(), zip(*rows, strict=True), strict=True):
                check = checks.get(name)
                if check and not check.fits(values):
                    refuse()
                arrays.append(_array(dtypes[name], values))
                if check and not check.bounds(arrays[-1]):
                    refuse()
    return columns


def _array(dtype: str, values: Sequence[Any]) -> Any:
    """Make an array of what SQLite stored, in which missing values have a place."""
    if dtype == "category":
        return np.fromiter(map(_CODES.__getitem__, values), np.int8, len(values))
    if dtype == "string":  # what pandas has for texts; of pyarrow itself, where there is one, in a third of the time
        return pd.array(values, dtype="string") if pyarrow is None else pyarrow.array(values, pyarrow.large_string())
    # Counts go by way of floats, which take None: exact up to 2**53, far beyond any count here.
    return np.array(values, dtype=np.float64 if dtype == "Int64" or dtype.startswith("datetime") else dtype)


def _column(dtype: str, arrays: Sequence[Any]) -> pd.Series[Any]:
    """Join the arrays of a column."""
    if dtype == "string":
        if pyarrow is not None:
            return pd.Series(pd.array(pyarrow.chunked_array(arrays), dtype="string"))
        return pd.concat([pd.Series(array) for array in arrays], ignore_index=True)
    joined = np.concatenate(arrays)
    if dtype == "category":
        return pd.Series(pd.Categorical.from_codes(joined, categories=pd.Index(schema.OUTCOMES)))
    column: pd.Series[Any] = pd.Series(joined)
    if dtype.startswith("datetime"):
        column = pd.to_datetime(column, unit="s", utc=True)
    return column.astype(dtype)  # type: ignore[call-overload,no-any-return]  # the stubs know types by literal names alone


def _side_table(paths: Paths, table: Table, names: Collection[str]) -> pd.DataFrame:
    """Load some columns of one of the tables beside ``trial``, with the name of the run in front."""
    dtypes = {column.name: column.dtype for column in table.columns if column.name in names}
    frames = []
    for run in find_runs(paths):
        with open_to_read(run.history) as connection:
            values = _read_and_check(connection, run, table, dtypes, "ORDER BY 1, 2")
        frames.append(_beside(run, values, dtypes))
    return _concatenate(frames)


def _beside(run: RunRecord, values: Mapping[str, list[Any]], dtypes: Mapping[str, str]) -> pd.DataFrame:
    """Make the frame of what one run keeps beside its trials."""
    columns = {name: _column(dtype, values[name]) for name, dtype in dtypes.items()}
    frame = pd.DataFrame(columns)
    frame.insert(0, "run", pd.Series(_constant(run.name, len(frame))))
    return frame


def _constant(value: str, rows: int) -> pd.Categorical[str]:
    """Make a column that says the same in every row, at a byte per row."""
    return pd.Categorical.from_codes(np.zeros(rows, np.int8), categories=pd.Index([value]))


def _concatenate(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Stack frames of the same columns; the categories of a column become those of all frames together."""
    if len(frames) == 1:
        return frames[0]
    for name in frames[0].columns[frames[0].dtypes == "category"]:
        together = list(dict.fromkeys(c for frame in frames for c in frame[name].cat.categories))
        for frame in frames:
            frame[name] = frame[name].cat.set_categories(together)
    return pd.concat(frames, ignore_index=True)
