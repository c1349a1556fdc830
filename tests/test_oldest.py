"""``make oldest``: it reads the bounds of pyproject.toml, and has none of its own."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci" / "oldest.py"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def oldest() -> ModuleType:
    spec = importlib.util.spec_from_file_location("oldest", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_lower_bound_becomes_the_version(oldest: ModuleType) -> None:
    project = {
        "dependencies": ["numpy>=1.26", "torch>=2.4"],
        "optional-dependencies": {
            "onnx": ["onnx>=1.9", "torch>=2.10"],
            "dev": ["a-b_c[x,y]>=0.4.3", "stubs", "onnx>=1.17"],
        },
    }
    assert oldest.read_bounds(project, []) == {"numpy": "1.26", "torch": "2.4"}
    found = oldest.read_bounds(project, ["dev", "onnx"])
    assert found == {"numpy": "1.26", "torch": "2.10", "a-b_c": "0.4.3", "stubs": "", "onnx": "1.17"}


@pytest.mark.parametrize(
    "text", ["numpy<3", "numpy>=1,<3", "numpy==1.26", "numpy>=1; python_version<'3.12'", "numpy>1"]
)
def test_what_is_no_lower_bound_is_refused(oldest: ModuleType, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{text!r} is more than a name and a lower bound")):
        oldest.read_bounds({"dependencies": [text]}, [])


def test_an_unknown_extra_is_refused(oldest: ModuleType) -> None:
    with pytest.raises(ValueError, match="no extra nix: the project has datasets, "):
        oldest.read_bounds(PROJECT, ["nix"])


def test_all_requirements_of_the_project_are_read(oldest: ModuleType) -> None:
    bounds = oldest.read_bounds(PROJECT, PROJECT["optional-dependencies"])
    for text in PROJECT["dependencies"]:
        name, bound = text.split(">=")
        assert oldest.read_bounds(PROJECT, [])[name] == bound
    assert not [name for name, bound in bounds.items() if not bound and not re.search("stubs|types-", name)]
    done = subprocess.run([sys.executable, SCRIPT, "--list"], capture_output=True, text=True, check=True)
    listed = done.stdout.split()
    assert "numpy==" + bounds["numpy"] in listed
    assert set(oldest.EXTRAS) <= set(PROJECT["optional-dependencies"])
    assert {line.split("==")[0] for line in listed} >= set(bounds)
