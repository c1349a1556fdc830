"""The worth of a ranking: how well short trainings rank genotypes as a long one does, and at what cost.

A *setting* is a way to train, such as a preset of the proxy trainer with a number changed. Every setting trains the
same genotypes, each under several seeds; one of them, the reference, is the long training that counts as the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Final, TypeAlias

import numpy as np
import pandas as pd

from analysis.curves import Floats, bootstrap_counts

FIDELITY_TABLE: Final[dict[str, str]] = {
    "setting": "how the genotypes were trained",
    "genotypes": "how many the numbers are taken over: those that were trained with success everywhere",
    "seeds": "trainings of each genotype",
    "accuracy": "validation accuracy, mean over all trainings, fraction in [0, 1]",
    "cpu_seconds": "processor time of a training, mean, seconds",
    "tau": (
        "Kendall's tau-b of one training a genotype with the reference's mean over its seeds, mean over the seeds; "
        "the reference itself: of one of its seeds with the mean of its others"
    ),
    "spearman": "Spearman's rank correlation, taken in the same way",
    "mean_tau": "tau-b of the means over the seeds with those of the reference; missing for the reference",
    "mean_spearman": "Spearman's rank correlation of the same means; missing for the reference",
    "seeds_tau": "tau-b of one seed with another of the same setting, mean over the pairs; missing for one seed",
    "noise_tau": "the tau to be expected if noise alone kept it from 1; missing for one seed",
    "gain": "tau minus that of the baseline",
    "tau_per_cpu_second": "tau divided by cpu_seconds",
}
"""Column of :func:`fidelity_table` -> its meaning and unit.

Beside ``tau``, ``spearman``, ``mean_tau``, ``mean_spearman``, ``seeds_tau`` and ``gain`` stand ``<name>_low`` and
``<name>_high``: the 95 % interval of the bootstrap over genotypes.
"""

_INTERVALS: Final = ("tau", "spearman", "mean_tau", "mean_spearman", "seeds_tau", "gain")
_FEWEST: Final = 3  # genotypes: of two there is one ranking, or its opposite

_Correlation: TypeAlias = Callable[[Floats, Floats, Floats], Floats]


def fidelity_table(
    frame: pd.DataFrame, *, reference: str, baseline: str | None = None, resamples: int = 5000, seed: int = 0
) -> pd.DataFrame:
    """Return the agreement of settings with the reference, a row per setting: :data:`FIDELITY_TABLE`.

    ``frame`` has a row per training: setting, genotype, seed, accuracy (a fraction, missing for one that failed) and
    cpu_seconds. ``baseline`` is the setting that others are compared with, by default the first that is not the
    reference. The bootstrap draws genotypes with replacement, the same ones for all settings at once, so that
    differences of settings are paired; ``seed`` makes it repeat.

    Raises:
        ValueError: if there is no such setting, or fewer than 3 genotypes were trained with success everywhere.
    """
    settings = [str(name) for name in frame["setting"].unique()]
    if baseline is None:
        baseline = next((name for name in settings if name != reference), reference)
    for name in (reference, baseline):
        if name not in settings:
            raise ValueError(f"nothing was trained with the setting {name!r}; the settings are: {', '.join(settings)}")
    wide = frame.pivot(index="genotype", columns=["setting", "seed"], values="accuracy").dropna()
    if len(wide) < _FEWEST:
        raise ValueError(
            f"only {len(wide)} genotypes were trained with success everywhere, and {_FEWEST} are the fewest to rank"
        )
    accuracies = {name: wide[name].to_numpy(np.float64).T for name in settings}
    counts = bootstrap_counts(len(wide), resamples, np.random.default_rng(seed))
    columns = {name: _correlations(accuracies, name, reference, counts) for name in settings}
    seconds = frame[frame["genotype"].isin(wide.index)].groupby("setting")["cpu_seconds"].mean()
    rows = []
    for name in settings:
        column = columns[name] | {"gain": columns[name]["tau"] - columns[baseline]["tau"]}
        row: dict[str, object] = {
            "setting": name,
            "genotypes": len(wide),
            "seeds": len(accuracies[name]),
            "accuracy": accuracies[name].mean(),
            "cpu_seconds": seconds[name],
            "noise_tau": _noise_tau(
                float(column["seeds_tau"][0]),
                float(columns[reference]["seeds_tau"][0]),
                len(accuracies[reference]) - (name == reference),
            ),
            "tau_per_cpu_second": column["tau"][0] / seconds[name],
        }
        for statistic in _INTERVALS:
            low, high = percentile_interval(column[statistic])
            row |= {statistic: column[statistic][0], f"{statistic}_low": low, f"{statistic}_high": high}
        rows.append(row)
    names = [
        name
        for column in FIDELITY_TABLE
        for name in ([column, f"{column}_low", f"{column}_high"] if column in _INTERVALS else [column])
    ]
    return pd.DataFrame(rows, columns=names)


def kendall_tau(a: Floats, b: Floats, counts: Floats) -> Floats:
    """Return Kendall's tau-b of two measures of n individuals, in each of r samples of them: shape (r,).

    ``a`` and ``b`` have shape (n,); ``counts``, of shape (r, n), says how often each individual is in a sample. An
    individual that is drawn twice is tied with itself in both measures, which tau-b leaves out of account. NaN where a
    measure is constant.
    """
    first, second = _signs(a), _signs(b)

    def pairs(of: Floats) -> Floats:
        return np.asarray((counts * (counts @ of)).sum(axis=1))

    with np.errstate(invalid="ignore"):
        return np.asarray(pairs(first * second) / np.sqrt(pairs(first**2) * pairs(second**2)))


def spearman_correlation(a: Floats, b: Floats, counts: Floats) -> Floats:
    """Return Spearman's rank correlation; arguments and shapes are those of :func:`kendall_tau`."""
    # How many are below minus how many are above is twice the mid-rank, less its mean over the sample.
    first, second = counts @ _signs(a).T, counts @ _signs(b).T
    with np.errstate(invalid="ignore"):
        spread = np.sqrt((counts * first**2).sum(axis=1) * (counts * second**2).sum(axis=1))
        return np.asarray((counts * first * second).sum(axis=1) / spread)


