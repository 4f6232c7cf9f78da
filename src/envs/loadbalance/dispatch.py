"""The data plane: which server a balancer gives a new flow to, and the weights it uses for that.

Scans start at a random server and a later one must be strictly better, as in the data plane of MARLLB, where the scan
starts at the server that the flow's hash points to.
"""

from __future__ import annotations

import math

import numpy as np

from .compiled import part
from .draws import DECISIONS, next_integer, next_uniform
from .layout import World
from .parameters import ACTION_MODES, RULES, Parameters

ECMP, WCMP, AWCMP, LSQ, LSQ2, SED, SED2, SED_TIE, SED_TRUE, JSQ, GSED, LWL = range(len(RULES))
FAVOUR, FAVOUR0, ADJUST = range(len(ACTION_MODES))

_TINY = 1e-9
"""Least weight that is divided by."""


@part
def score(w: World, b: int, i: int, j: int, size: float, t: float, rule: int) -> float:
    """How bad a server is for a new flow under a rule."""
    count = float(w.balancers.counts[b, i, j])
    if rule == LSQ or rule == LSQ2:
        return count
    if rule == SED or rule == SED_TIE or rule == SED2:
        return (count + 1.0) / max(w.balancers.weights[b, i, j], _TINY)
    load = float(w.servers.load[b, j])
    if rule == JSQ:
        return load
    speed = w.servers.speed[b, j]
    capacity = w.servers.cpus[b, j] * speed
    if capacity == 0.0:
        return math.inf
    if rule == SED_TRUE:
        return (count + 1.0) / capacity
    if rule == GSED:
        return (load + 1.0) / capacity
    cores = min(float(w.servers.busy[b, j]), w.servers.cpus[b, j])
    work = w.servers.work[b, j] - (t - w.servers.stamp[b, j]) * speed * cores
    return max((work + size) / capacity, size / speed)


@part
def _scan(w: World, b: int, i: int, size: float, t: float, rule: int) -> int:
    """The known server of least score; -1 if none is known."""
    n_slots = w.servers.known.shape[1]
    j = next_integer(w.clock, b, DECISIONS, n_slots)
    best, least = -1, math.inf
    for _ in range(n_slots):
        if w.servers.known[b, j]:
            x = score(w, b, i, j, size, t, rule)
            small = rule == SED_TIE and x == least and w.servers.nominal[b, j] < w.servers.nominal[b, best]
            if best < 0 or x < least or small:
                best, least = j, x
        j += 1
        if j == n_slots:
            j = 0
    return best


@part
def _nth_known(w: World, b: int, n: int) -> int:
    """The n-th known server, -1 if there are not so many."""
    for j in range(w.servers.known.shape[1]):
        if w.servers.known[b, j]:
            if n == 0:
                return j
            n -= 1
    return -1


@part
def _n_known(w: World, b: int) -> int:
    n = 0
    for j in range(w.servers.known.shape[1]):
        n += w.servers.known[b, j]
    return n


@part
def _uniform(w: World, b: int) -> int:
    return _nth_known(w, b, next_integer(w.clock, b, DECISIONS, max(_n_known(w, b), 1)))


@part
def _better_of_two(w: World, b: int, i: int, size: float, t: float, rule: int) -> int:
    """The better of two distinct random servers, the first of equals."""
    n = _n_known(w, b)
    first = next_integer(w.clock, b, DECISIONS, max(n, 1))
    second = next_integer(w.clock, b, DECISIONS, max(n - 1, 1))
    j = _nth_known(w, b, first)
    if n < 2:
        return j
    other = _nth_known(w, b, second + (second >= first))
    return other if score(w, b, i, other, size, t, rule) < score(w, b, i, j, size, t, rule) else j


@part
def _weighted(w: World, b: int, i: int) -> int:
    """A known server with probability proportional to its weight."""
    total = 0.0
    n_slots = w.servers.known.shape[1]
    for j in range(n_slots):
        if w.servers.known[b, j]:
            total += w.balancers.weights[b, i, j]
    if total <= 0.0:
        return _uniform(w, b)
    x = next_uniform(w.clock, b, DECISIONS) * total
    last = -1
    for j in range(n_slots):
        if w.servers.known[b, j] and w.balancers.weights[b, i, j] > 0.0:
            last = j
            x -= w.balancers.weights[b, i, j]
            if x < 0.0:
                return j
    return last


@part
def choose(w: World, b: int, i: int, size: float, t: float, rule: int) -> int:
    """The server for a new flow of balancer i; -1 if it knows of none."""
    if rule == ECMP:
        return _uniform(w, b)
    if rule == WCMP or rule == AWCMP:
        return _weighted(w, b, i)
    if rule == LSQ2 or rule == SED2:
        return _better_of_two(w, b, i, size, t, rule)
    return _scan(w, b, i, size, t, rule)


@part
def _push(p: Parameters, w: World, b: int, i: int, action: int) -> None:
    """Leak a balancer's tilts and move those that its action is about."""
    tilt, n_slots = w.balancers.tilt, w.servers.known.shape[1]
    mode = p.acting.mode
    target = action if mode == FAVOUR else action - 1
    step = p.acting.delta
    if mode == ADJUST and target >= n_slots:
        target, step = target - n_slots, -step
    for j in range(n_slots):
        tilt[b, i, j] *= p.acting.leak
        if j == target and w.servers.known[b, j]:
            tilt[b, i, j] += step
        if mode == ADJUST:  # moves would otherwise add up beyond what has an effect
            tilt[b, i, j] = min(max(tilt[b, i, j], -p.acting.clip), p.acting.clip)


@part
def tilt_of(p: Parameters, w: World, b: int, i: int, j: int, mean: float) -> float:
    """Logarithm of a balancer's learned weight of a server over the nominal one."""
    return min(max(w.balancers.tilt[b, i, j] - mean, -p.acting.clip), p.acting.clip)


@part
def mean_tilt(w: World, b: int, i: int) -> float:
    """Mean over the servers that are known."""
    total, n = 0.0, 0
    for j in range(w.servers.known.shape[1]):
        if w.servers.known[b, j]:
            total += w.balancers.tilt[b, i, j]
            n += 1
    return total / max(n, 1)


@part
def decode(p: Parameters, w: World, b: int, actions: np.ndarray) -> None:
    """Turn a row's joint action into the balancers' pending weights."""
    for i in range(w.balancers.tilt.shape[1]):
        _push(p, w, b, i, actions[b, i])
        mean = mean_tilt(w, b, i)
        for j in range(w.servers.known.shape[1]):
            factor = math.exp(tilt_of(p, w, b, i, j, mean))
            w.balancers.pending[b, i, j] = w.servers.nominal[b, j] * factor if w.servers.known[b, j] else 0.0


@part
def prescribe(p: Parameters, w: World, b: int, rule: int, weights: np.ndarray) -> None:
    """Take a row's pending weights from outside; an empty array stands for the nominal weights."""
    for i in range(w.balancers.tilt.shape[1]):
        for j in range(w.servers.known.shape[1]):
            a = weights[b, i, j] if weights.size > 0 else w.servers.nominal[b, j]
            if rule == AWCMP:  # busy threads, as probed on the servers
                a /= min(w.servers.load[b, j], p.traffic.workers) + 1.0
            w.balancers.pending[b, i, j] = a if w.servers.known[b, j] else 0.0
