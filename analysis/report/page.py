"""A report as one HTML file that a browser opens from disk: no network, and nothing of a history becomes markup.

Texts pass through jinja2's escaping, data through :func:`embed`, cells come as pictures. A content security policy
lets run no script but ours, should anything ever get past these.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from analysis.cells.chains import chains_figure
from analysis.cells.designs import read_chain, read_pyramid, read_widths
from analysis.cells.drawing import place_cell, read_cells
from analysis.cells.layout import lay_out
from analysis.cells.pyramids import PyramidColumn, pyramids_figure
from analysis.frames import Paths, find_runs
from analysis.palette import looks, mix
from analysis.plots.files import figure_file
from analysis.plots.widths import plot_widths
from analysis.report.contents import TOP, report_of
from analysis.report.templates import make_environment, read_part
from evo_nas.system.atomic import make_folder, write_whole
from evo_nas.system.terminal import duration
from genotypes.genotype import printable, shorten
from genotypes.measure import Measure

Row = Sequence["PageEntry"]

_ABREAST: Final = 3  # blocks beside each other: a cell that a phone can show
_LARGEST: Final = 40  # blocks of a cell that is drawn
_BRIGHTER: Final = 0.35  # share of white in a colour on a dark page
_TITLED: Final = 3  # runs that a title names
_LINES: Final = 2.0  # width of a curve, which dashes are multiples of

_OF_A_RUN: Final = "name group space evaluator seed state trained epochs failed best test best_id elapsed"
_OF_A_GROUP: Final = "group runs best best_low best_high test auc"
_OF_A_TRIAL: Final = "id run fitness test parameters mult_adds seconds sample parent genotype"
_OF_A_FAILURE: Final = "outcome count error trials"
_OF_AN_ANCESTOR: Final = "generation id sample changes fitness genotype"
"""Fields of what :func:`~analysis.report.contents.report_of` gathers, as the columns of a table."""

_HEADS: Final = {
    "name": "run",
    "group": "strategy",
    "trained": "trainings",
    "best_id": "of trial",
    "elapsed": "going for",
    "best_low": "lowest",
    "best_high": "highest",
    "auc": "area",
    "id": "trial",
    "mult_adds": "mult-adds",
    "count": "trials",
    "trials": "among them",
}
"""Field -> the head of its column, where that is not its name."""
_FRACTIONS: Final = ("best", "best_low", "best_high", "test", "auc", "fitness")
_IDS: Final = ("seed", "best_id", "id", "parent", "generation")  # numbers that are names: written without commas
_CODE: Final = ("error", "genotype")


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


def write_report(
    paths: Paths, output: str | os.PathLike[str] | None = None, *, top: int = TOP, command: Sequence[str] = ()
) -> Path:
    """Return the file that :func:`report_page` was written to: by default ``figures/report.html`` of the first run.

    Raises:
        HistoryError: as :func:`~analysis.report.contents.report_of` does.
        ValueError: as that does, and if ``output`` does not end in .html or .htm.
        OSError: if the file cannot be written.
    """
    file = Path(output) if output else figure_file(find_runs(paths)[0].folder, "report.html")
    if file.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{file} is no name of a report: let it end in .html")
    page = report_page(paths, top=top, command=command)
    make_folder(file.parent)
    write_whole(file, page)
    return file


def render(report: Mapping[str, Any], command: Sequence[str] = ()) -> str:
    """Write what :func:`~analysis.report.contents.report_of` gathered as HTML."""
    environment = make_environment()
    script = read_part("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    styles = looks({group["label"]: group["strategy"] for group in report["groups"]})
    colours = [look.colour for look in styles.values()]
    return environment.get_template("page.html").render(
        report=report,
        measure=Measure.from_json(report["measure"]).heading,
        title=_title([run["name"] for run in report["runs"]]),
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        style=read_part("page.css"),
        script=script,
        colours=[(colour, _brighter(colour)) for colour in colours],
        data=embed(_gather_curves(report, [_dashes(look.dashes) for look in styles.values()])),
        cards=_cards(report),
        tables={table.id: table for table in _tables(report)},
        pictures=[draw_network(entry) for entry in report["cells"]],
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
    cards.append(("Time of trainings", duration(total["seconds"]), f"in {len(runs):,} run{'s' * (len(runs) > 1)}"))
    return cards


def _tables(report: Mapping[str, Any]) -> Iterable[PageTable]:
    measure, compared, line = Measure.from_json(report["measure"]).name, report["comparison"], report["lineage"]
    yield _table("runs", "Runs", report["runs"], _OF_A_RUN, sorts=True)
    if compared:
        caption = f"Strategies after {compared['budget']:,} samples; ± is the standard deviation over seeds"
        yield _table("groups", caption, compared["table"], _OF_A_GROUP)
    caption = f"The {len(report['top']):,} best trials"
    yield _table("trials", caption, report["top"], _OF_A_TRIAL, measure, sorts=True, filter="Filter the trials")
    yield _table("failures", "Kinds of failures", report["failures"]["kinds"], _OF_A_FAILURE, sorts=True)
    if line:
        caption = f"Ancestors of {line['run']}:{line['rows'][-1]['id']}, oldest first"
        yield _table("lineage", caption, line["rows"], _OF_AN_ANCESTOR, measure)
    for name, what in (("settings", "Settings"), ("versions", "Versions, machine and data")):
        found = report[name]
        several = " of all runs" if len(report["runs"]) > 1 else ""
        yield PageTable(name, what + several, ("name", "value"), _texts(found["common"]))
        yield PageTable(f"{name}-differing", f"{what} that differ", ("run", *found["names"]), _texts(found["rows"]))


def _table(
    id: str, caption: str, rows: Sequence[Mapping[str, Any]], fields: str, measure: str = "", **options: Any
) -> PageTable:
    """Make a table of fields of rows; a column in which every row is without a value is left out."""
    entries = {name: [_entry(row, name) for row in rows] for name in fields.split()}
    kept = {name: column for name, column in entries.items() if not rows or any(entry.text != "-" for entry in column)}
    heads = {**_HEADS, "fitness": measure}
    return PageTable(id, caption, [heads.get(n, n) for n in kept], list(zip(*kept.values(), strict=True)), **options)


def _entry(row: Mapping[str, Any], name: str) -> PageEntry:
    """Write a field of a row as its name and its type ask for."""
    value = row[name]
    if value is None:
        return PageEntry("-", is_number=True)
    if isinstance(value, list):
        return PageEntry(", ".join(value))
    if isinstance(value, str):
        return PageEntry(value or "-", is_code=name in _CODE and bool(value))
    if name in _FRACTIONS:
        sd = row.get(f"{name}_sd")
        text = _percent(value) if sd is None else f"{100 * value:.2f} ± {100 * sd:.2f} %"
    elif name == "elapsed":
        text = duration(value)
    elif name in _IDS:
        text = str(value)
    else:
        text = f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
    return PageEntry(text, value, is_number=True)


def _texts(rows: Sequence[Sequence[str]]) -> list[list[PageEntry]]:
    return [[PageEntry(text) for text in row] for row in rows]


def draw_network(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the cells, the widths, the pyramid or the chain of a trial; of others give what the space describes."""
    trial = f"{entry['run']}:{entry['id']}"
    said = {name: entry[name] for name in ("group", "fitness", "genotype")} | {"trial": trial, "legend": ""}
    if (widths := read_widths(entry["cell"])) is not None:
        figure = plot_widths([widths]).figure
        assert isinstance(figure, Figure)
        name = f"widths of {shorten(widths.network)} over those of the original network"
        drawn = [{"name": name, **_encode(figure)}]
        return said | {"cells": drawn, "lines": [*widths.lines()], "legend": "As a table"}
    if (pyramid := read_pyramid(entry["cell"])) is not None:
        drawn = [{"name": "feature pyramid", **_encode(pyramids_figure([PyramidColumn("", "", pyramid)]))}]
        return said | {"cells": drawn, "lines": [*pyramid.lines()], "legend": "As a table"}
    if (chain := read_chain(entry["cell"])) is not None:
        drawn = [{"name": "chain of blocks", **_encode(chains_figure([("", "", chain)]))}]
        return said | {"cells": drawn, "lines": [*chain.lines()], "legend": "As a table"}
    pair = read_cells(entry["cell"])
    if pair is None:
        return said | {"cells": [], "lines": _lines(entry["cell"])}
    cells = [("normal cell", pair.normal), ("reduction cell", pair.reduction)]
    lines = [line for name, cell in cells for line in (f"{name}:", *str(cell).splitlines())]
    drawn = []
    for name, cell in cells:
        if len(cell.blocks) <= _LARGEST:
            layout = lay_out(cell, _ABREAST)
            figure = Figure(figsize=(layout.width, layout.height))
            place_cell(layout, figure, (0.0, 0.0))
            drawn.append({"name": name, **_encode(figure)})
    lines = [shorten(printable(line), 200) for line in lines]
    return said | {"cells": drawn, "lines": lines, "legend": "As text (0 is h_i, 1 is h_i-1)"}


def _encode(figure: Figure) -> dict[str, Any]:
    """Return a figure as an SVG in a data URI, ``source``, and its ``width`` and ``height`` in pixels of CSS."""
    file = BytesIO()
    with mpl.rc_context({"svg.hashsalt": "evo_nas"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    # A hundredth of a point is as good as a millionth, at half the size.
    text = re.sub(r"(\d\.\d\d)\d+", r"\1", file.getvalue().decode())
    source = "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode()
    width, height = figure.get_size_inches()
    return {"source": source, "width": round(96 * width), "height": round(96 * height)}


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


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} % of the trainings" if whole else "no training has ended yet"
