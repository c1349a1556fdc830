"""A table of results: read from CSV or parquet, checked row by row, held once per process."""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import itertools
import lzma
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from evo_nas.errors import DataError, UsageError
from evo_nas.system.names import describe_missing
from evo_nas.system.text import decode_text, read_text
from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.individual import Evaluation, Outcome
from genotypes.space import SearchSpace

if TYPE_CHECKING:
    import pandas as pd

UNITS: Final[dict[str, float]] = {"percent": 100.0, "fraction": 1.0}
"""Unit, as ``--table-unit`` takes it -> the largest result that there can be in it."""

ENUMERABLE: Final = 200_000
"""Genotypes of the largest space that is gone through for networks without a row."""

LARGEST: Final = 2**29
"""Bytes of the largest table, unpacked."""

_PARQUET = (".parquet", ".pq")
_COLUMNS_NAMED = 20  # by a message, at most


@dataclass(frozen=True)
class TableFile:
    """A choice of results: a file, its columns, and the space that they belong to.

    ``key`` is the column of the genotypes, by default the first; ``column`` is what a search sees, ``test`` what it
    never sees; ``unit`` is a name of :data:`UNITS`. ``version`` is the file's time of change, in ns, and its size,
    in bytes. ``kind`` and ``spelling`` are what two equal spaces have in common.
    """

    path: Path
    version: tuple[int, int]
    key: str | None
    column: str
    test: str | None
    unit: str
    kind: type[SearchSpace]
    spelling: str
    space: SearchSpace = field(compare=False, repr=False)

    @classmethod
    def of(cls, path: Path, key: str | None, column: str, test: str | None, unit: str, space: SearchSpace) -> TableFile:
        """Describe a table as it lies on the disk now.

        Raises:
            DataError: if there is no such file.
        """
        if not path.is_file():
            raise DataError(f"{describe_missing('table', path)}; name a CSV or parquet file with --table FILE")
        stat = path.stat()
        version = stat.st_mtime_ns, stat.st_size
        return cls(path, version, key, column, test, unit, type(space), space.spelling, space)


@dataclass(frozen=True)
class BenchmarkTable:
    """The results of a table: key of the network -> fitness and test fitness, fractions in [0, 1].

    ``whole`` counts the rows whose genotype is of the space itself, not of a level below that it reads too.
    """

    space: SearchSpace
    results: Mapping[str, tuple[float, float | None]]
    whole: int

    @cached_property
    def best(self) -> float:
        """The largest fitness, a fraction in [0, 1]."""
        return max(fitness for fitness, _ in self.results.values())

    @property
    def digest(self) -> str:
        """The SHA-256 of all results, in the order of their keys."""
        return hashlib.sha256(repr(sorted(self.results.items())).encode()).hexdigest()

    def look_up(self, key: str, draw_rng: Callable[[], np.random.Generator]) -> Evaluation | None:
        """Return the evaluation of a network; ``None`` if it has no row."""
        found = self.results.get(key)
        return None if found is None else Evaluation(Outcome.OK, fitness=found[0], test_fitness=found[1])

    @cached_property
    def missing(self) -> tuple[int, Genotype | None]:
        """Number of networks of the space without a row, and the first such genotype.

        ``(0, None)`` too where the space is larger than :data:`ENUMERABLE`: nobody has gone through it.
        """
        # As many networks as there are genotypes: all of them are there.
        if self.space.size > ENUMERABLE or self.whole == self.space.size:
            return 0, None
        absent: dict[str, Genotype] = {}
        for choices in itertools.product(*(range(len(decision.options)) for decision in self.space.decisions)):
            genotype = Genotype(self.space.spelling, choices)
            try:
                key = self.space.key(genotype)
            except GenotypeError:  # a combination that the space does not contain
                continue
            if key not in self.results:
                absent.setdefault(key, genotype)
        return len(absent), next(iter(absent.values()), None)


@lru_cache(maxsize=8)
def read_table(source: TableFile) -> BenchmarkTable:
    """Read and check a table; a process reads it once, however many runs it serves.

    Raises:
        DataError: if the file or one of its rows is damaged. The message names the line, counted from 1 with the
            header as line 1; in parquet, which has no lines, the row, counted from 1.
        UsageError: if a column is not there, or parquet cannot be read here.
    """
    space, largest = source.space, UNITS[source.unit]
    results: dict[str, tuple[float, float | None]] = {}
    places: dict[str, int] = {}
    whole = 0
    for place, text, value, test in _rows(source):
        try:
            genotype = space.parse(text)
            key = space.key(genotype)
        except GenotypeError as error:
            mend = "" if source.key else " (another column of genotypes is named with --set evaluator.key=NAME)"
            raise _damage(source, place, f"{error}{mend}") from None
        if key in places:
            other = f"{_place_word(source)} {places[key]}"
            raise _damage(source, place, f"{shorten(text, 100)} is the same network as in {other}; remove one of them")
        places[key] = place
        results[key] = (
            _fraction(source, place, source.column, value, largest),
            None if source.test is None else _fraction(source, place, source.test, test, largest),
        )
        whole += genotype.space == source.spelling
    if not results:
        raise DataError(f"the table {source.path} has no rows below its header")
    return BenchmarkTable(space, results, whole)


