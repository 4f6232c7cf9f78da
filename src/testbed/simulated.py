"""The same traffic and rules in the simulator, and the same numbers of both."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..agent.settings import checked
from ..components.rng import Stream, UInt64Array, keys
from ..envs.loadbalance.assembly import parameters, sizes
from ..envs.loadbalance.environment import LoadBalance
from ..envs.loadbalance.layout import Floats
from ..envs.loadbalance.parameters import AFTER, PHASES
from ..envs.loadbalance.traces import read_trace
from ..envs.loadbalance.traffic import Traffic, traffic
from ..registry import build
from . import client
from .plan import Contestant, Plan

NUMBERS = ("jct_mean", "jct_p90", "jct_p99", "drops", *(f"jct_mean_{phase}" for phase in PHASES))
"""What is measured over requests that end after the warm-up, by the names of the environment's metrics."""


def seeds(plan: Plan) -> UInt64Array:
    """Keys of the episodes whose traffic is played."""
    return keys(plan.seed, Stream.TEST, list(range(plan.traces)))


def flows(plan: Plan) -> list[Traffic]:
    """The traffic of every trace, warm-up included; it does not depend on rules."""
    settings = checked(plan.environment(plan.contestants[0]), "the testbed")
    settings.check()
    p = parameters(settings, None if settings.trace is None else read_trace(settings.trace))
    return [traffic(p, sizes(settings, p, 1, plan.balancers), seed) for seed in seeds(plan)]


def simulate(plan: Plan, contestant: Contestant, policy: Any) -> Floats:
    """Numbers ``[traces, NUMBERS]`` of a contestant in the simulator.

    Args:
        plan: the campaign.
        contestant: what places requests.
        policy: of the contestants that it moves the weights of.
    """
    settings = plan.environment(contestant)
    env = build("env", "loadbalance", settings, plan.balancers, plan.traces)
    assert isinstance(env, LoadBalance)
    everywhere = np.ones(plan.traces, np.bool_)
    step = env.reset(seeds(plan), everywhere)
    if plan.swap_at is not None:
        _reverse_at(env, plan)
    states: list[Any] = [None] * plan.traces
    actions = np.zeros((plan.traces, plan.balancers), np.int64)
    for _ in range(env.spec.episode_limit):
        if contestant.mover == "policy":
            for b in range(plan.traces):
                actions[b], states[b] = policy.act(step.obs[b], step.avail[b], states[b])
        step = env.step(actions, everywhere)
    env.close()
    columns = [env.spec.metric_names.index(name) for name in NUMBERS]
    found: Floats = step.metrics[:, columns]
    return found


def real(plan: Plan, out: Floats) -> Floats:
    """Numbers ``[NUMBERS]`` of what the client found, see `client.play`."""
    ended = out[:, client.ENDED] - plan.warmup
    within = (ended > 0.0) & (ended <= plan.seconds)
    good = within & (out[:, client.STATUS] == 200)
    jct = 1e3 * (out[good, client.ENDED] - out[good, client.SCHEDULED])
    at, swap = ended[good], np.inf if plan.swap_at is None else plan.swap_at
    parts = [jct[at < swap], jct[(at >= swap) & (at < swap + AFTER)], jct[at >= swap + AFTER]]
    percentiles = np.percentile(jct, (90, 99)) if len(jct) else (np.nan, np.nan)
    return np.array([_mean(jct), *percentiles, (within & ~good).sum(), *map(_mean, parts)])


def _mean(x: Floats) -> float:
    return float(x.mean()) if len(x) else float("nan")


def _reverse_at(env: LoadBalance, plan: Plan) -> None:
    """Let the servers have each other's CPUs in reverse from an instant on, as the testbed's have."""
    assert plan.swap_at is not None
    changes, n = env.engine.world.changes, len(plan.cpus)
    first = round((plan.warmup + plan.swap_at) / env.dt)
    changes["cpus"][:, first:, :n] = plan.cpus[::-1]
    changes["swap"][:, first, 0] = True
