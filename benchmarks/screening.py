r"""Screened searches on cells of NAS-Bench-201: what the scores of real networks save in trials.

    python -m benchmarks.screening --table nasbench201.csv.gz --data-dir DATA --out runs/screening

Searches the 729 cells of three operations (:data:`OPS`), so that every cell that a search may ask for can be scored
beforehand: each network once, as ``--screen`` does by default, into a file below ``--out``; the same command goes on
where it stopped. Then searches look fitnesses up in the table. Every query counts.

Prints the mean regret in percentage points, with its standard error over seeds, after some numbers of trials: without
screening, with the best-scored of m proposals, and, to see what misleading scores cost, with scores that are shuffled
among the cells, drawn anew for each seed, and with the worst-scored of m proposals.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import pandas as pd

from analysis.curves import Floats
from benchmarks.truth_table import aggregate_places
from evo_nas.errors import EvoNasError
from evo_nas.evaluators.base import Job, Placement
from evo_nas.evaluators.scores.evaluator import ScoresEvaluator
from evo_nas.system.atomic import make_folder
from genotypes.edge_cell import EDGE_NAMES, EdgeCell
from genotypes.genotype import Genotype
from genotypes.individual import Individual, Outcome
from genotypes.population import Population
from genotypes.space import Decision
from genotypes.spaces.nasbench201 import NASBench201Space
from strategies.base import SearchStrategy
from strategies.catalogue import STRATEGIES
from strategies.screen import Rate, Screened

OPS: Final = ("none", "skip_connect", "nor_conv_3x3")
"""With these come cells within 0.5 points of the best of all 15,625, and dead ones."""

LOOKS: Final = (10, 25, 50)
"""Numbers of trials after which regret is read."""

_DECISIONS: Final = tuple(Decision(edge, OPS) for edge in EDGE_NAMES)


@dataclass(frozen=True)
class FewerCells(NASBench201Space):
    """The cells of NAS-Bench-201 whose operations are among :data:`OPS`."""

    name: ClassVar[str] = "nasbench201-fewer"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The six edges."""
        return _DECISIONS

    def decode(self, genotype: Genotype) -> EdgeCell:
        """Return the cell."""
        self.check(genotype)
        return EdgeCell(tuple([OPS[choice] for choice in genotype.choices]))


SPACE: Final = FewerCells()


def score_cells(given: argparse.Namespace) -> dict[str, Mapping[str, float]]:
    """Return the scores of every cell, by its key; compute those that the file lacks.

    Cells that differ in edges that no signal passes have the same network, which is scored once.
    """
    evaluator = ScoresEvaluator(dataset=given.dataset, image_size=given.image_size, cells_per_stack=given.cells)
    evaluator.bind(SPACE, Placement(device="cpu", data_dir=given.data_dir))
    make_folder(given.out)
    evaluator.prepare(given.out)
    path: Path = given.out / f"scores-{given.dataset}-{given.image_size}-{given.cells}.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    known = {row["network"]: row["scores"] for row in map(json.loads, lines)}
    found = {}
    for number, genotype in enumerate(every_genotype(), start=1):
        network = str(SPACE.decode(genotype).edges(live_only=True))
        if network not in known:
            known[network] = dict(evaluator.score(genotype))
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"network": network, "scores": known[network]}) + "\n")
            print(f"\rscores: cell {number} of {len(OPS) ** len(EDGE_NAMES)}", end="", file=sys.stderr)
        found[SPACE.key(genotype)] = known[network]
    print(file=sys.stderr)
    return found


def every_genotype() -> Iterator[Genotype]:
    """Yield all genotypes of the space."""
    for choices in itertools.product(range(len(OPS)), repeat=len(EDGE_NAMES)):
        yield Genotype(SPACE.spelling, choices)


def rate_by(scores: Mapping[str, Mapping[str, float]], sign: float = 1.0) -> Rate:
    """Return what rates genotypes by their places among each other, as :meth:`ScoresEvaluator.rate` does."""
    measures = ScoresEvaluator.measures

    def rate(genotypes: Sequence[Genotype]) -> list[float]:
        rows = [scores[SPACE.key(genotype)] for genotype in genotypes]
        total = aggregate_places([np.array([row.get(name, np.nan) for row in rows]) for name in measures])
        return [sign * float(value) for value in total]

    return rate


