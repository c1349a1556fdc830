"""The report in a real browser, as wide as a desk and as a phone: `make browser`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import evo_nas
from analysis.report.contents import report_of
from analysis.report.page import render

pytestmark = pytest.mark.browser

HOSTILE = '</script></code><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\'"&lt;b>{{7*7}}'
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}

CONTRAST = """() => {
  const parsed = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = rgb.slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const said = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!said || !node.getClientRects().length || ["SCRIPT", "NOSCRIPT"].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    let ground = node, behind = [0, 0, 0, 0];
    while (ground && (behind.length === 4 && behind[3] === 0)) {
      behind = parsed(getComputedStyle(ground).backgroundColor);
      ground = ground.parentElement;
    }
    const ink = parsed(node instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind)].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), node.tagName + " " + node.textContent.slice(0, 30)]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("runs")
    for strategy in ("evolution", "random"):
        for seed in (0, 1):
            options = {"population": 10, "sample": 4} if strategy == "evolution" else {}
            folder = place / f"{strategy}-{seed}"
            evo_nas.search(
                strategy=strategy,
                evaluator="toy",
                trials=60,
                seed=seed,
                run_dir=folder,
                settings=["space.blocks=3"],
                **options,
            )
    found = report_of(str(place / "*"))
    kinds = [
        {
            "outcome": "oom",
            "error": "CUDA out of memory: " + "x" * 380,
            "count": 4,
            "trials": ["random-0:3", "random-1:7"],
        },
        {"outcome": "nan", "error": "", "count": 1, "trials": ["random-0:9"]},
    ]
    found["failures"] = {"all": 5, "outcomes": {"oom": 4, "nan": 1}, "kinds": kinds, "left": 0}
    return found


@pytest.fixture(scope="module")
def file(report: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(report, ["python", "-m", "evo_nas", "report", "runs/*"]), "utf-8")
    return path


