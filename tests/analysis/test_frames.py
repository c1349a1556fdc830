import errno
import gc
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from analysis import frames
from analysis.frames import (
    COLUMNS,
    CURVE_COLUMNS,
    METRIC_COLUMNS,
    NOTE_COLUMNS,
    HistoryError,
    find_runs,
    load_curves,
    load_history,
    load_metrics,
    load_notes,
)
from evo_nas.storage import opening
from tests.counting import bytecodes
from tests.histories import SUMS, close_in_order, row_sum

MakeRun = Callable[..., Path]


def test_every_column_is_documented_and_in_the_order_of_the_documentation(mixed: Path) -> None:
    frame = load_history(mixed, columns=COLUMNS)
    assert list(frame.columns) == list(COLUMNS)
    assert frame.dtypes.astype(str).to_dict() == frames._DTYPES
    assert list(load_history(mixed).columns) == [name for name in COLUMNS if name != "cell"]


def test_an_empty_history_gives_an_empty_frame_with_the_same_types(make_run: MakeRun, mixed: Path) -> None:
    empty = load_history(make_run("empty"))
    assert len(empty) == 0
    assert (empty.dtypes.astype(str) == load_history(mixed).dtypes.astype(str)).all()


@pytest.mark.parametrize("storage", ["python", "pyarrow"])
def test_texts_are_the_same_whatever_pandas_keeps_them_in(
    mixed: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    texts = ["genotype", "key", "error", "cell"]
    expected = load_history(mixed, columns=texts)
    with pd.option_context("mode.string_storage", storage):
        with_pyarrow = load_history(mixed, columns=texts)
        monkeypatch.setattr(frames, "pyarrow", None)
        without = load_history(mixed, columns=texts)
        assert {dtype.storage for dtype in [*with_pyarrow.dtypes, *without.dtypes]} == {storage}
    for frame in (with_pyarrow, without):
        assert frame.astype(object).equals(expected.astype(object))


@pytest.mark.parametrize("collects", [True, False])
def test_the_collector_of_reference_cycles_is_left_as_it_was(mixed: Path, collects: bool) -> None:
    try:
        (gc.enable if collects else gc.disable)()
        load_history(mixed)
        assert gc.isenabled() == collects
    finally:
        gc.enable()


def test_what_cannot_be_looked_at_is_said_in_one_line() -> None:
    with pytest.raises(HistoryError, match=r"^x{57}\.\.\. cannot be read: File name too long$"):
        find_runs("x" * 300)


def test_a_copy_that_has_no_room_says_which_folder_is_full(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    class WithoutLocks(sqlite3.Connection):
        def execute(self, query: str, *_: object) -> sqlite3.Cursor:
            if query.startswith("PRAGMA"):  # which asks nothing of the file
                return super().execute(query)
            raise sqlite3.OperationalError("locking protocol")

    monkeypatch.setattr(opening.shutil, "copyfile", full)
    monkeypatch.setattr(opening.sqlite3, "connect", partial(sqlite3.connect, factory=WithoutLocks))
    with pytest.raises(HistoryError, match=r"there is no room for one in .*: let TMPDIR name a folder with room$"):
        load_history(mixed)


def test_names_that_differ_in_what_cannot_be_printed_stay_apart(make_run: MakeRun) -> None:
    runs = find_runs([make_run("a\x01"), make_run("a\x02")])
    assert len({run.name for run in runs}) == 2
    assert all(run.name.isprintable() for run in runs)


def test_rows_come_in_the_order_told_and_pending_ones_last(mixed: Path) -> None:
    assert load_history(mixed)["id"].tolist() == [2, 1, 3, 4, 5, 6, 9, 8, 10]


def test_samples_count_ended_trainings_alone(mixed: Path) -> None:
    frame = load_history(mixed).set_index("id")
    # 3 is reused, 5 answers a quarantined network without an attempt, 6 is refused, 8 and 10 are pending.
    assert frame.index[frame["trained"]].tolist() == [2, 1, 4, 9]
    assert frame["sample"].dropna().to_dict() == {2: 1, 1: 2, 3: 2, 4: 3, 5: 3, 6: 3, 9: 4}


def test_a_training_is_what_has_a_duration_even_of_nothing(make_run: MakeRun) -> None:
    frame = load_history(make_run(trials=[{"fitness": 0.5, "seconds": 0.0}, {"fitness": 0.6, "seconds": None}]))
    assert frame["trained"].tolist() == [True, False]


@pytest.mark.parametrize("version", [1, 2])
def test_a_history_of_an_unreleased_version_is_refused(make_run: MakeRun, version: int) -> None:
    with pytest.raises(HistoryError, match=r"was made by an unreleased version of evo_nas .*start a new run"):
        load_history(make_run(version=version))


def test_best_so_far_follows_the_order_told_and_passes_over_failures(mixed: Path) -> None:
    frame = load_history(mixed)
    assert frame["best_so_far"].dropna().tolist() == [0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.9]
    assert frame.loc[frame["told"].isna(), "best_so_far"].isna().all()


def test_a_run_without_a_fitness_at_first_has_no_best_yet(make_run: MakeRun) -> None:
    frame = load_history(make_run(trials=[{"outcome": "nan"}, {"fitness": 0.3}]))
    assert frame["best_so_far"].isna().tolist() == [True, False]
    assert frame["sample"].tolist() == [1, 2]


def test_values_arrive_with_their_units_and_gaps(mixed: Path) -> None:
    row = load_history(mixed).set_index("id").loc[1]
    assert (row["run"], row["strategy"], row["space"], row["evaluator"]) == ("mixed", "random", "nasnet", "toy")
    assert (row["run_seed"], row["parameters"], row["mult_adds"], row["test"]) == (7, 1000, 50, 0.55)
    assert row["parent"] is pd.NA
    assert row["asked_at"] == pd.Timestamp(1_700_000_000 + 1, unit="s", tz="UTC")


def test_the_space_is_the_full_spelling_of_the_genotypes(make_run: MakeRun) -> None:
    run = make_run(trials=[{"fitness": 0.1, "genotype": "nasnet(blocks=3):0.1"}])
    assert load_history(run)["space"].tolist() == ["nasnet(blocks=3)"]


def test_a_genotype_that_is_none_is_passed_over(make_run: MakeRun) -> None:
    trials = [{"fitness": 0.2, "genotype": "x"}, {"fitness": 0.1, "genotype": "nasnet(blocks=3):0.1"}]
    frame = load_history(make_run(trials=trials))
    assert frame["genotype"].tolist() == ["x", "nasnet(blocks=3):0.1"]
    assert frame["space"].tolist() == ["nasnet(blocks=3)"] * 2
    assert load_history(make_run("all", trials[:1]))["space"].tolist() == ["nasnet"]  # as run.toml says


@pytest.mark.parametrize(
    "damage",
    [
        {"outcome": "fine"},
        {"fitness": "high"},
        {"fitness": 1.5},
        {"fitness": b"\x00"},
        {"seconds": float("inf")},
        {"told": 3.5},
        {"parameters": 0.5},
        {"told_at": 1e300},
        {"genotype": b"x"},
        {"cell": b"{"},
    ],
    ids=str,
)
def test_a_damaged_trial_is_named_in_one_line(make_run: MakeRun, damage: dict[str, object]) -> None:
    run = make_run("bad", [{"fitness": 0.5}, {"id": 7, "fitness": 0.5} | damage])
    with pytest.raises(
        HistoryError, match=rf"^trial 7 of bad is damaged: its {next(iter(damage))} cannot be"
    ) as caught:
        load_history(run, columns=COLUMNS)
    assert "\n" not in str(caught.value)
    assert str(run / "history.db") in str(caught.value)


def test_damage_in_a_column_that_is_not_asked_for_is_passed_over(make_run: MakeRun) -> None:
    run = make_run(trials=[{"fitness": 0.5, "cell": b"{"}])
    assert load_history(run, columns=["fitness"])["fitness"].tolist() == [0.5]


def test_damaged_curves_and_notes_name_their_trial(make_run: MakeRun) -> None:
    run = make_run("bad", [{"fitness": 0.5}] * 3, curve=[(1, 1, 0.5), (2, 1, "x")], note=[(3, "entropy", "x")])  # type: ignore[list-item]
    with pytest.raises(HistoryError, match="trial 2 of bad is damaged: its accuracy cannot be 'x'"):
        load_curves(run)
    with pytest.raises(HistoryError, match="trial 3 of bad is damaged: its value cannot be 'x'"):
        load_notes(run)


def test_metrics_are_numbers_by_name(make_run: MakeRun, mixed: Path) -> None:
    run = make_run(
        "m", [{"fitness": 0.5, "metrics": '{"b": 2, "a": 0.5}'}, {"outcome": "oom"}, {"metrics": '{"a": 1}'}]
    )
    metrics = load_metrics([run, mixed])
    assert list(metrics) == list(METRIC_COLUMNS)
    assert metrics.to_numpy().tolist() == [["m", 1, "a", 0.5], ["m", 1, "b", 2.0], ["m", 3, "a", 1.0]]
    assert metrics.dtypes.astype(str).to_dict() == {
        "run": "category",
        "trial": "int64",
        "name": "string",
        "value": "float64",
    }
    assert load_metrics(mixed).empty


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": "x"}', '{"a": null}', '{"a": true}', 3])
def test_metrics_that_are_none_name_their_trial(make_run: MakeRun, text: object) -> None:
    run = make_run("bad", [{"fitness": 0.5}, {"id": 7, "fitness": 0.5, "metrics": text}])
    with pytest.raises(HistoryError, match=r"^trial 7 of bad is damaged: its metrics cannot be"):
        load_metrics(run)


@pytest.mark.parametrize("config", [None, "", '[run]\nspace = "x"\n', "run = 3\n"])
def test_a_configuration_that_says_little_is_no_obstacle(make_run: MakeRun, config: str | None) -> None:
    frame = load_history(make_run(trials=[{"fitness": 0.5}], config=config))
    assert frame["strategy"].tolist() == ["unknown"]


def test_some_columns_alone_equal_those_of_the_whole_frame(mixed: Path) -> None:
    columns = ["fitness", "sample", "space", "run"]
    part = load_history(mixed, columns=columns)
    pd.testing.assert_frame_equal(part, load_history(mixed)[[name for name in COLUMNS if name in columns]])
    with pytest.raises(ValueError, match="no column 'accuracy'"):
        load_history(mixed, columns=["accuracy"])


def test_several_runs_stack_and_a_run_named_twice_counts_once(make_run: MakeRun, mixed: Path) -> None:
    other = make_run("other", [{"fitness": 0.4}], config='[run]\nstrategy = "evolution"\n')
    frame = load_history([mixed, other, mixed / "history.db"])
    assert frame["run"].value_counts().to_dict() == {"mixed": 9, "other": 1}
    assert frame["strategy"].cat.categories.tolist() == ["random", "evolution"]
    assert frame.dtypes.astype(str).to_dict() == {n: t for n, t in frames._DTYPES.items() if n != "cell"}


def test_runs_of_one_name_are_told_apart_by_their_parents(make_run: MakeRun, tmp_path: Path) -> None:
    paths = [make_run("a/seed-1"), make_run("b/seed-1"), make_run("b/seed-2")]
    assert [run.name for run in find_runs(paths)] == ["a/seed-1", "b/seed-1", "seed-2"]


def test_a_pattern_finds_its_runs_in_order(make_run: MakeRun, tmp_path: Path) -> None:
    for name in ("evolution-2", "evolution-1", "random-1"):
        make_run(name)
    (tmp_path / "evolution-notes.txt").write_text("not a run")
    assert [run.name for run in find_runs(str(tmp_path / "evolution-*"))] == ["evolution-1", "evolution-2"]


def test_a_pattern_without_a_match_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"no run matches .*nothing-\*"):
        load_history(tmp_path / "nothing-*")


def test_no_path_at_all_is_an_error() -> None:
    with pytest.raises(HistoryError, match="no run was named"):
        load_history([])


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"there is no run at .*missing"):
        load_history(tmp_path / "missing")


