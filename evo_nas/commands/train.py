"""The command ``train``: cells at their final size or found widths, one network or a run's best."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evo_nas.commands.base import Parser, add_cells, add_json, add_size, spell_command, whole
from evo_nas.commands.confusion_lines import draw_confusion_file
from evo_nas.commands.precision_lines import draw_precision_file, spell_share
from evo_nas.errors import RunFolderError, UsageError
from genotypes.genotype import printable

if TYPE_CHECKING:
    from evo_nas.commands.cell_sources import CellSource
    from evo_nas.commands.training_plan import OnEpoch
    from evo_nas.training.loop import Epoch
    from evo_nas.training.resumable import Result
    from evo_nas.training.train_task import TrainPlacement, TrainTask

EPILOG = """\
examples:
  python -m evo_nas train runs/RUN --preset cpu --data-dir DATA
  python -m evo_nas train runs/RUN --top 5 --preset cifar-short
  python -m evo_nas train runs/RUN --top 2 --from supernet
  python -m evo_nas train --cell nasnet-a --size 6@768 --preset cifar-paper --device cuda
  python -m evo_nas train --cell nas-fpn --dataset plates
  python -m evo_nas train --neck fpn --backbone torchvision:resnet18 --dataset voc --data-dir DATA
  python -m evo_nas train --from runs/train-A/last.safetensors --dataset folder --data-dir IMAGES --image-size 64

