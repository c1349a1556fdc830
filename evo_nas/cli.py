"""The command line: arguments in, words out. What a command does stands in the module that it imports when called.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done; 1 failed; 2 usage or bad input; 3 run folder
busy, damaged or unusable; 4 data missing or damaged; 5 too many failed trials; 75 stopped by the time limit or the
scheduler; 129 by SIGHUP; 130 by Ctrl-C; 143 by SIGTERM. After the last four a search can be resumed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from evo_nas.config import FLAGS, from_environment, from_flags, layered
from evo_nas.errors import DataError, EvoNasError, RunFolderError, StudyFailed, UsageError
from evo_nas.storage.run_folder import RECORDS, RunFolder
from evo_nas.system.terminal import safe_streams
from evo_nas.system.version import __version__
from genotypes.genotype import printable

if TYPE_CHECKING:
    from evo_nas.commands.cell_sources import Source
    from evo_nas.commands.show import Summary
    from evo_nas.commands.train import Hear
    from evo_nas.config import RunConfig
    from evo_nas.manager import Listener
    from evo_nas.run import Parts, Run
    from evo_nas.training.loop import Epoch
    from evo_nas.training.resumable import Place, Result, Task
    from genotypes.cell import CellPair

_RUN_EXAMPLES = """\
examples:
  python -m evo_nas run --strategy evolution --dataset digits --trials 100 --population 20 --sample 5
  python -m evo_nas run --strategy rl --dataset cifar10 --data-dir DATA --preset cpu --workers 2 --trials 30 --batch 5
  python -m evo_nas run --strategy random --evaluator toy --trials 1000

Every flag can also be set as EVO_NAS_<FLAG> (EVO_NAS_DATA for --data-dir) or in a TOML file (--config);
a flag goes before a variable, a variable before the file. `--set TABLE.FIELD=VALUE` reaches every option:
`python -m evo_nas list strategies|spaces|evaluators|presets` names them."""

_TRAIN_EXAMPLES = """\
examples:
  python -m evo_nas train runs/RUN --preset cpu --data-dir DATA
  python -m evo_nas train runs/RUN --top 5 --preset cifar-short
  python -m evo_nas train --cell nasnet-a --size 6@768 --preset cifar-paper --device cuda
  python -m evo_nas train --from runs/train-A/last.safetensors --dataset folder --data-dir IMAGES --image 64

The same command goes on with a training that was stopped.
"""

_EXPORT_EXAMPLES = """\
formats:
  json         the genotype, or the pair of cells where there is none
  cells        the pair of cells, as JSON
  dot          both cells in DOT, for Graphviz
  module       the network as one Python file that needs torch alone
  safetensors  the weights, without an auxiliary classifier
  torch        the network with its weights, by torch.export (.pt2)
  onnx         the network with its weights; needs the extra onnx

examples:
  python -m evo_nas export runs/RUN --format json,dot
  python -m evo_nas export --weights runs/train-A/best.safetensors --format module,safetensors,torch,onnx
  python -m evo_nas export --cell nasnet-a --size 6@768 --format module -o nasnet.py

Without --weights they are random. docs/export.md says how to use each file."""

_DIFF_EXAMPLES = """\
examples:
  python -m evo_nas diff runs/RUN nasnet-a -o diff.png
  python -m evo_nas diff amoebanet-a nasnet-a --json

The graph edit distance counts what must be added, removed or given another name to get B from A: a block, or an
operation that one block applies to one hidden state. To read another state is two edits. It is 0 exactly for cells
that are the same network. Where it would take too long, it is an upper bound and says so with <=."""

_TABLE_EXAMPLES = """\
examples:
  python -m evo_nas table runs/RUN --top 10
  python -m evo_nas table 'runs/evolution-*' --columns run,id,fitness,elapsed --format csv
  python -m evo_nas table runs/RUN --sort seconds:desc,id -o trials.parquet

A row is a trial, in the order told, pending ones last. Columns and units:
  run, strategy, space, evaluator, run_seed   what the trial is of
  id, parent                   counts asks from 1; the individual that was mutated
  genotype, key, cell          as text; canonical spelling; readable form
  outcome, error, trained      how it ended; why it failed; whether it is an ended training
  fitness, test, best_so_far     accuracy, a fraction in [0, 1]
  seconds, elapsed             in seconds: of the evaluation; that the run had been going for
  parameters, mult_adds        counts; mult-adds of one image
  asked, told, sample          positions among events; trainings ended until then
  asked_at, told_at            wall clock, UTC

Without --columns: in CSV, JSON and parquet all of them; in a table those that fit a terminal. Missing values are -,
in CSV nothing, in JSON null. docs/analysis.md says more."""

_STUDY_EXAMPLES = """\
examples:
  python -m evo_nas study --strategies random,evolution --seeds 20 --trials 500 --evaluator toy --jobs 2
  python -m evo_nas study --strategies 'evolution(population=20,sample=5),evolution(population=50,sample=10)' ...

A run for each strategy and seed, in folders of their own below the study's; the same command again goes on where it
stopped, and more --seeds, --trials or --strategies add to it. Regret and test fitness are in percentage points. Options of
strategies (--population, --set strategy.x=y) go to all that have them. docs/study.md says what the numbers mean."""


@safe_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    if "matplotlib" not in sys.modules:
        # A notebook's backend may not be installed where we are; pictures are written, never shown.
        os.environ["MPLBACKEND"] = "agg"
    try:
        with _terminable():
            arguments = _parser().parse_args(argv)
            arguments.words = sys.argv[1:] if argv is None else list(argv)
            with _log_on_stderr():
                code = arguments.command(arguments) or 0
            if sys.stdout is not None:  # it can have been closed before we began
                sys.stdout.flush()
            return code
    except EvoNasError as error:
        print(f"evo_nas: {printable(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except _Terminated:
        return 143
    except BrokenPipeError:
        # Whoever read our output has gone; keep Python from complaining once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        place = error.filename or "the output"
        print(f"evo_nas: cannot use {printable(place)}: {error.strerror}", file=sys.stderr)
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Let what our modules log be read: warnings, and what takes long."""
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("evo_nas: %(message)s"))
    logger = logging.getLogger("evo_nas")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # what it warns of can be seen in the picture
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


