"""Care for optimisers of other libraries: that they are installed, compute quietly, and propose what exists."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

import numpy as np

from genotypes.genotype import GenotypeError
from genotypes.individual import Proposal
from genotypes.space import SearchSpace
from strategies.models.gaussian_process import on_one_thread

MEMORY: Final = 1000
"""Told individuals that a library sees by default, where an ask takes longer the more there are."""

_MOST_TRIES: Final = 20
"""Asks after which a combination that exists is drawn at random."""


def require_packages(strategy: str, packages: Sequence[str]) -> None:
    """Raise unless the packages of an extra, which has the name of its strategy, are installed.

    Raises:
        ValueError: naming the first that is missing, and the command that installs it.
    """
    if missing := [name for name in packages if find_spec(name) is None]:
        raise ValueError(
            f"the strategy {strategy} needs the package {missing[0]}: python -m pip install 'evo_nas[{strategy}]'"
        )


@contextmanager
def compute_quietly() -> Iterator[None]:
    """Silence the warnings of a library, and compute on one thread, so that sums repeat exactly."""
    with warnings.catch_warnings(), on_one_thread():
        warnings.simplefilter("ignore")
        yield


def ask_until_it_exists(space: SearchSpace, ask: Callable[[], Proposal], rng: np.random.Generator) -> Proposal:
    """Return the first of some proposals that the space contains, or a random one: libraries know products alone."""
    for _ in range(_MOST_TRIES):
        proposal = ask()
        try:
            space.check(proposal.genotype)
        except GenotypeError:
            continue
        return proposal
    return Proposal(space.sample(rng))
