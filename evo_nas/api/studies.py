"""Strategies compared from Python, and single genotypes evaluated: the twins of ``study``, and of one trial."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from evo_nas.commands.study import parse_strategies
from evo_nas.errors import StudyFailed, UsageError
from evo_nas.evaluators.base import Job, evaluate_safely
from evo_nas.run.parts import build, load_config, prepare
from evo_nas.run.search import lay_groundwork
from evo_nas.studies import RunResult, list_open_tasks, open_study, plan_study, run_all
from genotypes.genotype import Genotype, GenotypeError
from genotypes.individual import Evaluation

if TYPE_CHECKING:
    from analysis.comparison.compare import Comparison


def study(
    strategies: str | Sequence[str],
    *,
    seeds: int = 10,
    first_seed: int = 0,
    jobs: int = 1,
    study_dir: str | os.PathLike[str] | None = None,
    settings: Sequence[str] = (),
    hear: Callable[[RunResult, int], None] = lambda ended, left: None,
    **flags: Any,
) -> Comparison:
    """Return strategies compared over many seeds, as :func:`evo_nas.compare` does; the same call again goes on.

    ``strategies`` are spelled as on the command line, as in ``["random", "evolution(population=20,sample=5)"]``. Each
    has a run per seed in a folder below ``study_dir``, ``jobs`` at a time; the curves are drawn there too. ``hear`` is
    called as each run ends, with how many are left. ``settings`` are what ``--set`` takes, and ``flags`` the other
    flags of ``python -m evo_nas study``, as in ``study("random,evolution", evaluator="toy", trials=100)``.

    Raises:
        UsageError: if a name or a flag is unknown, a value impossible, or another study is in the folder.
        StudyFailed: if runs failed; the same call resumes them.
        EvoNasError: for whatever else ends a study.
    """
    from analysis.plots.compare_report import compare_study

    _refuse(flags, "study", ("seed", "strategy"), "each run has its own; give strategies, seeds and first_seed")
    if seeds < 1 or first_seed < 0 or jobs < 1:
        given = f"seeds={seeds}, jobs={jobs}, first_seed={first_seed}"
        raise UsageError(f"seeds and jobs must be at least 1, and first_seed at least 0, not {given}")
    listed = parse_strategies(strategies if isinstance(strategies, str) else ",".join(strategies))
    planned = plan_study(listed, flags, seeds=range(first_seed, first_seed + seeds), settings=settings)
    path = planned.default_folder if study_dir is None else Path(study_dir)
    with open_study(planned, path) as opened:
        ended = run_all(list_open_tasks(opened, path), jobs, hear)
        if failed := [run for run in ended if run.error is not None]:
            first = failed[0]
            raise StudyFailed(
                f"{len(failed)} of {len(opened.labels) * seeds} runs failed; the same call resumes them: "
                f"{first.label} seed {first.seed}: {first.error}",
                exit_code=max(run.exit_code for run in failed),
            )
        return compare_study(path, strategies=opened.labels, seeds=opened.seeds, trials=opened.config.run.trials)


def evaluate(genotype: str | Genotype, *, seed: int = 0, settings: Sequence[str] = (), **flags: Any) -> Evaluation:
    """Return what one network is worth, as a trial of a search would: fitness, metrics, learning curve, seconds.

    ``genotype`` is one, or its text form, as in ``run.best.genotype``; it names its space. ``settings`` are what
    ``--set`` takes, and ``flags`` those of ``python -m evo_nas run`` for evaluator and hardware, as in
    ``evaluate(run.best.genotype, dataset="digits", seed=1)``. Another seed is another training. Nothing is written. An
    evaluation that fails has no fitness, but an ``outcome`` and an ``error``.

    Raises:
        UsageError: if a name or a flag is unknown, a value impossible, or the genotype is none of its space.
        DataError: if the evaluator's data is missing or damaged.
    """
    try:
        parsed = Genotype.parse(genotype) if isinstance(genotype, str) else genotype
    except GenotypeError as error:
        raise UsageError(str(error)) from error
    _refuse(flags, "evaluate", ("space", "strategy", "trials"), "it evaluates one genotype, which names its space")
    own = {"strategy": "random", "space": parsed.space, "seed": str(seed), "keep_weights": "0"}
    config = load_config({**flags, **own}, settings=settings)
    parts = build(config)
    try:
        parts.space.check(parsed)
    except GenotypeError as error:
        raise UsageError(str(error)) from error
    with TemporaryDirectory(prefix="evo_nas-") as folder:
        prepare(parts, Path(folder))
        lay_groundwork(parts.evaluator, [])
        return evaluate_safely(parts.evaluator, Job(1, parsed, seed))


def _refuse(flags: Mapping[str, Any], function: str, names: Sequence[str], reason: str) -> None:
    """Refuse flags that are not for this function.

    Raises:
        UsageError: naming the first.
    """
    if given := [name for name in names if name in flags]:
        raise UsageError(f"{function} takes no {given[0]!r}: {reason}")
