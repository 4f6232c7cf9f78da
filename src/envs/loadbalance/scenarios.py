"""What happens to servers and traffic in an episode, drawn at its reset and applied at control instants."""

from __future__ import annotations

import math

import numpy as np

from .arrivals import change_rate
from .compiled import part
from .draws import SCENARIO, next_exponential, next_integer, next_uniform
from .layout import Floats, World
from .parameters import Parameters
from .servers import fail, plan, touch


@part
def draw_servers(p: Parameters, w: World, b: int) -> None:
    """Set up the servers of an episode: CPUs, possibly in random order, and nominal weights."""
    n = len(p.traffic.cpus)
    w.servers.cpus[b] = 0.0
    w.servers.nominal[b] = 0.0
    for j in range(n):
        w.servers.cpus[b, j] = p.traffic.cpus[j]
        w.servers.nominal[b, j] = 1.0 if p.scenario.permute else p.traffic.nominal[j]
    if p.scenario.permute:
        for j in range(n - 1, 0, -1):  # Fisher and Yates
            k = next_integer(w.clock, b, SCENARIO, j + 1)
            w.servers.cpus[b, j], w.servers.cpus[b, k] = w.servers.cpus[b, k], w.servers.cpus[b, j]
    for j in range(w.servers.limit.shape[1]):
        w.servers.limit[b, j] = np.int64(w.servers.cpus[b, j]) if p.traffic.fifo else p.traffic.workers


@part
def _start_chain(w: World, b: int, dwell: Floats) -> int:
    """The first state of a two-state Markov chain, in equilibrium."""
    u = next_uniform(w.clock, b, SCENARIO)
    if dwell[0] == math.inf:
        return 0
    return 0 if u * (dwell[0] + dwell[1]) < dwell[0] else 1


@part
def _next_state(w: World, b: int, state: int, dwell: Floats, dt: float) -> int:
    """The state one control interval later."""
    return 1 - state if next_uniform(w.clock, b, SCENARIO) * dwell[state] < dt else state


@part
def _script_speeds(p: Parameters, w: World, b: int, j: int) -> None:
    s = p.scenario
    base = p.traffic.speed * s.bases[next_integer(w.clock, b, SCENARIO, len(s.bases))]
    state = _start_chain(w, b, s.speed_dwell)
    for n in range(w.script.rates.shape[1]):
        w.script.speeds[b, n, j] = base * s.speeds[state]
        w.script.known[b, n, j] = True
        state = _next_state(w, b, state, s.speed_dwell, s.dt)


@part
def _script_rates(p: Parameters, w: World, b: int) -> None:
    s = p.scenario
    state = _start_chain(w, b, s.rate_dwell)
    for n in range(w.script.rates.shape[1]):
        w.script.rates[b, n] = s.rates[state]
        state = _next_state(w, b, state, s.rate_dwell, s.dt)


@part
def _script_failure(p: Parameters, w: World, b: int) -> None:
    """One random server fails for a while; balancers learn of it late and of its return at once."""
    s = p.scenario
    j = next_integer(w.clock, b, SCENARIO, len(p.traffic.cpus))
    at = s.failure[0] + (s.failure[1] - s.failure[0]) * next_uniform(w.clock, b, SCENARIO)
    first = s.warmup + int(round(at * s.length))
    last = first + int(round(s.failure[2] * s.length))
    noticed = first + int(math.ceil(s.detect_delay / s.dt))
    for n in range(first, min(last, w.script.rates.shape[1])):
        w.script.speeds[b, n, j] = 0.0
        w.script.known[b, n, j] = n < noticed


@part
def _base_rate(p: Parameters, w: World, b: int) -> float:
    """Arrivals per second of the episode's load; it refers to the realized mean capacity where speeds change."""
    capacity, instants = 0.0, w.script.rates.shape[1] - 1
    for j in range(len(p.traffic.cpus)):
        mean_speed = p.traffic.speed
        if p.scenario.rescale:
            mean_speed = 0.0
            for n in range(instants):
                mean_speed += w.script.speeds[b, n, j] / instants
        capacity += w.servers.cpus[b, j] * mean_speed
    low, high = p.traffic.rho[0], p.traffic.rho[1]
    rho = low + (high - low) * next_uniform(w.clock, b, SCENARIO)
    return rho * capacity / p.traffic.mean_size


@part
def _draw_shares(p: Parameters, w: World, b: int) -> None:
    """How the edge router splits flows among balancers: equally, or drawn from a symmetric Dirichlet distribution."""
    total, n = 0.0, w.clock.share.shape[1]
    for i in range(n):
        total += _gamma(w, b, p.traffic.split) if p.traffic.split > 0.0 else 1.0
        w.clock.share[b, i] = total
    for i in range(n):
        w.clock.share[b, i] /= total


@part
def _gamma(w: World, b: int, shape: float) -> float:
    """A gamma variate of shape above 0 (Marsaglia and Tsang, 2000), smaller shapes by the usual boost."""
    boost = 1.0
    if shape < 1.0:
        boost = math.exp(-next_exponential(w.clock, b, SCENARIO) / shape)
        shape += 1.0
    d = shape - 1.0 / 3.0
    while True:
        radius = math.sqrt(2.0 * next_exponential(w.clock, b, SCENARIO))
        x = radius * math.cos(2.0 * math.pi * next_uniform(w.clock, b, SCENARIO))
        v = (1.0 + x / math.sqrt(9.0 * d)) ** 3
        e = next_exponential(w.clock, b, SCENARIO)
        if v > 0.0 and -e < 0.5 * x * x + d - d * v + d * math.log(v):
            return boost * d * v


@part
def write_script(p: Parameters, w: World, b: int) -> None:
    """Draw an episode: servers, shares, speeds, rates, failures and load."""
    draw_servers(p, w, b)
    _draw_shares(p, w, b)
    w.script.speeds[b] = 0.0
    w.script.known[b] = False
    for j in range(len(p.traffic.cpus)):
        _script_speeds(p, w, b, j)
    _script_rates(p, w, b)
    if p.scenario.failure[2] > 0.0:
        _script_failure(p, w, b)
    w.clock.base_rate[b] = _base_rate(p, w, b)


@part
def apply_script(p: Parameters, w: World, b: int) -> None:
    """Make the changes that the script holds for the current control instant."""
    n, t = w.clock.instant[b], w.clock.now[b]
    for j in range(w.servers.speed.shape[1]):
        w.servers.known[b, j] = w.script.known[b, n, j]
        speed = w.script.speeds[b, n, j]
        if speed != w.servers.speed[b, j]:
            touch(w.servers, b, j, t)
            if speed == 0.0:
                fail(p, w, b, j, t)
            w.servers.speed[b, j] = speed
            plan(w.servers, b, j)
    change_rate(p, w, b, w.clock.base_rate[b] * w.script.rates[b, n], t)
