"""The whole examination: what a search would use, how long it would take, and what to change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from evo_nas.commands.doctor.advice import advise
from evo_nas.commands.doctor.estimate import draw_candidates, try_out
from evo_nas.commands.doctor.facts import Images, look_at_images, look_at_machine, look_at_place
from evo_nas.commands.doctor.findings import Findings, T
from evo_nas.config import RunConfig
from evo_nas.data.decoded import try_writing
from evo_nas.errors import EvoNasError, UsageError, calling
from evo_nas.evaluators.base import Evaluator
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.executors.capacity import memory_demand, memory_remedy
from evo_nas.executors.choice import try_workers
from evo_nas.run.parts import build, new_folder
from evo_nas.system.reasons import explain


def examine(config: RunConfig, run_dir: Path | None, hear: Callable[[str], None]) -> Findings:
    """Return the findings on all that a search of this configuration would use, after trying a little of it.

    Nothing is written but for a moment, where the run folder would lie. What would keep a search from starting is
    part of the report. ``hear`` is told what takes a while.
    """
    hear("looking at this machine")
    problems: list[EvoNasError] = []
    report = Findings(config, look_at_machine())
    if run_dir is not None:
        report = replace(report, place=_try(lambda: look_at_place(run_dir), problems))
    parts = _try(lambda: build(config), problems)
    if parts is not None:
        if run_dir is None:
            report = replace(report, place=_try(lambda: look_at_place(new_folder(config, parts)), problems))
        report = _with_evaluator(replace(report, parts=parts), parts.evaluator, problems, hear)
        if not problems:
            hear("starting a worker")
            _try(lambda: try_workers(config.hardware, parts.evaluator), problems)
    report = replace(report, problem=problems[0] if problems else None)
    return replace(report, advice=tuple(advise(report)))


def _with_evaluator(
    report: Findings, evaluator: Evaluator, problems: list[EvoNasError], hear: Callable[[str], None]
) -> Findings:
    """Return the findings with what the evaluator needs, and how fast it is."""
    if "torch" in evaluator.preload:
        from evo_nas.training.devices import resolve_device

        device = resolve_device(evaluator.placement.device)
        gpus = report.machine.gpus
        name = report.machine.processor if device.type == "cpu" else gpus[(device.index or 0) % len(gpus)]
        report = replace(report, device=device.type, device_name=name)
    if not isinstance(evaluator, ProxyEvaluator):
        seconds = _try(lambda: _estimate_seconds(report, evaluator), problems)
        return replace(report, seconds=seconds)
    images = _try(lambda: _images_of(evaluator), problems)
    report = replace(report, images=images)
    if images is not None and _try(lambda: _fit_evaluator(evaluator, images), problems) is None:
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
    return replace(report, trial=trial, seconds=seconds)


def _try(action: Callable[[], T], problems: list[EvoNasError]) -> T | None:
    """Return the result of an action; if it fails, add its error to the problems and return ``None``."""
    try:
        return action()
    except EvoNasError as error:
        problems.append(error)
    except OSError as error:  # such as no temporary folder
        problems.append(EvoNasError(explain(error)))
    return None


def _images_of(evaluator: ProxyEvaluator) -> Images:
    dataset, size, channels = evaluator.dataset, evaluator.image_size, evaluator.channels
    assert dataset is not None, "settled by bind()"
    assert size is not None, "settled by bind()"
    assert channels is not None, "settled by bind()"
    images = look_at_images(dataset, evaluator.placement.data_dir, size, channels)
    if not images.is_decoded:
        try_writing(images.decoded.parent)
    return images


def _fit_evaluator(evaluator: ProxyEvaluator, images: Images) -> bool:
    """Fit the evaluator to its images: with the decoded ones where they are there, else with their number alone."""
    if images.is_decoded:
        with TemporaryDirectory() as folder:
            evaluator.prepare(Path(folder))
    else:
        evaluator.settle(images.labels, images.classes)
    return True


def _estimate_seconds(report: Findings, evaluator: Evaluator) -> float | None:
    with TemporaryDirectory() as folder, calling(evaluator, "prepare and expected_seconds", OSError):
        evaluator.prepare(Path(folder))
        return evaluator.expected_seconds(draw_candidates(evaluator.space, report.config.run.seed))
