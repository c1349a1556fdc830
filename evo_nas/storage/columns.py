"""Columns of a history for whoever reads many rows: what each value must be, and the queries that read them.

SQLite lets any column hold anything, and a history may have come from anybody.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from evo_nas.storage.schema import CURVE, NOTE, RUNG, TRIAL, Column, Table
from genotypes.individual import LONGEST


@dataclass(frozen=True, slots=True)
class ColumnCheck:
    """A condition on a stored value: once in SQL, and once in Python.

    ``sql`` is true of what can be read, and never false of a missing value that may be missing: in SQLite every text
    is above every number, and a comparison with NULL is neither true nor false. Python looks at every value as it goes
    by, which is far cheaper: it must be of one of ``types``, one of the ``words`` if there are any, and a number in
    [0, ``most``].
    """

    sql: str
    types: tuple[type, ...] = ()
    words: frozenset[str | None] = frozenset()
    most: float = math.inf

    def fits(self, values: Sequence[Any]) -> bool:
        """Return whether values, as SQLite gives them, can become an array."""
        return set(map(type, values)).issubset(self.types) and (not self.words or self.words.issuperset(values))

    def bounds(self, array: Any) -> bool:
        """Return whether an array of numbers is within bounds; missing ones are NaN, which no comparison finds."""
        return self.most == math.inf or not ((array < 0) | (array > self.most)).any()


LARGEST: Final = {"fraction": 1, "seconds": LONGEST, "clock": 9e9}
"""The highest value by unit; as a wall clock that is the year 2255, which nanoseconds in 64 bits can say."""


def _check_of(column: Column) -> ColumnCheck:
    if column.name == "metrics":
        return ColumnCheck(
            "CASE WHEN json_valid({0}) THEN json_type({0}) = 'object' AND NOT EXISTS "
            "(SELECT 1 FROM json_each({0}) WHERE type NOT IN ('integer', 'real')) ELSE 0 END"
        )
    missing: tuple[type, ...] = (type(None),) if column.may_miss else ()
    if column.words:
        return ColumnCheck(f"{{}} IN {column.words}", (str, *missing), frozenset((*column.words, None)))
    if column.unit:
        most = LARGEST[column.unit]
        return ColumnCheck(f"{{}} BETWEEN 0 AND {most}", (int, float, type(None)), most=most)
    allowed = f"'{column.type.lower()}'" + (", 'null'" if column.may_miss else "")
    kind = {"INTEGER": int, "REAL": float, "TEXT": str}[column.type]
    return ColumnCheck(f"typeof({{}}) IN ({allowed})", (kind, *missing))


CHECKS: Final = {
    # A trial's id is an integer whatever is written: it is the row's own number.
    (table.name, column.name): _check_of(column)
    for table in (TRIAL, CURVE, NOTE, RUNG)
    for column in table.columns
    if column.name != "id"
}
"""Conditions on the values of a table's column."""


def select(connection: sqlite3.Connection, table: Table, names: Iterable[str], order: str = "") -> sqlite3.Cursor:
    """Read columns of every row of a table."""
    return connection.execute(f"SELECT {', '.join(names)} FROM {table.name} {order}")


def select_metrics(connection: sqlite3.Connection) -> sqlite3.Cursor:
    """Read the metrics of all trials, a row per number: trial, name, value."""
    return connection.execute(
        "SELECT trial.id, json_each.key, value FROM trial, json_each(trial.metrics) ORDER BY 1, 2"
    )


def select_cells(connection: sqlite3.Connection, ids: Sequence[int]) -> sqlite3.Cursor:
    """Read id, genotype and readable cell of some trials."""
    marks = ", ".join("?" * len(ids))
    return connection.execute(f"SELECT id, genotype, cell FROM trial WHERE id IN ({marks})", ids)


def first_genotype(connection: sqlite3.Connection) -> str | None:
    """Return the first genotype that can be read: its space is that of all, but for progressive search."""
    row = connection.execute(
        "SELECT genotype FROM trial WHERE typeof(genotype) = 'text' AND instr(genotype, ':') > 1 ORDER BY id LIMIT 1"
    ).fetchone()
    return None if row is None else str(row[0])


def find_unsound(connection: sqlite3.Connection, table: Table, names: Iterable[str]) -> tuple[int, str, Any] | None:
    """Find a row with a value in these columns that cannot be: its trial, the column and the value."""
    checks = {name: CHECKS[table.name, name] for name in names if (table.name, name) in CHECKS}
    unsound = {name: f"NOT ({check.sql.format(name)})" for name, check in checks.items()}
    fault = " ".join(f"WHEN {condition} THEN '{name}'" for name, condition in unsound.items())
    value = " ".join(f"WHEN {condition} THEN {name}" for name, condition in unsound.items())
    identity = "id" if table is TRIAL else "trial"
    found: tuple[int, str, Any] | None = connection.execute(
        f"SELECT {identity}, CASE {fault} END AS fault, CASE {value} END FROM {table.name} "
        "WHERE fault IS NOT NULL LIMIT 1"
    ).fetchone()
    return found
