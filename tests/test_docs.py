"""Every command and every piece of Python in the guides is run, and the tables are true."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from analysis.comparison.compare import TABLE
from analysis.plots.kinds import KINDS
from evo_nas.commands.export.formats import FORMATS
from evo_nas.commands.list import reference
from evo_nas.errors import EvoNasError
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.evaluators.proxy.presets import PRESETS
from evo_nas.evaluators.tabular.published import BENCHMARKS
from evo_nas.signals import EXIT_CODES
from evo_nas.storage.history import History
from evo_nas.training.recipes import RECIPES, Recipe
from genotypes.catalogue import SPACES, build_space
from genotypes.stacking import STACKINGS
from genotypes.zoo import CELLS
from tests.pages import ROOT, blocks, commands, examples, run, shown

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"


def test_the_examples_of_contributing_work(tmp_path: Path) -> None:
    code = examples("CONTRIBUTING.md")
    assert len(code) == 4
    for name, text in code.items():
        (tmp_path / name).write_text(text)
    found = commands("CONTRIBUTING.md")
    assert len(found) >= 5
    for line in found:
        done = run(tmp_path, sys.executable, *shlex.split(line)[1:])
        if " show " in line:
            assert "100 ok" in done.stdout
            assert "layer5: " in done.stdout, "the readable form of a space without cells"


def test_a_benchmark_of_ones_own_is_searched_as_the_guide_says(tmp_path: Path) -> None:
    (text,) = examples("docs/benchmarks.md").values()
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "mine.py").write_text(text)
    found = [line for line in commands("docs/benchmarks.md") if "runs/towers" in line]
    assert len(found) == 3
    for line in found:
        done = run(tmp_path, sys.executable, *shlex.split(line)[1:])
        if " show " in line:
            assert "200 ok" in done.stdout
            assert "right2: " in done.stdout, "the readable form of a space without cells"


def test_a_published_benchmark_is_searched_as_the_guide_says(tmp_path: Path) -> None:
    found = [line for line in commands("docs/benchmarks.md") if "runs/towers" not in line]
    assert len(found) == 3
    *_, best, front = (run(tmp_path, sys.executable, *shlex.split(line)[1:]).stdout for line in found)
    assert "500 ok" in best
    assert "latency" in front
    text = (DOCS / "benchmarks.md").read_text("utf-8")
    assert [name for name in BENCHMARKS if f"| `{name}` |" not in text] == []


def test_the_search_on_a_supernet_of_the_guide_works(tmp_path: Path) -> None:
    running, showing, inheriting = commands("docs/supernet.md")
    budget = ("--trials", "3", "--set", "evaluator.epochs=1", "--set", "evaluator.train_images=64")
    run(tmp_path, sys.executable, *shlex.split(running)[1:], *budget)
    assert "3 ok" in run(tmp_path, sys.executable, *shlex.split(showing)[1:]).stdout
    assert "3 ok" in run(tmp_path, sys.executable, *shlex.split(inheriting)[1:], *budget).stdout


def test_the_study_of_the_guide_works(tmp_path: Path) -> None:
    found = commands("docs/study.md")
    comparing = found.pop()
    assert len(found) == 3
    # As printed, but for the budgets, which would take a minute: of two the last counts.
    budgets = (["--seeds", "2", "--trials", "100"], [], ["--seeds", "3", "--trials", "120"])
    for line, budget in zip(found, budgets, strict=True):
        done = run(tmp_path, sys.executable, *shlex.split(line)[1:], *budget)
    printed = done.stdout.splitlines()
    assert printed[0].startswith("After 120 samples")
    assert [line.split()[0] for line in printed[4:9:2]] == ["3"] * 3, "runs of each strategy"
    compared = run(tmp_path, sys.executable, *shlex.split(comparing)[1:]).stdout
    assert "(0/3)" in compared
    assert "3 seeds each are not enough to say anything" in compared
    ((name, text),) = examples("docs/study.md").items()
    (tmp_path / name).write_text(text.replace("300", "120"))
    assert run(tmp_path, sys.executable, name).stdout.count("regret") == 2


def test_what_happens_when_is_as_the_guide_says(tmp_path: Path) -> None:
    found = commands("docs/survival.md")
    assert len(found) == 4
    done = [run(tmp_path, sys.executable, *shlex.split(line)[1:]).stdout for line in found]
    assert "200 of 200 done" in done[1]
    assert json.loads(done[3])["trials"]["done"] == 250
    text = (DOCS / "survival.md").read_text("utf-8")
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert sorted(set(re.findall(r"`(test_\w+\.py)`", text)) - tests) == [], "named, and not there"
    errors = (EvoNasError, *EvoNasError.__subclasses__())
    codes = {0, *(error.exit_code for error in errors), *EXIT_CODES.values()}
    assert sorted(codes) == sorted(map(int, re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)))


@pytest.mark.data
def test_the_guide_to_analysis_prints_what_it_shows(tmp_path: Path, shared_data: Path) -> None:
    text = (DOCS / "analysis.md").read_text("utf-8")
    cells = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", text, flags=re.DOTALL)
    assert len(cells) >= 8
    assert len([shown for _, shown in cells if shown]) == text.count("```text\n"), "each stands below its code"
    (tmp_path / "nasbench201.csv.gz").symlink_to(shared_data / "nasbench201.csv.gz")
    mark = "-- next cell --"
    done = run(tmp_path, sys.executable, "-c", f"\nprint({mark!r})\n".join(code for code, _ in cells))
    printed = done.stdout.split(f"{mark}\n")
    assert [trimmed(out) for out in printed] == [trimmed(shown) for _, shown in cells]
    found = commands("docs/analysis.md")
    drawing = [line for line in found if " plot " in line]
    assert len(drawing) == 6
    for line in drawing:
        files = run(tmp_path, sys.executable, *shlex.split(line)[1:]).stdout.split()
        assert all((tmp_path / file).stat().st_size > 1000 for file in files)
    assert all(f"`{kind}`" in text for kind in KINDS)
    found = [line for line in found if " table " in line]
    assert len(found) == 4
    outs = [run(tmp_path, sys.executable, *shlex.split(line)[1:]).stdout for line in found]
    assert [len(out.splitlines()) for out in (outs[0], outs[1])] == [1 + 10, 1 + 451 + 2]
    assert len(json.loads(outs[2])) == 150
    assert (tmp_path / "trials.parquet").is_file()
    (line,) = (line for line in commands("docs/analysis.md") if " report " in line)
    run(tmp_path, sys.executable, *shlex.split(line)[1:])
    assert "evolution-0, evolution-1, random-0" in (tmp_path / "report.html").read_text("utf-8")


def trimmed(text: str) -> list[str]:
    """Lines without the blanks that pandas leaves at their ends."""
    return [line.rstrip() for line in text.splitlines()]


def test_the_cells_of_the_guide_are_drawn_and_compared(tmp_path: Path) -> None:
    found = commands("docs/cells.md")
    assert len(found) == 8
    for line in found:
        run(tmp_path, sys.executable, *shlex.split(line)[1:])
    (code,) = blocks("docs/cells.md", "python")
    assert "graph edit distance 22" in run(tmp_path, sys.executable, "-c", code).stdout
    names = ("published.svg", "column.pdf", "nasnet.dot", "nas-fpn.pdf", "diff.png", "diff.svg", "drift.png")
    reports = [f"runs/cells/figures/{name}.png" for name in ("cells", "operations")]
    assert all((tmp_path / name).stat().st_size > 1000 for name in (*names, *reports))


def test_the_boxes_of_the_guide_open(tmp_path: Path) -> None:
    code = next(block for block in blocks("docs/detection.md", "python") if "open_boxes" in block)
    assert run(tmp_path, sys.executable, "-c", code).stdout.startswith("torch.Size([24, 1, 64, 64]) 4 ")


def test_the_training_of_the_guide_works(tmp_path: Path) -> None:
    (line,) = commands("docs/training.md")
    assert "darts-v2" in run(tmp_path, sys.executable, *shlex.split(line)[1:]).stdout
    text = (DOCS / "training.md").read_text("utf-8")
    assert [name for name in RECIPES if f"| `{name}` |" not in text] == []
    assert [field.name for field in fields(Recipe) if f"`{field.name}`" not in text] == []


@pytest.mark.parametrize("guide", ["docs/networks.md", "docs/export.md"])
def test_a_guide_opens_with_a_command_and_what_it_prints(guide: str, tmp_path: Path) -> None:
    command, output = shown(guide)
    assert run(tmp_path, sys.executable, *shlex.split(command)[1:]).stdout == output


def test_the_exports_of_the_guide_are_used_as_it_says(tmp_path: Path) -> None:
    found = commands("docs/export.md")
    assert len(found) == 2
    for line in found:
        run(tmp_path, sys.executable, *shlex.split(line)[1:])
    assert (tmp_path / "export" / "amoebanet_a.dot").is_file()
    code = examples("docs/export.md")
    assert len(code) == 3
    for name, text in code.items():
        (tmp_path / name).write_text(text)
        assert "4, 10" in run(tmp_path, sys.executable, name).stdout
    text = (DOCS / "export.md").read_text("utf-8")
    assert [name for name, (ending, _) in FORMATS.items() if f"| `{name}` | `{ending}` |" not in text] == []


def test_the_columns_of_a_study_are_documented() -> None:
    text = (DOCS / "study.md").read_text("utf-8")
    shown = ("best", "best_sd", "best_low", "best_high", "regret", "test", "test_sd", "auc", "auc_sd", "to_target")
    assert set(shown) <= set(TABLE)
    assert [name for name in shown if f"`{name}`" not in text] == []


def test_the_examples_obey_the_house_style(tmp_path: Path) -> None:
    texts = [*examples("CONTRIBUTING.md").values(), *examples("docs/benchmarks.md").values()]
    for number, text in enumerate(texts):
        (tmp_path / f"example{number}.py").write_text(text.partition("\n")[2])
    config = ("--config", str(ROOT / "pyproject.toml"))
    ruff = [sys.executable, "-m", "ruff", "check", *config, "--ignore", "D100,I001", str(tmp_path)]
    done = subprocess.run(ruff, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_stopping_of_the_guide_stops_some(tmp_path: Path) -> None:
    first, second = (line for line in commands("docs/stopping.md") if "runs/halving" in line)
    # As printed, but for what would take a minute: of two the last counts.
    small = ("space.blocks=1", "evaluator.filters=4", "evaluator.train_images=96", "evaluator.epochs=3")
    settings = [word for setting in small for word in ("--set", setting)]
    run(tmp_path, sys.executable, *shlex.split(first)[1:], "--trials", "14", "--threads", "1", *settings)
    assert re.search(r" ok \(\d+ stopped early\)", run(tmp_path, sys.executable, *shlex.split(second)[1:]).stdout)


def test_the_race_of_the_guide_counts_its_epochs(tmp_path: Path) -> None:
    first, second = (line for line in commands("docs/stopping.md") if "runs/rungs" in line)
    run(tmp_path, sys.executable, *shlex.split(first)[1:], "--threads", "1")
    shown = run(tmp_path, sys.executable, *shlex.split(second)[1:]).stdout
    assert re.search(r"12 of 12 done: 12 ok \(\d+ stopped early\)[^;]*; \d+ epochs trained", shown)


def test_the_warm_start_of_the_guide_begins_with_what_the_first_run_found(tmp_path: Path) -> None:
    for line in (found := commands("docs/warm_start.md")):
        run(tmp_path, sys.executable, *shlex.split(line)[1:])
    assert len(found) == 2
    kept = json.loads((tmp_path / "runs" / "second" / "knowledge.json").read_text("utf-8"))
    assert [one["run"] for one in kept["donors"]] == ["first"]


def test_the_front_of_the_guide_is_found_shown_and_drawn(tmp_path: Path) -> None:
    search, *looks = (line for line in commands("docs/front.md") if "runs/front" in line)
    assert len(looks) == 3
    # As printed, but for what would take a minute: of two the last counts.
    small = ("space.blocks=1", "evaluator.filters=4", "evaluator.train_images=96", "evaluator.epochs=1")
    settings = [word for setting in small for word in ("--set", setting)]
    run(tmp_path, sys.executable, *shlex.split(search)[1:], "--trials", "16", "--threads", "1", *settings)
    shown = [run(tmp_path, sys.executable, *shlex.split(line)[1:]).stdout for line in looks]
    assert "the front of accuracy against mult_adds: " in shown[0]
    assert (tmp_path / "runs/front/figures/front.png").is_file()
    assert "the front of accuracy against parameters: " in shown[2]


def test_the_study_of_the_guide_to_strategies_ends_as_it_shows(tmp_path: Path) -> None:
    line, *others = commands("docs/strategies.md")
    for other in others:
        run(tmp_path, sys.executable, *shlex.split(other)[1:])
    printed = run(tmp_path, sys.executable, *shlex.split(line)[1:]).stdout.splitlines()
    (shown,) = blocks("docs/strategies.md", "text")
    assert trimmed(shown) == printed[2:11]


def test_the_table_of_presets_is_true(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "proxy.md").read_text("utf-8")
    (line,) = (line for line in commands("docs/proxy.md") if " list " in line)
    assert run(tmp_path, sys.executable, *shlex.split(line)[1:]).stdout in blocks("docs/proxy.md", "text")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", text, flags=re.MULTILINE)
    options = {field.name for field in fields(ProxyEvaluator)}
    assert {name for name, _ in rows} == options & PRESETS["cpu"].settings().keys()
    for name, cells in rows:
        values = [cell.strip() for cell in cells.split("|")[: len(PRESETS)]]
        assert values == [str(preset.settings()[name]) for preset in PRESETS.values()], name


def test_the_table_of_spaces_is_true(tmp_path: Path) -> None:
    listed, searched, *of_pyramids = commands("docs/spaces.md")
    assert all(name in run(tmp_path, sys.executable, *shlex.split(listed)[1:]).stdout for name in SPACES)
    for line in (searched, *of_pyramids):
        run(tmp_path, sys.executable, *shlex.split(line)[1:])
    text = (ROOT / "docs" / "spaces.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (\S+) \| (\S+) \|", text, flags=re.MULTILINE)
    assert [name for name, *_ in rows] == list(SPACES)
    for name, decisions, size in rows:
        if name == "widths":  # they are the network's
            continue
        space = build_space(name)
        assert (decisions, size) == (str(len(space.decisions)), f"{space.size:{',' if space.size < 1e6 else '.2e'}}")
        assert f"**{name}**" in text, "its mutation"


def test_the_table_of_published_networks_is_true(tmp_path: Path) -> None:
    from evo_nas.phenotypes.cost import cost_of
    from evo_nas.phenotypes.plan import parse_size

    text = (DOCS / "networks.md").read_text("utf-8")
    number = r"([\d,]+)"
    row = rf"^\| `([\w-]+)` \| (\w+) \| (\d+@\d+) \| (\d+) \| {number} \| {number} \|"
    rows = re.findall(row, text, flags=re.MULTILINE)
    assert len(rows) == 9
    for name, macro, size, image, parameters, mult_adds in rows:
        cells_per_stack, filters = parse_size(size, CELLS[name])
        cost = cost_of(
            CELLS[name],
            macro=macro,
            cells_per_stack=cells_per_stack,
            filters=filters,
            image=int(image),
            classes=1000 if macro == "imagenet" else 10,
        )
        assert (f"{cost.parameters:,}", f"{cost.mult_adds:,}") == (parameters, mult_adds), (name, size)
    assert all(f"`{name}`" in text for name in STACKINGS)
    for line in commands("docs/networks.md"):
        run(tmp_path, sys.executable, *shlex.split(line)[1:])


def test_a_job_of_slurm_comes_back_until_the_search_is_over(tmp_path: Path) -> None:
    script = next(block for block in blocks("docs/clusters.md", "bash no-test") if block.startswith("#!/bin/bash"))
    toy = 'SEARCH="--strategy random --evaluator toy --set evaluator.seconds=0.5 --trials 9999 --workers 2"'
    changed = re.sub(r"^SEARCH=.*$", toy, script, flags=re.MULTILINE)
    assert changed != script
    (tmp_path / "job.sh").write_text(changed)
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho $* >> told\n")
    (tmp_path / "scontrol").chmod(0o755)
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "SLURM_JOB_ID": "7"}
    command = ["bash", "job.sh"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, stderr=subprocess.PIPE) as job:
        assert job.stderr is not None
        heard = next(line for line in job.stderr if line.startswith("1/"))
        job.send_signal(signal.SIGUSR1)
        heard += job.stderr.read()
    assert (job.returncode, (tmp_path / "told").read_text()) == (75, "requeue 7\n"), heard
    # The second job finds a search that needs two trials more.
    with History.read(tmp_path / "runs/long/history.db") as history:
        needed = history.count_trainings() + 2
    config = tmp_path / "runs/long/run.toml"
    config.write_text(config.read_text("utf-8").replace("trials = 9999", f"trials = {needed}"))
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (again.returncode, (tmp_path / "told").read_text()) == (0, "requeue 7\n"), again.stderr
    assert f"{needed} ok" in again.stdout


PAGES = [str(path.relative_to(ROOT)) for path in sorted(DOCS.rglob("*.md"))]


def anchors(text: str) -> set[str]:
    """Return the names by which GitHub links to the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md", *PAGES])
