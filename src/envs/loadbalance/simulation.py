"""The compiled simulation: events between control instants, and the two entry points `reset_rows` and `step_rows`.

Between control instants the only events are arrivals and completions, handled in order of time, so the simulation is
exact. Rows do not touch each other: calls for disjoint ranges of rows may run in different threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .arrivals import arrive, schedule, start_trace
from .compiled import entry_point, part, shared_part, sources
from .dispatch import SED, decode, prescribe
from .draws import PACKETS, next_uniform
from .layout import Flags, Floats, Integers, World
from .observations import observe, offer, take_stock
from .parameters import Parameters
from .reservoirs import clear
from .rewards import add_up, read_field, reward
from .scenarios import apply_script, write_script
from .servers import complete

CONTROL_OFF = -1
"""In place of a rule: the agents' actions decide."""


@shared_part
def advance(p: Parameters, w: World, b: int, until: float, rule: int) -> None:
    """Handle all events of a row up to a time."""
    due, n_slots = w.servers.due, w.servers.due.shape[1]
    while True:
        t, at = w.clock.next_arrival[b], -1
        for j in range(n_slots):
            if due[b, j] < t:
                t, at = due[b, j], j
        if t > until:
            break
        if at < 0:
            arrive(p, w, b, t, rule)
        else:
            complete(p, w, b, at, t)
    w.clock.now[b] = until


@part
def _clear_interval(w: World, b: int) -> None:
    w.interval.finished[b] = 0
    w.interval.drops[b] = 0
    w.interval.jct[b] = 0.0
    w.servers.load_area[b] = 0.0
    w.servers.busy_area[b] = 0.0
    w.servers.core_area[b] = 0.0
    w.servers.full[b] = False


@part
def _clear_totals(w: World, b: int) -> None:
    w.totals.arrivals[b] = 0
    w.totals.finished[b] = 0
    w.totals.drops[b] = 0
    w.totals.slowdown[b] = 0.0
    w.totals.busy_area[b] = 0.0
    w.totals.core_area[b] = 0.0
    w.totals.actions[b] = 0
    w.totals.sums[b] = 0.0
    w.totals.n_jct[b] = 0


@part
def _clear_row(p: Parameters, w: World, b: int) -> None:
    """Empty servers, no flows, time 0."""
    w.clock.now[b] = 0.0
    w.clock.instant[b] = 0
    w.clock.flow[b] = np.uint64(0)
    w.clock.trace_at[b] = 0
    w.clock.drawn[b] = np.uint64(0)
    for x in (w.servers.busy, w.servers.load, w.servers.head, w.servers.first):
        x[b] = 0
    for y in (w.servers.virtual, w.servers.stamp, w.servers.work):
        y[b] = 0.0
    w.servers.due[b] = np.inf
    n = w.flows.free.shape[1]
    w.flows.n_free[b] = n
    for f in range(n):
        w.flows.free[b, f] = n - 1 - f
    w.balancers.counts[b] = 0
    w.balancers.tilt[b] = 0.0
    w.balancers.delay[b] = 0.0
    clear(p.measuring, w.samples, b)
    _clear_interval(w, b)
    _clear_totals(w, b)
    w.totals.lifetime[b] = 0
    w.interval.arrivals[b] = 0


@part
def _take_over(w: World, b: int, i: int) -> None:
    """The data plane of a balancer starts to use its new weights."""
    for j in range(w.balancers.weights.shape[2]):
        w.balancers.weights[b, i, j] = w.balancers.pending[b, i, j]


@shared_part
def interval(p: Parameters, w: World, b: int, rule: int) -> None:
    """One control interval with the pending weights; the changes at its end belong to the next one."""
    w.interval.arrivals[b] = 0
    n_balancers, start = w.balancers.weights.shape[1], w.clock.now[b]
    end = start + p.scenario.dt
    if p.acting.delay > 0.0:
        for i in range(n_balancers):
            w.balancers.delay[b, i] = min(p.acting.delay, p.scenario.dt) * next_uniform(w.clock, b, PACKETS)
        for _ in range(n_balancers):
            i = int(np.argmin(w.balancers.delay[b]))
            advance(p, w, b, start + w.balancers.delay[b, i], rule)
            _take_over(w, b, i)
            w.balancers.delay[b, i] = np.inf
    else:
        for i in range(n_balancers):
            _take_over(w, b, i)
    if p.measuring.delay > 0.0:
        advance(p, w, b, end - min(p.measuring.delay, p.scenario.dt) * next_uniform(w.clock, b, PACKETS), rule)
        take_stock(p, w, b)
        observe(p, w, b)
    advance(p, w, b, end, rule)
    w.clock.instant[b] += 1
    take_stock(p, w, b)


def _compile(version: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The entry points; the version becomes part of numba's key in its cache of compiled functions."""

    @entry_point
    def reset_rows(p: Parameters, w: World, first: int, last: int, where: Flags) -> int:
        nominal = w.script.speeds[:0]
        for b in range(first, last):
            w.out.obs[b] = 0.0
            w.out.state[b] = 0.0
            w.out.avail[b] = False
            w.out.reward[b] = 0.0
            if not where[b]:
                continue
            _clear_row(p, w, b)
            write_script(p, w, b)
            w.servers.speed[b] = w.script.speeds[b, 0]
            w.servers.known[b] = w.script.known[b, 0]
            w.clock.rate[b] = w.clock.base_rate[b] * w.script.rates[b, 0]
            if p.traffic.use_trace_times:
                start_trace(p, w, b)
            schedule(p, w, b, 0.0)
            for _ in range(p.scenario.warmup):
                prescribe(p, w, b, SED, nominal)
                interval(p, w, b, SED)
                _clear_interval(w, b)
                apply_script(p, w, b)
            _clear_totals(w, b)
            take_stock(p, w, b)
            read_field(p, w, b, 1.0)
            observe(p, w, b)
            offer(p, w, b)
        return version

    @entry_point
    def step_rows(
        p: Parameters,
        w: World,
        first: int,
        last: int,
        active: Flags,
        actions: Integers,
        rule: int,
        learned_rule: int,
        weights: Floats,
    ) -> int:
        for b in range(first, last):
            w.out.reward[b] = 0.0
            if not active[b]:
                w.out.obs[b] = 0.0
                w.out.state[b] = 0.0
                w.out.avail[b] = False
                continue
            if rule == CONTROL_OFF:
                decode(p, w, b, actions)
                interval(p, w, b, learned_rule)
            else:
                prescribe(p, w, b, rule, weights)
                interval(p, w, b, rule)
            first_step = w.clock.instant[b] == p.scenario.warmup + 1
            smoothing = p.rewarding.smoothing
            read_field(p, w, b, 0.0 if first_step and smoothing < 1.0 else smoothing)
            reward(p, w, b)
            add_up(p, w, b, actions, rule != CONTROL_OFF)
            _clear_interval(w, b)
            apply_script(p, w, b)
            if p.measuring.delay == 0.0:
                observe(p, w, b)
            offer(p, w, b)
        return version

    return reset_rows, step_rows


reset_rows, step_rows = _compile(sources())
