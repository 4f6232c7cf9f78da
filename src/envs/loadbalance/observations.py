"""What balancers and the mixer see at a control instant."""

from __future__ import annotations

import math

from ...components.compiled import constants, part
from .dispatch import FAVOUR, NOMINAL, lean_of, mean_tilt, tilt_of
from .layout import Row
from .parameters import COMPLETION, N_STATISTICS, STATES, Parameters
from .reservoirs import measure, reservoir_of
from .servers import flow_at, hear, touch

SERVER, CONCAT, PRIVILEGED = constants(len(STATES))

OFFSET, RANGE = 1e-3, 6.0
"""With ``obs_norm=log`` a time x in a unit y is log2((x + offset)/(y + offset)), within plus and minus the range, over
the range."""


@part
def take_stock(p: Parameters, row: Row) -> None:
    """Bring servers, packet samples and statistics up to the present."""
    now = row.episode.now
    for j in range(len(row.servers)):
        touch(row.servers[j], now)
        for n in range(row.servers[j].load):
            hear(p, row, j, flow_at(row, j, n), now)
    measure_all(p, row)


@part
def measure_all(p: Parameters, row: Row) -> None:
    """Take the statistics of all reservoirs at the present."""
    shrink = math.exp(-p.measuring.growth * row.episode.now)
    for r in range(len(row.reservoirs)):
        measure(p.measuring, row, r, shrink)


@part
def _count_feature(p: Parameters, count: float) -> float:
    if not p.measuring.log:
        return count
    return math.log2(1.0 + count) / math.log2(1.0 + p.traffic.max_clients)


@part
def _unit(p: Parameters, row: Row, i: int) -> float:
    """What times are relative to, in seconds."""
    if not p.measuring.own_unit:
        return p.traffic.mean_size if p.measuring.log else 1.0
    total, n = 0.0, 0
    for j in range(len(row.servers)):
        reservoir = row.reservoirs[reservoir_of(row, i, j, COMPLETION)]
        total += reservoir.values
        n += reservoir.n
    return total / n if total > 0.0 else p.traffic.mean_size


@part
def _time_feature(p: Parameters, seconds: float, unit: float) -> float:
    if not p.measuring.log:
        return seconds / unit
    x = math.log2((seconds + OFFSET) / (unit + OFFSET))
    return min(max(x, -RANGE), RANGE) / RANGE


@part
def _observe_times(p: Parameters, row: Row, i: int, r: int, at: int, unit: float) -> None:
    """Write the five statistics of a reservoir, from place ``at`` on."""
    reservoir = row.reservoirs[r]
    row.obs[i, at] = _time_feature(p, reservoir.mean, unit)
    row.obs[i, at + 1] = _time_feature(p, reservoir.p90, unit)
    row.obs[i, at + 2] = _time_feature(p, reservoir.std, unit)
    row.obs[i, at + 3] = _time_feature(p, reservoir.decayed_mean, unit)
    row.obs[i, at + 4] = _time_feature(p, reservoir.decayed_p90, unit)


@part
def _observe_server(p: Parameters, row: Row, i: int, j: int, mean: float, unit: float) -> None:
    """Write the block of one server into the observation of one balancer."""
    m, at = p.measuring, j * p.measuring.n_features
    row.obs[i, at] = _count_feature(p, float(row.pairs[i, j].count))
    at += 1
    for quantity in range(m.first, m.last + 1):
        _observe_times(p, row, i, reservoir_of(row, i, j, quantity), at, unit)
        at += N_STATISTICS
    if m.own_weight:
        row.obs[i, at] = tilt_of(p, row, i, j, mean) / p.acting.clip
        at += 1
        if p.acting.base != NOMINAL:
            row.obs[i, at] = lean_of(row, i, j) / p.acting.latency_clip
            at += 1
    if m.nominal_weight:
        row.obs[i, at] = row.servers[j].nominal / _largest_weight(row) if m.log else row.servers[j].nominal
        at += 1
    if m.mask:
        row.obs[i, at] = 1.0


