"""Rules that stop a training early: what its learning curve must have reached, judged by trials that ended before it.

A rule looks at a training after some of its epochs. What it demands there is computed when the trial is asked, from the
learning curves of trials that were told, and travels with the job as its brief. So an evaluation still depends on its
job alone, every strategy can use every rule, and a resumed search stops the same trainings after the same epochs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

from evo_nas.evaluators.rungs import Ladder
from genotypes.population import Population

NO_THRESHOLD: Final = -1.0
"""Threshold in a brief while too few trials have ended: below every value, so that it stops nothing."""

RULES: Final = ("none", "median", "halving")
"""The names that :func:`stopping_rule` takes."""

Curve = Sequence[float]
"""The evaluator's measure, a fraction in [0, 1], after each epoch of one training."""


@dataclass(frozen=True, kw_only=True)
class StoppingRule(ABC):
    """A rule that ends trainings early: a pure function of a learning curve and of thresholds.

    ``epochs`` is the length of a complete training, ``first`` the first epoch, counted from 1, after which it may be
    stopped. A threshold is taken over at least ``trials`` curves, so that the first trials of a search are trained to
    the end. The curves are those of the youngest ``window`` individuals with a fitness; of these, one whose fitness was
    taken over from the same network has no curve and counts for nothing.

    A training is stopped if it is strictly worse than a threshold; the best so far never is.

    Raises:
        ValueError: if a number is out of range.
    """

    epochs: int
    first: int = 1
    trials: int = 10
    window: int = 200

    def __post_init__(self) -> None:
        if not 1 <= self.first < self.epochs:
            raise ValueError(
                f"the first epoch to stop after (stopping_epochs) must be at least 1 and less than the epochs of a "
                f"training, which are {self.epochs}; it is {self.first}"
            )
        if not 1 <= self.trials <= self.window:
            raise ValueError(
                f"the trials of a threshold (stopping_trials) must be from 1 to the window that they are taken from "
                f"(stopping_window), which is {self.window}; they are {self.trials}"
            )

    @property
    @abstractmethod
    def looks(self) -> tuple[int, ...]:
        """The epochs after which it looks at a training: counted from 1, ascending, all before the last."""

    @abstractmethod
    def threshold(self, curves: Sequence[Curve], epoch: int) -> float:
        """Return what a training must have achieved after an epoch; :data:`NO_THRESHOLD` if too few curves tell.

        No curve is empty; some are shorter than others, because their trainings were stopped.
        """

    @abstractmethod
    def score(self, curve: Curve) -> float:
        """Return the score of a training after the last epoch of its curve, which is compared with the threshold."""

    def brief(self, population: Population) -> tuple[float, ...]:
        """Return the thresholds for the next training: fractions in [0, 1] or :data:`NO_THRESHOLD`, one a look.

        Raises:
            ValueError: if the population keeps fewer than ``window`` individuals.
        """
        curves = [individual.curve for individual in population.youngest(self.window) if individual.curve]
        return tuple(self.threshold(curves, epoch) for epoch in self.looks)

    def stops(self, curve: Curve, brief: Sequence[float]) -> bool:
        """Return whether a training ends after the last epoch of its curve; an empty brief stops nothing."""
        thresholds = dict(zip(self.looks, brief, strict=bool(brief)))
        return len(curve) in thresholds and self.score(curve) < thresholds[len(curve)]


@dataclass(frozen=True, kw_only=True)
class MedianStopping(StoppingRule):
    """Stop what was never as good as the median trial is on average (Golovin et al. 2017, section 3.2.1).

    "Stops a pending trial if its best objective value by step s is strictly worse than the median of the running
    averages of all completed trials' objectives reported up to step s." Here a step is an epoch, and it looks after
    each from ``first`` on.

    A trial that was itself stopped before epoch s counts at s with the average of what it had reported. Left out, it
    would leave the median to the survivors: half of these would be stopped at the next epoch, and half of the rest at
    the one after, however good they are. Counted like this, the median stays that of all trials, and since a curve
    that was cut short has a low average, the error is to go on for too long.
    """

    @property
    def looks(self) -> tuple[int, ...]:
        """Every epoch from the first on, but for the last."""
        return tuple(range(self.first, self.epochs))

    def threshold(self, curves: Sequence[Curve], epoch: int) -> float:
        """Return the median of the running averages up to this epoch."""
        if len(curves) < self.trials:
            return NO_THRESHOLD
        return median(_average(curve[:epoch]) for curve in curves)

    def score(self, curve: Curve) -> float:
        """Return the best value so far."""
        return max(curve)


@dataclass(frozen=True, kw_only=True)
class SuccessiveHalving(StoppingRule):
    """Let only the best 1/``eta`` go on from each rung (ASHA: Li et al. 2020, section 3.2 and algorithm 2).

    The rungs are the epochs ``first``, ``first * eta``, ``first * eta**2``, ... before the last. The paper pauses a
    trial at a rung and may promote it later; this is the variant that stops it for good, as Ray Tune's
    ``ASHAScheduler`` and Optuna's ``SuccessiveHalvingPruner`` do, so that no weights wait anywhere. A trial goes on
    if it is among the best 1/``eta``, at least the best one, of all that came to this rung: those that were stopped
    there, and, as in Optuna, itself. Ties go on. Each rung needs ``trials`` that came to it.
    """

    eta: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eta < 2:
            raise ValueError(f"eta must be at least 2, not {self.eta}: with less nothing would be stopped")

    @property
    def looks(self) -> tuple[int, ...]:
        """The rungs."""
        return Ladder(epochs=self.epochs, first=self.first, eta=self.eta).rungs

    def threshold(self, curves: Sequence[Curve], epoch: int) -> float:
        """Return the score of the last that would go on, were the next trial the best of all."""
        recorded = sorted((curve[epoch - 1] for curve in curves if len(curve) >= epoch), reverse=True)
        if len(recorded) < self.trials:
            return NO_THRESHOLD
        return recorded[max(1, (len(recorded) + 1) // self.eta) - 1]

    def score(self, curve: Curve) -> float:
        """Return the value at the rung."""
        return curve[-1]


def stopping_rule(name: str, *, epochs: int, first: int, trials: int, window: int, eta: int) -> StoppingRule | None:
    """Make the rule of a name of :data:`RULES` for trainings of so many epochs; ``None`` for ``none``.

    The numbers are the fields of the rules; ``eta`` is used by ``halving`` alone.

    Raises:
        ValueError: if the name is unknown or a number out of range.
    """
    match name:
        case "none":
            return None
        case "median":
            return MedianStopping(epochs=epochs, first=first, trials=trials, window=window)
        case "halving":
            return SuccessiveHalving(epochs=epochs, first=first, trials=trials, window=window, eta=eta)
        case _:
            raise ValueError(f"there is no stopping rule {name!r}; the rules are: {', '.join(RULES)}")


def _average(curve: Curve) -> float:
    """Average without rounding up: what is constant must not be worse than its own average."""
    return min(fmean(curve), max(curve))
