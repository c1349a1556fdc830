"""The contract of a listener: what it hears of a search."""

from __future__ import annotations

from evo_nas.storage.endings import Reason
from genotypes.individual import Evaluation, Individual
from genotypes.measure import Measure
from genotypes.population import Population


class Listener:
    """Somebody who watches a search. Each method does nothing by default."""

    def starting(self, measure: Measure) -> None:
        """Hear, before all else, what the fitness is."""

    def preparing(self, words: str) -> None:
        """Hear how far the evaluator's groundwork is, before the search starts."""

    def restoring(self, told: int, trials: int) -> None:
        """Hear how far the strategy has been told the history again: ``told`` trials of ``trials``."""

    def restored(self, population: Population, trained: int) -> None:
        """Hear that the search is about to go on after ``trained`` trainings (0 for a new one)."""

    def told(self, individual: Individual, evaluation: Evaluation, population: Population, trained: int) -> None:
        """Hear that a candidate ended, after it was recorded and the strategy has learned from it."""

    def stopping(self, reason: Reason, running: int) -> None:
        """Hear that nothing more is asked, and ``running`` trainings are given some time to end."""
