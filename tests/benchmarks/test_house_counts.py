"""The counts of the house, on a checkout so small that each of them is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.house import LIMIT, House, count_house, find_participle, main
from benchmarks.sources import UnreadableCheckout

FILES = {
    "evo_nas/__init__.py": '''
"""Give the face."""
def __getattr__(name):
    from evo_nas import run
    return run
''',
    "evo_nas/run.py": '''
"""Return nothing."""
import numpy
from evo_nas.storage.schema import TRIAL
from evo_nas import storage
class Place:
    """A place."""
    @property
    def seeded(self):
        """Whether it is."""
    def settled(self):
        """Say so.

        Two lines more.
        """
        def pick_taken():
            pass
        return pick_taken
def read_seed(): parser.add_argument("--a"); parser.add_argument("--b")
def is_closed(): return "SELECT is written here, FROM no table"
''',
    "evo_nas/storage/__init__.py": "",
    "evo_nas/storage/schema.py": '''
"""Give the ``CREATE TABLE letter (id)`` of a docstring, which is none."""
TRIAL = "CREATE TABLE trial (id)"
CURVE = f"CREATE TABLE IF NOT EXISTS curve ({TRIAL})"
''',
    "evo_nas/storage/reader.py": '''
from typing import TYPE_CHECKING
from . import schema
if TYPE_CHECKING:
    from ..run import Place
def rows(db, table):
    """"Return" the rows."""
    return db.execute("SELECT id FROM trial"), db.execute(f"SELECT * FROM {table}"), "a trial"
''',
    "evo_nas/storage/kernel.c": "int a;\nint b;\n",
    "strategies/__init__.py": "",
    "strategies/catalogue.py": 'STRATEGIES = {"one": "strategies.one:One"}\nimport strategies\n',
    "strategies/one.py": "import strategies.catalogue\nclass Place: pass\nclass One: pass\n",
    "genotypes/__init__.py": "",
    "genotypes/cell.py": "def find():\n    import_module('genotypes.space')\n",
    "genotypes/space.py": "def find():\n    from genotypes.cell import find\n",
    "analysis/__init__.py": "",
    "analysis/frames.py": """