class _Terminated(BaseException):
    """SIGTERM arrived."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind like Ctrl-C, so that files are closed and workers stopped."""

    def raise_terminated(*_: object) -> NoReturn:
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, raise_terminated)
    except ValueError:  # not in the main thread, where signals cannot be handled
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, and takes no abbreviated flags."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"evo_nas: {printable(message)} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m evo_nas", description="Search neural network architectures.")
    parser.add_argument("--version", action="version", version=f"evo_nas {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = _command(commands, "run", _run, "search: start a new run", epilog=_RUN_EXAMPLES)
    run.add_argument("--strategy", metavar="NAME", help="a name of `list strategies`, or package.module:Class")
    run.add_argument("--seed", metavar="K", help="seed of everything random (default: 0)")
    _science(run)
    _budget_and_hardware(run)
    run.add_argument("--run-dir", metavar="DIR", type=Path, help="run folder, new or empty (default: runs/<name>)")
    run.add_argument("--dry-run", action="store_true", help="print the configuration and what it would cost, then end")

    doctor = _command(commands, "doctor", _doctor, "say what a search would use, how long it takes, and what to change")
    doctor.add_argument("--strategy", metavar="NAME", help="a name of `list strategies` (default: evolution)")
    doctor.add_argument("--seed", metavar="K", help="seed of everything random (default: 0)")
    _science(doctor)
    _budget_and_hardware(doctor)
    doctor.add_argument("--run-dir", metavar="DIR", type=Path, help="where the run folder would lie (default: runs/)")
    doctor.add_argument("--json", action="store_true", help="print JSON")

    study = _command(commands, "study", _study, "compare strategies over many seeds", epilog=_STUDY_EXAMPLES)
    study.add_argument("--strategies", metavar="LIST", help="names with commas; options in brackets: 'rl,rl(batch=10)'")
    study.add_argument("--seeds", metavar="N", type=_up_to(10**6), default=10, help="runs per strategy (default: 10)")
    study.add_argument("--first-seed", metavar="K", type=_up_to(2**62, 0), default=0, help="first seed (default: 0)")
    study.add_argument("--trials", metavar="N", help="trainings a run, failed ones counted (default: 1000)")
    study.add_argument("--jobs", metavar="J", type=_up_to(1024), default=1, help="runs at a time (default: 1)")
    _science(study)
    study.add_argument("--device", metavar="NAME", help="auto (default), cpu, cuda, cuda:N or mps")
    study.add_argument("--data-dir", metavar="DIR", help="where image sets lie (default: EVO_NAS_DATA, or the cache)")
    study.add_argument("--keep-weights", metavar="K", help="keep the weights of the K best trials (default: 1)")
    _tensorboard(study)
    study.add_argument("--study-dir", metavar="DIR", type=Path, help="folder of the study (default: runs/study-...)")
    study.add_argument("--json", action="store_true", help="print JSON")
    study.add_argument(
        "-o", "--output", metavar="FILE", type=_file_name, help="picture to write (default: STUDY/figures/study.png)"
    )

    resume = _command(commands, "resume", _resume, "go on with a run where it stopped")
    resume.add_argument("run", metavar="RUN", type=Path, help="run folder")
    _budget_and_hardware(resume)
    for name in ("strategy", "space", "evaluator"):
        resume.add_argument(
            f"--{name}", metavar="package.module:Class", help=f"the run's plug-in {name}, if it has one"
        )
    for name, metavar in (("seed", "K"), ("dataset", "NAME")):
        resume.add_argument(f"--{name}", metavar=metavar, help="what it is; another one is refused")
    resume.add_argument("--set", metavar="TABLE.FIELD=VALUE", action="append", default=[], help="set an option")

    show = _command(commands, "show", _show, "print the best cells of a run")
    show.add_argument("run", metavar="RUN", type=Path, help="run folder")
    show.add_argument("--top", metavar="K", type=_up_to(10**6), default=5, help="how many (default: 5)")
    show.add_argument("--front", action="store_true", help="the Pareto front too, as for --objective pareto")
    _costs(show)
    show.add_argument("--json", action="store_true", help="print JSON")

    status = _command(commands, "status", _status, "say how far a run is, or how it ended")
    status.add_argument("run", metavar="RUN", type=Path, help="run folder")
    status.add_argument("--json", action="store_true", help="print JSON")

    repair = _command(commands, "repair", _repair, "save what can be read of a damaged history; the old one is kept")
    repair.add_argument("run", metavar="RUN", type=Path, help="run folder")
    repair.add_argument("--json", action="store_true", help="print JSON")

    table = _command(commands, "table", _table, "print the trials of runs, or write them", epilog=_TABLE_EXAMPLES)
    table.add_argument("runs", metavar="RUN", nargs="+", help="run folder, or a pattern of them")
    table.add_argument(
        "--format", choices=("table", "csv", "json", "parquet"), help="default: as FILE is called, else table"
    )
    table.add_argument("--columns", metavar="LIST", type=_names, default=(), help="names with commas, or all")
    table.add_argument("--sort", metavar="LIST", type=_names, default=(), help="columns with commas, NAME or NAME:desc")
    table.add_argument(
        "--top", metavar="N", type=_up_to(10**9), help="only the first N; without --sort by fitness, the highest first"
    )
    table.add_argument(
        "-o", "--output", metavar="FILE", type=_file_name, help="file to write (default: standard output)"
    )

    plot = _command(commands, "plot", _plot, "draw what runs did, such as accuracy against samples or time")
    plot.add_argument("--kind", choices=_KINDS, default="curve", metavar="KIND", help=_KINDS_HELP)
    _costs(plot)
    plot.add_argument("--x", choices=("trials", "seconds"), default="trials", help="what against (default: trials)")
    plot.add_argument(
        "--window", metavar="P", type=_up_to(10**9), help="mean, population: of the last P (default: the run's P)"
    )
    plot.add_argument("--width", metavar="CM", type=_up_to(200, 4), help="centimetres of the picture, a curve's from 7")
    compare = _command(commands, "compare", _compare, "compare strategies over their runs, and draw their best cells")
    for command in (plot, compare):
        command.add_argument("runs", metavar="RUN", nargs="+", help="run folder, or a pattern of them")
        command.add_argument(
            "-o", "--output", metavar="FILE", type=_file_name, help="picture to write (default: RUN/figures/)"
        )
    compare.add_argument("--target", metavar="ACC", type=_fraction, help="samples to reach it, a fraction in [0, 1]")
    compare.add_argument(
        "--trials", metavar="N", type=_up_to(10**9), help="compare after N trainings (default: what all runs have)"
    )
    compare.add_argument("--json", action="store_true", help="print JSON")

    report = _command(commands, "report", _report, "write what runs found as one HTML file, to look at and to pass on")
    report.add_argument("runs", metavar="RUN", nargs="+", help="run folder, or a pattern of them")
    report.add_argument(
        "--top", metavar="N", type=_up_to(10**4), default=200, help="trials in the table of the best (default: 200)"
    )
    report.add_argument(
        "-o", "--output", metavar="FILE", type=_file_name, help="file to write (default: RUN/figures/report.html)"
    )

    diff = _command(commands, "diff", _diff, "say what tells two pairs of cells apart", epilog=_DIFF_EXAMPLES)
    for name, what in (("first", "A"), ("second", "B")):
        diff.add_argument(name, metavar=what, help="run folder (its best), genotype text, JSON file or published cell")
    diff.add_argument("-o", "--output", metavar="FILE", type=_file_name, help="picture to write (default: none)")
    diff.add_argument("--json", action="store_true", help="print JSON")

    count = _command(commands, "count", _count, "count the parameters and mult-adds of a network")
    _cells(count)
    _size(count)
    count.add_argument(
        "--image", metavar="PIXELS", type=_up_to(10**4), help="side of the image (default: 32, or 224 for imagenet)"
    )
    count.add_argument(
        "--channels", metavar="C", type=_up_to(10**4), default=3, help="channels of the image (default: 3)"
    )
    count.add_argument(
        "--classes", metavar="K", type=_up_to(10**6), help="number of classes (default: 10, or 1000 for imagenet)"
    )
    count.add_argument("--json", action="store_true", help="print JSON")

    train = _command(commands, "train", _train, "train cells at their final size", epilog=_TRAIN_EXAMPLES)
    _cells(train)
    train.add_argument("--top", metavar="K", type=_up_to(10**4), help="of a run: the K best, one after another")
    train.add_argument("--preset", metavar="NAME", help="a name of `list trainings` (default: by device)")
    _size(train, macro=None)
    train.add_argument(
        "--skip-reduction-input",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="after a reduction, read what it read as h_i-1 (default: as published)",
    )
    train.add_argument("--image", metavar="PIXELS", type=_up_to(1024), help="side of the images (default: preset)")
    train.add_argument("--dataset", metavar="NAME", help="cifar10, cifar100, digits, folder (default: the run's)")
    train.add_argument("--epochs", metavar="E", type=_up_to(10**5), help="epochs (default: preset)")
    train.add_argument("--train-images", metavar="N", type=_up_to(10**9, 0), help="of the train part; 0 for all")
    train.add_argument("--validation-images", metavar="N", type=_up_to(10**9, 0), help="held out of the train part")
    train.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="set any number of the recipe")
    train.add_argument("--seed", metavar="K", type=_up_to(2**62, 0), default=0, help="of everything random (0)")
    train.add_argument(
        "--from", dest="start", metavar="FILE", type=Path, help="begin with the weights of a safetensors file"
    )
    train.add_argument("--train-dir", metavar="DIR", type=Path, help="folder of the training (default: runs/train-...)")
    _place(train)
    train.add_argument("--json", action="store_true", help="print JSON")

    export = _command(
        commands, "export", _export, "write cells and networks for other programs", epilog=_EXPORT_EXAMPLES
    )
    _cells(export)
    export.add_argument(
        "--format", metavar="LIST", action="append", default=[], help="what to write, with commas: see below"
    )
    export.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        type=Path,
        default=Path("export"),
        help="folder (default: export), or one file",
    )
    export.add_argument("--force", action="store_true", help="overwrite what is there")
    export.add_argument("--weights", metavar="FILE", type=Path, help="trained network: best.safetensors of a training")
    _size(export, macro=None)
    export.add_argument(
        "--image", metavar="PIXELS", type=_up_to(10**4), help="side of the images (default: 32, or 224 for imagenet)"
    )
    export.add_argument("--channels", metavar="C", type=_up_to(10**4), help="channels of the images (default: 3)")
    export.add_argument(
        "--classes", metavar="K", type=_up_to(10**6), help="classes (default: 10, or 1000 for imagenet)"
    )
    export.add_argument("--seed", metavar="K", type=_up_to(2**62, 0), default=0, help="of weights nobody trained (0)")

    data = commands.add_parser("data", help="fetch or check an image set", description="Fetch or check an image set.")
    actions = data.add_subparsers(title="commands", metavar="ACTION", required=True)
    fetch = _command(actions, "fetch", _fetch, "download an image set, or unpack it from an archive")
    check = _command(actions, "check", _check, "verify an image set completely")
    for command in (fetch, check):
        command.add_argument(
            "--dataset", metavar="NAME", default="cifar10", help="cifar10 (default), cifar100, digits, folder"
        )
        command.add_argument(
            "--data-dir", metavar="DIR", type=Path, help="where it lies (default: EVO_NAS_DATA, or the cache)"
        )
    fetch.add_argument("--archive", metavar="FILE", type=Path, help="unpack this file instead of downloading")

    list_ = _command(commands, "list", _list, "list what can be chosen")
    list_.add_argument("what", choices=("strategies", "spaces", "evaluators", "presets", "trainings", "cells"))
    return parser


