"""The summary that ``show`` prints of a run: its best cells and its counts, as data and as text."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evo_nas.commands.base import Parser, add_costs, add_json, whole
from evo_nas.config import read_toml
from evo_nas.errors import RunFolderError, UsageError
from evo_nas.storage.run_folder import RunFolder
from evo_nas.system.terminal import duration
from genotypes.cell import CellPair
from genotypes.chain import Chain
from genotypes.genotype import GenotypeError, printable, shorten
from genotypes.measure import ACCURACY, Measure
from genotypes.pyramid import Pyramid
from genotypes.widths import Widths

if TYPE_CHECKING:
    from evo_nas.storage.reader import FrontTrial, TopTrial

DEFAULT_COSTS: Final = ("mult_adds",)
"""Costs against which the fitness is weighed where neither the caller nor the run names any."""

_MOST_COSTS: Final = 16
"""Nobody weighs more; a run folder may say anything."""

_FRONT_LINES: Final = 20
"""So much of a front is printed; all of it is in the JSON."""


EPILOG = """\
examples:
  python -m evo_nas show runs/digits --top 10
  python -m evo_nas show runs/digits --trial 47
  python -m evo_nas show runs/digits --front --costs parameters"""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder")
    parser.add_argument("--top", metavar="K", type=whole(10**6), default=5, help="how many (default: 5)")
    parser.add_argument("--trial", metavar="N", type=whole(2**53), help="describe trial N and not the best")
    parser.add_argument("--front", action="store_true", help="the Pareto front too, as for --objective pareto")
    add_costs(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the summary."""
    flags = {"front": arguments.front, "costs": arguments.costs, "trial": arguments.trial}
    summary = summarise(arguments.run, arguments.top, **flags)
    print(json.dumps(summary.to_json(), indent=2) if arguments.json else "\n".join(summary.lines()))


