"""A benchmark table in place of trainings: each genotype's results are looked up."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from evo_nas.errors import DataError
from evo_nas.evaluators.base import Evaluator, Job, Placement
from evo_nas.evaluators.tabular.table import UNITS, BenchmarkTable, TableFile, read_table
from evo_nas.system.cache import expand_home
from genotypes.genotype import Genotype, shorten
from genotypes.individual import Evaluation, Outcome
from genotypes.space import SearchSpace


@dataclass
class TabularEvaluator(Evaluator):
    """Look each candidate up in a table of results, as benchmarks such as NAS-Bench-201 are.

    ``table`` is a CSV or parquet file, kept as an absolute path, because a run may be resumed from another folder.
    ``key`` is its column of genotypes, written in whatever form the space reads; by default the first column.
    ``column`` becomes the fitness, ``test_column``, if any, the test fitness, which no search ever sees; both are in
    ``table_unit``, ``percent`` or ``fraction``. ``partial`` allows that networks of the space have no row; one
    without a row ends its trial as invalid.

    Raises:
        ValueError: if the unit is unknown.
    """

    name: ClassVar[str] = "tabular"
    is_harmless: ClassVar[bool] = True

    table: Path | None = None
    column: str | None = None
    test_column: str | None = None
    table_unit: str = "fraction"
    key: str | None = None
    partial: bool = False

    def __post_init__(self) -> None:
        if self.table_unit not in UNITS:
            raise ValueError(f"table_unit must be {' or '.join(UNITS)}, not {shorten(self.table_unit)!r}")
        if self.table is not None:
            self.table = expand_home(self.table).absolute()
        self._held: BenchmarkTable | None = None

    @property
    def optimum(self) -> float | None:
        """The best of the column, a fraction in [0, 1]; ``None`` before ``prepare``."""
        return self._held.best if self._held else None

    @property
    def metrics(self) -> tuple[str, ...]:
        """None: what is looked up is fitness and test fitness."""
        return ()

    def bind(self, space: SearchSpace, placement: Placement | None = None) -> None:
        """Take the space whose genotypes the table holds.

        Raises:
            ValueError: if no table or no column is named.
        """
        if self.table is None or self.column is None:
            raise ValueError("the tabular evaluator needs a table and its column: --table FILE --column NAME")
        super().bind(space, placement)
        self._held = None

    def prepare(self, directory: Path) -> None:
        """Read and check the table, unless this process has read it before.

        Raises:
            DataError: if the table is not there or damaged, or networks of the space are missing in it.
            UsageError: if it has no such column.
        """
        super().prepare(directory)
        self._held = None  # the file may have changed
        number, first = (0, None) if self.partial else self._results.missing
        if first is not None:
            raise DataError(
                f"the table {self.table} has no row for {number:,} network{'s' * (number != 1)} of the space "
                f"{self.space.spelling}, the first is {self._spell_genotype(first)}; add what is missing, or allow it "
                "with --set evaluator.partial=true"
            )

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of all results, in the order of their keys."""
        assert self.table is not None, "bind() refuses that"
        return {self.table.name: hashlib.sha256(repr(sorted(self._results.results.items())).encode()).hexdigest()}

    def expected_seconds(self, genotypes: Sequence[Genotype]) -> float:
        """Return 0: a look-up takes no time to speak of."""
        return 0.0

    def evaluate(self, job: Job) -> Evaluation:
        """Return what the table says of the candidate; without a row it is invalid."""
        found = self._results.results.get(self.space.key(job.genotype))
        if found is None:
            error = f"{self._spell_genotype(job.genotype)} has no row in the table {self.table}"
            return Evaluation.failed(Outcome.INVALID, error)
        fitness, test = found
        return Evaluation(Outcome.OK, fitness=fitness, test_fitness=test)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the table behind: a worker process reads it itself, once for all runs that it serves."""
        return self.__dict__ | {"_held": None}

    @property
    def _results(self) -> BenchmarkTable:
        """The table, from this process's memory where it has been read before."""
        if self._held is None:
            assert self.table is not None, "bind() refuses that"
            assert self.column is not None, "bind() refuses that"
            source = TableFile.of(self.table, self.key, self.column, self.test_column, self.table_unit, self.space)
            self._held = read_table(source)
        return self._held

    def _spell_genotype(self, genotype: Genotype) -> str:
        """Write a genotype as text, with the key by which the table would know it."""
        return f"{shorten(str(genotype), 300)} ({shorten(self.space.key(genotype), 300)})"
