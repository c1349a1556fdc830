"""Histories as tables for people and for other programs: aligned text, CSV, JSON, parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Final

import pandas as pd

from analysis.frames import COLUMNS, Paths, find_runs, load_history, parse_cell
from genotypes.genotype import printable

FORMATS: Final = ("table", "csv", "json", "parquet")
"""The formats of :func:`write_table`."""

ALL: Final = "all"
"""Stands for every column where columns are named."""

_SUFFIXES: Final = {
    "": "table",
    ".txt": "table",
    ".csv": "csv",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}

SHOWN: Final = ("run", "id", "parent", "outcome", "fitness", "test", "parameters", "mult_adds", "seconds", "told_at")
"""Columns that a table for the eye has by default, and the genotype behind them; those without a value are left out."""

_ROWS: Final = 10_000  # at a time: `head` on a million rows waits for the first block alone
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet computes begins so (OWASP, "CSV Injection")
_FRACTIONS: Final = ("fitness", "test", "best_so_far")
_SECONDS: Final = ("seconds", "elapsed")
_LEAST: Final = 12  # characters that a text keeps, however narrow the terminal


def find_format(format: str | None, file: Path | None) -> str:
    """Return the format by its name, else by the ending of the file, else ``table``.

    Raises:
        ValueError: if the ending of the file says nothing of a format, and none is named.
    """
    if format or file is None:
        return format or "table"
    if file.suffix.lower() not in _SUFFIXES:
        known = ", ".join(filter(None, _SUFFIXES))
        raise ValueError(f"{file} says no format: let it end in one of {known}, or name one with --format")
    return _SUFFIXES[file.suffix.lower()]


def select(
    paths: Paths, *, columns: Sequence[str] = (), sort: Sequence[str] = (), top: int | None = None
) -> pd.DataFrame:
    """Load columns of one or many runs, in the order told if nothing else is asked for.

    ``columns`` are names of :data:`~analysis.frames.COLUMNS`, all by default, in the order given. ``sort`` names those
    to sort by, the smallest value first, or the largest for ``name:desc``; missing values come last, and ties
    stay in the order told. ``top`` is the number of rows to keep; without ``sort`` those of the highest fitness.

    Raises:
        HistoryError: as :func:`~analysis.frames.load_history` does.
        ValueError: if there is no such column, or one is to be sorted by in some other way.
    """
    wanted = list(dict.fromkeys(columns)) or list(COLUMNS)
    keys = [_key(text) for text in sort] or ([("fitness", False)] if top is not None else [])
    frame = load_history(paths, columns={*wanted, *(name for name, _ in keys)})
    # From the last key to the first, each stable: mixed directions keep ties in the order told.
    for name, ascending in reversed(keys):
        by = frame[name].astype("string") if frame[name].dtype == "category" else frame[name]
        frame = frame.loc[by.sort_values(ascending=ascending, kind="stable", na_position="last").index]
    frame = frame.reset_index(drop=True)
    return frame.loc[:, wanted] if top is None else frame.loc[: top - 1, wanted]


def for_the_eye(paths: Paths, *, sort: Sequence[str] = (), top: int | None = None) -> pd.DataFrame:
    """Return the informative columns of :data:`SHOWN` for these runs, and the genotype.

    Raises:
        HistoryError: as :func:`~analysis.frames.load_history` does.
        ValueError: as :func:`select` does.
    """
    frame = select(paths, columns=[*SHOWN, "genotype"], sort=sort, top=top)
    silent = {name for name in ("parent", "test", "parameters", "mult_adds") if frame[name].isna().all()}
    if len(find_runs(paths)) == 1:
        silent.add("run")
    return frame.loc[:, [name for name in frame.columns if name not in silent]]


def write_table(
    frame: pd.DataFrame, file: IO[bytes], format: str, *, width: int | None = None, plain: bool = False
) -> None:
    """Write a frame of :func:`select` to a file, in UTF-8 where it is text; an empty one has its headings alone.

    ``width`` is that of a terminal, to which the last text column of a ``table`` is cut. ``plain`` is for CSV on a
    terminal: control characters in the text of an error are written as ``?``. In CSV a text that a spreadsheet would
    compute, such as ``=1+1``, begins with a quotation mark: a run can come from anybody. Times are UTC, in CSV
    and JSON as ``2026-01-31T12:00:00.000000Z``. Missing values are empty in CSV, ``null`` in JSON, where the readable
    cell is an object. Parquet keeps the types, and what the columns mean among the attributes of the frame.

    Raises:
        ValueError: if there is no such format, or parquet lacks its library.
        OSError: if it cannot be written.
    """
    if format == "parquet":
        file.write(_parquet(frame))
        return
    writers: dict[str, Callable[[], Iterator[str]]] = {
        "table": lambda: _align(frame, width),
        "csv": lambda: _csv(frame, plain),
        "json": lambda: _json(frame),
    }
    if format not in writers:
        raise ValueError(f"a table is written as {', '.join(FORMATS)}, not {format!r}")
    for text in writers[format]():
        file.write(text.encode("utf-8", "replace"))


def _key(text: str) -> tuple[str, bool]:
    """Read ``name`` or ``name:desc`` as a column and whether its smallest value comes first."""
    name, _, direction = text.partition(":")
    if direction not in ("", "asc", "desc"):
        raise ValueError(f"sort by a column as in 'fitness' or 'fitness:desc', not {printable(text)!r}")
    return name, direction != "desc"


def _blocks(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Cut a frame into blocks of rows; an empty one is a block too."""
    for start in range(0, max(len(frame), 1), _ROWS):
        yield frame.iloc[start : start + _ROWS]


