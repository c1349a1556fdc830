"""Histories made by hand, with the tables of docs/history.md, so that nothing here depends on who writes them."""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evo_nas.storage.schema import VERSION, mark
from genotypes.spaces.nasnet import NASNetSpace
from tests.histories import SCHEMA, add_sums

Trial = Mapping[str, Any]


SPACE = NASNetSpace()


@functools.cache
def sampled(seed: int) -> dict[str, str]:
    """The columns that come from the genotype that a seed gives."""
    genotype = SPACE.sample(np.random.default_rng(seed))
    cell = json.dumps(SPACE.decode(genotype).to_json())
    return {"genotype": str(genotype), "cell": cell, "key": SPACE.key(genotype)}


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Make a run folder from trials, each a dict of the columns that matter; events follow each other by default.

    ``attempted`` is no column: whether a training was started, by default where there is a duration.
    """

    def make(
        name: str = "run",
        trials: Iterable[Trial] = (),
        *,
        config: str | None = '[run]\nstrategy = "random"\nspace = "nasnet"\nevaluator = "toy"\ntrials = 10\n',
        version: int = VERSION,
        curve: Iterable[tuple[int, int, float]] = (),
        note: Iterable[tuple[int, str, float]] = (),
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        if config is not None:
            (folder / "run.toml").write_text(config, encoding="utf-8")
        connection = sqlite3.connect(folder / "history.db")
        connection.execute("PRAGMA synchronous = OFF")  # nobody cuts the power between a row and its test
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute(f"PRAGMA application_id = {mark(version)}")
        event = 0
        for position, given in enumerate(trials, start=1):
            identity = given.get("id", position)
            event += 1
            trained = given.get("outcome", "ok") not in ("reused", "refused", None)
            trial = {
                "id": identity,
                "parent": None,
                **sampled(given.get("sample_seed", identity)),
                "seed": 7,
                "memo": "[]",
                "brief": "[]",
                "asked": event,
                "told": event + 1,
                "outcome": "ok",
                "fitness": None,
                "seconds": 2.0 if trained else None,
                "metrics": "{}",
                "asked_at": 1_700_000_000.0 + event,
                "told_at": 1_700_000_001.5 + event,
            } | {key: value for key, value in given.items() if key != "sample_seed"}
            attempted = trial.pop("attempted", trained and trial["seconds"] is not None)
            event = max(event, trial["told"] or 0)
            marks = ", ".join("?" * len(trial))
            connection.execute(f"INSERT INTO trial ({', '.join(trial)}) VALUES ({marks})", list(trial.values()))
            if attempted:
                connection.execute("INSERT INTO attempt (trial, number, started_at) VALUES (?, 1, 0.0)", (identity,))
        connection.executemany("INSERT INTO curve (trial, epoch, accuracy) VALUES (?, ?, ?)", curve)
        connection.executemany("INSERT INTO note (trial, name, value) VALUES (?, ?, ?)", note)
        add_sums(connection)
        connection.close()
        return folder

    return make


def _pending(**given: Any) -> dict[str, Any]:
    return {"told": None, "outcome": None, "told_at": None, "seconds": None} | given


@pytest.fixture
def mixed(make_run: Callable[..., Path]) -> Path:
    """A run with every kind of row: trained, reused, failed, quarantined, refused, pending, and a gap in the ids."""
    return make_run(
        "mixed",
        [
            {"id": 1, "fitness": 0.6, "test": 0.55, "asked": 1, "told": 4, "parameters": 1000, "mult_adds": 50},
            {"id": 2, "fitness": 0.5, "asked": 2, "told": 3},
            {"id": 3, "outcome": "reused", "fitness": 0.6, "parent": 1, "sample_seed": 1, "asked": 5, "told": 6},
            {"id": 4, "outcome": "oom", "error": "out of memory", "asked": 7, "told": 8},
            {"id": 5, "outcome": "oom", "seconds": None, "sample_seed": 4, "asked": 9, "told": 10},
            {"id": 6, "outcome": "refused", "asked": 11, "told": 12},
            _pending(id=8, asked=13),
            {"id": 9, "fitness": 0.9, "parent": 1, "asked": 14, "told": 15},
            _pending(id=10, asked=16),
        ],
        curve=[(1, 1, 0.4), (1, 2, 0.6), (2, 1, 0.5)],
        note=[(1, "entropy", 2.5), (2, "entropy", 2.25)],
    )
