"""What ``show`` says of a run: its best cells and its counts, as data and as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from evo_nas.errors import RunFolderError
from evo_nas.evaluators.base import weights_file
from evo_nas.folder import RunFolder
from evo_nas.history import History, TopTrial
from evo_nas.progress import duration
from genotypes.cell import CellPair
from genotypes.genotype import GenotypeError, shorten


@dataclass(frozen=True)
class Summary:
    """A run in short: the best trials of different networks, counts by outcome, seconds of all evaluations."""

    path: Path
    top: list[TopTrial]
    outcomes: dict[str, int]
    seconds: float

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

    def to_json(self) -> dict[str, Any]:
        """Give the form of ``show --json``; ``best`` is null while no trial has succeeded."""
        rows = [{k: v for k, v in asdict(trial).items() if k != "cell"} for trial in self.top]
        return {
            "run": str(self.path),
            "best": rows[0] if rows else None,
            "trials": self.counts,
            "seconds": self.seconds,
            "top": rows,
        }

    def lines(self) -> Iterator[str]:
        """Give the text of ``show``: a line of counts, a table of the best, and the best cell."""
        counts = ", ".join(f"{number} {name}" for name, number in self.counts.items() if number or name == "ok")
        yield f"{self.path}: {counts}; {duration(self.seconds)} of evaluation"
        if not self.top:
            yield "no trial has succeeded yet"
            return
        yield ""
        yield f"{'rank':>4} {'trial':>7} {'accuracy':>9} {'parameters':>11} {'mult-adds':>13} {'seconds':>8}  genotype"
        for rank, trial in enumerate(self.top, start=1):
            yield (
                f"{rank:>4} {trial.id:>7} {100 * trial.fitness:>7.2f} % {_number(trial.parameters):>11} "
                f"{_number(trial.mult_adds):>13} {trial.seconds or 0:>8.1f}  {_printable(trial.genotype)}"
            )
        yield ""
        states = " (0 is h_i, 1 is h_i-1)" if self.best_pair else ""
        yield f"the best cell, of trial {self.top[0].id}{states}:"
        yield from cell_lines(self.top[0].cell)
        yield ""
        yield f"every trial: {RunFolder(self.path).history}"
        file = weights_file(self.path, self.top[0].id)
        if file.exists():
            yield f"the weights of the best: {file}"


def summarise(path: Path, top: int) -> Summary:
    """Read a run, finished or live, without getting in the way of whoever writes it.

    Raises:
        RunFolderError: if the folder holds no run, or what it says of its best trials is of the wrong kind.
    """
    folder = RunFolder.existing(path)
    with History.read(folder.history, checked=folder.holder() is None) as history:
        summary = Summary(path, history.top(top), history.outcomes(), history.seconds())
    for trial in summary.top:  # SQLite lets any column hold anything
        if not (
            isinstance(trial.genotype, str)
            and all(value is None or isinstance(value, int) for value in (trial.parameters, trial.mult_adds))
            and isinstance(trial.fitness, float)
            and (trial.seconds is None or isinstance(trial.seconds, float))
            and isinstance(trial.cell, dict)
        ):
            raise RunFolderError(f"trial {trial.id} of {path} is damaged: what stands in its row is of another kind")
    return summary


def cell_lines(cell: Mapping[str, Any]) -> Iterator[str]:
    """Write a readable cell: a pair side by side, anything else one line an entry."""
    pair = _pair(cell)
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


def _printable(text: str) -> str:
    """Give a text of a history to the terminal: one line, and nothing that it would obey."""
    return shorten(text, 10_000)


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
