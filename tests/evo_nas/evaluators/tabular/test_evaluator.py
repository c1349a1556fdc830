"""The tabular evaluator: what it looks up, what it reads, and what it says of a damaged table."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import pickle
import sqlite3
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evo_nas.cli import main
from evo_nas.errors import DataError, EvoNasError, UsageError
from evo_nas.evaluators.base import Job, evaluate_safely
from evo_nas.evaluators.tabular import table
from evo_nas.evaluators.tabular.evaluator import TabularEvaluator
from genotypes.catalogue import build_space
from genotypes.individual import Outcome
from genotypes.space import SearchSpace

BITS = build_space("bits(length=3)")
ROWS = [
    (f"bits(length=3):{a}.{b}.{c}", 10 * a + 20 * b + 40 * c, 70 - 10 * a)
    for a, b, c in itertools.product((0, 1), repeat=3)
]
TEXT = "net,val,test\n" + "".join(f"{net},{val},{test}\n" for net, val, test in ROWS)
PERCENT = {"column": "val", "test_column": "test", "table_unit": "percent"}


def prepared(path: Path, space: SearchSpace = BITS, **options: Any) -> TabularEvaluator:
    evaluator = TabularEvaluator(table=path, **(PERCENT | options))
    evaluator.bind(space)
    evaluator.prepare(path.parent)
    return evaluator


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write a table: ``written(text, "name.csv")``."""

    def write(text: str = TEXT, name: str = "table.csv") -> Path:
        (tmp_path / name).write_text(text, "utf-8")
        return tmp_path / name

    return write


def looked_up(evaluator: TabularEvaluator) -> list[tuple[float | None, float | None, float | None]]:
    found = []
    for number, (text, *_) in enumerate(ROWS, start=1):
        evaluation = evaluator.evaluate(Job(number, BITS.parse(text), seed=0))
        found.append((evaluation.fitness, evaluation.test_fitness, evaluation.seconds))
    return found


EXPECTED = [(val / 100, test / 100, 0.0) for _, val, test in ROWS]


def test_fitness_and_report_are_those_of_the_row_as_fractions(written: Callable[..., Path]) -> None:
    assert looked_up(prepared(written())) == EXPECTED
    fractions = "net,val,test\n" + "".join(f"{net},{val / 100},{test / 100}\n" for net, val, test in ROWS)
    assert looked_up(prepared(written(fractions), table_unit="fraction")) == EXPECTED


def test_without_a_test_column_there_is_no_test_fitness(written: Callable[..., Path]) -> None:
    assert looked_up(prepared(written(), test_column=None)) == [(val, None, 0.0) for val, _, _ in EXPECTED]


def test_the_optimum_is_the_best_of_the_column_and_known_once_prepared(written: Callable[..., Path]) -> None:
    evaluator = TabularEvaluator(table=written(), **PERCENT)
    evaluator.bind(BITS)
    assert evaluator.optimum is None
    evaluator.prepare(Path())
    assert evaluator.optimum == 0.7
    assert prepared(written(), column="test", test_column="val").optimum == 0.7


@pytest.mark.parametrize("name", ["t.csv", "t.txt", "t.csv.gz", "t.csv.bz2", "t.csv.xz", "t.csv.zip", "T.CSV.GZ"])
def test_csv_is_read_packed_or_not(tmp_path: Path, name: str) -> None:
    data, path = TEXT.encode(), tmp_path / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("t.csv", data)
    else:
        packers = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
        path.write_bytes(packers.get(path.suffix.lower(), bytes)(data))
    assert looked_up(prepared(path)) == EXPECTED


@pytest.mark.parametrize("index", [None, "net"])
def test_parquet_is_read_with_the_genotypes_as_a_column_or_as_the_index(tmp_path: Path, index: str | None) -> None:
    pytest.importorskip("pyarrow", reason="pandas reads parquet with pyarrow: python -m pip install 'evo_nas[parquet]'")
    import pandas as pd

    frame = pd.DataFrame(ROWS, columns=["net", "val", "test"])
    (frame.set_index(index) if index else frame).to_parquet(tmp_path / "t.parquet")
    assert looked_up(prepared(tmp_path / "t.parquet")) == EXPECTED


