"""Commands on feature pyramids: count, show, plot, diff, report, compare."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evo_nas.cli import main


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """A search on the space, in the present folder."""
    monkeypatch.chdir(tmp_path)
    command = ["run", "--space", "nasfpn", "--evaluator", "toy", "--strategy", "random", "--trials", "3"]
    assert main([*command, "--run-dir", "run", "--seed", "1"]) == 0
    capsys.readouterr()
    return "run"


def test_a_run_is_shown_drawn_and_compared(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", run]) == 0
    out = capsys.readouterr().out
    assert "the best pyramid, of trial" in out
    assert "feature  level  made of" in out
    for command in (
        ["plot", run, "nas-fpn", "--kind", "cells", "-o", "cells.png"],
        ["plot", run, "--kind", "operations", "-o", "operations.png"],
        ["compare", run, "-o", "compare.png"],
        ["diff", run, "nas-fpn", "-o", "diff.png"],
        ["report", run, "-o", "report.html"],
    ):
        assert main(command) == 0, command
        assert Path(command[-1]).stat().st_size > 4000
    assert "parts of merging cells differ, from A to B" in capsys.readouterr().out
    assert "feature pyramid" in Path("report.html").read_text()


def test_a_detector_is_counted_part_by_part(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--backbone", "thin", "--width", "32", "--depth", "1", "--finest-stride", "4", "--image-size", "64"]
    small += ["--anchors", "3"]
    assert main(["count", "--cell", "nas-fpn", *small, "--classes", "10", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parts"]["neck"]["parameters"] == 7 * (9 * 32 * 32 + 3 * 32) + (24 * 32 + 96) + (48 * 32 + 96)
    assert told["parts"]["head"]["parameters"] == 2 * (9 * 32 * 32 + 32 + 5 * 64) + (9 * 32 + 1) * 3 * (10 + 4)
    assert told["parameters"] == sum(part["parameters"] for part in told["parts"].values())
    assert (told["backbone"], told["repeats"], told["image"]) == ("thin", 1, 64)
    assert main(["count", "--neck", "none", *small]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["neck", f"{(24 * 32 + 96) + (48 * 32 + 96):,}"]
    assert lines[3].startswith("detector ")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("count", "--cell", "nas-fpn", "--image-size", "100"), "the next size is 128"),
        (("count", "--cell", "nas-fpn", "--filters", "8"), "--filters is for networks of cells"),
        (("count", "--cell", "nasnet-a", "--size", "6@768", "--repeats", "2"), "--repeats is for detectors"),
        (("count", "--cell", "nas-fpn", "--backbone", "huge"), "there is no backbone 'huge'"),
        (("count", "--cell", "nas-fpn", "--neck", "fpn"), "name one of both"),
        (("count", "--neck", "panet"), "there is no neck 'panet'; there are: none, fpn"),
        (("diff", "nas-fpn", "nasnet-a"), "it is a feature pyramid"),
        (("export", "--cell", "nas-fpn", "--format", "module"), "train it, and name its weights with --weights"),
        (("export", "--cell", "nas-fpn", "--format", "cells"), "it is a feature pyramid"),
        (("plot", "nas-fpn", "nasnet-a", "--kind", "cells", "-o", "x.png"), "need a picture each"),
    ],
)
def test_what_does_not_fit_a_pyramid_is_refused_in_a_line(
    command: tuple[str, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(list(command)) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_pyramid_is_exported_as_a_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--cell", "nas-fpn", "--format", "dot,json", "-o", str(tmp_path)]) == 0
    assert main(["plot", "nas-fpn", "--kind", "cells", "-o", str(tmp_path / "drawn.dot")]) == 0
    written = next(path for path in tmp_path.glob("nas_fpn*.dot"))
    assert written.read_text() == (tmp_path / "drawn.dot").read_text()
    assert written.read_text().startswith("digraph pyramid {")