def _command(
    commands: Any, name: str, command: Callable[[argparse.Namespace], int | None], text: str, epilog: str | None = None
) -> argparse.ArgumentParser:
    """Add a command whose help is one sentence."""
    description = f"{text[0].upper()}{text[1:]}."
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=description, epilog=epilog)
    parser.set_defaults(command=command)
    return parser


def _science(parser: argparse.ArgumentParser) -> None:
    """Add what decides a search, but for strategy and seed."""
    parser.add_argument("--space", metavar="NAME", help="search space, or package.module:Class (default: nasnet)")
    parser.add_argument("--evaluator", metavar="NAME", help="proxy (default), tabular, toy, or package.module:Class")
    parser.add_argument("--dataset", metavar="NAME", help="cifar10 (default), cifar100, digits, or folder")
    parser.add_argument("--preset", metavar="NAME", help="settings of the proxy trainer: digits, cpu or gpu")
    parser.add_argument("--stopping", metavar="RULE", help="stop trainings early: none (default), median or halving")
    parser.add_argument("--table", metavar="FILE", help="tabular: benchmark table, CSV or parquet")
    parser.add_argument("--column", metavar="NAME", help="tabular: column that the search sees")
    parser.add_argument(
        "--test-column", metavar="NAME", help="tabular: column of the test fitness, which no search sees"
    )
    parser.add_argument("--table-unit", metavar="UNIT", help="tabular: percent or fraction (default)")
    parser.add_argument("--repeats", metavar="HOW", help="reuse (default) or retrain networks that were trained before")
    parser.add_argument(
        "--population", metavar="P", help="evolution: size of the population (default: by space, up to 100)"
    )
    parser.add_argument("--sample", metavar="S", help="evolution: size of the tournament (default: by space, up to 25)")
    parser.add_argument(
        "--no-aging", dest="aging", action="store_false", default=None, help="evolution: the worst dies, not the oldest"
    )
    parser.add_argument(
        "--objective", metavar="NAME", help="evolution: accuracy (default), or pareto: the strategy's costs count too"
    )
    parser.add_argument("--batch", metavar="B", help="rl: architectures per update of the controller (default: 20)")
    parser.add_argument("--max-parameters", metavar="M", help="refuse networks with more parameters")
    parser.add_argument("--max-mult-adds", metavar="M", help="refuse networks with more mult-adds an image")
    parser.add_argument("--max-repeats", metavar="R", help="end after R proposals in a row that are not trained (1000)")
    parser.add_argument("--max-consecutive-failures", metavar="F", help="end after F failed trials in a row (10)")
    parser.add_argument("--config", metavar="FILE", type=Path, help="TOML file with the tables of a run.toml")
    parser.add_argument("--set", metavar="TABLE.FIELD=VALUE", action="append", default=[], help="set any option")


