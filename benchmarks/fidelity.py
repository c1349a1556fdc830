"""What the ranking of a preset is worth: the same genotypes, trained as it says, longer, and in other ways.

    python -m benchmarks.fidelity --data-dir DATA --out runs/fidelity --dry-run
    python -m benchmarks.fidelity --data-dir DATA --out runs/fidelity --picture docs/images/fidelity.png

Genotypes are drawn uniformly from the NASNet space, different networks, always the same. Each is trained with every
setting under every seed: with the preset; with the reference, by default the preset with 4 times as many epochs, which
counts as the truth; and with variants of the preset, spelled as what they change (``filters=4``, or
``epochs=8,train_images=1250``). A setting is an ordinary run folder below ``--out``, one trial a training, made by the
evaluator that searches use: the same command goes on where it stopped, and more ``--seeds`` or ``--variants`` add to
what is there. ``--dry-run`` says what it would take. Prints the table of :mod:`benchmarks.fidelity_table` in Markdown.
``--table`` adds all curves to a table that :mod:`benchmarks.truth` holds later ideas against.
The reference has a seed of its own, so that no luck of a training is shared with what is held against it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Final, cast

import numpy as np
import pandas as pd

from analysis.frames import load_history, load_metrics
from analysis.plots.files import picture_files, save
from benchmarks.fidelity_figure import fidelity_figure
from benchmarks.fidelity_table import fidelity_table
from benchmarks.trained_table import add_trainings, read_trainings
from evo_nas.config import RunConfig, from_flags
from evo_nas.errors import EvoNasError, UsageError
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.listeners.progress import Progress
from evo_nas.run.parts import build, load_config, read_stored_config
from evo_nas.run.search import resume, start
from evo_nas.signals import EXIT_CODES, EndedAtOnce
from evo_nas.storage.endings import WHY
from evo_nas.storage.run_folder import RunFolder
from evo_nas.studies import is_finished
from evo_nas.system.terminal import duration
from genotypes.genotype import Genotype
from genotypes.individual import Proposal
from genotypes.population import Population
from genotypes.space import SearchSpace
from strategies.base import SearchStrategy

LISTED: Final = "benchmarks.fidelity:Listed"
SAMPLING_SEED: Final = 2018
"""Draws the genotypes; no training knows it."""
LONGER: Final = 4
"""Times as many epochs in the reference as in the preset."""
VARIANTS: Final = (
    *("epochs=1", "epochs=4", "train_images=2500", "train_images=10000"),
    *("filters=4", "image_size=8", "image_size=12"),
)
"""Of the preset ``cpu``: about half and twice its work, in as many ways as two cores have time for."""
TESTED: Final = 2
"""Genotypes whose steps are timed for ``--dry-run``."""


@dataclass
class Listed(SearchStrategy):
    """Propose so many different networks, always the same, and then all of them again under the next ids."""

    name: ClassVar[str] = "listed"

    genotypes: int = 12

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Draw them, by a generator of their own: runs of other seeds train the same."""
        super().start(space, rng)
        self._genotypes = different(space, self.genotypes)

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        """Propose the one whose turn it is."""
        asked = len(population) + population.failed + len(pending)
        return Proposal(self._genotypes[asked % self.genotypes])


def different(space: SearchSpace, n: int) -> list[Genotype]:
    """Draw n genotypes of different networks; the first of more are the same."""
    rng = np.random.default_rng(SAMPLING_SEED)
    found: dict[str, Genotype] = {}
    while len(found) < n:
        genotype = space.sample(rng)
        found.setdefault(space.key(genotype), genotype)
    return list(found.values())


