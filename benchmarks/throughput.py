"""How many candidates per hour the proxy trainer trains on this machine, and how many an ordinary good program would.

    python -m benchmarks.throughput --data-dir DATA
    python -m benchmarks.throughput --data-dir DATA --shares

NASNet-A and random genotypes of the NASNet space, always the same, are trained as a preset says in two ways, in turns.
The baseline is ``benchmarks/baseline.py``: one candidate after another, with as many threads as there are cores. Ours
is the evaluator that searches use, in their executor: a worker of one thread on each core. Both get the same images and
start from the same weights. Each round shuffles the networks and cuts them into groups; a group is first trained in one
way and then in the other, and in the next group the other way round. Ours takes a group as a queue, and its time lasts
until the last network of it is done: a worker that has nothing left to do meanwhile counts as it is. The clock starts
when processes are up, images loaded, and a network has been trained.

Prints tables in Markdown. ``--shares`` measures what each trick contributes instead, see ``benchmarks/shares.py``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, median, stdev
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Final
from unittest import mock

import numpy as np
import torch

from benchmarks.baseline import Loaded, train_plainly
from benchmarks.fidelity import different
from evo_nas.commands.doctor.facts import look_at_machine
from evo_nas.errors import EvoNasError, UsageError
from evo_nas.evaluators.base import Evaluator, Job, Placement
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.executors.slots import SlotsExecutor
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.system.resources import usable_cores
from evo_nas.training import devices
from evo_nas.training.devices import seed_torch
from genotypes.catalogue import build_space
from genotypes.cell import CellPair
from genotypes.genotype import Genotype
from genotypes.individual import Evaluation, Outcome
from genotypes.space import Decision, SearchSpace
from genotypes.zoo import NASNET_A

BASELINE: Final = "baseline"
OURS: Final = "evo_nas"
GROUP: Final = 6
"""Networks that are trained in one way before the other has its turn. In small groups much of ours would be waiting for
the last one; in large ones the machine has time to change."""
QUIET: Final = 0.5
"""Processes that want to run, on average over the last minute, beyond which a machine is not quiet."""


@dataclass(frozen=True)
class Picked(SearchSpace):
    """One decision: NASNet-A, or one of so many random genotypes of the NASNet space."""

    name: ClassVar[str] = "picked"

    genotypes: int = 10

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """The networks by name."""
        return (Decision("network", ("NASNet-A", *(f"random {n}" for n in range(1, self.genotypes + 1)))),)

    @cached_property
    def pairs(self) -> list[CellPair]:
        """The cells of each network."""
        space = build_space("nasnet")
        return [NASNET_A, *map(space.decode, different(space, self.genotypes))]

    def decode(self, genotype: Genotype) -> CellPair:
        """Return the cells."""
        return self.pairs[genotype.choices[0]]


class Forgetful(ProxyEvaluator):
    """The proxy trainer in a process that hands freed memory back, as any process does unless it is told otherwise."""

    name: ClassVar[str] = "forgetful"

    def load(self) -> Any:
        """Load the images, and leave the memory as it is."""
        with mock.patch.object(devices, "keep_freed_memory"):
            return super().load()


class BaselineEvaluator(Forgetful):
    """Trains what the proxy trainer would, from the same weights on the same images, in the ordinary way."""

    name: ClassVar[str] = "baseline"

    def evaluate(self, job: Job) -> Evaluation:
        """Train the candidate and measure it."""
        train, validation = self._plain
        recipe = self.recipe()
        seed = int(job.rng().integers(2**62))
        start, cpu_start = time.perf_counter(), time.process_time()
        with seed_torch(seed, train.device, self.placement.threads):
            network = CellNetwork(self.space.decode(job.genotype), **self.size())
            epochs = list(train_plainly(network, recipe, train, validation))
        curve = tuple(epoch.score for epoch in epochs if epoch.score is not None)
        return Evaluation(
            Outcome.OK,
            fitness=curve[-1],
            seconds=time.perf_counter() - start,
            curve=curve,
            metrics={
                "parameters": sum(parameter.numel() for parameter in network.parameters()),
                "train_loss": epochs[-1].loss,
                "cpu_seconds": time.process_time() - cpu_start,
            },
        )

    @cached_property
    def _plain(self) -> tuple[Loaded, Loaded]:
        """The images that the proxy trainer would take, contiguous; loaded once per process."""
        train, validation = (
            Loaded(part, self.integer("batch_size")) for part in (self.loaded.train, self.loaded.validation)
        )
        return train, validation


@dataclass(frozen=True)
class Lap:
    """What a group of networks took: seconds from the first one's start to the last one's end, and each one's own."""

    seconds: float
    results: dict[int, Evaluation]

    @property
    def busy(self) -> float:
        """Seconds of all trainings, as the workers counted them."""
        return sum(evaluation.seconds or 0.0 for evaluation in self.results.values())

    @property
    def cores(self) -> float:
        """How many cores it had on average: fewer than there are, if other work took them away."""
        return sum(evaluation.metrics["cpu_seconds"] for evaluation in self.results.values()) / self.seconds


