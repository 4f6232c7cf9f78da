"""Open-loop traffic: every request is sent at its instant, whatever became of those before (no coordinated omission).

Times count from the *scheduled* instant; how late it was sent is recorded beside it. A request takes an idle connection
or opens one, so nothing waits in the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from time import monotonic

import numpy as np

from ..envs.loadbalance.layout import Floats
from ..envs.loadbalance.traffic import Traffic

SCHEDULED, SENT, ENDED, STATUS, SERVER, TOOK = range(6)
"""Columns of what `play` returns: three instants, status (0: none), server, seconds in it."""

_Done = Callable[[int, int, float], None]


class _Client(asyncio.Protocol):
    def __init__(self, idle: list[_Client]) -> None:
        self._idle, self._buffer = idle, b""
        self._done: _Done | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, size: float, done: _Done) -> None:
        self._done = done
        self.transport.write(b"GET /?w=%.6f HTTP/1.1\r\nHost: testbed\r\n\r\n" % size)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        length = int(_field(head, b"content-length") or 0)
        if len(self._buffer) - end - 4 < length:
            return
        self._buffer = b""
        done, self._done = self._done, None
        if b"connection: close" in head:
            self.transport.close()
        else:
            self._idle.append(self)
        if done is not None:
            server = _field(head, b"x-server")
            done(int(head[9:12]), int(server[1:]) if server else -1, float(_field(head, b"x-took") or math.nan))

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._idle:
            self._idle.remove(self)
        if self._done is not None:
            done, self._done = self._done, None
            done(0, -1, math.nan)


def _field(head: bytes, name: bytes) -> bytes:
    at = head.find(b"\r\n" + name + b":")
    return b"" if at < 0 else head[at + len(name) + 3 :].split(b"\r\n")[0].strip()


async def play(traffic: Traffic, ports: Sequence[int], start: float, drain_s: float) -> Floats:
    """Send all requests; returns ``[n, 6]``, instants in seconds from ``start`` (``time.monotonic``).

    Args:
        traffic: when, through which proxy, and how large.
        ports: of the proxies, on loopback.
        start: instant 0.
        drain_s: seconds after the last request for which answers are awaited.
    """
    loop, n = asyncio.get_running_loop(), len(traffic.times)
    out = np.full((n, 6), np.nan)
    out[:, SCHEDULED], out[:, STATUS], out[:, SERVER] = traffic.times, 0, -1
    idle: list[list[_Client]] = [[] for _ in ports]
    left, all_done = n, asyncio.Event()
    opening: set[asyncio.Task[None]] = set()

    def finish(k: int) -> _Done:
        def done(status: int, server: int, took: float) -> None:
            nonlocal left
            out[k, ENDED:] = monotonic() - start, status, server, took
            left -= 1
            if not left:
                all_done.set()

        return done

    async def fresh(k: int, i: int) -> None:
        try:
            _, client = await loop.create_connection(lambda: _Client(idle[i]), "127.0.0.1", ports[i])
            client.send(traffic.sizes[k], finish(k))
        except OSError:
            finish(k)(0, -1, math.nan)

    for k, i in enumerate(traffic.balancers.tolist()):
        delay = start + traffic.times[k] - monotonic()
        if delay > 0:
            await asyncio.sleep(delay)
        out[k, SENT] = monotonic() - start
        if idle[i]:
            idle[i].pop().send(traffic.sizes[k], finish(k))
        else:
            opening.add(task := loop.create_task(fresh(k, i)))
            task.add_done_callback(opening.discard)
    if n:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(all_done.wait(), drain_s)
    for clients in idle:
        for client in list(clients):
            client.transport.abort()
    return out
