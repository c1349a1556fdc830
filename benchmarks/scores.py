"""What zero-cost scores are worth: their rank correlation with the fitness, beside that of the size of the network.

Takes finished runs whose trainings were alike and had scores: run folders or patterns of them. A random search covers
the space; a network that was trained several times counts once, with the means of fitness and scores.

    python -m evo_nas run --strategy random --trials 100 --set evaluator.scores=synflow,naswot --run-dir runs/scores-0
    python -m benchmarks.scores 'runs/scores-*'

Parameters and mult-adds come first: they are free, and a score that ranks no better than they do says nothing new.
``tau`` is Kendall's tau-b, ``Spearman`` his rank correlation, both of the measure with the fitness, as they are: the
more, the better. ``gain`` is tau less that of the parameters. In brackets stand 95 % intervals of the bootstrap over
networks, the same draws for all measures, so that the gain is paired. Networks that lack a score, because it was no
finite number, are left out of all rows, and counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.curves import Floats, bootstrap_counts
from analysis.frames import HistoryError, find_runs, load_history, load_metrics
from benchmarks.fidelity_table import kendall_tau, percentile_interval, spearman_correlation
from evo_nas.errors import EvoNasError
from evo_nas.evaluators.scores.catalogue import SCORES

SIZES: Final = ("parameters", "mult_adds")
"""What any score has to beat; the first is the baseline of the gain."""
FEWEST: Final = 3
_ASIDE: Final = ("scores", "latency")
"""Settings in which trainings may differ and be alike."""


def trainings(paths: Sequence[str]) -> pd.DataFrame:
    """Read what was trained with success: a row per training, with key, fitness, sizes and metrics.

    Raises:
        EvoNasError: if trainings of the runs were not alike, or might be stopped early.
    """
    settings = []
    for run in find_runs(paths):
        table = run.table("evaluator")
        if table.get("early_stopping", "none") != "none":
            raise EvoNasError(
                f"{run.name} stops trainings early, which changes their fitness: train without --early-stopping"
            )
        settings.append({name: value for name, value in table.items() if name not in _ASIDE})
        if settings[-1] != settings[0]:
            names = sorted(settings[-1].keys() | settings[0].keys())
            different = [name for name in names if settings[-1].get(name) != settings[0].get(name)]
            raise EvoNasError(f"{run.name} trains otherwise than the first run, in {', '.join(different)}")
    trials = load_history(paths, columns=["run", "id", "key", "outcome", "fitness", *SIZES])
    trials = trials[trials["outcome"] == "ok"].astype({"run": "string", **dict.fromkeys(SIZES, "float64")})
    metrics = load_metrics(paths).astype({"run": "string"})
    wide = metrics.pivot(index=["run", "trial"], columns="name", values="value")
    return trials.join(wide, on=["run", "id"])


def measures(frame: pd.DataFrame) -> list[str]:
    """Name what is held against the fitness.

    Raises:
        EvoNasError: if there is no score.
    """
    scores = [name for name in SCORES if name in frame]
    if not scores:
        raise EvoNasError("no trial has a score: train with --set evaluator.scores=" + ",".join(SCORES))
    return [*SIZES, *scores]


def correlations(networks: pd.DataFrame, names: Sequence[str], resamples: int) -> pd.DataFrame:
    """Correlate each measure with the fitness: one row each, with ``tau``, ``spearman``, ``gain`` and their bounds.

    Raises:
        EvoNasError: if there are too few networks to rank.
    """
    if len(networks) < FEWEST:
        raise EvoNasError(f"only {len(networks)} networks have fitness and scores, and {FEWEST} are the fewest to rank")
    counts = bootstrap_counts(len(networks), resamples, np.random.default_rng(0))
    fitness = networks["fitness"].to_numpy(np.float64)
    baseline = kendall_tau(networks[SIZES[0]].to_numpy(np.float64), fitness, counts)
    rows = []
    for name in names:
        measure = networks[name].to_numpy(np.float64)
        tau = kendall_tau(measure, fitness, counts)
        columns: dict[str, Floats] = {
            "tau": tau,
            "spearman": spearman_correlation(measure, fitness, counts),
            "gain": tau - baseline,
        }
        row: dict[str, object] = {"measure": name}
        for column, values in columns.items():
            low, high = percentile_interval(values)
            row |= {column: values[0], f"{column}_low": low, f"{column}_high": high}
        rows.append(row)
    return pd.DataFrame(rows).set_index("measure")


def report(paths: Sequence[str], resamples: int) -> Iterator[str]:
    """Write the table, and what it was taken over."""
    frame = trainings(paths)
    names = measures(frame)
    whole = frame.dropna(subset=["fitness", *names])
    networks = whole.groupby("key")[["fitness", *names]].mean()
    table = correlations(networks, names, resamples)
    yield "| measure | tau | Spearman | gain |"
    yield "| --- | --- | --- | --- |"
    for name, row in zip(names, table.to_dict("records"), strict=True):
        columns = ("tau", "spearman") if name == SIZES[0] else ("tau", "spearman", "gain")
        cells = [_ranged(row, column) for column in columns]
        yield f"| {' | '.join([name.replace('_', '-'), *cells])} |{' |' * (3 - len(columns))}"
    lacking = len(frame) - len(whole)
    yield f"n = {len(networks)} networks, {len(whole)} trainings; {lacking} trainings left out that lack a score"
    seconds = whole[["scores_seconds", "train_seconds"]].mean()
    yield f"a trial: {seconds['scores_seconds']:.2f} s for its scores, {seconds['train_seconds']:.1f} s of training"


def _ranged(row: dict[Any, Any], name: str) -> str:
    value, low, high = (row[name + end] for end in ("", "_low", "_high"))
    return "" if np.isnan(value) else f"{value:.2f} ({low:.2f} to {high:.2f})"


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and print the table; give the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scores", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folder, or a pattern of them")
    parser.add_argument("--resamples", type=int, default=5000, help="of the bootstrap (default: 5000)")
    given = parser.parse_args(argv)
    try:
        for line in report(given.runs, given.resamples):
            print(line, flush=True)
    except (EvoNasError, HistoryError) as error:
        print(f"scores: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
