"""The measurement of what a ranking is worth, end to end on the digits, with trainings of a second."""

from __future__ import annotations

import signal
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.fidelity import different, main
from benchmarks.trained_table import add_trainings
from evo_nas.listeners.progress import Progress
from genotypes.catalogue import build_space

QUICK = (
    *("--dataset", "digits", "--preset", "digits", "--genotypes", "3", "--workers", "1"),
    *("--set", "epochs=1", "--set", "train_images=64", "--set", "validation_images=100"),
    *("--reference", "filters=4", "--variants"),
)
"""The reference is the preset under another name, F=4, so that seeds alone make a difference."""


def told(folder: Path) -> list[tuple[object, ...]]:
    """Read what was trained: setting, id, genotype, loss of the last epoch, time at which it was told."""
    rows: list[tuple[object, ...]] = []
    for history in sorted(folder.glob("*/history.db")):
        connection = sqlite3.connect(history)
        loss = "json_extract(metrics, '$.train_loss')"
        query = f"SELECT id, genotype, {loss}, told_at FROM trial WHERE told IS NOT NULL ORDER BY id"
        rows += [(history.parent.name, *row) for row in connection.execute(query)]
        connection.close()
    return rows


@pytest.mark.slow
def test_an_interrupted_measurement_goes_on_and_ends_in_a_table_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*QUICK, "--seeds", "2", "--out", str(tmp_path / "out"), "--picture", str(tmp_path / "fidelity.png")]
    with monkeypatch.context() as patch:
        tell = Progress.told

        def tell_and_interrupt(*given: Any) -> None:
            tell(*given)
            signal.raise_signal(signal.SIGINT)

        patch.setattr(Progress, "told", tell_and_interrupt)
        assert main(words) == 130
    heard = capsys.readouterr().err
    assert heard.strip().endswith("the same command goes on")
    assert "Traceback" not in heard
    before = told(tmp_path / "out")
    assert len(before) == 1, "with one worker"

    assert main(words) == 0
    after = told(tmp_path / "out")
    assert set(before) < set(after), "what was trained is not trained again"
    assert [sum(row[0] == name for row in after) for name in ("digits", "filters=4")] == [6, 6]
    genotypes = [str(genotype) for genotype in different(build_space("nasnet"), 3)]
    assert [row[2] for row in after] == 2 * 2 * genotypes, "twice each, everywhere the same"
    assert len({row[3] for row in after}) == 12, "no two seeds train alike, and the reference shares none"
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| digits", "| filters=4"]
    assert lines[4:] == [str(tmp_path / "fidelity.png"), str(tmp_path / "fidelity.svg")]
    assert (tmp_path / "fidelity.png").read_bytes().startswith(b"\x89PNG")

    table = tmp_path / "trained.csv"
    assert main([*words, "--table", str(table)]) == 0
    trained = pd.read_csv(table, index_col="architecture")
    assert sorted(trained.index) == sorted(genotypes)
    seeds = [f"filters=4 seed 1.{n} epoch 1" for n in (0, 1)]
    assert trained["filters=4"].to_numpy() == pytest.approx(trained[seeds].mean(axis=1).to_numpy(), abs=0.01)
    assert trained["parameters"].min() > 1000
    more = add_trainings(table, [("filters=4", 3, tmp_path / "out" / "filters=4")])
    assert list(more.columns[:3]) == ["parameters", "digits", "filters=4"]
    assert sum(name.startswith("filters=4 seed") for name in more.columns) == 4
    assert told(tmp_path / "out") == after
    assert capsys.readouterr().out.splitlines() == lines
    assert main([*words, "--set", "learning_rate=0.2"]) == 2, "other trainings do not mix with these"
    assert "evaluator.learning_rate from 0.1 to 0.2" in capsys.readouterr().err


def test_genotypes_are_of_different_networks_and_fewer_are_the_first_of_more() -> None:
    space = build_space("nasnet")
    many = different(space, 20)
    assert len({space.key(genotype) for genotype in many}) == 20
    assert different(space, 5) == many[:5]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--data-dir", "/nowhere"], 4, "/nowhere"),
        (["--dataset", "digits", "--variants", "width=3"], 2, "width"),
        (["--dataset", "digits", "--variants", "filters=0"], 2, "filters must be"),
        (["--dataset", "digits", "--variants", "../filters=4"], 2, "spelled as what it changes"),
        (["--dataset", "digits", "--variants", "filters=4", "filters=4"], 2, "listed twice"),
        (["--dataset", "digits", "--genotypes", "2"], 2, "fewer than 3"),
        (["--dataset", "digits", "--picture", "fidelity.docx"], 2, "a picture ends in one of"),
        (["--dataset", "digits", "--table", __file__], 2, "cannot read the table"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line_before_anything_is_trained(
    words: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "out"), *words]) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert not list(tmp_path.glob("out/*/history.db"))
