"""JSON files of any length, read element by element: of COCO's 450 MB only a few stand in memory at a time."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

from evo_nas.errors import DataError
from evo_nas.system.text import open_file

LARGEST_ELEMENT: Final = 2**26
"""Characters of the largest element of a list that is read whole."""

_CHUNK: Final = 2**20
_BLANKS: Final = " \t\n\r"


def read_lists(path: Path, wanted: frozenset[str]) -> Iterator[tuple[str, object]]:
    """Yield the elements of the lists of a JSON object, with the key of each, in the order of the file.

    Only lists of ``wanted`` keys are yielded. A wanted key whose value is no list, or that comes twice, is an error.

    Raises:
        DataError: if the file cannot be read, or is no such JSON.
    """
    try:
        with os.fdopen(open_file(path), "rb") as file:
            yield from _Reader(path, file).read_lists(wanted)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{path} cannot be read ({reason}): mend or replace it") from None


class _Reader:
    """A window of a file's text, from ``place`` on."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.text, self.place, self.lines, self.is_complete = "", 0, 1, False
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._values = json.JSONDecoder(parse_constant=self._refuse_constant)

    def read_lists(self, wanted: frozenset[str]) -> Iterator[tuple[str, object]]:
        """Yield the elements of the wanted lists of the object that is the whole file."""
        seen = set()
        self._expect("{")
        if not self._skip("}"):
            while True:
                key = self._read_value()
                if not isinstance(key, str):
                    self._fail("a key is no text")
                self._expect(":")
                if key in seen and key in wanted:
                    self._fail(f"{key!r} comes a second time")
                seen.add(key)
                if self._peek() == "[":
                    yield from ((key, element) for element in self._read_list() if key in wanted)
                elif key in wanted:
                    self._fail(f"{key!r} is no list")
                else:
                    self._read_value()
                if self._skip("}"):
                    break
                self._expect(",")
        if self._peek():
            self._fail("there is more after its end")

    def _read_list(self) -> Iterator[object]:
        self._expect("[")
        if self._skip("]"):
            return
        while True:
            yield self._read_value()
            if self._skip("]"):
                return
            self._expect(",")

    def _read_value(self) -> object:
        """Return the next value whole."""
        self._peek()
        while True:
            try:
                value, end = self._values.raw_decode(self.text, self.place)
            except json.JSONDecodeError as error:
                # The text may only be cut here: then the error stands at its end, or at the beginning of a string.
                cut = error.pos >= len(self.text) - 16 or error.msg.startswith("Unterminated string")
                if self.is_complete or not cut:
                    self._fail(f"{error.msg}", error.pos)
            except RecursionError:
                self._fail("it is nested too deeply")
            else:
                # A number may go on in what is not read yet: 1 may become 12, and 1. becomes 1.5.
                if self.is_complete or (end < len(self.text) and self.text[end] not in ".eE"):
                    self.place = end
                    return value
            if len(self.text) - self.place > LARGEST_ELEMENT:
                self._fail(f"an element has more than {LARGEST_ELEMENT:,} characters")
            self._read_more()

    def _peek(self) -> str:
        """Return the next character that is no blank, and go to it; empty at the end."""
        while True:
            while self.place < len(self.text) and self.text[self.place] in _BLANKS:
                self.place += 1
            if self.place < len(self.text):
                return self.text[self.place]
            if self.is_complete:
                return ""
            self._read_more()

    def _skip(self, letter: str) -> bool:
        """Return whether this character comes next, and go beyond it."""
        if self._peek() != letter:
            return False
        self.place += 1
        return True

    def _expect(self, letter: str) -> None:
        if not self._skip(letter):
            self._fail(f"{letter!r} is missing")

    def _read_more(self) -> None:
        """Drop what has been read, and double what is left, so that a long element is not scanned too often."""
        self.lines += self.text.count("\n", 0, self.place)
        left = self.text[self.place :]
        block = self.file.read(max(_CHUNK, len(left)))
        self.is_complete = not block
        if b"\0" in block:
            self._fail("it holds zero bytes, as UTF-16 does: save it as UTF-8")
        try:
            self.text, self.place = left + self._decode.decode(block, final=not block), 0
        except UnicodeDecodeError:
            self._fail("it is no UTF-8")

    def _refuse_constant(self, name: str) -> NoReturn:
        self._fail(f"{name} is no number of JSON")

    def _fail(self, why: str, place: int | None = None) -> NoReturn:
        line = self.lines + self.text.count("\n", 0, self.place if place is None else place)
        raise DataError(f"{self.path} is no JSON that can be read (line {line:,}: {why}): mend or replace it")
