"""Searched necks of detectors against FPN, no neck and the published one; and necks on images of one's own.

    python -m benchmarks.pyramids search --out DIR [--strategies rl,evolution,guided,random] [--trials 120] [--seeds 2]
    python -m benchmarks.pyramids search --out DIR --table
    python -m benchmarks.pyramids images --out DIR --dataset voc --data-dir DATA [--seeds 3]

`search` runs every strategy with every seed on the space `nasfpn` (preset `plates`), then trains the best neck of each
run to the end with ``--final-seeds`` seeds of training, beside no neck, FPN and the published neck of the same width.
The last epoch's network is measured once on the test part. `images` trains these three alone, on a set with boxes of
one's own. Everything lies in ``--out``; the same command resumes what was stopped, and any number of processes may be
told to do other seeds or strategies (``--first-seed``). With ``--table`` only what has ended is shown.

The table has mean and standard deviation of the test AP, in per cent, and the exact rank test against FPN.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

import evo_nas
from analysis.comparison.significance import rank_test

STRATEGIES = ("rl", "evolution", "guided", "random")
BASELINES: dict[str, dict[str, str]] = {
    "none": {"neck": "none"},
    "fpn": {"neck": "fpn"},
    "nas-fpn": {"cell": "nas-fpn"},
}


def search(out: Path, strategy: str, seed: int, trials: int, settings: Sequence[str]) -> Path:
    """Search, as far as it was not done before, and return the folder of the run."""
    run = out / f"search-{strategy}-{seed}"
    if (run / "history.db").exists():
        evo_nas.resume(run, trials=trials)
        return run
    evo_nas.search(
        run_dir=run,
        settings=list(settings),
        space="nasfpn",
        evaluator="detection",
        strategy=strategy,
        dataset="plates",
        preset="plates",
        threads=1,
        trials=trials,
        seed=seed,
        keep_weights=0,
    )
    return run


def train(out: Path, name: str, seed: int, **wanted: Any) -> None:
    """Train a neck to the end, as far as it was not done before."""
    evo_nas.train(train_dir=out / f"train-{name}-{seed}", seed=seed, threads=1, device="cpu", **wanted)


def search_and_train(out: Path, strategy: str, seed: int, given: argparse.Namespace) -> str:
    """Search with one seed, and train the best that was found."""
    run = search(out, strategy, seed, given.trials, given.set)
    for final in range(given.final_seeds):
        train(out, f"{strategy}{seed}", final, source=run, epochs=given.epochs)
    return run.name


def train_baseline(out: Path, name: str, seed: int, given: argparse.Namespace) -> str:
    """Train one of the necks that nobody searched."""
    images: dict[str, Any] = {"dataset": given.dataset, "epochs": given.epochs}
    if given.data_dir is not None:
        images["data_dir"] = given.data_dir
    train(out, name, seed, **BASELINES[name], **images)
    return f"train-{name}-{seed}"


def read_results(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Return what was measured on the test part, by the name of the neck; of strategies all seeds together."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(out.glob("train-*/precision.json")):
        name = file.parent.name.removeprefix("train-").rpartition("-")[0]
        group = name.rstrip("0123456789") if name not in BASELINES else name
        found.setdefault(group, []).append(json.loads(file.read_text()))
    return found


def make_rows(found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield the table line by line: AP, AP50 and the AP50 of each class, in per cent."""
    if not found:
        yield "nothing has ended yet"
        return
    classes = next(iter(found.values()))[0]["classes"]
    shown = classes if len(classes) <= 5 else []
    own = "".join(f"AP50 of {name}, % | " for name in shown)
    yield f"| neck | n | test AP, % | AP50, % | {own}exact p against fpn |"
    yield f"| {' | '.join(['---'] * (5 + len(shown)))} |"
    base = np.array([one["ap"] for one in found.get("fpn", [])])
    for name, answers in sorted(found.items(), key=lambda item: -mean(one["ap"] for one in item[1])):
        columns = [[one["ap"] for one in answers], [one["ap50"] for one in answers]]
        columns += [[one["ap50_by_class"][index] or 0.0 for one in answers] for index in range(len(shown))]
        p = f"{rank_test(np.array(columns[0]), base):.3f}" if len(base) and name != "fpn" else ""
        yield f"| {' | '.join([name, str(len(answers)), *map(_spell, columns), p])} |"


def _spell(shares: Sequence[float]) -> str:
    spread = f" ± {100 * stdev(shares):.1f}" if len(shares) > 1 else ""
    return f"{100 * mean(shares):.1f}{spread}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what has not been done, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=("search", "images"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dataset", default="plates")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--final-seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=24, help="of a training to the end")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="an option of the searches")
    parser.add_argument("--table", action="store_true", help="show what has ended, and do nothing")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    if not given.table:
        with ProcessPoolExecutor(given.jobs) as pool:
            count = given.seeds if given.study == "images" else given.final_seeds
            pairs = [(name, seed) for seed in range(count) for name in BASELINES]
            waiting = [pool.submit(train_baseline, given.out, name, seed, given) for name, seed in pairs]
            if given.study == "search":
                strategies = given.strategies.split(",")
                waiting += [
                    pool.submit(search_and_train, given.out, strategy, seed, given)
                    for seed in seeds
                    for strategy in strategies
                ]
            for number, one in enumerate(waiting, start=1):
                print(f"{number}/{len(waiting)} {one.result()}", flush=True)
    print("\n".join(make_rows(read_results(given.out))))


if __name__ == "__main__":
    main()
