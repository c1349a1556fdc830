"""A terminal shows names, whatever they look like, and obeys none of them; files and pipes hold them as they are."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from evo_nas.system.terminal import RenewedLine, safe_streams

NAME = "[/] [bold]x :smile: {0} $x^{ <b> \x1b[31m\x9b2J \u202eabc"
SHOWN = "[/] [bold]x :smile: {0} $x^{ <b> ?[31m?2J ?abc"


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Make both streams a terminal; give what was written to it, once that is over."""
    keyboard, screen = os.openpty()
    written: list[str] = []
    with monkeypatch.context() as patch, os.fdopen(screen, "w", encoding="utf-8") as stream:
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", "200")
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        yield written
    blocks = []
    with suppress(OSError):  # Linux says so that the other side is closed and all is read
        while block := os.read(keyboard, 2**16):
            blocks.append(block)
    written += b"".join(blocks).decode("utf-8").splitlines()
    os.close(keyboard)


def test_a_terminal_shows_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as written, safe_streams():
        print(f"{NAME}\n\tmore")
    assert [line.strip() for line in written] == [SHOWN, "more"]


@pytest.mark.parametrize("always", [True, False])
def test_a_terminal_shows_what_renews_itself(monkeypatch: pytest.MonkeyPatch, always: bool) -> None:
    with terminal(monkeypatch) as written:
        line = RenewedLine()
        line.say(NAME, always=always)
        assert line._live is not None
        line._live.refresh()  # as its thread does now and then
        line.close()
    assert any(SHOWN in line for line in written)


def test_a_pipe_gets_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    with safe_streams():
        print(NAME)
    stream.flush()
    assert stream.buffer.getvalue().decode("utf-8") == f"{NAME}\n"  # type: ignore[attr-defined]
