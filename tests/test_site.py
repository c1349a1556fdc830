"""The documentation as a site: it is built without a warning, and no page asks another host for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.pages import ROOT

pytestmark = pytest.mark.slow


class Asked(HTMLParser):
    """Collect what a browser fetches for a page, which a link to be clicked is not."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the address of a script, a style, a picture, a frame."""
        named = {"link": ("href",), "a": ()}.get(tag, ("src", "srcset", "data", "poster"))
        self.addresses += [value or "" for name, value in attrs if name in named]


def test_no_page_asks_another_host(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: the extra docs has it")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    pages = {page.relative_to(site).as_posix(): page.read_text("utf-8") for page in site.rglob("*.html")}
    guides = {f"{path.relative_to(ROOT / 'docs').with_suffix('.html')}" for path in (ROOT / "docs").rglob("*.md")}
    assert guides - set(pages) == set()
    for name, text in pages.items():
        asked = Asked()
        asked.feed(text)
        assert len(asked.addresses) > 3, name
        assert "```" not in text, f"{name}: a fence that is no block of code"
        assert [address for address in asked.addresses if re.match(r"(https?:)?//", address)] == [], name
    for style in site.rglob("*.css"):
        assert re.findall(r"url\(\s*[\"']?(?:https?:)?//", style.read_text("utf-8")) == [], style.name
    assert "Return a finished run" in pages["api.html"], "the docstrings are there"
    assert ":class:" not in pages["api.html"]
    assert "../README.md" not in pages["start.html"]
    assert 'href="about.html#install"' in pages["start.html"]
