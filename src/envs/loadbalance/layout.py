"""The simulator's memory: arrays with a leading axis of rows (environments), grouped by what they describe.

Axes: B rows, L balancers, S server slots, P places for flows, K slots of a reservoir, R reservoirs (R = 2 L S, see
`reservoir`), N control instants of an episode including its warm-up, U actions. Times are in seconds since the reset of
the row's episode, sizes and work in CPU-seconds at nominal speed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]

N_STATISTICS = 5
"""Mean, 90th percentile, standard deviation, decayed mean, decayed 90th percentile."""


class Clock(NamedTuple):
    """Time, arrivals and random numbers of a row."""

    now: Floats  # B
    instant: Integers  # B, control instants passed since the reset, warm-up included
    next_arrival: Floats  # B
    base_rate: Floats  # B, flows/s
    rate: Floats  # B, flows/s now
    flow: Words  # B, flows so far
    trace_at: Integers  # B, index of the next request
    trace_shift: Floats  # B, seconds to add to the times of a trace
    share: Floats  # B L, cumulative probability that a flow enters at balancer 0..i
    keys: Words  # B 4, of the streams in draws.py
    drawn: Words  # B 4, numbers drawn of them


class Servers(NamedTuple):
    """The servers; a flow is in service or waits in the backlog, a ring."""

    cpus: Floats  # B S
    nominal: Floats  # B S, configured weight
    speed: Floats  # B S, CPU-seconds per second of one CPU, 0: failed
    known: Flags  # B S, in the balancers' list
    limit: Integers  # B S, flows served at once
    busy: Integers  # B S, flows in service
    load: Integers  # B S, flows in service and backlog
    head: Integers  # B S, oldest place of the backlog
    first: Integers  # B S, slot of the flow that will finish first
    virtual: Floats  # B S, service that each flow in service got since the server was last empty
    stamp: Floats  # B S, time up to which virtual, work and the areas are counted
    due: Floats  # B S, time of the next completion
    work: Floats  # B S, remaining CPU-seconds
    serving: Integers  # B S W, flow in each service slot
    marks: Floats  # B S W, value of virtual at which it finishes
    backlog: Integers  # B S C, waiting flows
    load_area: Floats  # B S, integral of load over the interval
    busy_area: Floats  # B S, of busy
    core_area: Floats  # B S, of the CPUs in use
    full: Flags  # B S, whether it was full in the interval


class Flows(NamedTuple):
    """Places for the flows in the system; moving a flow is copying its index."""

    start: Floats  # B P
    size: Floats  # B P
    next_ack: Floats  # B P
    balancer: Integers  # B P
    kind: Integers  # B P
    free: Integers  # B P, stack of free places
    n_free: Integers  # B


class Balancers(NamedTuple):
    """What balancers know and do."""

    counts: Integers  # B L S, on-going flows
    tilt: Floats  # B L S, logarithm of learned weight over nominal weight, before clipping
    weights: Floats  # B L S, in use
    pending: Floats  # B L S, from the moment the data plane takes them over
    delay: Floats  # B L, seconds until then


class Samples(NamedTuple):
    """Reservoirs of times in seconds, in insertion order and sorted."""

    value: Floats  # B R K
    grown: Floats  # B R K, decay ** -t of each sample's time, 0: empty slot
    by_value: Floats  # B R K, sorted values
    by_weighted: Floats  # B R K, sorted products value * grown
    n: Integers  # B R, samples
    sums: Floats  # B R 4, of value, its square, value * grown, grown


class Script(NamedTuple):
    """What a scenario does at each control instant, written at the reset."""

    speeds: Floats  # B N+1 S
    rates: Floats  # B N+1, multiples of the base rate
    known: Flags  # B N+1 S


class Interval(NamedTuple):
    """Counts of one control interval, and what was measured at its end."""

    arrivals: Integers  # B L
    finished: Integers  # B L
    drops: Integers  # B L
    jct: Floats  # B L, sum over finished flows
    statistics: Floats  # B L S 2 5, of the reservoirs at the end
    decayed: Floats  # B L S 2 2, decayed mean, as it is and renormalized
    field: Floats  # B L S, what the reward compares
    previous: Floats  # B L S, the same as it was found one interval earlier, before smoothing
    scratch: Floats  # B S
    active: Flags  # B S, servers that the reward compares


class Totals(NamedTuple):
    """Sums over the rewarded part of an episode, for its metrics."""

    arrivals: Integers  # B L
    finished: Integers  # B L
    drops: Integers  # B L
    slowdown: Floats  # B
    busy_area: Floats  # B S
    core_area: Floats  # B S
    actions: Integers  # B L U
    sums: Floats  # B M, see STEP_METRICS
    jct: Floats  # B J, completion times
    label: NDArray[np.int16]  # B J, kind + 2 * balancer
    n_jct: Integers  # B
    lifetime: Integers  # B 3, flows arrived, finished and dropped since the reset


class Output(NamedTuple):
    """What the environment returns."""

    obs: Singles  # B L O
    state: Singles  # B D
    avail: Flags  # B L U
    reward: Singles  # B L or B 1


class World(NamedTuple):
    """Everything that changes."""

    clock: Clock
    servers: Servers
    flows: Flows
    balancers: Balancers
    samples: Samples
    script: Script
    interval: Interval
    totals: Totals
    out: Output


class Sizes(NamedTuple):
    """Lengths of the axes that are not one of another array's."""

    rows: int
    balancers: int
    slots: int
    actions: int
    served: int  # most flows that a server serves at once
    max_clients: int
    reservoir: int
    instants: int
    obs_dim: int
    state_dim: int
    rewards: int
    n_sums: int
    records: int  # completion times of an episode


