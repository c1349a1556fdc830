"""A benchmark table in place of trainings: each genotype's results are looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from evo_nas.errors import DataError
from evo_nas.evaluators.base import Evaluator, Job, Placement
from evo_nas.evaluators.tabular.published import (
    BENCHMARKS,
    NOISES,
    PublishedTable,
    find_benchmark,
    read_benchmark,
)
from evo_nas.evaluators.tabular.table import UNITS, BenchmarkTable, TableFile, read_table
from evo_nas.system.cache import expand_home
from genotypes.genotype import Genotype, shorten
from genotypes.individual import Evaluation, Outcome
from genotypes.measure import ACCURACY, Measure
from genotypes.space import SearchSpace

_OF_A_FILE: Final = ("table", "column", "test_column", "key")
"""Options that say how a file is read: a published benchmark needs none of them."""


@dataclass
class TabularEvaluator(Evaluator):
    """Look each candidate up in a table of results, as benchmarks such as NAS-Bench-201 are.

    ``table`` is a CSV or parquet file, kept as an absolute path, because a run may be resumed from another folder.
    ``key`` is its column of genotypes, written in whatever form the space reads; by default the first column.
    ``column`` becomes the fitness, ``test_column``, if any, the test fitness, which no search ever sees; both are in
    ``table_unit``, ``percent`` or ``fraction``. ``partial`` allows that networks of the space have no row; one
    without a row ends its trial as invalid.

    ``benchmark`` is a published one instead, which comes with a package and needs none of these: a name of
    :data:`evo_nas.evaluators.tabular.published.BENCHMARKS`. It has up to four seeds per network. The fitness is
    their mean, or with ``noise=seeds`` the result of one, drawn per trial; then the mean is the test fitness.

    Raises:
        ValueError: if the unit or the noise is unknown, or a benchmark is named together with a file.
    """

    name: ClassVar[str] = "tabular"
    is_harmless: ClassVar[bool] = True
    network_metrics: ClassVar[tuple[str, ...]] = ("parameters", "mult_adds", "latency")

    table: Path | None = None
    column: str | None = None
    test_column: str | None = None
    table_unit: str = "fraction"
    key: str | None = None
    partial: bool = False
    benchmark: str | None = None
    noise: str = "none"

    def __post_init__(self) -> None:
        if self.table_unit not in UNITS:
            raise ValueError(f"table_unit must be {' or '.join(UNITS)}, not {shorten(self.table_unit)!r}")
        if self.noise not in NOISES:
            raise ValueError(f"noise must be {' or '.join(NOISES)}, not {shorten(self.noise)!r}")
        if self.benchmark is not None and (given := [name for name in _OF_A_FILE if getattr(self, name) is not None]):
            flag = given[0].replace("_", "-")
            raise ValueError(f"a benchmark brings its own table: leave out either --benchmark or --{flag}")
        if self.benchmark is None and self.noise != "none":
            raise ValueError(f"noise={self.noise} needs several seeds per network, as a --benchmark has them")
        if self.table is not None:
            self.table = expand_home(self.table).absolute()
        self._held: BenchmarkTable | PublishedTable | None = None

    @property
    def optimum(self) -> float | None:
        """The best of the column, a fraction in [0, 1]; ``None`` before ``prepare``."""
        return self._held.best if self._held else None

    @property
    def measure(self) -> Measure:
        """Meaning of the fitness: the validation accuracy, unless a published benchmark holds losses."""
        found = BENCHMARKS.get(self.benchmark or "")
        return found.family.measure if found else ACCURACY

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those of a published benchmark; of a file, fitness and test fitness alone are looked up."""
        found = BENCHMARKS.get(self.benchmark or "")
        return tuple(column.metric for column in found.family.columns) if found else ()

    def bind(self, space: SearchSpace, placement: Placement | None = None) -> None:
        """Take the space whose genotypes the table holds.

        Raises:
            ValueError: if no table or no column is named, or the published benchmark is not installed, or one of
                another space.
        """
        if self.benchmark is not None:
            find_benchmark(self.benchmark, space)
        elif self.table is None or self.column is None:
            raise ValueError(
                "the tabular evaluator needs a table and its column: --table FILE --column NAME, or a published one: "
                f"--benchmark {next(iter(BENCHMARKS))}"
            )
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
        """Return the SHA-256 of all results, in the order of their keys; of a published table, that of its file."""
        name = self.benchmark or (self.table.name if self.table is not None else "")
        return {name: self._results.digest}

    def expected_seconds(self, genotypes: Sequence[Genotype]) -> float:
        """Return 0: a look-up takes no time to speak of."""
        return 0.0

    def evaluate(self, job: Job) -> Evaluation:
        """Return what the table says of the candidate; without a row it is invalid."""
        found = self._results.look_up(self.space.key(job.genotype), job.rng)
        if found is None:
            error = f"{self._spell_genotype(job.genotype)} has no row in the table {self.table}"
            return Evaluation.failed(Outcome.INVALID, error)
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Leave the table behind: a worker process reads it itself, once for all runs that it serves."""
        return self.__dict__ | {"_held": None}

    @property
    def _results(self) -> BenchmarkTable | PublishedTable:
        """The table, from this process's memory where it has been read before."""
        if self._held is None and self.benchmark is not None:
            self._held = read_benchmark(self.benchmark, self.space, self.noise)
        if self._held is None:
            assert self.table is not None, "bind() refuses that"
            assert self.column is not None, "bind() refuses that"
            source = TableFile.of(self.table, self.key, self.column, self.test_column, self.table_unit, self.space)
            self._held = read_table(source)
        return self._held

    def _spell_genotype(self, genotype: Genotype) -> str:
        """Write a genotype as text, with the key by which the table would know it."""
        return f"{shorten(str(genotype), 300)} ({shorten(self.space.key(genotype), 300)})"
