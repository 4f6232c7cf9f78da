"""New flows: when they arrive, at which balancer, how large they are, and whether a server takes them."""

from __future__ import annotations

import math

import numpy as np

from .compiled import part
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
from .layout import World
from .parameters import Parameters
from .servers import enqueue, record

EXPONENTIAL, LOGNORMAL = 0, 1
WIKI, STATIC = 0, 1
_ONE = np.uint64(1)


@part
def schedule(p: Parameters, w: World, b: int, t: float) -> None:
    """Set the time of the next arrival after one at time t."""
    clock, traffic = w.clock, p.traffic
    if clock.flow[b] >= np.uint64(traffic.n_flows):
        clock.next_arrival[b] = math.inf
    elif not traffic.use_trace_times:
        clock.next_arrival[b] = t + flow_exponential(clock, b, GAP) / clock.rate[b]
    else:
        if clock.trace_at[b] == len(traffic.trace_times) and traffic.trace_loop:
            clock.trace_at[b] = 0
            clock.trace_shift[b] += traffic.trace_period
        at = clock.trace_at[b]
        clock.next_arrival[b] = (
            traffic.trace_times[at] + clock.trace_shift[b] if at < len(traffic.trace_times) else math.inf
        )


@part
def start_trace(p: Parameters, w: World, b: int) -> None:
    """Choose a random place of the trace to start an episode at."""
    traffic = p.traffic
    times = traffic.trace_times
    start = times[0] + next_uniform(w.clock, b, SCENARIO) * traffic.trace_slack
    w.clock.trace_at[b] = np.searchsorted(times, start)
    w.clock.trace_shift[b] = -start


@part
def change_rate(p: Parameters, w: World, b: int, rate: float, t: float) -> None:
    """A new rate of the Poisson process; what is left of the current gap shrinks or grows with it, which is exact."""
    if rate != w.clock.rate[b] and not p.traffic.use_trace_times:
        w.clock.next_arrival[b] = t + (w.clock.next_arrival[b] - t) * w.clock.rate[b] / rate
        w.clock.rate[b] = rate


@part
def _size(p: Parameters, w: World, b: int) -> tuple[float, int]:
    """Size and kind of the next flow."""
    traffic, clock = p.traffic, w.clock
    if traffic.use_trace_sizes:
        at = clock.trace_at[b]
        if not traffic.use_trace_times:
            at = np.int64(flow_uniform(clock, b, SIZE_1) * len(traffic.trace_sizes))
        return traffic.trace_sizes[at], traffic.trace_kinds[at]
    if traffic.size_kind == EXPONENTIAL:
        return traffic.mean_size * flow_exponential(clock, b, SIZE_1), WIKI
    if traffic.size_kind == LOGNORMAL or flow_uniform(clock, b, KIND) < traffic.wiki_share:
        return math.exp(traffic.size_log_mean + traffic.size_sigma * flow_normal(clock, b)), WIKI
    return traffic.static_mean * flow_exponential(clock, b, SIZE_1), STATIC


@part
def _entrance(w: World, b: int) -> int:
    """The balancer at which the next flow arrives."""
    u = flow_uniform(w.clock, b, BALANCER)
    i, last = 0, w.clock.share.shape[1] - 1
    while i < last and u >= w.clock.share[b, i]:
        i += 1
    return i


@part
def arrive(p: Parameters, w: World, b: int, t: float, rule: int) -> None:
    """A flow arrives: dispatch it, admit or refuse it, and schedule the next one."""
    size, kind = _size(p, w, b)
    i = _entrance(w, b)
    w.clock.flow[b] += _ONE
    w.clock.trace_at[b] += 1
    w.interval.arrivals[b, i] += 1
    w.totals.lifetime[b, 0] += 1
    j = choose(w, b, i, size, t, rule)
    if j < 0 or w.servers.load[b, j] >= p.traffic.max_clients or w.servers.speed[b, j] == 0.0:
        w.interval.drops[b, i] += 1
        w.totals.lifetime[b, 2] += 1
        if p.traffic.reject_seconds >= 0.0:
            record(w, b, p.traffic.reject_seconds, i, kind)
    else:
        _admit(p, w, b, i, j, size, kind, t)
    schedule(p, w, b, t)


@part
def _admit(p: Parameters, w: World, b: int, i: int, j: int, size: float, kind: int, t: float) -> None:
    flows = w.flows
    flows.n_free[b] -= 1
    f = flows.free[b, flows.n_free[b]]
    flows.start[b, f] = t
    flows.size[b, f] = size
    flows.balancer[b, f] = i
    flows.kind[b, f] = kind
    flows.next_ack[b, f] = math.inf
    if p.measuring.ack_rate > 0.0:
        flows.next_ack[b, f] = t + next_exponential(w.clock, b, PACKETS) / p.measuring.ack_rate
    w.balancers.counts[b, i, j] += 1
    enqueue(p, w.servers, flows, b, j, f, t)
