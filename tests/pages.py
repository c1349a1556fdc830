"""Pages of the documentation: the commands and the Python that they show, and how tests run them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def blocks(file: str, language: str) -> list[str]:
    """Fenced blocks of one language; those marked `no-test` need a network or data that is not there."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / file).read_text("utf-8"), flags=re.DOTALL)


def commands(file: str) -> list[str]:
    lines = [line for block in blocks(file, "bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith("python -m evo_nas ")]


def shown(file: str) -> tuple[str, str]:
    """Return the command with which a guide opens, and the output that it shows."""
    opening = re.search(
        r"```bash\n(python [^\n]*)\n```\n\n```text\n(.*?)```", (ROOT / file).read_text("utf-8"), flags=re.DOTALL
    )
    assert opening, f"{file} opens with no command and its output"
    return opening[1], opening[2]


def examples(file: str) -> dict[str, str]:
    """Python files that a guide shows whole: name, on the first line, -> text."""
    found = {}
    for text in blocks(file, "python"):
        name = re.match(r"# ([\w/]+\.py)\n", text)
        assert name, "an example starts with the name of its file"
        found[name[1]] = text
    return found


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return done
