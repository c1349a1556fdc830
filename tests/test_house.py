"""The house rules: which room may import which, held by reading every import of every file.

The rules stand in docs/architecture.md.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("genotypes", "strategies", "evo_nas", "analysis")
FACES = set(PACKAGES)
HEAVY = {"torch", "torchvision", "pandas", "matplotlib", "scipy", "sklearn", "deap"}
ALLOWED = {
    "genotypes": {"genotypes", "numpy"},
    "strategies": {"genotypes", "strategies", "numpy", "torch", "deap", "scipy", "sklearn", "threadpoolctl"},
    "analysis": {"genotypes", "analysis", "numpy", "pandas", "matplotlib", "scipy", "jinja2", "networkx", "pyarrow"},
}
TORCH_AT_HOME = {
    "strategies/models/controller.py",
    "strategies/reinforcement.py",
    "strategies/models/lstm_surrogate.py",
}
DEAP_AT_HOME = {"strategies/evolution.py", "strategies/objectives.py"}
RAY_AT_HOME = "evo_nas/executors/ray.py"
PYARROW_AT_HOME = "analysis/frames.py"
LAYERS = [
    # From the top down: a module may import from its own layer and from those below it.
    {"__main__", "cli"},
    {"estimate", "doctor", "listing", "count", "show", "status", "repair", "study", "train", "export"},
    {"trainings", "sources"},
    {"run"},
    {"progress", "manager", "signals", "weights", "tensorboard", "capacity"},
    {"executors", "history", "schema", "salvage", "folder"},
    {"evaluators"},
    {"training"},
    {"descent", "graphs"},
    {"phenotypes", "data", "devices"},
    {"config", "recipes", "limits"},
    {"cache", "crashes", "failpoints", "links", "streams", "machine"},
    {"errors", ""},
]
BASES = {"evo_nas/evaluators/base.py"}
"""An interface with the values that it speaks in: any layer may import it."""


@dataclass(frozen=True)
class Import:
    """One import: who, what, and whether it is executed when the file is loaded."""

    file: str
    module: str
    line: int
    at_load: bool
    for_types: bool


def imports() -> Iterator[Import]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield from imports_of(path)


def imports_of(path: Path) -> Iterator[Import]:
    file = path.relative_to(ROOT).as_posix()

    def visit(node: ast.AST, at_load: bool, for_types: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for name in child.names:
                    yield Import(file, name.name, child.lineno, at_load, for_types)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{file}:{child.lineno}: write the whole name"
                modules = {child.module or ""}
                # `from evo_nas import run` imports the module evo_nas.run.
                for name in child.names:
                    if (ROOT / f"{child.module}.{name.name}".replace(".", "/")).with_suffix(".py").exists():
                        modules = {f"{child.module}.{name.name}"}
                for module in modules:
                    yield Import(file, module, child.lineno, at_load, for_types)
            else:
                types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                yield from visit(child, at_load and not inside, for_types or types)

    yield from visit(ast.parse(path.read_text("utf-8")), True, False)


IMPORTS = list(imports())
assert len(IMPORTS) > 200


def broken(rule: str, found: list[Import]) -> str:
    return "\n".join([rule, *(f"  {i.file}:{i.line} imports {i.module}" for i in found)])


@pytest.mark.parametrize("package", ALLOWED)
def test_a_room_imports_only_what_is_below_it(package: str) -> None:
    allowed = ALLOWED[package] | set(sys.stdlib_module_names)
    found = [i for i in IMPORTS if i.file.startswith(f"{package}/") and i.module.split(".")[0] not in allowed]
    assert not found, broken(f"{package} may import {sorted(ALLOWED[package])} and the standard library", found)


def test_torch_and_deap_stay_in_the_strategies_that_need_them() -> None:
    found = [
        i
        for i in IMPORTS
        if i.file.startswith("strategies/")
        and (
            (i.module.split(".")[0] == "torch" and i.file not in TORCH_AT_HOME)
            or (i.module.split(".")[0] == "deap" and i.file not in DEAP_AT_HOME)
        )
    ]
    assert not found, broken("torch and deap have their homes", found)


def test_ray_stays_in_its_executor() -> None:
    found = [i for i in IMPORTS if i.module.split(".")[0] == "ray" and i.file != RAY_AT_HOME]
    assert not found, broken("ray is an extra, and has its home", found)
    found = [i for i in IMPORTS if f"{i.module.replace('.', '/')}.py" == RAY_AT_HOME and i.at_load]
    assert not found, broken("whoever imports its home does so inside a function", found)


def test_pyarrow_stays_where_histories_become_frames() -> None:
    found = [i for i in IMPORTS if i.module.split(".")[0] == "pyarrow" and i.file != PYARROW_AT_HOME]
    assert not found, broken("pyarrow is an extra, and has its home", found)


def layer(module: str) -> int:
    part = module.split(".")[1] if "." in module else ""
    for depth, parts in enumerate(LAYERS):
        if part in parts:
            return depth
    raise AssertionError(f"{module} stands in no layer: add it to LAYERS and to docs/architecture.md")


def test_inside_evo_nas_every_import_runs_down() -> None:
    found = []
    for i in IMPORTS:
        if i.file.startswith("evo_nas/") and i.module.split(".")[0] == "evo_nas" and not i.for_types:
            importer = i.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            base = i.module.replace(".", "/") + ".py" in BASES
            # The face hands names on, when they are asked for.
            face = i.file == "evo_nas/__init__.py" and not i.at_load
            if not base and not face and layer(importer) > layer(i.module):
                found.append(i)
    assert not found, broken(f"the layers are, from the top: {LAYERS}", found)


def test_the_catalogues_are_read_by_the_composition_root_alone() -> None:
    readers = {"evo_nas/run.py", "evo_nas/commands/list.py", "evo_nas/commands/cell_sources.py", "evo_nas/cli.py"}
    catalogues = {"strategies.catalogue", "genotypes.catalogue", "evo_nas.evaluators.catalogue"}
    found = [
        i for i in IMPORTS if i.module in catalogues and i.file not in readers and i.file != "genotypes/__init__.py"
    ]
    assert not found, broken(f"catalogues are read by {sorted(readers)}", found)


def test_the_manager_sees_interfaces_only() -> None:
    seen = {i.module for i in IMPORTS if i.file == "evo_nas/manager.py" and i.module.split(".")[0] in FACES}
    assert seen <= {
        "evo_nas.errors",
        "evo_nas.evaluators.base",
        "evo_nas.executors.base",
        "evo_nas.system.failpoints",
        "evo_nas.storage.history",
        "evo_nas.evaluators.limits",
        "genotypes.genotype",
        "genotypes.individual",
        "genotypes.population",
        "genotypes.space",
        "strategies.base",
    }


def test_analysis_is_imported_by_the_command_line_alone_inside_its_commands() -> None:
    found = [i for i in IMPORTS if i.file.startswith("evo_nas/") and i.module.split(".")[0] == "analysis"]
    assert found
    assert all(i.file == "evo_nas/cli.py" and not i.at_load for i in found), broken("only cli, only inside", found)


def test_files_are_imported_and_not_faces() -> None:
    found = [
        i
        for i in IMPORTS
        if i.module in FACES and not (i.module == "evo_nas" and i.file in ("evo_nas/cli.py", "evo_nas/run.py"))
    ]
    assert not found, broken("write `from genotypes.cell import Cell`; only the version comes from the face", found)


def test_no_circle_of_files() -> None:
    graph: dict[str, set[str]] = {}
    for i in IMPORTS:
        if i.at_load and not i.for_types:
            name = i.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            if i.module.split(".")[0] in FACES:
                graph.setdefault(name, set()).add(i.module)
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in sorted(graph.get(name, ())):
                walk(other, (*path, name))
            done.add(name)

    for name in list(graph):
        walk(name, ())


def test_every_package_is_typed_and_every_file_says_what_it_is() -> None:
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").exists()
        for path in (ROOT / package).rglob("*.py"):
            assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), f"{path} has no docstring"


def test_no_file_is_named_after_nothing() -> None:
    vague = {"utils.py", "helpers.py", "common.py", "misc.py", "util.py", "helper.py"}
    assert not [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.name in vague]
