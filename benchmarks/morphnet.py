"""MorphNet against the width multiplier and evolution, under the same budgets, on real images.

    python -m benchmarks.morphnet --out DIR --data-dir DATA [--networks resnet:20x8,cell:nasnet-a] [--seeds 5]

For each network, budget, strategy and seed a search is run, and the network that it ends with is trained anew for
``--epochs`` epochs and measured once on the test images: the last one of MorphNet, the best one of evolution, the only
one of the multiplier. The searches of MorphNet (two rounds) and of evolution train for the same number of epochs in
all; ``multiplier+`` trains the multiplier's network for the epochs that the others searched, too. All images have 16
pixels a side (preset ``cpu``).

Everything lies in ``--out``; the same command resumes what was stopped. At the end it prints a table in Markdown: mean
and standard deviation of the test accuracy over the seeds, in per cent, the cost, and the exact rank test against the
multiplier. ``widths-NETWORK.png`` are the widths that MorphNet ends with, their mean and deviation over the seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from matplotlib.figure import Figure

import evo_nas
from analysis.comparison.significance import rank_test
from analysis.frames import load_history
from analysis.plots.widths import WIDTH_COLUMNS, draw_widths
from evo_nas.evaluators.base import Placement
from evo_nas.evaluators.widths import WidthsEvaluator
from genotypes.spaces.widths import WidthsSpace
from genotypes.widths import Budget

BUDGETS = ("0.5x-mult-adds", "0.25x-mult-adds", "0.5x-parameters")
STRATEGIES = ("multiplier", "multiplier+", "morphnet", "evolution")
ROUNDS = 2
SHORT = 2  # epochs of a trial, and of shrinking in one
SEARCHED = (ROUNDS + 1) * 2 * SHORT


@dataclass(frozen=True)
class Case:
    """One search and the training of what it found."""

    network: str
    budget: str
    strategy: str
    seed: int

    @property
    def name(self) -> str:
        """A name for its folders."""
        return "-".join(map(str, (self.network.replace(":", "-"), self.budget, self.strategy, self.seed)))


def run_case(case: Case, out: Path, data: Path, epochs: int, settings: Sequence[str]) -> Path:
    """Search and train, as far as it was not done before; return the file that says how it ended."""
    answer = out / f"{case.name}.json"
    if answer.exists():
        return answer
    strategy = case.strategy.removesuffix("+")
    run = out / f"search-{case.name}"
    if (run / "history.db").exists():
        evo_nas.resume(run)
    else:
        budget, flags, options = Budget.parse(case.budget), {}, [f"space.network={case.network}"]
        if strategy == "evolution":
            evaluator = WidthsEvaluator(dataset="cifar10", preset="cpu")
            space = evaluator.complete(WidthsSpace(case.network), Placement())
            assert isinstance(space, WidthsSpace)
            evaluator.bind(space, Placement())
            whole = evaluator.cost(space.nearest(tuple(space.seed.values())))
            flags = {f"max_{budget.resource}": int(budget.limit(whole)), "population": 3, "sample": 2}
            trials = SEARCHED // SHORT
        else:
            options += [f"strategy.budget={case.budget}"]
            trials = 1 if strategy == "multiplier" else ROUNDS + 1
            options += list(settings) if strategy == "morphnet" else []
        evo_nas.search(
            run_dir=run,
            settings=[*options, f"evaluator.epochs={SHORT}"],
            space="widths",
            evaluator="widths",
            strategy=strategy,
            dataset="cifar10",
            preset="cpu",
            data_dir=data,
            threads=1,
            trials=trials,
            seed=case.seed,
            keep_weights=0,
            **flags,
        )
    history = evo_nas.load_history(run)
    ended = history[history["outcome"].isin(["ok", "reused"])]
    row = ended.loc[ended["fitness"].idxmax() if strategy == "evolution" else ended.index[-1]]
    result = evo_nas.train(
        run,
        trial=int(row["id"]),
        train_dir=out / f"train-{case.name}",
        preset="cpu",
        image_size=16,
        epochs=epochs + (SEARCHED - SHORT if case.strategy.endswith("+") else 0),
        train_images=5000,
        validation_images=2000,
        seed=case.seed,
        threads=1,
        data_dir=data,
    )
    known = {
        "test": result.test_accuracy,
        "parameters": int(row["parameters"]),
        "mult_adds": int(row["mult_adds"]),
        "trial": int(row["id"]),
    }
    answer.write_text(json.dumps(known))
    return answer


def make_rows(cases: Sequence[Case], out: Path) -> Iterator[str]:
    """Yield the table line by line."""
    yield "| network | budget | strategy | n | test accuracy, % | parameters | mult-adds | exact p against multiplier |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for network, budget in dict.fromkeys((case.network, case.budget) for case in cases):
        found = {}
        for strategy in STRATEGIES:
            files = [
                out / f"{case.name}.json"
                for case in cases
                if (case.network, case.budget, case.strategy) == (network, budget, strategy)
            ]
            if answers := [json.loads(file.read_text()) for file in files if file.exists()]:
                found[strategy] = answers
        for strategy, answers in found.items():
            tests = [100 * one["test"] for one in answers]
            spread = f" ± {stdev(tests):.1f}" if len(tests) > 1 else ""
            base = [100 * one["test"] for one in found.get("multiplier", [])]
            p = f"{rank_test(np.array(tests), np.array(base)):.3f}" if base and strategy != "multiplier" else ""
            cost = (f"{mean(one[name] for one in answers):,.0f}" for name in ("parameters", "mult_adds"))
            row = (network, budget, strategy, str(len(tests)), f"{mean(tests):.1f}{spread}", *cost, p)
            yield f"| {' | '.join(row)} |"


def draw_found(cases: Sequence[Case], out: Path) -> None:
    """Draw the widths that MorphNet ended with, a picture for each network and a panel for each budget."""
    for network in dict.fromkeys(case.network for case in cases):
        ended = [case for case in cases if (case.network, case.strategy) == (network, "morphnet")]
        runs = {f"search-{case.name}": f"MorphNet, {case.budget}" for case in ended}
        frame = load_history([out / run for run in runs], columns=WIDTH_COLUMNS)
        figure = Figure(layout="constrained")
        draw_widths(frame[frame["id"] == ROUNDS + 1], figure, groups=runs)
        figure.savefig(out / f"widths-{network.replace(':', '-')}.png", dpi=150)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all cases, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--networks", default="resnet:20x8,cell:nasnet-a")
    parser.add_argument("--budgets", default=",".join(BUDGETS))
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="an option of MorphNet's searches")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    cases = [
        Case(network, budget, strategy, seed)
        for seed in range(given.first_seed, given.first_seed + given.seeds)
        for network in given.networks.split(",")
        for budget in given.budgets.split(",")
        for strategy in given.strategies.split(",")
    ]
    with ProcessPoolExecutor(given.jobs) as pool:
        waiting = [pool.submit(run_case, case, given.out, given.data_dir, given.epochs, given.set) for case in cases]
        for number, one in enumerate(waiting, start=1):
            print(f"{number}/{len(waiting)} {one.result().name}", flush=True)
    print("\n".join(make_rows(cases, given.out)))
    draw_found(cases, given.out)


if __name__ == "__main__":
    main()
