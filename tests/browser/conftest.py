"""Chromium, which is looked for where Debian puts it, or where EVO_NAS_CHROMIUM says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make browser")
    named = os.environ.get("EVO_NAS_CHROMIUM")
    program = named or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium: install Debian's package chromium, or name one as EVO_NAS_CHROMIUM")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # which Chromium refuses to make as root
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=sandbox)
        yield opened
        opened.close()