@dataclass(frozen=True)
class Front:
    """The Pareto front of a run: its fitness against metrics of the trials, the best first."""

    costs: tuple[str, ...]
    trials: list[FrontTrial]
    measure: Measure = ACCURACY

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``show --json``."""
        return {"costs": self.costs, "trials": [asdict(trial) for trial in self.trials]}

    def lines(self) -> Iterator[str]:
        """Return the text: a heading, and a line for each of the first trials."""
        names = [shorten(name, 30) for name in self.costs]
        yield f"the front of {self.measure.name} against {', '.join(names)}: {len(self.trials):,} trial(s)"
        if not self.trials:
            return
        widths = [max(13, len(name)) for name in names]
        headings = " ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
        yield f"{'trial':>12} {self.measure.name:>9} {headings}  genotype"
        for trial in self.trials[:_FRONT_LINES]:
            costs = zip(trial.costs.values(), widths, strict=True)
            spent = " ".join(f"{_amount(cost):>{width}}" for cost, width in costs)
            yield f"{trial.id:>12} {100 * trial.fitness:>7.2f} % {spent}  {_printable(trial.genotype)}"
        if (more := len(self.trials) - _FRONT_LINES) > 0:
            yield f"... and {more:,} more; --json gives them all"


@dataclass(frozen=True)
class Summary:
    """A run in short: the best trials of different networks, counts by outcome, seconds of all evaluations.

    ``stopped_early`` is how many of those that went well ended before their last epoch, and ``epochs`` how many were
    trained in all. ``shown`` is the trial that is described, the best where none was asked for, and ``metrics`` are
    its. ``front`` is there where the fitness is not all that counts, or where it was asked for. ``is_tabular`` says
    that the seconds are those of a table, which nobody waited for.
    """

    path: Path
    top: list[TopTrial]
    outcomes: dict[str, int]
    seconds: float
    stopped_early: int = 0
    epochs: int = 0
    front: Front | None = None
    measure: Measure = ACCURACY
    shown: TopTrial | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    is_tabular: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """Trials by what became of them; every failure counts as failed."""
        told = dict(self.outcomes)
        ok, reused, refused = (told.pop(name, 0) for name in ("ok", "reused", "refused"))
        return {"ok": ok, "failed": sum(told.values()), "reused": reused, "refused": refused}

    @property
    def best_pair(self) -> CellPair | None:
        """The pair of cells of the best trial; ``None`` where the space describes something else."""
        return _pair(self.top[0].cell) if self.top else None

    @property
    def best_widths(self) -> Widths | None:
        """The widths of the best trial; ``None`` where the space describes something else."""
        return _widths(self.top[0].cell) if self.top else None

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``show --json``; ``best`` is null while no trial has succeeded."""
        rows = [{k: v for k, v in asdict(trial).items() if k != "cell"} for trial in self.top]
        return {
            "run": str(self.path),
            "best": rows[0] if rows else None,
            "trials": self.counts,
            "stopped_early": self.stopped_early,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "top": rows,
            "shown": None if self.shown is None else {**asdict(self.shown), "metrics": dict(self.metrics)},
            "front": None if self.front is None else self.front.to_json(),
            "measure": self.measure.to_json(),
        }

    def lines(self) -> Iterator[str]:
        """Return the text of ``show``: a line of counts, a table of the best, and the best cell."""
        from evo_nas.evaluators.base import weights_file

        early = f" ({self.stopped_early} stopped early)" if self.stopped_early else ""
        epochs = f", {self.epochs:,} epochs" if self.stopped_early else ""
        by_table = " by the table" if self.is_tabular else ""
        told = {name: f"{number} {name}{early if name == 'ok' else ''}" for name, number in self.counts.items()}
        counts = ", ".join(text for name, text in told.items() if self.counts[name] or name == "ok")
        yield f"{printable(self.path)}: {counts}; {duration(self.seconds)} of evaluation{by_table}{epochs}"
        if not self.top:
            yield "no trial has succeeded yet"
            return
        yield ""
        named = self.measure.name
        yield f"{'rank':>4} {'trial':>7} {named:>9} {'parameters':>11} {'mult-adds':>13} {'seconds':>8}  genotype"
        for rank, trial in enumerate(self.top, start=1):
            yield (
                f"{rank:>4} {trial.id:>7} {100 * trial.fitness:>7.2f} % {_number(trial.parameters):>11} "
                f"{_number(trial.mult_adds):>13} {trial.seconds or 0:>8.1f}  {_printable(trial.genotype)}"
            )
        yield ""
        assert self.shown is not None, "some trial has succeeded"
        best, of = "best " if self.shown == self.top[0] else "", f", of trial {self.shown.id}"
        if widths := _widths(self.shown.cell):
            yield f"the {best}widths of {_printable(widths.network)}{of}:"
        elif _pyramid(self.shown.cell):
            yield f"the {best}pyramid{of} (P3 to P7 are its inputs):"
        elif _chain(self.shown.cell):
            yield f"the {best}chain of blocks{of}:"
        else:
            yield f"the {best}cell{of}{' (0 is h_i, 1 is h_i-1)' if _pair(self.shown.cell) else ''}:"
        yield from _describe(self.shown.cell, self.metrics)
        yield ""
        if self.front:
            yield from self.front.lines()
            yield ""
        yield f"every trial: {RunFolder(self.path).history}"
        file = weights_file(self.path, self.shown.id)
        if file.exists():
            yield f"{'the weights of the best' if best else 'its weights'}: {file}"


