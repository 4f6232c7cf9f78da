"""The reward of a control interval, and what the metrics sum over intervals.

A reward compares one load x per server; see `docs/loadbalance.md` for the choices. The products follow Yao, Ding and
Clausen (CIKM 2022, equation 4), the geometric mean makes them comparable across numbers of servers.
"""

from __future__ import annotations

import math

from ...components.compiled import constants, part, shared_part
from .layout import Integers, Records, Row
from .parameters import COMPLETION, DURATION, FIELDS, REWARDS, SCOPES, Parameters
from .reservoirs import reservoir_of

PRODUCT, PRODUCT_GEO, JAIN, MINMAX, MEANMAX, VAR, VAR_EXP, VAR_LOG, MAX, MAX_EXP, MAX_LOG, QOS, MIX, DELAY = constants(
    len(REWARDS)
)
DUR, FCT, DUR_DISC, FCT_DISC, TRUE_Q, TRUE_W = constants(len(FIELDS))
LOCAL_MEAN, MERGED, LOCAL = constants(len(SCOPES))

_TINY = 1e-9
_STEEP = 1e4


@shared_part
def compare(servers: Records, kind: int) -> float:
    """A reward that compares the loads ``x`` of the active servers; 1 if there are none."""
    n, total, squares, most, least, logs = 0, 0.0, 0.0, 0.0, math.inf, 0.0
    for j in range(len(servers)):
        if servers[j].active:
            x = servers[j].x
            n += 1
            total += x
            squares += x * x
            most = max(most, x)
            least = min(least, x)
            logs += math.log(x + _TINY)
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
    if kind >= MAX:
        return _penalty(most, kind - MAX)
    return _penalty(_variance(servers, total / n, n), kind - VAR)


@part
def _variance(servers: Records, mean: float, n: int) -> float:
    total = 0.0
    for j in range(len(servers)):
        if servers[j].active:
            total += (servers[j].x - mean) ** 2
    return total / n


@part
def _penalty(spread: float, form: int) -> float:
    """The plain, the exponential and the logarithmic form."""
    if form == 0:
        return -spread
    return math.exp(-_STEEP * spread) if form == 1 else -math.log(spread + _TINY)


@part
def _quality(p: Parameters, row: Row, first: int, last: int) -> float:
    """Mean size over mean completion time of the flows finished in the interval, less what was dropped, in [0, 1]."""
    finished, drops, arrivals, jct = 0, 0, 0, 0.0
    for i in range(first, last):
        balancer = row.balancers[i]
        finished += balancer.finished
        drops += balancer.drops
        arrivals += balancer.arrivals
        jct += balancer.jct
    quality = 1.0
    if finished > 0 and jct > 0.0:
        quality = min(1.0, p.traffic.mean_size * row.episode.size_factor * finished / jct)
    return max(0.0, quality - p.rewarding.drop_penalty * drops / max(arrivals, 1))


@part
def _delay(p: Parameters, row: Row, first: int, last: int) -> float:
    """Minus the flows on the servers per CPU, less what was dropped; of one balancer, as if all had as many flows.

    By Little's law the mean number of flows is the rate of arrivals times the mean completion time.
    """
    flows, cpus, drops, arrivals, n = 0.0, 0.0, 0, 0, len(row.balancers)
    for j in range(len(row.servers)):
        cpus += row.servers[j].cpus
        if last - first == n:
            flows += row.servers[j].load_area / p.scenario.dt
        else:
            flows += float(n * row.pairs[first, j].count)
    for i in range(first, last):
        drops += row.balancers[i].drops
        arrivals += row.balancers[i].arrivals
    return -flows / cpus - p.rewarding.drop_penalty * drops / max(arrivals, 1)


@part
def _load_of(p: Parameters, row: Row, i: int, j: int) -> float:
    """The configured measure of the load of an active server, as balancer i sees it."""
    field, server = p.rewarding.field, row.servers[j]
    if field == TRUE_Q:
        return server.load_area / (p.scenario.dt * server.cpus * server.speed)
    if field == TRUE_W:
        return max(server.work, 0.0) / (server.cpus * server.speed)
    quantity = DURATION if field in (DUR, DUR_DISC) else COMPLETION
    reservoir = row.reservoirs[reservoir_of(row, i, j, quantity)]
    return reservoir.normalized if field >= DUR_DISC else reservoir.plain_decayed


@part
def _is_active(p: Parameters, row: Row, j: int) -> bool:
    server = row.servers[j]
    return server.known and (p.rewarding.field < TRUE_Q or server.speed > 0.0)


