"""Execute the notebooks of docs/notebooks, each in a folder of its own, and keep them with their outputs.

    python .ci/notebooks.py [-o build/notebooks] [NAME ...]

The sources are Python files in cells, which people and tools can read and compare; jupytext makes notebooks of them.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "docs" / "notebooks"
LIMIT = 600
"""Seconds that a cell may take: what takes longer hangs."""


def execute(source: Path, output: Path) -> Path:
    """Execute one notebook from an empty folder, and return the file that it is kept in.

    Raises:
        CellExecutionError: if a cell raises.
    """
    notebook = jupytext.read(source)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=LIMIT, resources={"metadata": {"path": folder}}).execute()
    target = output / f"{source.stem}.ipynb"
    nbformat.write(notebook, target)
    return target


def main() -> int:
    """Read the command line, and execute what it names; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", metavar="NAME", nargs="*", help="of a notebook (default: all)")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, default=ROOT / "build" / "notebooks")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    sources = [SOURCES / f"{name}.py" for name in given.names] or sorted(SOURCES.glob("*.py"))
    failed = 0
    for source in sources:
        try:
            print(execute(source, given.output), flush=True)
        except CellExecutionError as error:
            failed += 1
            print(f"{source.name}: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
