"""The command ``run``: start a search, with live progress and a summary at its end."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from evo_nas.commands.base import Parser
from evo_nas.commands.config_flags import add_budget_and_hardware, add_flags, add_science, read_flags
from evo_nas.errors import RunFolderError, UsageError
from evo_nas.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from evo_nas.commands.show import Summary
    from evo_nas.config import RunConfig
    from evo_nas.loop.listener import Listener
    from evo_nas.run.parts import Parts
    from evo_nas.run.search import Run


EPILOG = """\
examples:
  python -m evo_nas run --strategy evolution --dataset digits --trials 100 --population 20 --sample 5
  python -m evo_nas run --strategy rl --dataset cifar10 --data-dir DATA --preset cpu --workers 2 --trials 30 --batch 5
  python -m evo_nas run --strategy random --evaluator toy --trials 1000
  python -m evo_nas run --strategy guided --dataset cifar10 --preset gpu --warm-start runs/cpu runs/digits

Every flag can also be set as EVO_NAS_<FLAG> (EVO_NAS_DATA for --data-dir) or in a TOML file (--config);
a flag goes before a variable, a variable before the file. `--set TABLE.FIELD=VALUE` reaches every option:
`python -m evo_nas list strategies|spaces|evaluators|presets` names them."""


def add_arguments(parser: Parser) -> None:
    """Add the flags; those of a search are fields of :mod:`evo_nas.config`, where a new one is added."""
    add_flags(parser, "run", ("strategy", "seed"))
    add_science(parser)
    add_budget_and_hardware(parser)
    parser.add_argument("--run-dir", metavar="DIR", type=Path, help="run folder, new or empty (default: runs/<name>)")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the configuration and what it would cost, then end"
    )


def run(arguments: argparse.Namespace) -> int:
    """Start a search, and return its exit code."""
    from evo_nas.run.parts import build, load_config, new_folder
    from evo_nas.run.search import start

    if not (arguments.strategy or arguments.config or os.environ.get("EVO_NAS_STRATEGY")):
        from strategies.catalogue import STRATEGIES

        raise UsageError(f"name a strategy with --strategy: {', '.join(STRATEGIES)}, or package.module:Class")
    with ExitStack() as stack:
        # A folder that is named is locked before anything slow is imported: of two that want it, one knows at once.
        named = arguments.run_dir is not None and not arguments.dry_run
        folder = stack.enter_context(RunFolder.create(arguments.run_dir)) if named else None
        try:
            config = load_config(read_flags(arguments), settings=arguments.set, file=arguments.config)
            parts = build(config)
        except BaseException:
            if folder is not None:
                folder.discard()
            raise
        if arguments.dry_run:
            from evo_nas.commands.doctor.estimate import dry_run
            from evo_nas.run.knowledge import gather_knowledge

            print("\n".join(dry_run(config, gather_knowledge(config, parts))))
            return 0
        if 0 < config.run.trials <= parts.strategy.window:
            print(
                f"evo_nas: note: {config.run.trials} trials do not fill a population of {parts.strategy.window}, and "
                "until it is full every proposal is random; a smaller --population would change that",
                file=sys.stderr,
            )
        opened = folder or stack.enter_context(RunFolder.create(new_folder(config, parts)))

        def go(listeners: Sequence[Listener]) -> Run:
            return start(config, opened, parts, listeners=listeners, heeds_signals=True)

        return search_live(opened.path, config, parts, go)


def search_live(path: Path, config: RunConfig, parts: Parts, go: Callable[[Sequence[Listener]], Run]) -> int:
    """Search with live progress, end with a summary and the next commands to type, and give the exit code."""
    from evo_nas.commands.show import summarise
    from evo_nas.commands.status import resuming
    from evo_nas.listeners.progress import Progress
    from evo_nas.manager import MEAN_OF
    from evo_nas.signals import EXIT_CODES, EndedAtOnce
    from evo_nas.storage.endings import say_why
    from genotypes.plain import whole

    # What was chosen by default is said, the data set above all.
    options = {"data set": "dataset", "preset": "preset"}
    chosen = [f"{word} {value}" for word, name in options.items() if (value := getattr(parts.evaluator, name, None))]
    words = [config.run.strategy, config.run.space, config.run.evaluator, *chosen]
    progress = Progress(
        f"run folder {path}: {', '.join(words)}",
        config.run.trials,
        whole(parts.strategy.window) or MEAN_OF,
        target=config.run.target_accuracy,
        time_limit=config.hardware.time_limit,
        grace=config.hardware.grace,
    )
    measure = parts.evaluator.measure
    go_on = f"resume with: {resuming(path, config)}"
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
        print(f"stopped: {say_why(run.reason, measure)}; {go_on}", file=sys.stderr)
        return EXIT_CODES[run.reason]
    # The search is done and on disk: a reader of our output that has gone makes no failure of it.
    with suppress(BrokenPipeError):
        summary = summarise(run.path, top=1)
        print(f"ended: {'; '.join(filter(None, [say_why(run.reason, measure), run.advice]))}")
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
    if summary.best_widths:
        yield f"plot {path} --kind widths"
    yield f"compare {path} ANOTHER_RUN"
    if summary.top and summary.best_pair:
        yield f"count '{summary.top[0].genotype}' --cells-per-stack 6 --filters 32"
        yield f"train {path} --top 5"
