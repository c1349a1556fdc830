"""Count the house: rooms, arrows and circles, long files and functions, lines, names, words, and where SQL stands.

    python -m benchmarks.house [ROOT] [--json] [--tables trial,curve]

ROOT is a checkout of evo_nas and defaults to the one that this file lies in, so that one script counts a checkout
before a change and one after it. Nothing is imported from ROOT: its files are parsed, and its folders are read as they
are. These rules decide what is counted:

* Product is what lies in the four packages. A room is a first-level folder of a package with all that is below it, or a
  loose file (a Python file directly in a package, ``__init__.py`` too).
* An arrow leads from one file or room to another that it imports: at load, inside a function or for types only, and by
  ``import_module`` with a literal name. A circle is a set of files or rooms each of which leads to every other. Modules
  that a string names (catalogues, lazy faces) are counted apart.
* The lines of a function are those from ``def`` to its end, without its docstring; nested functions and methods count.
* An opening is the first word of the docstring of a module, class or function. It paraphrases if it is a question word
  (``QUESTIONS``), or in a function, where a verb belongs, a word that begins a noun (``DETERMINERS``).
* A function is named by a participle if the first or the last word of its name is one (``PARTICIPLES``, or -ed).
  Properties are attributes and may be adjectives; what opens with a word of ``PREDICATES`` asks a question; neither is
  counted.
* SQL on the history is a string that has an SQL word in capitals and the name of a table; or a placeholder where the
  table's name belongs. The names are read from ``CREATE TABLE``, from calls of ``Table("name", ...)`` and from the keys
  of a dictionary ``TABLES``; ``--tables`` names them instead.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from benchmarks.sources import (
    PACKAGES,
    WEB,
    C,
    FunctionNode,
    Graph,
    Source,
    UnreadableCheckout,
    count_lines,
    draw_graphs,
    find_files,
    find_imports,
    name_of,
    read_product,
    string_statements,
)

LIMIT: Final = 450
"""Lines that no file of ours should exceed."""
WATCHED: Final = ("Give", "Say", "Tell", "Return", "Raise", "Write")
"""Openings that are counted even where they are rare."""
QUESTIONS: Final = frozenset("How What When Where Which Who Whoever Whose Why".split())  # noqa: SIM905
DETERMINERS: Final = frozenset("A All An Each Every It Nothing One That The These This Those Whether".split())  # noqa: SIM905

NO_PARTICIPLES: Final = frozenset(
    "bed bleed breed embed exceed feed heed hundred indeed need proceed red seed shed speed succeed weed".split()  # noqa: SIM905
)
"""Words in -ed that are none."""
PARTICIPLES: Final = frozenset(
    """
    begun bent born bought bound broken brought built caught chosen dealt done drawn driven fallen felt forgotten
    forgiven found frozen given gone grown heard held hidden hung kept known laid left lent lost made meant met
    paid proven said seen sent shown slept sold sought spent spoken stood stuck swept taken taught thrown told
    torn understood unknown won worn woven written
    """.split()  # noqa: SIM905
)
"""Irregular participles, without those that are their own infinitives: ``read``, ``set``, ``split`` or ``cut`` name
what a function does."""
PREDICATES: Final = frozenset("are can did does had has have is may must needs should was were will".split())  # noqa: SIM905

SQL_WORD: Final = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|ALTER|DROP|FROM|JOIN|INTO)\b")
UNNAMED_TABLE: Final = re.compile(r"\b(FROM|JOIN|INTO|UPDATE|TABLE(?: IF(?: NOT)? EXISTS)?)\s+\{\}")
CREATED_TABLE: Final = re.compile(r"\bCREATE TABLE(?: IF NOT EXISTS)? (\w+)")


@dataclass(frozen=True)
class Function:
    """A function or method: where it stands, its name without and with its owners, and its lines."""

    file: str
    line: int
    name: str
    path: str
    lines: int
    is_property: bool


@dataclass(frozen=True)
class Lines:
    """Lines of each kind of text; ``docs`` are the Markdown pages in ``docs/`` and at the root."""

    python: int
    c: int
    web: int
    tests: int
    benchmarks: int
    docs: int
    docs_words: int
    tests_by_folder: dict[str, int]


@dataclass(frozen=True)
class House:
    """All that is counted."""

    loose: dict[str, int]
    files: int
    above_limit: dict[str, int]
    largest: dict[str, int]
    functions: int
    function_lines: dict[str, int]
    longest: dict[str, int]
    imports: dict[str, int]
    graphs: dict[str, Graph]
    lines: Lines
    docstrings: int
    openings: dict[str, int]
    watched: dict[str, int]
    paraphrases: list[str]
    first_participles: list[str]
    last_participles: list[str]
    repeated_classes: dict[str, list[str]]
    add_arguments: dict[str, int]
    tables: list[str]
    sql: dict[str, int]


# Functions, docstrings and names


def find_functions(sources: Iterable[Source]) -> Iterator[Function]:
    """Yield every function and method, nested ones too."""

    def visit(source: Source, node: ast.AST, owners: tuple[str, ...]) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, FunctionNode):
                path = ".".join((*owners, child.name))
                yield Function(source.file, child.lineno, child.name, path, _lines_of(child), _is_property(child))
            own = (child.name,) if isinstance(child, FunctionNode | ast.ClassDef) else ()
            yield from visit(source, child, (*owners, *own))

    for source in sources:
        yield from visit(source, source.tree, ())


def _is_property(function: FunctionNode) -> bool:
    marks = {name_of(mark.func if isinstance(mark, ast.Call) else mark) for mark in function.decorator_list}
    return bool(marks & {"property", "cached_property", "setter"})


def _lines_of(function: FunctionNode) -> int:
    """Return the lines of a function without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        first = function.body[0]
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def _documented(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | FunctionNode]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | FunctionNode) and ast.get_docstring(node, clean=False):
            yield node


