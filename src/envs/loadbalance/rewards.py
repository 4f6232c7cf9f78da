"""The reward of a control interval, and what the metrics sum over intervals.

``x`` below is the load of the servers that count, one number each; see `docs/loadbalance.md` for the choices. The
products follow Yao, Ding and Clausen (CIKM 2022, equation 4), the geometric mean makes them comparable across numbers
of servers.
"""

from __future__ import annotations

import math

import numpy as np

from .compiled import part
from .layout import Flags, Floats, World
from .parameters import FIELDS, REWARDS, SCOPES, Parameters
from .reservoirs import COMPLETION, DURATION

PRODUCT, PRODUCT_GEO, JAIN, MINMAX, MEANMAX, VAR, VAR_EXP, VAR_LOG, MAX, MAX_EXP, MAX_LOG, QOS, MIX = range(
    len(REWARDS)
)
DUR, FCT, DUR_DISC, FCT_DISC, TRUE_Q, TRUE_W = range(len(FIELDS))
LOCAL_MEAN, MERGED, LOCAL = range(len(SCOPES))

_TINY = 1e-9
_STEEP = 1e4


@part
def fairness(x: Floats, active: Flags, kind: int) -> float:
    """One of the rewards that compare the loads of servers; 1 is best for those that have a best value."""
    n, total, squares, most, least, logs = 0, 0.0, 0.0, 0.0, math.inf, 0.0
    for j in range(len(x)):
        if active[j]:
            n += 1
            total += x[j]
            squares += x[j] * x[j]
            most = max(most, x[j])
            least = min(least, x[j])
            logs += math.log(x[j] + _TINY)
    if n == 0:
        return 1.0
    if kind == PRODUCT:
        return math.exp(logs - n * math.log(most + _TINY))
    if kind == PRODUCT_GEO:
        return math.exp(logs / n - math.log(most + _TINY))
    if kind == JAIN:
        return total * total / (n * squares) if squares > 0.0 else 1.0
    if kind == MINMAX:
        return (least + _TINY) / (most + _TINY)
    if kind == MEANMAX:
        return (total / n + _TINY) / (most + _TINY)
    return _penalty(x, active, n, total / n, most, kind)


@part
def _penalty(x: Floats, active: Flags, n: int, mean: float, most: float, kind: int) -> float:
    """The rewards that fall with the variance or the maximum of the loads."""
    if kind >= MAX:
        spread = most
        kind -= MAX - VAR
    else:
        spread = 0.0
        for j in range(len(x)):
            if active[j]:
                spread += (x[j] - mean) ** 2 / n
    if kind == VAR_EXP:
        return math.exp(-_STEEP * spread)
    if kind == VAR_LOG:
        return -math.log(spread + _TINY)
    return -spread


@part
def _quality(p: Parameters, w: World, b: int, first: int, last: int) -> float:
    """Mean size over mean completion time of the flows finished in the interval, less what was dropped, in [0, 1]."""
    finished, drops, arrivals, jct = 0, 0, 0, 0.0
    for i in range(first, last):
        finished += w.interval.finished[b, i]
        drops += w.interval.drops[b, i]
        arrivals += w.interval.arrivals[b, i]
        jct += w.interval.jct[b, i]
    quality = 1.0
    if finished > 0 and jct > 0.0:
        quality = min(1.0, p.traffic.mean_size * finished / jct)
    return max(0.0, quality - p.rewarding.drop_penalty * drops / max(arrivals, 1))


@part
def read_field(p: Parameters, w: World, b: int, smoothing: float) -> None:
    """Read the loads that the reward compares: ``smoothing`` parts of the present ones and the rest of the last."""
    kind, now = p.rewarding.field, w.interval
    for j in range(now.active.shape[1]):
        capacity = w.servers.cpus[b, j] * w.servers.speed[b, j]
        true = kind >= TRUE_Q
        now.active[b, j] = w.servers.known[b, j] and (capacity > 0.0 or not true)
        for i in range(now.field.shape[1]):
            x = 0.0
            if now.active[b, j]:
                if kind == TRUE_Q:
                    x = w.servers.load_area[b, j] / p.scenario.dt / capacity
                elif kind == TRUE_W:
                    x = max(w.servers.work[b, j], 0.0) / capacity
                else:
                    samples = DURATION if kind == DUR or kind == DUR_DISC else COMPLETION
                    x = now.decayed[b, i, j, samples, 1 if kind >= DUR_DISC else 0]
            now.field[b, i, j] = smoothing * x + (1.0 - smoothing) * now.previous[b, i, j]
            now.previous[b, i, j] = x


