"""The compiled simulation: events between control instants, and the entry point `play_rows`.

Between control instants the only events are arrivals and completions, handled in order of time, so the simulation is
exact. Rows do not touch each other: calls for disjoint ranges of rows may run in different threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...components import rng
from ...components.compiled import entry_point, part, pasted_part, shared_part, sources
from .arrivals import arrive, schedule, start_trace
from .dispatch import (
    BY_ESTIMATE,
    BY_LATENCY,
    LATENCY,
    NO_LEVELS,
    NOMINAL,
    PRETRAINED,
    control,
    decode,
    in_use,
    prescribe,
    weigh,
)
from .draws import PACKETS, next_uniform
from .layout import Flags, Integers, Row, World
from .observations import observe, offer, take_stock
from .parameters import AGENTS, Parameters
from .reservoirs import clear
from .rewards import add_up, read_field, reward
from .scenarios import apply_script, start_script, write_script
from .servers import complete, note_change


@pasted_part
def row_of(w: World, b: int) -> Row:
    """One environment."""
    return Row(
        w.episode[b],
        w.streams[b],
        w.balancers[b],
        w.servers[b],
        w.slots[b],
        w.backlog[b],
        w.flows[b],
        w.free[b],
        w.pairs[b],
        w.reservoirs[b],
        w.samples[b],
        w.by_value[b],
        w.by_weighted[b],
        w.changes[b],
        w.rates[b],
        w.jct[b],
        w.label[b],
        w.choices[b],
        w.obs[b],
        w.state[b],
        w.avail[b],
        w.reward[b],
    )


@part
def _next_event(row: Row) -> tuple[float, int]:
    """Time of the next event, and the server that completes a flow, -1 for an arrival."""
    t, at = row.episode.next_arrival, -1
    for j in range(len(row.servers)):
        if row.servers[j].due < t:
            t, at = row.servers[j].due, j
    return t, at


@part
def _next_takeover(row: Row) -> tuple[float, int]:
    """Time until a data plane takes over new weights, and its balancer; infinite when all have."""
    delay, at = math.inf, -1
    for i in range(len(row.balancers)):
        if row.balancers[i].delay < delay:
            delay, at = row.balancers[i].delay, i
    return delay, at


@part
def _take_over(p: Parameters, row: Row, i: int) -> None:
    """The data plane of a balancer starts to use its new weights."""
    row.balancers[i].delay = math.inf
    for j in range(len(row.servers)):
        weight = in_use(p, row.pairs[i, j].pending)
        if weight != row.pairs[i, j].weight:
            note_change(row, i, j)
        row.pairs[i, j].weight = weight


@part
def _draw_delays(p: Parameters, row: Row) -> float:
    """Draw when data planes take over new weights; returns the age of the next observation."""
    random = row.streams[PACKETS]
    for i in range(len(row.balancers)):
        row.balancers[i].delay = p.acting.delay * next_uniform(random) if p.acting.delay > 0.0 else 0.0
    return p.measuring.delay * next_uniform(random) if p.measuring.delay > 0.0 else -1.0


@shared_part
def interval(p: Parameters, row: Row, rule: int) -> None:
    """One control interval with the pending weights; the changes at its end belong to the next one."""
    start = row.episode.now
    end = start + p.scenario.dt
    for i in range(len(row.balancers)):
        row.balancers[i].arrivals = 0
    age = _draw_delays(p, row)
    takeover, at = _next_takeover(row)
    while True:
        t, j = _next_event(row)
        stop = min(start + takeover, end - age if age >= 0.0 else end)
        if t <= stop:
            if j < 0:
                arrive(p, row, t, rule)
            else:
                complete(p, row, j, t)
            continue
        row.episode.now = stop
        if at >= 0 and stop == start + takeover:
            _take_over(p, row, at)
            takeover, at = _next_takeover(row)
            continue
        take_stock(p, row)
        if age < 0.0:
            break
        observe(p, row)
        age = -1.0
    row.episode.instant += 1


@part
def _clear_interval(row: Row) -> None:
    for i in range(len(row.balancers)):
        balancer = row.balancers[i]
        balancer.finished = 0
        balancer.drops = 0
        balancer.jct = 0.0
    for j in range(len(row.servers)):
        server = row.servers[j]
        server.load_area = 0.0
        server.busy_area = 0.0
        server.core_area = 0.0
        server.full = False


@part
def _clear_totals(row: Row) -> None:
    episode = row.episode
    episode.n_jct = 0
    episode.slowdown = 0.0
    episode.jain_q = 0.0
    episode.jain_tau = 0.0
    episode.fair_product = 0.0
    episode.fair_geo = 0.0
    episode.makespan = 0.0
    episode.overload_frac = 0.0
    episode.weight_range = 0.0
    episode.jct_before = 0.0
    episode.jct_after = 0.0
    episode.jct_later = 0.0
    episode.n_before = 0
    episode.n_after = 0
    episode.n_later = 0
    for i in range(len(row.balancers)):
        balancer = row.balancers[i]
        balancer.all_arrivals = 0
        balancer.all_finished = 0
        balancer.all_drops = 0
    for j in range(len(row.servers)):
        row.servers[j].all_busy = 0.0
        row.servers[j].all_core = 0.0
        row.servers[j].all_cpus = 0.0
    row.choices[:] = 0


@part
def _clear_row(p: Parameters, row: Row) -> None:
    """Empty servers, no flows, time 0."""
    episode = row.episode
    episode.now = 0.0
    episode.instant = 0
    episode.n_flows = np.uint64(0)
    episode.trace_at = 0
    episode.arrived = 0
    episode.finished = 0
    episode.dropped = 0
    episode.swapped = math.inf
    for s in range(len(row.streams)):
        row.streams[s].drawn = np.uint64(0)
    for i in range(len(row.balancers)):
        row.balancers[i].clock = 0
    for j in range(len(row.servers)):
        server = row.servers[j]
        server.busy = 0
        server.load = 0
        server.head = 0
        server.first = 0
        server.virtual = 0.0
        server.stamp = 0.0
        server.work = 0.0
        server.due = math.inf
        for i in range(len(row.balancers)):
            row.pairs[i, j].count = 0
            row.pairs[i, j].tilt = 0.0
            row.pairs[i, j].lean = 0.0
            row.pairs[i, j].push = 0.0
            row.pairs[i, j].weight = 0.0
            row.pairs[i, j].turn = 0.0
            row.pairs[i, j].changed = 0
    n = len(row.free)
    episode.n_free = n
    for f in range(n):
        row.free[f] = n - 1 - f
    clear(p.measuring, row)
    _clear_interval(row)


@part
def _blank(row: Row) -> None:
    """Return zeros for a row that is not played."""
    row.obs[:] = 0.0
    row.state[:] = 0.0
    row.avail[:] = False
    row.reward[:] = 0.0


@part
def _restart(p: Parameters, row: Row) -> None:
    """Start an episode: draw it, and warm up with nominal weights."""
    _clear_row(p, row)
    write_script(p, row)
    start_script(row)
    if p.traffic.use_trace_times:
        start_trace(p, row)
    schedule(p, row, 0.0)
    rule = p.acting.warmup_rule
    prescribe(p, row, rule, NO_LEVELS)
    for i in range(len(row.balancers)):
        _take_over(p, row, i)  # nothing of the episode before, however late the first weights are taken over
    for _ in range(p.scenario.warmup):
        prescribe(p, row, rule, NO_LEVELS)
        interval(p, row, rule)
        _clear_interval(row)
        apply_script(p, row)
    _clear_totals(row)
    take_stock(p, row)
    read_field(p, row, 1.0)
    row.reward[:] = 0.0


@part
def decide(p: Parameters, row: Row, actions: Integers) -> int:
    """Write the pending weights; returns the rule that uses them."""
    rule = p.acting.rule
    learned = rule == AGENTS
    if learned:
        decode(p, row, actions)
    base = p.acting.base if learned else NOMINAL
    if rule == LATENCY:
        base = BY_LATENCY
    elif rule == PRETRAINED:
        base = BY_ESTIMATE  # the leans were written when this was observed
    if base == BY_LATENCY:
        control(p, row)
    if learned or base != NOMINAL:
        weigh(p, row, base)
        return p.acting.learned_rule
    prescribe(p, row, rule, len(p.acting.levels))
    return rule


@part
def _step(p: Parameters, row: Row, actions: Integers) -> None:
    """Play a control interval and reward it."""
    learned = p.acting.rule == AGENTS
    rule = decide(p, row, actions)
    interval(p, row, rule)
    # The first reward of a moving average is that of the load before the first step.
    first_step = row.episode.instant == p.scenario.warmup + 1 and p.rewarding.smoothing < 1.0
    read_field(p, row, 0.0 if first_step else p.rewarding.smoothing)
    reward(p, row)
    add_up(p, row, actions, not learned)
    _clear_interval(row)
    apply_script(p, row)


def _compile(version: int) -> Callable[..., Any]:
    """The entry point; the version becomes part of numba's key in its cache of compiled functions."""

    @entry_point
    def play_rows(
        p: Parameters,
        w: World,
        first: int,
        last: int,
        where: Flags,
        restart: bool,
        actions: Integers,
    ) -> int:
        for b in range(first, last):
            row = row_of(w, b)
            if not where[b]:
                _blank(row)
                continue
            if restart:
                _restart(p, row)
            else:
                _step(p, row, actions[b])
            if restart or p.measuring.delay == 0.0:
                observe(p, row)
            offer(p, row)
        return version

    return play_rows


play_rows = _compile(sources(Path(rng.__file__), *Path(__file__).parent.glob("*.py")))
"""Restart or step the rows ``first`` to ``last - 1``.

Args:
    p: what stays the same.
    w: what changes.
    first: the first row.
    last: one more than the last row.
    where: ``[B]``, rows to play; the others return zeros.
    restart: start new episodes instead of stepping.
    actions: ``[B, L]``; they have no effect where a rule places flows.
"""
