"""The common parts of commands: the parser, types of arguments, shared flags, and errors as exit codes."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

from evo_nas import config
from evo_nas.errors import DataError, EvoNasError, UsageError
from evo_nas.storage.run_folder import RECORDS
from genotypes.genotype import printable


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, and takes no abbreviated flags."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def refuse_old_flags(self, words: Sequence[str]) -> None:
        """End with exit code 2 if a flag has another name now, and say which."""
        for word in words:
            old = word.partition("=")[0]
            new = RENAMED.get(old)
            if new and new.split()[0] in self._option_string_actions and old not in self._option_string_actions:
                self.error(f"{old} is now {new}")

    def error(self, message: str) -> NoReturn:
        """End with one line on stderr and exit code 2."""
        self.exit(2, f"evo_nas: {printable(message)} (see {self.prog} --help)\n")


RENAMED: Final = {
    "--cells": "--cells-per-stack",
    "--image": "--image-size",
    **{f"--{old.replace('_', '-')}": f"--{new.replace('_', '-')}" for old, new in config.RENAMED.items()},
    "--tensorboard": "--tracker tensorboard",
    "--no-tensorboard": "--tracker none",
}
"""Old name of a flag -> its name now."""


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the flag for output that programs read."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_output(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the file to write."""
    parser.add_argument("-o", "--output", metavar="FILE", type=output_file, help=text)


def add_costs(parser: argparse.ArgumentParser) -> None:
    """Add what a Pareto front weighs the fitness against."""
    parser.add_argument(
        "--costs",
        metavar="LIST",
        type=name_list,
        default=(),
        help="front: metrics, the smaller the better (default: the run's, else mult_adds)",
    )


def add_cells(parser: argparse.ArgumentParser) -> None:
    """Add the ways to say which cells, or which widths, are meant."""
    parser.add_argument(
        "source", nargs="?", help="run folder, genotype text, or JSON file of a genotype, a pair of cells or widths"
    )
    parser.add_argument("--cell", metavar="NAME", help="a published cell: see list cells")
    parser.add_argument("--trial", metavar="ID", type=whole(10**9), help="of a run: this trial, not the best")
    parser.add_argument("--network", metavar="NAME", help="of widths: your own package.module:make, if it is one")


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add a trained network, and where it runs; the images that it is shown follow as positional arguments."""
    parser.add_argument("weights", metavar="WEIGHTS", type=Path, help="trained network: best.safetensors of a training")
    parser.add_argument("--network", metavar="NAME", help="your own package.module:make, if the network is of it")
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    parser.add_argument("--threads", metavar="T", type=whole(1024), help="threads (default: the cores)")


def add_size(parser: argparse.ArgumentParser, macro: str | None = "cifar") -> None:
    """Add the ways to say how large a network is."""
    parser.add_argument("--macro", metavar="NAME", default=macro, help="small images, cifar (default), or imagenet")
    parser.add_argument("--size", metavar="N@P", help="cells per stack and penultimate filters, as in 6@4032; or")
    parser.add_argument("--cells-per-stack", metavar="N", type=whole(200), help="normal cells per stack")
    parser.add_argument("--filters", metavar="F", type=whole(10**5), help="filters of the first stack")
    parser.add_argument(
        "--stem", metavar="S", type=whole(10**6), help="filters of the stem (default: 3F; imagenet: as published)"
    )


def output_file(text: str) -> Path:
    """Read the name of a file to write: never one of those that a run, a study or a training is made of."""
    path = Path(text)
    if not path.name:
        raise argparse.ArgumentTypeError("names no file")
    if path.name in RECORDS and path.exists():
        raise argparse.ArgumentTypeError(f"{text} is the record of a run and is not written over: name another file")
    return path


def whole(largest: int, least: int = 1) -> Callable[[str], int]:
    """Make a reader of whole numbers from ``least`` to ``largest``."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= largest):
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {largest}, not {text[:40]!r}")
        return int(text)

    return read


def fraction(text: str) -> float:
    """Read a fraction in [0, 1]."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a fraction from 0 to 1, as in 0.9, not {text[:40]!r}")
    return value


def name_list(text: str) -> tuple[str, ...]:
    """Read a list of names with commas, each of them once."""
    return tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))


def time_span(text: str) -> float | str:
    """Read a duration in seconds: ``90``, ``1.5``, ``45m``, ``2h30m``, ``1d``; ``none`` for no limit."""
    if text.lower() == "none":
        return "none"
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d*)?)s?)?", text, re.ASCII)
    if not text or match is None or len(text) > 20:
        raise argparse.ArgumentTypeError(f"must be a duration such as 90, 45m, 2h30m or 1d, not {text[:40]!r}")
    return sum(float(n or 0) * unit for n, unit in zip(match.groups(), (86_400, 3600, 60, 1), strict=True))


def spell_command(words: Sequence[str]) -> str:
    """Spell the command that was typed, ready to be pasted into a shell."""
    return shlex.join(["python", "-m", "evo_nas", *words])


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn what analysis raises into errors with exit codes: a value that cannot be, an unwritable picture."""
    try:
        yield
    except EvoNasError:  # such as HistoryError, which is a ValueError too
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise cannot_write(error) from error


def refuse_unread(faults: Sequence[str], count: int) -> None:
    """Raise if some of ``count`` images could not be read; called when the others are done.

    Raises:
        DataError: with the first few of the faults.
    """
    if faults:
        from evo_nas.data.sources.layout import some

        raise DataError(f"{len(faults)} of {count} images cannot be read: {some(faults)}")


def cannot_write(error: OSError) -> UsageError:
    """Return the error that says which file cannot be written, and why."""
    reason = error.strerror or str(error)
    return UsageError(f"cannot write {error.filename or 'the file'}: {reason}; name another place with -o FILE")
