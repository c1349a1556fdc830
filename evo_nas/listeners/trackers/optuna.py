"""A run as a study in a storage of Optuna, ``RUN/optuna/journal.log``, which optuna-dashboard shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from evo_nas.listeners.numbers import Entry
from evo_nas.listeners.trackers.base import Sent, Tracker
from evo_nas.system.atomic import make_folder
from genotypes.genotype import Genotype

if TYPE_CHECKING:
    from optuna.artifacts import FileSystemArtifactStore
    from optuna.distributions import BaseDistribution
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial


class OptunaStorage(Tracker):
    """A trial per trial: choices as categorical parameters, learning curve as intermediate values, failures as FAIL.

    How far the record is says its last trial. The choices of a user's own space, whose code the run folder alone does
    not import, stand in the genotype only.
    """

    name = "optuna"
    _storage: JournalStorage
    _flush: Callable[[], None]
    _artifacts: FileSystemArtifactStore
    _study: int
    _last: int
    _distributions: dict[str, BaseDistribution]

    def open(self) -> Sent | None:
        """Open the journal, or make it."""
        import optuna
        from optuna.artifacts import FileSystemArtifactStore
        from optuna.storages import JournalStorage

        from evo_nas.listeners.trackers.optuna_journal import BatchedJournal

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        make_folder(self.folder / "artifacts")
        self._artifacts = FileSystemArtifactStore(self.folder / "artifacts")
        journal = BatchedJournal(self.folder / "journal.log")
        self._storage, self._flush = JournalStorage(journal), journal.flush
        study = optuna.create_study(
            storage=self._storage, study_name=self.run.name, direction="maximize", load_if_exists=True
        )
        study.set_metric_names([self.run.measure.name])
        for name, value in {**self.run.settings, **self.run.labels}.items():
            if study.user_attrs.get(name, self) != (value := str(value)):
                study.set_user_attr(name, value)
        self._distributions = {}
        self._study = self._storage.get_study_id_from_name(self.run.name)
        trials = self._storage.get_all_trials(self._study, deepcopy=False)
        sent = [Sent(trial.user_attrs["event"], trial.user_attrs["told_at"]) for trial in trials[-1:]]
        self._last = sent[0].event if sent else 0
        self._flush()
        return sent[0] if sent else None

    def send(self, entries: Sequence[Entry]) -> None:
        """Add trials, with the pictures of new bests, one at a time."""
        for entry in entries:
            if entry.told.event > self._last:
                self._storage.create_new_trial(self._study, template_trial=self._make_trial(entry))
                self._last = entry.told.event
        self._flush()

    def close(self, *, has_ended: bool, reason: str | None) -> None:
        """Record why the search ended."""
        self._storage.set_study_user_attr(self._study, "reason", str(reason))
        self._flush()

    def forget(self) -> None:
        """Delete the journal."""
        rmtree(self.folder)

    def _make_trial(self, entry: Entry) -> FrozenTrial:
        from optuna.trial import TrialState, create_trial

        told = entry.told
        params, distributions = self._find_choices(told.genotype)
        curve = self.run.reader.curve(told.id)
        trial = create_trial(
            state=TrialState.FAIL if told.fitness is None else TrialState.COMPLETE,
            value=told.fitness,
            params=params,
            distributions=distributions,
            intermediate_values=dict(enumerate(curve, 1)),
            user_attrs={
                "trial": told.id,
                "event": told.event,
                "told_at": told.at,
                "genotype": told.genotype,
                "outcome": str(told.outcome),
                **({} if told.seconds is None else {"seconds": told.seconds}),
                **told.metrics,
                **{f"strategy/{name}": value for name, value in told.notes.items()},
            },
            system_attrs=self._upload(entry) if entry.is_incumbent else {},
        )
        trial.datetime_start = datetime.fromtimestamp(told.at - (told.seconds or 0.0))
        trial.datetime_complete = datetime.fromtimestamp(told.at)
        return trial

    def _upload(self, entry: Entry) -> dict[str, Any]:
        """Store the files of a new best network, and return the attributes by which its trial knows them.

        Optuna links files only to trials that run: a trial in memory takes its place, and what it is told is returned.
        """
        import optuna

        found = self.run.describe_incumbent(entry)
        contents: dict[str, Any] = {"png": found.picture, "json": found.record.encode()}
        storage = optuna.storages.InMemoryStorage()
        id = storage.create_new_trial(storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE]))
        with TemporaryDirectory(prefix="evo_nas-") as scratch:
            for suffix, content in contents.items():
                if content is not None:
                    file = Path(scratch) / f"trial-{entry.told.id:06}.{suffix}"
                    file.write_bytes(content)
                    optuna.artifacts.upload_artifact(
                        artifact_store=self._artifacts,
                        file_path=str(file),
                        study_or_trial=storage.get_trial(id),
                        storage=storage,
                    )
        return dict(storage.get_trial(id).system_attrs)

    def _find_choices(self, text: str) -> tuple[dict[str, str], dict[str, BaseDistribution]]:
        """Return the choices of a genotype, and what could be chosen, by decision; none of a space that is not ours."""
        from optuna.distributions import CategoricalDistribution

        genotype = Genotype.parse(text)
        decisions = self.run.find_decisions(genotype.space)
        for each in decisions:
            if each.name not in self._distributions:
                self._distributions[each.name] = CategoricalDistribution(each.options)
        choices = zip(decisions, genotype.choices, strict=False)
        params = {decision.name: decision.options[choice] for decision, choice in choices}
        return params, self._distributions if params else {}
