"""New flows: when they arrive, at which balancer, how large they are, and whether a server takes them."""

from __future__ import annotations

import math

import numpy as np

from ...components.compiled import part
from .dispatch import choose
from .draws import (
    BALANCER,
    GAP,
    KIND,
    PACKETS,
    SCENARIO,
    SIZE_1,
    flow_exponential,
    flow_normal,
    flow_uniform,
    next_exponential,
    next_uniform,
)
from .layout import Row
from .parameters import Parameters
from .servers import enqueue, note_change, record

EXPONENTIAL, LOGNORMAL = 0, 1
WIKI, STATIC = 0, 1
_ONE = np.uint64(1)


@part
def schedule(p: Parameters, row: Row, t: float) -> None:
    """Set the time of the next arrival after one at time t."""
    episode, traffic = row.episode, p.traffic
    if episode.n_flows >= np.uint64(traffic.n_flows):
        episode.next_arrival = math.inf
    elif not traffic.use_trace_times:
        episode.next_arrival = t + flow_exponential(row, GAP) / episode.rate
    else:
        if episode.trace_at == len(traffic.trace_times) and traffic.trace_loop:
            episode.trace_at = 0
            episode.trace_shift += traffic.trace_period
        over = episode.trace_at == len(traffic.trace_times)
        episode.next_arrival = math.inf if over else traffic.trace_times[episode.trace_at] + episode.trace_shift


@part
def start_trace(p: Parameters, row: Row) -> None:
    """Choose a random place of the trace to start an episode at."""
    start = next_uniform(row.streams[SCENARIO]) * p.traffic.trace_slack
    at = 0
    while at < len(p.traffic.trace_times) and p.traffic.trace_times[at] < start:
        at += 1
    row.episode.trace_at = at
    row.episode.trace_shift = -start


@part
def change_rate(p: Parameters, row: Row, rate: float) -> None:
    """A new rate of the Poisson process; what is left of the current gap shrinks or grows with it, which is exact."""
    episode = row.episode
    if rate != episode.rate and not p.traffic.use_trace_times:
        episode.next_arrival = episode.now + (episode.next_arrival - episode.now) * episode.rate / rate
        episode.rate = rate


@part
def size_of(p: Parameters, row: Row) -> tuple[float, int]:
    """Size and kind of the next flow, before the factor of the episode."""
    traffic = p.traffic
    if traffic.use_trace_sizes:
        at = row.episode.trace_at
        if not traffic.use_trace_times:
            at = np.int64(flow_uniform(row, SIZE_1) * len(traffic.trace_sizes))
        return traffic.trace_sizes[at], traffic.trace_kinds[at]
    if traffic.size_kind == EXPONENTIAL:
        return traffic.mean_size * flow_exponential(row, SIZE_1), WIKI
    if traffic.size_kind == LOGNORMAL or flow_uniform(row, KIND) < traffic.wiki_share:
        return math.exp(traffic.size_log_mean + traffic.size_sigma * flow_normal(row)), WIKI
    return traffic.static_mean * flow_exponential(row, SIZE_1), STATIC


@part
def entrance(row: Row) -> int:
    """The balancer at which the next flow arrives."""
    u = flow_uniform(row, BALANCER)
    i, last = 0, len(row.balancers) - 1
    while i < last and u >= row.balancers[i].share:
        i += 1
    return i


@part
def arrive(p: Parameters, row: Row, t: float, rule: int) -> None:
    """A flow arrives: dispatch it, admit or refuse it, and schedule the next one."""
    episode = row.episode
    size, kind = size_of(p, row)
    size *= episode.size_factor
    i = entrance(row)
    episode.n_flows += _ONE
    episode.trace_at += 1
    episode.arrived += 1
    row.balancers[i].arrivals += 1
    j = choose(p, row, i, size, t, rule)
    if j >= 0 and row.servers[j].load < p.traffic.max_clients and row.servers[j].speed > 0.0:
        _admit(p, row, i, j, size, kind, t)
    else:
        row.balancers[i].drops += 1
        episode.dropped += 1
        if p.traffic.reject_seconds >= 0.0:
            record(row, p.traffic.reject_seconds, i, kind)
    schedule(p, row, t)


@part
def _admit(p: Parameters, row: Row, i: int, j: int, size: float, kind: int, t: float) -> None:
    row.episode.n_free -= 1
    f = row.free[row.episode.n_free]
    flow = row.flows[f]
    flow.start = t
    flow.size = size
    flow.balancer = i
    flow.kind = kind
    flow.next_ack = math.inf
    if p.measuring.ack_rate > 0.0:
        flow.next_ack = t + next_exponential(row.streams[PACKETS]) / p.measuring.ack_rate
    row.pairs[i, j].count += 1
    note_change(row, i, j)
    enqueue(row, j, f, t)
