"""The client of an agent: it sends ONNX models to another machine and reads how long they take there.

What comes back is checked: an agent that is not there, refuses, is slow or answers nonsense is an error of one line.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Event, Timer
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from evo_nas.errors import DataError, UsageError
from evo_nas.evaluators.devices.timing import Timing, TimingSettings
from evo_nas.system.cache import expand_home
from evo_nas.system.reasons import explain
from evo_nas.system.text import read_text
from genotypes.genotype import printable, shorten

TOKEN: Final = "EVO_NAS_DEVICE_TOKEN"
"""Variable with the token that agent and client share."""

TOKEN_FILE: Final = "EVO_NAS_DEVICE_TOKEN_FILE"
"""Variable with the file that holds the token."""

_SHORTEST: Final = 16
"""Characters of the shortest token."""

_LONGEST_ANSWER: Final = 1 << 16
"""Bytes of the longest answer that is read."""

_GREETING: Final = 10.0
"""Seconds for a connection to be made, and for an agent to say what it is."""

_PATIENCE: Final = 600.0
"""Seconds for a model to be sent and measured, behind those of others."""

_AGES: Final = 1e6
"""A latency of so many seconds, or a spread of so many times the latency, is none."""


def read_token(environ: Mapping[str, str] = os.environ) -> str:
    """Return the token that the variables name.

    Raises:
        UsageError: if there is none, its file cannot be read, or it is too short or no plain text.
    """
    token, where = environ.get(TOKEN, "").strip(), TOKEN
    if not token and (file := environ.get(TOKEN_FILE, "")):
        where = file
        try:
            token = read_text(expand_home(Path(file)), 4096).strip()
        except (OSError, ValueError) as error:
            words = explain(error) if isinstance(error, OSError) else str(error)
            raise UsageError(f"cannot read the token in {file}: {words}") from error
    if not token:
        raise UsageError(f"a device is measured with a token: set {TOKEN}, or {TOKEN_FILE} to a file that holds it")
    if len(token) < _SHORTEST or not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(f"the token of {where} must have at least {_SHORTEST} characters of ASCII without spaces")
    return token


class Device:
    """Another machine that times models, at an address as ``http://HOST:PORT``.

    Raises:
        UsageError: if the address is none, or there is no token.
    """

    def __init__(self, url: str, token: str | None = None, *, patience: float = _PATIENCE) -> None:
        self.url, self._patience = url, patience
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.scheme not in ("http", "https") or parts.path.strip("/") or parts.query or parts.username:
            raise UsageError(f"a device is named by its address, as in http://192.168.0.7:8711, not {shorten(url)!r}")
        self._is_safe, self._place = parts.scheme == "https", (host, port)
        self._token = token or read_token()

    def describe(self) -> str:
        """Return what the machine is, in one line.

        Raises:
            DataError: if the agent does not answer, or answers nonsense.
        """
        return _read_device(self._ask("GET", "/device", None, _GREETING), self.url)

    def measure(self, content: bytes, settings: TimingSettings) -> Timing:
        """Send a model and return how long it takes there.

        Raises:
            DataError: if the agent does not answer, refuses the model, or answers nonsense.
        """
        answer = self._ask("POST", f"/measure?{urlencode(asdict(settings))}", content, self._patience)
        return _read_timing(answer, self.url)

    def _ask(self, method: str, path: str, body: bytes | None, seconds: float) -> dict[str, Any]:
        """Send a request and return the answer, a JSON object, within so many seconds."""
        kind = http.client.HTTPSConnection if self._is_safe else http.client.HTTPConnection
        connection = kind(self._place[0], self._place[1], timeout=min(seconds, _GREETING))
        is_late = Event()
        alarm = Timer(seconds, lambda: _cut(connection, is_late))  # a socket's timeout begins anew with every byte
        alarm.daemon = True
        alarm.start()
        try:
            connection.connect()
            connection.sock.settimeout(seconds)
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have refused before it had read all
                connection.request(method, path, body, {"Authorization": f"Bearer {self._token}"})
            with connection.getresponse() as reply:
                content = reply.read(_LONGEST_ANSWER + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if is_late.is_set() or isinstance(error, TimeoutError):
                raise DataError(f"the device {self.url} did not answer in time ({seconds:g} s)") from error
            words = explain(error) if isinstance(error, OSError) else f"it speaks no HTTP ({type(error).__name__})"
            raise DataError(f"the device {self.url} cannot be asked: {words}; is measure --listen at work?") from error
        finally:
            alarm.cancel()
            connection.close()
        return self._read(reply.status, content)

    def _read(self, status: int, content: bytes) -> dict[str, Any]:
        if len(content) > _LONGEST_ANSWER:
            raise DataError(f"the device {self.url} answers nonsense: more than {_LONGEST_ANSWER:,} bytes")
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(f"the device {self.url} answers nonsense (status {status}): no JSON") from error
        if status == 401:
            raise DataError(f"the device {self.url} refuses the token: set {TOKEN} to that of measure --listen")
        if not isinstance(answer, dict):
            raise DataError(f"the device {self.url} answers nonsense (status {status}): no JSON object")
        if status != 200:
            words = shorten(printable(str(answer.get("error", f"status {status}"))), 300)
            raise DataError(f"the device {self.url} refuses: {words}")
        return answer


def _cut(connection: http.client.HTTPConnection, is_late: Event) -> None:
    """Cut a connection, so that its reader hears that it has ended."""
    is_late.set()
    with suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def _read_device(answer: Mapping[str, Any], url: str) -> str:
    device = answer.get("device")
    if not isinstance(device, str) or not device.strip() or len(device) > 400:
        raise DataError(f"the device {url} answers nonsense: it does not say what it is")
    return printable(device)


def _read_timing(answer: Mapping[str, Any], url: str) -> Timing:
    """Check each field of an answer."""
    for name in ("latency", "spread"):
        value = answer.get(name)
        is_number = isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value < _AGES
        if not is_number or (name == "latency" and value == 0):
            raise DataError(f"the device {url} answers nonsense: {name} is {shorten(repr(value), 40)}")
    noisy, repeats = answer.get("is_noisy"), answer.get("repeats")
    if not isinstance(noisy, bool):
        raise DataError(f"the device {url} answers nonsense: is_noisy is {shorten(repr(noisy), 40)}")
    if not isinstance(repeats, int) or isinstance(repeats, bool) or repeats < 1:
        raise DataError(f"the device {url} answers nonsense: repeats is {shorten(repr(repeats), 40)}")
    return Timing(float(answer["latency"]), float(answer["spread"]), noisy, repeats, _read_device(answer, url))
