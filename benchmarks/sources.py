"""The parsed files of a checkout, the imports between them, their rooms, and the circles that these form."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

PACKAGES: Final = ("evo_nas", "strategies", "genotypes", "analysis")
C: Final = frozenset({".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".cuh"})
WEB: Final = frozenset({".js", ".html", ".css"})

Kind = Literal["load", "lazy", "types", "named"]
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


class UnreadableCheckout(Exception):
    """What was to be counted is no checkout of evo_nas, or cannot be parsed."""


@dataclass(frozen=True)
class Source:
    """A Python file of the product: its path from the root, its text, and its tree."""

    file: str
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """The package that it belongs to."""
        return self.file.split("/")[0]

    @property
    def module(self) -> str:
        """The name by which it is imported."""
        return self.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@dataclass(frozen=True)
class Import:
    """One import of a file of the product by another."""

    importer: str
    imported: str
    kind: Kind


@dataclass(frozen=True)
class Graph:
    """How many files or rooms there are, the arrows between them, and the circles that these form."""

    nodes: int
    arrows: int
    circles: list[list[str]]


def find_files(folder: Path) -> list[Path]:
    """Return the files below ``folder``, without hidden ones and caches."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(folder.parent).parts)
    ]


def read_product(root: Path) -> tuple[list[Source], dict[str, int]]:
    """Return the Python files of the product, and the lines of each of its files of code, Python or not.

    Raises:
        UnreadableCheckout: A package is missing, or a file of Python cannot be parsed.
    """
    sources = []
    lines = {}
    for package in PACKAGES:
        if not (root / package).is_dir():
            raise UnreadableCheckout(f"{root} has no folder {package!r}: name the root of a checkout of evo_nas")
        for path in find_files(root / package):
            if path.suffix in C | WEB | {".py"}:
                file = path.relative_to(root).as_posix()
                try:
                    text = path.read_text("utf-8")
                    if path.suffix == ".py":
                        sources.append(Source(file, text, ast.parse(text)))
                except (SyntaxError, ValueError) as error:
                    raise UnreadableCheckout(f"{file} cannot be parsed: {error}; mend it, then count again") from None
                lines[file] = count_lines(text)
    return sources, lines


def count_lines(text: str) -> int:
    """Return the number of lines, the last of which may lack its end."""
    return text.count("\n") + (not text.endswith("\n") and text != "")


def name_of(node: ast.expr) -> str:
    """Return the last part of a name or attribute."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def string_statements(tree: ast.Module) -> set[ast.AST]:
    """Return the strings that stand as statements: docstrings, those of attributes too."""
    statements = (node for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return {node.value for node in statements if isinstance(node.value, ast.Constant)}


def find_imports(sources: Sequence[Source]) -> Iterator[Import]:
    """Yield every import of a file of the product by another, once for each statement and name."""
    files = {source.module: source.file for source in sources}

    def file_of(module: str) -> str | None:
        # `import a.b.c` can name a module that is none of ours, below one that is.
        while module and module not in files:
            module = module.rpartition(".")[0]
        return files.get(module)

    for source in sources:
        for module, kind in _imported_modules(source, set(files)):
            imported = file_of(module)
            if imported is not None and imported != source.file:
                yield Import(source.file, imported, kind)


def _imported_modules(source: Source, modules: set[str]) -> Iterator[tuple[str, Kind]]:
    documentation = string_statements(source.tree)

    def visit(node: ast.AST, kind: Kind) -> Iterator[tuple[str, Kind]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, kind) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(source, node)
            # `from evo_nas import run` imports the module evo_nas.run; `from evo_nas.run import Run`, evo_nas.run.
            whole = {f"{base}.{alias.name}" for alias in node.names}
            yield from ((module, kind) for module in sorted(whole & modules))
            if not whole <= modules:
                yield base, kind
        elif isinstance(node, ast.Call) and (module := _module_imported_by(node)):
            yield module, "lazy" if kind == "load" else kind
        elif isinstance(node, ast.Constant) and node not in documentation:
            if isinstance(node.value, str) and (name := node.value.partition(":")[0]) in modules and "." in name:
                yield name, "named"
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.body:
                yield from visit(statement, "types")
            for statement in node.orelse:
                yield from visit(statement, kind)
        else:
            inside: Kind = "lazy" if kind == "load" and isinstance(node, FunctionNode | ast.Lambda) else kind
            for child in ast.iter_child_nodes(node):
                yield from visit(child, inside)

    yield from visit(source.tree, "load")


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    """Return the whole name of the module that a statement imports from."""
    if not node.level:
        return node.module or ""
    package = source.module if source.file.endswith("__init__.py") else source.module.rpartition(".")[0]
    for _ in range(node.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{node.module}" if node.module else package


def _module_imported_by(call: ast.Call) -> str:
    """Return the literal name that ``import_module`` or ``__import__`` is called with, or nothing."""
    is_import = name_of(call.func) in ("import_module", "__import__")
    first = call.args[0] if call.args else None
    return first.value if is_import and isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def room_of(file: str, opened: Iterable[str] = PACKAGES) -> str:
    """Return the room of a file; packages that are not ``opened`` are a room each."""
    package, *inside = file.split("/")
    return f"{package}/{inside[0].removesuffix('.py')}" if package in opened else package


def draw_graph(files: Iterable[str], imports: Iterable[Import], node_of: Callable[[str], str]) -> Graph:
    """Return the graph of what ``node_of`` makes of these files; arrows that leave them are not counted."""
    nodes = {file: node_of(file) for file in files}
    arrows = {
        (nodes[each.importer], nodes[each.imported])
        for each in imports
        if each.importer in nodes and each.imported in nodes
    }
    arrows = {(start, end) for start, end in arrows if start != end}
    return Graph(len(set(nodes.values())), len(arrows), find_circles(arrows))


def find_circles(arrows: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one node, the largest first."""
    ends: dict[str, set[str]] = defaultdict(set)
    for start, end in arrows:
        ends[start].add(end)

    def reach(start: str) -> set[str]:
        found: set[str] = set()
        waiting = [start]
        while waiting:
            new = ends.get(waiting.pop(), set()) - found
            found |= new
            waiting += new
        return found

    reached = {start: reach(start) for start in list(ends)}
    circles = {
        tuple(sorted(other for other in found if start in reached.get(other, ())))
        for start, found in reached.items()
        if start in found
    }
    return [list(circle) for circle in sorted(circles, key=lambda circle: (-len(circle), circle)) if len(circle) > 1]


def draw_graphs(sources: Sequence[Source], imports: Sequence[Import]) -> dict[str, Graph]:
    """Return the graphs of files and of rooms, each under the words that say what it shows."""
    files = [source.file for source in sources]
    stated = [each for each in imports if each.kind != "named"]
    engine = PACKAGES[0]
    graphs = {
        "files": draw_graph(files, stated, str),
        "files, with modules that strings name": draw_graph(files, imports, str),
        "rooms, every package open": draw_graph(files, stated, room_of),
        f"rooms, {engine} open, others closed": draw_graph(files, stated, lambda file: room_of(file, (engine,))),
    }
    for package in PACKAGES:
        own = [source.file for source in sources if source.package == package]
        graphs[f"rooms, {package} alone"] = draw_graph(own, stated, room_of)
    return graphs