def _opening(node: ast.Module | ast.ClassDef | FunctionNode) -> str:
    words = (ast.get_docstring(node) or "").split()
    return words[0].strip(".,:;!?()`'\"") if words else ""


def count_openings(sources: Iterable[Source]) -> Counter[str]:
    """Return how often each word opens a docstring."""
    return Counter(_opening(node) for source in sources for node in _documented(source.tree))


def find_paraphrases(sources: Iterable[Source]) -> Iterator[str]:
    """Yield file, line and opening of each docstring that paraphrases, instead of the noun or the verb."""
    for source in sources:
        for node in _documented(source.tree):
            is_deed = isinstance(node, FunctionNode) and not _is_property(node)
            if (word := _opening(node)) in QUESTIONS or (is_deed and word in DETERMINERS):
                yield f"{source.file}:{getattr(node, 'lineno', 1)} {word}"


def find_participle(name: str) -> Literal["first", "last", ""]:
    """Return which word of a function's name is a participle: the first, only the last, or none."""
    if name.startswith("__") and name.endswith("__"):
        return ""
    words = [word for word in name.lower().split("_") if word]
    if not words or words[0] in PREDICATES:
        return ""
    return "first" if is_participle(words[0]) else "last" if is_participle(words[-1]) else ""


def is_participle(word: str) -> bool:
    """Return whether a word is a past participle, as far as its letters tell."""
    return word in PARTICIPLES or (word.endswith("ed") and len(word) > 3 and word not in NO_PARTICIPLES)


def find_repeated_classes(sources: Iterable[Source]) -> dict[str, list[str]]:
    """Return the names that classes of more than one file have, with these files."""
    files: dict[str, set[str]] = defaultdict(set)
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef):
                files[node.name].add(source.file)
    return {name: sorted(found) for name, found in sorted(files.items()) if len(found) > 1}


def count_calls(sources: Iterable[Source], name: str) -> dict[str, int]:
    """Return how often each file calls what has this name, most often first."""
    calls = Counter(
        source.file
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and name_of(node.func) == name
    )
    return dict(calls.most_common())


# SQL


