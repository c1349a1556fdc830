"""A report as one HTML file that a browser opens from disk: no network, and nothing of a history becomes markup.

Texts pass through jinja2's escaping, data through :func:`embed`, cells come as pictures. A content security policy
lets run no script but ours, should anything ever get past these.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from analysis.cells.drawing import place_cell, read_cells
from analysis.cells.layout import lay_out
from analysis.frames import Paths
from analysis.plots.palette import looks, mix
from analysis.report.contents import TOP, report_of
from genotypes.cell import Cell
from genotypes.genotype import printable, shorten
from genotypes.measure import Measure

Row = Sequence["PageEntry"]

_HERE: Final = Path(__file__).parent
_ABREAST: Final = 3  # blocks beside each other: a cell that a phone can show
_LARGEST: Final = 40  # blocks of a cell that is drawn
_BRIGHTER: Final = 0.35  # share of white in a colour on a dark page
_TITLED: Final = 3  # runs that a title names
_LINES: Final = 2.0  # width of a curve, which dashes are multiples of


@dataclass(frozen=True, slots=True)
class PageEntry:
    """A table's entry: what is shown, and the number by which it sorts; ``None`` where it is missing."""

    text: str
    value: float | None = None
    is_number: bool = False
    is_code: bool = False


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table: an id, its caption, the heads of its columns, its rows; and whether it sorts, and by what it filters."""

    id: str
    caption: str
    heads: Sequence[str]
    rows: Sequence[Row]
    sorts: bool = False
    filter: str = ""


def report_page(paths: Paths, *, top: int = TOP, command: Sequence[str] = ()) -> str:
    """Return the report of one or many runs as HTML; ``command`` is said to repeat it.

    Raises:
        HistoryError: as :func:`~analysis.report.contents.report_of` does.
        ValueError: as :func:`~analysis.report.contents.report_of` does.
    """
    return render(report_of(paths, top=top), command)


def render(report: Mapping[str, Any], command: Sequence[str] = ()) -> str:
    """Write what :func:`~analysis.report.contents.report_of` gathered as HTML."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = (_HERE / "page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    styles = looks({group["label"]: group["strategy"] for group in report["groups"]})
    colours = [look.colour for look in styles.values()]
    return environment.get_template("page.html").render(
        report=report,
        measure=Measure.from_json(report["measure"]).heading,
        title=_title([run["name"] for run in report["runs"]]),
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        style=(_HERE / "page.css").read_text("utf-8"),
        script=script,
        colours=[(colour, _brighter(colour)) for colour in colours],
        data=embed(_gather_curves(report, [_dashes(look.dashes) for look in styles.values()])),
        cards=_cards(report),
        tables={table.id: table for table in _tables(report)},
        pictures=[_pictures(entry) for entry in report["cells"]],
        commands=[_commands(entry) for entry in report["commands"]],
        again=shlex.join(map(printable, command)),
        percent=_percent,
    )


def embed(data: object) -> str:
    """Write data as JSON for a ``<script>`` element, with nothing in it that HTML or JavaScript take for their own."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _title(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TITLED:,} more" if len(names) > _TITLED else ""
    return ", ".join(names[:_TITLED]) + more


def _gather_curves(report: Mapping[str, Any], dashes: Sequence[str]) -> dict[str, Any]:
    """Gather what the script draws: groups, and a curve and dots a run."""
    place = {group["label"]: number for number, group in enumerate(report["groups"])}
    groups = [
        {"label": group["label"], "runs": group["runs"], "dashes": dash}
        for group, dash in zip(report["groups"], dashes, strict=True)
    ]
    runs = [
        {**curve, "group": place[curve["group"]], "mean": mean, "dots": dots}
        for curve, mean, dots in zip(report["curves"], report["means"]["runs"], report["dots"]["runs"], strict=True)
    ]
    return {"groups": groups, "window": report["means"]["window"], "runs": runs}


def _dashes(dashes: Any) -> str:
    """Spell matplotlib's style of a line as SVG does."""
    return "none" if isinstance(dashes, str) else " ".join(f"{_LINES * length:g}" for length in dashes[1])


def _brighter(colour: str) -> str:
    """Return the colour that stands for another on a dark page."""
    dark = sum(bytes.fromhex(colour[1:])) < 3 * 64
    return mix(colour, "#ffffff", 2 * _BRIGHTER if dark else _BRIGHTER)


