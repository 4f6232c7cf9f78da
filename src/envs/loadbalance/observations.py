"""What balancers and the mixer see at a control instant."""

from __future__ import annotations

import math

from .compiled import part
from .dispatch import FAVOUR, mean_tilt, tilt_of
from .layout import N_STATISTICS, World
from .parameters import N_BASE, N_PAPER, STATES, Parameters
from .reservoirs import COMPLETION, DURATION, measure, reservoir
from .servers import flow_at, hear, touch

SERVER, CONCAT, PRIVILEGED = range(len(STATES))
_OFFSET = 1e-3
_RANGE = 6.0


@part
def take_stock(p: Parameters, w: World, b: int) -> None:
    """Bring servers, packet samples and statistics up to the present."""
    now = w.clock.now[b]
    n_balancers, n_slots = w.balancers.counts.shape[1], w.servers.cpus.shape[1]
    for j in range(n_slots):
        touch(w.servers, b, j, now)
        for n in range(w.servers.load[b, j]):
            hear(p, w, b, j, flow_at(p, w.servers, b, j, n), now)
    shrink = math.exp(-p.measuring.growth * now)
    for i in range(n_balancers):
        for j in range(n_slots):
            for kind in (COMPLETION, DURATION):
                r = reservoir(kind, i, j, n_balancers, n_slots)
                statistics, decayed = w.interval.statistics[b, i, j, kind], w.interval.decayed[b, i, j, kind]
                measure(p.measuring, w.samples, b, r, shrink, statistics, decayed)


@part
def _count_feature(p: Parameters, count: float) -> float:
    if not p.measuring.log:
        return count
    return math.log2(1.0 + count) / math.log2(1.0 + p.traffic.max_clients)


@part
def _time_feature(p: Parameters, seconds: float) -> float:
    if not p.measuring.log:
        return seconds
    x = math.log2((seconds + _OFFSET) / (p.traffic.mean_size + _OFFSET))
    return min(max(x, -_RANGE), _RANGE) / _RANGE


@part
def _observe_server(p: Parameters, w: World, b: int, i: int, j: int, at: int, mean: float) -> None:
    """Write the block of one server into the observation of one balancer, from place ``at`` on."""
    m, obs = p.measuring, w.out.obs
    obs[b, i, at] = _count_feature(p, w.balancers.counts[b, i, j])
    at += 1
    for kind in range(1 if m.paper6 else 0, 2):
        for k in range(N_STATISTICS):
            obs[b, i, at] = _time_feature(p, w.interval.statistics[b, i, j, kind, k])
            at += 1
    if m.own_weight:
        obs[b, i, at] = tilt_of(p, w, b, i, j, mean) / p.acting.clip
        at += 1
    if m.nominal_weight:
        v = w.servers.nominal[b, j]
        obs[b, i, at] = v / w.servers.nominal[b].max() if m.log else v
        at += 1
    if m.mask:
        obs[b, i, at] = 1.0


@part
def _observe(p: Parameters, w: World, b: int) -> None:
    """Write the observations of all balancers."""
    m = p.measuring
    for i in range(w.balancers.counts.shape[1]):
        mean = mean_tilt(w, b, i)
        w.out.obs[b, i] = 0.0
        for j in range(w.servers.cpus.shape[1]):
            if w.servers.known[b, j]:
                _observe_server(p, w, b, i, j, j * m.n_features, mean)
        if m.own_arrivals:
            w.out.obs[b, i, -1] = _count_feature(p, w.interval.arrivals[b, i])


@part
def _merge(p: Parameters, w: World, b: int) -> None:
    """Write the state as features of servers: on-going flows of all balancers, means of the other features."""
    n_balancers, m = w.balancers.counts.shape[1], p.measuring
    n = N_PAPER if m.paper6 else N_BASE
    w.out.state[b] = 0.0
    for j in range(w.servers.cpus.shape[1]):
        if not w.servers.known[b, j]:
            continue
        w.out.state[b, j * n] = _count_feature(p, w.balancers.counts[b, :, j].sum())
        for k in range(1, n):
            total = 0.0
            for i in range(n_balancers):
                total += w.out.obs[b, i, j * m.n_features + k]
            w.out.state[b, j * n + k] = total / n_balancers


@part
def _reveal(p: Parameters, w: World, b: int) -> None:
    """Write the state as the truth about servers and time, which only a simulator knows."""
    state, servers = w.out.state, w.servers
    most = max(p.traffic.speed * p.traffic.cpus.max(), 1e-9)
    n_slots = servers.cpus.shape[1]
    for j in range(n_slots):
        busy, load, cpus = servers.busy[b, j], servers.load[b, j], servers.cpus[b, j]
        state[b, 6 * j] = load / p.traffic.max_clients
        state[b, 6 * j + 1] = busy / max(servers.limit[b, j], 1)
        state[b, 6 * j + 2] = (load - busy) / max(p.traffic.max_clients - servers.limit[b, j], 1)
        state[b, 6 * j + 3] = servers.work[b, j] / max(cpus, 1.0)
        state[b, 6 * j + 4] = cpus * servers.speed[b, j] / most
        state[b, 6 * j + 5] = servers.known[b, j]
    state[b, 6 * n_slots] = w.script.rates[b, w.clock.instant[b]]
    state[b, 6 * n_slots + 1] = (w.clock.instant[b] - p.scenario.warmup) / p.scenario.length


@part
def offer(p: Parameters, w: World, b: int) -> None:
    """Write which actions are available: those about servers that are known, and doing nothing."""
    n_slots = w.servers.known.shape[1]
    first = 0 if p.acting.mode == FAVOUR else 1
    for i in range(w.out.avail.shape[1]):
        w.out.avail[b, i, 0] = True
        for u in range(first, w.out.avail.shape[2]):
            w.out.avail[b, i, u] = w.servers.known[b, (u - first) % n_slots]


@part
def observe(p: Parameters, w: World, b: int) -> None:
    """Write observations and state from the statistics last taken."""
    _observe(p, w, b)
    if p.measuring.state == SERVER:
        _merge(p, w, b)
    elif p.measuring.state == CONCAT:
        n = w.out.obs.shape[2]
        for i in range(w.out.obs.shape[1]):
            w.out.state[b, i * n : (i + 1) * n] = w.out.obs[b, i]
    else:
        _reveal(p, w, b)
