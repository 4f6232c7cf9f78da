"""The settings of `env=loadbalance`, their ranges, and which exclude each other."""

# Annotations are evaluated here: the registry reads them from a constructor that another module inherits.
import math
from dataclasses import dataclass
from typing import Annotated, Literal

from ...ranges import Agents, Count, Fraction, Length, Natural, PathText, Positive, Range
from .parameters import (
    METRIC_GROUPS,
    ActionMode,
    Base,
    DataPlane,
    Features,
    Field,
    Reward,
    Rule,
    Scope,
    SizeDistribution,
    State,
)

_TWO = Length(at_least=2, at_most=2)

Quantity = Annotated[float, Range(at_least=1e-15, at_most=1e15)]
"""Work, a speed, a rate, a weight or a time; products of some of them are far from the limits of floating point."""

Amount = Annotated[float, Range(at_least=0, at_most=1e9)]
"""A quantity that may be 0."""

Pair = Annotated[list[Quantity], _TWO]

Dwell = Annotated[list[Annotated[float, Range(at_least=1e-9, infinite=True)]], _TWO]

Spread = Annotated[float, Range(at_least=0, at_most=10)]
"""Standard deviation of a logarithm."""

Tilt = Annotated[float, Range(above=0, at_most=100)]
"""A step of, or a limit on, the logarithm of a weight."""


