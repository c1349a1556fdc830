"""The agent of ``measure --listen``: it times ONNX models that are sent to it over HTTP. It runs no code.

``GET /device`` answers what the machine is, and ``POST /measure?threads=T&batch=B&repeats=R`` with a model as its body
how long an inference takes; both as JSON, and only to those that send the token. One model is timed at a time, in a
process of its own, which is ended when it takes too long.
"""

from __future__ import annotations

import hmac
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Lock
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from evo_nas.evaluators.devices.timing import TimingSettings, describe_device
from genotypes.genotype import printable, shorten

_PATIENCE: Final = 30.0
"""Seconds that a client may be silent, or take for its headers."""

_LINGER: Final = 2.0
"""Seconds for which the rest of a refused request is read."""

_QUEUE: Final = 300.0
"""Seconds that a request waits for those before it, before it is told to come again."""

_CONNECTIONS: Final = 32
"""Connections that are served at a time; more are closed at once."""


@dataclass(frozen=True)
class AgentLimits:
    """Limits of an agent: bytes of the largest model, and seconds for a measurement or for a model to arrive."""

    model: int = 1 << 28
    seconds: float = 120.0


class _Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Agent(ThreadingHTTPServer):
    """A server that times models for those who know the token; ``tell`` takes a line per request.

    Raises:
        OSError: if nobody can listen there.
    """

    daemon_threads = True

    def __init__(self, place: tuple[str, int], token: str, limits: AgentLimits, tell: Callable[[str], None]) -> None:
        self.token, self.limits, self.tell = token, limits, tell
        self.device = describe_device()
        self.is_measuring = Lock()
        self._places = BoundedSemaphore(_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        super().__init__(place, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread, unless too many are open."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, and free its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print one line for what went wrong with a connection."""
        self.tell(f"{client_address[0]}: {shorten(repr(sys.exception()), 120)}")


class _Handler(BaseHTTPRequestHandler):
    server: Agent
    timeout = _PATIENCE
    server_version, sys_version = "evo_nas", ""

    def do_GET(self) -> None:
        """Answer what the machine is."""
        self._answer(self._describe)

    def do_POST(self) -> None:
        """Time the model that is the body."""
        self._answer(self._measure)

    def log_message(self, format: str, *words: Any) -> None:
        """Print nothing: the answer prints its own line."""

    def _answer(self, work: Callable[[], dict[str, Any]]) -> None:
        self.close_connection = True
        try:
            self._check_token()
            status, answer = 200, work()
        except _Refusal as refusal:
            status, answer = refusal.status, {"error": str(refusal)}
        body = json.dumps(answer).encode()
        self.server.tell(f"{self.client_address[0]}: {status} {shorten(printable(body.decode()), 200)}")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if status != 200 and self.command == "POST":
            self._drain()

    def _drain(self) -> None:
        """Read for a moment what a client still sends: a connection closed on it would lose the answer on its way."""
        end = time.monotonic() + _LINGER
        self.connection.settimeout(_LINGER)
        with suppress(OSError):
            while time.monotonic() < end and self.rfile.read1(1 << 20):
                pass

    def _check_token(self) -> None:
        given = self.headers.get("Authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, f"Bearer {self.server.token}".encode()):
            raise _Refusal(401, "the token is missing or another one")

    def _describe(self) -> dict[str, Any]:
        if urlsplit(self.path).path != "/device":
            raise _Refusal(404, "there are GET /device and POST /measure")
        return {"device": self.server.device, "largest": self.server.limits.model}

    def _measure(self) -> dict[str, Any]:
        asked = urlsplit(self.path)
        if asked.path != "/measure":
            raise _Refusal(404, "there are GET /device and POST /measure")
        settings = _read_settings(asked.query)
        content = self._receive()
        if not self.server.is_measuring.acquire(timeout=_QUEUE):
            raise _Refusal(503, "others are being measured: try again later")
        try:
            return time_apart(content, settings, self.server.limits.seconds)
        finally:
            self.server.is_measuring.release()

    def _receive(self) -> bytes:
        """Return the body, which says how long it is, is not too long, and does not take too long."""
        length, limits = self.headers.get("Content-Length", ""), self.server.limits
        if not (length.isascii() and length.isdecimal() and len(length) < 20):
            raise _Refusal(411, "a model is sent with its length")
        if int(length) > limits.model:
            raise _Refusal(413, f"the model has {int(length):,} bytes, and this agent takes {limits.model:,}")
        end, content = time.monotonic() + limits.seconds, bytearray()
        while len(content) < int(length):
            if time.monotonic() > end:
                raise _Refusal(408, f"the model did not arrive within {limits.seconds:g} s")
            try:
                part = self.rfile.read1(min(1 << 20, int(length) - len(content)))
            except TimeoutError:
                part = b""
            if not part:
                raise _Refusal(400, "the model was cut short")
            content += part
        return bytes(content)


def _read_settings(query: str) -> TimingSettings:
    """Read the settings of a measurement from the query of an address."""
    try:
        given = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=10))
        if unknown := given.keys() - TimingSettings.ranges.keys():
            raise ValueError(f"there is no setting {shorten(min(unknown), 30)}")
        if odd := [value for value in given.values() if not (value.isascii() and value.isdecimal() and len(value) < 9)]:
            raise ValueError(f"settings are whole numbers, not {shorten(odd[0], 30)!r}")
        return TimingSettings(**{name: int(value) for name, value in given.items()})
    except ValueError as error:
        raise _Refusal(400, str(error)) from error


def time_apart(content: bytes, settings: TimingSettings, seconds: float) -> dict[str, Any]:
    """Time a model in a process of its own, and return the answer.

    Raises:
        _Refusal: if the model is refused, takes its process down, or takes longer than so many seconds.
    """
    program = _START.format(path=[path for path in sys.path if path])
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-c", program, json.dumps(asdict(settings))],
                input=content,
                capture_output=True,
                timeout=seconds,
                cwd=folder,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _Refusal(422, f"the model was not measured within {seconds:g} s") from error
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        raise _Refusal(422, f"the model took its process down (exit code {done.returncode})") from error
    if "error" in answer:
        raise _Refusal(422, answer["error"])
    return answer


_START: Final = (
    "import sys; sys.path[:] = {path!r}; from evo_nas.evaluators.devices.timing import answer_on_stdout; "
    "answer_on_stdout(sys.argv[1])"
)
"""Program of the process: it finds our modules where we found them, from an empty folder."""
