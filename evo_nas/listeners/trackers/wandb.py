"""A run in Weights & Biases: offline, in the run folder, unless ``WANDB_MODE`` says something else."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Final

from evo_nas.listeners.numbers import Entry
from evo_nas.listeners.trackers.base import Sent, Tracker
from evo_nas.system.atomic import make_folder

if TYPE_CHECKING:
    import wandb

STEP: Final = "trained"
"""The metric that stands at the axes of the curves: the number of trainings that had ended."""


class WeightsAndBiases(Tracker):
    """A row per trial, whose step is the event of its end; settings in the configuration; new bests as pictures.

    Offline the record is one folder that ``wandb sync`` uploads, written anew from the history whenever it is opened.
    Online the run is resumed by its id, and what the server has is not sent again.
    """

    name = "wandb"
    _run: wandb.Run

    def open(self) -> Sent | None:
        """Begin the record offline, or resume it online."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        make_folder(self.folder)
        id = str(self.read_note().get("id") or secrets.token_hex(4))
        self.write_note({"id": id})
        is_online = os.environ.setdefault("WANDB_MODE", "offline") not in ("offline", "disabled", "dryrun")
        place = Path(os.environ.get("WANDB_DIR") or self.run.path)
        if not is_online:
            for old in (place / "wandb").glob(f"offline-run-*-{id}"):
                rmtree(old, ignore_errors=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "evo_nas",
            id=id,
            name=os.environ.get("WANDB_NAME") or self.run.name,
            dir=place,
            resume="allow" if is_online else None,
            config={**self.run.settings, **self.run.labels},
            allow_val_change=True,
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True
            ),
        )
        self._run.define_metric("*", step_metric=STEP)
        return Sent(self._run.step - 1) if self._run.resumed and self._run.step > 0 else None

    def send(self, entries: Sequence[Entry]) -> None:
        """Log a row per trial; one whose step the server has already is left out by the library."""
        for entry in entries:
            row: dict[str, Any] = {STEP: entry.trained, "_timestamp": entry.told.at, **entry.numbers}
            if entry.is_incumbent:
                row |= self._describe_incumbent(entry)
            self._run.log(row, step=entry.told.event)

    def close(self, *, has_ended: bool, reason: str | None) -> None:
        """Finish the record; its state is failed if the search can be resumed."""
        self._run.summary["reason"] = str(reason)
        self._finish(0 if has_ended else 1)

    def forget(self) -> None:
        """Leave the record there as it is, and make another."""
        self._finish(0)
        self.write_note({})

    def _finish(self, code: int) -> None:
        """Finish the record, and wait until the library's process has written all of it."""
        import wandb

        self._run.finish(exit_code=code)
        wandb.teardown()

    def _describe_incumbent(self, entry: Entry) -> dict[str, Any]:
        import wandb
        from PIL import Image

        told, found = entry.told, self.run.describe_incumbent(entry)
        self._run.summary["best_trial"], self._run.summary["best_genotype"] = told.id, told.genotype
        shown: dict[str, Any] = {}
        if found.picture is not None:
            with Image.open(io.BytesIO(found.picture)) as picture:
                shown["incumbent"] = wandb.Image(picture, caption=f"trial {told.id}: {told.genotype}")
        if found.curve:
            rows: list[Any] = [[epoch, value] for epoch, value in enumerate(found.curve, 1)]
            shown["incumbent_learning_curve"] = wandb.Table(columns=["epoch", self.run.measure.name], data=rows)
        return shown
