"""The command ``diff`` on widths; tests/analysis/cells has that of cells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evo_nas.cli import main
from genotypes.widths import Widths

SEED = {"conv1": 16, "blocks.0.conv1": 16, "esc\x1b[31m": 32}


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files of widths of one network, and one of another."""
    monkeypatch.chdir(tmp_path)
    for name, seed, numbers in (("a", SEED, (8, 16, 4)), ("b", SEED, (8, 20, 3)), ("c", {"fc": 4}, (4,))):
        found = Widths("torchvision:resnet18", dict(zip(seed, numbers, strict=True)), seed)
        Path(f"{name}.json").write_text(json.dumps(found.to_json()))


@pytest.mark.usefixtures("pair")
def test_the_groups_that_differ_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "a.json", "b.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "A: a",
        "B: b",
        "2 of 3 groups of torchvision:resnet18 differ, from A to B",
        "  blocks.0.conv1: 16 -> 20",
    ]
    assert lines[4].isprintable()
    assert main(["diff", "a.json", "b.json", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["differing"] == {"blocks.0.conv1": [16, 20], "esc\x1b[31m": [4, 3]}
    assert main(["diff", "a.json", "a.json"]) == 0
    assert "0 of 3 groups" in capsys.readouterr().out


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["diff", "a.json", "c.json"], "have other groups of channels"),
        (["diff", "a.json", "b.json", "-o", "x.png"], "plot RUN RUN --kind widths draws widths"),
        (["diff", "a.json", "nasnet-a"], "plot RUN --kind widths draws"),
        (["plot", "a.json", "--kind", "cells", "-o", "x.png"], "plot RUN --kind widths draws"),
        (["export", "a.json", "--format", "dot", "-o", "x"], "plot RUN --kind widths draws"),
    ],
)
def test_what_does_not_suit_widths_is_one_line_that_names_what_does(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert not Path("x.png").exists()