def _budget_and_hardware(parser: argparse.ArgumentParser) -> None:
    """Add what may differ between two parts of one run."""
    parser.add_argument("--trials", metavar="N", help="total of trainings, failed ones counted (default: 1000)")
    parser.add_argument("--target-accuracy", metavar="A", help="end at this fitness, a fraction in [0, 1]")
    parser.add_argument("--time-limit", metavar="T", type=_duration, help="stop after T, resumable: 90, 45m, 2h30m")
    parser.add_argument("--trial-timeout", metavar="T", type=_duration, help="stop a trial that takes longer than T")
    parser.add_argument("--grace", metavar="T", type=_duration, help="time to end for trials when we stop (30 s)")
    parser.add_argument("--workers", metavar="W", help="trials at a time (default: 1)")
    parser.add_argument("--recycle-after", metavar="N", help="replace a worker after N trials (default: never)")
    parser.add_argument("--executor", metavar="NAME", help="serial, slots, ray, or auto (default)")
    parser.add_argument("--ray-address", metavar="ADDR", help="ray: the cluster to use (default: one on this machine)")
    parser.add_argument("--cpus-per-trial", metavar="C", help="ray: cores a trial (default: 1)")
    parser.add_argument("--gpus-per-trial", metavar="G", help="ray: GPUs a trial, also a fraction (default: 0)")
    parser.add_argument("--threads", metavar="T", help="threads a worker (default: the cores, shared out)")
    parser.add_argument("--device", metavar="NAME", help="auto (default), cpu, cuda, cuda:N or mps")
    parser.add_argument("--data-dir", metavar="DIR", help="where image sets lie (default: EVO_NAS_DATA, or the cache)")
    parser.add_argument("--keep-weights", metavar="K", help="keep the weights of the K best trials (default: 1)")
    _tensorboard(parser)


def _tensorboard(parser: argparse.ArgumentParser) -> None:
    """Add the second view of a run, for whoever has TensorBoard open anyway."""
    parser.add_argument(
        "--tensorboard",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="write events that TensorBoard shows while the search goes on, in RUN/tensorboard",
    )


def _costs(parser: argparse.ArgumentParser) -> None:
    """Add what a Pareto front weighs accuracy against."""
    parser.add_argument(
        "--costs",
        metavar="LIST",
        type=_names,
        default=(),
        help="front: metrics, the smaller the better (default: the run's, else mult_adds)",
    )


def _cells(parser: argparse.ArgumentParser) -> None:
    """Add the ways to say which cells are meant."""
    parser.add_argument(
        "source", nargs="?", help="run folder, genotype text, or JSON file of a genotype or a pair of cells"
    )
    parser.add_argument("--cell", metavar="NAME", help="a published cell: see list cells")
    parser.add_argument("--trial", metavar="ID", type=_up_to(10**9), help="of a run: this trial, not the best")


