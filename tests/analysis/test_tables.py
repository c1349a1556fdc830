from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.frames import COLUMNS, HistoryError, load_history
from analysis.tables import FORMATS, find_format, for_the_eye, select, write_table

MakeRun = Callable[..., Path]
HOSTILE = '\x1b[31mred\n"quoted", </script> =1+1'


def written(frame: pd.DataFrame, format: str, **options: Any) -> bytes:
    file = BytesIO()
    write_table(frame, file, format, **options)
    return file.getvalue()


def text(frame: pd.DataFrame, format: str, **options: Any) -> str:
    return written(frame, format, **options).decode()


def test_without_wishes_it_is_the_history(mixed: Path) -> None:
    pd.testing.assert_frame_equal(select(mixed), load_history(mixed, columns=COLUMNS))


def test_columns_come_in_the_order_given_each_once(mixed: Path) -> None:
    assert list(select(mixed, columns=["fitness", "id", "fitness"])) == ["fitness", "id"]
    with pytest.raises(ValueError, match="no column 'accuracy'; its columns are: run, strategy"):
        select(mixed, columns=["accuracy"])


def test_the_top_are_those_of_the_highest_fitness_and_ties_stay_in_the_order_told(mixed: Path) -> None:
    found = select(mixed, columns=["id", "fitness"], top=4)
    assert found["id"].tolist() == [9, 1, 3, 2]
    assert found.index.tolist() == [0, 1, 2, 3]
    assert len(select(mixed, top=100)) == 9


def test_rows_are_sorted_by_several_columns_in_their_directions_and_missing_ones_are_last(mixed: Path) -> None:
    found = select(mixed, columns=["id"], sort=["outcome", "fitness:desc"])
    assert found["id"].tolist() == [9, 1, 2, 4, 5, 6, 3, 8, 10]
    assert select(mixed, columns=["id"], sort=["fitness:asc"], top=2)["id"].tolist() == [2, 1]
    with pytest.raises(ValueError, match="sort by a column as in 'fitness' or 'fitness:desc', not 'id:up'"):
        select(mixed, sort=["id:up"])
    with pytest.raises(ValueError, match="no column 'nosuch'"):
        select(mixed, columns=["id"], sort=["nosuch"])


def test_the_table_for_the_eye_leaves_out_what_says_nothing(make_run: MakeRun, mixed: Path) -> None:
    other = make_run("other", [{"fitness": 0.25}])
    assert list(for_the_eye(other)) == ["id", "outcome", "fitness", "seconds", "told_at", "genotype"]
    assert list(for_the_eye([mixed, other])) == [
        *("run", "id", "parent", "outcome", "fitness", "test", "parameters", "mult_adds", "seconds"),
        *("told_at", "genotype"),
    ]


def test_the_table_is_aligned_with_units_that_can_be_read(mixed: Path) -> None:
    frame = select(mixed, columns=["outcome", "id", "fitness", "parameters", "seconds", "told_at"], top=4)
    assert text(frame, "table").splitlines() == [
        "outcome  id  fitness  parameters  seconds        told_at (UTC)",
        "ok        9   0.9000           -      2.0  2023-11-14 22:13:35",
        "ok        1   0.6000       1,000      2.0  2023-11-14 22:13:22",
        "reused    3   0.6000           -        -  2023-11-14 22:13:27",
        "ok        2   0.5000           -      2.0  2023-11-14 22:13:26",
    ]


def test_the_last_text_is_cut_to_the_terminal_and_whole_elsewhere(mixed: Path) -> None:
    frame = select(mixed, columns=["id", "genotype"], top=1)
    _, row = text(frame, "table", width=30).splitlines()
    assert len(row) == 30
    assert row.endswith("...")
    assert frame["genotype"][0] in text(frame, "table")
    assert len(text(frame, "table", width=5).splitlines()[1]) == 2 + 2 + 12, "something of it is always seen"


def test_what_a_terminal_would_obey_is_not_shown_to_one(make_run: MakeRun) -> None:
    frame = select(make_run(trials=[{"outcome": "error", "error": HOSTILE}]), columns=["id", "error"])
    for seen in (text(frame, "table"), text(frame, "csv", plain=True)):
        assert len(seen.splitlines()) == 2
        assert "\x1b" not in seen
    for format, read in (("csv", lambda t: pd.read_csv(BytesIO(t))["error"][0]), ("json", lambda t: json.loads(t)[0])):
        found = read(written(frame, format))
        assert HOSTILE in (found, found["error"] if isinstance(found, dict) else None), "a program gets all of it"