@dataclass(frozen=True)
class Setting:
    """One way to train: how it is spelled, and the configuration of the run that does it."""

    name: str
    folder: Path
    config: RunConfig
    flags: dict[str, Any]
    settings: tuple[str, ...]

    @property
    def evaluator(self) -> ProxyEvaluator:
        """The evaluator, with every number filled in.

        Raises:
            UsageError: if the setting changes what does not exist, or to an impossible value.
        """
        return cast("ProxyEvaluator", build(self.config).evaluator)

    def train(self, title: str) -> int:
        """Train what is not trained yet, and give the exit code: 0 if everything is."""
        progress = Progress(title, self.config.run.trials, self.config.run.trials, grace=self.config.hardware.grace)
        try:
            if (self.folder / "run.toml").exists():
                config = read_stored_config(self.folder, from_flags(self.flags, self.settings), [LISTED])
                if is_finished(self.folder, config.run.trials):
                    return 0
                with RunFolder.open(self.folder) as folder:
                    run = resume(config, folder, build(config), listeners=[progress], heeds_signals=True)
            else:
                parts = build(self.config)
                with RunFolder.create(self.folder) as folder:
                    run = start(self.config, folder, parts, listeners=[progress], heeds_signals=True)
        except EndedAtOnce as ended:
            return EXIT_CODES[ended.reason]
        finally:
            progress.close()
        if not run.reason.is_final:
            print(f"stopped: {WHY[run.reason]}; the same command goes on", file=sys.stderr)
            return EXIT_CODES[run.reason]
        return 0


def setting(given: argparse.Namespace, name: str, *, changes: str = "", seed: int = 0) -> Setting:
    """Plan the run of one setting: the preset with some numbers changed, spelled ``name=value,name=value``."""
    seed += 2 * given.series  # preset and reference of one series differ by 1
    if not re.fullmatch(r"[\w.=,+-]+", name):
        raise UsageError(f"a setting is spelled as what it changes, as in epochs=8,filters=4, not {name!r}")
    settings = [f"evaluator.{change}" for change in [*given.set, *filter(None, changes.split(","))]]
    settings.append(f"strategy.genotypes={given.genotypes}")
    flags = {
        "strategy": LISTED,
        "evaluator": "proxy",
        "dataset": given.dataset,
        "preset": given.preset,
        "seed": str(seed),
        "trials": str(given.genotypes * given.seeds),
        "repeats": "retrain",
        "workers": str(given.workers),
        "threads": "1",
        "keep_weights": "0",
        "data_dir": given.data_dir,
    }
    config = load_config(flags, settings=settings, environ={})
    return Setting(name, given.out / name, config, flags, tuple(settings))


def planned(given: argparse.Namespace) -> list[Setting]:
    """Plan all settings: preset, reference, variants.

    Raises:
        UsageError: if one changes what does not exist, or to an impossible value, or two are the same.
    """
    preset = setting(given, given.preset)
    reference = given.reference or f"epochs={LONGER * preset.evaluator.epochs}"
    settings = [preset, setting(given, reference, changes=reference, seed=1)]
    settings += [setting(given, name, changes=name) for name in given.variants]
    names = [one.name for one in settings]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"the setting {twice[0]} is listed twice")
    for one in settings:
        one.evaluator  # noqa: B018  # says now what would else be said after an hour
    return settings


def trainings(settings: Sequence[Setting], seeds: int) -> pd.DataFrame:
    """Read all trainings, as :func:`benchmarks.fidelity_table.fidelity_table` takes them."""
    frames = []
    for one in settings:
        trials = load_history(one.folder, columns=["id", "genotype", "fitness"]).sort_values("id")
        metrics = load_metrics(one.folder)
        cpu = metrics[metrics["name"] == "cpu_seconds"].set_index("trial")["value"]
        trials["seed"] = trials.groupby("genotype").cumcount()
        trials["cpu_seconds"] = trials["id"].map(cpu)
        frame = trials[trials["seed"] < seeds].rename(columns={"fitness": "accuracy"})
        frames.append(frame.assign(setting=one.name))
    return pd.concat(frames, ignore_index=True)


def expected(settings: Sequence[Setting], trials: int) -> Iterator[tuple[str, float]]:
    """Time a few steps of each setting; give its name and the seconds of all its trainings on one core."""
    for one in settings:
        evaluator = one.evaluator
        with TemporaryDirectory() as folder:
            evaluator.prepare(Path(folder))
            yield one.name, trials * evaluator.expected_seconds(different(evaluator.space, TESTED))