def _size(parser: argparse.ArgumentParser, macro: str | None = "cifar") -> None:
    """Add the ways to say how large a network is."""
    parser.add_argument("--macro", metavar="NAME", default=macro, help="small images, cifar (default), or imagenet")
    parser.add_argument("--size", metavar="N@P", help="cells a stack and penultimate filters, as in 6@4032; or")
    parser.add_argument("--cells", metavar="N", type=_up_to(200), help="normal cells a stack")
    parser.add_argument("--filters", metavar="F", type=_up_to(10**5), help="filters of the first stack")
    parser.add_argument(
        "--stem", metavar="S", type=_up_to(10**6), help="filters of the stem (default: 3F; imagenet: as published)"
    )


def _place(parser: argparse.ArgumentParser) -> None:
    """Add where a training runs."""
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    parser.add_argument("--threads", metavar="T", type=_up_to(1024), help="threads (default: the cores)")
    parser.add_argument("--loaders", metavar="L", type=_up_to(1024, 0), default=0, help="processes that read files")
    parser.add_argument("--data-dir", metavar="DIR", type=Path, help="where image sets lie")


def _file_name(text: str) -> Path:
    """Read the name of a file to write: never one of those that a run, a study or a training is made of."""
    path = Path(text)
    if not path.name:
        raise argparse.ArgumentTypeError("names no file")
    if path.name in RECORDS and path.exists():
        raise argparse.ArgumentTypeError(f"{text} is the record of a run and is not written over: name another file")
    return path


def _up_to(largest: int, least: int = 1) -> Callable[[str], int]:
    """Make a reader of whole numbers from ``least`` to ``largest``."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= largest):
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {largest}, not {text[:40]!r}")
        return int(text)

    return read


def _fraction(text: str) -> float:
    """Read a fraction in [0, 1]."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a fraction from 0 to 1, as in 0.9, not {text[:40]!r}")
    return value


def _names(text: str) -> tuple[str, ...]:
    """Read a list of names with commas, each of them once."""
    return tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))


