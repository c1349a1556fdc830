"""A leaderboard: the same strategies on many published tables, a study for each, and what their asks cost.

Below its folder lies a study per table; ``docs/leaderboard.md`` documents the rest. Numbers are read from there by
``analysis``, not here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from evo_nas.errors import UsageError
from evo_nas.evaluators.tabular.published import BENCHMARKS
from evo_nas.run.asking import measure_asks
from evo_nas.run.parts import build
from evo_nas.storage.study_record import file_name
from evo_nas.studies import RunResult, Study, list_open_tasks, open_study, plan_study, run_all
from evo_nas.system.atomic import make_folder, write_whole
from evo_nas.system.links import refuse_links
from evo_nas.system.text import read_text
from genotypes.plain import real

NOISE: Final = "+noise"
"""Ending of a table's name whose trials draw one seed each: a search sees noise, and the mean is the test fitness."""

TABLES: Final = (*BENCHMARKS, f"nasbench201/cifar10{NOISE}", f"fcnet/protein_structure{NOISE}")
"""Tables of the default leaderboard."""

STRATEGIES: Final = (
    "random",
    "evolution",
    "local",
    "guided",
    "rl",
    "optuna(sampler=tpe)",
    "optuna(sampler=cmaes)",
    "optuna(sampler=nsgaii)",
    "optuna(sampler=gp)@50",
    "nevergrad",
    "nevergrad(optimizer=PortfolioDiscreteOnePlusOne)",
    "hyperopt",
    "hyperopt(algorithm=anneal)",
)
"""Strategies of the default leaderboard; ``@N`` gives one that asks slowly a smaller budget of its own."""

COSTS: Final = "costs.json"
"""File of what an ask costs, in the leaderboard's folder: it is measured once."""


@dataclass(frozen=True)
class Competitor:
    """A strategy by name and options, and the number of its trials."""

    name: str
    options: Mapping[str, Any]
    trials: int


@dataclass(frozen=True)
class TablePlan:
    """A table's part of a leaderboard: its name and folder, and a study for each number of trials, ascending.

    ``optimum`` is the best possible fitness without noise, a fraction in [0, 1].
    """

    table: str
    path: Path
    studies: tuple[Study, ...]
    optimum: float

    @property
    def folders(self) -> dict[str, list[Path]]:
        """Label of a strategy -> its run folders, a seed each."""
        return {
            one.label: [self.path / f"{one.folder}-seed{seed}" for seed in study.seeds]
            for study in self.studies
            for one in study.entrants
        }

    @property
    def trials(self) -> dict[str, int]:
        """Label of a strategy -> its trials."""
        return {one.label: study.config.run.trials for study in self.studies for one in study.entrants}


def plan_tables(
    tables: Sequence[str],
    competitors: Sequence[Competitor],
    path: Path,
    *,
    seeds: range,
    flags: Mapping[str, Any],
) -> list[TablePlan]:
    """Plan the studies of a leaderboard, and check that all of them can be run; nothing is written.

    Raises:
        UsageError: if a table is unknown, a package is missing, or a strategy does not suit a space.
        DataError: if a table is missing or damaged.
    """
    for table in tables:
        if table.removesuffix(NOISE) not in BENCHMARKS:
            raise UsageError(f"--benchmarks: there is no table {table!r}; there are: {', '.join(TABLES)}")
    planned = {table: _plan_studies(table, competitors, seeds, flags) for table in tables}
    return [  # the tables are read last: that takes seconds each
        TablePlan(table, path / file_name(table), studies, _find_optimum(studies[0], path))
        for table, studies in planned.items()
    ]


def _plan_studies(
    table: str, competitors: Sequence[Competitor], seeds: range, flags: Mapping[str, Any]
) -> tuple[Study, ...]:
    """Plan the studies of a table, one for each number of trials, ascending, and check that they can be run."""
    name, noise = table.removesuffix(NOISE), "seeds" if table.endswith(NOISE) else "none"
    given = {**flags, "space": BENCHMARKS[name].family.space, "evaluator": "tabular", "benchmark": name}
    studies = []
    for trials in sorted({one.trials for one in competitors}):
        chosen = [(one.name, one.options) for one in competitors if one.trials == trials]
        settings = (f"evaluator.noise={noise}",)
        studies.append(plan_study(chosen, {**given, "trials": trials}, seeds=seeds, settings=settings, environ={}))
        for entrant in studies[-1].entrants:
            build(entrant.config)
    return tuple(studies)


def _find_optimum(study: Study, path: Path) -> float:
    """Return the best possible fitness of a table without noise."""
    evaluator = build(study.config).evaluator
    evaluator.noise = "none"  # type: ignore[attr-defined]  # the tabular evaluator has it
    evaluator.prepare(path)
    assert evaluator.optimum is not None, "a table knows its best"
    return evaluator.optimum


def run_table(plan: TablePlan, jobs: int, begin: Callable[[str, int, int], Callable[[RunResult, int], None]]) -> int:
    """Run or resume what is missing of a table's studies, and return how many runs failed.

    ``begin`` is called for each study with its title, its number of runs and how many are not finished; what it returns
    hears of each that ends.

    Raises:
        RunFolderError: as :func:`evo_nas.studies.open_study` does.
        EvoNasError: if a worker process dies.
    """
    failed = 0
    for study in plan.studies:
        with open_study(study, plan.path) as filled:
            tasks = list_open_tasks(filled, plan.path)
            title = f"{plan.table}, {filled.config.run.trials} trials"
            hear = begin(title, len(filled.labels) * len(filled.seeds), len(tasks))
            failed += sum(run.error is not None for run in run_all(tasks, jobs, hear))
    return failed


def measure_costs(plan: TablePlan, path: Path) -> dict[str, float]:
    """Return what an ask and its tell cost, in processor milliseconds, by the label of the strategy.

    It is the mean over the trials of one search of the table, in this process, on one thread; what is in ``costs.json``
    already is not measured again. Measured while nothing else runs here.
    """
    from threadpoolctl import threadpool_limits

    refuse_links(path, [COSTS])
    known = _read_costs(path / COSTS)
    for study in plan.studies:
        for entrant in study.entrants:
            if entrant.label not in known:
                parts = build(entrant.config)
                parts.evaluator.prepare(path)
                with threadpool_limits(1):
                    asks = measure_asks(parts.strategy, parts.space, parts.evaluator)
                    spent = list(islice(asks, study.config.run.trials))
                known[entrant.label] = sum(spent) / len(spent)
                make_folder(path)
                write_whole(path / COSTS, json.dumps(known, indent=2) + "\n")
    return {label: known[label] for label in plan.trials}


def _read_costs(file: Path) -> dict[str, float]:
    """Read what was measured before; nothing if there is nothing that can be read."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        return {str(label): real(cost) for label, cost in json.loads(read_text(file)).items()}
    return {}
