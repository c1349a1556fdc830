"""Histories of runs as tidy frames: :data:`COLUMNS` documents every column and its unit.

Reads the tables that docs/history.md documents and ``run.toml``, and nothing else: no space, strategy or evaluator is
imported, so that the run of a plug-in can be looked at where the plug-in is not installed.
"""

from __future__ import annotations

import errno
import gc
import glob
import json
import shlex
import shutil
import sqlite3
import tempfile
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from analysis.sessions import elapsed
from evo_nas.storage import schema
from evo_nas.storage.checksums import (
    damage,
    good_trials,
    is_garbled,
    is_untouched,
    may_be_untouched,
    one_line,
    sum_file,
)
from genotypes.genotype import printable, shorten

try:
    import pyarrow
except ImportError:  # an extra; or there, but not for this Python
    pyarrow = None

Paths: TypeAlias = str | PathLike[str] | Iterable[str | PathLike[str]]
"""One or many run folders, ``history.db`` files or glob patterns such as ``runs/evolution-*``."""

UNKNOWN: Final = "unknown"
"""Stands for a strategy, space or evaluator that ``run.toml`` does not name."""

COLUMNS: Final[dict[str, str]] = {
    "run": "name of the run's folder, with as many parent folders as it takes to tell the runs apart",
    "strategy": "name of the strategy, from run.toml",
    "space": "full spelling of the space that was searched",
    "evaluator": "name of the evaluator, from run.toml",
    "run_seed": "seed of the run",
    "id": "counts the asks of the run from 1",
    "parent": "id of the individual that was mutated; missing if there was none",
    "genotype": "text form of the genotype, space:choice.choice...",
    "key": "canonical spelling; equal exactly for genotypes that describe the same network",
    "outcome": "ok, reused, refused, nan, oom, timeout, crash, invalid or error; missing while pending",
    "fitness": "validation accuracy, fraction in [0, 1]; only ok and reused have one",
    "test": "test fitness, a second measure that the search never saw, fraction in [0, 1]",
    "seconds": "duration of the evaluation in seconds; missing where nothing was evaluated",
    "parameters": "weights of the network as it was trained",
    "mult_adds": "multiply-adds of the network as it was trained, for one image",
    "asked": "position of the ask in the sequence of events, from 1",
    "told": "position of the tell in the sequence of events; missing while pending",
    "asked_at": "wall clock of the ask, UTC",
    "told_at": "wall clock of the tell, UTC",
    "trained": "whether this trial is an ended training, failed ones included; reused and refused are none",
    "sample": "how many trainings of the run had ended by this tell, this one included; missing while pending",
    "best_so_far": "highest fitness told in the run until then, fraction in [0, 1]; missing while pending",
    "elapsed": "seconds that the run had been going for by this tell, without the time between its sessions",
    "error": "why the trial failed",
    "cell": "JSON text of the readable cell, or of whatever the space describes; loaded with cells=True",
}
"""Column of :func:`load_history` -> what it holds, with its unit."""

CURVE_COLUMNS: Final[dict[str, str]] = {
    "run": COLUMNS["run"],
    "trial": "id of the trial",
    "epoch": "epoch of the training, from 1",
    "accuracy": "validation accuracy after the epoch, fraction in [0, 1]",
}
"""Column of :func:`load_curves` -> what it holds, with its unit."""

NOTE_COLUMNS: Final[dict[str, str]] = {
    "run": COLUMNS["run"],
    "trial": "id of the trial that was told",
    "name": "name of the number, such as entropy",
    "value": "the number that the strategy returned when it was told",
}
"""Column of :func:`load_notes` -> what it holds."""

METRIC_COLUMNS: Final[dict[str, str]] = {
    "run": COLUMNS["run"],
    "trial": "id of the trial",
    "name": "name of the number, such as cpu_seconds",
    "value": "the number that the evaluator gave beside the fitness",
}
"""Column of :func:`load_metrics` -> what it holds."""