def find_strings(tree: ast.Module) -> Iterator[str]:
    """Yield the strings of a file without its docstrings; ``{}`` stands for the placeholders of an f-string."""
    skipped = string_statements(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped.update(node.values)
            yield "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped:
            yield node.value


def find_tables(sources: Iterable[Source]) -> list[str]:
    """Return the names of the tables that the product creates."""
    tables: set[str] = set()
    for source in sources:
        strings = list(find_strings(source.tree))
        tables.update(name for text in strings for name in CREATED_TABLE.findall(text))
        if any("CREATE TABLE" in text for text in strings):
            # The statements can be built from a description of the tables, in which the names stand.
            for node in ast.walk(source.tree):
                tables.update(_described_tables(node))
    return sorted(tables)


def _described_tables(node: ast.AST) -> Iterator[str]:
    candidates: list[ast.expr | None] = []
    if isinstance(node, ast.Call) and name_of(node.func) == "Table":
        candidates = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "name")]
    elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(name_of(target) == "TABLES" for target in targets):
            candidates = list(node.value.keys)
    yield from (each.value for each in candidates if isinstance(each, ast.Constant) and isinstance(each.value, str))


def count_sql(sources: Iterable[Source], tables: Sequence[str]) -> dict[str, int]:
    """Return how many strings of each file are SQL on one of these tables, most first."""
    named = re.compile(rf"\b({'|'.join(map(re.escape, tables))})\b", re.IGNORECASE)
    found = Counter(
        source.file
        for source in sources
        for text in find_strings(source.tree)
        if (SQL_WORD.search(text) and named.search(text)) or UNNAMED_TABLE.search(text)
    )
    return dict(found.most_common())


# The whole


def count_text(root: Path, lines: dict[str, int]) -> Lines:
    """Return the lines of each kind, given those of the product's files."""

    def of_product(suffixes: Iterable[str]) -> int:
        return sum(number for file, number in lines.items() if Path(file).suffix in set(suffixes))

    def python_below(folder: str) -> dict[str, int]:
        found = {path: path.read_text("utf-8") for path in find_files(root / folder) if path.suffix == ".py"}
        return {path.relative_to(root).as_posix(): count_lines(text) for path, text in found.items()}

    tests = python_below("tests")
    by_folder: Counter[str] = Counter()
    for file, number in tests.items():
        by_folder[file.split("/")[1] if file.count("/") > 1 else "."] += number
    pages = [path for path in find_files(root / "docs") if path.suffix == ".md"] + sorted(root.glob("*.md"))
    texts = [path.read_text("utf-8") for path in pages]
    return Lines(
        python=of_product({".py"}),
        c=of_product(C),
        web=of_product(WEB),
        tests=sum(tests.values()),
        benchmarks=sum(python_below("benchmarks").values()),
        docs=sum(map(count_lines, texts)),
        docs_words=sum(len(text.split()) for text in texts),
        tests_by_folder=dict(by_folder.most_common()),
    )


def count_house(root: Path, tables: Sequence[str] = ()) -> House:
    """Return all counts of a checkout.

    Raises:
        UnreadableCheckout: It is none, a file cannot be parsed, or no table of the history is found.
    """
    sources, lines = read_product(root)
    tables = list(tables) or find_tables(sources)
    if not tables:
        raise UnreadableCheckout("no CREATE TABLE of the history was found: name its tables with --tables trial,curve")
    by_size = dict(sorted(lines.items(), key=lambda item: (-item[1], item[0])))
    functions = sorted(find_functions(sources), key=lambda each: (-each.lines, each.file, each.line))
    sizes = [each.lines for each in functions] or [0]
    imports = list(find_imports(sources))
    kinds = Counter[str](each.kind for each in imports)
    openings = count_openings(sources)
    loose = Counter(source.package for source in sources if source.file.count("/") == 1)
    participles: dict[str, list[str]] = {"first": [], "last": []}
    for each in functions:
        if not each.is_property and (where := find_participle(each.name)):
            participles[where].append(f"{each.file}:{each.line} {each.path}")
    return House(
        loose={package: loose[package] for package in PACKAGES},
        files=len(sources),
        above_limit={file: number for file, number in by_size.items() if number > LIMIT},
        largest=dict(list(by_size.items())[:10]),
        functions=len(functions),
        function_lines={
            "median": round(statistics.median(sizes)),
            "99 % are at most": sorted(sizes)[int(0.99 * (len(sizes) - 1))],
            "longest": max(sizes),
        },
        longest={f"{each.file}:{each.line} {each.path}": each.lines for each in functions[:10]},
        imports={kind: kinds[kind] for kind in ("load", "lazy", "types", "named")},
        graphs=draw_graphs(sources, imports),
        lines=count_text(root, lines),
        docstrings=openings.total(),
        openings=dict(openings.most_common(15)),
        watched={word: openings[word] for word in WATCHED},
        paraphrases=sorted(find_paraphrases(sources)),
        first_participles=sorted(participles["first"]),
        last_participles=sorted(participles["last"]),
        repeated_classes=find_repeated_classes(sources),
        add_arguments=count_calls(sources, "add_argument"),
        tables=list(tables),
        sql=count_sql(sources, tables),
    )


