"""A leaderboard as tables: one HTML page that a browser opens from disk, and the same in Markdown and as text."""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import matplotlib as mpl
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.comparison.leaderboard import Leaderboard
from analysis.plots.files import save
from analysis.plots.leaderboard import draw_ranking, draw_regrets
from evo_nas.system.atomic import make_folder, write_whole
from genotypes.genotype import printable

_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class NumberTable:
    """A table of numbers: what it is, what they mean, the heads of the columns, the rows of text."""

    title: str
    text: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def list_tables(board: Leaderboard) -> Iterator[NumberTable]:
    """Yield the tables of a leaderboard: ranks and costs, regret per budget, noise, duels."""
    yield _ranks(board)
    summary = board.summary()
    for budget in reversed(board.budgets):
        text = (
            "Mean over the seeds ± standard error, in percentage points; on fcnet, per cent of the range of log-losses."
        )
        yield _regrets(board, summary[summary["budget"] == budget], f"Regret after {budget:,} trials", text)
    if noisy := board.noisy_tables:
        lucky = board.summary("luckiest")
        lucky = lucky[(lucky["budget"] == board.budgets[-1]) & lucky["table"].isin(noisy)]
        text = (
            f"The best result that a search saw after {board.budgets[-1]:,} trials, against the best possible mean: "
            "negative by luck. The regret above is by the mean of the same network, which is what a user gets."
        )
        yield _regrets(board, lucky, "Noise: regret by the luckiest draw", text)
    yield _duels(board)


def _ranks(board: Leaderboard) -> NumberTable:
    rows = []
    for name in board.order:
        ranks = [f"{one.ranks[name]:.2f}" if name in one.ranks else "-" for one in board.rankings]
        rows.append([name, *ranks, f"{board.costs[name]:.2f}" if name in board.costs else "-"])
    widths = [one.critical_difference for one in board.rankings]
    rows.append(["critical difference", *("-" if cd is None else f"{cd:.2f}" for cd in widths), "-"])
    heads = ["strategy", *(f"{one.budget:,} trials" for one in board.rankings), "ms per ask"]
    text = (
        f"Average rank over {board.rankings[-1].tables} tables, 1 is best; two strategies are told apart if they "
        "differ by the critical difference. Costs are processor milliseconds of ask and tell on the first table."
    )
    return NumberTable("Ranks and costs", text, heads, rows)


def _regrets(board: Leaderboard, frame: pd.DataFrame, title: str, text: str) -> NumberTable:
    """Make the table of one budget: a row per strategy, a column per table."""
    columns = (frame[name] for name in ("strategy", "table", "mean", "error"))
    shown = {(name, table): _spell(mean, error) for name, table, mean, error in zip(*columns, strict=True)}
    tables = list(dict.fromkeys(frame["table"]))
    names = [name for name in board.order if any((name, table) in shown for table in tables)]
    rows = [[name, *(shown.get((name, table), "-") for table in tables)] for name in names]
    return NumberTable(title, text, ["strategy", *tables], rows)


def _duels(board: Leaderboard) -> NumberTable:
    names = list(board.rankings[-1].ranks)
    score: dict[tuple[str, str], str] = {}
    for duel in board.duels:
        score[duel.first, duel.second] = f"{duel.wins} : {duel.losses}"
        score[duel.second, duel.first] = f"{duel.losses} : {duel.wins}"
    tables = board.duels[0].tables if board.duels else 0
    text = (
        f"On how many of the {tables} tables the strategy of the row is better after {board.budgets[-1]:,} trials, and "
        "on how many that of the column (Mann-Whitney over seeds, two-sided, by Holm for all pairs and tables)."
    )
    numbers = {name: str(number) for number, name in enumerate(names, start=1)}
    rows = [[f"{numbers[a]}. {a}", *(score.get((a, b), "") for b in names)] for a in names]
    return NumberTable("Tables won and lost", text, ["strategy", *(f"{number}." for number in numbers.values())], rows)


def _spell(mean: float, error: float) -> str:
    """Write a regret in percentage points, to two digits of its error."""
    points = 100 * mean
    if math.isnan(error) or error == 0.0:
        return "0" if points == 0.0 else f"{points:.3f}"
    digits = max(0, min(4, 1 - math.floor(math.log10(100 * error))))
    return f"{points:.{digits}f} ± {100 * error:.{digits}f}"


def write_page(board: Leaderboard, folder: Path, command: Sequence[str]) -> list[Path]:
    """Write the page, its tables in Markdown and the pictures into a folder, and return the files.

    Raises:
        OSError: if a file cannot be written.
    """
    make_folder(folder)
    figures = {"ranks": draw_ranking(board), "regrets": draw_regrets(board)}
    sources = []
    for figure in figures.values():
        file = BytesIO()
        with mpl.rc_context({"svg.hashsalt": "evo_nas"}):
            figure.savefig(file, format="svg", facecolor="white", metadata={"Date": None})
        sources.append("data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode())
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("leaderboard.html").render(
        style=(_HERE / "page.css").read_text("utf-8"),
        tables=list(dict.fromkeys(board.regrets["table"])),
        labels=board.order,
        notes=board.notes,
        pictures=sources,
        numbers=list(list_tables(board)),
        again=shlex.join(map(printable, command)),
    )
    write_whole(folder / "leaderboard.html", page)
    write_whole(folder / "leaderboard.md", "\n".join(spell_markdown(board)))
    pictures = [file for name, figure in figures.items() for file in save(figure, folder / f"{name}.png")]
    return [folder / "leaderboard.html", folder / "leaderboard.md", *pictures]


def spell_markdown(board: Leaderboard) -> Iterator[str]:
    """Yield the lines of the tables in Markdown."""
    for table in list_tables(board):
        yield from (f"## {table.title}", "", table.text, "")
        yield f"| {' | '.join(table.heads)} |"
        yield f"|{' --- |' * len(table.heads)}"
        yield from (f"| {' | '.join(row)} |" for row in table.rows)
        yield ""
