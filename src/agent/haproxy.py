"""HAProxy from outside: its runtime API (counters, weights) and its log, one datagram per finished request."""

from __future__ import annotations

import contextlib
import csv
import re
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from ..envs.loadbalance.live import Live
from ..envs.loadbalance.settings import Settings
from ..registry import ConfigError
from .flows import Counters, Finished, Flows
from .site import Option, Settable, Sight, SiteError

LOG_FORMAT = '"hymarl %b %s %[var(txn.hymarl)] %[date(0,us)] %ST"'
"""HAProxy's ``log-format`` that `RequestLog` reads: backend, server, beginning and end in µs, status."""
REMEMBER_BEGINNING = "http-request set-var(txn.hymarl) date(0,us)"
"""What HAProxy's frontend needs so that the log knows when a request came."""

_LINE = re.compile(rb"hymarl (\S+) (\S+) (\d+) (\d+) (\d+)")
_BUFFER = 1 << 21  # bytes of datagrams that wait to be read
_TIMEOUT_S = 2.0
_SETTABLE = Settable(1, 256, whole=True)
_NOTES = """
HAProxy's frontend needs these lines, so that the agent sees its requests:

{lines}

and a stats socket of level admin."""


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
        if wrong := {name: w for name, w in weights.items() if w != _SETTABLE.nearest(w)}:
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


class HAProxy:
    """A backend of one HAProxy process.

    Args:
        api: its runtime API.
        log: its log.
        speed: simulated seconds per second.
    """

    options: ClassVar[Sequence[Option]] = (
        Option("--socket", "PATH", "its stats socket, of level admin"),
        Option("--backend", "NAME", "the backend whose weights move"),
        Option("--log", "HOST:PORT", "where to listen for its log (UDP)"),
    )
    notes: ClassVar[str] = _NOTES.format(
        lines="\n".join(f"    {line}" for line in lines_for_configuration("127.0.0.1", 24200))
    )
    settable: ClassVar[Settable] = _SETTABLE
    silence: ClassVar[str] = "the log has told of no finished request for {:g} s although requests begin"

    def __init__(self, api: RuntimeApi, log: RequestLog, speed: float) -> None:
        self._api, self._log, self._speed = api, log, speed
        self._number, self._present = dict[str, int](), dict[str, int]()
        self._flows: Flows | None = None
        self._begun = 0

    @classmethod
    def opened(cls, given: Mapping[str, str], dry_run: bool) -> Self:
        """See `Site.opened`."""
        host, _, port = given["log"].rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError(f"--log {given['log']}: give an address and a port, such as 127.0.0.1:24200")
        backend = given["backend"]
        return cls(RuntimeApi(given["socket"], backend), RequestLog(host, int(port), backend), 1.0)

    @property
    def name(self) -> str:
        """See `Site.name`."""
        return self._api.backend

    def weights(self) -> Mapping[str, float]:
        """See `Site.weights`."""
        self._present = {name: c.weight for name, c in self._api.counters().items()}
        self._number = {name: j for j, name in enumerate(self._present)}
        return dict(self._present)

    def fitted(self, settings: Settings) -> Settings:
        """See `Site.fitted`."""
        return settings

    def look(self, live: Live) -> Sight:
        """See `Site.look`."""
        # If it does not answer, weights are not known, but one that was 0 stays left alone.
        self._present = {name: -1 if weight else 0 for name, weight in self._present.items()}
        found = self._api.counters()
        if list(found) != list(self._number):
            raise SiteError(f"the servers of {self.name} are {', '.join(found)} now; start the agent anew")
        counters = list(found.values())
        self._present = {name: c.weight for name, c in found.items()}
        if self._flows is None:
            self._flows = Flows(len(found), live.n_places, durations=live.needs_durations)
        now, speed = time.time() * self._speed, self._speed
        rows = [
            (self._number[f.server], Finished(f.server, f.start * speed, f.end * speed))
            for f in self._log.read()
            if f.server in self._number
        ]
        events, arrivals = self._flows.events(counters, rows, now)
        live.report(events)
        begun, before = sum(c.begun for c in counters), self._begun
        self._begun = begun
        return Sight(
            now=now,
            ongoing=np.array([c.ongoing for c in counters]),
            arrivals=arrivals,
            known=np.array([c.up and c.weight > 0 for c in counters]),
            finished=len(rows),
            told=bool(rows),
            due=begun != before,
        )

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """See `Site.set_weights`; a server that had weight 0 at the last look is left alone."""
        changed = {name: int(w) for name, w in weights.items() if self._present[name] not in (0, w)}
        self._present.update(dict.fromkeys(changed, -1))
        self._api.set_weights(changed)
        self._present.update(changed)

    def close(self) -> None:
        """See `Site.close`."""
        self._log.close()
        self._api.close()