_DTYPES: Final[dict[str, str]] = {
    "run": "category",
    "strategy": "category",
    "space": "category",
    "evaluator": "category",
    "run_seed": "int64",
    "id": "int64",
    "parent": "Int64",
    "genotype": "string",
    "key": "string",
    "outcome": "category",
    "fitness": "float64",
    "test": "float64",
    "seconds": "float64",
    "parameters": "Int64",
    "mult_adds": "Int64",
    "asked": "int64",
    "told": "Int64",
    "asked_at": "datetime64[us, UTC]",
    "told_at": "datetime64[us, UTC]",
    "trained": "bool",
    "sample": "Int64",
    "best_so_far": "float64",
    "elapsed": "float64",
    "error": "string",
    "cell": "string",
}

_NUMBERS: Final = {"trial": "int64", "name": "string", "value": "float64"}

TRAINED: Final = "(told IS NOT NULL AND seconds IS NOT NULL)"
"""Says in SQL whether a trial is an ended training, as for the budget of a run.

What was reused, refused or answered with the failure of a quarantined network has no duration.
"""

_SQL: Final[dict[str, str]] = {"run_seed": "seed"}
# Damaged ones are passed over: but for progressive search, which begins with fewer blocks, the space is that of all.
_FIRST_GENOTYPE: Final = (
    "SELECT genotype FROM trial WHERE typeof(genotype) = 'text' AND instr(genotype, ':') > 1 ORDER BY id LIMIT 1"
)
_BLOCK: Final = 8_000
"""Rows that are Python objects at a time, before they join the typed columns: few enough to stay in the caches."""

_MAPPED: Final = 1 << 40
"""Bytes of a history that may be mapped into memory: SQLite takes what it can of it."""

_PATIENCE: Final = 2.0
"""Seconds to wait for a writer that locks readers out, which one with a write-ahead log never does."""

_FROM_CONFIG: Final = ("run", "strategy", "space", "evaluator")
_DERIVED: Final = ("trained", "sample", "best_so_far", "elapsed")
_OUTCOMES: Final = ("ok", "reused", "refused", "nan", "oom", "timeout", "crash", "invalid", "error")
_CODES: Final = {None: -1} | {outcome: code for code, outcome in enumerate(_OUTCOMES)}


@dataclass(frozen=True, slots=True)
class _Sound:
    """What a stored value must be, for SQLite lets any column hold anything: said in SQL, and again in Python.

    ``sql`` is true of what can be read, and never false of a missing value that may be missing: in SQLite every text
    is above every number, and a comparison with NULL is neither true nor false. Python looks at every value as it goes
    by, which is far cheaper: it must be of one of ``types``, one of the ``words`` if there are any, and a number in
    [0, ``most``].
    """

    sql: str
    types: tuple[type, ...] = ()
    words: frozenset[str | None] = frozenset()
    most: float = np.inf

    def fits(self, values: Sequence[Any]) -> bool:
        """Return whether values, as SQLite gives them, can become an array."""
        return set(map(type, values)).issubset(self.types) and (not self.words or self.words.issuperset(values))

    def bounds(self, array: Any) -> bool:
        """Return whether an array of numbers is within bounds; missing ones are NaN, which no comparison finds."""
        return self.most == np.inf or not ((array < 0) | (array > self.most)).any()


