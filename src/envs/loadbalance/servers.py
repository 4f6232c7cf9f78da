"""The queues: processor sharing and first-come-first-served, exact between events.

Each flow in service on a server with k of them progresses at the rate ``speed * min(1, cpus / k)``. The server's
virtual time advances at that rate, and a flow that enters service finishes when it has advanced by the flow's size; so
an event costs the server it is about, and nothing else. First-come-first-served is the case in which at most as many
flows are in service as there are CPUs.
"""

from __future__ import annotations

import math

from ...components.compiled import part
from .draws import PACKETS, next_exponential
from .layout import Record, Row
from .parameters import AFTER, COMPLETION, DURATION, Parameters
from .reservoirs import offer_sample, reservoir_of


@part
def touch(server: Record, t: float) -> None:
    """Bring a server's virtual time, remaining work and areas up to time t."""
    elapsed = t - server.stamp
    server.stamp = t
    if server.busy == 0:
        return
    busy = float(server.busy)
    cores = min(busy, server.cpus)
    served = elapsed * server.speed * cores
    server.virtual += served / busy
    server.work -= served
    server.core_area += elapsed * cores
    server.busy_area += elapsed * busy
    server.load_area += elapsed * server.load


@part
def plan(row: Row, j: int) -> None:
    """Compute when a server that was just touched completes its next flow."""
    server = row.servers[j]
    if server.busy == 0 or server.speed == 0.0:
        server.due = math.inf
        return
    missing = max(row.slots[j, server.first].mark - server.virtual, 0.0)
    busy = float(server.busy)
    server.due = server.stamp + missing * busy / (server.speed * min(busy, server.cpus))


@part
def _serve(row: Row, j: int, f: int) -> None:
    """Put a flow into service."""
    server = row.servers[j]
    at = server.busy
    slot = row.slots[j, at]
    slot.flow = f
    slot.mark = server.virtual + row.flows[f].size
    server.busy = at + 1
    if at == 0 or slot.mark < row.slots[j, server.first].mark:
        server.first = at


@part
def _find_first(row: Row, j: int) -> None:
    """Find the flow in service that will finish first."""
    best, least = 0, math.inf
    for at in range(row.servers[j].busy):
        mark = row.slots[j, at].mark
        if mark < least:
            best, least = at, mark
    row.servers[j].first = best


@part
def enqueue(row: Row, j: int, f: int, t: float) -> None:
    """Give a flow to a server that has room."""
    server = row.servers[j]
    touch(server, t)
    waiting, places = server.load - server.busy, row.backlog.shape[1]
    server.load += 1
    server.work += row.flows[f].size
    if server.load == places:
        server.full = True
    if server.busy < server.limit:
        _serve(row, j, f)
        plan(row, j)
    else:
        row.backlog[j, (server.head + waiting) % places] = f


@part
def dequeue(row: Row, j: int, t: float) -> int:
    """Complete a server's next flow at time t; returns its place."""
    server = row.servers[j]
    touch(server, t)
    done, last = row.slots[j, server.first], row.slots[j, server.busy - 1]
    f = done.flow
    done.flow = last.flow
    done.mark = last.mark
    server.busy -= 1
    server.load -= 1
    if server.load > server.busy:
        waiting = row.backlog[j, server.head]
        server.head = (server.head + 1) % row.backlog.shape[1]
        server.first = 0
        _serve(row, j, waiting)
    if server.load == 0:  # starting over keeps rounding from adding up
        server.virtual = 0.0
        server.work = 0.0
    _find_first(row, j)
    plan(row, j)
    return f


@part
def flow_at(row: Row, j: int, n: int) -> int:
    """Place of the n-th flow on a server, first those in service and then the backlog."""
    server = row.servers[j]
    if n < server.busy:
        return row.slots[j, n].flow
    return row.backlog[j, (server.head + n - server.busy) % row.backlog.shape[1]]


@part
def hear(p: Parameters, row: Row, j: int, f: int, until: float) -> None:
    """Sample the duration of a flow at each of its packets up to a time (a Poisson process)."""
    flow = row.flows[f]
    t = flow.next_ack
    if t > until:
        return
    packets = row.streams[PACKETS]
    r = reservoir_of(row, flow.balancer, j, DURATION)
    while t <= until:
        offer_sample(p.measuring, row, packets, r, t, t - flow.start)
        t += next_exponential(packets) / p.measuring.ack_rate
    flow.next_ack = t


@part
def note_change(row: Row, i: int, j: int) -> None:
    """The number of balancer i's flows on a server has changed, or the weight: among equals, others come first now."""
    row.balancers[i].clock += 1
    row.pairs[i, j].changed = row.balancers[i].clock


@part
def leave(row: Row, j: int, f: int) -> None:
    """Forget a flow: its balancer has seen its end."""
    i = row.flows[f].balancer
    row.pairs[i, j].count -= 1
    note_change(row, i, j)
    row.free[row.episode.n_free] = f
    row.episode.n_free += 1


@part
def complete(p: Parameters, row: Row, j: int, t: float) -> None:
    """A flow finishes: sample, count and forget it."""
    f = dequeue(row, j, t)
    flow = row.flows[f]
    hear(p, row, j, f, t)
    jct = t - flow.start
    r = reservoir_of(row, flow.balancer, j, COMPLETION)
    offer_sample(p.measuring, row, row.streams[PACKETS], r, t, jct)
    balancer = row.balancers[flow.balancer]
    balancer.finished += 1
    balancer.jct += jct
    row.episode.finished += 1
    row.episode.slowdown += jct / max(flow.size, 1e-9)
    record(row, jct, flow.balancer, flow.kind)
    _add_to_phase(row.episode, t, jct)
    leave(row, j, f)


@part
def _add_to_phase(episode: Record, t: float, jct: float) -> None:
    """Count a completion time as one before, soon after or long after a swap of servers."""
    if t < episode.swapped:
        episode.jct_before += jct
        episode.n_before += 1
    elif t < episode.swapped + AFTER:
        episode.jct_after += jct
        episode.n_after += 1
    else:
        episode.jct_later += jct
        episode.n_later += 1


@part
def record(row: Row, jct: float, i: int, kind: int) -> None:
    """Note a completion time for the episode's metrics."""
    n = row.episode.n_jct
    if n < len(row.jct):
        row.jct[n] = jct
        row.label[n] = 2 * i + kind
        row.episode.n_jct = n + 1


@part
def fail(p: Parameters, row: Row, j: int, t: float) -> None:
    """A server that was just touched fails: all its flows are reset."""
    server = row.servers[j]
    for n in range(server.load):
        f = flow_at(row, j, n)
        hear(p, row, j, f, t)
        row.balancers[row.flows[f].balancer].drops += 1
        row.episode.dropped += 1
        leave(row, j, f)
    server.busy = 0
    server.load = 0
    server.virtual = 0.0
    server.work = 0.0
