r"""Evaluators, presets and scores against published results: how well each ranks networks, and what that takes.

    python -m benchmarks.truth --table nasbench201.csv.gz --data-dir DATA --out runs/truth --measure scores
    python -m benchmarks.truth --table nasbench201.csv.gz --data-dir DATA --out runs/truth \
        --measure scores --measure proxy:preset=cpu,epochs=2 --measure column:cifar10_val_12 --picture figures/truth.png

The networks are drawn from the table by ``--draw``, always the same. A measure is ``scores``: all scores without
training, of networks of ``--cells-per-stack``, ``--filters`` and ``--image-size``; an evaluator with its options, whose
fitness it is; or a column of the table. Each network that is measured becomes a line of a file below ``--out`` at
once: the same command goes on where it stopped, and more measures or networks add to what is there. One thread.

Prints a table in Markdown, whose columns :data:`benchmarks.truth_table.TRUTH_TABLE` describes. Aggregates are sums of
log places among the networks; with an evaluator, its fitness is one more term, and where its metrics are scores, they
are aggregated too.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.curves import Floats
from analysis.plots.files import picture_files, save
from benchmarks.truth_table import aggregate_places, truth_figure, truth_table, write_markdown
from evo_nas.errors import EvoNasError, UsageError
from evo_nas.system.atomic import make_folder, write_whole
from genotypes.catalogue import build_space
from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.registry import OptionError

FEWEST: Final = 20
"""Networks; of fewer a rank correlation says nothing."""

PASSES: Final[dict[str, tuple[str, ...]]] = {
    "live": ("depth", "live_parameters", "live_mult_adds"),
    "blocks": ("expressivity", "progressivity", "trainability"),
    "kernel": ("naswot", "zico"),
    "gradients": ("zico",),
    "saliencies": ("synflow",),
}
"""Pass through a network -> the scores that are read from it; what it took is measured by itself.

