"""What a newcomer reads first: every command and every piece of Python of README, start, moving, gallery is run."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evo_nas.cli import main
from evo_nas.phenotypes.cost import cost_of
from genotypes.zoo import CELLS
from tests.pages import ROOT, blocks, commands, examples, run

pytestmark = pytest.mark.slow

SMALL = [
    *("--workers", "1", "--executor", "serial"),
    *("--set", "space.blocks=2", "--set", "evaluator.train_images=96", "--set", "evaluator.epochs=1"),
]
"""A search of cells on the digits that takes a second."""

Typed = Callable[..., str]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Return a function that runs a command in a new folder and in this process, and returns what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def run_as_printed(line: str, trials: str = "2") -> str:
        """Run a command but for its budget, which would take minutes: of two --trials the last counts."""
        words = shlex.split(line)[3:]
        if words[0] == "run":
            words += ["--trials", trials]
            if "digits" in words:
                words += SMALL if "--space" not in words else [*SMALL[:4], *SMALL[6:]]
        elif words[0] in ("resume", "study", "train"):
            words += {
                "resume": ["--trials", "3"],
                "study": ["--trials", "20", "--seeds", "2"],
                "train": ["--train-images", "96", "--epochs", "1"],
            }[words[0]]
        capsys.readouterr()
        code = main(words)
        out, err = capsys.readouterr()
        assert code == 0, f"{shlex.join(words)}\n{out}{err}"
        return out

    return run_as_printed


def test_the_readme_is_read_on_one_screen() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 90
    assert [line for line in lines if len(line) > 120 and not line.startswith(("|", "python", "run ="))] == []


def test_every_command_of_the_readme_works(typed: Typed) -> None:
    found = commands("README.md")
    assert [line.split()[3] for line in found] == ["run", "show", "plot"]
    for line in found:
        typed(line)
    text = (ROOT / "README.md").read_text("utf-8")
    assert all(f"`{name}`" in text for name in ("evolution", "rl", "random"))


def test_the_python_of_the_readme_works(tmp_path: Path) -> None:
    (code,) = blocks("README.md", "python")
    assert len(code.strip().splitlines()) <= 6
    out = run(tmp_path, sys.executable, "-c", code).stdout
    assert out.count("nasnet:") == 5


def test_the_page_of_python_does_what_it_says(tmp_path: Path) -> None:
    compared, loop = blocks("docs/api.md", "python")
    *table, fitness = run(tmp_path, sys.executable, "-c", compared).stdout.splitlines()
    assert {line.split()[1] for line in table[1:]} == {"random", "evolution"}
    assert 0 < float(fitness) < 1
    best, trials = run(tmp_path, sys.executable, "-c", loop).stdout.split()
    assert float(best) > 0.6
    assert trials == "40"
    assert (tmp_path / "search.json").stat().st_size > 1000


def test_ten_minutes_are_spent_as_the_tutorial_says(typed: Typed, tmp_path: Path) -> None:
    found = commands("docs/start.md")
    assert len(found) >= 15
    out = {line: typed(line, "30" if "guided" in line else "2") for line in found}
    (best,) = (printed for line, printed in out.items() if "show runs/nb201" in line)
    assert re.search(r"^ +1 +30 +91\.61 % +1,073,466 .* nasbench201:3\.3\.3\.1\.3\.2$", best, flags=re.MULTILINE)
    for name in ("best-cell.png", "report.html", "best.json", "runs/final/result.json"):
        assert (tmp_path / name).stat().st_size > 100, name


@pytest.mark.parametrize("page", ["docs/index.md", "docs/checklist.md", "docs/gallery.md"])
def test_the_commands_of_a_page_work(page: str, typed: Typed) -> None:
    found = commands(page)
    assert len(found) >= 3
    for line in found:
        typed(line)


def test_a_search_is_moved_here_as_the_page_says(typed: Typed, tmp_path: Path) -> None:
    code = examples("docs/moving.md")
    assert list(code) == ["from_nni.py", "from_naslib.py", "from_optuna.py"]
    for name, text in code.items():
        (tmp_path / name).write_text(text)
    assert "from-naslib-1    0.9" in run(tmp_path, sys.executable, "from_naslib.py").stdout
    found = commands("docs/moving.md")
    assert len(found) == 7
    for line in found:
        out = typed(line, "12")
        if "show" in line:
            assert " ok" in out
    assert (tmp_path / "front.png").is_file()


def test_the_counts_of_the_gallery_are_true() -> None:
    text = (ROOT / "docs" / "gallery.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d,]+) \| ([\d,]+) \|", text, flags=re.MULTILINE)
    assert [name for name, *_ in rows] == list(CELLS)
    for name, parameters, mult_adds in rows:
        cost = cost_of(CELLS[name], macro="cifar", cells_per_stack=6, filters=32, image=32, classes=10)
        assert (f"{cost.parameters:,}", f"{cost.mult_adds:,}") == (parameters, mult_adds), name
