"""What stays the same in every episode, as the compiled functions take it: numbers and switches, grouped by subject."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Group = TypeVar("Group", bound=tuple[Any, ...])

# fmt: off
Rule = Literal[
    "ecmp", "wcmp", "awcmp", "lsq", "lsq2", "sed", "sed2", "sed_tie", "sed_true", "jsq", "gsed", "lwl", "latency",
    "leastconn", "roundrobin", "random_n", "pretrained",
]
# fmt: on
"""Rules that place flows; ``sed_true`` to ``lwl`` are oracles, they know what no balancer can see."""

DataPlane = Literal["sed", "sed_tie", "wcmp", "leastconn", "roundrobin", "random_n"]
"""Rules that use the weights that agents, latency control or an estimator set."""

Features = Literal["all", "paper6", "completion"]

ActionMode = Literal["favour", "favour0", "adjust"]
Base = Literal["nominal", "latency", "pretrained"]
Reward = Literal[
    "product",
    "product_geo",
    "jain",
    "minmax",
    "meanmax",
    "var",
    "var_exp",
    "var_log",
    "max",
    "max_exp",
    "max_log",
    "qos",
    "mix",
    "delay",
]
Field = Literal["dur", "fct", "dur_disc", "fct_disc", "true_q", "true_w"]
Scope = Literal["local_mean", "merged", "local"]
State = Literal["server", "concat", "privileged"]
SizeDistribution = Literal["exp", "lognormal", "mix"]

RULES, ACTION_MODES, REWARDS, FIELDS = get_args(Rule), get_args(ActionMode), get_args(Reward), get_args(Field)
BASES = get_args(Base)
SCOPES, STATES, SIZES = get_args(Scope), get_args(State), get_args(SizeDistribution)
"""The same as tuples: compiled code knows a choice by its place."""

AGENTS = -1
"""In place of a rule: the agents' actions decide."""

COMPLETION, DURATION = 0, 1
"""Quantities: one sample per finished flow; one per packet of an on-going flow."""

N_STATISTICS = 5
"""Features of a reservoir."""

METRIC_GROUPS = ("jct", "fairness", "load", "actions", "balancers", "kinds", "swaps")

PHASES, AFTER = ("before", "after", "later"), 10.0
"""Parts of an episode in which the servers are swapped: up to the first time, seconds after each, and the rest."""

STEP_METRICS = (
    *("jain_q", "jain_tau", "fair_product", "fair_geo"),
    *("makespan", "makespan_final", "overload_frac", "weight_range"),
)
"""What is summed over the steps of an episode, in the order of ``Totals.sums``; makespan_final is the last one's."""


class Traffic(NamedTuple):
    """Arrivals and sizes of flows, and the servers they go to."""

    cpus: Floats  # configured CPUs of each server
    nominal: Floats  # configured weights
    speed: float  # of a nominal CPU
    fifo: bool
    workers: int
    max_clients: int
    rho: Floats  # lowest and highest load
    mean_size: float  # before it is multiplied by the factor of an episode
    size_factors: Floats  # least and largest such factor
    size_kind: int  # index in SIZES
    size_log_mean: float  # of exp: the mean itself
    size_sigma: float
    wiki_share: float
    static_mean: float
    n_flows: int  # arrivals end after as many
    split: float  # Dirichlet concentration of the balancers' shares, 0: equal
    trace_times: Floats
    trace_sizes: Floats
    trace_kinds: Integers
    trace_period: float  # seconds from one start to the next when looping
    use_trace_times: bool
    use_trace_sizes: bool
    trace_loop: bool
    trace_slack: float  # where the random start may lie, seconds from the first request
    reject_seconds: float  # what a refused flow counts as, negative: not counted


class Scenario(NamedTuple):
    """What changes within or between episodes."""

    dt: float
    warmup: int  # control intervals
    length: int  # rewarded control intervals
    permute: bool  # CPUs in random order, nominal weights all 1
    rescale: bool  # load refers to the realized mean capacity
    bases: Floats  # speeds of a server drawn for the whole episode
    speeds: Floats  # the two speeds between which it then changes
    speed_dwell: Floats  # mean seconds in each, infinite: never left
    rates: Floats  # the two multiples of the arrival rate
    rate_dwell: Floats
    failure: Floats  # earliest and latest start and length in parts of the episode; length 0: none
    detect_delay: float
    swaps: int  # permutations of the servers in an episode
    swap_window: Floats  # in which they happen, in parts of the episode


class Measuring(NamedTuple):
    """Reservoirs and observations."""

    ack_rate: float
    reservoir: int
    accept: float
    growth: float  # -log(decay per second)
    zero_fill: bool
    decay_norm: bool
    first: int  # quantities that are observed: from this one
    last: int  # to this one
    log: bool
    own_unit: bool  # times are relative to the balancer's own mean completion time
    n_base: int  # features per server
    n_features: int  # the same, extras included
    own_weight: bool
    nominal_weight: bool
    mask: bool
    own_arrivals: bool
    state: int  # index in STATES
    delay: float  # largest age of an observation, seconds


class Acting(NamedTuple):
    """From actions to weights."""

    mode: int  # index in ACTION_MODES
    delta: float
    leak: float
    clip: float
    delay: float  # largest time until weights take effect, seconds
    rule: int  # index in RULES of the rule that places flows whatever the agents do, `AGENTS`: their actions count
    learned_rule: int  # index in RULES of the rule that uses the weights that agents or latency control set
    base: int  # index in BASES: what the agents' weights are relative to
    latency_gain: float
    latency_leak: float
    latency_clip: float
    latency_proportional: float
    latency_trust: float
    draws: int  # servers that random_n draws
    unit: float  # weights in use are integers, as many stand for 1; 0: they are real numbers
    warmup_rule: int  # index in RULES
    levels: Floats  # a rule's weights are drawn from these; empty: it has the nominal ones


class Rewarding(NamedTuple):
    """The reward."""

    kind: int  # index in REWARDS
    field: int  # index in FIELDS
    scope: int  # index in SCOPES
    smoothing: float  # weight of the newest field in the moving average, 1: none
    mix: float
    drop_penalty: float


class Parameters(NamedTuple):
    """Everything that stays the same."""

    traffic: Traffic
    scenario: Scenario
    measuring: Measuring
    acting: Acting
    rewarding: Rewarding


def as_declared(group: Group) -> Group:
    """A group with each value as its field declares it, arrays contiguous and writable.

    The types of all values together are one version of the compiled simulation: with the whole number 1 where another
    time 1.0 stands, numba would compile it once more, for a minute.
    """
    hints = _hints(type(group))
    return type(group)(*(_cast(value, hint) for value, hint in zip(group, hints, strict=True)))


@cache
def _hints(kind: type) -> tuple[Any, ...]:
    return tuple(get_type_hints(kind).values())


def _cast(value: Any, hint: Any) -> Any:
    if hint in (Floats, Integers):
        return np.require(value, np.float64 if hint == Floats else np.int64, ["C", "W"])
    return hint(value) if hint in (int, float, bool) else as_declared(value)
