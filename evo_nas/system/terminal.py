"""Standard streams that may be closed or unread: a lost line on stderr does no harm."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

from genotypes.genotype import printable

if TYPE_CHECKING:
    from rich.live import Live


class _Forgiving:
    """A text stream to which writing never fails; unread text is lost."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, or drop it if that fails."""
        # A pipe without a reader, a terminal that is gone, a full disk; a file that was closed.
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or do nothing if that fails."""
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        with suppress(ValueError):
            return self._stream is not None and self._stream.isatty()
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Output:
    """A stream whose errors say that it is the output: those of an open file name none.

    A terminal only shows what is written: names can come from anybody. A file or a pipe gets them as they are.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def buffer(self) -> Any:
        """The stream of bytes below a stream of text."""
        return _Output(self._stream.buffer)

    def write(self, words: Any) -> int:
        """Write text, or bytes."""
        if isinstance(words, str) and self._stream.isatty():
            words = "".join(letter if letter.isprintable() or letter in "\n\t\r" else "?" for letter in words)
        with self._blame():
            return int(self._stream.write(words))

    def flush(self) -> None:
        """Flush."""
        with self._blame():
            self._stream.flush()

    @contextmanager
    def _blame(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, "the output") from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Unclosable:
    """A stream that stays open."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def close(self) -> None:
        """Do nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def keep_streams() -> Iterator[None]:
    """Let the code in the block close and replace the standard streams: afterwards they are what they were."""
    kept = sys.stdout, sys.stderr
    # A process without a terminal can have none of them.
    sys.stdout, sys.stderr = (stream and cast("Any", _Unclosable(stream)) for stream in kept)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = kept


def forgiving(stream: IO[str] | None) -> IO[str]:
    """Return a stream to which writing never fails; ``None`` stands for one that was closed before Python began."""
    return cast("IO[str]", _Forgiving(stream))


@contextmanager
def safe_streams() -> Iterator[None]:
    """Ignore failures of writes to stderr within the block, and of Python's own flush at exit.

    If one of the three standard files is closed, the null device takes its place: otherwise the next file that is
    opened, one of a run perhaps, would get its number, and stderr would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
    out, error = sys.stdout, sys.stderr
    if isinstance(out, io.TextIOWrapper):  # what its encoding lacks, or no encoding has, is spelled out
        out.reconfigure(errors="backslashreplace")
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        sys.stdout = nowhere if out is None else cast("IO[str]", _Output(out))
        sys.stderr = forgiving(error)  # all that is used of it is there
        try:
            yield
        finally:
            sys.stdout, sys.stderr = out, error
            try:
                if error is not None:
                    error.flush()
            except (OSError, ValueError):
                with suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), error.fileno())


SECONDS_BETWEEN_LINES: Final = 2.0


class RenewedLine:
    """A line that renews itself on a terminal; elsewhere a line now and then. It never fails."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._printed = float("-inf")
        self._file = forgiving(sys.stderr)
        if self._file.isatty():
            from rich.console import Console
            from rich.live import Live

            # Names are shown as they are, whatever they look like.
            console = Console(file=self._file, markup=False, emoji=False, highlight=False)
            self._live = Live(console=console, refresh_per_second=4, transient=True)
            self._live.start()

    def say(self, line: str, *, always: bool) -> None:
        """Show a line; ``always`` leaves it standing."""
        line = printable(line)
        if self._live is not None:
            if always:
                self._live.console.print(line)
            else:
                self._live.update(line)
        elif always or time.monotonic() - self._printed >= SECONDS_BETWEEN_LINES:
            print(line, file=self._file, flush=True)
            self._printed = self._printed if always else time.monotonic()

    def close(self) -> None:
        """Release the terminal."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def pluralize(number: int, word: str) -> str:
    """Write how many there are of something."""
    return f"{number} {word}{'s' * (number != 1)}"


def gigabytes(number: int | None) -> str:
    """Write bytes in units of 10^9."""
    if number is None:
        return "an unknown amount"
    return f"{number / 1e9:.1f} GB" if number < 1e10 else f"{number / 1e9:,.0f} GB"


def duration(seconds: float) -> str:
    """Write a duration as ``4s``, ``2:05`` (minutes) or ``3:02:05`` (hours)."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