class Contender:
    """A way to train, with its own processes."""

    def __init__(self, name: str, evaluator: Evaluator, slots: int) -> None:
        self.name = name
        self._executor = SlotsExecutor(evaluator, slots)

    @property
    def slots(self) -> int:
        """How many networks are trained at a time."""
        return self._executor.slots

    def train(self, jobs: Sequence[Job]) -> Lap:
        """Train a queue of networks.

        Raises:
            EvoNasError: if one of them fails: its time could not be compared.
        """
        results: dict[int, Evaluation] = {}
        waiting = list(jobs)[::-1]
        start = time.perf_counter()
        while len(results) < len(jobs):
            while waiting and len(jobs) - len(waiting) - len(results) < self.slots:
                self._executor.submit(waiting.pop())
            results.update(self._executor.next(None))
        seconds = time.perf_counter() - start
        for job in jobs:
            if (evaluation := results[job.id]).outcome is not Outcome.OK:
                *_, reason = (evaluation.error or str(evaluation.outcome)).splitlines()
                raise EvoNasError(f"{self.name}: {job.genotype} failed: {reason}")
        return Lap(seconds, results)

    def close(self) -> None:
        """End the processes."""
        self._executor.close()


Laps = dict[str, list[Lap]]
"""The laps of each contender by its name; all of them trained the same groups in the same order."""


