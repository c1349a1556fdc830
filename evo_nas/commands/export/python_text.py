"""Python as text: values spelled, and long expressions broken into lines as a formatter does it."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
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
