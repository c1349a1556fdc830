"""What the tests of supernets share: a place of their own for what is built once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the groundwork, empty at first; what was decoded stays where it is."""
    home = tmp_path / "cache"
    home.mkdir()
    monkeypatch.setattr("evo_nas.evaluators.groundwork.writable_cache", lambda: home)
    return home / "groundwork"
