"""``study.json``: what a study compares, and where its runs lie; docs/study.md documents its fields."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from evo_nas.errors import HistoryError
from evo_nas.system.text import read_text
from genotypes.genotype import shorten

VERSION: Final = 1
"""Version of ``study.json``."""


def read_study(folder: Path) -> dict[str, Any]:
    """Return the record of the study in a folder, held to what docs/study.md says: it may have come from anybody.

    Raises:
        HistoryError: if there is none, it is damaged, leads out of its folder, or is of another version.
    """
    file = folder / "study.json"
    try:
        record: dict[str, Any] = json.loads(read_text(file))
        version = record["version"]
        if version == VERSION:
            _check(record)
            return record
    except FileNotFoundError:
        raise HistoryError(f"{folder} is no study: there is no study.json in it") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = shorten(repr(error), 200)
        raise HistoryError(f"{file} is damaged ({reason}); name another folder with --study-dir") from None
    raise HistoryError(f"{file} has version {shorten(version)}, this evo_nas reads version {VERSION}")


def _check(record: dict[str, Any]) -> None:
    """Raise ValueError, KeyError or TypeError if something is missing, of another kind, or leads elsewhere."""
    tables = [record[name] for name in ("run", "space", "evaluator")]
    for entry in record["strategies"]:
        tables.append(entry["options"])
        texts = [entry[key] for key in ("label", "name", "folder")]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a label, a name or a folder is no text")
        if texts[-1] != file_name(texts[-1]):
            raise ValueError(f"the folder {shorten(texts[-1])!r} does not lie in that of the study")
    for table in tables:
        if not isinstance(table, dict) or not all(map(str.isidentifier, table)):
            raise ValueError(f"{shorten(table)} is no table of options")
    for name in ("first_seed", "seeds", "trials"):
        number = record[name]
        if type(number) is not int or number < (name != "first_seed"):
            raise ValueError(f"{name} is {shorten(number)}, no number of seeds or trials")
    optimum = record["optimum"]
    if not (optimum is None or (type(optimum) in (int, float) and 0 <= optimum <= 1)):
        raise ValueError(f"optimum is {shorten(optimum)}, no fraction")


def file_name(text: str) -> str:
    """Make a file name of a label: what could not stand there, or in a shell, becomes a dot."""
    return re.sub(r"[^\w()=,+.-]", ".", text)
