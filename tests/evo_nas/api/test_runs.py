"""What a Python session does with a run that ended: its trials, its best, its pictures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

import evo_nas
from evo_nas.storage.history import History
from genotypes.genotype import Genotype

TOY: dict[str, Any] = {"strategy": "evolution", "evaluator": "toy", "population": 5, "sample": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> evo_nas.Run:
    return evo_nas.search(**TOY, trials=12, run_dir=tmp_path_factory.mktemp("runs") / "a<b>")


def test_its_trials_and_its_best_are_those_of_the_history(run: evo_nas.Run) -> None:
    assert run.trials["trained"].sum() == 12
    best = run.best
    assert best is not None
    row = run.trials[run.trials["id"] == best.id].iloc[0]
    assert (best.fitness, best.genotype) == (run.trials["fitness"].max(), row["genotype"])
    assert Genotype.parse(best.genotype).space == "nasnet"


def test_it_sees_what_a_resume_adds(tmp_path: Path) -> None:
    run = evo_nas.search(**TOY, trials=3, run_dir=tmp_path / "run")
    evo_nas.resume(run, trials=5)
    assert run.trials["trained"].sum() == 5


def test_it_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = evo_nas.search(**TOY, trials=3, run_dir="run")
    monkeypatch.chdir(tmp_path.parent)
    assert len(run.trials) >= 3
    assert evo_nas.resume(run, trials=4).path == run.path == tmp_path / "run"


def test_a_run_without_a_success_has_no_best(run: evo_nas.Run, tmp_path: Path) -> None:
    for name in ("run.toml", "env.json"):
        shutil.copy(run.path / name, tmp_path / name)
    History.create(tmp_path / "history.db").close()
    empty = evo_nas.Run(tmp_path, run.reason)
    assert empty.best is None
    assert "<img" not in empty._repr_html_()


def test_its_picture_is_a_figure_and_nothing_is_written(run: evo_nas.Run) -> None:
    before = sorted(run.path.rglob("*"))
    figure = run.plot("mean", window=3)
    assert isinstance(figure, Figure)
    assert figure.axes
    assert sorted(run.path.rglob("*")) == before
    with pytest.raises(ValueError, match="a picture is one of"):
        run.plot("pie")


def test_its_report_is_a_page(run: evo_nas.Run, tmp_path: Path) -> None:
    assert run.report() == run.path / "figures" / "report.html"
    assert run.report(tmp_path / "page.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(ValueError, match=r"let it end in \.html"):
        run.report(tmp_path / "page.pdf")


def test_jupyter_shows_the_best_as_a_table_and_a_drawing(run: evo_nas.Run) -> None:
    shown = run._repr_html_()
    assert run.best is not None
    assert shown.count("<tr>") == 1 + 5
    assert f"<td>{run.best.id}</td><td>{100 * run.best.fitness:.2f} %</td>" in shown
    assert shown.count('<img src="data:image/svg+xml;base64,') == 2
    assert "a&lt;b&gt;" in shown
    assert "a<b>" not in shown
