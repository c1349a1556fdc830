"""Runs that learn from others: what they keep of them, resumed without them, and donors that are refused."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest

from evo_nas.cli import main
from evo_nas.errors import RunFolderError, UsageError
from evo_nas.run.parts import build, load_config, read_stored_config
from evo_nas.run.search import resume, start
from evo_nas.storage.knowledge import read_donor
from evo_nas.storage.run_folder import RunFolder
from genotypes.catalogue import build_space
from tests.stepwise import is_done_before

FLAGS = {
    "strategy": "evolution",
    "population": 8,
    "sample": 3,
    "space": "nasbench201",
    "evaluator": "toy",
    "trials": 10,
}
WORDS = [word for name, value in FLAGS.items() for word in (f"--{name}", str(value))]


@pytest.fixture
def donor(toy_run: Callable[..., Any]) -> Path:
    """A run of ten random cells, with names of runs as people give them."""
    return Path(toy_run("a friend, 1", space="nasbench201", trials=10).path)


def begin(path: Path, *donors: Path, **flags: Any) -> None:
    config = load_config({**FLAGS, "warm_start": [str(one) for one in donors], **flags}, environ={})
    with RunFolder.create(path) as folder:
        start(config, folder, build(config))


def go_on(path: Path, trials: int) -> None:
    config = read_stored_config(path, {"run": {"trials": trials}})
    with RunFolder.open(path) as folder:
        resume(config, folder, build(config))


def best_genotypes(path: Path, n: int) -> list[str]:
    with closing(sqlite3.connect(path / "history.db")) as history:
        rows = history.execute("SELECT genotype FROM trial ORDER BY fitness DESC, told LIMIT ?", (n,))
        return [genotype for (genotype,) in rows]


def test_a_run_begins_with_the_donors_best_and_its_history_has_its_own_trials_alone(
    tmp_path: Path, donor: Path, rows: Any
) -> None:
    begin(tmp_path / "run", donor)
    found = rows(tmp_path / "run")
    assert [row["genotype"] for row in found[:7:2]] == best_genotypes(donor, 4)
    assert sum(row["outcome"] == "ok" for row in found) == 10
    assert {row["seed"] for row in found} == {0}


def test_the_donor_is_kept_with_its_digest_so_that_it_can_be_deleted(tmp_path: Path, donor: Path, rows: Any) -> None:
    begin(tmp_path / "whole", donor, trials=16)
    begin(tmp_path / "run", donor, trials=3)
    kept = json.loads((tmp_path / "run" / "knowledge.json").read_text())
    data = json.loads((tmp_path / "run" / "env.json").read_text())["data"]
    assert data == {"run learned from, 1: a friend, 1": kept["donors"][0]["digest"]}
    assert f'warm_start = ["{donor}"]' in (tmp_path / "run" / "run.toml").read_text()
    rmtree(donor)
    go_on(tmp_path / "run", 16)
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


def test_the_donor_that_changed_afterwards_makes_no_difference(tmp_path: Path, donor: Path, rows: Any) -> None:
    begin(tmp_path / "whole", donor, trials=12)
    begin(tmp_path / "run", donor, trials=3)
    go_on(donor, 20)
    go_on(tmp_path / "run", 12)
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


def test_killed_between_any_two_steps_of_its_beginning_it_begins_again(
    tmp_path: Path, donor: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path / "whole", donor, trials=4)
    for steps in range(100):
        path = tmp_path / f"run{steps}"
        if is_done_before(steps, lambda path=path: begin(path, donor, trials=4), monkeypatch):  # type: ignore[misc]
            break
        if (path / "run.toml").exists():
            go_on(path, 4)
        else:
            begin(path, donor, trials=4)
        assert rows(path) == rows(tmp_path / "whole")
    assert steps > 8


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "missing or damaged"),
        (lambda path: path.write_text("{"), "missing or damaged"),
        (lambda path: path.write_text(path.read_text().replace("0.", "0.0", 1)), "the digest of a friend, 1 is not"),
        (lambda path: path.write_text('{"version": 2}'), "it has version 2"),
        (lambda path: path.write_text('{"version": 1, "donors": []}'), "it holds nothing"),
    ],
)
def test_what_a_run_keeps_of_its_donors_is_held_to_its_digest(
    tmp_path: Path, donor: Path, damage: Callable[[Path], object], words: str
) -> None:
    begin(tmp_path / "run", donor, trials=3)
    damage(tmp_path / "run" / "knowledge.json")
    with pytest.raises(RunFolderError, match=words) as caught:
        go_on(tmp_path / "run", 5)
    assert "\n" not in str(caught.value)


def test_another_donor_in_its_place_is_refused(tmp_path: Path, donor: Path, toy_run: Callable[..., Any]) -> None:
    other = toy_run("other", space="nasbench201", trials=10, seed=7).path
    for name, source in (("run", donor), ("false", other)):
        begin(tmp_path / name, source, trials=3)
    (tmp_path / "false" / "knowledge.json").replace(tmp_path / "run" / "knowledge.json")
    with pytest.raises(UsageError, match="its data is not the same"):
        go_on(tmp_path / "run", 5)


def refused(words: list[str], path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Return the exit code and the line, with which a run ends before there is a folder."""
    code = main(["run", *words, "--run-dir", str(path)])
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert not path.exists()
    return code, error


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["--strategy", "random"], 2, "the strategy random does not learn from other runs; those that can are evo"),
        (["--space", "nasnet"], 2, "searched the space nasbench201, and nothing of that is in the space nasnet"),
        (["--warm-start", "no-such"], 3, "no-such holds no run"),
    ],
)
def test_a_warm_start_that_cannot_be_is_refused_in_a_line_before_there_is_a_folder(
    tmp_path: Path, donor: Path, capsys: pytest.CaptureFixture[str], given: list[str], code: int, words: str
) -> None:
    base = ["--strategy", "evolution", "--space", "nasbench201", "--evaluator", "toy", "--warm-start", str(donor)]
    found, line = refused([*base, *given], tmp_path / "run", capsys)
    assert found == code
    assert words in line


