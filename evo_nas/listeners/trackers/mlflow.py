"""A run in MLflow: by default in a database in the run folder, else where ``MLFLOW_TRACKING_URI`` says."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from evo_nas.listeners.numbers import Entry
from evo_nas.listeners.trackers.base import Sent, Tracker
from evo_nas.system.atomic import make_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

_BATCH: Final = 900
"""Metrics of a request; MLflow takes 1,000 entries."""

_LONGEST: Final = 450
"""Letters of a value; the older servers take 500."""

_EVENT, _AT = "evo_nas.event", "evo_nas.told_at"


class MLflow(Tracker):
    """Metrics by number of trainings, settings as parameters, the rest as tags, new bests below ``incumbents/``.

    How far the record is stands in two of its tags. MLflow's own databases keep a metric of the same name, step, time
    and value once, so that what a death between two requests has sent again makes no difference.
    """

    name = "mlflow"
    _client: MlflowClient
    _id: str

    def open(self) -> Sent | None:
        """Connect to the run that the note names, or to a new one."""
        # A search asks no other host for anything that the user did not name.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        note, own = self.read_note(), f"sqlite:///{(self.folder / 'mlflow.db').resolve()}"
        uri = os.environ.get("MLFLOW_TRACKING_URI") or own
        if uri == own and note.get("uri") != own:  # the folder was moved, and the paths in it are no more
            rmtree(self.folder, ignore_errors=True)
        make_folder(self.folder)
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        found = None
        if note.get("uri") == uri:
            try:
                found = self._client.get_run(str(note.get("run")))
            except MlflowException as error:
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise
        if found is None:
            began = None if self.run.began is None else _milliseconds(self.run.began)
            found = self._client.create_run(self._experiment(uri == own), start_time=began, run_name=self.run.name)
            self.write_note({"uri": uri, "run": found.info.run_id})
        elif found.info.status != "RUNNING":
            self._client.update_run(found.info.run_id, status="RUNNING")
        self._id = found.info.run_id
        self._describe()
        tags = found.data.tags
        return Sent(int(tags[_EVENT]), float(tags[_AT])) if _EVENT in tags and _AT in tags else None

    def send(self, entries: Sequence[Entry]) -> None:
        """Send metrics, then the incumbents, then how far it is."""
        metrics = [metric for entry in entries for metric in self._list_metrics(entry)]
        for entry in entries:
            if entry.is_incumbent:
                metrics += self._send_incumbent(entry)
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(self._id, metrics=metrics[start : start + _BATCH])
        last = entries[-1].told
        self._tag({_EVENT: str(last.event), _AT: repr(last.at)})

    def close(self, *, has_ended: bool, reason: str | None) -> None:
        """Record how the search ended: ``FINISHED``, or ``KILLED`` if it can be resumed."""
        self._tag({"evo_nas.reason": str(reason)})
        self._client.set_terminated(self._id, "FINISHED" if has_ended else "KILLED")

    def forget(self) -> None:
        """Leave the run there as it is, and make another."""
        self.write_note({})

    def _experiment(self, is_own: bool) -> str:
        from mlflow.exceptions import MlflowException

        if id := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return id
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "evo_nas"
        place = (self.folder / "artifacts").resolve().as_uri() if is_own else None
        if (found := self._client.get_experiment_by_name(name)) is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name, artifact_location=place))
        except MlflowException:  # another run made it meanwhile
            if (found := self._client.get_experiment_by_name(name)) is None:
                raise
            return str(found.experiment_id)

    def _describe(self) -> None:
        from mlflow.entities import Param

        settings = [Param(_name(name), str(value)[:_LONGEST]) for name, value in self.run.settings.items()]
        for start in range(0, len(settings), 100):
            self._client.log_batch(self._id, params=settings[start : start + 100])
        self._tag({f"evo_nas.{name}": str(value) for name, value in self.run.labels.items()})

    def _tag(self, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        self._client.log_batch(self._id, tags=[RunTag(_name(name), value[:_LONGEST]) for name, value in tags.items()])

    def _list_metrics(self, entry: Entry) -> Iterator[Metric]:
        from mlflow.entities import Metric

        at = _milliseconds(entry.told.at)
        for name, value in entry.numbers.items():
            yield Metric(_name(name), value, at, entry.trained)

    def _send_incumbent(self, entry: Entry) -> list[Metric]:
        """Send the files of a new best network, and return its learning curve."""
        from mlflow.entities import Metric

        id, found = entry.told.id, self.run.describe_incumbent(entry)
        with TemporaryDirectory(prefix="evo_nas-") as scratch:
            files: dict[str, Any] = {"json": found.record.encode(), "png": found.picture}
            for suffix, content in files.items():
                if content is not None:
                    file = Path(scratch) / f"trial-{id:06}.{suffix}"
                    file.write_bytes(content)
                    self._client.log_artifact(self._id, str(file), "incumbents")
        name, at = f"incumbents_learning_curve/trial_{id}", _milliseconds(entry.told.at)
        self._tag({"evo_nas.best_trial": str(id), "evo_nas.best_genotype": entry.told.genotype})
        return [Metric(name, value, at, epoch) for epoch, value in enumerate(found.curve, 1)]


def _milliseconds(seconds: float | None) -> int:
    return int(1000 * (time.time() if seconds is None else seconds))


def _name(text: str) -> str:
    """Spell a name with the letters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", text, flags=re.ASCII)[:250]