_NONE: Final = type(None)
_INTEGER: Final = _Sound("typeof({}) = 'integer'", (int,))
_REAL: Final = _Sound("typeof({}) = 'real'", (float,))
_TEXT: Final = _Sound("typeof({}) = 'text'", (str,))
_COUNT: Final = _Sound("typeof({}) IN ('integer', 'null')", (int, _NONE))
_FRACTION: Final = _Sound("{} BETWEEN 0 AND 1", (int, float, _NONE), most=1)
# As a wall clock until 2255, which nanoseconds in 64 bits can say.
_SECONDS: Final = _Sound("{} BETWEEN 0 AND 9e9", (int, float, _NONE), most=9e9)
_SOUND: Final[dict[str, _Sound]] = {
    "run_seed": _INTEGER,
    "parent": _COUNT,
    "genotype": _TEXT,
    "key": _TEXT,
    "outcome": _Sound(f"{{}} IN {_OUTCOMES}", (str, _NONE), words=frozenset((*_OUTCOMES, None))),
    "fitness": _FRACTION,
    "test": _FRACTION,
    "seconds": _SECONDS,
    "parameters": _COUNT,
    "mult_adds": _COUNT,
    "asked": _INTEGER,
    "told": _COUNT,
    "asked_at": _SECONDS,
    "told_at": _SECONDS,
    "error": _Sound("typeof({}) IN ('text', 'null')", (str, _NONE)),
    "cell": _TEXT,
    "metrics": _Sound(
        "CASE WHEN json_valid({0}) THEN json_type({0}) = 'object' AND NOT EXISTS "
        "(SELECT 1 FROM json_each({0}) WHERE type NOT IN ('integer', 'real')) ELSE 0 END"
    ),
    "trial": _INTEGER,
    "epoch": _INTEGER,
    "accuracy": _REAL,
    "name": _TEXT,
    "value": _REAL,
}


