"""The house rules: which room may import which, held by reading every import of every file.

A room is a folder of a package, or a file that lies loose in it: the folders are the rule, not a list of files. All
imports count, also those inside a function and those for types alone. docs/architecture.md says what each room is for.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.house import count_sql, find_functions, find_paraphrases, find_participle, find_tables
from benchmarks.sources import Source, read_product

ROOT = Path(__file__).parents[1]
PACKAGES = ("genotypes", "strategies", "evo_nas", "analysis")
ALLOWED = {
    "genotypes": {"numpy"},
    "strategies": {"numpy", "torch", "deap", "scipy", "sklearn", "threadpoolctl", "optuna", "nevergrad", "hyperopt"},
    "analysis": {"numpy", "pandas", "matplotlib", "scipy", "jinja2", "networkx", "pyarrow"},
}
"""What of other people's a package may import, beside the standard library."""

FLOORS = [
    # From the top down: a room may import from the floors below its own.
    {"evo_nas/__init__", "evo_nas/__main__"},
    {"evo_nas/api", "evo_nas/cli"},
    {"evo_nas/commands"},
    {"evo_nas/leaderboard"},
    {"evo_nas/studies"},
    {"evo_nas/run"},
    {"evo_nas/signals", "evo_nas/listeners"},
    {"evo_nas/manager"},
    {"evo_nas/loop"},
    {"evo_nas/executors"},
    {"evo_nas/evaluators"},
    {"evo_nas/training"},
    {"evo_nas/phenotypes"},
    {"evo_nas/data"},
    {"evo_nas/config", "analysis", "strategies"},
    {"evo_nas/storage"},
    {"evo_nas/system"},
    {"evo_nas/errors"},
    {"genotypes"},
]
SEEN_BY = {
    # What a package may see of ours, where that is less than all the floors below it.
    "analysis": {"analysis", "genotypes", "evo_nas/storage", "evo_nas/system", "evo_nas/errors"},
    "strategies": {"strategies", "genotypes"},
    "evo_nas/storage": {"evo_nas/storage", "evo_nas/system", "evo_nas/errors", "genotypes"},
}
HOMES = {
    # Libraries that load slowly or are extras, and the files that may import them.
    "strategies": {
        "torch": {"models/controller.py", "models/lstm_surrogate.py", "reinforcement.py"},
        "deap": {"evolution.py", "objectives.py"},
        "optuna": {"optuna_sampler.py", "models/optuna_study.py"},
        "nevergrad": {"nevergrad_optimizer.py"},
        "hyperopt": {"hyperopt_algorithm.py"},
    },
    "evo_nas": {
        "ray": {"executors/ray.py"},
        **{name: {f"listeners/trackers/{name}.py"} for name in ("mlflow", "wandb", "tensorboard")},
        "optuna": {"listeners/trackers/optuna.py", "listeners/trackers/optuna_journal.py"},
    },
    "analysis": {"pyarrow": {"frames.py"}},
}
HOMES_OF_EXTRAS = (
    "evo_nas/executors/ray.py",
    "evo_nas/listeners/trackers/optuna_journal.py",
    "strategies/models/optuna_study.py",
)
"""Files that need an extra as soon as they are loaded, for they derive from its classes."""
MOST_LOOSE = {"evo_nas": 9, "analysis": 9}
"""Files that may lie loose in a package."""

LONGEST = 450
"""Lines of the longest file."""

TOO_LONG: Mapping[str, int] = {
    # Files that are longer still, and how long they may be: each is to shrink.
}

PARTICIPLES = {"expected_seconds", "failed", "grown", "restored", "suited", "told"}
"""Functions that may be named by a participle: the contracts of evaluators, spaces, strategies and listeners."""


@dataclass(frozen=True)
class Import:
    """One import: who, what, and whether it is executed when the file is loaded."""

    file: str
    module: str
    line: int
    at_load: bool
    for_types: bool


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@functools.cache
def path_of(module: str) -> str | None:
    """Return the file of one of our modules."""
    if module.split(".")[0] in PACKAGES:
        place = ROOT.joinpath(*module.split("."))
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.exists():
                return path.relative_to(ROOT).as_posix()
    return None


@functools.cache
def sources() -> list[Source]:
    found, _ = read_product(ROOT)
    return found


@functools.cache
def imports() -> list[Import]:
    found = [each for source in sources() for each in imports_of(source)]
    assert len(found) > 200
    return found


@functools.cache
def arrows() -> list[tuple[Import, str]]:
    """Return the imports of our files by others, each with the file that is imported."""
    found = [(i, target) for i in imports() if (target := path_of(i.module)) is not None and target != i.file]
    assert len(found) > 400
    return found


