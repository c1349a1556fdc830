"""What the fitness is, is said by the evaluator: no line, axis or page calls an AP an accuracy."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from analysis.frames import load_history
from analysis.plots.axes import fitness_of
from analysis.plots.curves import plot_accuracy, plot_mean, plot_trials
from analysis.plots.front import load_costs, plot_front
from analysis.plots.seed_bands import plot_seeds
from analysis.plots.top_k import plot_top
from evo_nas.cli import main
from evo_nas.listeners.progress import Progress
from evo_nas.storage.endings import Reason
from genotypes.measure import ACCURACY, FITNESS, Measure, common_measure

PLUGIN = "tests.evo_nas.evaluators.precise:Precise"


def search(folder: Path, strategy: str, evaluator: str = PLUGIN, *more: str) -> Path:
    words = ["--space", "bits", "--evaluator", evaluator, "--trials", "30", "--run-dir", str(folder)]
    assert main(["run", "--strategy", strategy, *words, *more]) == 0
    return folder


def silent(text: str) -> bool:
    """Whether a text never says accuracy, but for the name of an option."""
    return "accuracy" not in re.sub(r"target[_-]accuracy", "", text.lower())


def test_another_measure_is_called_by_its_own_name_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [search(tmp_path / name, name) for name in ("random", "evolution")]
    aimed = search(tmp_path / "aimed", "random", PLUGIN, "--target-accuracy", "0.1")
    heard = capsys.readouterr()
    assert "ended: the target AP is reached" in heard.out
    assert silent(heard.out + heard.err)
    assert json.loads((runs[0] / "env.json").read_text())["measure"] == {"name": "AP", "title": "validation box AP"}
    for command in (
        ["show", str(runs[0]), "--costs", "parameters"],
        ["status", str(aimed)],
        ["compare", *map(str, runs)],
        ["report", *map(str, [*runs, aimed]), "-o", "page.html"],
    ):
        assert main(command) == 0
        said = capsys.readouterr()
        assert silent(said.out + said.err), command
        if command[0] == "show":
            assert "the front of AP against parameters" in said.out
            assert re.search(r"rank +trial +AP ", said.out)
        if command[0] == "status":
            assert "target AP 10.00 %" in said.out
    page = (tmp_path / "page.html").read_text()
    visible = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.S)
    assert "Best AP" in visible
    assert silent(visible.replace("<td>accuracy</td>", "", 1)), "evolution's option objective has that value"
    assert "reached its target AP" in visible


def test_the_progress_names_the_measure(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("title", trials=9, last=3)
    progress.starting(Measure("AP", "box AP"))
    progress.stopping(Reason.TARGET, 1)
    assert "stopping (the target AP is reached): 1 trial in flight" in capsys.readouterr().err


def test_the_axes_are_named_after_the_measure(tmp_path: Path) -> None:
    runs = [search(tmp_path / name, name) for name in ("random", "evolution")]
    frame = load_history(runs, columns=None)
    drawn: dict[str, Any] = {
        "validation box AP, best so far": plot_accuracy(frame),
        "mean AP of the last 5": plot_mean(frame, window=5),
        "validation box AP of a training": plot_trials(frame),
        "validation box AP": plot_top(frame, best=(1,)),
    }
    assert [axes.get_ylabel() for axes in drawn.values()] == list(drawn)
    assert plot_seeds(frame).get_ylabel() == "validation box AP, best so far"
    assert plot_front(load_costs(runs, ["parameters"]), cost="parameters").get_ylabel() == "validation box AP"


def test_runs_that_measure_different_things_share_a_neutral_word(tmp_path: Path) -> None:
    runs = [search(tmp_path / "precise", "random"), search(tmp_path / "toy", "random", "toy")]
    assert fitness_of(load_history(runs)) == FITNESS
    assert plot_accuracy(load_history(runs)).get_ylabel() == "fitness, best so far"
    assert fitness_of(load_history(runs[1])) == ACCURACY
    assert plot_accuracy(load_history(runs[1])).get_ylabel() == "validation accuracy, best so far"


@pytest.mark.parametrize(
    "record", [[], "AP", {"name": "AP"}, {"name": 1, "title": "x"}, {"name": "a\nb", "title": "x"}, {"name": "A" * 99}]
)
def test_a_record_that_nobody_can_read_gives_the_neutral_word(record: object) -> None:
    assert Measure.from_json(record) == FITNESS


def test_a_measure_is_recorded_and_read() -> None:
    measure = Measure("AP", "box AP")
    assert Measure.from_json(measure.to_json()) == measure
    assert (Measure.from_json(None), ACCURACY.heading) == (ACCURACY, "Accuracy")
    assert common_measure([]) == ACCURACY
    assert common_measure([measure, measure]) == measure
    assert common_measure([measure, ACCURACY]) == FITNESS
    with pytest.raises(ValueError, match="the name of a measure must be text of at most 20 letters, not ''"):
        Measure("", "x")