@part
def _largest_weight(row: Row) -> float:
    most = 0.0
    for j in range(len(row.servers)):
        most = max(most, row.servers[j].nominal)
    return most


@part
def _observe(p: Parameters, row: Row) -> None:
    """Write the observations of all balancers."""
    n = p.measuring.n_features
    for i in range(len(row.balancers)):
        mean, unit = mean_tilt(row, i), _unit(p, row, i)
        for j in range(len(row.servers)):
            if row.servers[j].known:
                _observe_server(p, row, i, j, mean, unit)
            else:
                for at in range(j * n, (j + 1) * n):
                    row.obs[i, at] = 0.0
        if p.measuring.own_arrivals:
            row.obs[i, len(row.servers) * n] = _count_feature(p, float(row.balancers[i].arrivals))


@part
def _merge(p: Parameters, row: Row) -> None:
    """Write the state as features of servers: on-going flows of all balancers, means of the other features."""
    n_balancers, m, n = len(row.balancers), p.measuring, p.measuring.n_base
    for j in range(len(row.servers)):
        for k in range(n):
            total = 0.0
            for i in range(n_balancers):
                total += row.obs[i, j * m.n_features + k]
            row.state[j * n + k] = total / n_balancers
        count = 0.0
        for i in range(n_balancers):
            count += row.pairs[i, j].count
        row.state[j * n] = _count_feature(p, count) if row.servers[j].known else 0.0


@part
def _concatenate(row: Row) -> None:
    """Write the state as all observations."""
    n_balancers, n = row.obs.shape
    for i in range(n_balancers):
        for k in range(n):
            row.state[i * n + k] = row.obs[i, k]


@part
def _reveal(p: Parameters, row: Row) -> None:
    """Write the state as the truth about servers and time, which only a simulator knows."""
    most, state = 1e-9, row.state
    for cpus in p.traffic.cpus:
        most = max(most, cpus * p.traffic.speed)
    for j in range(len(row.servers)):
        server = row.servers[j]
        state[6 * j] = server.load / p.traffic.max_clients
        state[6 * j + 1] = server.busy / max(server.limit, 1)
        state[6 * j + 2] = (server.load - server.busy) / max(p.traffic.max_clients - server.limit, 1)
        state[6 * j + 3] = server.work / max(server.cpus, 1.0)
        state[6 * j + 4] = server.cpus * server.speed / most
        state[6 * j + 5] = 1.0 if server.known else 0.0
    end = 6 * len(row.servers)
    state[end] = row.rates[row.episode.instant]
    state[end + 1] = (row.episode.instant - p.scenario.warmup) / p.scenario.length


@part
def _note_latencies(p: Parameters, row: Row) -> None:
    """Let latency control see what balancers see now."""
    for i in range(len(row.balancers)):
        for j in range(len(row.servers)):
            row.pairs[i, j].latency = row.reservoirs[reservoir_of(row, i, j, COMPLETION)].decayed_mean


@part
def observe_balancers(p: Parameters, row: Row) -> None:
    """Write observations, and what latency control acts on, from the statistics last taken."""
    _observe(p, row)
    _note_latencies(p, row)


@part
def observe(p: Parameters, row: Row) -> None:
    """Write observations and state from the statistics last taken."""
    observe_balancers(p, row)
    if p.measuring.state == SERVER:
        _merge(p, row)
    elif p.measuring.state == CONCAT:
        _concatenate(row)
    else:
        _reveal(p, row)


@part
def offer(p: Parameters, row: Row) -> None:
    """Write which actions are available: those about servers that are known, and doing nothing.

    Without any known server all are, so that there is a choice.
    """
    n_slots, any_known = len(row.servers), False
    for j in range(n_slots):
        any_known |= row.servers[j].known
    n_balancers, n = row.avail.shape
    first = 0 if p.acting.mode == FAVOUR else 1
    for i in range(n_balancers):
        row.avail[i, 0] = True
        for u in range(first, n):
            row.avail[i, u] = row.servers[(u - first) % n_slots].known or not any_known
