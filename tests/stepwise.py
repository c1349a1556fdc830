"""A deed that is killed between two of its steps on the disk: the n-th, so that a test can go through all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

WRITING = tuple((Path, name) for name in ("mkdir", "rename", "replace", "unlink", "write_text", "write_bytes"))
"""The steps that write through :class:`pathlib.Path`, each with its owner."""


def is_done_before(
    steps: int, deed: Callable[[], object], patch: pytest.MonkeyPatch, more: Iterable[tuple[object, str]] = ()
) -> bool:
    """Do the deed in a process that is killed after so many steps; return whether it was done before.

    A step ends before one of :data:`WRITING` begins, or one of the functions that ``more`` names.
    """
    child = os.fork()
    if child == 0:
        left = steps

        def before(function: Callable[..., Any]) -> Callable[..., Any]:
            def stepping(*arguments: Any, **options: Any) -> Any:
                nonlocal left
                if left == 0:
                    os._exit(9)
                left -= 1
                return function(*arguments, **options)

            return stepping

        try:
            for owner, name in (*WRITING, *more):
                patch.setattr(owner, name, before(getattr(owner, name)))
            deed()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 0