def _fraction(source: TableFile, place: int, column: str, value: Any, largest: float) -> float:
    """Read one number in the unit of the table, and give it as a fraction."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    # float() takes more for a number than a table means by one: 8_4, and true.
    if math.isnan(number) or value is True or value is False or (isinstance(value, str) and "_" in value):
        what = "is empty" if value is None or value == "" else f"is {shorten(value)}, which is no number"
        raise _damage(source, place, f"{shorten(column)} {what}; mend it or remove the row")
    if not 0 <= number <= largest:
        rule = f"a {source.unit} is from 0 to {largest:g}"
        mend = "; if these are percent, add --table-unit percent" if largest < number <= 100 else ""
        raise _damage(source, place, f"{shorten(column)} is {number:g}, but {rule}{mend}")
    return number / largest


def _damage(source: TableFile, place: int, what: str) -> DataError:
    return DataError(f"{source.path}, {_place_word(source)} {place}: {what}")


def _place_word(source: TableFile) -> str:
    return "row" if _is_parquet(source.path) else "line"


# The files ---------------------------------------------------------------------------------------------------------


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in _PARQUET


def _rows(source: TableFile) -> Iterator[tuple[int, str, Any, Any]]:
    """Yield where each row stands, its genotype's text, and its values in the column and the test column."""
    return _parquet_rows(source) if _is_parquet(source.path) else _csv_rows(source)


def _csv_rows(source: TableFile) -> Iterator[tuple[int, str, Any, Any]]:
    """Read the rows of a CSV file.

    With the standard library, not with pandas, which does not know on which line of the file a row stood.
    """
    line = 1
    try:
        reader = csv.reader(io.StringIO(_text(source.path)))
        header = [name.strip() for name in next(reader, [])]
        key, column, test = _positions(source, header)
        line = reader.line_num + 1
        for row in reader:
            if len(row) == len(header):
                yield line, row[key].strip(), row[column].strip(), row[test].strip()
            elif row:  # an empty one is a blank line
                what = f"{len(row)} fields, but the header has {len(header)}"
                raise _damage(source, line, f"{what}; a text that holds a comma stands in quotes")
            line = reader.line_num + 1  # where the next row begins: a quoted field may hold line breaks
    except csv.Error as error:
        raise _damage(source, line, f"this is no CSV; {error}") from error
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise DataError(
            f"cannot read the table {source.path}: {shorten(str(error), 200)}; a table is CSV in UTF-8 "
            f"(.csv, or packed: {', '.join(_OPENERS)}) or parquet ({', '.join(_PARQUET)})"
        ) from error


def _parquet_rows(source: TableFile) -> Iterator[tuple[int, str, Any, Any]]:
    """Read the rows of a parquet file."""
    try:
        frame = _read_parquet(source.path)
    except ImportError as error:
        raise UsageError(
            f"reading {source.path} needs pyarrow: python -m pip install pyarrow, or write the table as CSV"
        ) from error
    except Exception as error:  # pandas hands on whatever the library below it raises
        raise DataError(f"cannot read the table {source.path}: {shorten(str(error), 200)}") from error
    if frame.index.names != [None]:  # pandas had stored a column as its index
        frame = frame.reset_index()
    columns = (frame.iloc[:, position].tolist() for position in _positions(source, list(map(str, frame.columns))))
    for row, (text, value, test) in enumerate(zip(*columns, strict=True), start=1):
        yield row, str(text), value, test


def _read_parquet(path: Path) -> pd.DataFrame:
    """Return a parquet file, in which a few bytes can stand for as many rows and letters as one likes.

    Raises:
        ImportError: if pyarrow is not installed.
        ValueError: if it is too large.
    """
    from pyarrow import compute, parquet

    about = parquet.read_metadata(path)
    groups = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
    _refuse_large(max(groups, 8 * about.num_rows * about.num_columns))
    columns = map(about.schema.column, range(about.num_columns))
    texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    table = parquet.read_table(path, read_dictionary=texts)  # each text once
    chunks = [chunk for column in table.columns for chunk in column.chunks if hasattr(chunk, "dictionary")]
    lengths = (compute.binary_length(chunk.dictionary).take(chunk.indices) for chunk in chunks)
    _refuse_large(sum(compute.sum(numbers).as_py() or 0 for numbers in lengths))
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _refuse_large(size: int) -> None:
    if size > LARGEST:
        raise ValueError(f"unpacked it has more than {LARGEST:,} bytes")


def _positions(source: TableFile, header: Sequence[str]) -> tuple[int, int, int]:
    """Find the columns: of the genotypes, the one that a search sees, the test column (the former again, if none).

    Raises:
        DataError: if there is no header.
        UsageError: if a column is not there, or is there twice.
    """
    if not header:
        raise DataError(f"the table {source.path} is empty")
    key, column = header[0] if source.key is None else source.key, source.column
    test = column if source.test is None else source.test
    for name in (key, column, test):
        if header.count(name) != 1:
            names = ", ".join(map(shorten, header[:_COLUMNS_NAMED])) + ", ..." * (len(header) > _COLUMNS_NAMED)
            what = "more than one" if name in header else "no"
            raise UsageError(f"the table {source.path} has {what} column {shorten(name)!r}; its columns are: {names}")
    return header.index(key), header.index(column), header.index(test)


def _text(path: Path) -> str:
    """Return the text of a file, unpacked by its suffix."""
    if (unpack := _OPENERS.get(path.suffix.lower())) is None:
        return read_text(path, LARGEST)
    with unpack(path, "rb") as file:
        content = file.read(LARGEST + 1)
    _refuse_large(len(content))
    return decode_text(content)


def _open_zip(path: Path, mode: str) -> IO[bytes]:
    """Open the one file of a zip archive."""
    archive = zipfile.ZipFile(path)
    names = archive.namelist()
    if len(names) != 1:
        raise ValueError(f"the archive holds {len(names)} files, not one")
    return archive.open(names[0])


_OPENERS: Final[dict[str, Callable[..., Any]]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zip": _open_zip,
}
