"""The first line of a newcomer, typed into a wrong Python: one line answers, and it names the mend."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from evo_nas import __main__ as entry

ROOT = Path(__file__).parents[2]


def test_an_old_python_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 12, "final", 0))
    assert entry.main() == 2
    said = f"evo_nas: it needs Python 3.11.4 or newer, and {sys.executable} is 3.10.12\n"
    assert capsys.readouterr() == ("", said)


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
    assert project["requires-python"] == ">=" + ".".join(map(str, entry._OLDEST))