def test_csv_is_read_back_exactly(mixed: Path) -> None:
    frame = select(mixed)
    again = pd.read_csv(BytesIO(written(frame, "csv")), dtype={"error": "string", "parent": "Int64"})
    assert list(again) == list(COLUMNS)
    assert again["fitness"].equals(frame["fitness"])
    assert again["cell"].tolist() == frame["cell"].tolist()
    assert again["told_at"].tolist()[0] == "2023-11-14T22:13:26.500000Z"
    times = pd.to_datetime(again["told_at"]).astype(frame["told_at"].dtype)  # pandas 2 reads nanoseconds
    assert times.equals(frame["told_at"])
    assert again["parent"].equals(frame["parent"])
    assert again["trained"].equals(frame["trained"])


def test_json_is_a_list_of_objects_with_null_and_readable_cells(make_run: MakeRun, mixed: Path) -> None:
    rows = json.loads(text(select(mixed), "json"))
    assert [list(row) for row in rows] == [list(COLUMNS)] * 9
    assert (rows[0]["id"], rows[0]["fitness"], rows[0]["parent"], rows[0]["trained"]) == (2, 0.5, None, True)
    assert (rows[-1]["told"], rows[-1]["told_at"], rows[-1]["outcome"]) == (None, None, None)
    assert set(rows[0]["cell"]) == {"normal", "reduction"}
    assert rows[0]["asked_at"] == "2023-11-14T22:13:25.000000Z"
    odd = make_run("odd", [{"fitness": 0.1 + 0.2, "cell": "{"}])
    assert [(r["fitness"], r["cell"]) for r in json.loads(text(select(odd), "json"))] == [(0.1 + 0.2, None)]


def test_parquet_keeps_types_and_what_the_columns_mean(mixed: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = select(mixed)
    again = pd.read_parquet(BytesIO(written(frame, "parquet")))
    pd.testing.assert_frame_equal(again, frame, check_categorical=False)
    assert again.attrs["columns"] == COLUMNS
    assert not frame.attrs, "the frame that was given is as it was"


def test_parquet_without_its_library_is_one_clear_line(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, original = select(mixed, columns=["id"]), builtins.__import__

    def without(name: str, *given: Any, **named: Any) -> Any:
        if name.partition(".")[0] in ("pyarrow", "fastparquet"):
            raise ImportError(f"No module named {name!r}")
        return original(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"^parquet needs pyarrow: .*evo_nas\[parquet\]'.*--format csv$"):
        written(frame, "parquet")


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_history_is_a_table_of_headings(make_run: MakeRun, format: str) -> None:
    frame = select(make_run("empty"), top=3)
    found = written(frame, format)
    if format == "parquet":
        assert list(pd.read_parquet(BytesIO(found))) == list(COLUMNS)
    else:
        expected = {"csv": ",".join(COLUMNS), "json": "[]", "table": None}[format]
        assert expected in (None, found.decode().strip())
        assert found.decode().count("\n") == 1


def test_long_tables_are_written_in_blocks_without_seams(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = select(make_run(trials=[{"fitness": i / 10} for i in range(7)]))
    whole = [written(frame, format) for format in ("csv", "json")]
    monkeypatch.setattr("analysis.tables._ROWS", 3)
    assert [written(frame, format) for format in ("csv", "json")] == whole
    assert len(json.loads(whole[1])) == 7


def test_the_format_is_that_of_the_name_unless_it_is_said() -> None:
    names = {"t.csv": "csv", "t.JSON": "json", "t.parquet": "parquet", "t.pq": "parquet", "t.txt": "table"}
    assert {name: find_format(None, Path(name)) for name in names} == names
    assert find_format("json", Path("t.csv")) == "json"
    assert find_format(None, None) == "table"


def test_there_are_no_other_formats(mixed: Path) -> None:
    with pytest.raises(ValueError, match="written as table, csv, json, parquet, not 'xml'"):
        written(select(mixed), "xml")


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="there is no run at"):
        for_the_eye(tmp_path / "nowhere")


def test_a_text_that_a_spreadsheet_would_compute_is_marked_in_csv_alone() -> None:
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "1=1", None, "'=1"]
    frame = pd.DataFrame({"error": pd.array(texts, "string"), "run": pd.Categorical(texts), "seconds": -1.0})
    read = pd.read_csv(StringIO(text(frame, "csv")))
    expected = ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\t=1", "1=1", None, "'=1"]
    assert read["error"].astype(object).where(read["error"].notna(), None).tolist() == expected
    assert read["run"].astype(object).where(read["run"].notna(), None).tolist() == expected
    assert read["seconds"].tolist() == [-1.0] * len(texts)
    assert [row["error"] for row in json.loads(text(frame, "json"))] == texts