def test_links_lead_somewhere(file: str) -> None:
    text = (ROOT / file).read_text("utf-8")
    for target, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        page = (ROOT / file).parent / target if target else ROOT / file
        assert page.exists(), target
        if heading:
            assert heading in anchors(page.read_text("utf-8")), f"{target}#{heading}"


@pytest.mark.parametrize("file", PAGES)
def test_prose_is_wrapped_at_120_columns(file: str) -> None:
    prose = re.sub(r"```.*?```", "", (ROOT / file).read_text("utf-8"), flags=re.DOTALL)
    lines = [line for line in prose.splitlines() if len(line) > 120 and not line.startswith(("|", "!["))]
    # A link or a command that is longer than a line stands on one of its own.
    assert [line for line in lines if re.sub(r"`[^`]*`|\[[^]]*\]\([^)]*\)", "", line).strip(" .,:*()")] == []


def test_the_page_of_options_is_the_one_that_is_generated() -> None:
    mend = "write it again: python -m evo_nas list options --markdown > docs/reference.md"
    assert (DOCS / "reference.md").read_text("utf-8") == reference(), mend


@pytest.mark.parametrize("file", PAGES)
def test_source_files_that_a_page_names_exist(file: str) -> None:
    text = (ROOT / file).read_text("utf-8")
    named = set(re.findall(r"`([\w/]+\.(?:py|c))`", text))
    shown = set(re.findall(r"^# ([\w/]+\.py)$", text, flags=re.MULTILINE))
    folders = [ROOT / name for name in ("analysis", "benchmarks", "evo_nas", "genotypes", "strategies", "tests")]
    ours = [f"/{path.relative_to(ROOT)}" for folder in folders for path in folder.rglob("*.*")]
    assert [name for name in named - shown if not any(path.endswith(f"/{name}") for path in ours)] == []
