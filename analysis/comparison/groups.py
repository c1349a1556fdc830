"""Runs grouped by what they do: the same strategy with the same settings, over seeds.

Settings are those of ``run.toml`` but for the seed, the budget and the hardware, and the data by its fingerprint in
``env.json``; docs/history.md documents both.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from analysis.frames import UNKNOWN, RunRecord
from genotypes.genotype import printable, shorten

_NO_SETTINGS: Final = ("strategy", "space", "evaluator", "seed", "trials", "target_accuracy")
"""Fields of ``[run]`` that are a name of their own here, or differ between runs of one group."""

_FINGERPRINT: Final = 8
"""Digits of a fingerprint that tell data apart in a label."""

Settings = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of one strategy with the same settings, in the order given.

    ``label`` is the strategy, with what tells this group apart from the others, as in ``evolution(sample=5) on bits``.
    ``options`` are the strategy's; ``settings`` all others, by name: the evaluator and its options as
    ``evaluator.epochs``, the data as ``data``, fields of ``[run]``.
    """

    label: str
    strategy: str
    space: str
    options: Settings
    settings: Settings
    runs: tuple[RunRecord, ...]

    def find_repeats(self) -> dict[int, list[RunRecord]]:
        """Return the seeds that more than one run has, with these runs."""
        by_seed: dict[int, list[RunRecord]] = {}
        for run in self.runs:
            if (seed := seed_of(run)) is not None:
                by_seed.setdefault(seed, []).append(run)
        return {seed: runs for seed, runs in by_seed.items() if len(runs) > 1}


def seed_of(run: RunRecord) -> int | None:
    """Return the seed of a run, ``None`` if ``run.toml`` does not say."""
    seed = run.table("run").get("seed")
    return seed if isinstance(seed, int) else None


def group_runs(runs: Sequence[RunRecord], spaces: Mapping[str, str] | None = None) -> list[Group]:
    """Group runs, in the order of the first of each group.

    ``spaces``: name of a run -> full spelling of its space, by default what ``env.json`` or else ``run.toml`` says. A
    run without a configuration is a group of its own, since nobody knows whether it is like another.
    """
    found: dict[str, list[RunRecord]] = {}
    parts: dict[str, tuple[str, str, Settings, Settings]] = {}
    for run in runs:
        space = (spaces or {}).get(run.name) or run.space() or run.spell_entry("space")
        part = (run.spell_entry("strategy"), space, _spell_values(run.table("strategy")), settings_of(run))
        key = json.dumps([*part, None if run.config else run.name], sort_keys=True)
        parts[key] = part
        found.setdefault(key, []).append(run)
    labels = _labels(parts, {key: members[0].name for key, members in found.items()})
    return [Group(labels[key], *parts[key], tuple(members)) for key, members in found.items()]


def groups_of(runs: Sequence[RunRecord], frame: pd.DataFrame) -> list[Group]:
    """Group runs as :func:`group_runs` does, their spaces those of a frame of their histories."""
    spaces = frame.drop_duplicates("run")[["run", "space"]].astype(str)
    return group_runs(runs, dict(zip(spaces["run"], spaces["space"], strict=True)))


def labels_of(runs: Sequence[RunRecord], frame: pd.DataFrame) -> dict[str, str]:
    """Return the label of each run's group of :func:`groups_of`, by the run's name."""
    return {run.name: group.label for group in groups_of(runs, frame) for run in group.runs}


def settings_of(run: RunRecord) -> dict[str, str]:
    """Return the settings of a run that are not its strategy's own, by name, as text.

    A file that the evaluator reads is known by its fingerprint where there is one: a path can lead to another file on
    another machine.
    """
    data = run.environment().get("data")
    data = data if isinstance(data, Mapping) else {}
    options = {k: v for k, v in _spell_values(run.table("evaluator")).items() if not (k == "table" and data)}
    settings = {"evaluator": run.spell_entry("evaluator")} | {f"evaluator.{k}": v for k, v in options.items()}
    if data:
        # The set's name is a setting of the evaluator; that of a table is where somebody put it.
        settings["data"] = " ".join(sorted(shorten(mark)[:_FINGERPRINT] for mark in data.values()))
    settings |= {k: v for k, v in _spell_values(run.table("run")).items() if k not in _NO_SETTINGS}
    return settings


def _spell_values(table: Mapping[str, Any]) -> dict[str, str]:
    """Spell the values of a table as ``run.toml`` does, whole."""
    return {
        printable(name): value if isinstance(value, str) else json.dumps(value, default=str)
        for name, value in sorted(table.items())
    }


def _labels(parts: Mapping[str, tuple[str, str, Settings, Settings]], first: Mapping[str, str]) -> dict[str, str]:
    """Name groups by their strategies, and by no more than what differs between them; no two are alike."""
    labels = {}
    for key, (strategy, space, options, settings) in parts.items():
        of_strategy = [other[2] for other in parts.values() if other[0] == strategy]
        # Options of another evaluator are others anyway: that one differs is said with its name.
        of_evaluator = [other[3] for other in parts.values() if other[3]["evaluator"] == settings["evaluator"]]
        told = {name: value for name, value in options.items() if differs(name, of_strategy)}
        for name, value in settings.items():
            every = of_evaluator if name.startswith("evaluator.") else [other[3] for other in parts.values()]
            if differs(name, every):
                told[name] = value
        label = shorten(strategy)
        if strategy == UNKNOWN:
            label += f" ({shorten(first[key], 32)})"
        elif told:
            label += f"({','.join(f'{name}={shorten(value, 24)}' for name, value in told.items())})"
        if len({other[1] for other in parts.values()}) > 1:
            label += f" on {shorten(space, 40)}"
        labels[key] = label
    counts: Counter[str] = Counter()
    for key, label in labels.items():  # what was cut off may have been all that differed
        counts[label] += 1
        if counts[label] > 1:
            labels[key] = f"{label} #{counts[label]}"
    return labels


def differs(name: str, tables: Sequence[Settings]) -> bool:
    """Return whether a setting differs between tables, or is missing in some of them only."""
    return len({table.get(name) for table in tables}) > 1