@part
def read_field(p: Parameters, row: Row, smoothing: float) -> None:
    """Read the loads that the reward compares: ``smoothing`` parts of the present ones and the rest of the last."""
    for j in range(len(row.servers)):
        active = _is_active(p, row, j)
        for i in range(len(row.balancers)):
            pair = row.pairs[i, j]
            x = _load_of(p, row, i, j) if active else 0.0
            pair.field = smoothing * x + (1.0 - smoothing) * pair.previous
            pair.previous = x


@part
def _fairness(p: Parameters, row: Row, kind: int) -> None:
    """Write a reward that compares servers, in the configured scope."""
    servers, n, total = row.servers, len(row.balancers), 0.0
    merged = p.rewarding.scope == MERGED
    for j in range(len(servers)):
        servers[j].active = _is_active(p, row, j)
    for i in range(1 if merged else n):
        for j in range(len(servers)):
            servers[j].x = _mean_field(row, j) if merged else row.pairs[i, j].field
        r = compare(servers, kind)
        if p.rewarding.scope == LOCAL:
            row.reward[i] = r
        total += r
    if p.rewarding.scope != LOCAL:
        row.reward[0] = total if merged else total / n


@part
def _mean_field(row: Row, j: int) -> float:
    total = 0.0
    for i in range(len(row.balancers)):
        total += row.pairs[i, j].field
    return total / len(row.balancers)


@part
def reward(p: Parameters, row: Row) -> None:
    """Write the reward of the interval that just ended."""
    kind, n, local = p.rewarding.kind, len(row.balancers), p.rewarding.scope == LOCAL
    if kind == DELAY:
        for i in range(len(row.reward)):
            row.reward[i] = _delay(p, row, i if local else 0, i + 1 if local else n)
        return
    if kind != QOS:
        _fairness(p, row, PRODUCT_GEO if kind == MIX else kind)
    if kind < QOS:
        return
    share = 1.0 if kind == QOS else p.rewarding.mix
    for i in range(len(row.reward)):
        quality = _quality(p, row, i if local else 0, i + 1 if local else n)
        fair = float(row.reward[i]) if kind == MIX else 0.0
        row.reward[i] = (1.0 - share) * fair + share * quality


@part
def add_up(p: Parameters, row: Row, actions: Integers, controlled: bool) -> None:
    """Add the interval that just ended to the episode's totals."""
    for i in range(len(row.balancers)):
        balancer = row.balancers[i]
        balancer.all_arrivals += balancer.arrivals
        balancer.all_finished += balancer.finished
        balancer.all_drops += balancer.drops
        if not controlled:
            row.choices[i, actions[i]] += 1
    overloaded = False
    for j in range(len(row.servers)):
        server = row.servers[j]
        server.all_busy += server.busy_area
        server.all_core += server.core_area
        server.all_cpus += p.scenario.dt * server.cpus
        overloaded |= server.full or server.load >= p.traffic.max_clients
    row.episode.overload_frac += overloaded
    row.episode.weight_range += _weight_range(row)
    _add_fairness(p, row)


@part
def _add_fairness(p: Parameters, row: Row) -> None:
    """Add the fairness measures, of true queues and of the balancers' merged flow durations, and the makespan."""
    servers, episode, makespan = row.servers, row.episode, 0.0
    for j in range(len(servers)):
        server = servers[j]
        capacity = server.cpus * server.speed
        server.active = server.known and capacity > 0.0
        if server.active:
            server.x = server.load_area / (p.scenario.dt * capacity)
            makespan = max(makespan, server.work / capacity)
    episode.jain_q += compare(servers, JAIN)
    for j in range(len(servers)):
        total = 0.0
        for i in range(len(row.balancers)):
            total += row.reservoirs[reservoir_of(row, i, j, DURATION)].plain_decayed
        servers[j].x = total / len(row.balancers)
        servers[j].active = servers[j].known
    episode.jain_tau += compare(servers, JAIN)
    episode.fair_product += compare(servers, PRODUCT)
    episode.fair_geo += compare(servers, PRODUCT_GEO)
    episode.makespan += makespan
    episode.makespan_final = makespan


@part
def _weight_range(row: Row) -> float:
    """Mean over balancers of log(largest / smallest weight), weights relative to the nominal ones."""
    total = 0.0
    for i in range(len(row.balancers)):
        most, least = 0.0, math.inf
        for j in range(len(row.servers)):
            weight = row.pairs[i, j].weight
            if weight > 0.0:
                most = max(most, weight / row.servers[j].nominal)
                least = min(least, weight / row.servers[j].nominal)
        total += math.log(most / least) if most > 0.0 else 0.0
    return total / len(row.balancers)
