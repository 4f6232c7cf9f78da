"""The simulator's memory: arrays with a leading axis of rows (environments), of records or numbers.

Axes: B rows, L balancers, S server slots, W service slots of a server, C places of its backlog, P places for flows,
R reservoirs (see `reservoir_of`), K slots of a reservoir, N control instants of an episode including its warm-up,
J completion times, U actions. Times are in seconds since the reset of the row's episode, sizes and work in CPU-seconds
at nominal speed.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .parameters import PHASES, STEP_METRICS

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]
Records = NDArray[np.void]
Record = Any
"""One element of an array of records: compiled code reads and writes its fields as attributes."""

STREAM = np.dtype([("key", "u8"), ("drawn", "u8")], align=True)
"""A stream of random numbers: its key, and how many numbers were drawn."""

EPISODE = np.dtype(
    [
        ("now", "f8"),
        ("instant", "i8"),  # control instants passed since the reset, warm-up included
        ("next_arrival", "f8"),
        ("base_rate", "f8"),  # flows/s
        ("rate", "f8"),  # flows/s now
        ("n_flows", "u8"),  # arrivals so far
        ("trace_at", "i8"),  # index of the next request of a trace
        ("trace_shift", "f8"),  # seconds to add to its times
        ("n_free", "i8"),  # free places for flows
        ("n_jct", "i8"),  # recorded completion times
        ("arrived", "i8"),  # flows since the reset; arrived = finished + dropped + in the system
        ("finished", "i8"),
        ("dropped", "i8"),
        ("slowdown", "f8"),  # sum over finished flows
        ("size_factor", "f8"),  # that the sizes of this episode's flows are multiplied by
        ("swapped", "f8"),  # time of the last swap of servers, infinite: none yet
        *((f"jct_{phase}", "f8") for phase in PHASES),  # sums of completion times
        *((f"n_{phase}", "i8") for phase in PHASES),
        *((name, "f8") for name in STEP_METRICS),  # sums over steps, of makespan_final the last
    ],
    align=True,
)

BALANCER = np.dtype(
    [
        ("share", "f8"),  # probability that a flow enters at this balancer or one before it
        ("delay", "f8"),  # seconds until the data plane takes over new weights
        ("clock", "i8"),  # changes of counts and weights so far
        ("arrivals", "i8"),  # in the present control interval
        ("finished", "i8"),
        ("drops", "i8"),
        ("jct", "f8"),  # sum over its finished flows
        ("all_arrivals", "i8"),  # in the rewarded part of the episode
        ("all_finished", "i8"),
        ("all_drops", "i8"),
    ],
    align=True,
)

SERVER = np.dtype(
    [
        ("cpus", "f8"),  # 0: an empty slot
        ("nominal", "f8"),  # configured weight
        ("speed", "f8"),  # CPU-seconds per second of one CPU, 0: failed
        ("known", "?"),  # in the balancers' list
        ("limit", "i8"),  # flows served at once
        ("busy", "i8"),  # flows in service
        ("load", "i8"),  # flows in service and backlog
        ("head", "i8"),  # oldest place of the backlog, a ring
        ("first", "i8"),  # slot of the flow that will finish first
        ("virtual", "f8"),  # service that each flow in service got since the server was last empty
        ("stamp", "f8"),  # time up to which virtual, work and the areas are counted
        ("due", "f8"),  # time of the next completion
        ("work", "f8"),  # remaining CPU-seconds
        ("load_area", "f8"),  # integral of load over the control interval
        ("busy_area", "f8"),  # of busy
        ("core_area", "f8"),  # of the CPUs in use
        ("all_busy", "f8"),  # the same over the rewarded part of the episode
        ("all_core", "f8"),
        ("all_cpus", "f8"),  # integral of the CPUs it had
        ("full", "?"),  # whether it was full in the control interval
        ("active", "?"),  # whether the comparison at hand includes it
        ("x", "f8"),  # its load in that comparison
    ],
    align=True,
)

SLOT = np.dtype([("mark", "f8"), ("flow", "i8")], align=True)
"""A flow in service, and the value of the server's ``virtual`` at which it finishes."""

FLOW = np.dtype([("start", "f8"), ("size", "f8"), ("next_ack", "f8"), ("balancer", "i8"), ("kind", "i8")], align=True)