def allocate(sizes: Sizes) -> World:
    """Zero-filled memory."""
    b, n_lb, s, u = sizes.rows, sizes.balancers, sizes.slots, sizes.actions
    places, n_res = s * sizes.max_clients, 2 * n_lb * s
    samples = Samples(*(_floats(b, n_res, sizes.reservoir) for _ in range(4)), _ints(b, n_res), _floats(b, n_res, 4))
    instants = sizes.instants + 1
    return World(
        clock=Clock(
            *(_floats(b), _ints(b), _floats(b), _floats(b), _floats(b), np.zeros(b, np.uint64), _ints(b), _floats(b)),
            *(_floats(b, n_lb), np.zeros((b, 4), np.uint64), np.zeros((b, 4), np.uint64)),
        ),
        servers=_servers(sizes),
        flows=Flows(*(_floats(b, places) for _ in range(3)), *(_ints(b, places) for _ in range(3)), _ints(b)),
        balancers=Balancers(_ints(b, n_lb, s), *(_floats(b, n_lb, s) for _ in range(3)), _floats(b, n_lb)),
        samples=samples,
        script=Script(_floats(b, instants, s), _floats(b, instants), np.zeros((b, instants, s), np.bool_)),
        interval=Interval(
            *(_ints(b, n_lb) for _ in range(3)),
            *(_floats(b, n_lb), _floats(b, n_lb, s, 2, N_STATISTICS), _floats(b, n_lb, s, 2, 2)),
            *(_floats(b, n_lb, s), _floats(b, n_lb, s), _floats(b, s), np.zeros((b, s), np.bool_)),
        ),
        totals=Totals(
            *(_ints(b, n_lb) for _ in range(3)),
            *(_floats(b), _floats(b, s), _floats(b, s), _ints(b, n_lb, u), _floats(b, sizes.n_sums)),
            *(_floats(b, sizes.records), np.zeros((b, sizes.records), np.int16), _ints(b), _ints(b, 3)),
        ),
        out=Output(
            obs=np.zeros((b, n_lb, sizes.obs_dim), np.float32),
            state=np.zeros((b, sizes.state_dim), np.float32),
            avail=np.zeros((b, n_lb, u), np.bool_),
            reward=np.zeros((b, sizes.rewards), np.float32),
        ),
    )


def _servers(sizes: Sizes) -> Servers:
    b, s = sizes.rows, sizes.slots
    return Servers(
        *(_floats(b, s) for _ in range(3)),
        np.zeros((b, s), np.bool_),
        *(_ints(b, s) for _ in range(5)),
        *(_floats(b, s) for _ in range(4)),
        serving=_ints(b, s, sizes.served),
        marks=_floats(b, s, sizes.served),
        backlog=_ints(b, s, sizes.max_clients),
        load_area=_floats(b, s),
        busy_area=_floats(b, s),
        core_area=_floats(b, s),
        full=np.zeros((b, s), np.bool_),
    )


def _floats(*shape: int) -> Floats:
    return np.zeros(shape, np.float64)


def _ints(*shape: int) -> Integers:
    return np.zeros(shape, np.int64)
