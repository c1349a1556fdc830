"""The report: its numbers, and that texts of a history stay texts; tests/browser looks at it in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.frames import HistoryError, load_history
from analysis.report import contents
from analysis.report.contents import report_of
from analysis.report.page import embed, render, report_page

HOSTILE = "</script></code></td><img src=x onerror=alert(1)><script>alert(1)</script>'\"&lt;{{7*7}}"

MakeRun = Callable[..., Path]


class Elements(HTMLParser):
    """Counts elements, gathers handlers and texts, as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.counts: dict[str, int] = {}
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def data_of(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL)
    assert found
    return json.loads(found[1])


def test_runs_are_summed_up(mixed: Path) -> None:
    report = report_of(mixed)
    (run,) = report["runs"]
    counts = {name: run[name] for name in ("trained", "ok", "reused", "refused", "failed", "pending")}
    assert counts == {"trained": 4, "ok": 3, "reused": 1, "refused": 1, "failed": 2, "pending": 2}
    assert (run["best"], run["best_id"], run["best_sample"], run["budget"]) == (0.9, 9, 4, 10)
    assert run["seconds"] == 8.0
    assert run["state"] == "going on, or killed"
    assert report["winner"]["id"] == 9
    assert [row["id"] for row in report["top"]] == [9, 1, 2], "reused ones are no trainings"
    assert [row["id"] for row in report["lineage"]["rows"]] == [1, 9]
    assert report["failures"]["outcomes"] == {"oom": 2}
    assert report["failures"]["kinds"][0] == {
        "outcome": "oom", "error": "out of memory", "count": 1, "trials": ["mixed:4"]
    }  # fmt: skip
    assert report["comparison"] is None
    assert ["run.strategy", "random"] in report["settings"]["common"]
    assert report == report_of(mixed), "the same again"


def test_the_best_so_far_is_exact_and_the_dots_are_thinned(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "DOTS", 40)
    fitness = np.random.default_rng(3).random(300)
    one = make_run("one", [{"fitness": value, "sample_seed": 1} for value in fitness[:200]])
    two = make_run("two", [{"fitness": value, "sample_seed": 1} for value in fitness[200:]])
    report = report_of([one, two])
    frame = load_history([one, two])
    for curve, dots in zip(report["curves"], report["dots"]["runs"], strict=True):
        rows = frame[frame["run"] == curve["run"]]
        place = np.searchsorted(curve["sample"], rows["sample"].to_numpy(dtype=int), side="right") - 1
        assert np.array_equal(np.array(curve["fitness"])[place], rows["best_so_far"].to_numpy())
        assert curve["samples"] == len(rows)
        assert set(curve["id"]) <= set(dots["id"]), "every best is a dot"
        assert 1 in dots["sample"]
        assert len(rows) in dots["sample"]
        drawn = dict(zip(rows["id"], rows["fitness"].round(5), strict=True))
        assert [drawn[id] for id in dots["id"]] == dots["fitness"]
    assert report["dots"]["all"] == 300
    assert 40 <= report["dots"]["drawn"] <= 60
    assert f"{report['dots']['drawn']} of 300 trials are drawn as dots" in render(report)


def test_the_moving_mean_is_that_of_the_population_and_thinned(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "MEANS", 40)
    fitness = np.random.default_rng(3).random(300)
    config = '[run]\nstrategy = "evolution"\n[strategy]\npopulation = 7\n'
    one = make_run("one", [{"fitness": value} for value in fitness], config=config)
    two = make_run("two", [{"outcome": "oom"}, {"fitness": 0.25}, {"fitness": 0.75}])
    report = report_of([one, two, make_run("empty")])
    means = report["means"]
    assert means["window"] == 7
    assert means["runs"][2] == {"sample": [], "elapsed": [], "fitness": []}
    assert means["runs"][1]["sample"] == [2, 3]
    assert means["runs"][1]["fitness"] == [0.25, 0.5]
    mean = means["runs"][0]
    assert len(mean["sample"]) == 13
    assert mean["sample"][0] == 1
    assert mean["sample"][-1] == 300
    assert mean["fitness"] == [round(float(fitness[max(0, n - 7) : n].mean()), 5) for n in mean["sample"]]


def test_several_runs_are_compared_and_their_settings_parted(make_run: MakeRun) -> None:
    config = '[run]\nstrategy = "{}"\nspace = "nasnet"\nevaluator = "toy"\nseed = {}\ntrials = 2\n'
    trials = [{"fitness": 0.5}, {"fitness": 0.6}]
    runs = [
        make_run(f"{name}-{seed}", trials, config=config.format(name, seed))
        for name in ("evolution", "rl")
        for seed in "01"
    ]
    report = report_of(runs)
    assert report["comparison"]["budget"] == 2
    assert any("not enough" in text for text in report["comparison"]["said"])
    assert [group["runs"] for group in report["groups"]] == [2, 2]
    assert report["settings"]["names"] == ["run.strategy", "run.seed"]
    assert report["settings"]["rows"][3] == ["rl-1", "rl", "1"]
    assert [entry["group"] for entry in report["cells"]] == ["evolution", "rl"]
    data = data_of(render(report))
    assert [run["group"] for run in data["runs"]] == [0, 0, 1, 1]


