"""Limits on the cost of the networks that are trained, and the message of a search in which they refuse everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from evo_nas.errors import UsageError
from evo_nas.storage.replay import Replay
from genotypes.individual import Cost


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest network that is trained: its parameters and its mult-adds of one image; ``None`` for no limit."""

    parameters: int | None = None
    mult_adds: int | None = None

    def __bool__(self) -> bool:
        return self.parameters is not None or self.mult_adds is not None

    def refusal(self, cost: Cost) -> str | None:
        """Return why a network of this cost is not trained; ``None`` if it is within the limits."""
        over = [f"{value} {word} are more than the {limit} allowed" for word, value, limit in self._beyond(cost)]
        return " and ".join(over) or None

    def advice(self, smallest: Cost) -> str:
        """Return which limit refuses too much, and what to set.

        ``smallest`` holds the fewest parameters and the fewest mult-adds among the refused networks, of which each may
        be another network's.
        """
        beyond = [
            f"the fewest {word} among them are {value:,}, and --max-{word} is {limit:,}"
            for word, value, limit in self._beyond(smallest)
        ]
        which = "; ".join(beyond) or "none of them is within --max-parameters and within --max-mult-adds"
        return f"{which}; begin a new run with a larger limit"

    def _beyond(self, cost: Cost) -> Iterator[tuple[str, int, int]]:
        """Yield the limits that a cost is beyond: what is limited, the cost and the limit."""
        costs = (
            ("parameters", cost.parameters, self.parameters),
            ("mult-adds", cost.mult_adds, self.mult_adds),
        )
        for word, value, limit in costs:
            if limit is not None and value > limit:
                yield word, value, limit


def advise_on_limits(history: Replay, limits: Limits) -> str:
    """Return what to do about limits that refused one network after another.

    Raises:
        UsageError: saying the same, if they left nothing to train at all.
    """
    refused = history.find_refusals_since_training()
    smallest = Cost(refused.parameters or 0, refused.mult_adds or 0)
    advice = f"{refused.count:,} networks in a row were refused; {limits.advice(smallest)}"
    if history.count_trainings():
        return advice
    raise UsageError(f"nothing was trained: {advice}")
