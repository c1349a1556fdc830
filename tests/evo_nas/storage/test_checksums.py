"""Sums of rows: what they are, and what of a file is read before it is mapped."""

import errno
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo_nas.storage.checksums import damage, row_sum
from evo_nas.storage.schema import make
from tests import histories

INTEGERS = st.integers(-(2**63), 2**63 - 1)
REALS = st.floats(allow_nan=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.none() | INTEGERS | REALS | TEXTS))
def test_the_sum_of_a_row_is_that_of_the_bytes_that_the_docs_spell(values: list[Any]) -> None:
    assert row_sum(*values) == histories.row_sum(*values)


@pytest.mark.parametrize("value", ["cell", "ä cell", 2**40, 0.5])
def test_the_sum_does_not_know_whether_two_equal_values_are_one_object(value: Any) -> None:
    again = type(value)(f"{value}")
    assert row_sum(value, value, 1) == row_sum(value, again, 1) == histories.row_sum(value, value, 1)


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, "1"), (None, "None"), (0.0, -0.0), ("a", "b"), ("", None)])
def test_what_differs_has_another_sum(one: Any, other: Any) -> None:
    assert row_sum(7, one) != row_sum(7, other)


def test_a_fault_of_the_disk_is_damage_and_no_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the file is mapped it would be SIGBUS."""
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection:
        make(connection)
        assert damage(connection) is None
        monkeypatch.setattr(Path, "open", lambda *_, **__: Unreadable())
        assert damage(connection) == "[Errno 5] Input/output error"


class Unreadable:
    """A file on a disk that fails."""

    def __enter__(self) -> "Unreadable":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def readinto(self, _: bytearray) -> int:
        """Raise what the system says."""
        raise OSError(errno.EIO, "Input/output error")
