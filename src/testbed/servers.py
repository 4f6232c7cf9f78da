"""HTTP servers of limited capacity that sleep instead of working: one process, a port for each.

``GET /?w=0.2`` takes 0.2 CPU-seconds. Requests share the CPUs as in the simulator: at most ``workers`` are in service,
each at the rate min(1, CPUs/busy), the others wait, and 503 is the answer if too many do. Queues advance in virtual
time to the exact instants of completion, so that a late timer delays one answer and takes no capacity away.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import signal
from collections import deque
from collections.abc import Sequence
from functools import partial
from time import monotonic

from . import instants


class Server:
    """A queue, and the connections that wait for its answers.

    Args:
        name: in answers.
        cpus: of the server.
        workers: most requests in service.
        backlog: most requests that wait.
    """

    def __init__(self, name: str, cpus: float, workers: int, backlog: int) -> None:
        self.name, self.cpus, self._workers, self._backlog = name, cpus, workers, backlog
        self._busy: list[tuple[float, int, _Connection, float]] = []  # mark, number, connection, start
        self._waiting: deque[tuple[_Connection, float, float]] = deque()
        self._virtual, self._stamp, self._number = 0.0, monotonic(), 0
        self._timer: asyncio.TimerHandle | None = None

    def submit(self, connection: _Connection, size: float) -> None:
        """Serve a request, let it wait, or refuse it."""
        now = monotonic()
        self._advance(now)
        if len(self._busy) < self._workers:
            self._serve(connection, now, size)
        elif len(self._waiting) < self._backlog:
            self._waiting.append((connection, now, size))
        else:
            connection.answer(b"503 Full", self.name, 0.0)
            return
        self._plan()

    def change(self, cpus: float) -> None:
        """Have another number of CPUs from now on."""
        self._advance(monotonic())
        self.cpus = cpus
        self._plan()

    def _due(self) -> float:
        rate = min(1.0, self.cpus / len(self._busy))
        return self._stamp + max(self._busy[0][0] - self._virtual, 0.0) / rate

    def _advance(self, now: float) -> None:
        """Complete everything that is due by ``now``, each at its own time."""
        while self._busy and (due := self._due()) <= now:
            self._virtual, self._stamp = self._busy[0][0], due
            _, _, connection, start = heapq.heappop(self._busy)
            connection.answer(b"200 OK", self.name, due - start)
            if self._waiting:
                self._serve(*self._waiting.popleft())
            if not self._busy:
                self._virtual = 0.0
        if self._busy:
            self._virtual += (now - self._stamp) * min(1.0, self.cpus / len(self._busy))
        self._stamp = now

    def _serve(self, connection: _Connection, start: float, size: float) -> None:
        self._number += 1
        heapq.heappush(self._busy, (self._virtual + size, self._number, connection, start))

    def _plan(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._busy:
            self._timer = asyncio.get_running_loop().call_at(self._due(), self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._advance(monotonic())
        self._plan()


class _Connection(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server, self._buffer = server, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            at = head.find(b"w=")
            self._server.submit(self, float(head[at + 2 : head.index(b" ", at)]) if at >= 0 else 0.0)

    def answer(self, status: bytes, name: str, took: float) -> None:
        if not self._transport.is_closing():
            head = b"HTTP/1.1 %s\r\nContent-Length: 0\r\nX-Server: %s\r\nX-Took: %.6f\r\n\r\n"
            self._transport.write(head % (status, name.encode(), took))


async def serve(ports: Sequence[int], cpus: Sequence[float], then: Sequence[float], workers: int, backlog: int) -> None:
    """Serve on loopback until SIGTERM; after SIGUSR1 with the CPUs ``then``."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    servers = [Server(f"s{j}", c, workers, backlog) for j, c in enumerate(cpus)]
    for server, port in zip(servers, ports, strict=True):
        await loop.create_server(partial(_Connection, server), "127.0.0.1", port, backlog=512)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)

    def change() -> None:
        for server, number in zip(servers, then, strict=True):
            server.change(number)

    loop.add_signal_handler(signal.SIGUSR1, change)
    await ended.wait()


def main(arguments: Sequence[str]) -> int:
    """The process; its argument is a JSON object with the arguments of `serve`."""
    instants.run(serve(**json.loads(arguments[0])))
    return 0
