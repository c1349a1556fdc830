"""The search strategies by name. A strategy's file is imported when it is asked for: the controller needs torch."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from strategies.base import SearchStrategy

STRATEGIES: Final[dict[str, str]] = {
    "random": "strategies.random_search:RandomSearch",
    "evolution": "strategies.evolution:RegularizedEvolution",
    "rl": "strategies.reinforcement:PPOController",
}
"""Name -> module and class. A new strategy is a file beside this one and a line here."""


def strategy_class(name: str) -> type[SearchStrategy]:
    """Import the class of a strategy.

    Raises:
        ValueError: if there is no strategy of that name.
    """
    if name not in STRATEGIES:
        raise ValueError(f"there is no strategy {name!r}; the strategies are: {', '.join(STRATEGIES)}")
    module, _, attribute = STRATEGIES[name].partition(":")
    kind: type[SearchStrategy] = getattr(import_module(module), attribute)
    return kind
