"""Ask and tell stay cheap, and as cheap after many trials as after few: counted, not timed."""

from __future__ import annotations

import pytest

from benchmarks.ask_tell import measure
from genotypes.catalogue import build_space
from strategies.catalogue import STRATEGIES
from tests.counting import bytecodes


@pytest.mark.parametrize(
    # Instructions of the interpreter, about twice what it takes.
    ("name", "most"),
    [("random", 1500), ("evolution", 3600), ("local", 1300)],
)
def test_ask_and_tell_are_cheap_and_stay_so(name: str, most: int) -> None:
    early, late = measure(STRATEGIES.build(name, {}), build_space("nasnet"), (250, 1000), bytecodes)
    assert early < most
    assert late < 1.5 * early
