"""Ask and tell stay cheap, and as cheap after many trials as after few."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from genotypes.catalogue import space_named
from strategies.catalogue import STRATEGIES


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The benchmark, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("ask_tell", Path(__file__).parents[1] / "bench" / "ask_tell.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    # Milliseconds at 1,000 trials, wanted on one core; a busy machine gets five times as many.
    ("name", "wanted"),
    [("random", 0.1), ("evolution", 0.3), ("local", 0.2)],
)
def test_ask_and_tell_are_cheap_and_stay_so(name: str, wanted: float, bench: ModuleType) -> None:
    early, late = bench.measure(STRATEGIES.build(name, {}), space_named("nasnet"), (1000, 4000))
    assert early < 5 * wanted
    assert late < 3 * early
