"""The command ``list``: the names that can be chosen, what each is, and its options with their defaults."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from evo_nas.commands.base import Parser
from evo_nas.commands.config_flags import flag_name
from evo_nas.config import FLAGS, Flag
from evo_nas.errors import UsageError
from genotypes.registry import Registry, options_of
from genotypes.zoo import CELLS, CHAINS, PYRAMIDS


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument(
        "what", type=_new_name, choices=("strategies", "spaces", "evaluators", "presets", "recipes", "cells", "options")
    )
    parser.add_argument("--markdown", action="store_true", help="options: print the page docs/reference.md")


def _new_name(text: str) -> str:
    if text == "trainings":
        raise argparse.ArgumentTypeError("trainings is now recipes: python -m evo_nas list recipes")
    return text


def run(arguments: argparse.Namespace) -> None:
    """Print the names."""
    if arguments.markdown:
        if arguments.what != "options":
            raise UsageError(f"--markdown is for `list options`, not for `list {arguments.what}`")
        print(reference(), end="")
        return
    _print_table(listing(arguments.what))


def _print_table(rows: Mapping[str, str]) -> None:
    width = max(map(len, rows))
    for name, text in rows.items():
        print(f"{name:<{width}}  {text}")


def listing(what: str) -> dict[str, str]:
    """Return name -> description for strategies, spaces, evaluators, presets, recipes, cells or options."""
    if what == "options":
        return {f"{table}.{name}": _flag_words(name, flag) for table in FLAGS for name, flag in FLAGS[table].items()}
    if what == "presets":
        from evo_nas.evaluators.detection.presets import PRESETS as OF_DETECTORS
        from evo_nas.evaluators.proxy.presets import PRESETS

        return {name: preset.summary() for name, preset in PRESETS.items()} | {
            f"{name} (detection)": preset.summary() for name, preset in OF_DETECTORS.items()
        }
    if what == "recipes":
        from evo_nas.training.recipes import RECIPES

        return {name: preset.summary() for name, preset in RECIPES.items()}
    if what == "cells":
        chain = "chain of {} blocks in {} stages, a classifier or the backbone of a detector"
        return {
            **{name: _counts(name) for name in CELLS},
            **{
                name: f"feature pyramid of {len(pyramid.merges)} merging cells, for detectors"
                for name, pyramid in PYRAMIDS.items()
            },
            **{name: chain.format(len(one.blocks), len(one.stages)) for name, one in CHAINS.items()},
        }
    catalogue = _catalogues()[what]
    return {name: _describe(catalogue.find(name)) for name in catalogue}


def reference() -> str:
    """Return the page of all options, docs/reference.md: those with a flag, then those of each part."""
    lines = [
        "# Options",
        "",
        "Every option of a search. A flag goes before a variable, a variable before a field of the TOML",
        "file (`--config`). `--set TABLE.FIELD=VALUE` reaches every field, also one without a flag.",
        "",
        "This page is written by `python -m evo_nas list options --markdown`.",
    ]
    for table, flags in FLAGS.items():
        lines += [
            "",
            f"## `[{table}]`",
            "",
            "| field | flag | variable | default | what it does |",
            "| --- | --- | --- | --- | --- |",
        ]
        for name, flag in flags.items():
            cells = [
                f"`{name}`",
                f"`{_spell_flag(name, flag)}`",
                f"`EVO_NAS_{name.upper()}`",
                flag.default or "",
                flag.help,
            ]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells).rstrip() + " |")
    for what, catalogue in _catalogues().items():
        lines += ["", f"## Options of {what}", "", "| name | options and their defaults |", "| --- | --- |"]
        for name in catalogue:
            options = ", ".join(
                f"`{key}={_spell_value(value)}`" for key, value in options_of(catalogue.find(name)()).items()
            )
            lines.append(f"| `{name}` | {options or 'none'} |")
    return "\n".join([*lines, ""])


def _catalogues() -> dict[str, Registry[Any]]:
    """Return the families whose members have options; imported here, so that the help stays light."""
    from evo_nas.evaluators.catalogue import EVALUATORS
    from genotypes.catalogue import SPACES
    from strategies.catalogue import STRATEGIES

    return {"strategies": STRATEGIES, "spaces": SPACES, "evaluators": EVALUATORS}


def _flag_words(name: str, flag: Flag) -> str:
    """Return the flag, its variable, and what it does."""
    default = "" if flag.default is None else f" (default: {flag.default})"
    return f"{_spell_flag(name, flag)}, EVO_NAS_{name.upper()}: {flag.help}{default}"


def _spell_flag(name: str, flag: Flag) -> str:
    return " ".join(filter(None, [flag_name(name, flag), flag.metavar]))


def _describe(kind: type) -> str:
    """Return the first sentence of a class and its options with their defaults."""
    sentence = (kind.__doc__ or "").strip().splitlines()[0]
    options = ", ".join(f"{name}={_spell_value(value)}" for name, value in options_of(kind()).items())
    return f"{sentence} Options: {options}" if options else sentence


def _spell_value(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _counts(name: str) -> str:
    pair = CELLS[name]
    normal, reduction = (len(cell.blocks) for cell in (pair.normal, pair.reduction))
    return f"normal cell of {normal} blocks, reduction cell of {reduction}"
