"""The command ``study``: strategies compared over many seeds."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evo_nas.commands.base import Parser, add_json, add_output, spell_command, translate_errors, whole
from evo_nas.commands.compare import print_comparison
from evo_nas.commands.config_flags import add_flags, add_science, read_flags
from evo_nas.config import read_setting
from evo_nas.errors import StudyFailed, UsageError
from evo_nas.system.atomic import require_writable
from evo_nas.system.terminal import RenewedLine, duration
from genotypes.genotype import shorten

if TYPE_CHECKING:
    from evo_nas.studies import RunResult

_FAILURES_NAMED: Final = 10

EPILOG = """\
examples:
  python -m evo_nas study --strategies random,evolution --seeds 20 --trials 500 --evaluator toy --jobs 2
  python -m evo_nas study --strategies 'evolution(population=20,sample=5),evolution(population=50,sample=10)' ...

A run for each strategy and seed, in folders of their own below the study's; the same command again goes on where it
stopped, and more --seeds, --trials or --strategies add to it. Options of strategies (--population, --set strategy.x=y)
go to all that have them. What is printed is the table of compare; docs/study.md says what the numbers mean."""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--strategies", metavar="LIST", help="names with commas; options in brackets: 'rl,rl(batch=10)'"
    )
    parser.add_argument("--seeds", metavar="N", type=whole(10**6), default=10, help="runs per strategy (default: 10)")
    parser.add_argument("--first-seed", metavar="K", type=whole(2**62, 0), default=0, help="first seed (default: 0)")
    add_flags(parser, "run", ("trials",))
    parser.add_argument("--jobs", metavar="J", type=whole(1024), default=1, help="runs at a time (default: 1)")
    add_science(parser)
    add_flags(parser, "hardware", ("device", "data_dir", "keep_weights", "tracker"))
    parser.add_argument("--study-dir", metavar="DIR", type=Path, help="folder of the study (default: runs/study-...)")
    add_json(parser)
    add_output(parser, "picture to write (default: STUDY/figures/study.png)")


def run(arguments: argparse.Namespace) -> None:
    """Run what is missing of the study, and print its table."""
    from evo_nas.studies import list_open_tasks, open_study, plan_study, run_all

    if not arguments.strategies:
        raise UsageError("name the strategies to compare with --strategies, as in --strategies random,evolution")
    if arguments.output is not None:
        from analysis.plots.files import picture_files

        with translate_errors():
            for file in picture_files(arguments.output):  # what is wrong is better said now than after all runs
                require_writable(file)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    study = plan_study(
        parse_strategies(arguments.strategies),
        read_flags(arguments),
        seeds=seeds,
        settings=arguments.set,
        file=arguments.config,
    )
    path = arguments.study_dir or study.default_folder
    with open_study(study, path) as study:
        tasks = list_open_tasks(study, path)
        progress = StudyProgress(f"study {path}: {', '.join(study.labels)}", len(study.labels) * len(seeds), len(tasks))
        try:
            ended = run_all(tasks, arguments.jobs, progress)
        except BaseException:
            progress.close()
            print(f"stopped; resume with: {spell_command(arguments.words)}", file=sys.stderr)
            raise
        progress.close()
        failed = [run for run in ended if run.error is not None]
        for run in failed[:_FAILURES_NAMED]:
            print(f"evo_nas: {run.label} seed {run.seed} failed: {run.error}", file=sys.stderr)
        runs = len(study.labels) * len(seeds)
        if len(failed) < runs:
            _report_study(arguments, path, study.labels, seeds, study.config.run.trials)
    if failed:
        again = spell_command(arguments.words)
        raise StudyFailed(
            f"{len(failed)} of {runs} runs failed; the same command resumes them: {again}",
            exit_code=max(run.exit_code for run in failed),
        )


def _report_study(arguments: argparse.Namespace, path: Path, labels: Sequence[str], seeds: range, trials: int) -> None:
    """Compare the finished runs as ``compare`` does, and draw their curves."""
    from analysis.plots.compare_report import compare_study

    with translate_errors():
        comparison = compare_study(path, arguments.output, strategies=labels, seeds=seeds, trials=trials)
    print_comparison(comparison, arguments.json)


class StudyProgress:
    """Says of each run of a study how it ended as it does, and how long the rest may take."""

    def __init__(self, title: str, runs: int, unfinished: int) -> None:
        self._line = RenewedLine()
        self._start = time.monotonic()
        self._runs, self._before, self._done = runs, runs - unfinished, 0
        before = f", {self._before} of them finished" if self._before else ""
        self._line.say(f"{title}; {runs} runs{before}", always=True)

    def __call__(self, ended: RunResult, left: int) -> None:
        """Print how one run ended, and how many are left."""
        self._done += 1
        how = f"ended ({ended.reason})" if ended.reason else "failed"
        words = [f"{self._before + self._done}/{self._runs} runs", f"{ended.label} seed {ended.seed} {how}"]
        if ended.best is not None:
            words.append(f"best {100 * ended.best:.2f} %")
        if left:
            words.append(f"ETA {duration((time.monotonic() - self._start) / self._done * left)}")
        self._line.say("  ".join(words), always=not left)

    def close(self) -> None:
        """Release the terminal."""
        self._line.close()


def parse_strategies(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Read a list of strategies, each with options of its own in brackets if it has any: name, options.

    As in ``random,evolution(population=20,sample=5),my_strategy:HillClimbing``.

    Raises:
        UsageError: if there is none, or a bracket or an option is misspelt.
    """
    strategies = []
    for word in split_strategies(text):
        match = re.fullmatch(r"(?P<name>[^()]+?)\s*(?:\((?P<options>[^()]*)\))?", word)
        if match is None:
            raise UsageError(f"--strategies: write options as in 'evolution(population=20)', not {shorten(word)!r}")
        options = list(filter(None, map(str.strip, (match["options"] or "").split(","))))
        if wrong := [option for option in options if not re.fullmatch(r"\w+\s*=.*", option)]:
            raise UsageError(f"--strategies: an option is NAME=VALUE, not {shorten(wrong[0])!r}")
        settings = [read_setting(f"strategy.{option}") for option in options]
        strategies.append((match["name"], {name: value for _, name, value in settings}))
    if not strategies:
        raise UsageError("name the strategies to compare with --strategies, as in --strategies random,evolution")
    return strategies


def split_strategies(text: str) -> list[str]:
    """Split a list of strategies at its commas, but for those in brackets."""
    return list(filter(None, map(str.strip, re.findall(r"(?:[^,()]|\([^()]*\))+|[()]", text))))