@pytest.mark.parametrize("what", ["rows", "letters"])
def test_a_parquet_file_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    pa = pytest.importorskip("pyarrow", reason="pandas reads parquet with pyarrow")
    from pyarrow import parquet

    monkeypatch.setattr(table, "LARGEST", 10**7)
    rows, text = (10**6, "1") if what == "rows" else (1000, "1" * 20_000)
    texts = pa.array([text]).dictionary_encode().take(pa.array([0] * rows))
    parquet.write_table(pa.table({"net": texts, "val": pa.array([1.0] * rows)}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 10_000
    with pytest.raises(DataError, match=r"cannot read the table .*: unpacked it has more than 10,000,000 bytes"):
        prepared(tmp_path / "t.parquet", test_column=None)


def test_a_damaged_parquet_row_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pandas reads parquet with pyarrow: python -m pip install 'evo_nas[parquet]'")
    import pandas as pd

    frame = pd.DataFrame(ROWS, columns=["net", "val", "test"]).astype({"val": float})
    frame.loc[2, "val"] = None
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet, row 3: val is"):
        prepared(tmp_path / "t.parquet")
    frame.assign(val=["much"] * 8).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet, row 1: val is much, which is no number"):
        prepared(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_text(TEXT)
    with pytest.raises(DataError, match=r"cannot read the table .*t\.parquet") as caught:
        prepared(tmp_path / "t.parquet")
    assert "\n" not in str(caught.value)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pyarrow", "pyarrow.parquet", "fastparquet"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"needs pyarrow: python -m pip install pyarrow, or write the table as CSV$"):
        prepared(tmp_path / "t.parquet")


def test_the_key_column_can_stand_anywhere(written: Callable[..., Path]) -> None:
    text = "id,val,note,net,test\n" + "".join(f"{i},{v},n,{net},{t}\n" for i, (net, v, t) in enumerate(ROWS))
    assert looked_up(prepared(written(text), key="net")) == EXPECTED
    with pytest.raises(DataError, match=r"line 2: '0' is no genotype: .*named with --set evaluator.key=NAME\)"):
        prepared(written(text))


def test_what_spreadsheets_write_changes_nothing(written: Callable[..., Path]) -> None:
    text = "\ufeff" + TEXT.replace(",", " , ").replace("\n", "\r\n") + "\r\n\r\n"
    assert looked_up(prepared(written(text), key="net")) == EXPECTED
    quoted = TEXT.replace("net", '"net"').replace("bits(length=3):0.0.1", '"bits(length=3):0.0.1"')
    assert looked_up(prepared(written(quoted))) == EXPECTED


def test_a_spelling_of_the_same_network_finds_its_row(written: Callable[..., Path]) -> None:
    space = build_space("nasnet(blocks=1,ops=identity,combines=add)")
    text = f'net,val\n"{space.spelling}:0.1.0.0.0.1.1.0.0.0",12.5\n'
    evaluator = prepared(written(text), space, test_column=None, partial=True)
    swapped = space.genotype([1, 0, 0, 0, 0, 1, 1, 0, 0, 0])
    assert evaluator.evaluate(Job(1, swapped, 0)).fitness == 0.125


def test_architecture_strings_and_genotype_texts_can_be_mixed(written: Callable[..., Path]) -> None:
    space = build_space("nasbench201")
    text = "net,val\n|none~0|+|none~0|none~1|+|none~0|none~1|none~2|,1\nnasbench201:0.0.0.0.0.1,2\n"
    evaluator = prepared(written(text), space, test_column=None, partial=True)
    found = [evaluator.evaluate(Job(1, space.genotype([0] * 5 + [last]), 0)).fitness for last in (0, 1)]
    assert found == [0.01, 0.02]


def row(number: int, text: str) -> str:
    """Replace one line of the table, counted from 1 with the header."""
    lines = TEXT.splitlines()
    lines[number - 1] = text
    return "\n".join(lines) + "\n"


NET = ROWS[2][0]
BAD: list[tuple[str, dict[str, Any], type[EvoNasError], str]] = [
    (row(4, f"{NET},much,1"), {}, DataError, "line 4: val is much, which is no number; mend it or remove the row"),
    (row(4, f"{NET},8_4,1"), {}, DataError, "line 4: val is 8_4, which is no number"),
    (row(4, f"{NET},,1"), {}, DataError, "line 4: val is empty; mend it or remove the row"),
    (row(4, f"{NET},NaN,1"), {}, DataError, "line 4: val is NaN, which is no number"),
    (row(4, f"{NET},1,nan"), {}, DataError, "line 4: test is nan, which is no number"),
    (row(4, f"{NET},inf,1"), {}, DataError, "line 4: val is inf, but a percent is from 0 to 100"),
    (row(4, f"{NET},100.1,1"), {}, DataError, "line 4: val is 100.1, but a percent is from 0 to 100"),
    (row(4, f"{NET},-1,1"), {}, DataError, "line 4: val is -1, but a percent is from 0 to 100"),
    (
        TEXT,
        {"table_unit": "fraction"},
        DataError,
        "line 2: test is 70, but a fraction is from 0 to 1; .* --table-unit p",
    ),
    (
        row(4, f"{ROWS[0][0]},1,1"),
        {},
        DataError,
        r"line 4: bits.* is the same network as in line 2; remove one of them",
    ),
    (row(4, "bits:0.1.0,1,1"), {}, DataError, r"line 4: the genotype is of space 'bits', not of 'bits\(length=3\)'"),
    (row(4, "bits(length=3):0.1.2,1,1"), {}, DataError, r"line 4: choice 2 \(bit2\) is 2"),
    (row(4, ",1,1"), {}, DataError, "line 4: '' is no genotype"),
    (
        row(4, f"{NET},1"),
        {},
        DataError,
        "line 4: 2 fields, but the header has 3; a text that holds a comma stands in quotes",
    ),
    (row(4, f"{NET},1,1,1"), {}, DataError, "line 4: 4 fields, but the header has 3"),
    (row(4, f"\n\n{NET},much,1"), {}, DataError, "line 6: val is much"),
    (TEXT + '\n"a\nb\nc",1,1\n', {}, DataError, "line 11: .* is no genotype"),
    (TEXT.replace("net,", '"net\n\n",'), {"column": "test", "table_unit": "fraction"}, DataError, "line 4: test is 70"),
    (f'net,val,test,note\n{NET},1,1,"a\nb"\n{ROWS[0][0]},much,1,\n', {}, DataError, "line 4: val is much"),
    (row(4, f"{NET},1,{'9' * 200_000}"), {}, DataError, "line 4: this is no CSV; field larger than field limit"),
    ("", {}, DataError, "is empty$"),
    ("\n", {}, DataError, "is empty$"),
    ("net,val,test\n", {}, DataError, "has no rows below its header$"),
    (TEXT, {"column": "vla"}, UsageError, "has no column 'vla'; its columns are: net, val, test"),
    (TEXT, {"test_column": "vla"}, UsageError, "has no column 'vla'; its columns are: net, val, test"),
    (TEXT, {"key": "vla"}, UsageError, "has no column 'vla'; its columns are: net, val, test"),
    (TEXT.replace("test", "val", 1), {"test_column": None}, UsageError, "has more than one column 'val'"),
    (TEXT.replace("test", ",".join("abcdefghijklmnopqrstuvw")), {"column": "x"}, UsageError, r"p, q, r, \.\.\.$"),
]


@pytest.mark.parametrize(("text", "options", "error", "message"), BAD, ids=lambda value: str(value)[:30])
def test_a_damaged_table_is_refused_in_one_line_that_names_the_place(
    written: Callable[..., Path], text: str, options: dict[str, Any], error: type[EvoNasError], message: str
) -> None:
    path = written(text)
    with pytest.raises(error, match=message) as caught:
        prepared(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.csv.gz", b"no gzip"),
        ("t.csv.gz", gzip.compress(TEXT.encode(), mtime=0)[:-20]),  # the same for all workers that collect it
        ("t.csv.bz2", b"no bzip2"),
        ("t.csv.xz", b"no xz"),
        ("t.csv.zip", b"no zip"),
        ("t.csv", TEXT.encode("utf-16")),
        ("t.pkl", pickle.dumps(ROWS)),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=f"cannot read the table .*{name}") as caught:
        prepared(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_packed_table_that_grows_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "LARGEST", 10_000)
    for pack, name in ((gzip.compress, "t.csv.gz"), (bz2.compress, "t.csv.bz2"), (lzma.compress, "t.csv.xz")):
        (tmp_path / name).write_bytes(pack(TEXT.encode() + b"0" * 1_000_000))
        with pytest.raises(DataError, match="unpacked it has more than 10,000 bytes"):
            prepared(tmp_path / name)


def test_a_zip_archive_of_several_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.csv", TEXT)
        archive.writestr("b.csv", TEXT)
    with pytest.raises(DataError, match="the archive holds 2 files, not one"):
        prepared(tmp_path / "t.zip")


def test_missing_genotypes_are_counted_and_the_first_is_named(written: Callable[..., Path]) -> None:
    lines = TEXT.splitlines()
    path = written("\n".join([*lines[:3], *lines[6:]]))
    with pytest.raises(
        DataError, match=r"no row for 3 networks of .*, the first is bits\(length=3\):0.1.0 \(010\); add"
    ):
        prepared(path)
    evaluator = prepared(path, partial=True)
    evaluation = evaluate_safely(evaluator, Job(1, BITS.genotype([0, 1, 0]), 0))
    assert (evaluation.outcome, evaluation.fitness, evaluation.seconds) == (Outcome.INVALID, None, 0.0)
    assert evaluation.error == f"bits(length=3):0.1.0 (010) has no row in the table {path}"
    assert evaluate_safely(evaluator, Job(1, BITS.genotype([0, 0, 1]), 0)).fitness == 0.4


def test_a_space_of_symmetric_genotypes_needs_one_row_a_network(written: Callable[..., Path]) -> None:
    space = build_space("nasnet(blocks=1,ops=identity,combines=add)")
    states = itertools.product((0, 1), repeat=4)
    genotypes = [space.genotype([a, b, 0, 0, 0, c, d, 0, 0, 0]) for a, b, c, d in states]
    rows = [f'"{genotype}",1\n' for genotype in {space.key(genotype): genotype for genotype in genotypes}.values()]
    assert (space.size, len(genotypes), len(rows)) == (16, 16, 9)
    prepared(written("net,val\n" + "".join(rows)), space, test_column=None)
    with pytest.raises(DataError, match="has no row for 1 network of the space"):
        prepared(written("net,val\n" + "".join(rows[:1] + rows[2:])), space, test_column=None)


def test_a_space_too_large_to_go_through_may_have_any_rows(written: Callable[..., Path]) -> None:
    space = build_space("nasnet")
    rng = np.random.default_rng(0)
    known, unknown = space.sample(rng), space.sample(rng)
    evaluator = prepared(written(f"net,val\n{known},50\n"), space, test_column=None)
    assert evaluator.evaluate(Job(1, known, 0)).fitness == 0.5
    assert evaluate_safely(evaluator, Job(2, unknown, 0)).outcome is Outcome.INVALID


def test_a_process_reads_a_table_once_until_the_file_changes(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    text = table._text
    monkeypatch.setattr(table, "_text", lambda path: (read.append(path), text(path))[1])
    path = written()
    for _ in range(3):
        assert looked_up(prepared(path)) == EXPECTED
    assert read == [path]
    prepared(path, column="test")
    assert len(read) == 2, "another column"
    written(TEXT.replace(",70,", ",71,"))
    assert prepared(path).optimum == 0.71
    assert len(read) == 3, "another content"
    evaluator = prepared(path)
    written(TEXT.replace(",70,", ",72.5,"))
    evaluator.prepare(path.parent)
    assert evaluator.optimum == 0.725, "another content under the same evaluator"


def test_the_pickle_leaves_the_table_out(written: Callable[..., Path]) -> None:
    evaluator = prepared(written())
    carried = pickle.dumps(evaluator)
    again = pickle.loads(carried)
    assert again.optimum is None, "no table came along"
    assert looked_up(again) == EXPECTED


def test_binding_to_another_space_forgets_the_table(written: Callable[..., Path]) -> None:
    evaluator = prepared(written())
    evaluator.bind(build_space("bits(length=4)"))
    assert evaluator.optimum is None
    with pytest.raises(DataError, match=r"line 2: the genotype is of space 'bits\(length=3\)'"):
        evaluator.prepare(Path())


RUN = ("run", "--strategy", "random", "--space", "bits", "--set", "space.length=3", "--evaluator", "tabular")
FLAGS = ("--column", "val", "--test-column", "test", "--table-unit", "percent")


def test_a_run_records_the_report_and_is_resumed_from_another_folder(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = written().parent
    monkeypatch.chdir(folder)
    search = (*RUN, "--table", "table.csv", *FLAGS, "--repeats", "retrain", "--run-dir", "run")
    assert main([*search, "--trials", "9"]) == 0
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert main(["resume", "../run", "--trials", "12"]) == 0
    with sqlite3.connect(folder / "run" / "history.db") as connection:
        rows = connection.execute("SELECT genotype, 100 * fitness, 100 * test, seconds FROM trial").fetchall()
    connection.close()
    truth = {net: (val, test) for net, val, test in ROWS}
    assert len(rows) == 12
    for net, fitness, test, seconds in rows:
        assert (fitness, test) == pytest.approx(truth[net])
        assert seconds == 0
    capsys.readouterr()


def test_a_bad_table_ends_a_run_before_it_begins(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(row(4, f"{NET},much,1"))
    folder = path.parent / "run"
    for flags, code, message in (
        (FLAGS, 4, "table.csv, line 4: val is much, which is no number"),
        (("--column", "nosuch"), 2, "has no column 'nosuch'; its columns are: net, val, test"),
    ):
        assert main([*RUN, "--table", str(path), *flags, "--run-dir", str(folder)]) == code
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1, err
        assert not folder.exists()


def test_variables_name_the_table_too(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVO_NAS_TABLE", str(written()))
    monkeypatch.setenv("EVO_NAS_COLUMN", "val")
    monkeypatch.setenv("EVO_NAS_TABLE_UNIT", "percent")
    assert main([*RUN, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert 'column = "val"\ntable_unit = "percent"' in out
    assert "takes about 0.0 s;" in out


@pytest.mark.data
def test_nasbench201_is_read_once_row_by_row_and_its_optima_are_known(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = build_space("nasbench201")
    path = shared_data / "nasbench201.csv.gz"
    table.read_table.cache_clear()
    looks = Counter[str]()
    for name in ("parse", "key"):
        method = getattr(type(space), name)
        monkeypatch.setattr(type(space), name, lambda *given, n=name, m=method: looks.update([n]) or m(*given))
    for _ in range(2):  # the second time it is in memory
        evaluator = prepared(path, space, column="cifar10_val_12", test_column="cifar10_test_200")
    assert looks == {"parse": space.size, "key": space.size} == {"parse": 15_625, "key": 15_625}
    assert evaluator.optimum == pytest.approx(0.84892)
    for column, optimum in (("cifar100_val_12", 0.6132), ("imagenet16_val_12", 0.386667)):
        assert prepared(path, space, column=column, test_column=None).optimum == pytest.approx(optimum)
    run = ("run", "--strategy", "random", "--space", "nasbench201", "--evaluator", "tabular", "--table", str(path))
    flags = ("--column", "cifar10_val_12", "--test-column", "cifar10_test_200", "--table-unit", "percent")
    assert main([*run, *flags, "--trials", "50", "--run-dir", str(tmp_path / "run")]) == 0
    with sqlite3.connect(tmp_path / "run" / "history.db") as connection:
        query = "SELECT key, fitness, test FROM trial ORDER BY fitness DESC, told LIMIT 1"
        architecture, fitness, test = connection.execute(query).fetchone()
    connection.close()
    with gzip.open(path, "rt") as file:
        header = next(file).strip().split(",")
        (line,) = (line for line in file if line.startswith(f"{architecture},"))
    row = dict(zip(header, line.strip().split(","), strict=True))
    assert (fitness, test) == (float(row["cifar10_val_12"]) / 100, float(row["cifar10_test_200"]) / 100)
