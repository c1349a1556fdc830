"""Python as text: values spelled, long expressions broken into lines as a formatter does it, source borrowed."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Final

WIDTH: Final = 120
"""The longest line that is written, but for one that cannot be broken."""


def literal(value: object) -> str:
    """Spell a value as Python; text, which can come from anywhere, escaped and between double quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(literal, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, str) and '"' not in value:
        return '"' + repr("'" + value)[2:]  # repr takes double quotes for a text with a single one
    return repr(value)


def statement(head: str, expression: str, indent: str = "", tail: str = "") -> Iterator[str]:
    """Write ``head``, an expression and ``tail`` in one line, or, if too long, what is in its brackets line by line."""
    line = indent + head + expression + tail
    opening, items, closing = _parts(expression)
    if len(line) <= WIDTH or not items:
        yield line
        return
    yield indent + head + opening
    # As formatters have it, a single argument gets no comma, so that it may go back into the line.
    comma = "" if len(items) == 1 and closing == ")" and not expression.startswith("(") else ","
    for name, item in items:
        yield from statement(name, item, indent + "    ", comma)
    yield indent + closing + tail


def _parts(expression: str) -> tuple[str, list[tuple[str, str]], str]:
    """Take a call or a display apart: how it opens, its items with the names before them, how it closes."""

    def text(node: ast.expr) -> str:
        return ast.get_source_segment(expression, node) or ""

    node = ast.parse(expression, mode="eval").body
    match node:
        case ast.Call():
            named = [(f"{keyword.arg}=", text(keyword.value)) for keyword in node.keywords]
            return f"{text(node.func)}(", [*(("", text(item)) for item in node.args), *named], ")"
        case ast.Dict():
            pairs = zip(node.keys, node.values, strict=True)
            return "{", [(f"{text(key)}: ", text(value)) for key, value in pairs if key is not None], "}"
        case ast.List() | ast.Tuple():
            return expression[0], [("", text(item)) for item in node.elts], expression[-1]
    return "", [], ""


def paragraph(text: str, indent: str = "") -> list[str]:
    """Break a text into lines."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def text_lines(name: str, text: str) -> Iterator[str]:
    """Assign a text, which may be too long for a line."""
    if len(line := f"{name} = {literal(text)}") <= WIDTH:
        yield line
        return
    step = WIDTH - len('    ""')
    yield f"{name} = ("
    yield from (f"    {literal(text[start : start + step])}" for start in range(0, len(text), step))
    yield ")"


def borrow(text: str, files: Sequence[ModuleType]) -> list[str]:
    """Return the source of what a text names and does not define, and of what this names, in the files' order."""
    known = {
        name: thing
        for file in files
        for name, thing in vars(file).items()
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__ == file.__name__
    }
    tree = ast.parse(text)
    own = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    found: dict[str, str] = {}
    waiting = [tree]
    while waiting:
        named = {node.id for node in ast.walk(waiting.pop()) if isinstance(node, ast.Name)}
        for name in (named & known.keys()) - own - found.keys():
            found[name] = inspect.getsource(known[name])
            waiting.append(ast.parse(found[name]))
    return [found[name] for name in known if name in found]


_STANDARD: Final = {
    "math": "import math",
    "partial": "from functools import partial",
    "NamedTuple": "from typing import NamedTuple",
}
"""Name of the standard library -> the line that imports it."""


def imports_of(text: str) -> str:
    """Write the imports that a text needs."""
    named = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    lines = ["from __future__ import annotations", "", *(line for name, line in _STANDARD.items() if name in named)]
    functional = ["import torch.nn.functional as F"] if "F" in named else []
    names = "Tensor, fx, nn" if "fx" in named else "Tensor, nn"
    return "\n".join([*lines, "", "import torch", *functional, f"from torch import {names}", ""])
