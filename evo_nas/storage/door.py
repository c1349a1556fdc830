"""The door of a history: every value of every row goes through it, to SQLite and into the checksum alike.

SQLite keeps what it does not know as bytes, and the checksum of a number of numpy is not that of the same number of
Python. What passes is what SQLite gives back; all else is refused before anything is written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

from evo_nas.storage.checksums import row_sum
from evo_nas.storage.columns import LARGEST
from evo_nas.storage.schema import ATTEMPT, CURVE, NOTE, RUNG, TRIAL, Column, Table
from genotypes.genotype import shorten
from genotypes.plain import LONGEST_TEXT, plain_in_json, readable, real, whole


class Refused(ValueError):
    """A value that a history cannot give back; the message names it, its column and the rule."""

    def __init__(self, column: str, rule: str, value: object) -> None:
        super().__init__(f"{column} must be {rule}, not {shorten(repr(value))}")
        self.column = column


class Door:
    """Takes the values of a table's columns that one checksum covers, in its order."""

    def __init__(self, table: Table, sum_: str) -> None:
        columns = {column.name: column for column in table.columns}
        self._takers = tuple(_TAKERS[columns[name].type](columns[name]) for name in table.list_summed_columns(sum_))

    def seal(self, values: Iterable[object], *beside: object) -> tuple[Any, ...]:
        """Return the values as SQLite gives them back, and behind them their sum; that covers ``beside`` too.

        Raises:
            Refused: if one of them would not come back equal, or no reader would take it.
        """
        row = [take(value) for take, value in zip(self._takers, values, strict=True)]
        return (*row, row_sum(*row, *beside))


def _take_integer(column: Column) -> Callable[[object], int | None]:
    def take(value: object) -> int | None:
        if type(value) is int and -_HALF <= value < _HALF:  # nearly always: a history is written a million times
            return value
        if value is None and column.may_miss:
            return None
        try:
            if type(value) is not int:  # costs come as floats
                value = int(value) if type(value) is float and value.is_integer() else whole(value)
            if -_HALF <= value < _HALF:
                return value
        except ValueError:
            pass
        raise Refused(column.name, "a whole number of 64 bits", value)

    return take


def _take_real(column: Column) -> Callable[[object], float | None]:
    # A clock may say anything: that ends no search.
    least, most = (0.0, LARGEST[column.unit]) if column.unit in ("fraction", "seconds") else (-_MOST, _MOST)

    def take(value: object) -> float | None:
        if type(value) is float and least <= value <= most:
            return value + 0.0  # SQLite has no -0.0, and a checksum knows the difference
        if value is None and column.may_miss:
            return None
        try:
            if least <= (number := real(value)) <= most:
                return number + 0.0
        except ValueError:
            pass
        raise Refused(column.name, f"a number from {least:g} to {most:g}", value)

    return take


def _take_text(column: Column) -> Callable[[object], str | None]:
    def take(value: object) -> str | None:
        if type(value) is str and not column.words and value.isascii() and len(value) <= LONGEST_TEXT:
            return value
        if value is None and column.may_miss:
            return None
        if not isinstance(value, str) or (column.words and value not in column.words):
            raise Refused(column.name, f"one of {column.words}" if column.words else "text", value)
        text = str(value)
        if len(text) > LONGEST_TEXT or (not text.isascii() and readable(text) != text):
            raise Refused(column.name, f"text that UTF-8 can hold, of at most {LONGEST_TEXT:,} bytes", text)
        return text

    return take


_HALF: Final = 2**63
_MOST: Final = sys.float_info.max

_TAKERS: Final[dict[str, Callable[[Column], Callable[[object], Any]]]] = {
    "INTEGER": _take_integer,
    "REAL": _take_real,
    "TEXT": _take_text,
}

ASKED: Final = Door(TRIAL, "asked_sum")
TOLD: Final = Door(TRIAL, "told_sum")
take_metric: Final = _take_real(Column("metrics", "REAL", "a further number"))
CURVE_POINT: Final = Door(CURVE, "sum")
NOTED: Final = Door(NOTE, "sum")
ATTEMPTED: Final = Door(ATTEMPT, "sum")
PAUSED: Final = Door(RUNG, "sum")


def spell_json(column: str, value: object) -> str:
    """Spell a value as compact JSON that is JSON, with numbers of numpy, torch and pandas in it.

    Raises:
        Refused: if JSON cannot hold it: NaN and infinity, texts that UTF-8 cannot hold, whatever is none of its kinds.
    """
    if not value and type(value) in _EMPTY:  # most are, and a history is written a million times
        return _EMPTY[type(value)]
    try:
        text = _encode(value)
        if "\\ud" in text:  # half of a pair, perhaps
            json.dumps(json.loads(text), ensure_ascii=False).encode()
        return text
    except (TypeError, ValueError, RecursionError):
        raise Refused(column, "finite numbers and texts that UTF-8 can hold", value) from None


_EMPTY: Final[dict[type, str]] = {tuple: "[]", dict: "{}"}

_encode: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=plain_in_json).encode
"""Made once: ``dumps`` makes an encoder a call."""