def regrets(strategy: SearchStrategy, fitness: Mapping[str, float], trials: int, seed: int) -> Floats:
    """Return the regret after each trial of one search, (trials,), in the unit of the fitness."""
    strategy = strategy.suited(SPACE)
    population = Population(strategy.window)
    strategy.start(SPACE, np.random.default_rng([seed]))
    found = []
    for id in range(1, trials + 1):
        proposal = strategy.ask(population, (), np.random.default_rng([seed, id, 1]))
        if proposal is None:
            break
        value = fitness[SPACE.key(proposal.genotype)]
        individual = Individual(id, proposal.genotype, Outcome.OK, value, proposal.parent, proposal.memo)
        population.add(individual)
        strategy.tell(individual, Job(id, proposal.genotype, seed).rng())
        found.append(value)
    best = np.maximum.accumulate([*found, *[found[-1]] * (trials - len(found))])
    curve: Floats = max(fitness.values()) - best
    return curve


def report(given: argparse.Namespace) -> Iterator[str]:
    """Score the cells, search, and yield the lines of the table."""
    table = pd.read_csv(given.table)
    table = table.set_index(table.columns[0])
    scores = score_cells(given)
    keys = list(scores)
    columns = {name: (table.loc[keys, name] / 100).to_dict() for name in given.columns}
    yield f"| strategy | proposals | scores | trials |{'|'.join(f' {name} ' for name in columns)}|"
    yield "|" + " --- |" * (4 + len(columns))
    for name in given.strategies:
        kinds: list[tuple[int, str]] = [(1, "none"), *((m, "true") for m in given.screens)]
        kinds += [(max(given.screens), "shuffled"), (max(given.screens), "reversed")]
        for proposals, kind in kinds:
            curves = {column: [] for column in columns}  # type: dict[str, list[Floats]]
            for seed, (column, fitness) in itertools.product(range(given.seeds), columns.items()):
                strategy = _make(name, proposals, kind, scores, seed)
                curves[column].append(regrets(strategy, fitness, max(LOOKS), seed))
            for trials in LOOKS:
                cells = [_spell([100 * curve[trials - 1] for curve in curves[column]]) for column in columns]
                yield f"| `{name}` | {proposals} | {kind} | {trials} | {' | '.join(cells)} |"


def _make(name: str, proposals: int, kind: str, scores: Mapping[str, Mapping[str, float]], seed: int) -> SearchStrategy:
    strategy = STRATEGIES.build(name, {})
    if proposals == 1:
        return strategy
    order = list(scores)
    if kind == "shuffled":
        order = [order[index] for index in np.random.default_rng([seed, 4]).permutation(len(order))]
    rate: Callable[[Sequence[Genotype]], Sequence[float]]
    rate = rate_by(dict(zip(order, scores.values(), strict=True)), -1.0 if kind == "reversed" else 1.0)
    return Screened(strategy, proposals, rate)


def _spell(values: Sequence[float]) -> str:
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{np.mean(values):.2f} ± {error:.2f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and print the table; give the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.screening", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", metavar="FILE", type=Path, required=True, help="CSV, architectures first")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the scores")
    parser.add_argument("--columns", nargs="+", default=["cifar10_val_12", "cifar100_val_12", "imagenet16_val_12"])
    parser.add_argument("--strategies", nargs="+", default=["random", "guided"], metavar="NAME")
    parser.add_argument("--screens", nargs="+", type=int, default=[3, 10], metavar="M", help="(default: 3 10)")
    parser.add_argument("--seeds", type=int, default=30, metavar="N", help="(default: 30)")
    parser.add_argument("--dataset", default="cifar10", help="of the images (default: cifar10)")
    parser.add_argument("--data-dir", metavar="DIR", type=Path, help="where image sets lie")
    parser.add_argument("--image-size", type=int, default=16, help="of scored networks (default: 16)")
    parser.add_argument("--cells", type=int, default=5, help="cells per stack of scored networks (default: 5)")
    given = parser.parse_args(argv)
    try:
        for line in report(given):
            print(line, flush=True)
    except (EvoNasError, ValueError) as error:
        print(f"screening: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
