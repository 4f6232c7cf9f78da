"""The queues: processor sharing and first-come-first-served, exact between events.

Each flow in service on a server with k of them progresses at the rate ``speed * min(1, cpus / k)``. The server's virtual
time advances at that rate, and a flow that enters service finishes when it has advanced by the flow's size; so an event
costs the server it is about, and nothing else. First-come-first-served is the case in which at most as many flows are
in service as there are CPUs.
"""

from __future__ import annotations

import math

from .compiled import part
from .draws import PACKETS, next_exponential
from .layout import Flows, Servers, World
from .parameters import Parameters
from .reservoirs import COMPLETION, DURATION, insert, reservoir


@part
def touch(servers: Servers, b: int, j: int, t: float) -> None:
    """Bring a server's virtual time, remaining work and areas up to time t."""
    elapsed = t - servers.stamp[b, j]
    servers.stamp[b, j] = t
    busy = servers.busy[b, j]
    if busy == 0:
        return
    cores = min(float(busy), servers.cpus[b, j])
    served = elapsed * servers.speed[b, j] * cores
    servers.virtual[b, j] += served / busy
    servers.work[b, j] -= served
    servers.core_area[b, j] += elapsed * cores
    servers.busy_area[b, j] += elapsed * busy
    servers.load_area[b, j] += elapsed * servers.load[b, j]


@part
def plan(servers: Servers, b: int, j: int) -> None:
    """Compute when a server that was just touched completes its next flow."""
    busy, speed = servers.busy[b, j], servers.speed[b, j]
    if busy == 0 or speed == 0.0:
        servers.due[b, j] = math.inf
        return
    missing = servers.marks[b, j, servers.first[b, j]] - servers.virtual[b, j]
    cores = min(float(busy), servers.cpus[b, j])
    servers.due[b, j] = servers.stamp[b, j] + max(missing, 0.0) * busy / (speed * cores)


@part
def _serve(servers: Servers, flows: Flows, b: int, j: int, f: int) -> None:
    """Put a flow into service."""
    slot = servers.busy[b, j]
    mark = servers.virtual[b, j] + flows.size[b, f]
    servers.serving[b, j, slot] = f
    servers.marks[b, j, slot] = mark
    servers.busy[b, j] = slot + 1
    if slot == 0 or mark < servers.marks[b, j, servers.first[b, j]]:
        servers.first[b, j] = slot


@part
def _find_first(servers: Servers, b: int, j: int) -> None:
    """Find the flow in service that will finish first."""
    best = 0
    for slot in range(1, servers.busy[b, j]):
        if servers.marks[b, j, slot] < servers.marks[b, j, best]:
            best = slot
    servers.first[b, j] = best


@part
def enqueue(p: Parameters, servers: Servers, flows: Flows, b: int, j: int, f: int, t: float) -> None:
    """Give a flow to a server that has room."""
    touch(servers, b, j, t)
    load = servers.load[b, j]
    servers.load[b, j] = load + 1
    servers.work[b, j] += flows.size[b, f]
    if load + 1 == p.traffic.max_clients:
        servers.full[b, j] = True
    if servers.busy[b, j] < servers.limit[b, j]:
        _serve(servers, flows, b, j, f)
        plan(servers, b, j)
    else:
        waiting = load - servers.busy[b, j]
        servers.backlog[b, j, (servers.head[b, j] + waiting) % p.traffic.max_clients] = f


@part
def dequeue(p: Parameters, servers: Servers, flows: Flows, b: int, j: int, t: float) -> int:
    """Complete a server's next flow at time t; returns its place."""
    touch(servers, b, j, t)
    slot, last = servers.first[b, j], servers.busy[b, j] - 1
    f = servers.serving[b, j, slot]
    servers.serving[b, j, slot] = servers.serving[b, j, last]
    servers.marks[b, j, slot] = servers.marks[b, j, last]
    servers.busy[b, j] = last
    servers.load[b, j] -= 1
    if servers.load[b, j] > last:
        head = servers.head[b, j]
        servers.head[b, j] = (head + 1) % p.traffic.max_clients
        servers.first[b, j] = 0
        _serve(servers, flows, b, j, servers.backlog[b, j, head])
    if servers.load[b, j] == 0:  # starting over keeps rounding from adding up
        servers.virtual[b, j] = 0.0
        servers.work[b, j] = 0.0
    _find_first(servers, b, j)
    plan(servers, b, j)
    return f


@part
def flow_at(p: Parameters, servers: Servers, b: int, j: int, n: int) -> int:
    """Place of the n-th flow on a server, first those in service and then the backlog."""
    busy = servers.busy[b, j]
    if n < busy:
        return servers.serving[b, j, n]
    return servers.backlog[b, j, (servers.head[b, j] + n - busy) % p.traffic.max_clients]


@part
def hear(p: Parameters, w: World, b: int, j: int, f: int, until: float) -> None:
    """Sample the duration of a flow at each of its packets up to a time (a Poisson process)."""
    t = w.flows.next_ack[b, f]
    if t > until:
        return
    i, start = w.flows.balancer[b, f], w.flows.start[b, f]
    r = reservoir(DURATION, i, j, w.balancers.counts.shape[1], w.servers.cpus.shape[1])
    while t <= until:
        insert(p.measuring, w.samples, w.clock, b, r, t, t - start)
        t += next_exponential(w.clock, b, PACKETS) / p.measuring.ack_rate
    w.flows.next_ack[b, f] = t


@part
def leave(w: World, b: int, j: int, f: int) -> None:
    """Forget a flow: its balancer has seen its end."""
    w.balancers.counts[b, w.flows.balancer[b, f], j] -= 1
    w.flows.free[b, w.flows.n_free[b]] = f
    w.flows.n_free[b] += 1


@part
def complete(p: Parameters, w: World, b: int, j: int, t: float) -> None:
    """A flow finishes: sample, count and forget it."""
    f = dequeue(p, w.servers, w.flows, b, j, t)
    i = w.flows.balancer[b, f]
    hear(p, w, b, j, f, t)
    jct = t - w.flows.start[b, f]
    r = reservoir(COMPLETION, i, j, w.balancers.counts.shape[1], w.servers.cpus.shape[1])
    insert(p.measuring, w.samples, w.clock, b, r, t, jct)
    w.interval.finished[b, i] += 1
    w.interval.jct[b, i] += jct
    w.totals.lifetime[b, 1] += 1
    w.totals.slowdown[b] += jct / max(w.flows.size[b, f], 1e-9)
    record(w, b, jct, i, w.flows.kind[b, f])
    leave(w, b, j, f)


@part
def record(w: World, b: int, jct: float, i: int, kind: int) -> None:
    """Note a completion time for the episode's metrics."""
    n = w.totals.n_jct[b]
    if n < w.totals.jct.shape[1]:
        w.totals.jct[b, n] = jct
        w.totals.label[b, n] = 2 * i + kind
        w.totals.n_jct[b] = n + 1


@part
def fail(p: Parameters, w: World, b: int, j: int, t: float) -> None:
    """A server fails: all its flows are reset."""
    for n in range(w.servers.load[b, j]):
        f = flow_at(p, w.servers, b, j, n)
        hear(p, w, b, j, f, t)
        w.interval.drops[b, w.flows.balancer[b, f]] += 1
        w.totals.lifetime[b, 2] += 1
        leave(w, b, j, f)
    w.servers.busy[b, j] = 0
    w.servers.load[b, j] = 0
    w.servers.virtual[b, j] = 0.0
    w.servers.work[b, j] = 0.0