def groups(space: Picked, rounds: int, size: int) -> Iterator[list[Job]]:
    """Cut all networks, shuffled in each round, into groups of nearly equal size, at most ``size``."""
    rng = np.random.default_rng(0)
    count = len(space.pairs)
    for number in range(rounds):
        for part in np.array_split(rng.permutation(count), -(-count // size)):
            # The number of the round as the seed: each trains from other weights, the same for all contenders.
            yield [Job(int(choice) + 1, space.genotype([int(choice)]), seed=number) for choice in part]


def race(contenders: Sequence[Contender], space: Picked, rounds: int, size: int) -> Laps:
    """Train all groups in all ways, in turns; who is first changes from group to group."""
    for contender in contenders:  # starts the processes, loads the images, and is not counted
        warm = [Job(number + 1, space.genotype([0]), seed=0) for number in range(contender.slots)]
        say(f"{contender.name}: ready after {contender.train(warm).seconds:.1f} s")
    laps: Laps = {contender.name: [] for contender in contenders}
    for turn, jobs in enumerate(groups(space, rounds, size)):
        first = turn % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            lap = contender.train(jobs)
            laps[contender.name].append(lap)
            say(f"group {turn + 1}, {len(jobs)} networks, {contender.name}: {lap.seconds:.1f} s, {lap.cores:.2f} cores")
    return laps


def hourly(laps: Sequence[Lap]) -> float:
    """Count candidates per hour."""
    return 3600 * sum(len(lap.results) for lap in laps) / sum(lap.seconds for lap in laps)


def throughput_tables(laps: Laps, space: Picked, slots: int) -> Iterator[str]:
    """Write how many candidates per hour there are, the ratio with its spread, and both ways network by network."""
    yield "| | candidates per hour | seconds per candidate | cores at work | validation accuracy |"
    yield "| --- | --- | --- | --- | --- |"
    for name, mine in laps.items():
        rate = hourly(mine)
        accuracy = fmean(evaluation.fitness or 0.0 for lap in mine for evaluation in lap.results.values())
        cores = sum(lap.cores * lap.seconds for lap in mine) / sum(lap.seconds for lap in mine)
        yield f"| {name} | {rate:,.0f} | {3600 / rate:.1f} | {cores:.2f} | {accuracy:.1%} |".replace("%", " %")
    base, ours = laps[BASELINE], laps[OURS]
    ratios = [a.seconds / b.seconds for a, b in zip(base, ours, strict=True)]
    spread = stdev(map(float, np.log(ratios))) if len(ratios) > 1 else 0.0
    seconds, busy = sum(lap.seconds for lap in ours), sum(lap.busy for lap in ours)
    yield ""
    yield (
        f"**{hourly(ours) / hourly(base):.2f} times** the baseline: the ratio of all seconds. By group "
        f"{min(ratios):.2f} to {max(ratios):.2f}, median {median(ratios):.2f}, geometric mean "
        f"{np.exp(np.log(ratios).mean()):.2f}, standard deviation of the log {spread:.3f}, {len(ratios)} groups."
    )
    yield (
        f"The workers of evo_nas were idle for {max(0.0, 1 - busy / (slots * seconds)):.0%} of the time, mostly at the "
        f"end of a group; never idle, as in a search, they have {3600 * slots * _trained(ours) / busy:,.0f} an hour."
    ).replace("%", " %")
    yield ""
    yield f"| network | parameters | baseline, s | evo_nas, s on one of {slots} workers | accuracies | |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for number, title in enumerate(space.decisions[0].options, start=1):
        pair = [[lap.results[number] for lap in some if number in lap.results] for some in (base, ours)]
        words = [title, f"{pair[1][0].metrics['parameters']:,.0f}"]
        words += [f"{fmean(one.seconds or 0.0 for one in some):.1f}" for some in pair]
        words += [f"{fmean(one.fitness or 0.0 for one in some):.1%}".replace("%", " %") for some in pair]
        yield f"| {' | '.join(words)} |"


def evaluator(given: argparse.Namespace, kind: type[ProxyEvaluator], threads: int, workers: int) -> ProxyEvaluator:
    """Make an evaluator that is ready to be sent to its processes."""
    numbers = {"epochs": given.epochs, "train_images": given.train_images, "validation_images": given.validation_images}
    made = kind(given.dataset, given.preset, **numbers)
    data_dir = None if given.data_dir is None else Path(given.data_dir)
    made.bind(Picked(given.genotypes), Placement("cpu", data_dir, threads=threads, workers=workers))
    made.prepare(given.folder)
    return made


def machine() -> str:
    """Return in one line what is measured on."""
    seen = look_at_machine()
    load = "" if seen.load is None else f", load {seen.load:.1f} at the start"
    if seen.load is not None and seen.load > QUIET:
        say("the machine is busy with something else: two threads that wait for each other suffer most, the baseline")
    return f"{seen.processor}, {seen.capability}, {seen.cores} cores, torch {torch.__version__}{load}"


def setting(given: argparse.Namespace, measured: ProxyEvaluator) -> str:
    """Return in one line what is trained."""
    trained, held_out = measured._counts  # "all other", where the preset says so, is a number by now
    return (
        f"NASNet-A and {given.genotypes} random genotypes of the NASNet space, preset {given.preset}: "
        f"{measured.epochs} epochs on {trained:,} images of {measured.image_size}x{measured.image_size}, batch "
        f"{measured.batch_size}, {held_out:,} validation images; {given.rounds} rounds"
    )


def measure(given: argparse.Namespace) -> None:
    """Measure both ways, or the shares of the tricks, and print the tables."""
    surroundings, cores = machine(), given.cores
    ours = evaluator(given, ProxyEvaluator, 1, cores)
    if given.shares:
        from benchmarks.shares import shares_table

        table = list(shares_table(given, ours))
    else:
        plain = evaluator(given, BaselineEvaluator, cores, 1)
        with ExitStack() as stack:
            contenders = [
                stack.enter_context(closing(Contender(*parts))) for parts in ((BASELINE, plain, 1), (OURS, ours, cores))
            ]
            laps = race(contenders, Picked(given.genotypes), given.rounds, given.group)
        table = list(throughput_tables(laps, Picked(given.genotypes), cores))
    print("\n".join([f"{surroundings}. {setting(given, ours)}.", "", *table]))


def _trained(laps: Sequence[Lap]) -> int:
    return sum(len(lap.results) for lap in laps)


def say(words: str) -> None:
    """Say how far it is."""
    print(words, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and measure; give the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data-dir", default=os.environ.get("EVO_NAS_DATA"), help="where image sets lie")
    parser.add_argument("--dataset", default="cifar10", help="default: cifar10")
    parser.add_argument("--preset", default="cpu", help="default: cpu")
    parser.add_argument("--genotypes", type=int, default=10, help="random ones beside NASNet-A (default: 10)")
    parser.add_argument("--rounds", type=int, default=2, help="how often all is measured (default: 2)")
    parser.add_argument("--group", type=int, default=GROUP, help=f"networks at most of a turn (default: {GROUP})")
    parser.add_argument("--cores", type=int, default=usable_cores(), help="to use (default: those there are)")
    parser.add_argument("--shares", action="store_true", help="measure what each trick contributes")
    parser.add_argument("--blocks", type=int, default=6, help="turns of each trick with --shares (default: 6)")
    parser.add_argument("--steps", type=int, default=5, help="of each network in such a turn (default: 5)")
    for name in ("epochs", "train-images", "validation-images"):
        parser.add_argument(f"--{name}", type=int, help="other than the preset's, to try it out")
    given = parser.parse_args(argv)
    try:
        for option in ("genotypes", "rounds", "group", "cores", "blocks", "steps"):
            if getattr(given, option) < 1:
                raise UsageError(f"--{option} must be at least 1, not {getattr(given, option)}")
        with TemporaryDirectory() as folder:
            given.folder = Path(folder)
            measure(given)
    except (EvoNasError, ValueError) as error:
        print(f"throughput: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, EvoNasError) else UsageError.exit_code
    return 0


if __name__ == "__main__":
    from benchmarks.throughput import main as again  # under the name by which a worker finds these classes

    sys.exit(again())
