"""The data plane: which server a balancer gives a new flow to, and the weights it uses for that.

Scans start at a random server and a later one must be strictly better, as in the data plane of MARLLB, where the scan
starts at the server that the flow's hash points to.
"""

from __future__ import annotations

import math

import numpy as np

from ...components.compiled import constants, part
from .draws import DECISIONS, level_uniform, next_integer, next_uniform
from .layout import Integers, Row
from .parameters import ACTION_MODES, BASES, RULES, Parameters

ECMP, WCMP, AWCMP, LSQ, LSQ2, SED, SED2, SED_TIE, SED_TRUE, JSQ, GSED, LWL, LATENCY, *_HAPROXY, PRETRAINED = constants(
    len(RULES)
)
NOMINAL, BY_LATENCY, BY_ESTIMATE = constants(len(BASES))
LEASTCONN, ROUNDROBIN, RANDOM_N = _HAPROXY
FAVOUR, FAVOUR0, ADJUST = constants(len(ACTION_MODES))

(NO_LEVELS,) = constants(1)
"""How many levels a rule's weights are drawn from if it has the nominal ones."""

_TINY = 1e-9
"""Least weight that is divided by."""

_KEYS = 256.0
"""Keys of leastconn are integers: this many for one flow and a weight of 1."""


@part
def score(row: Row, i: int, j: int, size: float, t: float, rule: int) -> float:
    """How bad a server is for a new flow under a rule."""
    pair, server = row.pairs[i, j], row.servers[j]
    if rule in (SED, SED_TIE, SED2):
        return (pair.count + 1.0) / max(pair.weight, _TINY)
    if rule in (LSQ, LSQ2):
        return float(pair.count)
    if rule == JSQ:
        return float(server.load)
    capacity = server.cpus * server.speed
    if capacity == 0.0:
        return math.inf
    if rule == SED_TRUE:
        return (pair.count + 1.0) / capacity
    if rule == GSED:
        return (server.load + 1.0) / capacity
    cores = min(float(server.busy), server.cpus)
    work = server.work - (t - server.stamp) * server.speed * cores
    return max((work + size) / capacity, size / server.speed)


@part
def _scan(row: Row, i: int, size: float, t: float, rule: int) -> int:
    """The known server of least score; -1 if none is known."""
    n_slots = len(row.servers)
    j = next_integer(row.streams[DECISIONS], n_slots)
    best, least, weight = -1, math.inf, math.inf
    for _ in range(n_slots):
        if row.servers[j].known:
            x = score(row, i, j, size, t, rule)
            smaller = rule == SED_TIE and x == least and row.servers[j].nominal < weight
            if best < 0 or x < least or smaller:
                best, least, weight = j, x, row.servers[j].nominal
        j += 1
        if j == n_slots:
            j = 0
    return best


@part
def _nth_known(row: Row, n: int) -> int:
    """The n-th known server, -1 if there are not so many."""
    for j in range(len(row.servers)):
        if row.servers[j].known:
            if n == 0:
                return j
            n -= 1
    return -1


@part
def _n_known(row: Row) -> int:
    n = 0
    for j in range(len(row.servers)):
        if row.servers[j].known:
            n += 1
    return n


@part
def _uniform(row: Row) -> int:
    return _nth_known(row, next_integer(row.streams[DECISIONS], max(_n_known(row), 1)))


@part
def _better_of_two(row: Row, i: int, size: float, t: float, rule: int) -> int:
    """The better of two distinct random servers, the first of equals."""
    n = _n_known(row)
    first = next_integer(row.streams[DECISIONS], max(n, 1))
    second = next_integer(row.streams[DECISIONS], max(n - 1, 1))
    if second >= first:
        second += 1
    j = _nth_known(row, first)
    if n < 2:
        return j
    other = _nth_known(row, second)
    return other if score(row, i, other, size, t, rule) < score(row, i, j, size, t, rule) else j


@part
def _weighted(row: Row, i: int) -> int:
    """A known server with probability proportional to its weight."""
    total = 0.0
    for j in range(len(row.servers)):
        if row.servers[j].known:
            total += row.pairs[i, j].weight
    if total <= 0.0:
        return _uniform(row)
    x = next_uniform(row.streams[DECISIONS]) * total
    last = -1
    for j in range(len(row.servers)):
        if row.servers[j].known and row.pairs[i, j].weight > 0.0:
            last = j
            x -= row.pairs[i, j].weight
            if x < 0.0:
                break
    return last


@part
def _least_connections(row: Row, i: int) -> int:
    """The known server that HAProxy's leastconn chooses; -1 if none is known.

    A server without flows of this balancer has the key 0 whatever its weight, the others have the integer part of
    256 * (flows + 1) / weight. Among equals it is the server whose flows or weight changed longest ago.
    """
    best, least, changed = -1, math.inf, 0
    for j in range(len(row.servers)):
        if row.servers[j].known:
            pair = row.pairs[i, j]
            key = math.floor(_KEYS * (pair.count + 1.0) / max(pair.weight, _TINY)) if pair.count > 0 else 0.0
            if best < 0 or key < least or (key == least and pair.changed < changed):
                best, least, changed = j, key, pair.changed
    return best


@part
def _next_turn(row: Row, i: int) -> int:
    """The known server whose turn it is in smooth weighted round robin; -1 if none is known.

    In as many flows as the weights add up to, each server has as many turns as its weight, spread out evenly.
    """
    best, total = -1, 0.0
    for j in range(len(row.servers)):
        if row.servers[j].known:
            pair = row.pairs[i, j]
            pair.turn += pair.weight
            total += pair.weight
            if best < 0 or pair.turn > row.pairs[i, best].turn:
                best = j
    if best >= 0:
        row.pairs[i, best].turn -= total
    return best


