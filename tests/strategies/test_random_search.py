"""Random search: uniform, and nothing else."""

from __future__ import annotations

from typing import Any

from genotypes.catalogue import build_space
from strategies.random_search import RandomSearch


def test_the_trace_of_a_seed_is_pinned(drive: Any) -> None:
    """A fixed seed gives a fixed trace. If it changes on purpose, say so in the CHANGELOG and pin the new one."""
    search = drive(RandomSearch(), build_space("nasnet(blocks=1)"), seed=0).run(3)
    assert [i.genotype.choices for i in search.individuals] == TRACE


def test_it_pays_no_heed_to_what_it_is_told(drive: Any) -> None:
    space = build_space("nasnet(blocks=2)")
    told = drive(RandomSearch(), space).run(10)
    failed = drive(RandomSearch(), space, fails=lambda id: True).run(10)
    assert [i.genotype for i in told.individuals] == [i.genotype for i in failed.individuals]


TRACE = [
    (1, 0, 2, 12, 0, 1, 1, 6, 11, 1),
    (1, 1, 10, 1, 0, 1, 1, 11, 9, 0),
    (0, 1, 1, 7, 0, 1, 0, 9, 5, 0),
]