@part
def _compare(p: Parameters, w: World, b: int, kind: int) -> None:
    """Write a fairness reward in the configured scope."""
    now, reward, n = w.interval, w.out.reward, w.interval.field.shape[1]
    if p.rewarding.scope == MERGED:
        _average(now.field[b], now.scratch[b])
        reward[b, 0] = fairness(now.scratch[b], now.active[b], kind)
        return
    total = 0.0
    for i in range(n):
        r = fairness(now.field[b, i], now.active[b], kind)
        if p.rewarding.scope == LOCAL:
            reward[b, i] = r
        total += r
    if p.rewarding.scope == LOCAL_MEAN:
        reward[b, 0] = total / n


@part
def _average(per_balancer: Floats, mean: Floats) -> None:
    """Mean over balancers, server by server."""
    mean[:] = 0.0
    n = len(per_balancer)
    for i in range(n):
        for j in range(len(mean)):
            mean[j] += per_balancer[i, j] / n


@part
def reward(p: Parameters, w: World, b: int) -> None:
    """Write the reward of the interval that just ended."""
    kind, out = p.rewarding.kind, w.out.reward
    if kind != QOS:
        _compare(p, w, b, PRODUCT_GEO if kind == MIX else kind)
    if kind < QOS:
        return
    share = 1.0 if kind == QOS else p.rewarding.mix
    n = w.interval.field.shape[1]
    for i in range(out.shape[1]):
        local = p.rewarding.scope == LOCAL
        quality = _quality(p, w, b, i if local else 0, i + 1 if local else n)
        fair = out[b, i] if kind == MIX else 0.0
        out[b, i] = (1.0 - share) * fair + share * quality


@part
def add_up(p: Parameters, w: World, b: int, actions: np.ndarray, controlled: bool) -> None:
    """Add the interval that just ended to the episode's totals."""
    totals, now, n_slots = w.totals, w.interval, w.servers.cpus.shape[1]
    for i in range(now.arrivals.shape[1]):
        totals.arrivals[b, i] += now.arrivals[b, i]
        totals.finished[b, i] += now.finished[b, i]
        totals.drops[b, i] += now.drops[b, i]
        if not controlled:
            totals.actions[b, i, actions[b, i]] += 1
    overloaded = False
    for j in range(n_slots):
        totals.busy_area[b, j] += w.servers.busy_area[b, j]
        totals.core_area[b, j] += w.servers.core_area[b, j]
        overloaded |= w.servers.full[b, j] or w.servers.load[b, j] >= p.traffic.max_clients
    _add_fairness(p, w, b)
    totals.sums[b, 6] += overloaded
    totals.sums[b, 7] += _weight_range(w, b)


@part
def _add_fairness(p: Parameters, w: World, b: int) -> None:
    """Add the fairness measures, of true queues and of the balancers' merged flow durations, and the makespan."""
    now, sums, dt = w.interval, w.totals.sums, p.scenario.dt
    x, n_balancers = now.scratch[b], now.field.shape[1]
    makespan = 0.0
    for j in range(len(x)):
        capacity = w.servers.cpus[b, j] * w.servers.speed[b, j]
        now.active[b, j] = w.servers.known[b, j] and capacity > 0.0
        x[j] = w.servers.load_area[b, j] / dt / capacity if now.active[b, j] else 0.0
        if now.active[b, j]:
            makespan = max(makespan, w.servers.work[b, j] / capacity)
    sums[b, 0] += fairness(x, now.active[b], JAIN)
    for j in range(len(x)):
        x[j] = 0.0
        now.active[b, j] = w.servers.known[b, j]
        for i in range(n_balancers):
            x[j] += now.decayed[b, i, j, DURATION, 0] / n_balancers
    sums[b, 1] += fairness(x, now.active[b], JAIN)
    sums[b, 2] += fairness(x, now.active[b], PRODUCT)
    sums[b, 3] += fairness(x, now.active[b], PRODUCT_GEO)
    sums[b, 4] += makespan
    sums[b, 5] = makespan


@part
def _weight_range(w: World, b: int) -> float:
    """Mean over balancers of log(largest / smallest weight), weights relative to the nominal ones."""
    total, n_balancers = 0.0, w.balancers.weights.shape[1]
    for i in range(n_balancers):
        most, least = 0.0, math.inf
        for j in range(w.servers.cpus.shape[1]):
            a = w.balancers.weights[b, i, j]
            if a > 0.0 and w.servers.nominal[b, j] > 0.0:
                most = max(most, a / w.servers.nominal[b, j])
                least = min(least, a / w.servers.nominal[b, j])
        total += math.log(most / least) if most > 0.0 else 0.0
    return total / n_balancers
