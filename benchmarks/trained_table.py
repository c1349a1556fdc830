"""A table of trainings as published benchmarks have it: a network a row, numbers only, added to by later runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.frames import load_curves, load_history
from evo_nas.errors import UsageError
from evo_nas.system.atomic import write_whole
from genotypes.genotype import shorten

_ARCHITECTURE = "architecture"
_TRAINING = re.compile(r"(?P<setting>.+) seed (?P<seed>\d+\.\d+) epoch (?P<epoch>\d+)")


def read_trainings(path: Path) -> pd.DataFrame:
    """Return the table that is there, an empty one if there is none.

    Raises:
        UsageError: if it cannot be read.
    """
    if not path.exists():
        return pd.DataFrame()
    try:
        return pd.read_csv(path, index_col=_ARCHITECTURE)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"cannot read the table {path}: {shorten(str(error), 200)}") from error


def read_curves(path: Path, setting: str) -> dict[str, list[tuple[float, ...]]]:
    """Return the curves of a setting in the table at ``path``, fractions in [0, 1], by seed as in ``1.0``.

    Raises:
        UsageError: if the table cannot be read or has no training of the setting.
    """
    table = read_trainings(path)
    places = [match for match in map(_TRAINING.fullmatch, table.columns) if match and match["setting"] == setting]
    if not places:
        raise UsageError(f"the table {path} has no trainings of the setting {setting!r}")
    seeds: dict[str, list[str]] = {}
    for match in sorted(places, key=lambda match: int(match["epoch"])):
        seeds.setdefault(match["seed"], []).append(match[0])
    return {seed: [tuple(row) for row in table[names].dropna().to_numpy() / 100] for seed, names in seeds.items()}


def add_trainings(path: Path, folders: Sequence[tuple[str, int, Path]]) -> pd.DataFrame:
    """Add the curves of run folders to the table at ``path``, and return it as it is written.

    ``folders`` names of each its setting and the run's seed. Accuracies are validation accuracies in per cent. Columns:
    ``architecture``, the genotype; ``parameters``; ``SETTING seed RUN.ROUND epoch K``, one training's curve, where the
    round counts how often this run trained the network before; and ``SETTING``, the mean over its seeds after the last
    epoch. Commas of a setting are written as ``+``.

    Raises:
        UsageError: if the table that is there cannot be read.
    """
    table = read_trainings(path)
    for setting, seed, folder in folders:
        table = _curves(setting.replace(",", "+"), seed, folder).combine_first(table)
    last = _last_epochs(table.columns)
    means = {setting: table[columns].mean(axis=1) for setting, columns in last.items()}
    curves = sorted(filter(_TRAINING.fullmatch, table.columns), key=_place)
    table = pd.concat([table["parameters"].astype("Int64"), pd.DataFrame(means), table[curves]], axis=1).round(2)
    write_whole(path, table.sort_index().to_csv(index_label=_ARCHITECTURE, lineterminator="\n"))
    return table


def _curves(setting: str, seed: int, folder: Path) -> pd.DataFrame:
    """Return the trainings of a run, a row per network."""
    trials = load_history(folder, columns=["id", "genotype", "parameters", "trained", "fitness"]).sort_values("id")
    trials = trials[trials["trained"] & trials["fitness"].notna()]
    repeat = trials.groupby("genotype", observed=True).cumcount()
    trainings = zip(trials["id"], trials["genotype"], repeat, strict=True)
    names = {id: (genotype, f"{setting} seed {seed}.{n}") for id, genotype, n in trainings}
    curves = load_curves(folder)
    curves = curves[curves["trial"].isin(list(names))]
    wide = pd.DataFrame(
        {
            "genotype": [names[trial][0] for trial in curves["trial"]],
            "column": [f"{names[row.trial][1]} epoch {row.epoch}" for row in curves.itertuples()],
            "value": 100 * curves["accuracy"].to_numpy(),
        }
    ).pivot(index="genotype", columns="column", values="value")
    wide["parameters"] = trials.groupby("genotype", observed=True)["parameters"].first().astype("float64")
    return wide


def _last_epochs(columns: Sequence[str]) -> dict[str, list[str]]:
    """Return of each setting the columns of its last epoch, one per seed."""
    found: dict[tuple[str, str], tuple[int, str]] = {}
    for name in columns:
        if match := _TRAINING.fullmatch(name):
            key, epoch = (match["setting"], match["seed"]), int(match["epoch"])
            found[key] = max(found.get(key, (0, "")), (epoch, name))
    settings = sorted({setting for setting, _ in found})
    return {setting: [name for (own, _), (_, name) in found.items() if own == setting] for setting in settings}


def _place(column: str) -> tuple[str, str, int]:
    match = _TRAINING.fullmatch(column)
    assert match is not None
    return match["setting"], match["seed"], int(match["epoch"])
