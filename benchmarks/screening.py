r"""Searches with scores on cells of NAS-Bench-201: what the scores of real networks save in trials.

    python -m benchmarks.screening --table nasbench201.csv.gz --data-dir DATA --out runs/screening --space whole

Searches look fitnesses up in the table; every query counts. Scores are those of real networks, at the sizes of
``--screen``, each computed when a search first asks for it and kept in a file below ``--out``: the same command goes on
where it stopped. ``--space fewer`` takes the 729 cells of three operations (:data:`OPS`), which need few scores.

Prints the mean regret in percentage points, with its standard error over seeds, after some numbers of trials: without
scores, through each way in which a strategy takes them, and, to see what misleading scores cost, with scores of other
cells, drawn anew for each seed, and with the sign reversed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import pandas as pd

from analysis.curves import Floats
from evo_nas.errors import EvoNasError
from evo_nas.evaluators.base import Job, Placement
from evo_nas.evaluators.scores.evaluator import ScoresEvaluator
from evo_nas.system.atomic import make_folder
from genotypes.edge_cell import EDGE_NAMES, EdgeCell
from genotypes.genotype import Genotype
from genotypes.individual import Individual, Outcome
from genotypes.population import Population
from genotypes.registry import option_types
from genotypes.space import Decision, SearchSpace
from genotypes.spaces.nasbench201 import NASBench201Space
from strategies.base import Score, SearchStrategy
from strategies.catalogue import STRATEGIES
from strategies.screen import Screened

OPS: Final = ("none", "skip_connect", "nor_conv_3x3")
"""With these come cells within 0.5 points of the best of all 15,625, and dead ones."""

LOOKS: Final = (10, 25, 29, 50, 58)
"""Numbers of trials after which regret is read: misleading scores may cost 15 % more trials."""

KINDS: Final = ("true", "shuffled", "reversed")
"""Scores of the cells themselves, of others, and of the other sign."""

_OTHERS: Final = 1000
"""Cells whose scores are given to others."""

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


SPACES: Final[Mapping[str, NASBench201Space]] = {"fewer": FewerCells(), "whole": NASBench201Space()}
"""The two spaces, by their names on the command line."""


class ScoreTable:
    """The scores of cells of real networks, computed when they are first asked for and kept in a file.

    Cells that differ in edges that no signal passes have the same network, which is scored once. Several processes may
    share the file: a line is added at once.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.space = SPACES[given.space]
        self._evaluator = ScoresEvaluator(
            dataset=given.dataset, image_size=given.image_size, cells_per_stack=given.cells
        )
        self._evaluator.bind(self.space, Placement(device="cpu", data_dir=given.data_dir, threads=1))
        make_folder(given.out)
        self._evaluator.prepare(given.out)
        self._path: Path = given.out / f"scores-{given.dataset}-{given.image_size}-{given.cells}.jsonl"
        self._known: dict[str, Mapping[str, float]] = {}
        self._read = 0
        self._take_up()

    def __call__(self, genotype: Genotype) -> dict[str, float]:
        """Return the scores of a cell, as a search takes them."""
        network = str(self.space.decode(genotype).edges(live_only=True))
        if network not in self._known:
            self._take_up()
        if network not in self._known:
            self._known[network] = {k: v for k, v in self._evaluator.rate(genotype).items() if np.isfinite(v)}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"network": network, "scores": self._known[network]}) + "\n")
            if len(self._known) % 10 == 0:
                print(f"\rscored networks: {len(self._known)}", end="", file=sys.stderr)
        return {name: self._known[network].get(name, np.nan) for name in self._evaluator.measures}

    def _take_up(self) -> None:
        """Read what is new in the file, by this process or another."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                lines = file.read().splitlines(keepends=True)
            for line in lines:
                if line.endswith(b"\n"):
                    row = json.loads(line)
                    self._known[row["network"]] = row["scores"]
                    self._read += len(line)

    def mislead(self, kind: str, seed: int) -> Score:
        """Return scores of one of :data:`KINDS`: as they are, of other cells, drawn by the seed, or of the other sign.

        The other cells are a sample of :data:`_OTHERS`, so that they can all be scored.
        """
        if kind == "reversed":
            return lambda genotype: {name: -value for name, value in self(genotype).items()}
        if kind == "shuffled":
            rng = np.random.default_rng(4)
            others = [self.space.sample(rng) for _ in range(_OTHERS)]

            def score(genotype: Genotype) -> dict[str, float]:
                draw = np.random.default_rng([seed, 4, *genotype.choices]).integers(_OTHERS)
                return self(others[draw])

            return score
        return self


@dataclass(frozen=True)
class Case:
    """One line of the study: a strategy, through what it takes scores, and which."""

    strategy: str
    through: str
    kind: str

    def build(self, table: ScoreTable, seed: int) -> SearchStrategy:
        """Return the strategy for a search with this seed."""
        prior = {"prior": "scores"} if self.through == "prior" else {}
        strategy = STRATEGIES.build(self.strategy, prior)
        if self.through.startswith("screen"):
            strategy = Screened(strategy, int(self.through.removeprefix("screen ")))
        if strategy.wants_scores:
            strategy.use_scores(table.mislead(self.kind, seed))
        return strategy


def list_cases(given: argparse.Namespace) -> Iterator[Case]:
    """Yield the lines: each strategy without scores, and through each way with each kind of scores."""
    for name in given.strategies:
        yield Case(name, "-", "none")
        ways = [f"screen {m}" for m in sorted(given.screens)]
        if "prior" in option_types(STRATEGIES.find(name)):
            ways.append("prior")
        for way in ways:
            # What bad scores cost is told of the way that listens to them most.
            yield from (Case(name, way, kind) for kind in (KINDS if way == ways[-1] else KINDS[:1]))


def search(
    strategy: SearchStrategy, space: SearchSpace, fitness: Mapping[str, float], trials: int, seed: int
) -> Floats:
    """Return the regret after each trial of one search, (trials,), in the unit of the fitness."""
    strategy = strategy.suited(space)
    population = Population(strategy.window)
    strategy.start(space, np.random.default_rng([seed]))
    found = []
    for id in range(1, trials + 1):
        proposal = strategy.ask(population, (), np.random.default_rng([seed, id, 1]))
        if proposal is None:
            break
        value = fitness[space.key(proposal.genotype)]
        individual = Individual(id, proposal.genotype, Outcome.OK, value, proposal.parent, proposal.memo)
        population.add(individual)
        strategy.tell(individual, Job(id, proposal.genotype, seed).rng())
        found.append(value)
    best = np.maximum.accumulate([*found, *[found[-1]] * (trials - len(found))])
    curve: Floats = max(fitness.values()) - best
    return curve


def report(given: argparse.Namespace) -> Iterator[str]:
    """Search, and yield the lines of the table."""
    table = pd.read_csv(given.table)
    table = table.set_index(table.columns[0])
    scores = ScoreTable(given)
    keys = [key for key in table.index if _is_of(scores.space, key)]
    columns = {name: (table.loc[keys, name] / 100).to_dict() for name in given.columns}
    yield f"| strategy | through | scores | trials |{'|'.join(f' {name} ' for name in columns)}|"
    yield "|" + " --- |" * (4 + len(columns))
    for case in list_cases(given):
        curves: dict[str, list[Floats]] = {column: [] for column in columns}
        for seed, (column, fitness) in itertools.product(range(given.seeds), columns.items()):
            strategy = case.build(scores, given.first_seed + seed)
            curves[column].append(search(strategy, scores.space, fitness, max(LOOKS), given.first_seed + seed))
        for trials in LOOKS:
            cells = [_spell([100 * curve[trials - 1] for curve in curves[column]]) for column in columns]
            yield f"| `{case.strategy}` | {case.through} | {case.kind} | {trials} | {' | '.join(cells)} |"


def _is_of(space: NASBench201Space, architecture: str) -> bool:
    return set(EdgeCell.parse(architecture).ops) <= set(space.decisions[0].options)


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
    parser.add_argument("--space", choices=SPACES, default="fewer", help="cells of three operations, or all")
    parser.add_argument("--columns", nargs="+", default=["cifar10_val_12", "cifar100_val_12", "imagenet16_val_12"])
    parser.add_argument("--strategies", nargs="+", default=["random", "guided"], metavar="NAME")
    parser.add_argument("--screens", nargs="*", type=int, default=[3, 10], metavar="M", help="(default: 3 10)")
    parser.add_argument("--seeds", type=int, default=30, metavar="N", help="(default: 30)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="K", help="(default: 0)")
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
