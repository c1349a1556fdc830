"""Hooks of mkdocs: pages that lie beside docs/ are taken in, and links lead to them wherever a page stands.

On GitHub the pages link to each other as files of the repository. On the site, a link to a page leads to that page, and
a link to any other file of the repository becomes its name, as the site does not know where the repository is.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
BESIDE = {
    "README.md": "about.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "benchmarks/README.md": "programs.md",
    "benchmarks/convolutions.md": "convolutions.md",
}
"""Pages of the repository that are not in docs/, and their names on the site."""

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?![a-z]+:|#|<)([^)\s#]+)(#[^)\s]*)?\)")
MARK = re.compile(r"^(```\w+) no-test$", re.MULTILINE)
ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):(?=<code)")


def on_config(config: Any) -> Any:
    """Append pages of docs/ that the navigation does not name: measurements to the results, others to the guides."""
    named = set(re.findall(r"[\w./-]+\.md", str(config.nav)))
    docs = Path(config.docs_dir)
    for page in sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md")):
        if page not in named:
            name = "Results" if page.startswith("measurements/") else "Guides"
            next(section[name] for section in config.nav if name in section).append(page)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages beside docs/."""
    for source, page in BESIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the text of a page with links that hold on the site, and fences without what tests read of them."""
    here = page.file.src_uri
    source = next((path for path, name in BESIDE.items() if name == here), f"docs/{here}")
    markdown = MARK.sub(r"\1", markdown)
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else _relink(part, source, here) for part in parts)


def on_page_content(html: str, **_: Any) -> str:
    """Return a page without the roles of docstrings, as in :class:`Run`."""
    return ROLE.sub("", html)


def _relink(text: str, source: str, here: str) -> str:
    """Return text whose links, written for the file ``source`` of the repository, hold for the page ``here``."""

    def there(found: re.Match[str]) -> str:
        picture, words, target, heading = found[1], found[2], found[3], found[4] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if not (ROOT / path).exists():
            return found[0]  # mkdocs reports it
        name = BESIDE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if name is None:
            return f"{words} (`{path}`)" if words.strip("`") != path else f"`{path}`"
        return f"{picture}[{words}]({os.path.relpath(name, posixpath.dirname(here) or '.')}{heading})"

    return LINK.sub(there, text)
