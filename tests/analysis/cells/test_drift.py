import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.cells.designs import read_widths
from analysis.cells.drift import COUNT_COLUMNS, DRIFT_COLUMNS, WINDOWS, operation_counts, operation_drift
from analysis.frames import HistoryError, load_history
from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.widths import Widths
from genotypes.zoo import CELLS, NASNET_A

MakeRun = Callable[..., Path]


def pair_of(op: str, other: str = "identity") -> CellPair:
    cell = Cell.join_leaves([Block(Edge(0, op), Edge(1, other))])
    return CellPair(cell, cell)


def trials(*cells: CellPair | dict[str, Any] | str) -> list[dict[str, Any]]:
    texts = [json.dumps(cell.to_json()) if isinstance(cell, CellPair) else json.dumps(cell) for cell in cells]
    return [{"cell": text, "fitness": 0.5} for text in texts]


def test_operations_are_counted_by_pair_and_cell() -> None:
    table = operation_counts({"A": NASNET_A, "B": pair_of("max_pool_5x5")})
    assert list(table) == list(COUNT_COLUMNS)
    count = table.set_index(["pair", "cell", "operation"])["count"]
    assert count["A", "normal"].to_dict() == {
        "avg_pool_3x3": 3,
        "identity": 2,
        "max_pool_3x3": 0,
        "max_pool_5x5": 0,
        "sep_conv_3x3": 3,
        "sep_conv_5x5": 2,
        "sep_conv_7x7": 0,
    }
    assert count["B", "reduction", "max_pool_5x5"] == count["B", "reduction", "identity"] == 1


def test_blocks_that_reach_no_output_do_not_count() -> None:
    blocks = (Block(Edge(0, "identity"), Edge(1, "identity")), Block(Edge(0, "conv_1x1"), Edge(1, "conv_1x1")))
    table = operation_counts({"A": CellPair(Cell(blocks, (2,)), Cell(blocks, (2,)))})
    assert set(table["operation"]) == {"identity"}


@pytest.mark.parametrize("name", CELLS)
def test_every_block_of_a_published_pair_counts_two_operations(name: str) -> None:
    table = operation_counts({name: CELLS[name]})
    live = [len(cell.live_states() - {0, 1}) for cell in (CELLS[name].normal, CELLS[name].reduction)]
    assert table.groupby("cell")["count"].sum().to_dict() == {"normal": 2 * live[0], "reduction": 2 * live[1]}


def test_shares_drift_by_windows_of_samples(make_run: MakeRun) -> None:
    run = make_run("run", trials(*[pair_of("conv_1x1")] * 3, pair_of("conv_3x3"), pair_of("identity")))
    drift = operation_drift(load_history(run, cells=True), window=2)
    assert list(drift) == list(DRIFT_COLUMNS)
    normal = drift[drift["cell"] == "normal"].set_index(["first", "operation"])
    assert normal["share"].to_dict() == {
        (1, "conv_1x1"): 0.5,
        (1, "conv_3x3"): 0.0,
        (1, "identity"): 0.5,
        (3, "conv_1x1"): 0.25,
        (3, "conv_3x3"): 0.25,
        (3, "identity"): 0.5,
        (5, "conv_1x1"): 0.0,
        (5, "conv_3x3"): 0.0,
        (5, "identity"): 1.0,
    }
    assert normal["count"].sum() == 10
    assert normal["last"].groupby("first").first().to_dict() == {1: 2, 3: 4, 5: 5}


def test_failures_count_and_what_was_not_trained_does_not(make_run: MakeRun) -> None:
    rows = trials(pair_of("conv_1x1"), pair_of("conv_3x3"), pair_of("max_pool_3x3"))
    rows[1] |= {"outcome": "oom", "fitness": None}
    rows[2] |= {"outcome": "reused"}
    drift = operation_drift(load_history(make_run("run", rows), cells=True))
    assert set(drift["operation"]) == {"conv_1x1", "conv_3x3", "identity"}


def test_runs_keep_apart_and_shares_add_up(make_run: MakeRun) -> None:
    one = make_run("one", trials(*[pair_of("conv_1x1")] * 30))
    two = make_run("two", trials(*[pair_of("conv_3x3")] * 500))
    drift = operation_drift(load_history([one, two], cells=True))
    assert drift.groupby(["run", "cell", "first"], observed=True)["share"].sum().round(9).eq(1.0).all()
    assert drift[drift["run"] == "two"]["first"].nunique() == WINDOWS
    assert drift.query("run == 'one' and operation == 'conv_3x3'")["count"].eq(0).all()


def test_a_space_of_one_cell_is_followed_too(make_run: MakeRun) -> None:
    cell = {"architecture": "|none~0|+...", "1<-0": "nor_conv_3x3", "2<-0": "none", "2<-1": "none"}
    drift = operation_drift(load_history(make_run("run", trials(cell)), cells=True))
    assert drift.set_index("operation")["count"].to_dict() == {"none": 2, "nor_conv_3x3": 1}
    assert set(drift["cell"]) == {"cell"}


def test_spaces_do_not_lend_each_other_operations(make_run: MakeRun) -> None:
    one = make_run("one", [row | {"genotype": "a:0"} for row in trials(pair_of("conv_1x1"))])
    two = make_run("two", [row | {"genotype": "b:0"} for row in trials({"edge": "none"})])
    drift = operation_drift(load_history([one, two], cells=True))
    operations = drift.groupby("space", observed=True)["operation"].agg(set).to_dict()
    assert operations == {"a": {"conv_1x1", "identity"}, "b": {"none"}}


@pytest.mark.parametrize("cell", [{"layer_1": 8}, {"bit": "0"}, "no object", {}])
def test_a_space_without_operations_is_refused_in_one_line(make_run: MakeRun, cell: Any) -> None:
    frame = load_history(make_run("run", trials(cell)), cells=True)
    with pytest.raises(HistoryError, match=r"no operations to follow: nasnet describes none"):
        operation_drift(frame)


def test_an_empty_history_gives_an_empty_frame(make_run: MakeRun) -> None:
    drift = operation_drift(load_history(make_run("run"), cells=True))
    assert drift.empty
    assert list(drift) == list(DRIFT_COLUMNS)


def test_a_window_of_nothing_is_refused(make_run: MakeRun) -> None:
    frame = load_history(make_run("run", trials(pair_of("identity"))), cells=True)
    with pytest.raises(ValueError, match="at least 1 sample, not 0"):
        operation_drift(frame, window=0)


def test_a_frame_without_cells_says_how_to_load_them(make_run: MakeRun) -> None:
    with pytest.raises(ValueError, match="cells=True"):
        operation_drift(load_history(make_run("run", trials(pair_of("identity")))))


def test_widths_have_no_operations_and_the_kind_that_draws_them_is_named(make_run: MakeRun) -> None:
    record = {"network": "resnet", "widths": {"conv1": 3}, "seed": {"conv1": 6}}
    frame = load_history(make_run(trials=[{"fitness": 0.5, "cell": json.dumps(record)}]), cells=True)
    assert read_widths(frame["cell"].iloc[0]) == Widths.from_json(record)
    with pytest.raises(HistoryError, match="describes none; --kind widths draws widths"):
        operation_drift(frame)
