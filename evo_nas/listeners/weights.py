"""Keep the weights of the best trials, and those that children may inherit, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evo_nas.evaluators.base import weights_file
from evo_nas.loop.listener import Listener
from genotypes.individual import Evaluation, Individual
from genotypes.population import Population


class WeightKeeper(Listener):
    """Delete the weights of every trial that is not among the ``keep`` best, nor among the heritable.

    ``list_heritable`` returns the trials whose weights a later training may inherit, ``None`` for all.
    """

    def __init__(self, run: Path, keep: int, list_heritable: Callable[[], set[int] | None] = set) -> None:
        self.run = run
        self.keep = keep
        self._list_heritable = list_heritable
        self._kept: set[int] = set()

    def restored(self, population: Population, trained: int) -> None:
        """Delete the leftover weights of an interrupted run."""
        wanted = self._list_needs(population)
        if wanted is None:
            return
        self._kept = wanted
        names = {weights_file(self.run, id).name for id in wanted}
        for file in (self.run / "weights").glob("trial-*"):
            if file.name not in names:
                file.unlink(missing_ok=True)

    def told(self, individual: Individual, evaluation: Evaluation, population: Population, trained: int) -> None:
        """Delete the weights of trials that are not, or no longer, wanted."""
        wanted = self._list_needs(population)
        if wanted is None:
            return
        for id in (self._kept | {individual.id}) - wanted:
            weights_file(self.run, id).unlink(missing_ok=True)
        self._kept = wanted

    def _list_needs(self, population: Population) -> set[int] | None:
        heritable = self._list_heritable()
        return None if heritable is None else heritable | {one.id for one in population.best(self.keep)}
