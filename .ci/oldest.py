"""Run the quick tests with the oldest version of every library that pyproject.toml allows.

    python .ci/oldest.py [--environment DIR] [--extra NAME ...] [--list] [-- WORDS OF PYTEST ...]

The bounds are read from pyproject.toml: ``numpy>=1.26`` becomes ``numpy==1.26``, and where a library has several,
the highest counts. A bound is a release: one that was never made is an error. All are installed into a new environment,
and what has no bound there is the newest that fits.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]
EXTRAS = ("dev", "datasets", "browser")
"""Extras that are installed unless others are named: ``dev`` has the tools of the tests, and most of the others."""
TESTS = ("tests/genotypes", "tests/strategies", "tests/analysis", "tests/evo_nas")
IGNORED = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning", "hypothesis.errors.HypothesisWarning")
"""Warnings of old libraries about what other libraries changed since, and of an old hypothesis about its own doing."""
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[\w,-]+\])?(?:>=([\d.]+))?")


def read_bounds(project: Mapping[str, Any], extras: Iterable[str]) -> dict[str, str]:
    """Return the oldest version of each library by its name, or "" for one without a bound.

    Raises:
        ValueError: if an extra is not in the project, or a requirement is more than a name and a lower bound.
    """
    optional = project.get("optional-dependencies", {})
    if unknown := [extra for extra in extras if extra not in optional]:
        raise ValueError(f"no extra {unknown[0]}: the project has {', '.join(optional)}")
    found: dict[str, str] = {}
    for text in [*project["dependencies"], *(text for extra in extras for text in optional[extra])]:
        if (match := REQUIREMENT.fullmatch(text)) is None:
            raise ValueError(f"{text!r} is more than a name and a lower bound")
        name, bound = match[1], match[2] or ""
        found[name] = max(found.get(name, ""), bound, key=_order)
    return found


def _order(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part]


def install(bounds: Mapping[str, str], environment: Path) -> Path:
    """Make an environment with these versions in it, and return its Python.

    Raises:
        CalledProcessError: if pip finds no such release, or releases that do not go together.
    """
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    words = [f"{name}=={bound}" if bound else name for name, bound in bounds.items()]
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *words], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", ROOT], check=True)
    return python


def main() -> int:
    """Read the command line, install and test; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", metavar="DIR", type=Path, help="keep it (default: one that is thrown away)")
    parser.add_argument("--extra", metavar="NAME", action="append", help=f"(default: {', '.join(EXTRAS)})")
    parser.add_argument("--list", action="store_true", help="print what would be installed, and stop")
    parser.add_argument("words", metavar="WORD", nargs="*", help="for pytest, instead of the quick tests")
    given = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    try:
        bounds = read_bounds(project, given.extra or EXTRAS)
    except ValueError as error:
        parser.error(str(error))
    print(*(f"{name}=={bound}" if bound else name for name, bound in bounds.items()), sep="\n", flush=True)
    if given.list:
        return 0
    with TemporaryDirectory() as folder:
        python = install(bounds, given.environment or Path(folder) / "environment")
        words = given.words or ["-n", "2", "--dist", "loadfile", "-m", "not slow and not soak", *TESTS]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        pytest = [python, "-m", "pytest", "-q", *(f"-Wignore::{name}" for name in IGNORED)]
        done = subprocess.run([*pytest, *words], cwd=ROOT, env=environment, check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
