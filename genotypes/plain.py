"""Values of numpy, torch and pandas as Python's own: plug-ins and notebooks hand over whatever they compute with."""

from __future__ import annotations

import operator
from contextlib import suppress
from typing import Any, Final

LONGEST_TEXT: Final = 1 << 20
"""Bytes of the longest text that is kept of an error; no text of a history has more."""


def plain(value: Any) -> Any:
    """Return Python's own scalar for one of another library, and anything else as it is."""
    if callable(item := getattr(value, "item", None)):
        with suppress(Exception):  # an array of many
            return item()
    return value


def plain_in_json(value: object) -> Any:
    """Return Python's own scalar for one of another library: the ``default`` of an encoder of JSON.

    Raises:
        TypeError: if it is none.
    """
    if (number := plain(value)) is value:
        raise TypeError(f"{type(value).__name__} is no kind of JSON")
    return number


def whole(value: object) -> int:
    """Return a whole number of any library as an ``int``.

    Raises:
        ValueError: if it is none. A truth value is none, and of floats those of other libraries alone can be one.
    """
    if type(value) is int:
        return value
    number = plain(value)
    if type(number) is float and number is not value and number.is_integer():
        return int(number)
    with suppress(TypeError):
        if type(number) is not bool:
            return int(operator.index(number))
    raise ValueError("it is no whole number")


def real(value: object) -> float:
    """Return a number of any library as a ``float``; of texts there is none that is a number.

    Raises:
        ValueError: if it is no number.
    """
    if type(value) is float:
        return value
    number = plain(value)
    if not isinstance(number, str | bytes | bytearray):
        with suppress(Exception):  # whatever another library raises
            return float(number)
    raise ValueError("it is no number")


def check_names(what: str, names: object) -> None:
    """Raise unless this is a tuple or list of names; a single name is a sequence of letters.

    Raises:
        ValueError: if it is none.
    """
    words = names if isinstance(names, tuple | list) else [None]
    if not all(isinstance(name, str) and readable(name) == name for name in words):
        raise ValueError(f"{what} must be a tuple of names, not {names!r:.60}")


def check_count(what: str, number: object) -> None:
    """Raise unless this is a whole number of at least 0.

    Raises:
        ValueError: if it is none.
    """
    try:
        if 0 <= whole(number) < 2**63:
            return
    except ValueError:
        pass
    raise ValueError(f"{what} must be a whole number of at least 0, not {number!r:.60}")


def readable(text: object) -> str:
    """Return a text as UTF-8 can hold it, such as a file name that is none; of a very long one its end."""
    words = str(text)
    if words.isascii() and len(words) <= LONGEST_TEXT:
        return words
    data = words.encode("utf-8", "backslashreplace")
    return (data if len(data) <= LONGEST_TEXT else b"... " + data[4 - LONGEST_TEXT :]).decode("utf-8", "ignore")