def _duration(text: str) -> float | str:
    """Read a duration in seconds: ``90``, ``1.5``, ``45m``, ``2h30m``, ``1d``; ``none`` for no limit."""
    if text.lower() == "none":
        return "none"
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d*)?)s?)?", text, re.ASCII)
    if not text or match is None or len(text) > 20:
        raise argparse.ArgumentTypeError(f"must be a duration such as 90, 45m, 2h30m or 1d, not {text[:40]!r}")
    return sum(float(n or 0) * unit for n, unit in zip(match.groups(), (86_400, 3600, 60, 1), strict=True))


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Pick the arguments that are fields of the configuration."""
    known = {name for names in FLAGS.values() for name in names}
    return {name: value for name, value in vars(arguments).items() if name in known}


# The commands ------------------------------------------------------------------------------------------------------


def _run(arguments: argparse.Namespace) -> int:
    from evo_nas.run import build, configured, new_folder, start

    if not (arguments.strategy or arguments.config or os.environ.get("EVO_NAS_STRATEGY")):
        from strategies.catalogue import STRATEGIES

        raise UsageError(f"name a strategy with --strategy: {', '.join(STRATEGIES)}, or package.module:Class")
    with ExitStack() as stack:
        # A folder that is named is locked before anything slow is imported: of two that want it, one knows at once.
        named = arguments.run_dir is not None and not arguments.dry_run
        folder = stack.enter_context(RunFolder.create(arguments.run_dir)) if named else None
        try:
            config = configured(_flags(arguments), settings=arguments.set, file=arguments.config)
            parts = build(config)
        except BaseException:
            if folder is not None:
                folder.discard()
            raise
        if arguments.dry_run:
            from evo_nas.commands.doctor.estimate import dry_run

            print("\n".join(dry_run(config, parts)))
            return 0
        if 0 < config.run.trials <= parts.strategy.window:
            print(
                f"evo_nas: note: {config.run.trials} trials do not fill a population of {parts.strategy.window}, and "
                "until it is full every proposal is random; a smaller --population would change that",
                file=sys.stderr,
            )
        path = folder.path if folder is not None else new_folder(config, parts)

        def go(listeners: Sequence[Listener]) -> Run:
            return start(config, folder or path, parts, listeners=listeners, heeds_signals=True)

        return _search(path, config, parts, go)


def _doctor(arguments: argparse.Namespace) -> int:
    from evo_nas.commands.doctor.examine import examine
    from evo_nas.run import configured

    def hear(words: str) -> None:
        print(f"evo_nas: {words} ...", file=sys.stderr, flush=True)

    config = configured(_flags(arguments), settings=arguments.set, file=arguments.config)
    report = examine(config, arguments.run_dir, hear)
    print(json.dumps(report.to_json(), indent=2) if arguments.json else "\n".join(map(printable, report.lines())))
    return report.exit_code


def _resume(arguments: argparse.Namespace) -> int:
    from evo_nas.run import build, resume, stored

    path = arguments.run
    if any((path / name).is_file() for name in ("train.json", "top.json")):
        raise UsageError(f"{path} holds a training, no search; the train command that began it goes on with it")
    flags = _flags(arguments)
    plugins = [flags[name] for name in ("strategy", "space", "evaluator") if flags[name]]
    # The variables of hardware count here too; those of science would only be refused.
    variables = {"hardware": from_environment(os.environ).get("hardware", {})}
    with RunFolder.open(path) as folder:
        config = stored(path, layered(variables, from_flags(flags, arguments.set)), plugins)
        parts = build(config)

        def go(listeners: Sequence[Listener]) -> Run:
            return resume(config, folder, parts, listeners=listeners, heeds_signals=True)

        return _search(path, config, parts, go)


def _search(path: Path, config: RunConfig, parts: Parts, go: Callable[[Sequence[Listener]], Run]) -> int:
    """Search with live progress, end with a summary and the next commands to type, and give the exit code."""
    from evo_nas.commands.show import summarise
    from evo_nas.commands.status import resuming
    from evo_nas.listeners.progress import Progress
    from evo_nas.manager import MEAN_OF, WHY
    from evo_nas.signals import EXIT_CODES, EndedAtOnce

    # What was chosen by default is said, the data set above all.
    options = {"data set": "dataset", "preset": "preset"}
    chosen = [f"{word} {value}" for word, name in options.items() if (value := getattr(parts.evaluator, name, None))]
    words = [config.run.strategy, config.run.space, config.run.evaluator, *chosen]
    progress = Progress(
        f"run folder {path}: {', '.join(words)}",
        config.run.trials,
        parts.strategy.window or MEAN_OF,
        target=config.run.target_accuracy,
        time_limit=config.hardware.time_limit,
        grace=config.hardware.grace,
    )
    go_on = f"go on with: {resuming(path, config)}"
    try:
        run = go([progress])
    except EndedAtOnce as ended:
        print(f"stopped at once; {go_on}", file=sys.stderr)
        return EXIT_CODES[ended.reason]
    except BaseException as error:
        if not isinstance(error, UsageError | RunFolderError) and (path / "history.db").exists():
            print(f"stopped; {go_on}", file=sys.stderr)
        raise
    finally:
        progress.close()
    if not run.reason.is_final:
        print(f"stopped: {WHY[run.reason]}; {go_on}", file=sys.stderr)
        return EXIT_CODES[run.reason]
    # The search is done and on disk: a reader of our output that has gone makes no failure of it.
    with suppress(BrokenPipeError):
        summary = summarise(run.path, top=1)
        print(f"ended: {'; '.join(filter(None, [WHY[run.reason], run.advice]))}")
        print("\n".join(summary.lines()))
        print()
        print("next:")
        for command in _next_commands(summary):
            print(f"  python -m evo_nas {command}")
        sys.stdout.flush()
        return 0
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _next_commands(summary: Summary) -> Iterator[str]:
    path = shlex.quote(str(summary.path))
    yield f"show {path}"
    yield f"plot {path}"
    if summary.front:
        yield f"plot {path} --kind front"
    yield f"compare {path} ANOTHER_RUN"
    if summary.top and summary.best_pair:
        yield f"count '{summary.top[0].genotype}' --cells 6 --filters 32"
        yield f"train {path} --top 5"


def _study(arguments: argparse.Namespace) -> None:
    from evo_nas.commands.study import StudyProgress
    from evo_nas.study import opened, planned, run_all, unfinished

    if not arguments.strategies:
        raise UsageError("name the strategies to compare with --strategies, as in --strategies random,evolution")
    if arguments.output is not None:
        from analysis.plots.files import picture_files

        with _looking_back():
            picture_files(arguments.output)  # a misspelt name is better said now than after all runs
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    study = planned(arguments.strategies, _flags(arguments), seeds=seeds, settings=arguments.set, file=arguments.config)
    path = arguments.study_dir or study.default_folder
    with opened(study, path) as study:
        tasks = unfinished(study, path)
        progress = StudyProgress(f"study {path}: {', '.join(study.labels)}", len(study.labels) * len(seeds), len(tasks))
        try:
            ended = run_all(tasks, arguments.jobs, progress)
        except BaseException:
            progress.close()
            print(f"stopped; go on with: {_again(arguments.words)}", file=sys.stderr)
            raise
        progress.close()
        failed = [run for run in ended if run.error is not None]
        for run in failed[:_FAILURES_NAMED]:
            print(f"evo_nas: {run.label} seed {run.seed} failed: {run.error}", file=sys.stderr)
        runs = len(study.labels) * len(seeds)
        if len(failed) < runs:
            _report_study(arguments, path, study.labels, seeds, study.config.run.trials)
    if failed:
        raise StudyFailed(
            f"{len(failed)} of {runs} runs failed; the same command goes on with them: {_again(arguments.words)}",
            exit_code=max(run.exit_code for run in failed),
        )


_FAILURES_NAMED = 10


def _report_study(arguments: argparse.Namespace, path: Path, labels: Sequence[str], seeds: range, trials: int) -> None:
    """Print the table of a study, on a terminal with rules, and draw its curves."""
    from analysis.plots.study_report import report_study

    with _looking_back():
        report = report_study(path, arguments.output, strategies=labels, seeds=seeds, trials=trials)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2))
        print("\n".join([*report.notes, *map(str, report.files)]), file=sys.stderr)
        return
    if sys.stdout.isatty():
        _print_ruled(report.cells())
    else:
        print("\n".join(report.lines()))
    print("\n".join([*report.notes, *map(str, report.files)]))


def _print_ruled(rows: Sequence[Sequence[str]]) -> None:
    """Print a table for the eye: headings, a rule where the first column changes, numbers to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for position, name in enumerate(rows[0]):
        table.add_column(name, justify="right" if position else "left", no_wrap=True)
    before = None
    for row in rows[1:]:
        if before not in (None, row[0]):
            table.add_section()
        table.add_row("" if row[0] == before else row[0], *row[1:])
        before = row[0]
    Console(highlight=False, markup=False).print(table)


def _again(words: Sequence[str]) -> str:
    """Spell the command that was typed, ready to be pasted into a shell."""
    return shlex.join(["python", "-m", "evo_nas", *words])


def _show(arguments: argparse.Namespace) -> None:
    from evo_nas.commands.show import summarise

    summary = summarise(arguments.run, arguments.top, front=arguments.front, costs=arguments.costs)
    print(json.dumps(summary.to_json(), indent=2) if arguments.json else "\n".join(summary.lines()))


def _status(arguments: argparse.Namespace) -> None:
    from evo_nas.commands.status import status_of

    status = status_of(arguments.run)
    print(json.dumps(status.to_json(), indent=2) if arguments.json else "\n".join(status.lines()))


def _repair(arguments: argparse.Namespace) -> None:
    from evo_nas.storage.repair import repair

    result = repair(arguments.run)
    print(json.dumps(result.to_json(), indent=2) if arguments.json else "\n".join(result.lines()))


