"""The command ``show`` on widths, and of a trial that is asked for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from evo_nas.cli import main
from evo_nas.run.search import Run
from tests.histories import close_in_order

GROUPS = "space.groups=conv1=16,blocks.0.conv1=16,blocks.1.conv1=32"


@pytest.fixture
def widths_run(toy_run: Callable[..., Run]) -> Path:
    """A run of three trials on the space ``widths``; the second has lost its first group."""
    path = toy_run("run", ("space.network=net:x", GROUPS), space="widths", trials=3).path
    with closing(sqlite3.connect(path / "history.db")) as connection, connection:
        alive = json.dumps({"alive.conv1": 0.0, "alive.blocks.0.conv1": 7.0, "alive.blocks.1.conv1": 3.0})
        connection.execute("UPDATE trial SET metrics = ? WHERE id = 2", (alive,))
    close_in_order(path)
    return path


def test_widths_are_a_table_and_what_died_is_named(widths_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(widths_run), "--trial", "2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["shown"]
    now = shown["cell"]["widths"]
    assert (shown["id"], shown["cell"]["network"], list(now)) == (
        2,
        "net:x",
        ["conv1", "blocks.0.conv1", "blocks.1.conv1"],
    )
    assert shown["metrics"]["alive.conv1"] == 0
    assert main(["show", str(widths_run), "--trial", "2"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    start = lines.index(["the", "widths", "of", "net:x,", "of", "trial", "2:"])
    assert lines[start + 1 : start + 6] == [
        ["group", "seed", "now", "share", "alive"],
        *(
            [name, str(seed), str(now[name]), f"{now[name] / seed:.2f}x", alive]
            for name, seed, alive in (("conv1", 16, "0"), ("blocks.0.conv1", 16, "7"), ("blocks.1.conv1", 32, "3"))
        ),
        ["died:", "conv1"],
    ]


def test_the_best_widths_are_shown_where_no_trial_is_named(
    widths_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(widths_run), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["shown"]["id"] == record["best"]["id"]
    assert main(["show", str(widths_run)]) == 0
    said = capsys.readouterr().out
    assert f"the best widths of net:x, of trial {record['best']['id']}:" in said
    if record["best"]["id"] != 2:
        assert "alive" not in said


def test_a_trial_that_has_not_succeeded_is_named(widths_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(widths_run), "--trial", "4"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "has no trial 4 that has succeeded" in err


def test_the_cell_of_any_trial_is_shown(toy_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    path = toy_run("run", trials=2).path
    assert main(["show", str(path), "--json"]) == 0
    best = json.loads(capsys.readouterr().out)["best"]["id"]
    for id in (1, 2):
        assert main(["show", str(path), "--trial", str(id)]) == 0
        assert f"the {'best ' * (id == best)}cell, of trial {id} (0 is h_i" in capsys.readouterr().out
