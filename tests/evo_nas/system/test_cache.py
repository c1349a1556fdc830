"""Where the user's cache is, also for a user without a home, or with one that cannot be written."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from evo_nas.system import cache
from evo_nas.system.cache import expand_home, spare_cache, user_cache, writable_cache


@pytest.fixture(autouse=True)
def spare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.setattr(cache, "_told", set())
    (tmp_path / "temporary").mkdir()
    return spare_cache()


def test_the_cache_is_where_the_specification_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert user_cache() == Path("/elsewhere/evo_nas")
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert user_cache() == Path("/home/somebody/.cache/evo_nas")


def test_without_a_home_it_is_among_temporary_files(monkeypatch: pytest.MonkeyPatch, spare: Path) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a user that the system does not know
    assert user_cache() == writable_cache() == spare


def test_a_home_that_nobody_knows_is_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert expand_home("~/x") == Path("/home/somebody/x")
    assert expand_home("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")


def test_one_note_says_that_another_cache_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spare: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "home").write_text("no folder, so that root cannot write there either")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with caplog.at_level(logging.WARNING):
        assert writable_cache() == writable_cache() == spare
    assert len(caplog.messages) == 1
    assert f"{tmp_path}/home/.cache/evo_nas cannot be written" in caplog.messages[0]
    assert user_cache() == tmp_path / "home" / ".cache" / "evo_nas", "data sets may lie there"


def test_a_spare_folder_that_others_can_write_is_not_used(monkeypatch: pytest.MonkeyPatch, spare: Path) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    spare.mkdir()
    spare.chmod(0o777)
    assert writable_cache() == Path("/dev/null/.cache/evo_nas")
