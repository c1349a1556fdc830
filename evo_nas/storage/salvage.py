"""Salvage of a damaged history: every row that is whole on some page, whether or not anything leads to that page.

SQLite finds a row by way of other pages, so that one bad byte there hides thousands of good rows, and one in the header
all of them. Here every page of the file and of its write-ahead log is read by itself, as
https://www.sqlite.org/fileformat2.html lays it out, and a row is believed if it agrees with its checksum.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from evo_nas.storage.checksums import row_sum
from evo_nas.storage.schema import ASK, ATTEMPT, CURVE, RUNG, TELL, TRIAL
from genotypes.individual import Outcome

Row: TypeAlias = tuple[Any, ...]

_REALS: Final = {column.name for column in TRIAL.columns if column.type == "REAL"}
_REALS_OF_RUNG: Final = {place for place, column in enumerate(RUNG.columns) if column.type == "REAL"}
_PAGE: Final = 4096  # what SQLite takes by default
_LEAF_OF_TRIALS, _LEAF, _INNER = 0x0D, 0x0A, 0x02  # types of pages that hold rows; the side tables have no rowid
_LARGEST: Final = 1 << 24  # bytes of a row: more is no row of ours


@dataclass(frozen=True, slots=True)
class SalvagedTrial:
    """A trial that can be saved: the values of its ask, and of its tell if that is whole, with its learning curve."""

    ask: Row
    tell: Row | None
    curve: tuple[float, ...] = ()
    was_told: bool = False
    """Whether it had a tell, also one that is damaged now."""


@dataclass(slots=True)
class Salvage:
    """The salvaged rows: trials by id, and the rows that belong to them, all without their sums."""

    trials: dict[int, SalvagedTrial] = field(default_factory=dict)
    notes: dict[tuple[int, str], float] = field(default_factory=dict)
    attempts: dict[tuple[int, int], Row] = field(default_factory=dict)
    """by trial and number: ``started_at``, ``ended_at``, ``outcome``"""
    rungs: dict[tuple[int, int], Row] = field(default_factory=dict)
    """by trial and epoch: the other columns of a pause"""
    lost: list[int] = field(default_factory=list)
    """ids of trials that there were, and whose asks are not whole"""


def salvage(history: Path) -> Salvage:
    """Read what can be read of a history and the write-ahead log beside it; neither is changed.

    Raises:
        OSError: if the file itself cannot be read.
    """
    data = history.read_bytes()
    log = history.with_name(f"{history.name}-wal")
    frames = log.read_bytes() if log.is_file() else b""
    # The header can be what is damaged, and says how large a page is: 1 stands for what two bytes cannot say.
    said = (int.from_bytes(data[16:18]), int.from_bytes(frames[8:12]))
    sizes = dict.fromkeys([*(size for size in (1 << 16 if n == 1 else n for n in said) if size in _SIZES), _PAGE])
    found = Salvage()
    for size in sizes:
        found = max(found, _Reader(data, frames, size).result(), key=lambda one: len(one.trials))
    return found


_SIZES: Final = {1 << power for power in range(9, 17)}


class _Reader:
    """Reads all pages of one history, taken to be of one size; newer states of a page go before older ones."""

    def __init__(self, data: bytes, log: bytes, size: int) -> None:
        self._size = size
        self._pages = {n + 1: data[n * size : (n + 1) * size] for n in range(-(-len(data) // size))}
        older = []
        for number, page in _read_log_pages(log, size):
            if number in self._pages:
                older.append((number, self._pages[number]))
            self._pages[number] = page
        self._asks: dict[int, Row] = {}
        self._tells: dict[int, list[tuple[Row, int | None]]] = {}
        self._curves: dict[int, dict[int, float]] = {}
        self._out = Salvage()
        self._bad: Counter[int] = Counter()  # rows of trials that are not whole, by what they say is their id
        for images in (self._pages.items(), reversed(older)):
            for number, page in images:
                if number > 1:  # the first holds the schema, which we know
                    self._take(page)

    def result(self) -> Salvage:
        """Return the rows, put together: a tell is believed if its learning curve is there too."""
        positions: set[int] = set()
        out = self._out
        ended = {id for (id, _), (_, _, outcome) in out.attempts.items() if outcome not in (None, Outcome.CRASH)}
        ended -= {id for id, _ in out.rungs}  # attempts end with a pause too
        for id, ask in sorted(self._asks.items()):
            if (asked := ask[ASK.index("asked")]) in positions:
                continue
            positions.add(asked)
            curve = self._curves.get(id, {})
            tell = next((tell for tell, sum_ in self._tells.get(id, ()) if self._is_whole(tell, sum_, curve)), None)
            if tell is not None and tell[1] in positions:
                tell = None
            elif tell is not None:
                positions.add(tell[1])
            was_told = id in ended or id in self._tells or bool(curve)
            accuracies = tuple(curve[epoch] for epoch in sorted(curve)) if tell else ()
            out.trials[id] = SalvagedTrial(ask, tell, accuracies, was_told)
        out.lost = self._find_lost_ids()
        out.attempts = {key: row for key, row in sorted(out.attempts.items()) if key[0] in out.trials}
        # Of what is trained again no pause is kept: else it would seem to pause now.
        kept = {id for id, trial in out.trials.items() if trial.tell or not trial.was_told}
        out.rungs = {key: row for key, row in sorted(out.rungs.items()) if key[0] in kept}
        told = {id for id, trial in out.trials.items() if trial.tell}
        out.notes = {key: value for key, value in sorted(out.notes.items()) if key[0] in told}
        return out

    def _is_whole(self, tell: Row, sum_: int | None, curve: Mapping[int, float]) -> bool:
        if set(curve) != set(range(1, len(curve) + 1)):
            return False
        return sum_ == row_sum(*tell, len(curve))

    def _find_lost_ids(self) -> list[int]:
        """Find the ids that were asked; a damaged row can claim any, so only those near the others are believed."""
        known = {*self._asks, *self._curves}
        known |= {trial for trial, _ in [*self._out.attempts, *self._out.notes]}
        last = max(known, default=0)
        for id in sorted(self._bad):
            if last < id <= last + len(self._bad):
                last = id
        return [id for id in range(1, last + 1) if id not in self._out.trials]

    def _take(self, page: bytes) -> None:
        if not page or page[0] not in (_LEAF_OF_TRIALS, _LEAF, _INNER):
            return
        for id, payload in self._cells(page):
            try:
                values = _record(payload)
            except (IndexError, ValueError, struct.error):
                values = ()
            if id is None:
                self._take_side(values)
            elif not self._take_trial((id, *values[1:])):
                self._bad[id] += 1

    def _take_trial(self, values: Row) -> bool:
        """Take the ask and the tell of a row of ``trial``, each for itself; say whether the ask is whole."""
        if len(values) != len(TRIAL.names):
            return False
        row = dict(zip(TRIAL.names, values, strict=True))
        row |= {name: float(row[name]) for name in _REALS if isinstance(row[name], int)}
        ask, tell = tuple(row[name] for name in ASK), tuple(row[name] for name in TELL)
        is_whole: bool = row["asked_sum"] == row_sum(*ask)
        if is_whole:
            self._asks.setdefault(row["id"], ask)
        if row["told_sum"] is not None and tell not in (known := self._tells.setdefault(row["id"], [])):
            known.append((tell, row["told_sum"]))
        return is_whole

    def _take_side(self, row: Row) -> None:
        """Take a row of a side table; indexes have rows too, which are none of these."""
        width = len(row)
        if not row or type(row[0]) is not int or row[0] < 1:
            return
        if width == len(RUNG.names):
            return self._take_rung(row)
        if width not in (len(CURVE.names), len(ATTEMPT.names)) or row[2] is None:
            return
        *values, sum_ = row
        values[2:4] = (float(value) if isinstance(value, int) else value for value in values[2:4])
        row = tuple(values)
        if sum_ != row_sum(*row):
            return
        trial, second, third, *rest = row
        if isinstance(second, str):
            self._out.notes.setdefault((trial, second), float(third))
        elif type(second) is not int or second < 1:
            return
        elif rest:
            self._out.attempts.setdefault((trial, second), (float(third), *rest))
        else:
            self._curves.setdefault(trial, {}).setdefault(second, float(third))

    def _take_rung(self, row: Row) -> None:
        reals = ((place in _REALS_OF_RUNG and isinstance(value, int), value) for place, value in enumerate(row))
        trial, epoch, *others, sum_ = (float(value) if is_real else value for is_real, value in reals)
        if type(epoch) is int and sum_ == row_sum(trial, epoch, *others):
            self._out.rungs.setdefault((int(trial), epoch), tuple(others))

    def _cells(self, page: bytes) -> Iterator[tuple[int | None, bytes]]:
        """Return rowid, or ``None`` where a table has none, and content of every row on a page."""
        kind = page[0]
        begin = 12 if kind == _INNER else 8
        usable = self._size
        most = usable - 35 if kind == _LEAF_OF_TRIALS else (usable - 12) * 64 // 255 - 23
        least = (usable - 12) * 32 // 255 - 23
        for place in range(begin, begin + 2 * int.from_bytes(page[3:5]), 2):
            id = None
            with suppress(IndexError):
                at = int.from_bytes(page[place : place + 2]) + (4 if kind == _INNER else 0)
                if at < begin:
                    continue
                length, at = _varint(page, at)
                if kind == _LEAF_OF_TRIALS:
                    id, at = _varint(page, at)
                if length > _LARGEST:
                    continue
                here = length
                if length > most:
                    here = least + (length - least) % (usable - 4)
                    here = here if here <= most else least
                payload = page[at : at + here]
                following = int.from_bytes(page[at + here : at + here + 4]) if here < length else 0
                while len(payload) < length and following in self._pages:
                    rest = self._pages[following]
                    payload += rest[4 : 4 + length - len(payload)]
                    following = int.from_bytes(rest[:4]) if len(rest) == usable else 0
                yield id, payload


def _read_log_pages(log: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """Return the pages that a write-ahead log holds, number and content, oldest first, up to its last commit.

    What is left of what was written before the log began anew has another salt.
    """
    step = size + 24
    frames = [log[at : at + step] for at in range(32, len(log) - step + 1, step)]
    salts = Counter([log[16:24], *(frame[8:16] for frame in frames[:2])])  # one of them can be damaged
    current = [frame for frame in frames if frame[8:16] == salts.most_common(1)[0][0]]
    last = max((place for place, frame in enumerate(current) if any(frame[4:8])), default=-1)
    for frame in current[: last + 1]:
        yield int.from_bytes(frame[:4]), frame[24:]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read one of SQLite's numbers of variable length, and say where it ends."""
    value = 0
    for place in range(at, at + 8):
        byte = data[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    value = value << 8 | data[at + 8]
    return value - (1 << 64) if value >= 1 << 63 else value, at + 9


_WIDTHS: Final = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)  # bytes of a value, by its type


def _record(payload: bytes) -> Row:
    """Read the values of a row.

    Raises:
        IndexError, ValueError, struct.error: if it is no row.
    """
    begin, at = _varint(payload, 0)
    kinds = []
    while at < begin:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Any] = []
    at = begin
    for kind in kinds:
        width = _WIDTHS[kind] if 0 <= kind < 10 else (kind - 12) // 2
        content = payload[at : at + width]
        if width < 0 or len(content) != width:
            raise ValueError("a value ends behind its row")
        at += width
        if kind == 0:
            values.append(None)
        elif kind == 7:
            values.append(struct.unpack(">d", content)[0])
        elif kind < 7:
            values.append(int.from_bytes(content, signed=True))
        elif kind < 12:
            values.append(kind - 8)
        else:
            values.append(content.decode() if kind % 2 else content)
    return tuple(values)