Visit = Callable[..., Any]


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """Open a page; that it says nothing on the console and asks for nothing else is checked when the test ends."""
    contexts, complaints, asked, visited = [], [], [], set()

    def go(path: Path, width: str = "desktop", **options: Any) -> Any:
        wide, high = WIDTHS[width]
        context = browser.new_context(viewport={"width": wide, "height": high}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        visited.add(path.as_uri())
        page.goto(path.as_uri())
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []
    assert {url for url in asked if not url.startswith("data:")} == visited, "one file, without any other"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_and_every_text_can_be_read(file: Path, visit: Visit, width: str, scheme: str) -> None:
    page = visit(file, width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width][0]
    outside = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter((node) => {
            const box = node.getBoundingClientRect();
            return box.width && (box.right > innerWidth + 1 || box.left < 0)
                && !node.closest(".scroll table, pre, .skip, #chart > svg > g");
        }).map((node) => node.outerHTML.slice(0, 100))"""
    )
    assert outside == []
    contrasts = page.evaluate(CONTRAST)
    assert len(contrasts) > 500
    assert contrasts[0][0] >= 4.5, contrasts[:5]
    assert page.locator("#cells img").evaluate_all("all => all.every((image) => image.naturalWidth > 100)")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_sorts_by_mouse_and_by_key(file: Path, visit: Visit, width: str) -> None:
    page = visit(file, width)
    heads = page.locator("#trials-table th")
    names = [re.sub(r"\W+$", "", name) for name in heads.all_inner_texts()]

    def column(name: str) -> list[str]:
        return page.locator(f"#trials-table tbody td:nth-child({names.index(name) + 1})").all_inner_texts()

    trials = list(map(int, column("trial")))
    assert len(trials) == 200
    button = heads.nth(names.index("trial")).get_by_role("button")
    button.click()
    assert list(map(int, column("trial"))) == sorted(trials, reverse=True)
    assert heads.nth(names.index("trial")).get_attribute("aria-sort") == "descending"
    button.press("Enter")
    assert list(map(int, column("trial"))) == sorted(trials)
    assert heads.nth(names.index("trial")).get_attribute("aria-sort") == "ascending"
    assert page.get_by_role("status").filter(has_text="sorted by trial, ascending").count() == 1

    heads.nth(names.index("run")).get_by_role("button").click()
    assert column("run") == sorted(column("run"))
    assert page.locator("#trials-table th[aria-sort]").count() == 1

    heads.nth(names.index("parent")).get_by_role("button").click()
    parents = column("parent")
    numbers = [int(parent) for parent in parents if parent != "-"]
    assert numbers == sorted(numbers, reverse=True)
    assert parents == [*map(str, numbers), *["-"] * (len(parents) - len(numbers))], "what is missing comes last"


def test_the_table_filters(file: Path, visit: Visit) -> None:
    page = visit(file, "phone")
    rows = page.locator("#trials-table tbody tr")
    every = rows.count()
    field = page.get_by_label("Filter the trials")
    field.fill("EVOLUTION-1 nasnet")
    shown = page.locator("#trials-table tbody tr:visible")
    assert 0 < shown.count() < every
    assert all("evolution-1" in text for text in shown.all_inner_texts())
    assert page.locator("#count-trials").inner_text() == f"{shown.count()} of {every} shown"
    field.fill("nothing is called like this")
    assert shown.count() == 0
    field.fill("")
    assert shown.count() == every


def ticks(page: Any) -> list[str]:
    texts: list[str] = page.locator("#chart > svg > text").all_text_contents()
    return texts


def test_the_curve_is_hovered_zoomed_and_walked_along(file: Path, visit: Visit, report: dict[str, Any]) -> None:
    page = visit(file)
    chart, tip = page.locator("#chart"), page.locator(".tip")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    whole = ticks(page)
    assert page.locator("#chart .line").count() == 4
    assert tip.is_hidden()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.3 * box["height"])
    assert re.search(r"(evolution|random)-[01]: \d+\.\d\d %\n.*trial \d+, sample \d+", tip.inner_text())

    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.7 * box["height"], steps=3)
    page.mouse.up()
    zoomed = ticks(page)
    assert zoomed != whole
    page.mouse.wheel(0, -200)
    assert ticks(page) != zoomed, "the drag has given it the focus"
    chart.press("0")
    assert ticks(page) == whole
    page.get_by_role("button", name="Zoom in").click()
    assert ticks(page) != whole
    page.get_by_role("button", name="Whole").click()
    assert ticks(page) == whole

    reading = page.locator("#reading")
    chart.press("ArrowRight")
    run = next(run for run in report["curves"])
    assert reading.inner_text().startswith(f"{run['run']}: {100 * run['fitness'][-1]:.2f} %")
    chart.press("ArrowLeft")
    assert f"trial {run['id'][-2]}, sample {run['sample'][-2]}" in reading.inner_text()
    chart.press("ArrowDown")
    assert reading.inner_text().startswith(report["curves"][1]["run"])

    page.get_by_label("mean of the last").check()
    assert page.locator("#chart .line").count() == 4
    chart.press("ArrowRight")
    mean = report["means"]["runs"][0]
    assert reading.inner_text().startswith(f"{run['run']}: {100 * mean['fitness'][-1]:.2f} %, mean of the last")
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.3 * box["height"])
    assert re.search(r"(evolution|random)-[01]: \d+\.\d\d %\n", tip.inner_text())

    page.get_by_label("seconds").check()
    assert any("seconds that the run" in text for text in ticks(page))
    page.get_by_label("random").uncheck()
    assert page.locator("#chart .line").count() == 2
    page.get_by_label("trials as dots").uncheck()
    assert page.locator("#chart .dot").count() == 0


def test_everything_is_reached_by_key_and_named(file: Path, visit: Visit) -> None:
    page = visit(file)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    assert page.locator(".skip").bounding_box()["x"] >= 0, "seen once it has the focus"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("input, button, .scroll, section, nav, img, [tabindex='0']")]
            .filter((node) => !(node.labels && node.labels.length) && !node.textContent.trim() && !node.alt
                && !node.getAttribute("aria-label") && !node.getAttribute("aria-labelledby"))
            .map((node) => node.outerHTML)"""
    )
    assert unnamed == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))
    assert page.locator("main").count() == page.locator("h1").count() == page.locator("html[lang=en]").count() == 1


def test_it_prints_and_is_read_without_javascript(file: Path, visit: Visit) -> None:
    page = visit(file, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("nav").is_hidden()
    assert page.locator("#chart .line").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf()[:5] == b"%PDF-"
    assert page.locator("details:not([open])").count() == 0, "paper has nothing to click on"
    plain = visit(file, java_script_enabled=False)
    assert plain.locator("#trials-table tbody tr").count() == 200
    assert plain.get_by_text("The curves need JavaScript").is_visible()


def poisoned(value: Any) -> Any:
    """Return the same with a hostile text at the end of every text."""
    if isinstance(value, str):
        return value + HOSTILE
    if isinstance(value, list):
        return [poisoned(entry) for entry in value]
    if isinstance(value, dict):
        return {key if key.isidentifier() else poisoned(key): poisoned(entry) for key, entry in value.items()}
    return value


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_texts_are_texts_and_overflow_nothing(
    report: dict[str, Any], file: Path, visit: Visit, tmp_path: Path, width: str
) -> None:
    bad = tmp_path / "hostile.html"
    bad.write_text(render(poisoned(report), [HOSTILE]), "utf-8")
    page, good = visit(bad, width), visit(file, width)
    chart = page.locator("#chart")
    chart.focus()
    chart.press("ArrowRight")
    assert HOSTILE in page.locator(".tip").text_content()
    page.locator("#trials-table th button").first.click()
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == good.locator("script").count() == 2
    assert page.locator("img[src=x], [onerror]").count() == 0
    assert page.locator("img").count() == 0, "cells that cannot be read are texts"
    text = page.locator("body").inner_text()
    assert text.count(HOSTILE) > 500
    page.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width][0]