@dataclass(kw_only=True, eq=False)
class Settings:
    """Settings; `conf/env/loadbalance.yaml` has their values and units.

    Args:
        balancers: number of balancers unless ``agents=`` says otherwise.
        cpus: CPUs of each server.
        nominal_weights: configured weights; null: the CPUs.
        slots: server slots of observations and actions; null: as many as servers.
        speed: work that a CPU does per second.
        service: processor sharing, or first come first served with a flow per CPU.
        workers: most flows in service at once under processor sharing.
        backlog: most flows that wait.
        max_clients: most flows on a server; null: workers + backlog.
        dt: control interval.
        episode_limit: steps of an episode; null: with episode_flows, as many as they need.
        episode_flows: arrivals end after so many flows; null: never.
        warmup: time under warmup_rule with nominal weights before an episode starts.
        warmup_rule: data-plane rule of that time.
        rho: load, as a part of the capacity.
        rho_range: draw the load of each episode between these two instead.
        size_dist: distribution of job sizes.
        size_mean: mean job size, for exp and lognormal.
        size_sigma: standard deviation of the logarithm, for lognormal.
        mix_wiki_share: part of the flows that are wiki pages, the others are static files.
        mix_wiki_mean: mean size of a wiki page (log-normal).
        mix_wiki_sigma: standard deviation of its logarithm.
        mix_static_mean: mean size of a static file (exponential).
        size_factors: draw a factor for all job sizes of an episode between these two, its logarithm uniformly; the load
            stays the same, and balancers do not know it; null: 1.
        trace: file of requests to replay; null: Poisson arrivals.
        trace_use: what to take from the trace.
        trace_loop: start over at its end.
        trace_speed: how much faster than recorded to replay; null: so that the load is rho.
        lb_split: Dirichlet concentration of the balancers' shares of the traffic; null: equal shares.
        scenario: what is unknown or changes, see `docs/loadbalance.md`.
        misspec_speeds: speeds of servers to draw from.
        bg_speeds: speed without and with background load.
        bg_dwell: mean time in either; infinity: for ever.
        burst_rates: the two arrival rates, in parts of the mean.
        burst_dwell: mean time in either; infinity: for ever.
        failure_start: earliest and latest failure, in parts of the episode.
        failure_length: how long it lasts, in parts of the episode.
        detect_delay: time until balancers know of a failure.
        mixed_bases: speeds of servers to draw from.
        mixed_speeds: factors of the speed that alternate.
        mixed_dwell: mean time in either; infinity: for ever.
        mixed_rates: the two arrival rates, in parts of the mean.
        mixed_rate_dwell: mean time in either; infinity: for ever.
        swaps: how often the servers change places in an episode without notice: each time a random permutation.
        swap_window: from when to when, in parts of the episode; it has as many equal parts as there are swaps, and one
            happens in each, at a random step.
        ack_rate: packets of an on-going flow.
        reservoir: slots of a reservoir.
        accept: probability that a sample is accepted.
        decay: factor per second of the decayed statistics.
        fill: whether empty slots of a reservoir count as zeros.
        decay_norm: divide decayed statistics by the samples' mean decay.
        features: all 11 per server, the 6 that the paper's network used (durations of flows), or the 6 that a log of
            finished flows tells (completion times).
        obs_norm: raw, or logarithms scaled to about [-1, 1].
        obs_unit: what times are relative to: the mean job size, or the mean completion time in the balancer's own
            reservoirs.
        obs_own_weight: observe the own learned weight of each server; with another base also that of the base.
        obs_nominal_weight: observe the configured weight of each server.
        obs_mask: observe which slots are in use.
        obs_own_arrivals: observe the own number of new flows in the last step.
        obs_delay: largest age of an observation.
        state: what the mixer sees: merged features, all observations, or the truth.
        action_mode: what actions do to weights.
        delta: step of an action in the logarithm of a weight.
        leak: factor by which these logarithms shrink in a step.
        clip: largest effect on the logarithm of a weight.
        dispatch: data-plane rule that uses learned weights, and those of latency control.
        weight_unit: weights in use are the integers from 1 to 256 nearest to this many times the weight, as HAProxy
            has them; null: real numbers.
        random_draws: how many servers random_n draws.
        base: what learned weights are relative to: the nominal ones, or those of latency control or of an estimator.
        estimator: file of the estimator of rule=pretrained and base=pretrained; null: the one that is shipped.
        latency_gain: of latency control: step in the logarithm of a weight for a completion time that is a factor e
            below the balancer's mean over servers.
        latency_leak: of latency control: factor by which these logarithms shrink in a step.
        latency_clip: of latency control: largest of these logarithms, without the proportional part.
        latency_proportional: of latency control: share of the logarithm of a completion time, relative to the mean over
            servers, by which the logarithm of a weight is lowered at once.
        latency_trust: of latency control: exponent of the nominal weights that it starts from; 0: as if all were equal.
        action_delay: largest time until new weights take effect.
        rule: data-plane rule that places flows whatever the agents do; null: the weights that they learn act.
        random_levels: weights to draw from, one per balancer, server and step, all equally likely; null: the rule has
            nominal weights.
        reward: what is rewarded.
        reward_field: the load of a server that the reward compares.
        reward_scope: mean over balancers of their own rewards, reward of their mean load, or one reward each.
        reward_ema: weight of the newest load in a two-step average; null: no average.
        reward_mix: weight of qos in mix.
        drop_penalty: weight of the drop rate in qos and delay.
        reject_seconds: completion time that a refused flow counts as; null: not counted.
        metrics: groups of metrics.
        threads: threads that share the rows.
    """

    balancers: Agents
    cpus: Annotated[list[Count], Length(at_least=1)]
    nominal_weights: list[Quantity] | None
    slots: Annotated[int, Range(at_least=1, at_most=10_000)] | None
    speed: Quantity
    service: Literal["ps", "fifo"]
    workers: Count
    backlog: Natural
    max_clients: Count | None
    dt: Quantity
    episode_limit: Count | None
    episode_flows: Count | None
    warmup: Amount
    warmup_rule: DataPlane
    rho: Quantity
    rho_range: Pair | None
    size_dist: SizeDistribution
    size_mean: Quantity
    size_sigma: Spread
    mix_wiki_share: Fraction
    mix_wiki_mean: Quantity
    mix_wiki_sigma: Spread
    mix_static_mean: Quantity
    size_factors: Pair | None
    trace: PathText | None
    trace_use: Literal["both", "times", "sizes"]
    trace_loop: bool
    trace_speed: Quantity | None
    lb_split: Annotated[float, Range(at_least=0.01, at_most=1e6)] | None
    scenario: Literal["static", "unknown", "misspec", "bg", "burst", "failure", "mixed"]
    misspec_speeds: Annotated[list[Quantity], Length(at_least=1)]
    bg_speeds: Pair
    bg_dwell: Dwell
    burst_rates: Pair
    burst_dwell: Dwell
    failure_start: Annotated[list[Fraction], _TWO]
    failure_length: Fraction
    detect_delay: Amount
    mixed_bases: Annotated[list[Quantity], Length(at_least=1)]
    mixed_speeds: Pair
    mixed_dwell: Dwell
    mixed_rates: Pair
    mixed_rate_dwell: Dwell
    swaps: Annotated[int, Range(at_least=0, at_most=100)]
    swap_window: Annotated[list[Fraction], _TWO]
    ack_rate: Amount
    reservoir: Annotated[int, Range(at_least=1, at_most=100_000)]
    accept: Fraction
    decay: Annotated[float, Range(above=0, at_most=1)]
    fill: Literal["valid_only", "zero_fill"]
    decay_norm: bool
    features: Features
    obs_norm: Literal["raw", "log"]
    obs_unit: Literal["size", "own"]
    obs_own_weight: bool
    obs_nominal_weight: bool
    obs_mask: bool
    obs_own_arrivals: bool
    obs_delay: Amount
    state: State
    action_mode: ActionMode
    delta: Tilt
    leak: Fraction
    clip: Tilt
    dispatch: DataPlane
    weight_unit: Annotated[int, Range(at_least=1, at_most=256)] | None
    random_draws: Annotated[int, Range(at_least=1, at_most=10)]
    base: Base
    estimator: PathText | None
    latency_gain: Annotated[float, Range(at_least=0, at_most=100)]
    latency_leak: Fraction
    latency_clip: Tilt
    latency_proportional: Annotated[float, Range(at_least=0, at_most=100)]
    latency_trust: Fraction
    action_delay: Amount
    rule: Rule | None
    random_levels: list[Positive] | None
    reward: Reward
    reward_field: Field
    reward_scope: Scope
    reward_ema: Annotated[float, Range(above=0, below=1)] | None
    reward_mix: Fraction
    drop_penalty: Amount
    reject_seconds: Amount | None
    metrics: list[str]
    threads: Annotated[int, Range(at_least=1, at_most=256)]

    def check(self) -> None:
        """Raise ValueError for settings that exclude each other."""
        for holds, message in (*self._episode(), *self._servers(), *self._traffic(), *self._metrics()):
            if not holds:
                raise ValueError(message)

    def _episode(self) -> list[tuple[bool, str]]:
        limit, flows, (earliest, latest) = self.episode_limit, self.episode_flows, self.failure_start
        return [
            (limit is not None or flows is not None, "give episode_limit (steps) or episode_flows (flows)"),
            (
                limit is not None or not self.replays,
                "episode_limit must be given when a trace sets the times of arrival",
            ),
            *(
                (delay <= self.dt, f"{name}={delay} must not exceed dt={self.dt}")
                for name, delay in {"obs_delay": self.obs_delay, "action_delay": self.action_delay}.items()
            ),
            (earliest <= latest, f"failure_start must be the earliest and the latest start, got {self.failure_start}"),
        ]

    def _servers(self) -> list[tuple[bool, str]]:
        weights, slots, n = self.nominal_weights, self.slots, len(self.cpus)
        begin, end = self.swap_window
        return [
            (
                not self.estimates or (self.features != "paper6" and self.obs_norm == "log"),
                "an estimator needs logarithms of completion times in the observation: set features to all or "
                "completion, and obs_norm=log",
            ),
            (begin <= end, f"swap_window must be the earliest and the latest time, got {self.swap_window}"),
            (
                self.swaps == 0 or self.service == "ps",
                f"swaps={self.swaps} needs service=ps: with service=fifo a server could have more flows in service "
                f"than the CPUs that it is left with",
            ),
            (
                weights is None or len(weights) == n,
                f"nominal_weights must have one number for each of the {n} servers in cpus, got {weights}",
            ),
            (slots is None or slots >= n, f"slots={slots} must not be below the number of servers in cpus, {n}"),
        ]

    def _traffic(self) -> list[tuple[bool, str]]:
        low, high = (0.0, 0.0) if self.rho_range is None else self.rho_range
        least, largest = (1.0, 1.0) if self.size_factors is None else self.size_factors
        return [
            (least <= largest, f"size_factors must be the smallest and the largest, got {self.size_factors}"),
            (
                not (self.replays and self.size_factors is not None),
                "size_factors would change the load of a trace; with a trace use trace_use=sizes",
            ),
            (low <= high, f"rho_range must be the lowest and the highest load, got {self.rho_range}"),
            (
                not (self.replays and self.scenario in ("burst", "mixed")),
                f"scenario={self.scenario} changes the rate of Poisson arrivals; with a trace use trace_use=sizes",
            ),
            (
                not (self.replays and self.rho_range is not None),
                "rho_range is for Poisson arrivals; with a trace use trace_use=sizes or trace_speed",
            ),
        ]

    def _metrics(self) -> list[tuple[bool, str]]:
        unknown = [g for g in self.metrics if g not in METRIC_GROUPS]
        return [
            (not unknown, f"metrics: there is no group {unknown}; choose from {', '.join(METRIC_GROUPS)}"),
            (self.random_levels != [], "random_levels must be at least one number above 0, or null"),
            (
                self.random_levels is None or self.rule is not None,
                "random_levels are weights of a rule, which is null; set rule=sed, or random_levels=null",
            ),
        ]

    @property
    def estimates(self) -> bool:
        """Whether an estimator sets weights."""
        return self.rule == "pretrained" or (self.rule is None and self.base == "pretrained")

    @property
    def decay_growth(self) -> float:
        """-log(decay), per second."""
        return -math.log(self.decay)

    @property
    def replays(self) -> bool:
        """Whether a trace sets the times of arrival."""
        return self.trace is not None and self.trace_use != "sizes"

    @property
    def most_clients(self) -> int:
        """Most flows on a server."""
        return self.workers + self.backlog if self.max_clients is None else self.max_clients
