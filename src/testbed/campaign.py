"""A campaign: every contestant on every trace, in trials that are processes of their own."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..agent.settings import checked
from ..envs.loadbalance.layout import Floats
from ..registry import ConfigError
from . import client, processes, simulated
from .bed import MOST_PORTS, find_haproxy, ports_from, require_free
from .plan import Contestant, Plan


class Results(NamedTuple):
    """What a campaign found.

    Attributes:
        plan: of it.
        real: ``[contestants, traces, NUMBERS]``, see `simulated.NUMBERS`.
        simulated: the same in the simulator.
        notes: sentences about how it went.
    """

    plan: Plan
    real: Floats
    simulated: Floats
    notes: list[str]


class _Trial(NamedTuple):
    contestant: int
    trace: int
    result: Path
    process: subprocess.Popen[bytes]
    slot: int


def play(plan: Plan, directory: Path, show: Callable[[str], None]) -> Results:
    """Play it; the requests of each trial are kept in ``directory/trials``.

    Raises:
        ConfigError: there is no HAProxy, ports are in use, or a trial failed.
    """
    haproxy = find_haproxy(plan.haproxy)
    for slot in range(plan.parallel):
        require_free(ports_from(plan.port + slot * MOST_PORTS, plan.balancers, len(plan.cpus)))
    policy = _policy(plan)
    contestants, folder = plan.contestants, directory / "trials"
    folder.mkdir(parents=True, exist_ok=True)
    traffic = [folder / f"traffic-{k}.npz" for k in range(plan.traces)]
    for file, flows in zip(traffic, simulated.flows(plan), strict=True):
        np.savez(file, n_proxies=plan.balancers, **flows._asdict())
    n_trials = len(contestants) * plan.traces
    seconds = (plan.warmup + plan.seconds) / plan.factor + 4.0
    minutes = n_trials * seconds / plan.parallel / 60
    show(f"{n_trials} trials of {seconds:.0f} s, {plan.parallel} at a time: about {minutes:.0f} min")
    found = np.stack([simulated.simulate(plan, contestant, policy) for contestant in contestants])
    real = np.full_like(found, np.nan)
    costs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hymarl-testbed-") as parent:
        todo = [(c, k) for k in range(plan.traces) for c in range(len(contestants))]
        running: list[_Trial] = []
        try:
            while todo or running:
                free = {*range(plan.parallel)} - {trial.slot for trial in running}
                while todo and free:
                    c, k = todo.pop(0)
                    running.append(
                        _begin(plan, contestants[c], (c, k), traffic[k], haproxy, Path(parent), free.pop(), folder)
                    )
                time.sleep(0.05)
                for trial in [t for t in running if t.process.poll() is not None]:
                    running.remove(trial)
                    real[trial.contestant, trial.trace], cost = _read(plan, trial, contestants[trial.contestant])
                    costs.append(cost)
                    name, numbers = contestants[trial.contestant].name, real[trial.contestant, trial.trace]
                    show(f"{len(costs):>3}/{n_trials}  {name:<20} trace {trial.trace}: {numbers[0]:.0f} ms")
        finally:
            processes.stop([trial.process for trial in running])
    return Results(plan, real, found, _notes(costs))


def _policy(plan: Plan) -> Any:
    if plan.policy is None:
        return None
    from ..policies.base import Policy

    return Policy.load(plan.policy, agents=plan.balancers)


def _begin(
    plan: Plan,
    contestant: Contestant,
    which: tuple[int, int],
    traffic: Path,
    haproxy: str,
    parent: Path,
    slot: int,
    folder: Path,
) -> _Trial:
    """Start a trial."""
    settings, result = plan.environment(contestant), folder / f"{contestant.name.replace(', ', '-')}-{which[1]}.npz"
    control = None
    if contestant.mover:
        path = plan.policy if contestant.mover == "policy" else None
        control = {"settings": vars(checked(settings, "the testbed")), "policy": path, "seed": 1000 * which[1]}
    given = {
        "result": str(result),
        "flows": str(traffic),
        "haproxy": haproxy,
        "port": plan.port + slot * MOST_PORTS,
        "parent": str(parent),
        "balance": plan.balance(contestant),
        "weights": plan.weights(contestant),
        "cpus": plan.cpus,
        "workers": settings["workers"],
        "backlog": settings["backlog"],
        "factor": plan.factor,
        "warmup": plan.warmup,
        "swap_at": plan.swap_at,
        "control": control,
    }
    process = processes.start_module("testbed.trial", [json.dumps(given)], parent / f"trial-{slot}.txt")
    return _Trial(*which, result, process, slot)


def _read(plan: Plan, trial: _Trial, contestant: Contestant) -> tuple[Floats, dict[str, Any]]:
    """Numbers and costs of a trial that has ended."""
    said = trial.result.with_suffix(".error")
    if said.exists():
        reason = said.read_text(encoding="utf-8")
        said.unlink()
        raise ConfigError(f"testbed, {contestant.name}: {reason}")
    if trial.process.returncode != 0:
        raise RuntimeError(
            f"the trial of {contestant.name} on trace {trial.trace} ended with {trial.process.returncode}"
        )
    saved = np.load(trial.result)
    out, about = saved["out"], json.loads(str(saved["about"]))
    late = 1e3 * (out[:, client.SENT] - out[:, client.SCHEDULED]) / plan.factor
    good = out[:, client.STATUS] == 200
    path = 1e3 * (out[good, client.ENDED] - out[good, client.SCHEDULED] - out[good, client.TOOK]) / plan.factor
    cost = {
        "path": np.percentile(path, (50, 99)) if len(path) else (np.nan, np.nan),
        "late": np.percentile(late, (50, 99)),
        "finished": int(good.sum()),
        **{name: about[name] for name in ("seen", "took")},
    }
    return simulated.real(plan, out), cost


def _notes(costs: list[dict[str, Any]]) -> list[str]:
    path, late = (np.nanmean([cost[name] for cost in costs], axis=0) for name in ("path", "late"))
    notes = [
        f"from the instant of a request to its answer, less its time in the server: {path[0]:.2f} ms (median), "
        f"{path[1]:.2f} ms (p99); sent late by {late[0]:.2f} and {late[1]:.2f} ms; means over trials"
    ]
    driven = [cost for cost in costs if cost["seen"] >= 0]
    if driven:
        took = np.mean([cost["took"] for cost in driven], axis=0)
        seen, finished = (sum(cost[name] for cost in driven) for name in ("seen", "finished"))
        notes.append(
            f"agents saw {seen:,} of {finished:,} requests that finished; a decision for all proxies took "
            f"{took[0]:.1f} ms (median), {took[1]:.1f} ms (p99)"
        )
    return notes
