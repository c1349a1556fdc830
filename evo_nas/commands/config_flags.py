"""The flags of a search, which several commands have: made from the fields of the configuration."""

from __future__ import annotations

import argparse
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias

from evo_nas.commands.base import name_list, time_span
from evo_nas.config import BUDGET, FLAGS, Flag

FlagTaker: TypeAlias = argparse.ArgumentParser | argparse._ArgumentGroup
"""A parser, or a group of its flags below a heading of their own in ``--help``."""

MEASURED_ON_REQUEST: Final = ("latency", "ort_latency")
"""Costs that an evaluator measures only if its option of that name is true."""


def add_science(parser: argparse.ArgumentParser) -> None:
    """Add what decides a search, but for strategy and seed."""
    add_flags(parser.add_argument_group("the search"), "run", but=("strategy", "seed", *BUDGET))
    add_flags(parser.add_argument_group("the evaluator"), "evaluator")
    strategy = parser.add_argument_group("the strategy")
    add_flags(strategy, "strategy")
    strategy.add_argument(
        "--cost",
        metavar="LIST",
        dest="set",
        action=_WeighCosts,
        default=[],
        help="evolution: search the front of fitness and these costs: mult-adds, parameters, latency, ort-latency, or "
        "any metric (sets objective, costs and what measures them)",
    )
    every = parser.add_argument_group("every option")
    every.add_argument("--config", metavar="FILE", type=Path, help="TOML file with the tables of a run.toml")
    every.add_argument("--set", metavar="TABLE.FIELD=VALUE", action="append", default=[], help="set any option")


class _WeighCosts(argparse.Action):
    """Turns names of costs into the settings of strategy and evaluator that a search for their front needs."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        """Append the settings to those of ``--set``."""
        names = [name.replace("-", "_") for name in name_list(values)]
        if not names:
            parser.error("argument --cost: name at least one cost, as in ort-latency")
        settings = ["strategy.objective=pareto", f"strategy.costs={','.join(names)}"]
        settings += [f"evaluator.{name}=true" for name in names if name in MEASURED_ON_REQUEST]
        namespace.set = [*(namespace.set or []), *settings]


def add_budget_and_hardware(parser: argparse.ArgumentParser) -> None:
    """Add what may differ between two parts of one run."""
    add_flags(parser.add_argument_group("the budget"), "run", BUDGET)
    add_flags(parser.add_argument_group("the machine"), "hardware")


def add_flags(parser: FlagTaker, table: str, names: Iterable[str] | None = None, but: Container[str] = ()) -> None:
    """Add the flags of a table of the configuration, or those of these names."""
    for name in FLAGS[table] if names is None else names:
        if name not in but:
            _add_flag(parser, name, FLAGS[table][name])


def _add_flag(parser: FlagTaker, name: str, flag: Flag) -> None:
    """Add one flag; without it the value is ``None``."""
    text = flag.help if flag.default is None else f"{flag.help} (default: {flag.default})"
    if flag.metavar is not None:
        kind = time_span if flag.is_time else str
        number = "+" if flag.is_list else None
        parser.add_argument(flag_name(name, flag), metavar=flag.metavar, type=kind, nargs=number, help=text)
    elif flag.is_off:
        parser.add_argument(flag_name(name, flag), dest=name, action="store_false", default=None, help=text)
    else:
        parser.add_argument(flag_name(name, flag), action=argparse.BooleanOptionalAction, default=None, help=text)


def flag_name(name: str, flag: Flag) -> str:
    """Spell the flag of a field."""
    return f"--{'no-' if flag.is_off else ''}{name.replace('_', '-')}"


def read_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Pick the arguments that are fields of the configuration."""
    known = {name for names in FLAGS.values() for name in names}
    return {name: value for name, value in vars(arguments).items() if name in known}
