"""The race of a search in its history: pauses are recorded, trainings go on, and states are kept as long as wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from evo_nas.config import SearchConfig
from evo_nas.errors import calling
from evo_nas.evaluators.base import Evaluator
from evo_nas.evaluators.rungs import Ladder, Race
from evo_nas.storage.history import History
from evo_nas.system.failpoints import Failpoint, reach
from genotypes.individual import Evaluation, Outcome


class Rungs:
    """The trainings of a search that pause, and those of them that have gone on; the history holds all of it.

    Raises:
        ValueError: if the evaluator cannot pause, or the rungs do not fit its epochs.
    """

    def __init__(self, config: SearchConfig, evaluator: Evaluator, history: History) -> None:
        self.race = make_race(config, evaluator)
        self._evaluator = evaluator
        self._history = history
        self._training: dict[int, int] = {}  # trials in training, and the epochs after which they paused last, or 0

    @property
    def paused(self) -> Mapping[int, int]:
        """The trials that pause, in the order in which they came to their rungs, and after how many epochs."""
        return self.race.paused

    def restore(self) -> None:
        """Run the race again as far as the history knows it, and remove the states that nobody wants."""
        for pause in self._history.read_pauses():
            self._release(pause.trial)
            self.race.arrive(pause.trial, pause.epoch, pause.score)
        pending = self._history.find_pauses()
        for trial, epoch in list(self.paused.items()):
            if not pending.get(trial):  # it was told, or has gone on
                self._release(trial)
            if pending.get(trial) is False:
                self._training[trial] = epoch
        self._keep_states()

    def is_pause(self, evaluation: Evaluation) -> bool:
        """Return whether a training paused rather than ended with this result."""
        return evaluation.outcome is Outcome.OK and len(evaluation.curve) in self.race.ladder.rungs

    def pause(self, id: int, evaluation: Evaluation) -> None:
        """Record that a training pauses, and let it wait at its rung.

        Raises:
            Refused: if a value would not come back equal; nothing is recorded then.
        """
        self._history.pause(id, evaluation)
        self._training.pop(id, None)
        assert evaluation.fitness is not None
        self.race.arrive(id, len(evaluation.curve), evaluation.fitness)
        self._keep_states()

    def promote(self, id: int) -> None:
        """Record that a paused training goes on."""
        self._training[id] = self.paused[id]
        self._release(id)
        self._history.attempt(id)
        reach(Failpoint.PROMOTED)

    def has_gone_on(self, id: int) -> bool:
        """Return whether a training that is going on has paused before."""
        return self._training.get(id, 0) > 0

    def plan(self, id: int) -> tuple[int, Evaluation | None]:
        """Return the epoch to which a training goes next, and its result so far if it has paused before.

        From then on its states are kept, also one that is being written.
        """
        done = self._training.setdefault(id, 0)
        return self.race.ladder.find_next(done), self._history.find_result_so_far(id) if done else None

    def find_result(self, id: int) -> Evaluation:
        """Return the result with which a paused trial leaves the race."""
        result = self._history.find_result_so_far(id)
        assert result is not None, "it pauses, so that a pause is recorded"
        return result

    def add_earlier_parts(self, id: int, evaluation: Evaluation) -> Evaluation:
        """Return the result of a training, a failure with the seconds and the curve of its earlier parts.

        What went well has them already: the evaluator was given the result so far.
        """
        so_far = self._history.find_result_so_far(id) if self.has_gone_on(id) else None
        if so_far is None or evaluation.outcome.has_fitness:
            return evaluation
        seconds = (evaluation.seconds or 0.0) + (so_far.seconds or 0.0)
        return replace(evaluation, seconds=seconds, curve=evaluation.curve or so_far.curve)

    def forget(self, id: int) -> None:
        """Take a trial that was told out of the race, and remove its state."""
        self._training.pop(id, None)
        self._release(id)
        self._keep_states()

    def _release(self, id: int) -> None:
        if id in self.paused:
            self.race.release(id)

    def _keep_states(self) -> None:
        with calling(self._evaluator, "keep_states"):
            self._evaluator.keep_states({**self.paused, **self._training})


def open_rungs(config: SearchConfig, evaluator: Evaluator, history: History) -> Rungs | None:
    """Return the race of a search; ``None`` if its trainings do not pause.

    Raises:
        ValueError: if the evaluator cannot pause, or the rungs do not fit its epochs.
    """
    return None if config.fidelity == "none" else Rungs(config, evaluator, history)


def make_race(config: SearchConfig, evaluator: Evaluator) -> Race:
    """Return a race on the rungs that a configuration wants for the trainings of an evaluator.

    Raises:
        ValueError: if the evaluator cannot pause, or the rungs do not fit its epochs.
    """
    epochs = evaluator.count_pausable_epochs()
    ladder = Ladder(epochs=epochs, first=config.fidelity_epochs, eta=config.fidelity_eta)
    return Race(ladder, config.fidelity_patience)
