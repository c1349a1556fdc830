"""The flags of a search, which several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from evo_nas.commands.base import time_span
from evo_nas.config import FLAGS


def add_science(parser: argparse.ArgumentParser) -> None:
    """Add what decides a search, but for strategy and seed."""
    parser.add_argument("--space", metavar="NAME", help="search space, or package.module:Class (default: nasnet)")
    parser.add_argument("--evaluator", metavar="NAME", help="proxy (default), tabular, toy, or package.module:Class")
    parser.add_argument("--dataset", metavar="NAME", help="cifar10 (default), cifar100, digits, or folder")
    parser.add_argument("--preset", metavar="NAME", help="settings of the proxy trainer: digits, cpu or gpu")
    parser.add_argument(
        "--early-stopping", metavar="RULE", help="stop trainings early: none (default), median or halving"
    )
    parser.add_argument("--table", metavar="FILE", help="tabular: benchmark table, CSV or parquet")
    parser.add_argument("--column", metavar="NAME", help="tabular: column that the search sees")
    parser.add_argument("--test-column", metavar="NAME", help="tabular: column of the test fitness, never searched")
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


def add_budget_and_hardware(parser: argparse.ArgumentParser) -> None:
    """Add what may differ between two parts of one run."""
    parser.add_argument("--trials", metavar="N", help="total of trainings, failed ones counted (default: 1000)")
    parser.add_argument("--target-accuracy", metavar="A", help="end at this fitness, a fraction in [0, 1]")
    parser.add_argument("--time-limit", metavar="T", type=time_span, help="stop after T, resumable: 90, 45m, 2h30m")
    parser.add_argument("--trial-timeout", metavar="T", type=time_span, help="stop a trial that takes longer than T")
    parser.add_argument("--grace", metavar="T", type=time_span, help="time to end for trials when we stop (30 s)")
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
    add_tensorboard(parser)


def add_tensorboard(parser: argparse.ArgumentParser) -> None:
    """Add the second view of a run, for whoever has TensorBoard open anyway."""
    parser.add_argument(
        "--tensorboard",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="write events that TensorBoard shows while the search goes on, in RUN/tensorboard",
    )


def read_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Pick the arguments that are fields of the configuration."""
    known = {name for names in FLAGS.values() for name in names}
    return {name: value for name, value in vars(arguments).items() if name in known}
