"""The first line of a newcomer, typed into a wrong Python: one line answers, and it names the mend."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from evo_nas import __main__ as entry
from evo_nas.system import early

ROOT = Path(__file__).parents[2]


OLD = """
import sys
sys.version_info, sys.argv = (3, 6, 15, "final", 0), [{first!r}]
del sys.orig_argv  # came with Python 3.10
import evo_nas
"""
"""A program that an old Python runs, as far as this one can play it."""


@pytest.mark.parametrize(("first", "code"), [("-m", 2), ("/usr/bin/evo_nas", 2), ("notebook.py", 1)])
def test_an_old_python_is_named(first: str, code: int) -> None:
    command = [sys.executable, "-S", "-c", OLD.format(first=first)]
    done = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, check=False)
    said = f"evo_nas: it needs Python 3.11.4 or newer, and {sys.executable} is 3.6.15\n"
    assert (done.returncode, done.stdout) == (code, "")
    if code == 2:
        assert done.stderr == said
    else:
        assert done.stderr.endswith(f"ImportError: {said}")


@pytest.mark.parametrize("name", ["__init__.py", "system/__init__.py", "system/early.py"])
def test_an_old_python_can_read_what_refuses_it(name: str) -> None:
    source = (ROOT / "evo_nas" / name).read_text("utf-8")
    ast.parse(source, feature_version=(3, 6))
    assert "from __future__ import" not in source  # annotations came with Python 3.7


def test_a_python_without_what_is_needed_is_named() -> None:
    command = [sys.executable, "-S", "-m", "evo_nas", "run", "--strategy", "random"]  # -S: without installed packages
    done = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{sys.executable} has no numpy, which evo_nas needs: activate its environment" in done.stderr


def test_what_is_needed_is_what_the_project_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.split(r"[<>=]", text)[0] for text in project["dependencies"]}
    imported = {{"pillow": "PIL", "scikit-learn": "sklearn"}.get(name, name) for name in names}
    assert imported == entry._NEEDED
    assert project["requires-python"] == ">=" + ".".join(map(str, early.OLDEST))
