"""What happens to servers and traffic in an episode, drawn at its reset and applied at control instants."""

from __future__ import annotations

import math

from ...components.compiled import part
from .arrivals import change_rate
from .draws import SCENARIO, next_exponential, next_integer, next_uniform
from .layout import Floats, Record, Row
from .parameters import Parameters
from .servers import fail, plan, touch

_MOST_TRIES = 1000
"""More than 9 of 10 tries succeed; a loop without a bound would not end if numbers broke down."""


@part
def _draw_servers(p: Parameters, row: Row, random: Record) -> None:
    """Set up the servers of an episode: CPUs, possibly in random order, and nominal weights."""
    servers, n = row.servers, len(p.traffic.cpus)
    for j in range(len(servers)):
        servers[j].cpus = p.traffic.cpus[j] if j < n else 0.0
        servers[j].nominal = 0.0
        if j < n:
            servers[j].nominal = 1.0 if p.scenario.permute else p.traffic.nominal[j]
    if p.scenario.permute:
        for j in range(n - 1, 0, -1):  # Fisher and Yates
            k = next_integer(random, j + 1)
            cpus = servers[k].cpus
            servers[k].cpus = servers[j].cpus
            servers[j].cpus = cpus
    for j in range(len(servers)):
        servers[j].limit = int(servers[j].cpus) if p.traffic.fifo else p.traffic.workers


@part
def _first_state(random: Record, dwell: Floats) -> int:
    """The first state of a two-state Markov chain, in equilibrium."""
    u = next_uniform(random)
    if dwell[0] == math.inf:
        return 0
    return 0 if u * (dwell[0] + dwell[1]) < dwell[0] else 1


@part
def _next_state(random: Record, state: int, dwell: Floats, dt: float) -> int:
    """The state one control interval later."""
    return 1 - state if next_uniform(random) * dwell[state] < dt else state


@part
def _script_speeds(p: Parameters, row: Row, random: Record, j: int) -> None:
    s = p.scenario
    base = p.traffic.speed * s.bases[next_integer(random, len(s.bases))]
    state = _first_state(random, s.speed_dwell)
    for n in range(len(row.rates)):
        change = row.changes[n, j]
        change.cpus = row.servers[j].cpus
        change.speed = base * s.speeds[state]
        change.known = True
        change.swap = False
        state = _next_state(random, state, s.speed_dwell, s.dt)


@part
def _script_rates(p: Parameters, row: Row, random: Record) -> None:
    s = p.scenario
    state = _first_state(random, s.rate_dwell)
    for n in range(len(row.rates)):
        row.rates[n] = s.rates[state]
        state = _next_state(random, state, s.rate_dwell, s.dt)


@part
def _script_failure(p: Parameters, row: Row, random: Record) -> None:
    """One random server fails for a while; balancers learn of it late and of its return at once."""
    s = p.scenario
    j = next_integer(random, len(p.traffic.cpus))
    at = s.failure[0] + (s.failure[1] - s.failure[0]) * next_uniform(random)
    first = s.warmup + round(at * s.length)
    last = first + round(s.failure[2] * s.length)
    noticed = first + math.ceil(s.detect_delay / s.dt)
    for n in range(first, min(last, len(row.rates))):
        row.changes[n, j].speed = 0.0
        row.changes[n, j].known = n < noticed


@part
def _script_swaps(p: Parameters, row: Row, random: Record) -> None:
    """Let the servers, with all that is to happen to them, change places at some instants."""
    s, n_servers, last = p.scenario, len(p.traffic.cpus), len(row.rates)
    width = (s.swap_window[1] - s.swap_window[0]) / max(s.swaps, 1)
    for k in range(s.swaps):
        at = s.swap_window[0] + (k + next_uniform(random)) * width
        first = min(s.warmup + round(at * s.length), last - 1)
        row.changes[first, 0].swap = True
        for j in range(n_servers - 1, 0, -1):  # Fisher and Yates
            other = next_integer(random, j + 1)
            for n in range(first, last):
                one, two = row.changes[n, j], row.changes[n, other]
                cpus, speed, known = one.cpus, one.speed, one.known
                one.cpus = two.cpus
                one.speed = two.speed
                one.known = two.known
                two.cpus = cpus
                two.speed = speed
                two.known = known