Gradients begin with the forward pass of the kernel.
"""

_AZ_NAS: Final = ("expressivity", "progressivity", "trainability", "live_mult_adds")
AGGREGATES: Final[dict[str, tuple[str, ...]]] = {
    "AZ-NAS": _AZ_NAS,
    "AZ-NAS + naswot + depth": (*_AZ_NAS, "naswot", "depth"),
}


@dataclass(frozen=True)
class Benchmark:
    """The networks drawn from a table, in the order of the draw, and what all measures are to know."""

    given: argparse.Namespace

    @cached_property
    def table(self) -> pd.DataFrame:
        """The whole table, by genotype.

        Raises:
            UsageError: if it cannot be read, lacks a truth, or is one of another space.
        """
        path: Path = self.given.table
        try:
            table = pd.read_csv(path)
        except (OSError, ValueError, EOFError) as error:
            raise UsageError(f"cannot read the table {path}: {shorten(str(error), 200)}") from error
        for name in [*self.given.truth, *self.columns]:
            if name not in table or not pd.api.types.is_numeric_dtype(table[name]):
                raise UsageError(f"the table {path} has no column of numbers {shorten(name)!r}")
        space = build_space(self.given.space)
        try:
            genotypes = [str(space.parse(str(text))) for text in table[table.columns[0]]]
        except GenotypeError as error:
            raise UsageError(f"{path} is no table of the space {self.given.space}: {error}") from error
        table.index = pd.Index(genotypes, name="genotype")
        return table

    @property
    def columns(self) -> list[str]:
        """The columns of the table that are measures."""
        return [name.removeprefix("column:") for name in self.given.measure if name.startswith("column:")]

    @cached_property
    def genotypes(self) -> list[Genotype]:
        """The networks that are measured: drawn from those whose truths are all known.

        Raises:
            UsageError: if there are too few.
        """
        known = self.table[self.table[list(self.given.truth)].notna().all(axis=1)]
        names = sorted(known.index, key=lambda name: str(known.loc[name].iloc[0]))
        order = np.random.default_rng(self.given.draw).permutation(len(names))[: self.given.cells]
        if len(order) < FEWEST:
            raise UsageError(f"{len(order)} networks are too few to rank: {FEWEST} at least")
        return [Genotype.parse(names[index]) for index in order]

    def settle(self) -> dict[str, Any]:
        """Return what the files of measures depend on."""
        digest = hashlib.sha256(self.given.table.read_bytes()).hexdigest()
        names = ("space", "dataset", "cells_per_stack", "filters", "image_size", "images", "seed")
        return {"table": digest, **{name: getattr(self.given, name) for name in names}}


def measure_all(
    benchmark: Benchmark, name: str, measure: Callable[[int, Genotype], Mapping[str, float]]
) -> pd.DataFrame:
    """Measure every network that the file of this measure lacks; return all that were drawn, in order.

    A line that was cut short, as by a power cut, is measured again.
    """
    path = benchmark.given.out / f"{hashlib.sha256(name.encode()).hexdigest()[:8]}-{_plain(name)}.csv"
    known = _read_lines(path)
    rows = []
    for number, genotype in enumerate(benchmark.genotypes, start=1):
        if (row := known.get(str(genotype))) is None:
            start = time.process_time()
            values = dict(measure(number, genotype))
            row = {"cpu_seconds": time.process_time() - start} | values
            _append(path, {"genotype": str(genotype)} | row)
            print(f"\r{name}: {number} of {len(benchmark.genotypes)}", end="", file=sys.stderr)
        rows.append(row)
    print(file=sys.stderr)
    return pd.DataFrame(rows, index=[str(genotype) for genotype in benchmark.genotypes])


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)[:60]


def _read_lines(path: Path) -> dict[str, dict[str, float]]:
    if not path.exists():
        return {}
    text = path.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_whole(path, whole)
    return {
        line["genotype"]: {key: float(value) for key, value in line.items() if key != "genotype"}
        for line in csv.DictReader(whole.splitlines())
    }


def _append(path: Path, row: Mapping[str, object]) -> None:
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def score_networks(benchmark: Benchmark) -> Callable[[int, Genotype], Mapping[str, float]]:
    """Return a function that computes all scores of a network, and the processor seconds of each pass."""
    import torch

    from evo_nas.data.images import open_images
    from evo_nas.evaluators.scores.catalogue import SCORES, mini_batches
    from evo_nas.evaluators.scores.evaluator import build_live_network
    from evo_nas.evaluators.scores.passes import Passes
    from evo_nas.training.loop import Examples

    given = benchmark.given
    images = open_images(given.dataset, given.data_dir, size=given.image_size)
    train = Examples(*images.train.tensors("cpu"), images.mean, images.std)
    batches = mini_batches(train, SCORES, given.images)
    space, channels = build_space(given.space), batches[0][0].shape[1]
    size = {"cells_per_stack": given.cells_per_stack, "filters": given.filters, "channels": channels}
    size["classes"] = len(images.classes)

    def measure(number: int, genotype: Genotype) -> Mapping[str, float]:
        with torch.random.fork_rng([]):
            torch.manual_seed(given.seed)
            network = build_live_network(space, genotype, image_size=given.image_size, **size)
        passes = Passes(network, batches, seed=given.seed)
        seconds = {}
        for name in PASSES:
            start = time.process_time()
            getattr(passes, name)
            seconds[f"seconds {name}"] = time.process_time() - start
        return {**{name: score(passes) for name, score in SCORES.items()}, **seconds}

    return measure


def evaluate_networks(benchmark: Benchmark, spelled: str) -> Callable[[int, Genotype], Mapping[str, float]]:
    """Return a function that evaluates a network, by an evaluator that is spelled NAME or NAME:option=value,...

    Raises:
        UsageError: if there is none, or it cannot evaluate networks of this space.
    """
    from evo_nas.evaluators.base import Job, Placement, evaluate_safely, prepare_evaluator
    from evo_nas.evaluators.catalogue import EVALUATORS

    name, _, options = spelled.partition(":")
    pairs = dict(option.partition("=")[::2] for option in filter(None, options.split(",")))
    given = benchmark.given
    try:
        evaluator = EVALUATORS.build(name, pairs)
        placement = Placement(device="cpu", data_dir=given.data_dir)
        space = evaluator.complete(build_space(given.space), placement)
        evaluator.bind(space, placement)
    except (OptionError, ValueError) as error:
        raise UsageError(f"--measure {shorten(spelled)}: {error}") from error
    folder = given.out / "evaluators" / _plain(spelled)
    make_folder(folder)
    prepare_evaluator(evaluator, folder)
    evaluator.groundwork(lambda line: print(line, file=sys.stderr))

    def measure(number: int, genotype: Genotype) -> Mapping[str, float]:
        evaluation = evaluate_safely(evaluator, Job(number, genotype, given.seed))
        metrics = {name: evaluation.metrics.get(name, math.nan) for name in evaluator.metrics or ()}
        metrics.pop("cpu_seconds", None)  # the evaluator's own, a part of ours
        return {"fitness": math.nan if evaluation.fitness is None else evaluation.fitness, **metrics}

    return measure


def collect(benchmark: Benchmark) -> tuple[dict[str, Floats], dict[str, float]]:
    """Measure what is missing; return each measure of the networks, (n,), and its processor seconds per network."""
    measures: dict[str, Floats] = {}
    seconds: dict[str, float] = {}
    names = [str(genotype) for genotype in benchmark.genotypes]
    scores: pd.DataFrame | None = None
    fitness: dict[str, tuple[Floats, float]] = {}
    for spelled in benchmark.given.measure:
        if spelled.startswith("column:"):
            measures[spelled] = benchmark.table.loc[names, spelled.removeprefix("column:")].to_numpy(np.float64)
        elif spelled == "scores":
            scores = measure_all(benchmark, spelled, score_networks(benchmark))
        else:
            frame = measure_all(benchmark, spelled, evaluate_networks(benchmark, spelled))
            fitness[spelled] = frame["fitness"].to_numpy(np.float64), float(frame["cpu_seconds"].mean())
            measures[spelled], seconds[spelled] = fitness[spelled]
            for label, terms in AGGREGATES.items():
                if set(terms) <= set(frame):  # what it has measured on its way
                    own = [frame[name].to_numpy(np.float64) for name in terms]
                    measures[f"{label} of {spelled}"] = aggregate_places(own)
    if scores is not None:
        for name in dict.fromkeys(name for of_pass in PASSES.values() for name in of_pass):
            measures[name], seconds[name] = scores[name].to_numpy(np.float64), _count_seconds(scores, [name])
        for label, terms in AGGREGATES.items():
            columns = [scores[name].to_numpy(np.float64) for name in terms]
            measures[label], seconds[label] = aggregate_places(columns), _count_seconds(scores, terms)
        for spelled, (values, took) in fitness.items():
            label = f"{label} + {spelled}"  # of the last and largest aggregate
            measures[label], seconds[label] = aggregate_places([*columns, values]), _count_seconds(scores, terms) + took
    return measures, seconds


def _count_seconds(scores: pd.DataFrame, names: Sequence[str]) -> float:
    """Return the mean seconds of the passes that scores are read from."""
    used = [f"seconds {name}" for name, of_pass in PASSES.items() if set(names) & set(of_pass)]
    return float(scores[used].sum(axis=1).mean())


def report(given: argparse.Namespace) -> Iterator[str]:
    """Measure, and write the table; the picture too, if one is wanted."""
    benchmark = Benchmark(given)
    genotypes = benchmark.genotypes
    make_folder(given.out)
    settings, path = benchmark.settle(), given.out / "truth.json"
    if path.exists():
        stored = json.loads(path.read_text("utf-8"))
        if different := [name for name in settings if settings[name] != stored.get(name)]:
            raise UsageError(f"{given.out} holds measures with another {different[0]}: name another --out")
    else:
        write_whole(path, json.dumps(settings, indent=2) + "\n")
    measures, seconds = collect(benchmark)
    rows = benchmark.table.loc[[str(genotype) for genotype in genotypes]]
    truths = {name: rows[name].to_numpy(np.float64) for name in given.truth}
    table = truth_table(measures, truths, seconds, resamples=given.resamples)
    write_whole(given.out / "table.csv", table.to_csv(index=False))
    yield from write_markdown(table)
    if given.picture is not None:
        for file in save(truth_figure(table), given.picture):
            yield f"picture: {file}"


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and print the table; give the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.truth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", metavar="FILE", type=Path, required=True, help="CSV, architectures first")
    parser.add_argument("--space", default="nasbench201", help="of the architectures (default: nasbench201)")
    parser.add_argument("--truth", metavar="COLUMNS", default="cifar10_test_200", help="with commas between")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of what was measured")
    parser.add_argument("--measure", metavar="NAME", action="append", help="scores, an evaluator, column:NAME")
    parser.add_argument("--cells", metavar="N", type=int, default=200, help="networks (default: 200)")
    parser.add_argument("--draw", metavar="K", type=int, default=20261128, help="seed of the draw (20261128)")
    parser.add_argument("--seed", metavar="K", type=int, default=0, help="of weights and noise (0)")
    parser.add_argument("--dataset", default="cifar10", help="of the images (default: cifar10)")
    parser.add_argument("--data-dir", metavar="DIR", type=Path, help="where image sets lie")
    for name, default in (("cells-per-stack", 5), ("filters", 8), ("image-size", 16), ("images", 64)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"of scored networks (default: {default})")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap (default: 1000)")
    parser.add_argument("--picture", metavar="FILE", type=Path, help="draw tau against seconds")
    given = parser.parse_args(argv)
    given.measure = list(dict.fromkeys(given.measure or ["scores"]))
    given.truth = given.truth.split(",")
    try:
        if given.picture is not None:
            picture_files(given.picture)
        import torch

        torch.set_num_threads(1)
        for line in report(given):
            print(line, flush=True)
    except (EvoNasError, ValueError) as error:
        print(f"truth: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