@part
def _best_of_draws(row: Row, i: int, n: int) -> int:
    """The server with the fewest flows per weight of n that are drawn by weight with replacement, the last of equals.

    So HAProxy's random(n).
    """
    best = _weighted(row, i)
    for _ in range(1, n):
        j = _weighted(row, i)
        one, two = row.pairs[i, best], row.pairs[i, j]
        if two.count * one.weight <= one.count * two.weight:
            best = j
    return best


@part
def choose(p: Parameters, row: Row, i: int, size: float, t: float, rule: int) -> int:
    """The server for a new flow of balancer i; -1 if it knows of none."""
    if rule == LEASTCONN:
        return _least_connections(row, i)
    if rule == ROUNDROBIN:
        return _next_turn(row, i)
    if rule == RANDOM_N:
        return _best_of_draws(row, i, p.acting.draws)
    if rule == ECMP:
        return _uniform(row)
    if rule in (WCMP, AWCMP):
        return _weighted(row, i)
    if rule in (LSQ2, SED2):
        return _better_of_two(row, i, size, t, rule)
    return _scan(row, i, size, t, rule)


@part
def _push(p: Parameters, row: Row, i: int, action: int) -> None:
    """Leak a balancer's tilts and move the one that its action is about."""
    n_slots, mode, step = len(row.servers), p.acting.mode, p.acting.delta
    target = action if mode == FAVOUR else action - 1
    if mode == ADJUST and target >= n_slots:
        target, step = target - n_slots, -step
    for j in range(n_slots):
        pair = row.pairs[i, j]
        pair.tilt *= p.acting.leak
        if j == target and row.servers[j].known:
            pair.tilt += step
        if mode == ADJUST:  # moves would otherwise add up beyond what has an effect
            pair.tilt = min(max(pair.tilt, -p.acting.clip), p.acting.clip)


@part
def tilt_of(p: Parameters, row: Row, i: int, j: int, mean: float) -> float:
    """Logarithm of a balancer's learned weight of a server over the nominal one."""
    return min(max(row.pairs[i, j].tilt - mean, -p.acting.clip), p.acting.clip)


@part
def mean_tilt(row: Row, i: int) -> float:
    """Mean over the servers that are known."""
    total, n = 0.0, 0
    for j in range(len(row.servers)):
        if row.servers[j].known:
            total += row.pairs[i, j].tilt
            n += 1
    return total / max(n, 1)


@part
def decode(p: Parameters, row: Row, actions: Integers) -> None:
    """Move the balancers' tilts as a joint action says."""
    for i in range(len(row.balancers)):
        _push(p, row, i, actions[i])


@part
def control(p: Parameters, row: Row) -> None:
    """Latency control: lean towards servers whose flows of the same balancer finish sooner than those of others."""
    for i in range(len(row.balancers)):
        total, n = 0.0, 0
        for j in range(len(row.servers)):
            if row.servers[j].known and row.pairs[i, j].latency > 0.0:
                total += math.log(row.pairs[i, j].latency)
                n += 1
        for j in range(len(row.servers)):
            pair = row.pairs[i, j]
            pair.push = 0.0
            if row.servers[j].known and pair.latency > 0.0:
                error = total / n - math.log(pair.latency)
                pair.lean += p.acting.latency_gain * error
                pair.push = p.acting.latency_proportional * error
            lean = p.acting.latency_leak * pair.lean
            pair.lean = min(max(lean, -p.acting.latency_clip), p.acting.latency_clip)


@part
def lean_of(row: Row, i: int, j: int) -> float:
    """What latency control or an estimator adds to trust times the logarithm of the nominal weight."""
    return row.pairs[i, j].lean + row.pairs[i, j].push


@part
def weigh(p: Parameters, row: Row, base: int) -> None:
    """The pending weights that follow from what they are relative to, and from the agents' tilts."""
    trust = 1.0
    if base != NOMINAL:
        trust = p.acting.latency_trust if base == BY_LATENCY else 0.0
    for i in range(len(row.balancers)):
        mean = mean_tilt(row, i)
        for j in range(len(row.servers)):
            server = row.servers[j]
            nominal = server.nominal if trust == 1.0 else server.nominal**trust
            weight = nominal * math.exp(tilt_of(p, row, i, j, mean) + lean_of(row, i, j))
            row.pairs[i, j].pending = weight if server.known else 0.0


@part
def in_use(p: Parameters, weight: float) -> float:
    """The weight that the data plane has for one that it is told: an integer from 1 to 256, if it has such ones."""
    if p.acting.unit == 0.0 or weight <= 0.0:
        return weight
    return min(max(np.rint(p.acting.unit * weight), 1.0), 256.0)


@part
def prescribe(p: Parameters, row: Row, rule: int, n_levels: int) -> None:
    """The pending weights of a rule: random ones of the first levels, or without levels the nominal ones."""
    n_slots = len(row.servers)
    for i in range(len(row.balancers)):
        for j in range(n_slots):
            server = row.servers[j]
            weight = server.nominal
            if n_levels > 0:
                chance = level_uniform(row, row.episode.instant - p.scenario.warmup, i * n_slots + j)
                weight = p.acting.levels[np.int64(chance * n_levels)]
            if rule == AWCMP:  # busy threads, as probed on the servers
                weight /= min(server.load, p.traffic.workers) + 1.0
            row.pairs[i, j].pending = weight if server.known else 0.0
