"""The process that drives the weights of a bed's proxies."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..agent.haproxy import HAProxy, RequestLog, RuntimeApi
from ..agent.pilot import NO_LIMITS, Pilot, Policy, drive
from ..agent.settings import checked

READY = "ready.txt"
"""The file in the bed's directory that says that the controller is."""
BEGIN = "begin.txt"
"""The file there that says at which instant (``time.monotonic``) it has to begin; until then it only looks."""
DONE = "rounds.json"
"""The file there with what its decisions cost."""


def main(arguments: Sequence[str]) -> int:
    """The process; its argument is a JSON object with the arguments of `control`."""
    control(**json.loads(arguments[0]))
    return 0


def control(
    directory: str,
    logs: Sequence[int],
    settings: Mapping[str, Any],
    policy: str | None,
    factor: float,
    seed: int,
) -> None:
    """Drive until SIGTERM.

    Args:
        directory: of the bed.
        logs: ports of the proxies' logs.
        settings: of the environment.
        policy: a run directory, or ``None`` if the settings have a rule.
        factor: simulated seconds per second.
        seed: of what the proxies' agents sample.
    """
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    folder, environment, say = Path(directory), checked(settings, "the testbed"), partial(print, flush=True)
    pilots = []
    for i, port in enumerate(logs):
        api, log = RuntimeApi(folder / f"lb{i}.sock", "be"), RequestLog("127.0.0.1", port, "be")
        pilots.append(Pilot(HAProxy(api, log, factor), environment, NO_LIMITS, False, seed + i, say))
    for pilot in pilots:
        pilot.connect()
    chosen = None if policy is None else _loaded(policy, pilots)
    (folder / READY).touch()
    rounds = drive(pilots, chosen, environment.dt / factor, lambda: bool(stopped), _From(folder / BEGIN))
    for pilot in pilots:  # what finished after the last decision
        pilot.look()
    spent = {name: _milliseconds(getattr(rounds, name)) for name in rounds._fields}
    about = {"seen": sum(pilot.seen for pilot in pilots), "rounds": len(rounds.took), **spent}
    (folder / DONE).write_text(json.dumps(about), encoding="utf-8")
    for pilot in pilots:
        pilot.site.close()


class _From:
    """Whether an instant has come that a file names as soon as it is known."""

    def __init__(self, file: Path) -> None:
        self._file, self._instant = file, math.inf

    def __call__(self, now: float) -> bool:
        if math.isinf(self._instant) and self._file.exists():
            self._instant = float(self._file.read_text() or "inf")
        return now >= self._instant


def _milliseconds(seconds: Sequence[float]) -> list[float]:
    """Median and 99th percentile."""
    return [round(1e3 * float(np.percentile(seconds, p)), 3) if len(seconds) else math.nan for p in (50, 99)]


def _loaded(path: str, pilots: Sequence[Pilot]) -> Policy:
    """The policy of a run, which has acted once: the first time takes longer."""
    from ..policies.base import Policy as AnyPolicy  # imports torch

    policy: Policy = AnyPolicy.load(path, agents=len(pilots))
    seen = [pilot.look() for pilot in pilots]
    policy.act(*(np.concatenate([s[k] for s in seen]) for k in (0, 1)))
    return policy
