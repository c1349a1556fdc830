"""The list of benchmarks is complete."""

from __future__ import annotations

import re
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_every_program_has_a_line_and_every_other_file_its_place() -> None:
    files = {path.stem: path.read_text("utf-8") for path in BENCHMARKS.glob("*.py")}
    files |= {path.parent.name: path.read_text("utf-8") for path in BENCHMARKS.glob("*/__main__.py")}
    programs = {name for name, text in files.items() if '__name__ == "__main__"' in text}
    table, rest = (BENCHMARKS / "README.md").read_text("utf-8").split("\nThe other files")
    assert re.findall(r"^\| `python -m benchmarks\.(\w+)`", table, re.M) == sorted(programs)
    assert files.keys() - programs <= set(re.findall(r"`(\w+)`", rest))
