"""The command ``leaderboard``: strategies of many libraries on many published tables."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evo_nas.commands.base import Parser, add_json, name_list, spell_command, translate_errors, whole
from evo_nas.commands.study import StudyProgress, parse_strategies, split_strategies
from evo_nas.errors import StudyFailed, UsageError

if TYPE_CHECKING:
    from analysis.comparison.leaderboard import Leaderboard
    from evo_nas.leaderboard import Competitor, TablePlan
    from evo_nas.studies import RunResult

_BUDGETS: Final = (25, 50, 100, 200)
"""Trials after which strategies are compared by default."""

EPILOG = """\
examples:
  python -m evo_nas leaderboard --jobs 2
  python -m evo_nas leaderboard --strategies 'random,guided,optuna(sampler=gp)@50,my_strategy:Mine' --seeds 5
  python -m evo_nas leaderboard --benchmarks nasbench201/cifar10,fcnet/slice_localization+noise

A study per table below the leaderboard's folder; the same command again goes on where it stopped, and more seeds,
trials or strategies add to it. STRATEGY@N gives one that asks slowly N trials of its own. A table with +noise draws one
seed per trial. Needs the extras benchmarks, optuna, nevergrad and hyperopt; docs/leaderboard.md says what the numbers
mean."""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--strategies", metavar="LIST", help="as of study; NAME@N has N trials (default: five libraries)"
    )
    parser.add_argument("--benchmarks", metavar="LIST", type=name_list, help="published tables (default: nine)")
    parser.add_argument("--seeds", metavar="N", type=whole(10**6), default=20, help="runs per strategy (default: 20)")
    parser.add_argument("--first-seed", metavar="K", type=whole(2**62, 0), default=0, help="first seed (default: 0)")
    parser.add_argument("--trials", metavar="N", type=whole(10**9), default=200, help="trials of a run (default: 200)")
    parser.add_argument("--jobs", metavar="J", type=whole(1024), default=1, help="runs at a time (default: 1)")
    parser.add_argument("--repeats", help="as of run: reuse or retrain (default: reuse)")
    parser.add_argument("--board-dir", metavar="DIR", type=Path, default=Path("runs/leaderboard"), help="its folder")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run what is missing, measure the asks, and write the page."""
    from evo_nas import leaderboard

    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    listed = arguments.strategies or ",".join(leaderboard.STRATEGIES)
    path = arguments.board_dir
    plans = leaderboard.plan_tables(
        arguments.benchmarks or leaderboard.TABLES,
        read_competitors(listed, arguments.trials),
        path,
        seeds=seeds,
        flags={} if arguments.repeats is None else {"repeats": arguments.repeats},
    )
    failed = 0
    try:
        costs = leaderboard.measure_costs(plans[0], path)
        for plan in plans:
            failed += leaderboard.run_table(plan, arguments.jobs, _begin)
    except BaseException:
        print(f"stopped; resume with: {spell_command(arguments.words)}", file=sys.stderr)
        raise
    with translate_errors():
        board = _measure(plans, costs)
        from analysis.report.leaderboard import write_page

        files = write_page(board, path, ["python", "-m", "evo_nas", *arguments.words])
    if arguments.json:
        print(json.dumps({**board.to_json(), "files": [str(file) for file in files]}, indent=2))
    else:
        print("\n".join([*_list_ranks(board), "", *map(str, files)]))
    if failed:
        again = spell_command(arguments.words)
        raise StudyFailed(f"{failed} runs failed; the same command resumes them: {again}", exit_code=1)


def read_competitors(text: str, trials: int) -> list[Competitor]:
    """Read a list of strategies, some with a smaller number of trials of their own: ``optuna(sampler=gp)@50``.

    Raises:
        UsageError: if there is none, one is misspelt, or its number is none from 1 to ``trials``.
    """
    from evo_nas.leaderboard import Competitor

    found = []
    for word in split_strategies(text):
        name, at, number = word.rpartition("@") if re.search(r"@[^()]*$", word) else (word, "", "")
        if at and not (number.isascii() and number.isdigit() and 1 <= int(number) <= trials):
            raise UsageError(f"--strategies: after @ stands a number of trials from 1 to {trials}, not {number!r}")
        found += [Competitor(*one, int(number) if at else trials) for one in parse_strategies(name)]
    if not found:
        raise UsageError("name the strategies to compare with --strategies, as in --strategies random,evolution")
    return found


def _begin(title: str, runs: int, unfinished: int) -> Callable[[RunResult, int], None]:
    """Begin to say how the runs of a study end."""
    progress = StudyProgress(title, runs, unfinished)

    def hear(ended: RunResult, left: int) -> None:
        progress(ended, left)
        if ended.error is not None:
            print(f"evo_nas: {ended.label} seed {ended.seed} failed: {ended.error}", file=sys.stderr)
        if not left:
            progress.close()

    if not unfinished:
        progress.close()
    return hear


def _measure(plans: Sequence[TablePlan], costs: dict[str, float]) -> Leaderboard:
    """Measure the runs of all tables at the usual budgets, and at the last trial of each strategy."""
    from analysis.comparison.leaderboard import TableRuns, measure_leaderboard

    ends = set(plans[0].trials.values())
    budgets = sorted({*(budget for budget in _BUDGETS if budget < max(ends)), *ends})
    return measure_leaderboard([TableRuns(one.table, one.optimum, one.folders) for one in plans], budgets, costs)


def _list_ranks(board: Leaderboard) -> list[str]:
    """Return the first table of the page as lines of text."""
    from analysis.comparison.wording import columns_of, fold
    from analysis.report.leaderboard import list_tables

    table = next(list_tables(board))
    longest = max(len(row[0]) for row in table.rows)
    rows = [[row[0].ljust(longest), *row[1:]] for row in (table.heads, *table.rows)]
    return [*columns_of(rows), *fold(table.text)]
