"""The findings of doctor, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from evo_nas.commands.doctor.estimate import TimedSteps, spell_estimate, whole_seconds
from evo_nas.commands.doctor.facts import Images, Machine, RunFolderStat
from evo_nas.config import RunConfig
from evo_nas.errors import EvoNasError
from evo_nas.evaluators.base import Evaluator
from evo_nas.executors.capacity import Demand
from evo_nas.run.parts import Parts
from evo_nas.system.terminal import gigabytes, pluralize

T = TypeVar("T")


DTYPES = {"cuda": "float32, with bfloat16 autocast"}
"""Number formats of the arithmetic, by kind of device; float32 elsewhere."""


@dataclass(frozen=True)
class Findings:
    """All findings. ``None`` stands for what does not apply or could not be found out.

    ``seconds`` is how long a candidate takes; ``problem`` is the first that keeps it from
    starting, the very error that ``run`` would end with.
    """

    config: RunConfig
    machine: Machine
    parts: Parts | None = None
    device: str | None = None
    device_name: str | None = None
    place: RunFolderStat | None = None
    images: Images | None = None
    demand: Demand | None = None
    trial: TimedSteps | None = None
    seconds: float | None = None
    problem: EvoNasError | None = None
    advice: tuple[Advice, ...] = ()

    @property
    def evaluator(self) -> Evaluator | None:
        """The evaluator, if the parts could be built."""
        return None if self.parts is None else self.parts.evaluator

    @property
    def whole(self) -> float | None:
        """Seconds of the whole search."""
        if self.seconds is None or self.evaluator is None:
            return None
        return whole_seconds(self.seconds, self.config, self.evaluator)

    @property
    def exit_code(self) -> int:
        """Exit code with which ``run`` would refuse to begin; 0 if it would begin."""
        return 0 if self.problem is None else self.problem.exit_code

    def to_json(self) -> dict[str, Any]:
        """Return everything in the form of ``doctor --json``: bytes, seconds, and images per second."""
        hardware, run = self.config.hardware, self.config.run
        evaluator, images, demand, trial = self.evaluator, self.images, self.demand, self.trial
        return {
            "machine": asdict(self.machine),
            "device": {"kind": self.device, "name": self.device_name, "dtype": self._dtype},
            "search": {name: getattr(run, name) for name in ("strategy", "space", "evaluator", "trials")}
            | {name: getattr(evaluator, name, None) for name in ("dataset", "preset")}
            | {"workers": hardware.workers, "executor": hardware.executor, "threads": self._threads},
            "images": None
            if images is None
            else {"place": images.place, "decoded": str(images.decoded), "is_decoded": images.is_decoded}
            | {"count": len(images.labels), "classes": images.classes, "decoded_bytes": images.decoded_bytes},
            "folder": None if self.place is None else asdict(self.place) | {"path": str(self.place.path)},
            "memory": None
            if demand is None
            else {"worker": demand.each, "all": demand.total, "available": demand.available},
            "measured": None
            if trial is None
            else {
                "candidates": trial.candidates,
                "noise": trial.noise,
                "images_a_second": {str(threads): asdict(pace) for threads, pace in trial.paces.items()},
            },
            "estimate": {"candidate": self.seconds, "search": self.whole},
            "advice": [asdict(advice) for advice in self.advice],
            "problem": None
            if self.problem is None
            else {"message": str(self.problem), "exit_code": self.problem.exit_code},
        }

    def lines(self) -> Iterator[str]:
        """Return the text of ``doctor``."""
        machine = self.machine
        versions = (f"{name} {machine.versions[name]}" for name in ("evo_nas", "python", "torch"))
        memory = f"{gigabytes(machine.memory)} of memory, {gigabytes(machine.available)} of it available"
        rows = {
            "versions": ", ".join(versions),
            "machine": f"{machine.processor}, {pluralize(machine.cores, 'core')}, {machine.capability}; {memory}",
            "kernels": self._kernels() if self.device == "cpu" else "",
            "oneDNN": self._onednn() if self.device == "cpu" else "",
            "device": "" if self.device is None else f"{self.device} ({self.device_name}), {self._dtype}",
            "search": self._search(),
            "workers": self._workers(),
            "images": self._images(),
            "folder": "" if self.place is None else self._folder(self.place),
            "memory": "" if self.demand is None else str(self.demand),
            "pace": self._pace(),
            "estimate": "" if self.seconds is None else spell_estimate(self.seconds, self.whole or 0.0, self.config),
        }
        yield from (f"{name:<8}  {text}" for name, text in rows.items() if text)
        for advice in self.advice:
            yield f"advice    {advice.found}: {advice.do}"
        if self.problem is None:
            yield "a search would start"
        else:
            yield f"a search would not start (exit code {self.exit_code}): {self.problem}"

    @property
    def _dtype(self) -> str | None:
        return None if self.device is None else DTYPES.get(self.device, "float32")

    @property
    def _threads(self) -> int | None:
        return None if self.evaluator is None else self.evaluator.placement.threads

    def _kernels(self) -> str:
        reason = self.machine.no_kernels
        return "compiled for this processor" if reason is None else f"torch's alone: {reason}"

    def _onednn(self) -> str:
        reason = self.machine.no_onednn
        return "computes right on this processor" if reason is None else f"not used: {reason}"

    def _search(self) -> str:
        run = self.config.run
        words = [run.evaluator, *(getattr(self.evaluator, name, None) or "" for name in ("dataset", "preset"))]
        return f"{run.strategy} on {run.space} with {', '.join(filter(None, words))}; {run.trials} trials"

    def _workers(self) -> str:
        if self._threads is None:
            return ""
        hardware = self.config.hardware
        workers, threads = pluralize(hardware.workers, "worker"), pluralize(self._threads, "thread")
        return f"{workers} of {threads}, executor {hardware.executor}"

    def _images(self) -> str:
        if (images := self.images) is None:
            return ""
        copy = f"decoded in {images.decoded}" if images.is_decoded else "not decoded yet"
        return f"{len(images.labels):,} train images of {images.classes} classes in {images.place}; {copy}"

    def _folder(self, place: RunFolderStat) -> str:
        locks = "file locks" if place.has_locks else "no file locks"
        return f"{place.path}: {locks}, {gigabytes(place.free)} free"

    def _pace(self) -> str:
        if (trial := self.trial) is None:
            return ""
        paces = [
            f"{pace.train:,.0f} images per second trained, {pace.validation:,.0f} validated "
            f"with {pluralize(n, 'thread')}"
            for n, pace in trial.paces.items()
        ]
        what = "random images" if trial.noise else "images of the search"
        return f"{'; '.join(paces)} ({pluralize(trial.candidates, 'random candidate')}, {what})"


@dataclass(frozen=True)
class Advice:
    """One thing that was found, and what to do about it."""

    found: str
    do: str