def markdown(table: pd.DataFrame) -> Iterator[str]:
    """Write the table for the guide."""
    heads = ["setting", "CPU s", "accuracy", "tau", "Spearman", "tau of means", "Spearman of means", "between seeds"]
    heads += ["noise alone", "gain", "tau / CPU s"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"

    def ranged(row: dict[Any, Any], name: str) -> str:
        value, low, high = (row[name + end] for end in ("", "_low", "_high"))
        return "" if np.isnan(value) else f"{value:.2f} ({low:.2f} to {high:.2f})"

    for row in table.to_dict("records"):
        words = [row["setting"], f"{row['cpu_seconds']:.1f}", f"{row['accuracy']:.1%}".replace("%", " %")]
        words += [ranged(row, name) for name in ("tau", "spearman", "mean_tau", "mean_spearman", "seeds_tau")]
        words += ["" if np.isnan(row["noise_tau"]) else f"{row['noise_tau']:.2f}", ranged(row, "gain")]
        words += ["" if np.isnan(row["tau"]) else f"{row['tau_per_cpu_second']:.4f}"]
        yield f"| {' | '.join(words)} |"


def measure(given: argparse.Namespace) -> int:
    """Train what is missing, then print the table and draw the picture."""
    if given.picture is not None:
        try:
            picture_files(given.picture)  # a misspelt name is better said now than after an hour
        except ValueError as error:
            raise UsageError(str(error)) from error
    if given.table is not None:
        read_trainings(given.table)
    settings = planned(given)
    if given.dry_run:
        total = 0.0
        for name, seconds in expected(settings, given.genotypes * given.seeds):
            print(f"{name}: {duration(seconds)} on one core", flush=True)
            total += seconds
        print(f"all: {duration(total / given.workers)} with {given.workers} workers")
        return 0
    preset, reference, *variants = settings
    for number, one in enumerate((reference, preset, *variants), start=1):  # the truth first: all else is held to it
        if code := one.train(f"{one.name} ({number} of {len(settings)} settings)"):
            return code
        if given.table is not None:
            add_trainings(given.table, [(one.name, one.config.run.seed, one.folder)])
    names = {"reference": settings[1].name, "baseline": settings[0].name}
    try:
        table = fidelity_table(trainings(settings, given.seeds), **names)
    except ValueError as error:
        raise EvoNasError(str(error)) from error
    print("\n".join(markdown(table)))
    if given.picture is not None:
        print("\n".join(map(str, save(fidelity_figure(table, **names), given.picture))))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and measure; give the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fidelity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data-dir", default=os.environ.get("EVO_NAS_DATA"), help="where image sets lie")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run folders")
    parser.add_argument("--genotypes", type=int, default=12, help="how many (default: 12)")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each with each setting (default: 2)")
    parser.add_argument("--series", metavar="K", type=int, default=0, help="other seeds, with an --out of its own (0)")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each (default: 2)")
    parser.add_argument("--dataset", default="cifar10", help="default: cifar10")
    parser.add_argument("--preset", default="cpu", help="default: cpu")
    parser.add_argument("--reference", metavar="SETTING", help="the truth (default: 4 times the preset's epochs)")
    variants = f"what to change in the preset, one each (default: {' '.join(VARIANTS)})"
    parser.add_argument("--variants", metavar="SETTING", nargs="*", default=VARIANTS, help=variants)
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="change this in every setting")
    parser.add_argument("--picture", metavar="FILE", type=Path, help="picture to write")
    parser.add_argument("--table", metavar="FILE", type=Path, help="CSV to which all curves are added")
    parser.add_argument("--dry-run", action="store_true", help="say how long it would take, and end")
    given = parser.parse_args(argv)
    try:
        if given.genotypes < 3 or given.seeds < 1:
            raise UsageError("there is no ranking of fewer than 3 genotypes, and no training without a seed")
        return measure(given)
    except EvoNasError as error:
        print(f"fidelity: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("fidelity: stopped; the same command goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
