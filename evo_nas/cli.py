"""The command line: the commands, signals and exit codes. What a command does stands in its own module.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done; 1 failed; 2 usage or bad input; 3 run folder
busy, damaged or unusable; 4 data missing or damaged; 5 too many failed trials; 75 stopped by the time limit or the
scheduler; 129 by SIGHUP; 130 by Ctrl-C; 143 by SIGTERM. After the last four a search can be resumed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, Final

from evo_nas.commands.base import Parser
from evo_nas.errors import EvoNasError, UsageError
from evo_nas.system.reasons import explain
from evo_nas.system.stops import STOPS, StoppedBySignal, heed_stops, raise_stop, signal_name
from evo_nas.system.terminal import safe_streams
from evo_nas.system.version import __version__
from genotypes.genotype import printable

COMMANDS: Final = {
    "run": ("run", "search: start a new run"),
    "doctor": ("doctor.command", "say what a search would use, how long it takes, and what to change"),
    "study": ("study", "compare strategies over many seeds"),
    "leaderboard": ("leaderboard", "compare strategies of many libraries on many published tables"),
    "resume": ("resume", "continue a run where it stopped"),
    "show": ("show", "print the best cells of a run"),
    "status": ("status", "say how far a run is, or how it ended"),
    "track": ("track", "show a run to TensorBoard, MLflow, Weights & Biases or Optuna"),
    "repair": ("repair", "save what can be read of a damaged history; the old one is kept"),
    "table": ("table", "print the trials of runs, or write them"),
    "plot": ("plot", "draw what runs did, such as accuracy against samples or time"),
    "compare": ("compare", "compare strategies over their runs, and draw their best cells"),
    "report": ("report", "write what runs found as one HTML file, to look at and to pass on"),
    "diff": ("diff", "say what tells two pairs of cells apart"),
    "count": ("count", "count the parameters and mult-adds of a network"),
    "train": ("train", "train cells at their final size"),
    "prune": ("prune", "make a trained network smaller, with the weights of its strongest channels"),
    "predict": ("predict", "say what a trained network sees in images"),
    "detect": ("detect", "find objects in images with a trained detector, and draw them"),
    "export": ("export.command", "write cells and networks for other programs"),
    "measure": ("measure", "time an ONNX model here or on another machine, or be its agent"),
    "data": ("data", "fetch, split or check an image set"),
    "list": ("list", "list what can be chosen"),
}
"""Name -> module in ``evo_nas.commands``, and help. A module has ``add_arguments``, ``run``, and perhaps ``EPILOG``."""


@safe_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    if "matplotlib" not in sys.modules:
        # A notebook's backend may not be installed where we are; pictures are written, never shown.
        os.environ["MPLBACKEND"] = "agg"
    try:
        with heed_stops(_stop, raise_stop):
            words = sys.argv[1:] if argv is None else list(argv)
            parser = build_parser()
            if not words:
                parser.print_help(sys.stderr)
                return UsageError.exit_code
            arguments = parser.parse_args(words)
            arguments.words = words
            with _log_on_stderr():
                code = arguments.command(arguments) or 0
            if sys.stdout is not None:  # it can have been closed before we began
                sys.stdout.flush()
            return code
    except EvoNasError as error:
        print(f"evo_nas: {printable(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as error:
        return STOPS[signal.Signals(error.number if isinstance(error, StoppedBySignal) else signal.SIGINT)]
    except BrokenPipeError:
        # Whoever read our output has gone; keep Python from complaining once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        place = f"cannot use {error.filename}: " if error.filename else ""
        print(f"evo_nas: {printable(place + explain(error))}", file=sys.stderr)
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _stop(number: int) -> None:
    """Print that the command is stopped, before it says how to resume it, and raise."""
    with suppress(OSError):  # not print(): the main thread may be in the middle of one
        os.write(2, f"evo_nas: stopped ({signal_name(number)})\n".encode())
    raise_stop(number)


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Print what our modules log: warnings, and what takes long."""
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


class _Command(Parser):
    """The parser of one command: its module is imported when the command is chosen, and no other is."""

    def __init__(self, *, module: str, **options: Any) -> None:
        super().__init__(**options)
        self._module = module

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Add the arguments of the command, and parse."""
        if self.get_default("command") is None:
            module = import_module(f"evo_nas.commands.{self._module}")
            self.epilog = getattr(module, "EPILOG", None)
            self.set_defaults(command=module.run)
            module.add_arguments(self)
        self.refuse_old_flags(args or ())
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            from difflib import get_close_matches

            flag = unknown[0].partition("=")[0]
            near = get_close_matches(flag, self._option_string_actions, 1) if flag.startswith("--") else []
            self.error(f"unrecognized arguments: {' '.join(unknown)}{f'; did you mean {near[0]}?' if near else ''}")
        return parsed, unknown


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; what it parses has the function ``command``."""
    parser = Parser(prog="python -m evo_nas", description="Search neural network architectures.")
    parser.add_argument("--version", action="version", version=f"evo_nas {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Command)
    for name, (module, text) in COMMANDS.items():
        commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", module=module)
    return parser
