"""The door of a history: whatever is pushed through comes back equal, or is refused before anything is written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analysis.frames import load_history, load_metrics
from evo_nas.storage.checksums import damage
from evo_nas.storage.door import ASKED, ATTEMPTED, CURVE_POINT, NOTED, TOLD, Door, Refused, spell_json
from evo_nas.storage.history import History
from evo_nas.storage.schema import ASK, ATTEMPT, CURVE, NOTE, TELL, TRIAL, Column
from genotypes.genotype import Genotype
from genotypes.individual import Evaluation, Outcome, Proposal
from genotypes.plain import LONGEST_TEXT

NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 1, -1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, -0.0])
NUMPY = [np.int8, np.uint64, np.int64, np.float16, np.float32, np.float64, np.longdouble, np.bool_]


def other(number: Any, kind: Any) -> Any:
    """Return a number as a scalar of another library, or as it is where that has none like it."""
    with suppress(OverflowError, TypeError, ValueError, RuntimeError), np.errstate(all="ignore"):
        return kind(number)
    return number


SCALARS = st.builds(other, NUMBERS, st.sampled_from([*NUMPY, torch.tensor, np.array, lambda n: pd.Series([n])[0], str]))
VALUES = (
    *(NUMBERS, SCALARS, st.text(), st.text(st.characters(categories=["Cs", "Cc", "Lu"])), st.binary(), st.none()),
    *(st.booleans(), st.sampled_from([*Outcome, np.str_("ok"), pd.NA, pd.NaT, 1j, [1], {}, "a\0b", "\udcff"])),
)
DOORS: list[tuple[Door, tuple[Column, ...]]] = [
    (door, tuple(column for column in table.columns if half in column.halves))
    for door, table, half in (
        *((ASKED, TRIAL, "asked_sum"), (TOLD, TRIAL, "told_sum")),
        *((CURVE_POINT, CURVE, "sum"), (NOTED, NOTE, "sum"), (ATTEMPTED, ATTEMPT, "sum")),
    )
]


def good(column: Column) -> Any:
    """Return a value that the column takes."""
    return {"INTEGER": 1, "REAL": 0.5, "TEXT": column.words[0] if column.words else "a"}[column.type]


def hold_to_a_line(error: Refused, column: str) -> None:
    assert error.column == column
    assert "\n" not in str(error)
    assert len(str(error)) < 250


@settings(max_examples=150)
@given(st.data())
def test_what_passes_comes_back_equal_and_is_what_is_summed(data: st.DataObject) -> None:
    door, columns = data.draw(st.sampled_from(DOORS))
    place = data.draw(st.integers(0, len(columns) - 1))
    value = data.draw(st.one_of(*VALUES))
    row = [value if at == place else good(column) for at, column in enumerate(columns)]
    try:
        *sealed, _ = door.seal(row)
    except Refused as error:
        hold_to_a_line(error, columns[place].name)
        return
    assert {*map(type, sealed)} <= {int, float, str, type(None)}
    assert sealed[place] == (float(value) if columns[place].type == "REAL" and value is not None else value)
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE TABLE one ({', '.join(f'{c.name} {c.type}' for c in columns)})")
    connection.execute(f"INSERT INTO one VALUES ({', '.join('?' * len(columns))})", sealed)
    (found,) = connection.execute("SELECT * FROM one")
    assert ascii(found) == ascii(tuple(sealed)), "the sum is that of this spelling"
    connection.close()


JSONS = st.recursive(
    st.one_of(*VALUES), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@settings(max_examples=100)
@given(JSONS)
@example({"a": np.int64(3), "b": [np.float32(0.5), torch.tensor(2)]})
@example("\ud83d\ude00 \\ud")
def test_json_that_passes_can_be_read_by_all(value: Any) -> None:
    try:
        text = spell_json("cell", value)
    except Refused as error:
        hold_to_a_line(error, "cell")
        return
    decoded = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    json.dumps(decoded, ensure_ascii=False).encode()
    assert spell_json("cell", decoded) == text


def evaluation(metrics: Mapping[str, Any], fields: Mapping[str, Any]) -> Evaluation | None:
    with suppress(ValueError, OverflowError):
        made = Evaluation(Outcome.OK, **{"fitness": 0.5, **fields})
        made.metrics.update(metrics)  # type: ignore[attr-defined]  # behind the back of its own checks
        return made
    return None


@settings(max_examples=60)
@given(
    fields=st.dictionaries(st.sampled_from(["fitness", "test_fitness", "seconds", "error"]), st.one_of(*VALUES)),
    metrics=st.dictionaries(st.text(max_size=3) | st.sampled_from(["parameters", "mult_adds"]), st.one_of(*VALUES)),
    curve=st.lists(st.floats(0, 1) | SCALARS, max_size=2),
    notes=st.dictionaries(st.text(max_size=3), st.floats() | st.integers(-(2**70), 2**70), max_size=2),
    parent=st.none() | st.builds(other, st.integers(1, 2**53), st.sampled_from(NUMPY)),
    key=st.text(),
)
def test_a_history_gives_back_what_it_took_and_readers_read_it(
    tmp_path_factory: pytest.TempPathFactory, fields: Any, metrics: Any, curve: Any, notes: Any, parent: Any, key: Any
) -> None:
    run = tmp_path_factory.mktemp("run")
    told = evaluation(metrics, {**fields, "curve": curve})
    with History.create(run / "history.db") as history:
        with suppress(ValueError):
            proposal = Proposal(Genotype("bits", (0, np.int64(1))), parent, (np.float32(0.5),))  # type: ignore[arg-type]
            history.ask(1, proposal, key, {"a": np.int64(1)}, np.int64(3), (np.float64(1),))  # type: ignore[arg-type]
            history.attempt(1)
            if told is not None:
                history.tell(1, told)
                history.note(1, notes)
        assert damage(history._db) is None
        if not history.last_id:
            return
        assert history.pending() == [] or history.pending()[0].proposal == proposal
        for individual in history.read_tells():
            assert told is not None
            assert individual.fitness == told.fitness
            assert individual.metrics == {name: float(value) for name, value in told.metrics.items()}
            assert individual.curve == told.curve
    assert len(load_history(run)) == 1
    load_metrics(run)


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(Refused, match=r"^key must be text that UTF-8 can hold, of at most 1,048,576 bytes, not"):
        ASKED.seal([1, None, "bits:1", "a" * (LONGEST_TEXT + 1), 0, "[]", "[]", 1, 0.0, "{}"])


def test_the_doors_cover_every_value_that_is_summed() -> None:
    assert [tuple(column.name for column in columns) for _, columns in DOORS[:2]] == [ASK, TELL]


@pytest.mark.parametrize("name", ["parent", "key", "cell", "brief", "fitness"])
def test_what_is_refused_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    proposal = Proposal(Genotype("bits", (0,)))
    object.__setattr__(proposal, "parent", b"\x01" if name == "parent" else None)
    answer = Evaluation(Outcome.INVALID, seconds=None)
    object.__setattr__(answer, "fitness", 7.0 if name == "fitness" else None)
    cell, brief = ({"a": object()} if name == "cell" else {}), ((np.nan,) if name == "brief" else ())
    with History.create(tmp_path / "history.db") as history:
        with pytest.raises(Refused, match=f"^{name} must be"):
            history.ask(1, proposal, "\udcff" if name == "key" else "k", cell, 0, brief, answer=answer)
        assert (history.last_id, damage(history._db)) == (0, None)
        history.ask(1, Proposal(Genotype("bits", (0,))), "k", {}, 0, ())
