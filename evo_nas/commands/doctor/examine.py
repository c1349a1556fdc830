"""All of it together: what a search would use, how long it would take, and what to change; as text and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from evo_nas.commands.doctor.advice import Advice, advise
from evo_nas.commands.doctor.estimate import CANDIDATES, whole_seconds
from evo_nas.commands.doctor.facts import Images, Machine, Place, look_at_images, look_at_machine, look_at_place
from evo_nas.commands.doctor.timing import Trial, counted, try_out
from evo_nas.config import RunConfig
from evo_nas.errors import EvoNasError, UsageError
from evo_nas.evaluators.base import Evaluator
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.executors.capacity import Demand, memory_demand, memory_remedy
from evo_nas.listeners.progress import duration
from evo_nas.run import Parts, build, new_folder

T = TypeVar("T")

DTYPES = {"cuda": "float32, with bfloat16 autocast"}
"""What is computed with, by kind of device; float32 elsewhere."""


@dataclass(frozen=True)
class Report:
    """What was found. ``None`` stands for what does not apply or could not be found out.

    ``seconds`` is how long a candidate takes, ``whole`` the search; ``problem`` is the first that keeps it from
    starting, the very error that ``run`` would end with.
    """

    config: RunConfig
    machine: Machine
    parts: Parts | None = None
    device: str | None = None
    device_name: str | None = None
    place: Place | None = None
    images: Images | None = None
    demand: Demand | None = None
    trial: Trial | None = None
    seconds: float | None = None
    whole: float | None = None
    problem: EvoNasError | None = None
    advice: tuple[Advice, ...] = ()

    @property
    def evaluator(self) -> Evaluator | None:
        """The evaluator, if the parts could be built."""
        return None if self.parts is None else self.parts.evaluator

    @property
    def exit_code(self) -> int:
        """What ``run`` would end with before it has begun; 0 if it would begin."""
        return 0 if self.problem is None else self.problem.exit_code

    def to_json(self) -> dict[str, Any]:
        """Give everything in the form of ``doctor --json``: bytes, seconds, and images a second."""
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
        """Give the text of ``doctor``."""
        machine = self.machine
        versions = (f"{name} {machine.versions[name]}" for name in ("evo_nas", "python", "torch"))
        memory = f"{_gigabytes(machine.memory)} of memory, {_gigabytes(machine.available)} of it available"
        rows = {
            "versions": ", ".join(versions),
            "machine": f"{machine.processor}, {counted(machine.cores, 'core')}, {machine.capability}; {memory}",
            "kernels": self._kernels() if self.device == "cpu" else "",
            "oneDNN": self._onednn() if self.device == "cpu" else "",
            "device": "" if self.device is None else f"{self.device} ({self.device_name}), {self._dtype}",
            "search": self._search(),
            "workers": self._workers(),
            "images": self._images(),
            "folder": "" if self.place is None else self._folder(self.place),
            "memory": "" if self.demand is None else str(self.demand),
            "pace": self._pace(),
            "estimate": self._estimate(),
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
        return (
            f"{counted(hardware.workers, 'worker')} of {counted(self._threads, 'thread')}, executor {hardware.executor}"
        )

    def _images(self) -> str:
        if (images := self.images) is None:
            return ""
        copy = f"decoded in {images.decoded}" if images.is_decoded else "not decoded yet"
        return f"{len(images.labels):,} train images of {images.classes} classes in {images.place}; {copy}"

    def _folder(self, place: Place) -> str:
        locks = "file locks" if place.has_locks else "no file locks"
        return f"{place.path}: {locks}, {_gigabytes(place.free)} free"

    def _pace(self) -> str:
        if (trial := self.trial) is None:
            return ""
        paces = [
            f"{pace.train:,.0f} images a second trained, {pace.validation:,.0f} validated with {counted(n, 'thread')}"
            for n, pace in trial.paces.items()
        ]
        what = "random images" if trial.noise else "images of the search"
        return f"{'; '.join(paces)} ({counted(trial.candidates, 'random candidate')}, {what})"

    def _estimate(self) -> str:
        if self.seconds is None:
            return ""
        run, hardware = self.config.run, self.config.hardware
        whole = "" if self.whole is None else f"; {run.trials} trials on {counted(hardware.workers, 'worker')}: about "
        return f"a candidate takes about {self.seconds:.1f} s{whole}{duration(self.whole or 0) if whole else ''}"


def examine(config: RunConfig, run_dir: Path | None, hear: Callable[[str], None]) -> Report:
    """Look at everything that a search of this configuration would use, try a little of it, and give advice.

    Nothing is written but for a moment, where the run folder would lie. What would keep a search from starting is
    part of the report. ``hear`` is told what takes a while.
    """
    hear("looking at this machine")
    problems: list[EvoNasError] = []
    report = Report(config, look_at_machine())
    if run_dir is not None:
        report = replace(report, place=_tried(lambda: look_at_place(run_dir), problems))
    parts = _tried(lambda: build(config), problems)
    if parts is not None:
        if run_dir is None:
            report = replace(report, place=_tried(lambda: look_at_place(new_folder(config, parts)), problems))
        report = _with_evaluator(replace(report, parts=parts), parts.evaluator, problems, hear)
    report = replace(report, problem=problems[0] if problems else None)
    return replace(report, advice=tuple(advise(report)))


def _with_evaluator(
    report: Report, evaluator: Evaluator, problems: list[EvoNasError], hear: Callable[[str], None]
) -> Report:
    """Look at what the evaluator needs, and at how fast it is."""
    if "torch" in evaluator.preload:
        from evo_nas.training.devices import resolve_device

        device = resolve_device(evaluator.placement.device)
        gpus = report.machine.gpus
        name = report.machine.processor if device.type == "cpu" else gpus[(device.index or 0) % len(gpus)]
        report = replace(report, device=device.type, device_name=name)
    if not isinstance(evaluator, ProxyEvaluator):
        seconds = _tried(lambda: _expected(report, evaluator), problems)
        return replace(report, seconds=seconds, whole=_whole(report, evaluator, seconds))
    images = _tried(lambda: _images_of(evaluator), problems)
    report = replace(report, images=images)
    if images is not None and _tried(lambda: _settled(evaluator, images), problems) is None:
        return report
    hardware = report.config.hardware
    demand = memory_demand(hardware, evaluator)
    report = replace(report, demand=demand)
    if demand is not None and demand.is_hopeless:
        problems.append(UsageError(f"{demand}: {memory_remedy(demand, evaluator)}"))
    if demand is not None and not demand.fitting:
        return report
    others = {1, report.machine.usable} if report.device == "cpu" else set()
    is_real = images is not None and images.is_decoded
    trial = try_out(evaluator, report.config.run.seed, others, noise=not is_real, hear=hear)
    seconds = evaluator.seconds_at(trial.paces[evaluator.placement.threads])
    return replace(report, trial=trial, seconds=seconds, whole=_whole(report, evaluator, seconds))


def _tried(action: Callable[[], T], problems: list[EvoNasError]) -> T | None:
    """Do something, or note why it cannot be done."""
    try:
        return action()
    except EvoNasError as error:
        problems.append(error)
        return None


def _images_of(evaluator: ProxyEvaluator) -> Images:
    dataset, size, channels = evaluator.dataset, evaluator.image_size, evaluator.channels
    assert dataset is not None, "settled by bind()"
    assert size is not None, "settled by bind()"
    assert channels is not None, "settled by bind()"
    return look_at_images(dataset, evaluator.placement.data_dir, size, channels)


def _settled(evaluator: ProxyEvaluator, images: Images) -> bool:
    """Fit the evaluator to its images: with the decoded ones where they are there, else with their number alone."""
    if images.is_decoded:
        with TemporaryDirectory() as folder:
            evaluator.prepare(Path(folder))
    else:
        evaluator.settle(images.labels, images.classes)
    return True


def _expected(report: Report, evaluator: Evaluator) -> float | None:
    import numpy as np

    rng = np.random.default_rng(report.config.run.seed)
    with TemporaryDirectory() as folder:
        evaluator.prepare(Path(folder))
        return evaluator.expected_seconds([evaluator.space.sample(rng) for _ in range(CANDIDATES)])


def _whole(report: Report, evaluator: Evaluator, seconds: float | None) -> float | None:
    return None if seconds is None else whole_seconds(seconds, report.config, evaluator)


def _gigabytes(number: int | None) -> str:
    return "an unknown amount" if number is None else f"{number / 1e9:,.1f} GB"
