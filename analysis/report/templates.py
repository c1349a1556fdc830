"""The parts of pages that lie beside this file: templates, the style, the script."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_HERE: Final = Path(__file__).parent


def read_part(name: str) -> str:
    """Return the text of a part, such as ``page.css``."""
    return (_HERE / name).read_text("utf-8")


def make_environment() -> Environment:
    """Return what templates are rendered with: values are escaped, and one that is missing is an error."""
    return Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
