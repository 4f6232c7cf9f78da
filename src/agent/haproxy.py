"""HAProxy from outside: its runtime API (counters, weights) and its log, one datagram per finished request."""

from __future__ import annotations

import contextlib
import csv
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

LOG_FORMAT = '"hymarl %b %s %[var(txn.hymarl)] %[date(0,us)] %ST"'
"""HAProxy's ``log-format`` that `RequestLog` reads: backend, server, beginning and end in µs, status."""
REMEMBER_BEGINNING = "http-request set-var(txn.hymarl) date(0,us)"
"""What HAProxy's frontend needs so that the log knows when a request came."""

_LINE = re.compile(rb"hymarl (\S+) (\S+) (\d+) (\d+) (\d+)")
_BUFFER = 1 << 21  # bytes of datagrams that wait to be read
_TIMEOUT_S = 2.0
_SETTABLE = range(1, 257)


class SiteError(Exception):
    """The load balancer cannot be reached, or does not answer as it should; the message is one sentence."""


class Counters(NamedTuple):
    """Of a server, from ``show stat``.

    Attributes:
        ongoing: requests on it now.
        begun: requests so far.
        weight: that is set.
        up: whether it may get requests.
    """

    ongoing: int
    begun: int
    weight: int
    up: bool


class Finished(NamedTuple):
    """A request that is over: its server, and when it began and ended, in seconds of the wall clock."""

    server: str
    start: float
    end: float


class RuntimeApi:
    """One lasting connection to the runtime API, opened when it is first needed and again after an error.

    Args:
        path: of the stats socket.
        backend: the backend whose servers are meant.
    """

    def __init__(self, path: str | Path, backend: str) -> None:
        self.path, self.backend = str(path), backend
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def counters(self) -> dict[str, Counters]:
        """Counters by server, in HAProxy's order.

        Raises:
            SiteError: HAProxy cannot be asked, or has no such backend.
        """
        answer = self._command(f"show stat {self.backend} 4 -1").lstrip("# ")
        rows = list(csv.DictReader(answer.splitlines()))
        if not rows or "svname" not in rows[0]:
            raise SiteError(f"HAProxy at {self.path} has no backend {self.backend!r} with servers: {answer.strip()!r}")
        try:
            return {
                row["svname"]: Counters(
                    int(row["scur"]), int(row["stot"]), int(row["weight"]), row["status"].startswith(("UP", "no check"))
                )
                for row in rows
            }
        except (KeyError, ValueError) as error:
            raise SiteError(f"HAProxy at {self.path}: its statistics cannot be read ({error})") from error

    def set_weights(self, weights: Mapping[str, int]) -> None:
        """Set weights by server.

        Raises:
            SiteError: HAProxy cannot be told, or refuses.
            ValueError: a weight is not from 1 to 256.
        """
        if wrong := {name: w for name, w in weights.items() if w not in _SETTABLE}:
            raise ValueError(f"weights must be from 1 to 256, got {wrong}")
        if not weights:
            return
        said = self._command(";".join(f"set server {self.backend}/{name} weight {w}" for name, w in weights.items()))
        if said.strip():
            raise SiteError(f"HAProxy at {self.path} did not set the weights: {' '.join(said.split())}")

    def _command(self, text: str) -> str:
        """The answer to a line; HAProxy prints a prompt after each of its commands."""
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._socket.settimeout(_TIMEOUT_S)
                self._socket.connect(self.path)
                self._exchange("prompt")
            return self._exchange(text)
        except OSError as error:
            self.close()
            raise SiteError(f"HAProxy does not answer at {self.path}: {error.strerror or error}") from error

    def _exchange(self, text: str) -> str:
        assert self._socket is not None
        self._socket.sendall(text.encode() + b"\n")
        answer, prompts = b"", text.count(";") + 1
        while answer.count(b"\n> ") < prompts:
            part = self._socket.recv(1 << 16)
            if not part:
                raise ConnectionError("it closed the connection")
            answer += part
        return answer.replace(b"\n> ", b"\n").decode(errors="replace").strip("\n")


class RequestLog:
    """Receives the log over UDP; HAProxy's own unix datagram sockets hold ten lines and lose the others.

    Args:
        host: address to listen at.
        port: of it.
        backend: requests to others are ignored.

    Raises:
        SiteError: the port is in use.
    """

    def __init__(self, host: str, port: int, backend: str) -> None:
        self._backend, self.lines = backend.encode(), 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise SiteError(f"the log port {host}:{port} (UDP) cannot be used: {error.strerror}") from error
        self._socket.setblocking(False)

    def close(self) -> None:
        """Stop to listen."""
        self._socket.close()

    def read(self) -> list[Finished]:
        """The requests of status 2xx to 4xx that finished since the last call."""
        found: list[Finished] = []
        while True:
            try:
                line = self._socket.recv(2048)
            except (BlockingIOError, InterruptedError):
                return found
            match = _LINE.search(line)
            if match is None or match[1] != self._backend:
                continue
            self.lines += 1
            if int(match[5]) < 500 and not match[2].startswith(b"<"):
                found.append(Finished(match[2].decode(), int(match[3]) * 1e-6, int(match[4]) * 1e-6))


def lines_for_configuration(host: str, port: int) -> Sequence[str]:
    """What a frontend of HAProxy needs so that an agent can see its requests."""
    return (f"log {host}:{port} len 1024 format raw local0 info", f"log-format {LOG_FORMAT}", REMEMBER_BEGINNING)