def _table(arguments: argparse.Namespace) -> None:
    from analysis.tables import ALL, for_the_eye, format_named, select, write_table
    from evo_nas.system.atomic import written_whole

    file = arguments.output
    try:
        format = format_named(arguments.format, file)
    except ValueError as error:
        raise UsageError(str(error)) from error
    is_seen = file is None and sys.stdout.isatty()
    if is_seen and format == "parquet":
        raise UsageError("parquet is nothing for a terminal: name a file with -o FILE, or send it through a pipe")
    with _looking_back():
        if format == "table" and not arguments.columns:
            frame = for_the_eye(arguments.runs, sort=arguments.sort, top=arguments.top)
        else:
            columns = () if arguments.columns == (ALL,) else arguments.columns
            frame = select(arguments.runs, columns=columns, sort=arguments.sort, top=arguments.top)
    try:
        if file is None:
            width = shutil.get_terminal_size().columns if is_seen else None
            write_table(frame, sys.stdout.buffer, format, width=width, plain=is_seen)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(file) as partial, partial.open("wb") as stream:
            write_table(frame, stream, format)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        if file is None:  # a pipe that nobody reads, a full disk: said, or not, as everywhere
            raise
        raise _not_written(error) from error
    print(file)


_KINDS = (
    *("curve", "best", "mean", "trials", "seeds", "top", "controller", "population"),
    *("front", "cells", "operations"),
)
_KINDS_HELP = (
    "curve (default): best so far and trials; best; mean: of the last P; trials; seeds: mean and band over seeds; "
    "top: best 1, 5 and 25; controller: reward and entropy; population: age and diversity; front: accuracy against "
    "costs; cells: the best; operations: how they drift"
)


def _plot(arguments: argparse.Namespace) -> None:
    from analysis.plots.cells import plot_operations
    from analysis.plots.front import plot_fronts
    from analysis.plots.kinds import KINDS, plot_kind

    is_curve = arguments.kind in KINDS
    if arguments.costs and arguments.kind != "front":
        raise UsageError("--costs says what a front is drawn against: add --kind front")
    if arguments.x != "trials" and not is_curve:
        raise UsageError("--x says what a curve is drawn against; a front has --costs")
    if arguments.window and not is_curve:
        raise UsageError("--window is that of a mean or of a population: add --kind mean or --kind population")
    if arguments.width and not is_curve and arguments.kind != "cells":
        raise UsageError(f"--width is for curves and cells, not for --kind {arguments.kind}")
    with _looking_back():
        if arguments.kind == "cells":
            files = _plot_cells(arguments)
        elif arguments.kind == "operations":
            files = plot_operations(arguments.runs, arguments.output)
        elif arguments.kind == "front":
            files = plot_fronts(arguments.runs, arguments.output, costs=arguments.costs)
        else:
            width = arguments.width and arguments.width / 2.54
            files = plot_kind(
                *(arguments.kind, arguments.runs, arguments.output),
                x=arguments.x,
                window=arguments.window,
                width=width,
            )
    print("\n".join(map(str, files)))


def _plot_cells(arguments: argparse.Namespace) -> list[Path]:
    """Draw the best cells of runs, or whatever else stands for cells."""
    from analysis.frames import find_runs
    from analysis.plots.cells import plot_cells
    from analysis.plots.files import figure_file
    from evo_nas.commands.cell_sources import cells_meant

    texts: list[str] = []
    for text in arguments.runs:
        is_pattern = (":" not in text or "/" in text) and any(letter in text for letter in "*?[")
        texts += [str(run.folder) for run in find_runs(text)] if is_pattern else [text]
    sources = [cells_meant(text) for text in texts]
    output = arguments.output
    if output is None:
        if not (Path(texts[0]) / "history.db").is_file():
            raise UsageError("these cells have no run folder to draw them into: name a file with -o FILE")
        output = figure_file(Path(texts[0]), "cells.png")
    said = ["" if source.fitness is None else f"{100 * source.fitness:.2f} %" for source in sources]
    named = [(source.label, words, source.cells) for source, words in zip(sources, said, strict=True)]
    return plot_cells(named, output, width=arguments.width and arguments.width / 2.54)


def _diff(arguments: argparse.Namespace) -> None:
    from analysis.cells.difference import difference
    from evo_nas.commands.cell_sources import cells_meant

    first, second = cells_meant(arguments.first), cells_meant(arguments.second)
    found = difference((first.label, second.label), (first.cells, second.cells))
    files: list[Path] = []
    if arguments.output is not None:
        from analysis.plots.cells import difference_figure
        from analysis.plots.files import save

        with _looking_back():
            files = save(difference_figure(found), arguments.output)
    if arguments.json:
        print(json.dumps(found.to_json() | {"files": list(map(str, files))}, indent=2))
    else:
        print("\n".join([*found.lines(), *map(str, files)]))


def _compare(arguments: argparse.Namespace) -> None:
    from analysis.plots.compare_report import compare_runs

    with _looking_back():
        comparison = compare_runs(arguments.runs, arguments.output, target=arguments.target, trials=arguments.trials)
    if arguments.json:
        print(json.dumps(comparison.to_json(), indent=2))
    else:
        print("\n".join(comparison.lines()))


def _report(arguments: argparse.Namespace) -> None:
    from analysis.frames import find_runs
    from analysis.plots.files import figure_file
    from analysis.report.page import report_page
    from evo_nas.system.atomic import write_whole

    with _looking_back():
        file = arguments.output or figure_file(find_runs(arguments.runs)[0].folder, "report.html")
        if file.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"{file} is no name of a report: let it end in .html")
        page = report_page(arguments.runs, top=arguments.top, command=["python", "-m", "evo_nas", *arguments.words])
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, page)
    print(file)


@contextmanager
def _looking_back() -> Iterator[None]:
    """Turn errors of analysis into ours, which have exit codes: an unreadable history, an unwritable picture."""
    from analysis.frames import HistoryError

    try:
        yield
    except HistoryError as error:
        raise RunFolderError(str(error)) from error
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise _not_written(error) from error


def _not_written(error: OSError) -> UsageError:
    reason = error.strerror or str(error)
    return UsageError(f"cannot write {error.filename or 'the file'}: {reason}; name another place with -o FILE")