class HistoryError(ValueError):
    """A run that cannot be looked back on; one line that says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Run:
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

    def said(self, name: str) -> str:
        """Return an entry of the table ``[run]`` as text, or ``unknown``."""
        return str(self.table("run").get(name, UNKNOWN))

    def environment(self) -> Mapping[str, Any]:
        """Read ``env.json``; empty if there is none, or it cannot be read."""
        try:
            found = json.loads((self.folder / "env.json").read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, Mapping) else {}

    def space(self) -> str | None:
        """Return the full spelling of the space that is searched; ``None`` if only its genotypes may tell."""
        space = self.environment().get("space")
        return space if isinstance(space, str) and space else None


def find_runs(paths: Paths) -> list[Run]:
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
        Run(name, history, _config(history.parent))
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
    frames = [_trials(run, wanted) for run in find_runs(paths)]
    frame = _concatenated(frames)
    return frame.astype({name: _DTYPES[name] for name in wanted if _DTYPES[name] == "category"})


def load_curves(paths: Paths) -> pd.DataFrame:
    """Load the learning curves, one row an epoch of a trained trial; :data:`CURVE_COLUMNS` says what is in it.

    Raises:
        HistoryError: as :func:`load_history` does.
    """
    return _side_table(paths, "curve", {"trial": "int64", "epoch": "int64", "accuracy": "float64"})


def load_notes(paths: Paths) -> pd.DataFrame:
    """Load what the strategies noted, one row a number; :data:`NOTE_COLUMNS` says what is in it.

    Raises:
        HistoryError: as :func:`load_history` does.
    """
    return _side_table(paths, "note", _NUMBERS)


def load_metrics(paths: Paths) -> pd.DataFrame:
    """Load what evaluators gave beside the fitness, one row a number; :data:`METRIC_COLUMNS` says what is in it.

    Parameters and mult-adds are not among them: they are columns of :func:`load_history`.

    Raises:
        HistoryError: as :func:`load_history` does.
    """
    frames = []
    for run in find_runs(paths):
        with opened(run.history) as connection:
            refuse_damage(connection, run, "trial", ["metrics"])
            query = "SELECT trial.id, json_each.key, value FROM trial, json_each(trial.metrics) ORDER BY 1, 2"
            values = _read(connection, query, _NUMBERS)
        frames.append(_beside(run, values, _NUMBERS))
    return _concatenated(frames)


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
    matches = [Path(match) for match in sorted(glob.glob(str(path.expanduser())))]  # noqa: PTH207  # may be absolute
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
        return tomllib.loads((folder / "run.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise HistoryError(f"{folder / 'run.toml'} cannot be read: {error}") from None


@contextmanager
def opened(history: Path) -> Iterator[sqlite3.Connection]:
    """Open a history for reading only, check that it is one, and turn what goes wrong on the way into one line.

    One that was closed in order is believed while it is what it was then, which is found out while it is being read:
    what was read counts if nothing is raised at the end. Any other is read completely first: one that is being
    written, and one whose run was killed.
    """
    believed = may_be_untouched(history)  # looked at before SQLite touches anything
    try:
        with (
            tempfile.TemporaryDirectory() as scratch,
            closing(_connect(history, Path(scratch))) as connection,
            ThreadPoolExecutor(max_workers=1) as beside,
        ):
            untouched = beside.submit(is_untouched, history) if believed else None
            if believed:  # nobody writes to it, so that it may be mapped: a third of the time that SQLite takes
                connection.execute(f"PRAGMA mmap_size = {_MAPPED}")
            try:
                _check(history, connection, believed)
                yield connection
            finally:
                if untouched is not None and not untouched.result():
                    _look_through(history)
    except (sqlite3.Error, UnicodeDecodeError) as error:  # of a damaged schema SQLite quotes what is no text
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _OF_THE_PLACE:
            raise HistoryError(f"{history} cannot be read as a history: {error}") from None
        raise _damaged(history, str(error)) from None
    except OSError as error:
        raise HistoryError(f"{error.filename or history} cannot be read: {error.strerror or error}") from None


def _look_through(history: Path) -> None:
    """Refuse a damaged history, over a connection of its own: another may be in the middle of a query.

    Raises:
        HistoryError: as :func:`_check` does.
    """
    with tempfile.TemporaryDirectory() as scratch, closing(_connect(history, Path(scratch))) as connection:
        _check(history, connection, believed=False)


def _check(history: Path, connection: sqlite3.Connection, believed: bool) -> None:
    """Refuse what is no history, is of a later version, or is damaged; a believed one is not looked through.

    Raises:
        HistoryError: saying so.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not believed and is_garbled(connection):
        raise _damaged(history, f"its schema version reads {version}", connection)
    if version not in (0, schema.VERSION):
        raise HistoryError(schema.refusal(history, version))
    if version == 0 or not {"trial", "curve", "note", "attempt"} <= tables:
        # A log or a checksum are the trace of what was there.
        if version or sum_file(history).exists() or (history.parent / "log.jsonl").exists():
            raise _damaged(history, "it lacks tables of a history", connection)
        raise HistoryError(f"{history} is no history of a run: it lacks the tables of one")
    if not believed and (found := damage(connection)):
        raise _damaged(history, found, connection)


_OF_THE_PLACE: Final = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
}
"""What SQLite says when not the file is at fault, but who may use it when and where."""


def _connect(history: Path, scratch: Path) -> sqlite3.Connection:
    """Connect for reading only; where the file system gives no locks or no shared memory, to a copy in ``scratch``.

    Opening the original as immutable instead would leave out what still stands in the write-ahead log.
    """
    connection = sqlite3.connect(f"{history.as_uri()}?mode=ro", uri=True, timeout=_PATIENCE)
    try:
        connection.execute("SELECT 1 FROM sqlite_master")
    except sqlite3.OperationalError:
        connection.close()
        copy = scratch / "history.db"
        try:
            shutil.copyfile(history, copy)
            for suffix in ("-wal", "-journal"):
                beside = history.with_name(history.name + suffix)
                if beside.is_file():
                    shutil.copyfile(beside, copy.with_name(copy.name + suffix))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise HistoryError(
                f"{history} is read from a copy, because its folder takes no locks, and there is no room for one in "
                f"{scratch.parent}: let TMPDIR name a folder with room"
            ) from None
        connection = sqlite3.connect(copy)
    except BaseException:
        connection.close()
        raise
    return connection


