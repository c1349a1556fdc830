"""The command line: what later work and other people's scripts rely on."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from evo_nas import cli
from evo_nas.cli import build_parser, main
from evo_nas.storage.history import History
from genotypes.zoo import NASNET_A

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TOY = ("run", "--strategy", "random", "--evaluator", "toy")
TABLE = ("run", "--strategy", "random", "--space", "bits", "--evaluator", "tabular", "--column", "a", "--table")
NASNET_A_COUNT = ("count", "--cell", "nasnet-a")
COMMANDS = [[], ["run"], ["resume"], ["show"], ["plot"], ["compare"], ["diff"], ["count"], ["data"], ["data", "fetch"]]
COMMANDS += [["data", "check"], ["list"], ["study"], ["train"], ["prune"], ["predict"], ["export"], ["status"]]
COMMANDS += [["track"], ["repair"], ["table"], ["report"], ["detect"], ["leaderboard"], ["measure"]]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in list(os.environ):
        if variable.startswith("EVO_NAS_") and variable not in ("EVO_NAS_SHARED", "EVO_NAS_CACHE"):
            monkeypatch.delenv(variable)


def evo_nas(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evo_nas", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **options)


def evo_nas_to(stdout: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evo_nas", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment, check=False)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_loads_little_and_nothing_of_others(command: list[str]) -> None:
    script = (
        "import sys, runpy\n"
        f"sys.argv, before = ['evo_nas', *{command!r}, '--help'], set(sys.modules)\n"
        "try:\n    runpy.run_module('evo_nas', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print(*sorted(set(sys.modules) - before), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
    loaded = done.stderr.split()
    assert {"evo_nas.cli", "genotypes.genotype"} <= set(loaded)
    assert {name.partition(".")[0] for name in loaded} <= {"evo_nas", "genotypes", *sys.stdlib_module_names}
    assert len(loaded) < 115, "110 of them, of which 35 are ours, take a tenth of a second"


def test_a_search_that_trains_nothing_loads_no_heavy_library(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom evo_nas.cli import main\n"
        f"assert main({[*TOY, '--trials', '2']!r}) == 0\n"
        "print(*sorted({'torch', 'scipy', 'pandas', 'sklearn', 'matplotlib'} & sys.modules.keys()))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "", "each of them takes longer to import than the search takes"


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("evo_nas 0.")


def test_a_run_ends_with_a_summary_and_the_next_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TOY, "--trials", "5", "--run-dir", "runs/one"]) == 0
    out, err = capsys.readouterr()
    assert "ended: all trials are done" in out
    assert "the best cell, of trial" in out
    for command in ("show runs/one", "plot runs/one", "compare runs/one", "count 'nasnet:"):
        assert f"python -m evo_nas {command}" in out
    assert "5/5 trials  best " in err
    assert "ETA" in err


def test_show_as_json_has_the_promised_fields(capsys: pytest.CaptureFixture[str]) -> None:
    main([*TOY, "--trials", "6", "--run-dir", "run"])
    capsys.readouterr()
    assert main(["show", "run", "--json", "--top", "3"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {"id", "genotype", "fitness", "parameters", "mult_adds"} <= set(shown["best"])
    assert shown["trials"] == {"ok": 6, "failed": 0, "reused": 0, "refused": 0}
    assert shown["seconds"] == 0
    assert [row["fitness"] for row in shown["top"]] == sorted((r["fitness"] for r in shown["top"]), reverse=True)
    assert len(shown["top"]) == 3


def test_resume_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    main([*TOY, "--trials", "5", "--run-dir", "run"])
    assert main(["resume", "run", "--trials", "9"]) == 0
    capsys.readouterr()
    main(["show", "run", "--json"])
    assert json.loads(capsys.readouterr().out)["trials"]["ok"] == 9


def test_decoding_is_announced_and_done_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVO_NAS_CACHE", str(Path("cache").absolute()))
    command = ["run", "--strategy", "random", "--dataset", "digits", "--trials", "1", "--threads", "1"]
    command += ["--set", "evaluator.epochs=1", "--set", "space.blocks=1"]
    for times in (1, 0):
        assert main(command) == 0
        assert capsys.readouterr().err.count("evo_nas: decoding the train images of scikit-learn") == times


def test_variables_of_hardware_count_for_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    main([*TOY, "--trials", "2", "--run-dir", "run", "--data-dir", "here"])
    text = Path("run/run.toml").read_text()
    assert "workers = 1" in text
    assert f'data_dir = "{Path("here").absolute()}"' in text
    monkeypatch.setenv("EVO_NAS_WORKERS", "2")
    monkeypatch.setenv("EVO_NAS_SEED", "9")
    assert main(["resume", "run", "--trials", "3", "--executor", "slots"]) == 0
    assert "workers = 2" in Path("run/run.toml").read_text()
    assert "seed = 0" in Path("run/run.toml").read_text()


def test_plot_and_compare_write_into_the_report_of_the_first_run(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        main([*TOY, "--trials", "5", "--run-dir", name])
    capsys.readouterr()
    assert main(["plot", "a", "b"]) == 0
    assert main(["compare", "a", "b"]) == 0
    out = capsys.readouterr().out
    for file in ("accuracy.png", "accuracy.svg", "compare.png", "compare.svg"):
        assert f"a/figures/{file}" in out
        assert (Path("a/figures") / file).stat().st_size > 1000
    assert main(["plot", "a", "-o", "mine.svg"]) == 0
    assert Path("mine.svg").exists()
    capsys.readouterr()
    assert main(["compare", "a", "b", "--json", "--target", "0.5", "--trials", "4"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["target"], told["budget"], told["runs"][0]["samples"]) == (0.5, 4, 4)
    for wrong in (["--target", "1.5"], ["--target", "nan"], ["--trials", "0"]):
        with pytest.raises(SystemExit) as ended:
            main(["compare", "a", "b", *wrong])
        assert ended.value.code == 2


@pytest.mark.parametrize(
    ("size", "parameters", "mult_adds"),
    [(("6", "32"), 3_346_538, 544_333_312), (("2", "24"), 757_906, 136_390_272)],
)
def test_count_hits_the_published_counts(
    capsys: pytest.CaptureFixture[str], size: tuple[str, str], parameters: int, mult_adds: int
) -> None:
    Path("pair.json").write_text(json.dumps(NASNET_A.to_json()))
    for what in (["--cell", "nasnet-a"], ["pair.json"]):
        assert main(["count", *what, "--cells-per-stack", size[0], "--filters", size[1], "--json"]) == 0
        counted = json.loads(capsys.readouterr().out)
        assert (counted["parameters"], counted["mult_adds"]) == (parameters, mult_adds)


def test_count_takes_the_notation_of_the_papers(capsys: pytest.CaptureFixture[str]) -> None:
    size = ("--macro", "imagenet", "--size", "6@4032", "--image-size", "331", "--classes", "1000")
    assert main([*NASNET_A_COUNT, *size, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "parameters": 88_753_150,
        "mult_adds": 23_783_414_658,
        "macro": "imagenet",
        "stem": 96,
        "channels": 3,
        "cells_per_stack": 6,
        "filters": 168,
        "penultimate": 4032,
        "image": 331,
        "classes": 1000,
    }
    assert main([*NASNET_A_COUNT, *size]) == 0
    assert capsys.readouterr().out == ("88,753,150 parameters\n23,783,414,658 mult-adds per image of 331x331\n")


def test_count_knows_what_the_macros_count_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    counts = []
    for macro, defaults in (("cifar", ("32", "10", "96")), ("imagenet", ("224", "1000", "32"))):
        size = (*NASNET_A_COUNT, "--macro", macro, "--cells-per-stack", "2", "--filters", "32", "--json")
        spelled = ("--image-size", defaults[0], "--classes", defaults[1], "--stem", defaults[2])
        for arguments in (size, (*size, *spelled)):
            assert main(arguments) == 0
            counts.append(json.loads(capsys.readouterr().out))
        assert counts[-1] == counts[-2]


def test_count_reads_the_best_cell_of_a_run_or_another_one(capsys: pytest.CaptureFixture[str]) -> None:
    main([*TOY, "--trials", "4", "--run-dir", "run"])
    capsys.readouterr()
    assert main(["show", "run", "--json"]) == 0
    top = json.loads(capsys.readouterr().out)["top"]
    size = ("--cells-per-stack", "1", "--filters", "4", "--json")
    for arguments, trial in ((["run"], top[0]), (["run", "--trial", str(top[2]["id"])], top[2])):
        assert main(["count", *arguments, *size]) == 0
        counted = capsys.readouterr().out
        assert main(["count", trial["genotype"], *size]) == 0
        assert counted == capsys.readouterr().out
    assert main(["count", "run", "--trial", "99", *size]) == 2
    assert "run has no trial 99 that has succeeded" in capsys.readouterr().err


def test_count_takes_a_genotype_as_text_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    text = "nasnet(blocks=1,combines=add):0.1.10.0.0.0.0.5.5.0"
    Path("genotype.json").write_text(
        json.dumps({"space": text.split(":")[0], "choices": [0, 1, 10, 0, 0, 0, 0, 5, 5, 0]})
    )
    counts = []
    for what in (text, "genotype.json"):
        assert (
            main(["count", what, "--cells-per-stack", "1", "--filters", "4", "--image-size", "8", "--channels", "1"])
            == 0
        )
        counts.append(capsys.readouterr().out)
    assert counts[0] == counts[1]
    assert "parameters" in counts[0]


@pytest.mark.parametrize("what", ["strategies", "spaces", "evaluators", "presets", "cells"])
def test_list_names_what_can_be_chosen(capsys: pytest.CaptureFixture[str], what: str) -> None:
    expected = {
        "strategies": [
            *("random", "evolution", "rl", "pnas", "local", "guided", "genetic", "optuna"),
            *("nevergrad", "hyperopt", "morphnet", "multiplier"),
        ],
        "spaces": [
            *("nasnet", "amoebanet", "pnas", "darts", "bits", "nasbench201", "natsbench-size", "fcnet"),
            *("widths", "nasfpn", "detnas"),
        ],
        "evaluators": ["blend", "detection", "proxy", "scores", "supernet", "tabular", "toy", "widths"],
        "presets": ["digits", "cpu", "gpu", "blend", "tiny", "plates", "digits", "cpu", "gpu"],
        "cells": [
            "nasnet-a",
            *(f"amoebanet-{letter}" for letter in "abcd"),
            "pnasnet-5",
            "darts-v1",
            "darts-v2",
            "nas-fpn",
            *(f"detnas-coco-{rest}" for rest in ("fpn-300m", "retinanet-300m", "fpn-1.3g", "fpn-3.8g")),
            "single-path-one-shot",
        ],
    }[what]
    assert main(["list", what]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == expected


def test_a_dry_run_prints_configuration_and_cost_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["run", "--strategy", "evolution", "--dataset", "digits", "--trials", "10", "--threads", "1", "--dry-run"])
        == 0
    )
    out = capsys.readouterr().out
    assert '[evaluator]\ndataset = "digits"\npreset = "digits"' in out
    assert "[strategy]\npopulation = 100\nsample = 25" in out
    assert "# a candidate (mean of 3 random ones): " in out
    assert " s; 10 trials on 1 worker: about " in out
    assert not Path("runs").exists()
    Path("again.toml").write_text(out)
    assert main(["run", "--config", "again.toml", "--dry-run"]) == 0


BAD = [
    (("run",), 2, "name a strategy with --strategy: random, evolution, rl"),
    (("run", "--strategy", "nosuch"), 2, "there is no strategy 'nosuch'; there are"),
    (("run", "--strategy", "evolutoin"), 2, "there is no strategy 'evolutoin' (did you mean evolution?); there are"),
    (("run", "--strategy", "random", "--evaluator", "nosuch"), 2, "there is no evaluator 'nosuch'"),
    ((*TOY, "--space", "nosuch"), 2, "there is no space 'nosuch'"),
    ((*TOY, "--set", "space.ops=nosuch"), 2, "unknown 'nosuch' in ops"),
    ((*TOY, "--nosuch"), 2, "unrecognized arguments: --nosuch"),
    ((*TOY, "--trial", "5"), 2, "unrecognized arguments: --trial 5; did you mean --trials?"),
    ((*TOY, "--trials", "0"), 2, "trials must be at least 1, not 0"),
    ((*TOY, "--trials", "-3"), 2, "trials"),
    ((*TOY, "--trials", "1e3"), 2, "trials cannot be '1e3'"),
    (("run", "--strategy", "evolution", "--evaluator", "toy", "--sample", "0"), 2, "sample must be at least 1"),
    (("run", "--strategy", "random", "--dataset", "nosuch"), 2, "there is no data set 'nosuch'"),
    (("run", "--strategy", "random", "--preset", "nosuch"), 2, "there is no preset 'nosuch'"),
    (("run", "--strategy", "random", "--dataset", "digits", "--device", "cuda:9"), 2, "device cuda:9 is not there"),
    (("run", "--strategy", "random", "--dataset", "digits", "--device", "abacus"), 2, "unknown device 'abacus'"),
    (("run", "--strategy", "random", "--data-dir", "nowhere"), 4, "python -m evo_nas data fetch"),
    (("run", "--strategy", "random", "--dataset", "folder", "--data-dir", "nowhere"), 4, "nowhere"),
    (("run", "--strategy", "random", "--space", "bits"), 2, "takes CellPair, EdgeCell, Widths, Chain, or a space"),
    (("run", "--strategy", "random", "--evaluator", "tabular"), 2, "needs a table and its column: --table FILE --col"),
    (("run", "--strategy", "random", "--evaluator", "tabular", "--table", "t.csv"), 2, "needs a table and its column"),
    ((*TABLE, "nosuch.csv"), 4, "there is no table"),
    ((*TABLE, "."), 4, "name a CSV or parquet file with --table FILE"),
    ((*TABLE, "t.csv", "--table-unit", "nosuch"), 2, "table_unit must be percent or fraction, not 'nosuch'"),
    ((*TOY, "--column", "a"), 2, "evaluator 'toy' has no option 'column'"),
    (
        ("count", "natsbench-size:0.1.2.3.4", "--cells-per-stack", "1", "--filters", "4"),
        2,
        "does not describe a pair of cells",
    ),
    (("count", "bits:0.1", "--cells-per-stack", "1", "--filters", "4"), 2, "has 100 choices, not 2"),
    (("count", "64:64:64:64:64", "--cells-per-stack", "1", "--filters", "4"), 2, "there is no space '64:64:64:64'"),
    ((*TOY, "--config", "nosuch.toml"), 2, "cannot read the configuration nosuch.toml"),
    (("resume", "nowhere"), 3, "nowhere holds no run: there is no such folder"),
    (("show", "nowhere"), 3, "nowhere holds no run"),
    (("plot", "nowhere"), 3, "nowhere"),
    (("compare", "nowhere"), 3, "nowhere"),
    (("table", "nowhere"), 3, "there is no run at nowhere"),
    (("table", "nowhere", "--top", "0"), 2, "argument --top"),
    (
        ("count", "--cells-per-stack", "1", "--filters", "1"),
        2,
        "name either a run, a genotype (text or JSON file) or a published",
    ),
    ((*NASNET_A_COUNT, "pair.json", "--size", "6@768"), 2, "and one only"),
    (NASNET_A_COUNT, 2, "--size N@P, as in 6@4032, or --cells-per-stack N --filters F"),
    ((*NASNET_A_COUNT, "--cells-per-stack", "6"), 2, "--size N@P, as in 6@4032, or --cells-per-stack N --filters F"),
    (
        (*NASNET_A_COUNT, "--size", "6@768", "--filters", "32"),
        2,
        "--size N@P, as in 6@4032, or --cells-per-stack N --filters F",
    ),
    ((*NASNET_A_COUNT, "--size", "6x768"), 2, "as in 6@4032, not '6x768'"),
    ((*NASNET_A_COUNT, "--size", "0@768"), 2, "as in 6@4032, not '0@768'"),
    ((*NASNET_A_COUNT, "--size", "5@1538"), 2, "a multiple of 24; near it are 5@1536 and 5@1560"),
    ((*NASNET_A_COUNT, "--size", "6@768", "--image-size", "7"), 2, "image must be at least 8 pixels a side, not 7"),
    ((*NASNET_A_COUNT, "--size", "6@768", "--stem", "0"), 2, "argument --stem"),
    ((*NASNET_A_COUNT, "--size", "6@72", "--macro", "imagenet"), 2, "a quarter of the filters: at least 4, not 3"),
    ((*NASNET_A_COUNT, "--size", "6@768", "--trial", "3"), 2, "--trial names a trial of a run"),
    (("count", "nasnet:1.2", "--cells-per-stack", "1", "--filters", "4"), 2, "has 50 choices, not 2"),
    (("count", "nosuch:1.2", "--cells-per-stack", "1", "--filters", "4"), 2, "there is no space 'nosuch'"),
    (
        ("count", "nasnet:" + ".".join(["9"] * 50), "--cells-per-stack", "1", "--filters", "4"),
        2,
        "hidden_1) is 9, but its options",
    ),
    (("count", "nosuch.json", "--cells-per-stack", "1", "--filters", "4"), 2, "cannot read nosuch.json"),
    (("count", "--cell", "nosuch", "--cells-per-stack", "1", "--filters", "4"), 2, "no published cell 'nosuch'"),
    (("count", "--cell", "nasnet-a", "--cells-per-stack", "0", "--filters", "4"), 2, "argument --cells-per-stack"),
    (
        ("count", "--cell", "nasnet-a", "--cells-per-stack", "1", "--filters", "4", "--macro", "nosuch"),
        2,
        "'nosuch'; there are: cifar",
    ),
    (("count", ".".join(["0"] * 300), "--cells-per-stack", "1", "--filters", "4"), 2, "is no genotype"),
    (("count", "this_is_evil:0.1", "--cells-per-stack", "1", "--filters", "4"), 2, "there is no space 'this_is_evil'"),
    (
        ("count", "this_is_evil:X:0.1", "--cells-per-stack", "1", "--filters", "4"),
        2,
        "there is no space 'this_is_evil:X'",
    ),
    (("count", "--cell", "nasnet-a", "--cells-per-stack", "1", "--filters", "999999999"), 2, "argument --filters"),
    (("run", "--strategy", ".a:X", "--evaluator", "toy"), 2, "cannot import the strategy '.a:X'"),
    (
        ("run", "--strategy", "random", "--dataset", "digits", "--set", "evaluator.gradient_norm=inf"),
        2,
        "must be finite",
    ),
    (("data", "check", "--data-dir", "nowhere"), 4, "python -m evo_nas data fetch"),
    (("data", "check", "--dataset", "nosuch"), 2, "there is no data set 'nosuch'"),
    (("list", "cells", "--markdown"), 2, "--markdown is for `list options`"),
    (("list", "trainings"), 2, "trainings is now recipes"),
    ((*NASNET_A_COUNT, "--cells", "6", "--filters", "32"), 2, "--cells is now --cells-per-stack"),
    (("train", "--cells=6"), 2, "--cells is now --cells-per-stack"),
    (("export", "--image", "32"), 2, "--image is now --image-size"),
    ((*TOY, "--stopping", "median"), 2, "--stopping is now --early-stopping"),
    (("study", "--stopping", "median"), 2, "--stopping is now --early-stopping"),
    ((*TOY, "--report-column", "b"), 2, "--report-column is now --test-column"),
    (("show", "run", "--image", "32"), 2, "unrecognized arguments: --image 32"),
    (("list", "nosuch"), 2, "invalid choice: 'nosuch'"),
    (("nosuch",), 2, "invalid choice: 'nosuch'"),
]


def test_without_a_command_the_help_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("usage: python -m evo_nas")
    assert all(f" {name} " in told.err for name in ("run", "study", "track"))


@pytest.mark.parametrize(("arguments", "code", "message"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input_is_one_line_and_the_right_exit_code(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    try:
        ended = main(arguments)
    except SystemExit as end:  # argparse
        ended = int(end.code or 0)
    out, err = capsys.readouterr()
    assert ended == code, err
    assert err.count("\n") == 1, err
    assert message in err
    assert err.startswith("evo_nas: ")
    assert out == ""
    assert not any(path.is_file() for path in Path().rglob("*")), "nothing was begun"


def test_a_cell_pair_with_an_unknown_operation_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    record = NASNET_A.to_json()
    record["reduction"]["blocks"][2]["left"][1] = "sep_conv_9x9"
    Path("pair.json").write_text(json.dumps(record))
    assert main(["count", "pair.json", "--cells-per-stack", "1", "--filters", "4"]) == 2
    err = capsys.readouterr().err
    assert "reduction cell: block 2 names the operation 'sep_conv_9x9'; known: identity" in err
    assert err.count("\n") == 1


def test_looking_at_data_imports_no_code() -> None:
    Path("this_is_evil.py").write_text("raise SystemExit('imported')\n")
    Path("evil.json").write_text('{"space": "this_is_evil:X", "choices": []}')
    done = evo_nas("count", "evil.json", "--cells-per-stack", "1", "--filters", "4")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no space 'this_is_evil:X'" in done.stderr


def test_a_spelling_with_defaults_means_the_same_space(capsys: pytest.CaptureFixture[str]) -> None:
    counts = []
    for spelling in ("nasnet(blocks=1,combines=add)", "nasnet(combines=add,blocks=1,)"):
        assert main(["count", f"{spelling}:0.1.10.0.0.0.0.5.5.0", "--cells-per-stack", "1", "--filters", "4"]) == 0
        counts.append(capsys.readouterr().out)
    assert counts[0] == counts[1]


def test_commands_to_type_are_quoted_for_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    main([*TOY, "--trials", "2", "--run-dir", "my run"])
    assert "python -m evo_nas show 'my run'\n" in capsys.readouterr().out
    assert main([*TOY, "--trials", "2", "--run-dir", "my run"]) == 3
    assert "python -m evo_nas resume 'my run'\n" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_in_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = evo_nas_to(full, "list", "spaces")
    assert done.returncode == 1
    assert done.stderr == "evo_nas: cannot use the output: No space left on device\n"


def test_a_reader_that_goes_away_is_no_error_to_speak_of() -> None:
    command = f"{sys.executable} -m evo_nas list evaluators | true; echo ${{PIPESTATUS[0]}}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert done.stderr == ""


def test_the_trials_of_runs_are_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    main([*TOY, "--trials", "6", "--run-dir", "runs/one"])
    main([*TOY, "--trials", "4", "--run-dir", "runs/two", "--seed", "1"])
    capsys.readouterr()
    assert main(["table", "runs/*", "--columns", "run,id,fitness", "--sort", "run:desc,id", "--format", "csv"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading == "run,id,fitness"
    expected = [("two", 4), ("one", 6)]
    assert [row.rpartition(",")[0] for row in rows] == [f"{run},{i + 1}" for run, n in expected for i in range(n)]
    assert main(["table", "runs/one", "--top", "2"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert " ".join(heading.split()) == "id outcome fitness test parameters seconds told_at (UTC) genotype"
    assert len(rows) == 2
    assert main(["table", "runs/one", "-o", "trials.json", "--columns", "all"]) == 0
    assert capsys.readouterr().out == "trials.json\n"
    assert len(json.loads(Path("trials.json").read_text())[0]) == 25
    before = Path("trials.json").read_bytes()
    monkeypatch.setattr("analysis.tables.write_table", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["table", "runs/one", "-o", "trials.json"])
    assert Path("trials.json").read_bytes() == before
    assert not Path("trials.json.partial").exists()


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_examples_of_the_help_are_commands(name: str) -> None:
    module = import_module(f"evo_nas.commands.{cli.COMMANDS[name][0]}")
    text = getattr(module, "EPILOG", "").replace("\\\n", " ")
    for line in text.splitlines():
        if line.startswith("  python -m evo_nas "):
            words = shlex.split(line.partition(" > ")[0], comments=True)[3:]
            assert build_parser().parse_args([word for word in words if word != "..."]).command


def test_the_help_of_table_names_every_column_with_its_unit(capsys: pytest.CaptureFixture[str]) -> None:
    from analysis.frames import COLUMNS

    with pytest.raises(SystemExit):
        main(["table", "--help"])
    out = capsys.readouterr().out
    listed = re.findall(r"^  ((?:[a-z_]+, )*[a-z_]+)   ", out, flags=re.MULTILINE)
    assert sorted(", ".join(listed).split(", ")) == sorted(COLUMNS)
    for unit in ("fraction in [0, 1]", "UTC", "in seconds", "one image"):
        assert unit in out


def test_a_table_into_a_pipe_that_closes_ends_quietly() -> None:
    main([*TOY, "--trials", "3", "--run-dir", "run"])
    for format in ("table", "csv", "json", "parquet"):
        command = f"{sys.executable} -m evo_nas table run --format {format} | true; echo ${{PIPESTATUS[0]}}"
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=False)
        assert (done.stdout, done.stderr) == ("1\n", ""), format


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_table_onto_a_full_disk_is_said_in_one_line() -> None:
    main([*TOY, "--trials", "2", "--run-dir", "run"])
    with Path("/dev/full").open("w") as full:
        done = evo_nas_to(full, "table", "run")
    assert (done.returncode, done.stderr) == (1, "evo_nas: cannot use the output: No space left on device\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--columns", "nosuch"), "a history has no column 'nosuch'; its columns are: run,"),
        (("--sort", "id:up"), "sort by a column as in 'fitness' or 'fitness:desc', not 'id:up'"),
        (("-o", "run/run.toml/trials.csv"), "cannot write run/run.toml"),
        (("-o", "trials.xlsx"), "trials.xlsx says no format: let it end in one of .txt, .csv, .json,"),
        (("-o", "run"), "cannot write run: Is a directory"),
    ],
)
def test_a_table_that_cannot_be_is_bad_input(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    main([*TOY, "--trials", "2", "--run-dir", "run"])
    capsys.readouterr()
    assert main(["table", "run", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


def test_cells_and_operations_are_drawn_and_two_pairs_compared(capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("a", "1"), ("b", "2")):
        main([*TOY, "--trials", "3", "--seed", seed, "--run-dir", name])
    capsys.readouterr()
    assert main(["plot", "a", "--kind", "cells"]) == 0
    assert capsys.readouterr().out.split() == ["a/figures/cells.png", "a/figures/cells.svg"]
    assert main(["plot", "[ab]", "nasnet-a", "--kind", "cells", "-o", "mine.svg"]) == 0
    assert main(["plot", "a", "b", "--kind", "operations", "-o", "mine.pdf"]) == 0
    assert capsys.readouterr().out.split() == ["mine.svg", "mine.pdf"]
    assert main(["diff", "a", "b", "-o", "diff.svg", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["edits"] == record["normal"]["edits"] + record["reduction"]["edits"] > 0
    assert record["files"] == ["diff.svg"]
    assert main(["diff", "nasnet-a", "nasnet-a"]) == 0
    assert "graph edit distance 0:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plot", "nasnet-a", "--kind", "cells"], "name a file with -o FILE"),
        (["plot", "nasnet-a", "--kind", "cells", "-o", "x.docx"], "x.docx cannot be written"),
        (["plot", "nasnet-a", "nasnet-a", "--kind", "cells", "-o", "x.dot"], "one pair of cells"),
        (["plot", "nasnet-a", "--kind", "cells", "--width", "0"], "from 4 to 200"),
        (["plot", "a", "--kind", "front", "--width", "8"], "not for --kind front"),
        (["plot", "a", "--kind", "front", "--window", "8"], "add --kind mean"),
        (["plot", "a", "--kind", "best", "--window", "8"], "a window is that of mean or population"),
        (["plot", "a", "--kind", "population", "--x", "seconds"], "against trials alone"),
        (["plot", "a", "--kind", "pie"], "invalid choice: 'pie'"),
        (["plot", "a", "--width", "6"], "a curve is at least 7 cm wide, not 6"),
        (["plot", "a", "-o", ""], "argument -o/--output: names no file"),
        (["table", "a", "-o", "run.toml"], "run.toml is the record of a run and is not written over"),
        (["report", "a", "-o", "a/figures"], "a/figures is no name of a report: let it end in .html"),
        (["plot", "nowhere", "--kind", "cells"], "there is no run or file nowhere"),
        (["diff", "nasnet-a", "bits(length=2):0.1"], "does not describe a pair of cells"),
        (["diff", "nasnet-a"], "required: B"),
    ],
)
def test_what_cannot_be_drawn_or_compared_is_bad_input(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run.toml").touch()
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code  # type: ignore[assignment]
    error = capsys.readouterr().err
    assert code == 2
    assert said in error
    assert error.count("\n") == 1


def test_a_folder_without_a_history_is_said_to_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    diff, plot = ["diff", "folder", "nasnet-a"], ["plot", "folder", "--kind", "cells"]
    for words in (diff, plot, ["table", "folder"]):
        assert main(words) == 3
        assert "folder is no run folder: there is no history.db in it" in capsys.readouterr().err


def test_whatever_a_run_is_called_is_a_name_and_no_formula(capsys: pytest.CaptureFixture[str]) -> None:
    names = [r"$\frac{1}$", "_hidden", "b\udcff", "col:on", "esc\x1b[31m"]
    for name in names:
        assert main([*TOY, "--trials", "3", "--run-dir", name]) == 0
        (Path(name) / "run.toml").unlink()  # so that it is called after its folder
    capsys.readouterr()
    for kind in ("curve", "seeds", "cells", "operations"):
        assert main(["plot", *names, "--kind", kind, "-o", f"{kind}.png"]) == 0
    assert main(["plot", names[0], "--kind", "cells"]) == 0
    assert main(["plot", "./col:*", "--kind", "cells"]) == 0
    assert main(["plot", *names, "--kind", "front", "--costs", "parameters", "-o", "front.png"]) == 0
    assert main(["compare", *names, "-o", "compare.png"]) == 0
    assert main(["table", *names, "-o", "new/table.csv"]) == 0
    assert main(["report", *names, "-o", "report.html"]) == 0
    assert "\x1b" not in Path("report.html").read_text()
    assert capsys.readouterr().err == ""


def test_a_backend_of_matplotlib_that_is_not_there_does_not_matter() -> None:
    main([*TOY, "--trials", "3", "--run-dir", "run"])
    command = [sys.executable, "-m", "evo_nas", "plot", "run"]
    environment = os.environ | {"MPLBACKEND": "no_such_backend"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_an_encoding_lacks_is_spelled_out() -> None:
    for name in ("a", "b"):
        main([*TOY, "--trials", "3", "--run-dir", name])
    command = [sys.executable, "-m", "evo_nas", "compare", "a", "b"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\xb1 is the standard deviation" in done.stdout


def test_curves_of_any_kind_are_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("a", "1"), ("b", "2")):
        main([*TOY, "--trials", "3", "--seed", seed, "--run-dir", name])
    capsys.readouterr()
    assert main(["plot", "a", "b", "--kind", "best", "--x", "seconds"]) == 0
    assert [Path(file).name for file in capsys.readouterr().out.split()] == ["best-seconds.png", "best-seconds.svg"]
    assert main(["plot", "a", "--kind", "population", "--window", "2", "--width", "8", "-o", "mine.pdf"]) == 0
    assert Path("mine.pdf").read_bytes().startswith(b"%PDF")
    capsys.readouterr()
    assert main(["plot", "a", "--kind", "population"]) == 2
    assert "random keeps no population; --window P" in capsys.readouterr().err
    assert main(["plot", "a", "--kind", "controller"]) == 3
    assert "no controller has learned in a (random)" in capsys.readouterr().err


def test_a_picture_of_an_unknown_kind_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    main([*TOY, "--trials", "2", "--run-dir", "run"])
    capsys.readouterr()
    assert main(["plot", "run", "-o", "picture.docx"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_ctrl_c_ends_with_130_and_the_command_that_resumes() -> None:
    assert_ends_on(signal.SIGINT, 130)


def test_sigterm_ends_with_143_and_the_command_that_resumes() -> None:
    assert_ends_on(signal.SIGTERM, 143)


def assert_ends_on(number: signal.Signals, code: int) -> None:
    command = [sys.executable, "-m", "evo_nas", *TOY, "--trials", "100000", "--run-dir", "run"]
    command += ["--set", "evaluator.seconds=0.05"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if " trials  best " in line:
            break
    process.send_signal(number)
    _, rest = process.communicate()
    assert process.returncode == code, seen + rest
    assert "; resume with: python -m evo_nas resume run" in rest
    assert "Traceback" not in rest
    with History.read(Path("run/history.db")) as history:
        trained = history.count_trainings()
    assert main(["resume", "run", "--trials", str(trained + 2)]) == 0


def test_a_folder_with_our_names_does_not_shadow_us() -> None:
    for name in ("analysis", "genotypes", "strategies", "evo_nas"):
        Path(f"{name}.py").write_text("raise RuntimeError('shadowed')\n")
    # From a checkout the package must be found at all: here by the path that an installation would have.
    script = f"import sys; sys.path.append({str(ROOT)!r}); sys.path.remove(''); import runpy\n"
    script += "sys.argv = ['evo_nas', 'list', 'spaces']; sys.path.insert(1, '')\n"
    script += f"runpy.run_path({str(ROOT / 'evo_nas' / '__main__.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("nasnet ")


def test_it_runs_from_a_plain_checkout() -> None:
    done = evo_nas("list", "spaces")
    assert done.returncode == 0
    assert done.stdout.startswith("nasnet ")


def test_a_report_is_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    for name, strategy in (("a", "random"), ("b", "evolution")):
        main(["run", "--strategy", strategy, "--evaluator", "toy", "--trials", "5", "--run-dir", name])
    capsys.readouterr()
    assert main(["report", "a"]) == 0
    assert capsys.readouterr().out == f"{Path('a/figures/report.html').resolve()}\n"
    assert main(["report", "[ab]", "--top", "3", "-o", "new/both.html"]) == 0
    page = Path("new/both.html").read_text("utf-8")
    assert "python -m evo_nas report &#39;[ab]&#39; --top 3 -o new/both.html" in page
    assert "python -m evo_nas run --config a/run.toml --run-dir ANOTHER" in page
    assert "The 3 best trials" in page
    capsys.readouterr()
    for wrong, code in ((["nowhere"], 3), (["a", "-o", "a/run.toml/x.html"], 2), (["a", "--top", "0"], 2)):
        try:
            found = main(["report", *wrong])
        except SystemExit as end:
            found = end.code
        assert found == code
        assert capsys.readouterr().err.count("\n") == 1