@part
def _draw_size_factor(p: Parameters, row: Row, random: Record) -> None:
    least, largest = p.traffic.size_factors[0], p.traffic.size_factors[1]
    row.episode.size_factor = 1.0
    if least != 1.0 or largest != 1.0:
        row.episode.size_factor = least * math.exp(math.log(largest / least) * next_uniform(random))


@part
def _base_rate(p: Parameters, row: Row, random: Record) -> float:
    """Arrivals per second of the episode's load; it refers to the realized mean capacity where speeds change."""
    capacity, instants = 0.0, len(row.rates) - 1
    for j in range(len(p.traffic.cpus)):
        speed = p.traffic.speed
        if p.scenario.rescale:
            speed = 0.0
            for n in range(instants):
                speed += row.changes[n, j].speed / instants
        capacity += row.servers[j].cpus * speed
    low, high = p.traffic.rho[0], p.traffic.rho[1]
    rho = low + (high - low) * next_uniform(random)
    return rho * capacity / (p.traffic.mean_size * row.episode.size_factor)


@part
def _gamma(random: Record, shape: float) -> float:
    """A gamma variate of shape above 0 (Marsaglia and Tsang, 2000), smaller shapes by the usual boost."""
    boost = 1.0
    if shape < 1.0:
        boost = math.exp(-next_exponential(random) / shape)
        shape += 1.0
    d = shape - 1.0 / 3.0
    for _ in range(_MOST_TRIES):
        radius = math.sqrt(2.0 * next_exponential(random))
        x = radius * math.cos(2.0 * math.pi * next_uniform(random))
        v = (1.0 + x / math.sqrt(9.0 * d)) ** 3
        e = next_exponential(random)
        if v > 0.0 and -e < 0.5 * x * x + d - d * v + d * math.log(v):
            return boost * d * v
    return boost * d


@part
def _draw_shares(p: Parameters, row: Row, random: Record) -> None:
    """How the edge router splits flows among balancers: equally, or drawn from a symmetric Dirichlet distribution."""
    total, n = 0.0, len(row.balancers)
    for i in range(n):
        total += _gamma(random, p.traffic.split) if p.traffic.split > 0.0 else 1.0
        row.balancers[i].share = total
    for i in range(n):
        row.balancers[i].share = row.balancers[i].share / total if total > 0.0 else 1.0


@part
def write_script(p: Parameters, row: Row) -> None:
    """Draw an episode: servers, shares, speeds, rates, failures and load."""
    random, n = row.streams[SCENARIO], len(p.traffic.cpus)
    _draw_servers(p, row, random)
    _draw_shares(p, row, random)
    for j in range(n, len(row.servers)):
        for instant in range(len(row.rates)):
            change = row.changes[instant, j]
            change.cpus = 0.0
            change.speed = 0.0
            change.known = False
            change.swap = False
    for j in range(n):
        _script_speeds(p, row, random, j)
    _script_rates(p, row, random)
    if p.scenario.failure[2] > 0.0:
        _script_failure(p, row, random)
    _draw_size_factor(p, row, random)
    row.episode.base_rate = _base_rate(p, row, random)
    _script_swaps(p, row, random)


@part
def start_script(row: Row) -> None:
    """Make the first entry of the script the present."""
    for j in range(len(row.servers)):
        row.servers[j].speed = row.changes[0, j].speed
        row.servers[j].known = row.changes[0, j].known
    row.episode.rate = row.episode.base_rate * row.rates[0]


@part
def apply_script(p: Parameters, row: Row) -> None:
    """Make the changes that the script holds for the present control instant."""
    n, t = row.episode.instant, row.episode.now
    if row.changes[n, 0].swap:
        row.episode.swapped = t
    for j in range(len(row.servers)):
        server, change = row.servers[j], row.changes[n, j]
        server.known = change.known
        if change.speed != server.speed or change.cpus != server.cpus:
            touch(server, t)
            if change.speed == 0.0 and server.speed != 0.0:
                fail(p, row, j, t)
            server.cpus = change.cpus
            server.speed = change.speed
            plan(row, j)
    change_rate(p, row, row.episode.base_rate * row.rates[n])