def _damaged(history: Path, what: str, connection: sqlite3.Connection | None = None) -> HistoryError:
    """Return what is wrong with a history, how much of it is good, and how to save that."""
    good = 0
    with tempfile.TemporaryDirectory() as scratch, suppress(sqlite3.Error, UnicodeDecodeError):
        if connection is not None:
            good = good_trials(connection)
        else:
            with closing(_connect(history, Path(scratch))) as another:
                good = good_trials(another)
    extent = f"its trials are good up to number {good}" if good else "none of its trials is known to be good"
    mend = ""
    if history.name == "history.db":
        mend = f"; save what can be read with: python -m evo_nas repair {shlex.quote(str(history.parent))}"
    return HistoryError(f"the history {history} is damaged: {one_line(what)}; {extent}{mend}")


def _trials(run: Run, wanted: list[str]) -> pd.DataFrame:
    """Load the trials of one run in the order told, with the columns that are wanted."""
    needed = {"told", "seconds", "fitness"}
    needed |= {"asked_at", "told_at"} if "elapsed" in wanted else set()
    stored = [n for n in COLUMNS if n not in _FROM_CONFIG and n not in _DERIVED and n in {*wanted, *needed}]
    with opened(run.history) as connection:
        first = connection.execute(_FIRST_GENOTYPE).fetchone()
        values = _checked(connection, run, "trial", {name: _DTYPES[name] for name in stored})
    space = run.space() or (first[0].rpartition(":")[0] if first else run.said("space"))

    told = np.concatenate(values["told"])  # pending trials are NaN, which sorts last
    order = np.argsort(told, kind="stable")
    pending = np.isnan(told[order])
    clocks = [np.concatenate(values[n])[order] for n in ("asked_at", "told_at") if "elapsed" in wanted]
    frame = pd.DataFrame({name: _column(_DTYPES[name], values.pop(name)) for name in stored})
    # Rows come by id, so that a run with one worker stands in the order told already.
    if not np.array_equal(order, np.arange(len(order))):
        frame = frame.take(order).reset_index(drop=True)
    frame["trained"] = frame["told"].notna() & frame["seconds"].notna()  # as TRAINED says
    frame["sample"] = frame["trained"].cumsum().astype("Int64").mask(pending)
    # fmax passes over failures, which have no fitness.
    frame["best_so_far"] = np.where(pending, np.nan, np.fmax.accumulate(frame["fitness"].to_numpy()))
    if clocks:
        frame["elapsed"] = elapsed(run.folder, *clocks)
    constants = {
        "run": run.name,
        "strategy": run.said("strategy"),
        "space": space or UNKNOWN,
        "evaluator": run.said("evaluator"),
    }
    for name in _FROM_CONFIG:
        frame[name] = _constant(constants[name], len(frame))
    return frame[wanted]


def refuse_damage(connection: sqlite3.Connection, run: Run, table: str, names: Iterable[str]) -> None:
    """Hold the columns that are to be read to :data:`_SOUND`.

    Raises:
        HistoryError: if a row is not sound; it names the trial of the first that is not.
    """
    columns = {name: _SQL.get(name, name) for name in names if name in _SOUND}
    unsound = {name: f"NOT ({_SOUND[name].sql.format(column)})" for name, column in columns.items()}
    fault = " ".join(f"WHEN {condition} THEN '{name}'" for name, condition in unsound.items())
    value = " ".join(f"WHEN {condition} THEN {columns[name]}" for name, condition in unsound.items())
    identity = "id" if table == "trial" else "trial"
    found = connection.execute(
        f"SELECT {identity}, CASE {fault} END AS fault, CASE {value} END FROM {table} WHERE fault IS NOT NULL LIMIT 1"
    ).fetchone()
    if found:
        trial, name, content = found
        meaning = {**COLUMNS, **CURVE_COLUMNS, **NOTE_COLUMNS, "metrics": "JSON object of numbers"}[name]
        raise HistoryError(
            f"trial {trial} of {run.name} is damaged: its {name} cannot be {shorten(repr(content))} ({meaning}); "
            f"mend or remove that row of {run.history}"
        )