The same command resumes a training that was stopped.
"""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    add_cells(parser)
    parser.add_argument("--top", metavar="K", type=whole(10**4), help="of a run: the K best, one after another")
    parser.add_argument("--preset", metavar="NAME", help="a name of `list recipes` (default: by device)")
    add_size(parser, macro=None)
    parser.add_argument(
        "--skip-reduction-input",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="after a reduction, read what it read as h_i-1 (default: as published)",
    )
    parser.add_argument("--neck", metavar="NAME", help="of a detector, instead of a pyramid: none or fpn")
    parser.add_argument("--backbone", metavar="NAME", help="of a detector: full, thin, torchvision:resnet18, ...")
    parser.add_argument("--image-size", metavar="PIXELS", type=whole(1024), help="side of the images (default: preset)")
    parser.add_argument("--dataset", metavar="NAME", help="cifar10, folder, plates, voc, ... (default: the run's)")
    parser.add_argument("--epochs", metavar="E", type=whole(10**5), help="epochs (default: preset)")
    parser.add_argument("--train-images", metavar="N", type=whole(10**9, 0), help="of the train part; 0 for all")
    parser.add_argument("--validation-images", metavar="N", type=whole(10**9, 0), help="held out of the train part")
    parser.add_argument(
        "--policy", metavar="LIST", help="randaugment or trivialaugment; mixup, cutmix; with commas (default: none)"
    )
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="set any number of the recipe")
    parser.add_argument("--seed", metavar="K", type=whole(2**62, 0), default=0, help="of everything random (0)")
    parser.add_argument(
        "--from",
        dest="start",
        metavar="FILE",
        type=Path,
        help="begin with the weights of a safetensors file; or `supernet`: of a run, with those that it found there",
    )
    parser.add_argument(
        "--train-dir", metavar="DIR", type=Path, help="folder of the training (default: runs/train-...)"
    )
    _add_place(parser)
    add_json(parser)


def _add_place(parser: argparse.ArgumentParser) -> None:
    """Add where a training runs."""
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    parser.add_argument("--threads", metavar="T", type=whole(1024), help="threads (default: the cores)")
    parser.add_argument(
        "--processes", metavar="P", type=whole(64), default=1, help="on the CPU: each has its share of a batch (1)"
    )
    parser.add_argument("--loaders", metavar="L", type=whole(1024, 0), default=0, help="processes that read files")
    parser.add_argument("--data-dir", metavar="DIR", type=Path, help="where image sets lie")


def run(arguments: argparse.Namespace) -> None:
    """Train, and print the results."""
    from evo_nas.commands.cell_sources import best_of_run, find_design
    from evo_nas.commands.inherited import SUPERNET, write_heritage
    from evo_nas.commands.train_options import TrainOptions
    from evo_nas.commands.training_plan import (
        default_folder,
        plan_top,
        plan_training,
        train_one,
        train_top,
    )
    from evo_nas.phenotypes.named import refuse_foreign

    wanted = TrainOptions(
        image=arguments.image_size,
        cells_per_stack=arguments.cells_per_stack,
        settings=tuple(arguments.set),
        **{
            name: getattr(arguments, name)
            for name in (
                *("preset", "dataset", "macro", "size", "filters", "stem", "skip_reduction_input", "network", "neck"),
                *("epochs", "train_images", "validation_images", "seed", "start", "backbone", "policy", "processes"),
            )
        },
    )
    inherits = wanted.start == SUPERNET
    if inherits and (arguments.source is None or not (Path(arguments.source) / "history.db").is_file()):
        raise UsageError("--from supernet takes the weights that a run found on a supernet: name the folder of a run")
    if arguments.top is not None:
        if arguments.source is None or arguments.cell or arguments.trial:
            raise UsageError("--top takes the best of a run: name its folder, and no cell or trial")
        run = Path(arguments.source)
        sources = best_of_run(run, arguments.top)
        for each in sources:
            refuse_foreign(each.design, arguments.network)
        starts = write_heritage(run, sources, arguments.device) if inherits else []
        tasks = plan_top(sources, wanted, arguments.device, starts)
        place = _place_of(arguments, sources[0])
        name = f"{run.resolve().name}-top{arguments.top}"
        path = arguments.train_dir or default_folder(name, tasks[0].dataset, wanted.seed)
        results = _train_aloud(arguments, path, tasks, lambda hear: train_top(tasks, path, place, hear))
    else:
        named = arguments.source is not None or arguments.cell is not None or arguments.start is None
        named = named and not (arguments.neck and arguments.source is None and arguments.cell is None)
        source = find_design(arguments.source, arguments.cell, arguments.trial, arguments.network) if named else None
        if inherits and source is not None:
            (start,) = write_heritage(Path(arguments.source), [source], arguments.device)
            wanted = replace(wanted, start=start)
        task = plan_training(source, wanted, arguments.device)
        place = _place_of(arguments, source)
        path = arguments.train_dir or default_folder(task.label, task.dataset, task.seed)
        results = _train_aloud(arguments, path, [task], lambda hear: [train_one(task, path, place, hear)])
    _print_results(arguments, path, results)


def _place_of(arguments: argparse.Namespace, source: CellSource | None) -> TrainPlacement:
    from evo_nas.system.resources import usable_cores
    from evo_nas.training.train_task import TrainPlacement

    data_dir = arguments.data_dir
    if data_dir is None and arguments.dataset is None and source is not None:
        data_dir = source.data_dir  # where the search had its images
    return TrainPlacement(arguments.device, arguments.threads or usable_cores(), data_dir, arguments.loaders)


def _train_aloud(
    arguments: argparse.Namespace, path: Path, tasks: Sequence[TrainTask], go: Callable[[OnEpoch], list[Result]]
) -> list[Result]:
    """Train, with a line per epoch on stderr; when interrupted, say how to go on."""

    def hear(task: TrainTask, epoch: Epoch, done: int) -> None:
        what = "validation AP" if "ap" in epoch.measures else "validation"
        accuracy = "" if epoch.score is None else f"  {what} {100 * epoch.score:.2f} %"
        seconds = epoch.train_seconds + epoch.validation_seconds
        words = f"epoch {done}/{task.recipe.epochs}  loss {epoch.loss:.4f}{accuracy}  {seconds:.1f} s"
        print(f"{printable(task.label)}: {words}", file=sys.stderr, flush=True)

    work = f"{len(tasks)} network(s), {tasks[0].recipe.epochs:,} epoch(s) each, a line after each epoch"
    print(f"training folder {path}: {work}", file=sys.stderr, flush=True)
    try:
        return go(hear)
    except BaseException as error:
        is_begun = (path / "train.json").exists() or (path / "top.json").exists()
        if is_begun and not isinstance(error, UsageError | RunFolderError):
            print(f"stopped; the same command goes on: {spell_command(arguments.words)}", file=sys.stderr)
        raise


def _print_results(arguments: argparse.Namespace, path: Path, results: Sequence[Result]) -> None:
    if arguments.json:
        print(json.dumps({"folder": str(path), "results": [result.to_json() for result in results]}, indent=2))
        return
    print("\n".join(result_lines(results)))
    for name, draw in (("precision.json", draw_precision_file), ("confusion.json", draw_confusion_file)):
        for file in sorted(path.rglob(name)):  # of several trainings, that of the winner alone
            print(*draw(file), sep="\n")
    folder = path if arguments.top is None else _find_folder(path, results[0])
    best = folder / "best.safetensors"
    print(f"weights: {folder / 'last.safetensors'}, of the best epoch: {best}")
    print("\nnext:")
    named = shlex.quote(str(best))
    print(f"  python -m evo_nas {'detect' if results[0].goal == 'ap' else 'predict'} {named} IMAGES")
    print(f"  python -m evo_nas export --weights {named} --format onnx")


def _find_folder(path: Path, result: Result) -> Path:
    """Return the folder of one of several trainings, ``03-trial17`` of the trial 17."""
    return next(path.glob(f"*-{result.label.rpartition('-')[2]}"))


def result_lines(results: Sequence[Result]) -> Iterator[str]:
    """Write a table of results, the winner first."""
    width = max(len("network"), *(len(result.label) for result in results))
    first, second = ("validation AP", "test AP") if results[0].goal == "ap" else ("validation", "test")
    yield f"{'network':<{width}}  {'parameters':>11}  {'epochs':>6}  {first:>10}  {second:>8}  {'seconds':>9}"
    for result in results:
        validation, test = spell_share(result.validation_accuracy), spell_share(result.test_accuracy)
        yield (
            f"{result.label:<{width}}  {result.parameters:>11,}  {result.epochs:>6}  {validation:>{len(first)}}  "
            f"{test:>8}  "
            f"{result.seconds:>9.1f}"
        )