from evo_nas.storage import reader
QUERY = "delete" + "DELETE FROM curve"
PAGE = Table("heading"), "strategies"
""",
    "analysis/report/page.js": "one();\ntwo();\nthree();",
    "analysis/__pycache__/old.py": "not Python",
    "tests/test_all.py": "1\n2\n",
    "tests/storage/test_schema.py": "1\n2\n3\n",
    "benchmarks/scale.py": "1\n",
    "docs/guide.md": "# Guide\n\none two three\n",
    "README.md": "four\n",
}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.removeprefix("\n"), "utf-8")
    return root


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return write(tmp_path, FILES)


@pytest.fixture
def house(checkout: Path) -> House:
    return count_house(checkout)


def test_loose_files_are_those_directly_in_a_package(house: House) -> None:
    assert house.loose == {"evo_nas": 2, "strategies": 3, "genotypes": 3, "analysis": 2}
    assert house.files == 13


def test_files_above_the_limit_and_the_largest_are_named_with_their_lines(checkout: Path) -> None:
    write(checkout, {"analysis/long.py": "1\n" * (LIMIT + 1), "analysis/at_limit.py": "1\n" * LIMIT})
    house = count_house(checkout)
    assert house.above_limit == {"analysis/long.py": LIMIT + 1}
    assert list(house.largest.items())[:2] == [("analysis/long.py", LIMIT + 1), ("analysis/at_limit.py", LIMIT)]
    assert len(house.largest) == 10


def test_functions_are_counted_without_their_docstrings_and_with_those_inside(house: House) -> None:
    assert house.functions == 9
    assert list(house.longest.items())[:2] == [
        ("evo_nas/run.py:10 Place.settled", 4),
        ("evo_nas/__init__.py:2 __getattr__", 3),
    ]
    assert house.longest["evo_nas/run.py:15 Place.settled.pick_taken"] == 2
    assert house.function_lines == {"median": 2, "99 % are at most": 3, "longest": 4}


def test_a_docstring_paraphrases_if_it_opens_with_a_question_or_a_function_has_no_verb(checkout: Path) -> None:
    assert count_house(checkout).paraphrases == []
    write(
        checkout,
        {
            "analysis/a.py": '"""What it is."""\nclass One:\n    """A thing."""\n',
            "analysis/b.py": 'def go():\n    """The rows."""\n    def end():\n        """Return them."""\n',
        },
    )
    assert count_house(checkout).paraphrases == ["analysis/a.py:1 What", "analysis/b.py:1 The"]


def test_imports_are_told_apart_by_when_they_are_executed(house: House) -> None:
    # run: two; reader: schema; catalogue, one and frames: one each. Lazy: the face, and both files of genotypes.
    assert house.imports == {"load": 6, "lazy": 3, "types": 1, "named": 1}


def test_a_circle_of_lazy_imports_is_found(house: House) -> None:
    assert house.graphs["files"].circles == [["genotypes/cell.py", "genotypes/space.py"]]
    assert house.graphs["rooms, genotypes alone"].circles == [["genotypes/cell", "genotypes/space"]]


def test_a_circle_that_imports_for_types_close_is_found(house: House) -> None:
    assert house.graphs["rooms, evo_nas alone"].circles == [["evo_nas/run", "evo_nas/storage"]]


def test_a_circle_that_only_a_string_closes_is_counted_apart(house: House) -> None:
    named = house.graphs["files, with modules that strings name"].circles
    assert named == [["genotypes/cell.py", "genotypes/space.py"], ["strategies/catalogue.py", "strategies/one.py"]]


def test_a_circle_is_every_file_that_leads_to_every_other_and_no_more(tmp_path: Path) -> None:
    ring = {f"genotypes/{a}.py": f"import genotypes.{b}\n" for a, b in [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]}
    circles = count_house(write(tmp_path, FILES | ring)).graphs["files"].circles
    assert circles[0] == ["genotypes/a.py", "genotypes/b.py", "genotypes/c.py"]


@pytest.mark.parametrize(
    ("name", "nodes", "arrows"),
    [
        ("files", 13, 10),
        ("files, with modules that strings name", 13, 11),
        ("rooms, every package open", 11, 8),
        ("rooms, evo_nas open, others closed", 6, 4),
        ("rooms, evo_nas alone", 3, 3),
        ("rooms, strategies alone", 3, 2),
        ("rooms, analysis alone", 2, 0),
    ],
)
def test_arrows_are_counted_between_files_and_between_rooms(house: House, name: str, nodes: int, arrows: int) -> None:
    assert (house.graphs[name].nodes, house.graphs[name].arrows) == (nodes, arrows)


def test_lines_are_counted_by_kind(house: House) -> None:
    lines = house.lines
    assert lines.python == 45
    assert (lines.c, lines.web, lines.tests, lines.benchmarks, lines.docs, lines.docs_words) == (2, 3, 5, 1, 4, 6)
    assert lines.tests_by_folder == {"storage": 3, ".": 2}


def test_openings_are_first_words_of_docstrings(house: House) -> None:
    assert house.openings == {"Give": 2, "Return": 2, "A": 1, "Whether": 1, "Say": 1}
    assert house.docstrings == 7
    assert house.watched == {"Give": 2, "Say": 1, "Tell": 0, "Return": 2, "Raise": 0, "Write": 0}


def test_participles_are_found_in_functions_and_not_in_properties(house: House) -> None:
    assert house.first_participles == ["evo_nas/run.py:10 Place.settled"]
    assert house.last_participles == ["evo_nas/run.py:15 Place.settled.pick_taken"]


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("planned", "first"),
        ("_written_whole", "first"),
        ("told", "first"),
        ("build_kept", "last"),
        ("read_log", ""),
        ("set", ""),
        ("draw_seed", ""),
        ("is_closed", ""),
        ("has_ended", ""),
        ("__added__", ""),
        ("_", ""),
        ("plan", ""),
    ],
)
def test_which_word_of_a_name_is_a_participle(name: str, where: str) -> None:
    assert find_participle(name) == where


def test_classes_of_one_name_are_listed_with_their_files(house: House) -> None:
    assert house.repeated_classes == {"Place": ["evo_nas/run.py", "strategies/one.py"]}


def test_calls_of_add_argument_are_counted(house: House) -> None:
    assert house.add_arguments == {"evo_nas/run.py": 2}


def test_sql_is_found_by_the_tables_of_the_schema_and_not_in_docstrings(house: House) -> None:
    assert house.tables == ["curve", "trial"]
    assert house.sql == {"evo_nas/storage/schema.py": 2, "evo_nas/storage/reader.py": 2, "analysis/frames.py": 1}


@pytest.mark.parametrize(
    "schema",
    [
        'Trial = Table("trial", "id")\nCurve = Table(name="curve")\n',
        'TABLES: Final = {"trial": ("id",), "curve": ("epoch",)}\n',
    ],
)
def test_the_tables_of_a_schema_that_builds_its_statements_are_found(checkout: Path, schema: str) -> None:
    write(checkout, {"evo_nas/storage/schema.py": schema + 'MAKE = f"CREATE TABLE {name} ({columns})"\n'})
    house = count_house(checkout)
    assert house.tables == ["curve", "trial"]
    assert house.sql == {"evo_nas/storage/reader.py": 2, "evo_nas/storage/schema.py": 1, "analysis/frames.py": 1}


def test_the_command_prints_text_and_json(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["house", str(checkout), "--json"])
    main()
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["graphs"]["files"] == {
        "nodes": 13,
        "arrows": 10,
        "circles": [["genotypes/cell.py", "genotypes/space.py"]],
    }
    monkeypatch.setattr("sys.argv", ["house", str(checkout), "--tables", "curve"])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert "       13       10        1  files" in lines
    assert lines.count("        2  genotypes/cell, genotypes/space") == 1, "a circle of several graphs is printed once"
    assert "  Place: evo_nas/run.py, strategies/one.py" in lines
    assert "Strings with SQL on the history (curve): 3 in 3 files" in lines


def test_what_is_no_checkout_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["house", str(tmp_path)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert capsys.readouterr().err == (
        f"house: {tmp_path} has no folder 'evo_nas': name the root of a checkout of evo_nas\n"
    )


def test_a_file_that_is_no_python_and_a_missing_schema_are_named(checkout: Path) -> None:
    write(checkout, {"evo_nas/storage/schema.py": "TRIAL = 1\n"})
    with pytest.raises(UnreadableCheckout, match="no CREATE TABLE"):
        count_house(checkout)
    assert count_house(checkout, ["trial"]).tables == ["trial"]
    write(checkout, {"analysis/frames.py": "def\n"})
    with pytest.raises(UnreadableCheckout, match=r"analysis/frames\.py cannot be parsed"):
        count_house(checkout)
