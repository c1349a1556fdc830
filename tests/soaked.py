"""Cases that repeat others on slower ground: `make soak` runs them, `make test` does not."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest

HEAVY_STRATEGIES = frozenset({"pnas", "optuna", "hyperopt", "nevergrad", "multiplier"})
"""They import torch or another library in every process that a test starts: five seconds each."""


def soak(cases: Iterable[Any], which: Collection[object]) -> list[Any]:
    """Return cases for ``parametrize``, those whose first value is in ``which`` marked for the soak."""
    found = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        found.append(pytest.param(*values, marks=[pytest.mark.soak] if values[0] in which else []))
    return found