def imports_of(source: Source) -> Iterator[Import]:
    def visit(node: ast.AST, at_load: bool, for_types: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for name in child.names:
                    yield Import(source.file, name.name, child.lineno, at_load, for_types)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{source.file}:{child.lineno}: write the whole name"
                # `from evo_nas import run, Run` imports the modules evo_nas.run and evo_nas.
                names = {f"{child.module}.{name.name}" for name in child.names}
                modules = {name if path_of(name) else child.module or "" for name in names}
                for module in sorted(modules):
                    yield Import(source.file, module, child.lineno, at_load, for_types)
            else:
                types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                yield from visit(child, at_load and not inside, for_types or types)

    yield from visit(source.tree, True, False)


def broken(rule: str, found: list[Import]) -> str:
    return "\n".join([rule, *(f"  {i.file}:{i.line} imports {i.module}" for i in found)])


def room_of(file: str) -> str:
    """Return the floor's room: a package, or in evo_nas a folder or a loose file."""
    package, rest = file.split("/", 1)
    return package if package != "evo_nas" else f"{package}/{rest.split('/')[0].removesuffix('.py')}"


def floor_of(room: str) -> int:
    for depth, rooms in enumerate(FLOORS):
        if room in rooms:
            return depth
    raise AssertionError(f"{room} stands on no floor: add it to FLOORS, and to docs/architecture.md")


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_the_libraries_that_it_is_about(package: str) -> None:
    allowed = ALLOWED[package] | set(PACKAGES) | set(sys.stdlib_module_names)
    found = [i for i in imports() if i.file.startswith(f"{package}/") and i.module.split(".")[0] not in allowed]
    assert not found, broken(f"{package} may import {sorted(ALLOWED[package])} and the standard library", found)


@pytest.mark.parametrize(("package", "library"), [(p, name) for p, libraries in HOMES.items() for name in libraries])
def test_a_library_stays_at_home(package: str, library: str) -> None:
    homes = {f"{package}/{file}" for file in HOMES[package][library]}
    users = [i for i in imports() if i.file.startswith(f"{package}/") and i.module.split(".")[0] == library]
    assert {i.file for i in users} == homes, broken(f"{library} has its homes: {sorted(homes)}", users)


@pytest.mark.parametrize("home", HOMES_OF_EXTRAS)
def test_the_home_of_an_extra_is_imported_inside_functions(home: str) -> None:
    found = [i for i, target in arrows() if target == home and i.at_load]
    assert not found, broken("an extra may be missing", found)


@pytest.mark.parametrize("extra", ["optuna", "nevergrad", "hyperopt", "mlflow", "wandb", "tensorboard"])
def test_an_extra_is_imported_inside_functions(extra: str) -> None:
    used = [i for i in imports() if i.module.split(".")[0] == extra and i.file not in HOMES_OF_EXTRAS]
    assert used
    found = [i for i in used if i.at_load and not i.for_types]
    assert not found, broken("an extra may be missing", found)


def test_every_import_runs_down() -> None:
    found = []
    for i, target in arrows():
        above, below = room_of(i.file), room_of(target)
        may_see = SEEN_BY.get(above, {below})
        if above != below and (floor_of(above) >= floor_of(below) or below not in may_see):
            found.append(i)
    assert not found, broken(f"the floors are, from the top: {FLOORS}; and {SEEN_BY}", found)


def test_nothing_stands_on_a_floor_that_is_not_there() -> None:
    rooms = {room_of(path.relative_to(ROOT).as_posix()) for package in PACKAGES for path in files_of(package)}
    assert rooms == set().union(*FLOORS)


@pytest.mark.parametrize("depth", [None, 2, 3])
def test_no_circle(depth: int | None) -> None:
    """Of files, of the rooms of a package, and of the rooms inside these."""

    def node(file: str) -> Hashable:
        parts = tuple(file.removesuffix(".py").split("/"))
        return file if depth is None else parts[: min(depth, len(parts) - 1)] if len(parts) > depth else parts

    graph: dict[Hashable, set[Hashable]] = {}
    for i, target in arrows():
        if node(i.file) != node(target):
            graph.setdefault(node(i.file), set()).add(node(target))
    done: set[Hashable] = set()

    def walk(name: Hashable, path: tuple[Hashable, ...]) -> None:
        assert name not in path, " -> ".join(map(str, [*path[path.index(name) :], name]))
        if name not in done:
            for other in sorted(graph.get(name, ()), key=str):
                walk(other, (*path, name))
            done.add(name)

    for name in list(graph):
        walk(name, ())


@pytest.mark.parametrize("package", MOST_LOOSE)
def test_few_files_lie_loose(package: str) -> None:
    loose = sorted(path.name for path in (ROOT / package).glob("*.py"))
    assert len(loose) <= MOST_LOOSE[package], f"{len(loose)} files lie loose in {package}: {', '.join(loose)}"


def test_no_file_is_long() -> None:
    for package in PACKAGES:
        for path in files_of(package):
            name, lines = path.relative_to(ROOT).as_posix(), len(path.read_text("utf-8").splitlines())
            limit = TOO_LONG.get(name, LONGEST)
            assert lines <= limit, f"{name} has {lines} lines, and may have {limit}: what second subject moved in?"
            assert name not in TOO_LONG or lines > LONGEST, f"{name} is short by now: take it from the list"


def test_sql_on_a_history_stands_in_storage_alone() -> None:
    tables = find_tables(sources())
    assert {"trial", "curve", "note", "attempt"} <= set(tables)
    found = count_sql(sources(), tables)
    assert sum(found.values()) > 20
    assert not [file for file in found if not file.startswith("evo_nas/storage/")], found


def test_the_catalogues_are_read_by_the_composition_root_alone() -> None:
    readers = {
        "evo_nas/run/parts.py",
        "evo_nas/commands/list.py",
        "evo_nas/commands/cell_sources.py",
        "evo_nas/commands/run.py",
    }
    catalogues = {"strategies.catalogue", "genotypes.catalogue", "evo_nas.evaluators.catalogue"}
    found = [i for i in imports() if i.module in catalogues and i.file not in readers]
    assert not found, broken(f"catalogues are read by {sorted(readers)}", found)


def test_the_manager_sees_interfaces_only() -> None:
    files = [i.file for i in imports() if i.file == "evo_nas/manager.py" or i.file.startswith("evo_nas/loop/")]
    seen = {i.module for i in imports() if i.file in files and i.module.split(".")[0] in PACKAGES}
    seen = {module for module in seen if not module.startswith("evo_nas.loop.")}
    assert seen <= {
        "evo_nas.config",
        "evo_nas.errors",
        "evo_nas.evaluators.base",
        "evo_nas.executors.base",
        "evo_nas.system.alarm",
        "evo_nas.system.failpoints",
        "evo_nas.storage.endings",
        "evo_nas.storage.door",
        "evo_nas.storage.history",
        "evo_nas.storage.replay",
        "evo_nas.evaluators.limits",
        "evo_nas.evaluators.rungs",
        "genotypes.genotype",
        "genotypes.individual",
        "genotypes.measure",
        "genotypes.plain",
        "genotypes.population",
        "genotypes.space",
        "strategies.base",
    }


def test_analysis_is_imported_by_commands_and_the_face_alone_not_at_load() -> None:
    found = [i for i in imports() if i.file.startswith("evo_nas/") and i.module.split(".")[0] == "analysis"]
    assert found
    may = ("evo_nas/commands/", "evo_nas/api/", "evo_nas/__init__.py")
    wrong = [i for i in found if not i.file.startswith(may) or (i.at_load and not i.for_types)]
    assert not wrong, broken(f"only {', '.join(may)}, only inside functions", wrong)


def test_files_are_imported_and_not_faces() -> None:
    found = [i for i in imports() if i.module in PACKAGES]
    assert not found, broken("write `from genotypes.cell import Cell`", found)


def test_every_package_is_typed_and_every_file_says_what_it_is() -> None:
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").exists()
    for source in sources():
        assert ast.get_docstring(source.tree), f"{source.file} has no docstring"


def test_no_file_is_named_after_nothing() -> None:
    vague = {"utils.py", "helpers.py", "common.py", "misc.py", "util.py", "helper.py"}
    assert not [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.name in vague]


def test_functions_are_named_by_what_they_do() -> None:
    functions = [each for each in find_functions(sources()) if not each.is_property and find_participle(each.name)]
    assert {each.name for each in functions} >= PARTICIPLES, "one is no more: take it from the list"
    wrong = [f"{each.file}:{each.line} {each.path}" for each in functions if each.name not in PARTICIPLES]
    assert not wrong, "\n".join(["name it by a verb: plan_layers() and not planned()", *wrong])


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    found = list(find_paraphrases(sources()))
    rule = "write `Return ...` for a function, a noun for a class or a module; not `What ...` or `How ...`"
    assert not found, "\n".join([rule, *found])