def _checked(
    connection: sqlite3.Connection, run: Run, table: str, dtypes: Mapping[str, str], order: str = ""
) -> dict[str, list[Any]]:
    """Read columns of a table as :func:`_read` does, and hold each row to :data:`_SOUND` in the same pass.

    Raises:
        HistoryError: as :func:`refuse_damage` does.
    """
    columns = {name: _SQL.get(name, name) for name in dtypes}
    query = f"SELECT {', '.join(columns.values())} FROM {table} {order}"
    return _read(connection, query, dtypes, lambda: refuse_damage(connection, run, table, dtypes))


def _read(
    connection: sqlite3.Connection, query: str, dtypes: Mapping[str, str], refuse: Callable[[], None] | None = None
) -> dict[str, list[Any]]:
    """Read the answer to a query as typed arrays, one a block of rows and column, for :func:`_column` to join.

    With ``refuse``, which raises, each value is held to :data:`_SOUND` on the way.
    """
    columns: dict[str, list[Any]] = {name: [_array(dtype, ())] for name, dtype in dtypes.items()}
    cursor = connection.execute(query)
    collecting = gc.isenabled()
    # Millions of new tuples make the collector of reference cycles start again and again, for nothing: half the time.
    gc.disable()
    try:
        while rows := cursor.fetchmany(_BLOCK):
            for (name, arrays), values in zip(columns.items(), zip(*rows, strict=True), strict=True):
                sound = _SOUND.get(name)
                if refuse and sound and not sound.fits(values):
                    refuse()
                arrays.append(_array(dtypes[name], values))
                if refuse and sound and not sound.bounds(arrays[-1]):
                    refuse()
    finally:
        if collecting:
            gc.enable()
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
        return pd.Series(pd.Categorical.from_codes(joined, categories=pd.Index(_OUTCOMES)))
    column: pd.Series[Any] = pd.Series(joined)
    if dtype.startswith("datetime"):
        column = pd.to_datetime(column, unit="s", utc=True)
    return column.astype(dtype)  # type: ignore[call-overload,no-any-return]  # the stubs know types by literal names alone


def _side_table(paths: Paths, table: str, dtypes: Mapping[str, str]) -> pd.DataFrame:
    """Load one of the tables beside ``trial``, with the name of the run in front."""
    frames = []
    for run in find_runs(paths):
        with opened(run.history) as connection:
            values = _checked(connection, run, table, dtypes, "ORDER BY 1, 2")
        frames.append(_beside(run, values, dtypes))
    return _concatenated(frames)


def _beside(run: Run, values: Mapping[str, list[Any]], dtypes: Mapping[str, str]) -> pd.DataFrame:
    """Make the frame of what one run keeps beside its trials."""
    columns = {name: _column(dtype, values[name]) for name, dtype in dtypes.items()}
    frame = pd.DataFrame(columns)
    frame.insert(0, "run", pd.Series(_constant(run.name, len(frame))))
    return frame


def _constant(value: str, rows: int) -> pd.Categorical[str]:
    """Make a column that says the same in every row, at a byte a row."""
    return pd.Categorical.from_codes(np.zeros(rows, np.int8), categories=pd.Index([value]))


def _concatenated(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Stack frames of the same columns; the categories of a column become those of all frames together."""
    if len(frames) == 1:
        return frames[0]
    for name in frames[0].columns[frames[0].dtypes == "category"]:
        together = list(dict.fromkeys(c for frame in frames for c in frame[name].cat.categories))
        for frame in frames:
            frame[name] = frame[name].cat.set_categories(together)
    return pd.concat(frames, ignore_index=True)
