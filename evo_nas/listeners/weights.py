"""Keep the weights of the best trials, and only those."""

from __future__ import annotations

from pathlib import Path

from evo_nas.evaluators.base import weights_file
from evo_nas.manager import Listener
from genotypes.individual import Evaluation, Individual
from genotypes.population import Population


class WeightKeeper(Listener):
    """Delete the weights of every trial that is not among the ``keep`` best."""

    def __init__(self, run: Path, keep: int) -> None:
        self.run = run
        self.keep = keep
        self._kept: set[int] = set()

    def restored(self, population: Population, trained: int) -> None:
        """Delete the leftover weights of an interrupted run."""
        self._kept = {individual.id for individual in population.best(self.keep)}
        names = {weights_file(self.run, id).name for id in self._kept}
        for file in (self.run / "weights").glob("trial-*"):
            if file.name not in names:
                file.unlink(missing_ok=True)

    def told(self, individual: Individual, evaluation: Evaluation, population: Population, trained: int) -> None:
        """Delete the weights of trials that are not, or no longer, among the best."""
        best = {individual.id for individual in population.best(self.keep)}
        for id in (self._kept | {individual.id}) - best:
            weights_file(self.run, id).unlink(missing_ok=True)
        self._kept = best