# Printing


def format_house(house: House) -> str:
    """Return the counts as text for a terminal."""
    named = [*house.first_participles, *house.last_participles]
    blocks = [
        _section("Loose files per package", house.loose),
        _section(f"Files above {LIMIT} lines: {len(house.above_limit)} of {house.files}", house.above_limit),
        _section("The ten largest files", house.largest),
        _section(f"Lines per function, of {house.functions} functions", house.function_lines),
        _section("The ten longest functions (lines without docstring)", house.longest),
        _section("Imports of files of the product by others", house.imports),
        *_format_graphs(house.graphs),
        _section(
            "Lines",
            {
                "product: Python": house.lines.python,
                "product: C": house.lines.c,
                "product: JavaScript, HTML, CSS": house.lines.web,
                "tests (Python)": house.lines.tests,
                **{f"  tests/{name}": number for name, number in house.lines.tests_by_folder.items()},
                "benchmarks (Python)": house.lines.benchmarks,
                "docs (Markdown)": house.lines.docs,
                "docs, in words": house.lines.docs_words,
            },
        ),
        _section(f"The 15 most frequent openings of {house.docstrings} docstrings", house.openings),
        _section("Openings that are watched", house.watched | {"paraphrases": len(house.paraphrases)}),
        _section(
            f"Functions named by a participle: {len(named)} of {house.functions}",
            {"first word": len(house.first_participles), "only the last word": len(house.last_participles)},
        ),
        f"Classes of one name in several files: {len(house.repeated_classes)}",
        *(f"  {name}: {', '.join(files)}" for name, files in house.repeated_classes.items()),
        "",
        _section(f"Calls of add_argument: {sum(house.add_arguments.values())}", house.add_arguments),
        _section(
            f"Strings with SQL on the history ({', '.join(house.tables)}): {sum(house.sql.values())} "
            f"in {len(house.sql)} files",
            house.sql,
        ),
    ]
    return "\n".join(blocks).rstrip()


def _section(heading: str, numbers: dict[str, int]) -> str:
    return "\n".join([heading, *(f"  {number:>7,}  {name}" for name, number in numbers.items()), ""])


def _format_graphs(graphs: dict[str, Graph]) -> Iterator[str]:
    yield f"Arrows and circles\n  {'nodes':>7}  {'arrows':>7}  {'circles':>7}"
    for name, graph in graphs.items():
        yield f"  {graph.nodes:>7,}  {graph.arrows:>7,}  {len(graph.circles):>7,}  {name}"
    yield ""
    printed: list[list[str]] = []
    for name, graph in graphs.items():
        # The same circles are seen again where fewer packages are open.
        if new := [circle for circle in graph.circles if circle not in printed]:
            yield f"Circles of {name}"
            yield from (f"  {len(circle):>7,}  {', '.join(circle)}" for circle in new)
            yield ""
            printed += new


def main() -> None:
    """Count a checkout, and print its numbers as text or as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.house", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("root", nargs="?", type=Path, default=here, metavar="ROOT", help="(default: this checkout)")
    parser.add_argument("--json", action="store_true", help="print JSON, with the names behind each number")
    parser.add_argument("--tables", default="", help="the history's tables, if they are not to be read from the schema")
    arguments = parser.parse_args()
    try:
        house = count_house(arguments.root, [name for name in arguments.tables.split(",") if name])
    except UnreadableCheckout as error:
        print(f"house: {error}", file=sys.stderr)
        sys.exit(2)
    print(json.dumps(asdict(house), indent=2) if arguments.json else format_house(house))


if __name__ == "__main__":
    main()