@pytest.mark.parametrize("trials", [[], [{"outcome": "oom", "error": "no memory"}]])
def test_runs_without_a_finished_trial_have_a_report_that_says_so(make_run: MakeRun, trials: list[Any]) -> None:
    page = report_page(make_run("empty", trials))
    assert "there is no curve to draw" in page
    assert "no trial has a fitness yet" in page
    assert ("no memory" in page) == bool(trials)
    assert len(report_page([make_run("a", trials), make_run("b", trials)])) > 10_000


def test_trials_without_a_clock_are_on_the_curve_all_the_same(make_run: MakeRun) -> None:
    trials = [{"fitness": 0.5, "told_at": None}, {"fitness": 0.6}, {"fitness": 0.7, "told_at": None}]
    (run,) = data_of(report_page(make_run("clockless", trials)))["runs"]
    assert run["fitness"] == [0.5, 0.6, 0.7]
    assert run["elapsed"] == sorted(run["elapsed"])


def test_what_is_no_run_is_one_clear_line(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no history\n" * 500)
    for wrong in (tmp_path / "text.db", tmp_path / "nowhere", make_run("later", [], version=99)):
        with pytest.raises(HistoryError) as caught:
            report_of(wrong)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="at least 1 trial"):
        report_of(make_run(), top=0)


def test_hostile_texts_of_a_history_stay_texts(make_run: MakeRun) -> None:
    op = HOSTILE
    cell = {"blocks": [{"left": [0, op], "right": [1, op], "combine": "add"}], "output": [2]}
    texts = {"genotype": f"{HOSTILE}:1", "key": HOSTILE, "cell": json.dumps({"normal": cell, "reduction": cell})}
    quoted = json.dumps(HOSTILE)  # as TOML quotes too
    config = f'[run]\nstrategy = {quoted}\nspace = "x"\nevaluator = {quoted}\n[{quoted}]\na = 1\n'
    run = make_run(
        "<b>bold",
        [
            {"fitness": 0.5, **texts},
            {"fitness": 0.6, "parent": 1, **texts},
            {"fitness": 0.7, **texts, "cell": json.dumps({HOSTILE: HOSTILE})},
            {"outcome": "error", "error": f"{HOSTILE}\x1b[2J\u2028\u202e"},
        ],
        config=config,
    )
    (run / "env.json").write_text(json.dumps({"versions": {HOSTILE: HOSTILE}, "command": ["x", HOSTILE]}))
    pages = [report_page(run, command=[HOSTILE]), report_page([run, make_run("other", [{"fitness": 0.8}])])]
    good = Elements(report_page(make_run("good", [{"fitness": 0.5}])))
    for page in pages:
        seen = Elements(page)
        assert seen.counts["script"] == good.counts["script"] == 2
        assert "b" not in seen.counts
        assert not [name for name, _ in seen.attributes if name.startswith("on")]
        assert not [value for name, value in seen.attributes if name == "src" and not str(value).startswith("data:")]
        assert HOSTILE[:40] in seen.text
        assert not set("\x1b\u2028\u202e") & set(page)
        assert data_of(page)["runs"][0]["run"] == "<b>bold"
    assert "{{7*7}}" in pages[0]


def test_data_in_a_script_holds_nothing_that_html_or_javascript_take_for_their_own() -> None:
    hostile = "</script><!--<script>&amp;\u2028\u2029\x00'\""
    text = embed({hostile: [hostile]})
    assert json.loads(text) == {hostile: [hostile]}
    assert not set("<>&\u2028\u2029\x00") & set(text)


def test_a_page_asks_for_nothing_and_runs_only_its_own_script(make_run: MakeRun) -> None:
    page = report_page(make_run("one", [{"fitness": 0.5}]))
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "url(" not in page.replace("url(#inside)", "")
    (policy,) = (value for _, value in Elements(page).attributes if str(value).startswith("default-src"))
    script = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert "innerHTML" not in page
    assert page == report_page(make_run("again/one", [{"fitness": 0.5}])).replace("again/one", "one")


@pytest.mark.slow
def test_twenty_thousand_trials_make_less_than_three_megabytes(make_run: MakeRun) -> None:
    fitness = np.sort(np.random.default_rng(0).random(20_000))  # each is the best so far: the longest curve there is
    page = report_page(make_run("long", [{"fitness": value, "sample_seed": 1, "seconds": 1.5} for value in fitness]))
    assert len(page.encode()) < 3_000_000
    assert len(data_of(page)["runs"][0]["fitness"]) == 20_000


def test_widths_are_drawn_with_a_table_below(make_run: MakeRun) -> None:
    record = {"network": "n:<b>", "widths": {"a.0": 3, "<i>": 9}, "seed": {"a.0": 6, "<i>": 8}}
    page = report_page(make_run(trials=[{"fitness": 0.5, "cell": json.dumps(record)}]))
    elements = Elements(page)
    assert elements.counts.get("img") == 1
    assert "i" not in elements.counts
    assert "b" not in elements.counts
    assert "As a table" in elements.text
    lines = [line.split() for line in elements.text.splitlines()]
    assert ["a.0", "6", "3", "0.50x"] in lines
    assert ["<i>", "8", "9", "1.12x"] in lines
