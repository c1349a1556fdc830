"""The command ``measure``: how long an ONNX model takes, here or on another machine, and the agent that times there."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from evo_nas.commands.base import Parser, add_json, whole
from evo_nas.errors import DataError, UsageError
from evo_nas.system.reasons import explain
from evo_nas.system.text import open_file
from genotypes.genotype import printable, shorten

LARGEST: Final = 256
"""Megabytes (2^20 bytes) of the largest model that is measured, unless ``--largest`` says something else."""

EPILOG = """\
examples:
  python -m evo_nas measure deploy/nasnet_a.onnx --threads 4
  EVO_NAS_DEVICE_TOKEN_FILE=token python -m evo_nas measure --listen 127.0.0.1:8711        # on the device
  EVO_NAS_DEVICE_TOKEN_FILE=token python -m evo_nas measure deploy/nasnet_a.onnx --device-url http://127.0.0.1:8711

The agent runs no code: it takes ONNX models of ONNX's own operators, in one file, from those who know the token."""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument("model", metavar="MODEL", type=Path, nargs="?", help="ONNX file to time")
    parser.add_argument("--threads", metavar="T", type=whole(64), help="threads of ONNX Runtime (default: 1)")
    parser.add_argument("--batch", metavar="B", type=whole(1024), help="images at a time (default: 1)")
    parser.add_argument("--repeats", metavar="R", type=whole(1000, 2), help="inferences, at most (default: 100)")
    parser.add_argument("--device-url", metavar="URL", help="time it on the machine of an agent, as http://HOST:PORT")
    parser.add_argument("--listen", metavar="HOST:PORT", help="be the agent of this machine, until Ctrl-C")
    parser.add_argument(
        "--largest", metavar="M", type=whole(2047), default=LARGEST, help=f"megabytes of a model (default: {LARGEST})"
    )
    parser.add_argument("--limit", metavar="S", type=whole(3600), help="agent: seconds for a model (default: 120)")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the latency of a model, or be an agent."""
    from evo_nas.evaluators.devices.timing import TimingSettings, require_onnx, time_model

    named = {name: getattr(arguments, name) for name in TimingSettings.ranges}
    settings = TimingSettings(**{name: value for name, value in named.items() if value is not None})
    if arguments.listen is not None:
        given = [name for name, value in named.items() if value is not None]
        given += [name for name in ("model", "device_url") if getattr(arguments, name) is not None]
        if given:
            name = "MODEL" if given[0] == "model" else f"--{given[0].replace('_', '-')}"
            raise UsageError(f"--listen waits for the models of others: leave {name} out")
        require_onnx()
        _listen(arguments)
        return
    if arguments.limit is not None:
        raise UsageError("--limit is for the agent: name --listen too, or leave it out")
    if arguments.model is None:
        raise UsageError("name an ONNX file to time, or --listen HOST:PORT to be the agent of this machine")
    content = _read_model(arguments.model, arguments.largest << 20)
    if arguments.device_url is not None:
        from evo_nas.evaluators.devices.client import Device

        timing = Device(arguments.device_url).measure(content, settings)
    else:
        require_onnx()
        try:
            timing = time_model(content, settings)
        except DataError as error:
            raise DataError(f"{arguments.model}: {error}") from error
    told = {"model": str(arguments.model), **asdict(timing), "threads": settings.threads, "batch": settings.batch}
    if arguments.json:
        print(json.dumps(told, indent=2))
        return
    images = "an image" if settings.batch == 1 else f"{settings.batch} images"
    threads = "1 thread" if settings.threads == 1 else f"{settings.threads} threads"
    print(f"{1e3 * timing.latency:.3g} ms for {images} with {threads}: the median of {timing.repeats} inferences")
    noisy = ": noisy, measure again on an idle machine" if timing.is_noisy else ""
    print(f"spread {100 * timing.spread:.1f} % (interquartile range){noisy}")
    print(f"device {timing.device}")


def _read_model(path: Path, largest: int) -> bytes:
    """Return the bytes of a model.

    Raises:
        DataError: if it cannot be read, or has more than ``largest`` bytes.
    """
    try:
        with os.fdopen(open_file(path), "rb") as file:
            content = file.read(largest + 1)
    except (OSError, ValueError) as error:
        words = explain(error) if isinstance(error, OSError) else str(error)
        raise DataError(f"cannot read the model {path}: {words}") from error
    if len(content) > largest:
        raise DataError(f"the model {path} has more than {largest >> 20} MB: set --largest, up to 2047")
    return content


def _listen(arguments: argparse.Namespace) -> None:
    """Time models of others until a signal comes.

    Raises:
        UsageError: if nobody can listen at that place.
    """
    from evo_nas.evaluators.devices.agent import Agent, AgentLimits
    from evo_nas.evaluators.devices.client import read_token

    limits = AgentLimits(arguments.largest << 20, float(arguments.limit or AgentLimits.seconds))
    token, place = read_token(), _read_place(arguments.listen)
    try:
        agent = Agent(place, token, limits, lambda line: print(f"evo_nas: {printable(line)}", file=sys.stderr))
    except (OSError, OverflowError) as error:
        words = explain(error) if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot listen at {arguments.listen}: {words}") from error
    with agent:
        host, port = agent.server_address[:2]
        host = f"[{host!s}]" if ":" in str(host) else host
        print(f"listening at http://{host!s}:{port} for {agent.device}", flush=True)
        agent.serve_forever()


def _read_place(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``; port 0 lets the system choose.

    Raises:
        UsageError: if it is no such thing.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdecimal()) or int(port[:6]) > 65535:
        raise UsageError(f"--listen takes HOST:PORT, as in 127.0.0.1:8711, not {shorten(text)!r}")
    return host, int(port)