def _count(arguments: argparse.Namespace) -> None:
    from evo_nas.commands.cell_sources import cells_named
    from evo_nas.commands.count import count

    is_large = arguments.macro == "imagenet"
    result = count(
        cells_named(arguments.source, arguments.cell, arguments.trial),
        size=arguments.size,
        macro=arguments.macro,
        cells_per_stack=arguments.cells,
        filters=arguments.filters,
        stem=arguments.stem,
        image=arguments.image or (224 if is_large else 32),
        channels=arguments.channels,
        classes=arguments.classes or (1000 if is_large else 10),
    )
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['parameters']:,} parameters")
    print(f"{result['mult_adds']:,} mult-adds an image of {result['image']}x{result['image']}")


def _train(arguments: argparse.Namespace) -> None:
    from evo_nas.commands.cell_sources import best_of_run, cells_named
    from evo_nas.commands.train import Wanted, default_folder, plan_top, planned, train_one, train_top

    wanted = Wanted(
        cells_per_stack=arguments.cells,
        settings=tuple(arguments.set),
        **{
            name: getattr(arguments, name)
            for name in ("preset", "dataset", "macro", "size", "filters", "stem", "skip_reduction_input", "image")
        },
        **{name: getattr(arguments, name) for name in ("epochs", "train_images", "validation_images", "seed", "start")},
    )
    if arguments.top is not None:
        if arguments.source is None or arguments.cell or arguments.trial:
            raise UsageError("--top takes the best of a run: name its folder, and no cell or trial")
        run = Path(arguments.source)
        sources = best_of_run(run, arguments.top)
        tasks = plan_top(sources, wanted, arguments.device)
        place = _training_place(arguments, sources[0])
        name = f"{run.resolve().name}-top{arguments.top}"
        path = arguments.train_dir or default_folder(name, tasks[0].dataset, wanted.seed)
        results = _trained(arguments, path, lambda hear: train_top(tasks, path, place, hear))
    else:
        named = arguments.source is not None or arguments.cell is not None or arguments.start is None
        source = cells_named(arguments.source, arguments.cell, arguments.trial) if named else None
        task = planned(source, wanted, arguments.device)
        place = _training_place(arguments, source)
        path = arguments.train_dir or default_folder(task.label, task.dataset, task.seed)
        results = _trained(arguments, path, lambda hear: [train_one(task, path, place, hear)])
    _print_results(arguments, path, results)


def _training_place(arguments: argparse.Namespace, source: Source | None) -> Place:
    from evo_nas.system.resources import usable_cores
    from evo_nas.training.resumable import Place

    data_dir = arguments.data_dir
    if data_dir is None and arguments.dataset is None and source is not None:
        data_dir = source.data_dir  # where the search had its images
    return Place(arguments.device, arguments.threads or usable_cores(), data_dir, arguments.loaders)


def _trained(arguments: argparse.Namespace, path: Path, go: Callable[[Hear], list[Result]]) -> list[Result]:
    """Train, with a line per epoch on stderr; when interrupted, say how to go on."""

    def hear(task: Task, epoch: Epoch, done: int) -> None:
        accuracy = "" if epoch.accuracy is None else f"  validation {100 * epoch.accuracy:.2f} %"
        seconds = epoch.train_seconds + epoch.validation_seconds
        words = f"{task.label}: epoch {done}/{task.recipe.epochs}  loss {epoch.loss:.4f}{accuracy}  {seconds:.1f} s"
        print(words, file=sys.stderr, flush=True)

    print(f"training folder {path}", file=sys.stderr, flush=True)
    try:
        return go(hear)
    except BaseException as error:
        is_begun = (path / "train.json").exists() or (path / "top.json").exists()
        if is_begun and not isinstance(error, UsageError | RunFolderError):
            print(f"stopped; the same command goes on: {_again(arguments.words)}", file=sys.stderr)
        raise


def _print_results(arguments: argparse.Namespace, path: Path, results: Sequence[Result]) -> None:
    from evo_nas.commands.train import result_lines

    if arguments.json:
        print(json.dumps({"folder": str(path), "results": [result.to_json() for result in results]}, indent=2))
        return
    print("\n".join(result_lines(results)))
    if len(results) == 1:
        print(f"weights: {path / 'last.safetensors'}, of the best epoch: {path / 'best.safetensors'}")


def _export(arguments: argparse.Namespace) -> None:
    from evo_nas.commands.cell_sources import cells_named
    from evo_nas.commands.export.formats import Size, export, formats_named, has_random_weights, subject_of, targets

    formats = formats_named(arguments.format)
    named = arguments.source is not None or arguments.cell is not None or arguments.weights is None
    source = cells_named(arguments.source, arguments.cell, arguments.trial) if named else None
    names = ("size", "filters", "macro", "stem", "image", "channels", "classes")
    size = Size(cells_per_stack=arguments.cells, **{name: getattr(arguments, name) for name in names})
    subject = subject_of(source, arguments.weights, size, formats)
    files = targets(arguments.output, subject, formats, force=arguments.force)
    if has_random_weights(subject, formats):
        print(f"evo_nas: note: without --weights they are random, of seed {arguments.seed}", file=sys.stderr)
    export(subject, files, _dot, seed=arguments.seed)
    print("\n".join(map(str, files.values())))


def _dot(pair: CellPair) -> str:
    from analysis.cells.dot import pair_dot

    return pair_dot(pair)


def _fetch(arguments: argparse.Namespace) -> None:
    from evo_nas.data.sources.fetch import fetch

    print(fetch(arguments.dataset, arguments.data_dir, arguments.archive))


def _check(arguments: argparse.Namespace) -> None:
    from evo_nas.data.sources.check import check

    report = check(arguments.dataset, arguments.data_dir)
    print("\n".join(report.lines))
    if not report.sound:
        raise DataError("; ".join(report.faults))


def _list(arguments: argparse.Namespace) -> None:
    from evo_nas.commands.list import listing

    _print_table(listing(arguments.what))


def _print_table(rows: Mapping[str, str]) -> None:
    width = max(map(len, rows))
    for name, text in rows.items():
        print(f"{name:<{width}}  {text}")
