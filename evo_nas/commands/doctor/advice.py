"""Advice with its reason, measured or documented: each rule speaks only where it applies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from evo_nas.commands.doctor.estimate import trainings_at_once
from evo_nas.commands.doctor.facts import CAPABILITIES
from evo_nas.commands.doctor.findings import Advice
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.executors.capacity import memory_remedy
from evo_nas.system.terminal import duration, pluralize

if TYPE_CHECKING:
    from evo_nas.commands.doctor.facts import Machine
    from evo_nas.commands.doctor.findings import Findings

WORTHWHILE: Final = 1.2
"""By how much faster a change must make a search to be advised: less is within what a busy machine does to a clock."""

LITTLE_SPACE: Final = 500 * 10**6
"""Bytes: a history of 100,000 trials takes about half of it (docs/history.md), kept weights and pictures the rest."""


def advise(report: Findings) -> Iterator[Advice]:
    """Return what applies, the most important first."""
    yield from _on_the_device(report)
    yield from _on_the_processor(report.machine)
    if report.parts is not None:
        yield from _on_the_kernels(report)
        yield from _on_the_workers(report)
        yield from _on_memory(report)
        yield from _on_images(report)
        yield from _on_time(report)
    yield from _on_the_place(report)


def _on_the_device(report: Findings) -> Iterator[Advice]:
    machine = report.machine
    if machine.nvidia and machine.cuda is None:
        yield Advice(
            f"there is an NVIDIA driver, but torch {machine.versions['torch']} was built without CUDA",
            "install a build of torch with CUDA: https://pytorch.org/get-started/locally",
        )
    elif machine.nvidia and not machine.gpus:
        yield Advice(
            f"there is an NVIDIA driver, but torch, built for CUDA {machine.cuda}, can use no GPU",
            "look at `nvidia-smi` and at CUDA_VISIBLE_DEVICES; an old driver needs a torch for an older CUDA",
        )
    if machine.gpus and report.device == "cpu":
        yield Advice(f"torch can use {machine.gpus[0]}, and the device is cpu", "leave --device out, or --device auto")


def _on_the_processor(machine: Machine) -> Iterator[Advice]:
    used, best = machine.capability, machine.native
    if used in CAPABILITIES and best is not None and CAPABILITIES.index(used) < CAPABILITIES.index(best):
        yield Advice(
            f"torch uses the instructions {used}, and the processor has {best}",
            "unset ATEN_CPU_CAPABILITY if it is set, or install another build of torch",
        )
    if machine.quota is not None and machine.quota < machine.cores:
        yield Advice(
            f"the control group grants {machine.quota:g} cores' worth of time, and {machine.cores} cores are seen",
            f"let workers times threads be at most {machine.usable}, or have the limit of the container raised",
        )
    if machine.load is not None and machine.load > machine.cores / 2:
        yield Advice(
            f"{machine.load:.1f} processes wanted to run in the last minute, on {machine.cores} cores",
            "what is measured here is too slow for a machine that is free: ask again when it is",
        )


def _on_the_kernels(report: Findings) -> Iterator[Advice]:
    machine = report.machine
    if report.device != "cpu" or not isinstance(report.evaluator, ProxyEvaluator):
        return
    if machine.no_kernels is not None:
        yield Advice(
            f"trainings go without the compiled kernels ({machine.no_kernels})",
            "with the kernels, which a C compiler such as gcc makes, trainings of one or two threads take about two "
            "thirds of the time",
        )
    if machine.no_onednn is not None:
        yield Advice(
            f"trainings go without oneDNN ({machine.no_onednn})",
            "they are right, and slower; with another release of torch it may not be at fault",
        )


def _on_the_workers(report: Findings) -> Iterator[Advice]:
    hardware, evaluator, usable = report.config.hardware, report.evaluator, report.machine.usable
    if not isinstance(evaluator, ProxyEvaluator) or report.device != "cpu" or hardware.executor == "ray":
        return
    workers, threads = hardware.workers, evaluator.placement.threads
    fitting = usable if report.demand is None else min(usable, report.demand.fitting)
    if workers * threads > usable:
        mend = f"--workers {usable}" if workers > usable else f"--threads {max(1, usable // workers)}"
        yield Advice(
            f"{pluralize(workers, 'worker')} of {pluralize(threads, 'thread')} share {pluralize(usable, 'core')}", mend
        )
    elif report.trial is not None and {1, threads} <= report.trial.paces.keys() and fitting > 0:
        alone, now = (evaluator.seconds_at(report.trial.paces[number]) for number in (1, threads))
        if alone and now:
            gain = (fitting / alone) / (trainings_at_once(hardware, evaluator) / now)
            if gain >= WORTHWHILE:
                yield Advice(
                    f"a candidate takes {now:.1f} s with {pluralize(threads, 'thread')} and {alone:.1f} s with one: "
                    f"{pluralize(fitting, 'worker')} of one thread would search up to {gain:.1f} times as fast",
                    f"--workers {fitting} --threads 1",
                )


def _on_memory(report: Findings) -> Iterator[Advice]:
    if report.demand is not None and not report.demand.is_met and report.evaluator is not None:
        yield Advice(str(report.demand), memory_remedy(report.demand, report.evaluator))


def _on_images(report: Findings) -> Iterator[Advice]:
    images = report.images
    if images is None:
        return
    if not images.is_decoded:
        size = f"{images.decoded_bytes / 1e6:,.0f} MB" if images.decoded_bytes >= 1e6 else "less than 1 MB"
        yield Advice(
            f"the images of {images.place} are not decoded yet: the first run does that once, into "
            f"{images.decoded.parent} ({size})",
            "to keep them elsewhere, let EVO_NAS_CACHE name another folder",
        )
    if images.native is not None and images.size > images.native:
        factor = (images.size / images.native) ** 2
        yield Advice(
            f"images of {images.native} pixels are enlarged to {images.size}, which adds work ({factor:.1f} times the "
            "pixels) and no information",
            f"--set evaluator.image_size={images.native}",
        )


def _on_time(report: Findings) -> Iterator[Advice]:
    hardware, seconds = report.config.hardware, report.seconds
    if seconds is None:
        return
    if hardware.trial_timeout is not None and hardware.trial_timeout < 2 * seconds:
        yield Advice(
            f"a candidate takes about {seconds:.1f} s, and large ones more; --trial-timeout stops it after "
            f"{hardware.trial_timeout:g} s",
            f"--trial-timeout {round(5 * seconds) + 1} or more",
        )
    if hardware.time_limit is not None and report.whole is not None and hardware.time_limit < report.whole:
        share = hardware.time_limit / report.whole
        yield Advice(
            f"--time-limit ends the search after about {round(share * report.config.run.trials)} of "
            f"{report.config.run.trials} trials",
            "then `resume` it, or give more time",
        )
    if getattr(report.evaluator, "preset", None) == "gpu" and report.device == "cpu":
        yield Advice(
            f"the preset gpu is meant for a GPU: a candidate takes about {duration(seconds)} here",
            "--preset cpu",
        )


def _on_the_place(report: Findings) -> Iterator[Advice]:
    if report.place is None:
        return
    if not report.place.has_locks:
        yield Advice(
            f"the file system of {report.place.path} has no file locks: nothing keeps a second process from a run",
            "--run-dir on another file system",
        )
    if report.place.free < LITTLE_SPACE:
        yield Advice(
            f"{report.place.free / 1e6:,.0f} MB are free where the run folder would lie",
            "make room, or name another --run-dir",
        )