PAIR = np.dtype(
    [
        ("count", "i8"),  # on-going flows of the balancer on the server
        ("tilt", "f8"),  # logarithm of learned over nominal weight, before centering and clipping
        ("latency", "f8"),  # decayed mean completion time as last observed, 0: none
        ("lean", "f8"),  # integral part of the logarithm of the weight that latency control sets, over the nominal one
        ("push", "f8"),  # proportional part
        ("weight", "f8"),  # in use
        ("pending", "f8"),  # from the moment the data plane takes it over
        ("changed", "i8"),  # the balancer's clock when count or weight last changed
        ("turn", "f8"),  # of weighted round robin: the server with the largest is next
        ("field", "f8"),  # load that the reward compares
        ("previous", "f8"),  # the same as it was found one interval earlier
    ],
    align=True,
)
"""What a balancer knows and does about a server."""

RESERVOIR = np.dtype(
    [
        ("n", "i8"),  # samples
        ("values", "f8"),  # sums over samples
        ("squares", "f8"),
        ("weighted", "f8"),
        ("grown", "f8"),
        ("mean", "f8"),  # statistics when they were last taken
        ("p90", "f8"),
        ("std", "f8"),
        ("decayed_mean", "f8"),
        ("decayed_p90", "f8"),
        ("plain_decayed", "f8"),  # decayed mean, not normalized whatever the settings
        ("normalized", "f8"),  # decayed mean, normalized
    ],
    align=True,
)

SAMPLE = np.dtype([("value", "f8"), ("grown", "f8")], align=True)
"""A sample and ``decay ** -t`` of its time; 0: an empty slot."""

CHANGE = np.dtype([("cpus", "f8"), ("speed", "f8"), ("known", "?"), ("swap", "?")], align=True)
"""What a scenario makes of a server at a control instant; ``swap``: all servers are permuted at this instant."""


class Row(NamedTuple):
    """One environment."""

    episode: Record
    streams: Records  # 5, see draws.py
    balancers: Records  # L
    servers: Records  # S
    slots: Records  # S W
    backlog: Integers  # S C
    flows: Records  # P; moving a flow is copying its index
    free: Integers  # P, stack of free places
    pairs: Records  # L S
    reservoirs: Records  # R
    samples: Records  # R K
    by_value: Floats  # R K, sorted values
    by_weighted: Floats  # R K, sorted products value * grown
    changes: Records  # N+1 S
    rates: Floats  # N+1, multiples of the base rate
    jct: Floats  # J
    label: NDArray[np.int16]  # J, kind + 2 * balancer of each completion time
    choices: Integers  # L U, how often each action was chosen
    obs: Singles  # L O
    state: Singles  # D
    avail: Flags  # L U
    reward: Singles  # L, or 1 for a common reward


World: TypeAlias = Row
"""All environments: the same fields with a leading axis B."""


class Sizes(NamedTuple):
    """Lengths of the axes."""

    rows: int
    balancers: int
    slots: int
    actions: int
    served: int
    max_clients: int
    reservoir: int
    instants: int
    obs_dim: int
    state_dim: int
    rewards: int
    records: int  # completion times of an episode


def n_bytes(sizes: Sizes) -> int:
    """Size of what `allocate` allocates."""
    return sum(math.prod(shape) * np.dtype(kind).itemsize for shape, kind in _arrays(sizes).values())


def allocate(sizes: Sizes) -> World:
    """Zero-filled memory."""
    return World(**{name: np.zeros(shape, kind) for name, (shape, kind) in _arrays(sizes).items()})


def _arrays(sizes: Sizes) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shape and type of each array of a `World`."""
    b, n_lb, s, u, k = sizes.rows, sizes.balancers, sizes.slots, sizes.actions, sizes.reservoir
    places, n_reservoirs, instants = s * sizes.max_clients, 2 * n_lb * s, sizes.instants + 1
    return {
        "episode": ((b,), EPISODE),
        "streams": ((b, 5), STREAM),
        "balancers": ((b, n_lb), BALANCER),
        "servers": ((b, s), SERVER),
        "slots": ((b, s, sizes.served), SLOT),
        "backlog": ((b, s, sizes.max_clients), np.int64),
        "flows": ((b, places), FLOW),
        "free": ((b, places), np.int64),
        "pairs": ((b, n_lb, s), PAIR),
        "reservoirs": ((b, n_reservoirs), RESERVOIR),
        "samples": ((b, n_reservoirs, k), SAMPLE),
        "by_value": ((b, n_reservoirs, k), np.float64),
        "by_weighted": ((b, n_reservoirs, k), np.float64),
        "changes": ((b, instants, s), CHANGE),
        "rates": ((b, instants), np.float64),
        "jct": ((b, sizes.records), np.float64),
        "label": ((b, sizes.records), np.int16),
        "choices": ((b, n_lb, u), np.int64),
        "obs": ((b, n_lb, sizes.obs_dim), np.float32),
        "state": ((b, sizes.state_dim), np.float32),
        "avail": ((b, n_lb, u), np.bool_),
        "reward": ((b, sizes.rewards), np.float32),
    }
