"""One repetition: a bed, traffic through it, and what becomes of every request; a process of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..envs.loadbalance.traffic import Traffic
from ..registry import ConfigError
from . import client, controller, instants
from .bed import Bed, find_haproxy, ports_from

_LEAD_S = 0.5
_DRAIN_S = 1.0
_READY_S = 90.0


def main(arguments: Sequence[str]) -> int:
    """The process; its argument is a JSON object with the arguments of `run`."""
    given = json.loads(arguments[0])
    signal.signal(signal.SIGTERM, _end)
    try:
        run(**given)
    except ConfigError as error:
        Path(given["result"]).with_suffix(".error").write_text(str(error), encoding="utf-8")
        return 2
    return 0


def run(
    *,
    result: str,
    flows: str,
    haproxy: str | None,
    port: int,
    parent: str,
    balance: str,
    weights: Sequence[int],
    cpus: Sequence[float],
    workers: int,
    backlog: int,
    factor: float,
    warmup: float,
    swap_at: float | None,
    control: Mapping[str, Any] | None,
) -> None:
    """Play the traffic, and write ``result``: the table of `client.play` in simulated seconds, and what it cost.

    Args:
        result: the ``.npz`` file to write.
        flows: the ``.npz`` file with the traffic, in simulated seconds.
        haproxy: the executable, ``None`` to look for one.
        port: the first of its ports.
        parent: where its directory is made.
        balance: HAProxy's algorithm, or ``sed``.
        weights: of the servers, at the beginning.
        cpus: of the servers; reversed after a swap.
        workers: see `Bed`.
        backlog: see `Bed`.
        factor: simulated seconds per second.
        warmup: simulated seconds until weights are moved.
        swap_at: simulated seconds after the warm-up at which capacities change; ``None``: never.
        control: settings and policy for `controller.control`; ``None``: weights stay.
    """
    saved = np.load(flows)
    n_proxies = int(saved["n_proxies"])
    traffic = Traffic(saved["times"] / factor, saved["balancers"], saved["sizes"] / factor)
    ports = ports_from(port, n_proxies, len(cpus))
    about: dict[str, Any] = {"seen": -1, "took": [], "late": []}
    bed = Bed(find_haproxy(haproxy), ports, balance, weights, cpus, cpus[::-1], workers, backlog, parent)
    with bed:
        if control is not None:
            driver = bed.start_module("testbed.controller", [json.dumps({**_where(bed), "factor": factor, **control})])
            _wait_for(bed, bed.directory / controller.READY)
        start = time.monotonic() + _LEAD_S
        (bed.directory / controller.BEGIN).write_text(repr(start + warmup / factor), encoding="utf-8")
        out = instants.run(_played(bed, traffic, start, None if swap_at is None else (warmup + swap_at) / factor))
        if control is not None:
            driver.terminate()
            driver.wait(10.0)
            about = json.loads((bed.directory / controller.DONE).read_text(encoding="utf-8"))
        cpu = bed.cpu_seconds()
        alerts = [line for line in bed.output().splitlines() if "ALERT" in line or "Traceback" in line]
    if alerts:
        raise ConfigError(f"something went wrong on the testbed: {alerts[0]}")
    out[:, [client.SCHEDULED, client.SENT, client.ENDED, client.TOOK]] *= factor
    np.savez(result, out=out, cpu=cpu, about=json.dumps(about))


def _where(bed: Bed) -> dict[str, Any]:
    return {"directory": str(bed.directory), "logs": list(bed.ports.logs)}


async def _played(bed: Bed, traffic: Traffic, start: float, swap: float | None) -> np.ndarray:
    if swap is not None:
        asyncio.get_running_loop().call_at(start + swap, bed.swap)
    return await client.play(traffic, bed.ports.proxies, start, _DRAIN_S)


def _wait_for(bed: Bed, file: Path) -> None:
    end = time.monotonic() + _READY_S
    while not file.exists():
        if time.monotonic() > end or bed.ended():
            said = " ".join(bed.output().split())[-600:]
            raise ConfigError(f"what drives the weights did not start: {said or 'no output'}")
        time.sleep(0.05)


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)