def test_a_donor_that_is_empty_damaged_or_running_is_refused(
    tmp_path: Path, donor: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def start_from(path: Path) -> tuple[int, str]:
        return refused([*WORDS, "--warm-start", str(path)], tmp_path / "run", capsys)

    empty, damaged = (copytree(donor, tmp_path / name) for name in ("empty", "damaged"))
    for path, change in (
        (empty, "DELETE FROM trial; DELETE FROM attempt"),
        (damaged, "UPDATE trial SET fitness = 0.9 WHERE id = 3"),
    ):
        with closing(sqlite3.connect(path / "history.db")) as history:
            history.executescript(change)
            history.commit()
        (path / "history.sum").unlink(missing_ok=True)
    code, line = start_from(empty)
    assert (code, "no trial of it has succeeded" in line) == (3, True), line
    code, line = start_from(damaged)
    assert (code, "is damaged" in line) == (3, True), line
    with RunFolder.open(donor):
        code, line = start_from(donor)
    assert (code, "to learn from it, wait for it or stop it" in line) == (3, True), line


def test_a_run_does_not_learn_from_itself_nor_twice_from_another(
    tmp_path: Path, donor: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = refused([*WORDS, "--warm-start", str(tmp_path / "run")], tmp_path / "run", capsys)
    assert (code, "a run cannot learn from itself" in line) == (2, True), line
    code, line = refused([*WORDS, "--warm-start", str(donor), str(donor)], tmp_path / "run", capsys)
    assert (code, "each once" in line) == (2, True), line


def test_resume_takes_no_other_donors(tmp_path: Path, donor: Path) -> None:
    begin(tmp_path / "run", donor, trials=3)
    with pytest.raises(UsageError, match=r"cannot change run\.warm_start"):
        read_stored_config(tmp_path / "run", {"run": {"warm_start": ["elsewhere"]}})


def test_networks_of_other_levels_count_where_the_space_grows_and_others_are_told_of(
    tmp_path: Path, toy_run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    grown = toy_run(
        "grown",
        strategy="pnas",
        space="pnas(blocks=2)",
        trials=20,
        settings=("strategy.beam=8", "strategy.ensemble=1", "strategy.epochs=1"),
    ).path
    found, others = read_donor(grown, build_space("pnas(blocks=2)"))
    assert ({one.space for one in found.genotypes}, others) == ({"pnas(blocks=1)", "pnas(blocks=2)"}, 0)
    found, others = read_donor(grown, build_space("pnas(blocks=1)"))
    assert ({one.space for one in found.genotypes}, others) == ({"pnas(blocks=1)"}, 8)
    begin(tmp_path / "run", grown, strategy="pnas", space="pnas(blocks=1)", population=None, sample=None, trials=2)
    assert "8 are of other spaces than pnas(blocks=1)" in capsys.readouterr().err


def test_a_network_that_was_trained_twice_counts_once_with_its_mean(toy_run: Callable[..., Any]) -> None:
    run = toy_run(space="bits(length=2)", repeats="retrain", trials=40).path
    donor, _ = read_donor(run, build_space("bits(length=2)"))
    assert len(donor.genotypes) == len(set(donor.genotypes)) == 4
    with closing(sqlite3.connect(run / "history.db")) as history:
        means = dict(history.execute("SELECT genotype, avg(fitness) FROM trial GROUP BY key"))
    assert dict(zip(map(str, donor.genotypes), donor.fitnesses, strict=True)) == pytest.approx(means)


def test_a_dry_run_says_what_is_learned_from(donor: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *WORDS, "--dry-run", "--warm-start", str(donor)]) == 0
    assert "# learns from a friend, 1: 10 networks" in capsys.readouterr().out
