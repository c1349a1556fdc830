from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.frames import COLUMNS, HistoryError, load_history
from analysis.lineage import LINEAGE, lineage

MakeRun = Callable[..., Path]
FAMILY: list[dict[str, Any]] = [
    {"id": 1, "fitness": 0.3, "genotype": "bits:0.0.0.0", "key": "a"},
    {"id": 2, "fitness": 0.4, "genotype": "bits:1.1.1.1", "key": "b"},
    {"id": 3, "fitness": 0.5, "parent": 1, "genotype": "bits:0.0.1.0", "key": "c"},
    {"id": 4, "outcome": "reused", "fitness": 0.4, "parent": 3, "genotype": "bits:1.1.1.0", "key": "b"},
    {"id": 5, "outcome": "oom", "parent": 3, "genotype": "bits:0.1.1.0", "key": "d"},
    {"id": 7, "fitness": 0.6, "parent": 4, "genotype": "bits:1.1.1.0", "key": "e"},
    {"id": 8, "fitness": 0.6, "parent": 2, "genotype": "bits(length=5):1.1.1.0.1", "key": "f"},
]


@pytest.fixture
def family(make_run: MakeRun) -> pd.DataFrame:
    return load_history(make_run("family", FAMILY), cells=True)


def test_ancestors_come_oldest_first_across_what_was_reused(family: pd.DataFrame) -> None:
    found = lineage(family, 7)
    assert found["id"].tolist() == [1, 3, 4, 7]
    assert found["generation"].tolist() == [0, 1, 2, 3]
    assert found["trained_as"].tolist() == [1, 3, 2, 7], "4 is the network that was trained as 2"
    assert found["changes"].tolist() == [pd.NA, 1, 2, 0]
    assert set(found.columns) == {*COLUMNS, *LINEAGE}


def test_without_an_id_it_is_that_of_the_best_the_first_told_on_ties(family: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(lineage(family), lineage(family, 7))


def test_genotypes_of_two_spaces_are_not_compared(family: pd.DataFrame) -> None:
    found = lineage(family, 8)
    assert found["id"].tolist() == [2, 8]
    assert found["changes"].isna().all()


def test_one_without_parents_is_its_own_lineage_and_a_failure_was_not_trained_to_a_fitness(
    family: pd.DataFrame,
) -> None:
    assert lineage(family, 2)["id"].tolist() == [2]
    assert lineage(family, 5)["trained_as"].tolist() == [1, 3, pd.NA]


def test_a_chain_begins_after_a_parent_whose_row_was_lost(make_run: MakeRun) -> None:
    frame = load_history(make_run(trials=[row for row in FAMILY if row["id"] != 3]))
    assert lineage(frame, 7)["id"].tolist() == [4, 7]


def test_the_order_of_the_rows_does_not_matter(family: pd.DataFrame) -> None:
    shuffled = family.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(lineage(shuffled, 7), lineage(family, 7))


def test_of_several_runs_one_is_named(make_run: MakeRun, family: pd.DataFrame) -> None:
    other = make_run("other", [{"fitness": 0.9}])
    both = pd.concat([family.astype({"run": "string"}), load_history(other).astype({"run": "string"})])
    with pytest.raises(ValueError, match=r"say which of these is meant with run=\.\.\.: family, other"):
        lineage(both, 7)
    assert lineage(both, run="other")["fitness"].tolist() == [0.9]
    assert lineage(both, 7, run="family")["id"].tolist() == [1, 3, 4, 7]
    with pytest.raises(ValueError, match="no run 'nosuch' in the frame; it has: family, other"):
        lineage(both, run="nosuch")


@pytest.mark.parametrize("parent", [5, 9])
def test_whoever_is_its_own_ancestor_is_damaged(make_run: MakeRun, parent: int) -> None:
    rows = [{"id": 5, "parent": 9, "fitness": 0.1}, {"id": 9, "parent": parent, "fitness": 0.2}]
    with pytest.raises(HistoryError, match=r"trial \d is damaged: its parent cannot be 9"):
        lineage(load_history(make_run(trials=rows)), 9)


def test_there_is_none_of_what_is_not_there(make_run: MakeRun, family: pd.DataFrame) -> None:
    with pytest.raises(HistoryError, match="there is no trial 6 in family"):
        lineage(family, 6)
    with pytest.raises(HistoryError, match="no trial has a fitness yet"):
        lineage(load_history(make_run("empty")))
    with pytest.raises(HistoryError, match="there is no trial 1 in an empty history"):
        lineage(load_history(make_run("another")), 1)
    with pytest.raises(ValueError, match="needs the column 'key'"):
        lineage(family.drop(columns="key"), 7)