def percentile_interval(values: Floats) -> tuple[float, float]:
    """Return the 95 % percentile interval of all but the first, passing over samples that had no correlation."""
    drawn = values[1:][~np.isnan(values[1:])]
    if not drawn.size:
        return math.nan, math.nan
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _signs(values: Floats) -> Floats:
    """Compare all pairs: 1 where the first is larger, -1 where it is smaller, 0 for ties; shape (n, n)."""
    return np.sign(values[:, None] - values[None, :])


def _correlations(accuracies: Mapping[str, Floats], name: str, reference: str, counts: Floats) -> dict[str, Floats]:
    """Correlate one setting with the reference, and its seeds with each other, in every sample.

    An accuracy has shape (seeds, genotypes); the results have shape (samples,).
    """
    own, truth = accuracies[name], accuracies[reference]
    missing = np.full(len(counts), math.nan)

    def one_training(correlation: _Correlation) -> Floats:
        if name != reference:
            pairs = [(one, truth.mean(axis=0)) for one in own]
        else:  # never with itself
            pairs = [(one, np.delete(own, i, axis=0).mean(axis=0)) for i, one in enumerate(own) if len(own) > 1]
        return _mean([correlation(*pair, counts) for pair in pairs], missing)

    def means(correlation: _Correlation) -> Floats:
        return missing if name == reference else correlation(own.mean(axis=0), truth.mean(axis=0), counts)

    return {
        "tau": one_training(kendall_tau),
        "spearman": one_training(spearman_correlation),
        "mean_tau": means(kendall_tau),
        "mean_spearman": means(spearman_correlation),
        "seeds_tau": _mean([kendall_tau(a, b, counts) for a, b in combinations(own, 2)], missing),
    }


def _mean(values: list[Floats], missing: Floats) -> Floats:
    return np.mean(values, axis=0) if values else missing


def _noise_tau(own: float, reference: float, seeds: int) -> float:
    """Return the tau to be expected of one training with the mean of ``seeds`` others if both rank alike but for noise.

    ``own`` and ``reference`` are the taus between seeds. They become correlations by Greiner's relation, which holds
    for normal distributions, r = sin(pi tau / 2); the reliability of a mean is that of Spearman and Brown (1910), and
    the attenuation that of Spearman (1904), the root of the product of both reliabilities.
    """
    if math.isnan(own) or math.isnan(reference):
        return math.nan
    one, other = (max(0.0, math.sin(math.pi / 2 * tau)) for tau in (own, reference))
    of_mean = seeds * other / (1 + (seeds - 1) * other)
    return 2 / math.pi * math.asin(min(1.0, math.sqrt(one * of_mean)))