def summarise(
    path: Path, top: int, *, front: bool = False, costs: Sequence[str] = (), trial: int | None = None
) -> Summary:
    """Read a run, finished or live, without getting in the way of whoever writes it.

    The front of a search for one is always read, that of others if ``front``, or ``costs`` are named. ``costs`` are
    metrics, the smaller the better; by default those of the strategy, where it has any, else mult-adds. The trial with
    the id ``trial`` is described, by default the best.

    Raises:
        RunFolderError: if the folder holds no run, or what it says of its best trials is of the wrong kind.
        UsageError: if no trial has the costs that were asked for, or none with that id has succeeded.
    """
    from evo_nas.storage.history import History

    folder = RunFolder.existing(path)
    is_asked, measure = front or bool(costs), folder.measure()
    settings = _read_settings(folder)
    is_pareto, own = _objective(settings.get("strategy", {}))
    is_tabular = settings.get("run", {}).get("evaluator") == "tabular"
    names = tuple(costs) or own
    with History.read(folder.history, checked=folder.holder() is None) as history:
        counts = history.outcomes(), history.seconds(), history.count_early_stops(), history.count_epochs()
        best = history.top(top)
        shown = next(iter(best), None) if trial is None else history.trial(trial)
        summary = Summary(path, best, *counts, measure=measure, shown=shown, is_tabular=is_tabular)
        if shown is not None:
            summary = replace(summary, metrics=history.metrics(shown.id))
        if is_asked or is_pareto:
            summary = replace(summary, front=Front(names, history.front(names), measure))
        if is_asked and summary.top and summary.front and not summary.front.trials:
            has = ", ".join(map(shorten, history.metrics(summary.top[0].id))) or "none"
            raise UsageError(
                f"no trial of {path} has {' and '.join(map(shorten, names))} to weigh {measure.name} against; name "
                f"another metric with --costs: {has}"
            )
    for one in (*best, *filter(None, [shown])):  # SQLite lets any column hold anything
        if not (
            isinstance(one.genotype, str)
            and all(value is None or isinstance(value, int) for value in (one.parameters, one.mult_adds))
            and isinstance(one.fitness, float)
            and (one.seconds is None or isinstance(one.seconds, float))
            and isinstance(one.cell, dict)
        ):
            raise RunFolderError(f"trial {one.id} of {path} is damaged: what stands in its row is of another kind")
    return summary


def _read_settings(folder: RunFolder) -> Mapping[str, Any]:
    """Return the tables of ``run.toml``; none if it cannot be read, for all else that is shown is in the history."""
    try:
        return read_toml(folder.config)
    except UsageError:
        return {}


def _objective(options: Mapping[str, Any]) -> tuple[bool, tuple[str, ...]]:
    """Return whether a strategy of these options searches for a front, and what it weighs the fitness against."""
    costs = options.get("costs")
    if not (isinstance(costs, list) and 0 < len(costs) <= _MOST_COSTS and all(isinstance(name, str) for name in costs)):
        costs = DEFAULT_COSTS
    return options.get("objective") == "pareto", tuple(dict.fromkeys(costs))


def _describe(cell: Mapping[str, Any], metrics: Mapping[str, float]) -> Iterator[str]:
    """Write what a space describes: a pair of cells side by side, a table, or anything else by its entries."""
    pair, widths, graph = _pair(cell), _widths(cell), _pyramid(cell) or _chain(cell)
    if graph is not None:
        yield from (f"  {line}" for line in graph.lines())
        return
    if widths is not None:
        yield from (f"  {line}" for line in widths.lines(metrics))
        return
    if pair is None:
        yield from (f"  {_printable(name)}: {_printable(str(value))}" for name, value in cell.items())
        return
    columns = [[name, *str(c).splitlines()] for name, c in (("normal", pair.normal), ("reduction", pair.reduction))]
    width = max(map(len, columns[0])) + 4
    yield from (f"  {left:<{width}}{right}".rstrip() for left, right in zip_longest(*columns, fillvalue=""))


def _pair(cell: Mapping[str, Any]) -> CellPair | None:
    try:
        return CellPair.from_json(cell)
    except GenotypeError:
        return None


def _widths(cell: Mapping[str, Any]) -> Widths | None:
    try:
        return Widths.from_json(cell)
    except GenotypeError:
        return None


def _pyramid(cell: Mapping[str, Any]) -> Pyramid | None:
    try:
        return Pyramid.from_json(cell)
    except GenotypeError:
        return None


def _chain(cell: Mapping[str, Any]) -> Chain | None:
    try:
        return Chain.from_json(cell)
    except GenotypeError:
        return None


def _printable(text: str) -> str:
    """Return a text of a history to the terminal: one line, and nothing that it would obey."""
    return shorten(text, 10_000)


def _amount(value: float) -> str:
    """Write a cost: a count in full, anything else to four digits."""
    return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