def test_the_folder_of_all_runs_is_answered_with_the_pattern_to_write(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("one")
    with pytest.raises(HistoryError, match=r"no run folder.*: write .*\*"):
        load_history(tmp_path)


@pytest.mark.parametrize("content", [b"", b"this is no database, but it is long enough to look like one" * 20])
def test_a_file_that_is_no_history_is_an_error_of_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "history.db").write_bytes(content)
    with pytest.raises(HistoryError, match=r"history\.db is (no history|damaged: file is not a database)") as caught:
        load_history(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_database_of_something_else_is_an_error(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "history.db")
    connection.execute("CREATE TABLE recipe (name TEXT)")
    connection.close()
    with pytest.raises(HistoryError, match="is no history of a run"):
        load_history(tmp_path)


def test_a_later_schema_is_refused_by_its_number(make_run: MakeRun) -> None:
    with pytest.raises(HistoryError, match=r"schema version 99, and this evo_nas reads version 5"):
        load_history(make_run(version=99))


def test_a_broken_configuration_is_an_error_that_names_the_file(make_run: MakeRun) -> None:
    with pytest.raises(HistoryError, match=r"run\.toml cannot be read"):
        load_history(make_run(config="[run"))


def test_a_live_run_is_read_without_blocking_its_writer(mixed: Path) -> None:
    writer = sqlite3.connect(mixed / "history.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.create_function("row_sum", -1, row_sum)
    writer.execute("UPDATE trial SET fitness = 0.99 WHERE id = 9")
    writer.execute(SUMS.split(";")[1])
    assert load_history(mixed)["fitness"].max() == 0.9  # not committed yet
    with opening.open_to_read(mixed / "history.db") as reader:
        reader.execute("SELECT * FROM trial").fetchone()
        writer.execute("COMMIT")
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    assert load_history(mixed)["fitness"].max() == 0.99  # still in the write-ahead log alone
    writer.close()


def test_reading_changes_no_file(mixed: Path) -> None:
    before = {path.name: path.read_bytes() for path in mixed.iterdir() if path.suffix in (".db", ".toml")}
    load_history(mixed)
    assert {path.name: path.read_bytes() for path in mixed.iterdir() if path.suffix in (".db", ".toml")} == before


def test_a_history_whose_lock_cannot_be_had_is_read_from_a_copy(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_PATIENCE", 0.01)
    expected = load_history(mixed)
    writer = sqlite3.connect(mixed / "history.db", isolation_level=None)
    # What a writer does where there is no shared memory: nobody else gets in.
    writer.execute("PRAGMA locking_mode = EXCLUSIVE")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE trial SET fitness = 0.0")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite3.connect(mixed / "history.db", timeout=0.01).execute("SELECT 1 FROM trial")
    pd.testing.assert_frame_equal(load_history(mixed), expected)
    writer.close()


def test_curves_and_notes_are_frames_of_their_own(make_run: MakeRun, mixed: Path) -> None:
    other = make_run("other", [{"fitness": 0.4}], curve=[(1, 1, 0.4)])
    curves, notes = load_curves([mixed, other]), load_notes([mixed, other])
    assert (list(curves.columns), list(notes.columns)) == (list(CURVE_COLUMNS), list(NOTE_COLUMNS))
    assert curves.to_numpy().tolist() == [
        ["mixed", 1, 1, 0.4],
        ["mixed", 1, 2, 0.6],
        ["mixed", 2, 1, 0.5],
        ["other", 1, 1, 0.4],
    ]
    assert notes.to_numpy().tolist() == [["mixed", 1, "entropy", 2.5], ["mixed", 2, "entropy", 2.25]]
    assert load_notes(other).dtypes.astype(str).tolist() == ["category", "int64", "string", "float64"]


@pytest.mark.slow
def test_reading_takes_no_step_of_the_interpreter_a_row(make_run: MakeRun) -> None:
    def steps(trials: int) -> int:
        run = make_run(f"run-{trials}", trials=[{"fitness": 0.5}])
        with sqlite3.connect(run / "history.db") as connection:
            connection.execute(
                "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) INSERT INTO trial "
                "SELECT i, NULL, genotype, key, seed, memo, brief, 2 * i - 1, 2 * i, outcome, i / (2.0 * ?1), "
                "NULL, seconds, NULL, NULL, metrics, NULL, asked_at, told_at, NULL, NULL, cell "
                "FROM trial, n WHERE id = 1",
                [trials],
            )
        connection.close()
        close_in_order(run)
        frame = load_history(run)  # also what is worked out once per process
        assert frame["best_so_far"].iloc[-1] == 0.5
        assert len(frame) == trials
        return bytecodes(lambda: load_history(run))

    assert steps(30_000) - steps(10_000) < 20_000, "rows are gone through by SQLite, numpy and pandas"
