"""The doctor: what a search would use, how long it would take, and what to change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evo_nas.cli import main
from evo_nas.commands.doctor.advice import advise
from evo_nas.commands.doctor.examine import examine
from evo_nas.commands.doctor.facts import native_capability
from evo_nas.commands.doctor.findings import Findings
from evo_nas.run.parts import load_config
from evo_nas.system.resources import processor

pytestmark = pytest.mark.slow

TINY = ["--space", "nasnet(blocks=1,combines=add)", "--set", "evaluator.image_size=8", "--threads", "1"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    config = load_config(
        {"space": "nasnet(blocks=1,combines=add)", "dataset": "digits", "threads": 1, "trials": 100}, environ={}
    )
    return examine(config, tmp_path_factory.mktemp("doctor") / "run", lambda words: None)


def found(report: Findings) -> str:
    return "\n".join(f"{advice.found}: {advice.do}" for advice in advise(report))


def test_it_measures_and_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--dataset", "digits", "--run-dir", str(tmp_path / "run"), "--trials", "100", *TINY])
    out = capsys.readouterr().out
    assert code == 0
    for word in (
        "versions",
        "machine",
        "device    cpu",
        "images per second trained",
        "100 trials on 1 worker",
        "would start",
    ):
        assert word in out
    assert not list(tmp_path.iterdir())


def test_the_estimate_follows_from_what_was_measured(report: Findings) -> None:
    assert report.exit_code == 0
    assert report.trial is not None
    pace = report.trial.paces[1]
    assert report.seconds is not None
    assert report.whole == pytest.approx(100 * report.seconds)
    # Four epochs of the images that are not held out, and as many looks at those that are.
    assert report.seconds >= 0.5 * 4 * 1000 / pace.train


def test_its_json_is_json_and_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["doctor", "--evaluator", "toy", "--run-dir", str(tmp_path / "run"), "--json"]
    assert main(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["search"]["evaluator"] == "toy"
    assert record["machine"]["cores"] >= 1


def test_what_keeps_a_search_from_starting_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["doctor", "--data-dir", str(tmp_path / "nowhere"), "--run-dir", str(tmp_path / "run"), "--preset", "cpu"]
    code = main([*words, *TINY])
    out = capsys.readouterr().out
    assert code == 4
    assert "random images" in out
    assert "data fetch" in out.splitlines()[-1]


def test_advice_comes_only_where_it_applies(report: Findings) -> None:
    assert "share" not in found(report)
    cores = report.machine.usable
    crowded = replace(report.config, hardware=replace(report.config.hardware, workers=cores + 1))
    assert f"--workers {cores}" in found(replace(report, config=crowded))
    limited = replace(report.config, hardware=replace(report.config.hardware, time_limit=report.seconds))
    assert "--time-limit" not in found(report)
    assert "--time-limit ends the search after about 1 of 100 trials" in found(replace(report, config=limited))
    longer = replace(report, config=limited, seconds=(report.seconds or 0.0) * (1 + 1e-15))
    assert "after about 1 of 100 trials" in found(longer), "the last bit of a float is no trial"


def test_advice_on_the_device_and_the_processor(report: Findings) -> None:
    machine = replace(report.machine, nvidia=True, cuda=None, capability="DEFAULT", native="AVX512")
    words = found(replace(report, machine=machine))
    assert "built without CUDA" in words
    assert "torch uses the instructions DEFAULT, and the processor has AVX512" in words
    plain = replace(report.machine, nvidia=False, capability="AVX2", native="AVX2")
    assert "instructions" not in found(replace(report, machine=plain))
    bare = replace(report.machine, no_kernels="there is no C compiler cc")
    assert "without the compiled kernels (there is no C compiler cc)" in found(replace(report, machine=bare))
    there = replace(report.machine, no_kernels=None)
    assert "kernels" not in found(replace(report, machine=there))


def test_the_instructions_of_a_processor_are_read_from_its_flags(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    for words, best in (
        ("sse4_2", "DEFAULT"),
        ("avx2 fma", "AVX2"),
        ("fma avx512f avx512vl avx512bw avx512dq", "AVX512"),
    ):
        file.write_text(f"model name\t: any\nflags\t\t: {words}\nmodel name\t: second\n")
        assert processor(file) == ("any", words)
        assert native_capability(words) == best
    assert processor(tmp_path / "none")[1] == ""
    assert native_capability("") is None