def _with_iso_times(block: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its times as ISO 8601 text, in UTC."""
    times = [name for name, dtype in block.dtypes.items() if isinstance(dtype, pd.DatetimeTZDtype)]
    return block.assign(**{str(name): block[name].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for name in times})


def _csv(frame: pd.DataFrame, plain: bool) -> Iterator[str]:
    for number, block in enumerate(_blocks(frame)):
        block = _with_iso_times(block)
        for name in [name for name, dtype in block.dtypes.items() if dtype in ("string", "category")]:
            texts = block[name].astype("string")
            if (formulas := texts.str.startswith(_FORMULA).fillna(False)).any():
                block = block.assign(**{str(name): (texts := texts.where(~formulas, "'" + texts))})
            if plain:
                block = block.assign(**{str(name): texts.map(printable, na_action="ignore")})
        yield block.to_csv(index=False, header=number == 0, lineterminator="\n")


def _json(frame: pd.DataFrame) -> Iterator[str]:
    """Write a list of objects, one per line; numbers as Python spells them, which is exact."""
    before = "["
    for block in _blocks(frame):
        objects = _with_iso_times(block).astype(object)
        for row in objects.where(objects.notna(), None).to_dict("records"):
            if "cell" in row:
                row["cell"] = parse_cell(row["cell"])
            yield f"{before}\n{json.dumps(row, allow_nan=False)}"
            before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def _parquet(frame: pd.DataFrame) -> bytes:
    described = frame.copy(deep=False)
    described.attrs["columns"] = {name: COLUMNS[name] for name in map(str, frame.columns)}
    try:
        buffer = BytesIO()
        described.to_parquet(buffer, index=False)
    except ImportError:
        raise ValueError(
            "parquet needs pyarrow: install it with pip install 'evo_nas[parquet]', or take --format csv"
        ) from None
    return buffer.getvalue()


def _align(frame: pd.DataFrame, width: int | None) -> Iterator[str]:
    """Align columns under their headings, numbers to the right."""
    headings = [f"{name} (UTC)" if name.endswith("_at") else name for name in map(str, frame.columns)]
    columns = [_texts(str(name), frame[name]) for name in frame.columns]
    widths = [max([len(heading), *map(len, texts)]) for heading, texts in zip(headings, columns, strict=True)]
    is_text = [dtype in ("string", "category") for dtype in frame.dtypes]
    if width is not None and is_text[-1]:
        widths[-1] = max(_LEAST, min(widths[-1], width - sum(widths[:-1]) - 2 * (len(widths) - 1)))
    for row in (headings, *zip(*columns, strict=True)):
        cells = (
            _cut(text, wide).ljust(wide) if left else text.rjust(wide)
            for text, wide, left in zip(row, widths, is_text, strict=True)
        )
        yield "  ".join(cells).rstrip() + "\n"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _texts(name: str, column: pd.Series[Any]) -> list[str]:
    """Return the values of a column as text; control characters are written as ``?``."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        times: list[str] = column.dt.strftime("%Y-%m-%d %H:%M:%S").fillna("-").tolist()
        return times
    if name in _FRACTIONS:
        spelled: Callable[[Any], str] = "{:.4f}".format
    elif name in _SECONDS:
        spelled = "{:.1f}".format
    elif name in ("parameters", "mult_adds"):
        spelled = "{:,}".format
    else:
        spelled = printable
    return ["-" if is_missing else spelled(v) for v, is_missing in zip(column, column.isna(), strict=True)]