def _cards(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the most important numbers of the report, each as name, number and note."""
    runs, winner, measure = report["runs"], report["winner"], Measure.from_json(report["measure"])
    total = {name: sum(run[name] for run in runs) for name in ("trained", "failed", "reused", "pending", "seconds")}
    cards = []
    if winner:
        cards.append((f"Best {measure.name}", _percent(winner["fitness"]), f"trial {winner['run']}:{winner['id']}"))
        if winner["test"] is not None:
            cards.append(("Its test fitness", _percent(winner["test"]), "which the search never saw"))
    else:
        cards.append((f"Best {measure.name}", "-", "no trial has a fitness yet"))
    budgets = [run["budget"] for run in runs]
    of = f"of {sum(budgets):,}" if None not in budgets else ""
    waiting = f"{total['pending']:,} pending" if total["pending"] else f"{total['reused']:,} reused"
    cards.append(("Trainings", f"{total['trained']:,}", ", ".join(filter(None, [of, waiting]))))
    cards.append(("Failed", f"{total['failed']:,}", _share(total["failed"], total["trained"])))
    cards.append(("Time of trainings", _duration(total["seconds"]), f"in {len(runs):,} run{'s' * (len(runs) > 1)}"))
    return cards


def _tables(report: Mapping[str, Any]) -> Iterable[PageTable]:
    measure = Measure.from_json(report["measure"])
    yield _table(
        "runs",
        "Runs",
        report["runs"],
        {
            "run": lambda run: PageEntry(run["name"]),
            "strategy": lambda run: PageEntry(run["group"]),
            "space": lambda run: PageEntry(run["space"]),
            "evaluator": lambda run: PageEntry(run["evaluator"]),
            "seed": lambda run: _whole(run["seed"], plain=True),
            "state": lambda run: PageEntry(run["state"]),
            "trainings": lambda run: _whole(run["trained"]),
            "failed": lambda run: _whole(run["failed"]),
            "best": lambda run: _fraction(run["best"]),
            "test": lambda run: _fraction(run["test"]),
            "of trial": lambda run: _whole(run["best_id"], plain=True),
            "going for": lambda run: _seconds(run["elapsed"]),
        },
        sorts=True,
    )
    if report["comparison"]:
        yield _table(
            "groups",
            f"Strategies after {report['comparison']['budget']:,} samples; ± is the standard deviation over seeds",
            report["comparison"]["table"],
            {
                "strategy": lambda row: PageEntry(row["group"]),
                "runs": lambda row: _whole(row["runs"]),
                "best": lambda row: _spread(row["best"], row["best_sd"]),
                "lowest": lambda row: _fraction(row["best_low"]),
                "highest": lambda row: _fraction(row["best_high"]),
                "test": lambda row: _spread(row["test"], row["test_sd"]),
                "area": lambda row: _spread(row["auc"], row["auc_sd"]),
            },
        )
    yield _table(
        "trials",
        f"The {len(report['top']):,} best trials",
        report["top"],
        {
            "trial": lambda row: _whole(row["id"], plain=True),
            "run": lambda row: PageEntry(row["run"]),
            measure.name: lambda row: _fraction(row["fitness"]),
            "test": lambda row: _fraction(row["test"]),
            "parameters": lambda row: _whole(row["parameters"]),
            "mult-adds": lambda row: _whole(row["mult_adds"]),
            "seconds": lambda row: _real(row["seconds"]),
            "sample": lambda row: _whole(row["sample"]),
            "parent": lambda row: _whole(row["parent"], plain=True),
            "genotype": lambda row: PageEntry(row["genotype"], is_code=True),
        },
        sorts=True,
        filter="Filter the trials",
    )
    yield _table(
        "failures",
        "Kinds of failures",
        report["failures"]["kinds"],
        {
            "outcome": lambda row: PageEntry(row["outcome"]),
            "trials": lambda row: _whole(row["count"]),
            "error": lambda row: PageEntry(row["error"] or "-", is_code=bool(row["error"])),
            "among them": lambda row: PageEntry(", ".join(row["trials"])),
        },
        sorts=True,
    )
    if line := report["lineage"]:
        yield _table(
            "lineage",
            f"Ancestors of {line['run']}:{line['rows'][-1]['id']}, oldest first",
            line["rows"],
            {
                "generation": lambda row: _whole(row["generation"], plain=True),
                "trial": lambda row: _whole(row["id"], plain=True),
                "sample": lambda row: _whole(row["sample"]),
                "changes": lambda row: _whole(row["changes"]),
                measure.name: lambda row: _fraction(row["fitness"]),
                "genotype": lambda row: PageEntry(row["genotype"], is_code=True),
            },
        )
    for name, what in (("settings", "Settings"), ("versions", "Versions, machine and data")):
        found = report[name]
        several = " of all runs" if len(report["runs"]) > 1 else ""
        yield PageTable(name, what + several, ("name", "value"), _texts(found["common"]))
        yield PageTable(f"{name}-differing", f"{what} that differ", ("run", *found["names"]), _texts(found["rows"]))


def _table(id: str, caption: str, rows: Sequence[Mapping[str, Any]], columns: Any, **options: Any) -> PageTable:
    """Make a table; a column in which every row is without a value is left out."""
    entries = {head: [make(row) for row in rows] for head, make in columns.items()}
    kept = {head: column for head, column in entries.items() if not rows or any(entry.text != "-" for entry in column)}
    return PageTable(id, caption, tuple(kept), list(zip(*kept.values(), strict=True)), **options)


def _texts(rows: Sequence[Sequence[str]]) -> list[list[PageEntry]]:
    return [[PageEntry(text) for text in row] for row in rows]


def _pictures(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the cells of a trial; where there are none to draw, give what the space describes as lines."""
    trial = f"{entry['run']}:{entry['id']}"
    said = {name: entry[name] for name in ("group", "fitness", "genotype")} | {"trial": trial}
    pair = read_cells(entry["cell"])
    if pair is None:
        return said | {"cells": [], "lines": _lines(entry["cell"])}
    cells = [("normal cell", pair.normal), ("reduction cell", pair.reduction)]
    lines = [line for name, cell in cells for line in (f"{name}:", *str(cell).splitlines())]
    drawn = []
    for name, cell in cells:
        if len(cell.blocks) <= _LARGEST:
            source, width, height = _picture(cell)
            drawn.append({"name": name, "source": source, "width": width, "height": height, "text": str(cell)})
    return said | {"cells": drawn, "lines": [shorten(printable(line), 200) for line in lines]}


def _picture(cell: Cell) -> tuple[str, int, int]:
    """Draw a cell as an SVG in a data URI; give its width and height in pixels of CSS as well."""
    layout = lay_out(cell, _ABREAST)
    figure = Figure(figsize=(layout.width, layout.height))
    place_cell(layout, figure, (0.0, 0.0))
    file = BytesIO()
    with mpl.rc_context({"svg.hashsalt": "evo_nas"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    # A hundredth of a point is as good as a millionth, at half the size.
    text = re.sub(r"(\d\.\d\d)\d+", r"\1", file.getvalue().decode())
    source = "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode()
    return source, round(96 * layout.width), round(96 * layout.height)


def _lines(text: str) -> list[str]:
    """Spell what a space describes, an entry per line."""
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return ["it cannot be read"]
    entries = found.items() if isinstance(found, Mapping) else [("cell", found)]
    return [shorten(printable(f"{name}: {value}"), 200) for name, value in entries][:50]


def _commands(entry: Mapping[str, Any]) -> dict[str, str]:
    """Spell the commands that make a run again."""
    again = ["python", "-m", "evo_nas", "run", "--config", f"{entry['folder']}/run.toml", "--run-dir", "ANOTHER"]
    return {
        "run": entry["run"],
        "began": shlex.join(entry["words"]),
        "again": shlex.join(map(printable, again)) if entry["config"] else "",
    }


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _fraction(value: float | None) -> PageEntry:
    return PageEntry(_percent(value), value, is_number=True)


def _spread(value: float | None, sd: float | None) -> PageEntry:
    spread = "" if value is None or sd is None else f" ± {100 * sd:.2f}"
    return PageEntry(_percent(value).replace(" %", f"{spread} %"), value, is_number=True)


def _whole(value: int | None, *, plain: bool = False) -> PageEntry:
    """Write a count, or ``plain`` an id: without commas."""
    return PageEntry("-" if value is None else str(value) if plain else f"{value:,}", value, is_number=True)


def _real(value: float | None) -> PageEntry:
    return PageEntry("-" if value is None else f"{value:,.1f}", value, is_number=True)


def _seconds(value: float | None) -> PageEntry:
    return PageEntry("-" if value is None else _duration(value), value, is_number=True)


def _duration(seconds: float) -> str:
    """Write a duration in the unit that people would use."""
    for unit, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:,.1f} s"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} % of the trainings" if whole else "no training has ended yet"
