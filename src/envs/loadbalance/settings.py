"""The settings of `env=loadbalance` and what they must satisfy."""

# Annotations are evaluated here: the registry reads them from a constructor that another module inherits.
import math
from dataclasses import dataclass
from typing import Literal

from ...ranges import PathText, Positive
from .parameters import METRIC_GROUPS, ActionMode, Field, Reward, Rule, Scope, SizeDistribution, State


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
        warmup: time under SED with nominal weights before an episode starts.
        rho: load, as a part of the capacity.
        rho_range: draw the load of each episode between these two instead.
        size_dist: distribution of job sizes.
        size_mean: mean job size, for exp and lognormal.
        size_sigma: standard deviation of the logarithm, for lognormal.
        mix_wiki_share: part of the flows that are wiki pages, the others are static files.
        mix_wiki_mean: mean size of a wiki page (log-normal).
        mix_wiki_sigma: standard deviation of its logarithm.
        mix_static_mean: mean size of a static file (exponential).
        trace: file of requests to replay; null: Poisson arrivals.
        trace_use: what to take from the trace.
        trace_loop: start over at its end.
        trace_speed: how much faster than recorded to replay; null: so that the load is rho.
        lb_split: Dirichlet concentration of the balancers' shares of the traffic; null: equal shares.
        scenario: what is unknown or changes, see `docs/loadbalance.md`.
        misspec_speeds: speeds of servers to draw from.
        bg_speeds: speed without and with background load.
        bg_dwell: mean time in either.
        burst_rates: the two arrival rates, in parts of the mean.
        burst_dwell: mean time in either.
        failure_start: earliest and latest failure, in parts of the episode.
        failure_length: how long it lasts, in parts of the episode.
        detect_delay: time until balancers know of a failure.
        mixed_bases: speeds of servers to draw from.
        mixed_speeds: factors of the speed that alternate.
        mixed_dwell: mean time in either.
        mixed_rates: the two arrival rates, in parts of the mean.
        mixed_rate_dwell: mean time in either.
        ack_rate: packets of an on-going flow.
        reservoir: slots of a reservoir.
        accept: probability that a sample is accepted.
        decay: factor per second of the decayed statistics.
        fill: whether empty slots of a reservoir count as zeros.
        decay_norm: divide decayed statistics by the samples' mean decay.
        features: all 11 per server, or the 6 that the paper's network used.
        obs_norm: raw, or logarithms scaled to about [-1, 1].
        obs_own_weight: observe the own learned weight of each server.
        obs_nominal_weight: observe the configured weight of each server.
        obs_mask: observe which slots are in use.
        obs_own_arrivals: observe the own number of new flows in the last step.
        obs_delay: largest age of an observation.
        state: what the mixer sees: merged features, all observations, or the truth.
        action_mode: what actions do to weights.
        delta: step of an action in the logarithm of a weight.
        leak: factor by which these logarithms shrink in a step.
        clip: largest effect on the logarithm of a weight.
        dispatch: data-plane rule that uses learned weights.
        action_delay: largest time until new weights take effect.
        rule: data-plane rule that places flows whatever the agents do; null: the weights that they learn act.
        random_levels: weights to draw from, one per balancer, server and step, all equally likely; null: the rule has
            nominal weights.
        reward: what is rewarded.
        reward_field: the load of a server that the reward compares.
        reward_scope: mean over balancers of their own rewards, reward of their mean load, or one reward each.
        reward_ema: weight of the newest load in a two-step average; null: no average.
        reward_mix: weight of qos in mix.
        drop_penalty: weight of the drop rate in qos.
        reject_seconds: completion time that a refused flow counts as; null: not counted.
        metrics: groups of metrics.
        threads: threads that share the rows.
    """

    balancers: int
    cpus: list[int]
    nominal_weights: list[float] | None
    slots: int | None
    speed: float
    service: Literal["ps", "fifo"]
    workers: int
    backlog: int
    max_clients: int | None
    dt: float
    episode_limit: int | None
    episode_flows: int | None
    warmup: float
    rho: float
    rho_range: list[float] | None
    size_dist: SizeDistribution
    size_mean: float
    size_sigma: float
    mix_wiki_share: float
    mix_wiki_mean: float
    mix_wiki_sigma: float
    mix_static_mean: float
    trace: PathText | None
    trace_use: Literal["both", "times", "sizes"]
    trace_loop: bool
    trace_speed: float | None
    lb_split: float | None
    scenario: Literal["static", "unknown", "misspec", "bg", "burst", "failure", "mixed"]
    misspec_speeds: list[float]
    bg_speeds: list[float]
    bg_dwell: list[float]
    burst_rates: list[float]
    burst_dwell: list[float]
    failure_start: list[float]
    failure_length: float
    detect_delay: float
    mixed_bases: list[float]
    mixed_speeds: list[float]
    mixed_dwell: list[float]
    mixed_rates: list[float]
    mixed_rate_dwell: list[float]
    ack_rate: float
    reservoir: int
    accept: float
    decay: float
    fill: Literal["valid_only", "zero_fill"]
    decay_norm: bool
    features: Literal["all", "paper6"]
    obs_norm: Literal["raw", "log"]
    obs_own_weight: bool
    obs_nominal_weight: bool
    obs_mask: bool
    obs_own_arrivals: bool
    obs_delay: float
    state: State
    action_mode: ActionMode
    delta: float
    leak: float
    clip: float
    dispatch: Literal["sed", "wcmp"]
    action_delay: float
    rule: Rule | None
    random_levels: list[Positive] | None
    reward: Reward
    reward_field: Field
    reward_scope: Scope
    reward_ema: float | None
    reward_mix: float
    drop_penalty: float
    reject_seconds: float | None
    metrics: list[str]
    threads: int

    def check(self) -> None:
        """Raise ValueError for values out of range or settings that exclude each other."""
        for holds, message in (*self._amounts(), *self._episode(), *self._pairs(), *self._traffic(), *self._measures()):
            if not holds:
                raise ValueError(message)

    def _amounts(self) -> list[tuple[bool, str]]:
        positive = (
            *("speed", "dt", "rho", "size_mean", "mix_wiki_mean", "mix_static_mean", "reservoir", "workers"),
            *("delta", "clip", "threads", "balancers"),
        )
        not_negative = (
            *("backlog", "warmup", "size_sigma", "mix_wiki_sigma", "failure_length", "detect_delay", "ack_rate"),
            *("obs_delay", "action_delay", "drop_penalty"),
        )
        parts = ("mix_wiki_share", "accept", "decay", "leak", "reward_mix")
        values = vars(self)
        return [
            *((values[n] > 0, f"{n} must be above 0, got {values[n]}") for n in positive),
            *((values[n] >= 0, f"{n} must not be negative, got {values[n]}") for n in not_negative),
            *((0 <= values[n] <= 1, f"{n} must be between 0 and 1, got {values[n]}") for n in parts),
            (self.decay > 0, "decay must be above 0; 1 means no decay"),
        ]

    def _episode(self) -> list[tuple[bool, str]]:
        limit, flows = self.episode_limit, self.episode_flows
        return [
            (limit is not None or flows is not None, "give episode_limit (steps) or episode_flows (flows)"),
            (limit is None or limit > 0, f"episode_limit must be above 0, got {limit}"),
            (flows is None or flows > 0, f"episode_flows must be above 0, got {flows}"),
            (
                limit is not None or not self.replays,
                "episode_limit must be given when a trace sets the times of arrival",
            ),
            (
                self.obs_delay <= self.dt and self.action_delay <= self.dt,
                f"obs_delay and action_delay must not exceed dt, which is {self.dt}",
            ),
        ]

    def _pairs(self) -> list[tuple[bool, str]]:
        """Two-state processes and ranges have two numbers each."""
        values = vars(self)
        pairs = (
            *("bg_speeds", "bg_dwell", "burst_rates", "burst_dwell", "failure_start"),
            *("mixed_speeds", "mixed_dwell", "mixed_rates", "mixed_rate_dwell"),
        )
        above_0 = (*pairs, "misspec_speeds", "mixed_bases", "cpus")
        return [
            *((len(values[n]) == 2, f"{n} must be two numbers, got {values[n]}") for n in pairs),
            *(
                (len(values[n]) > 0 and min(values[n]) > 0, f"{n} must be numbers above 0, got {values[n]}")
                for n in above_0
            ),
        ]

    def _traffic(self) -> list[tuple[bool, str]]:
        weights, rho, n = self.nominal_weights, self.rho_range, len(self.cpus)
        return [
            (
                weights is None or (len(weights) == n and min(weights) > 0),
                f"nominal_weights must be one number above 0 for each of the {n} servers, got {weights}",
            ),
            (rho is None or (len(rho) == 2 and 0 < rho[0] <= rho[1]), f"rho_range must be two loads, got {rho}"),
            (self.slots is None or self.slots >= n, f"slots must be at least the {n} servers, got {self.slots}"),
            (self.max_clients is None or self.max_clients > 0, f"max_clients must be above 0, got {self.max_clients}"),
            (self.lb_split is None or self.lb_split > 0, f"lb_split must be above 0, got {self.lb_split}"),
            (self.trace_speed is None or self.trace_speed > 0, f"trace_speed must be above 0, got {self.trace_speed}"),
            (
                not (self.replays and self.scenario in ("burst", "mixed")),
                f"scenario={self.scenario} changes the rate of Poisson arrivals; with a trace use trace_use=sizes",
            ),
            (
                not (self.replays and self.rho_range is not None),
                "rho_range is for Poisson arrivals; with a trace use trace_use=sizes or trace_speed",
            ),
        ]

    def _measures(self) -> list[tuple[bool, str]]:
        unknown = [g for g in self.metrics if g not in METRIC_GROUPS]
        ema = self.reward_ema
        return [
            (not unknown, f"metrics: there is no group {unknown}; choose from {', '.join(METRIC_GROUPS)}"),
            (ema is None or 0 < ema < 1, f"reward_ema must be between 0 and 1 or null, got {ema}"),
            (self.random_levels != [], "random_levels must be at least one number above 0, or null"),
            (
                self.random_levels is None or self.rule is not None,
                "random_levels are weights of a rule, which is null; set rule=sed, or random_levels=null",
            ),
        ]

    @property
    def decay_growth(self) -> float:
        """-log(decay), per second."""
        return -math.log(self.decay) if self.decay > 0 else math.inf

    @property
    def replays(self) -> bool:
        """Whether a trace sets the times of arrival."""
        return self.trace is not None and self.trace_use != "sizes"

    @property
    def most_clients(self) -> int:
        """Most flows on a server."""
        return self.workers + self.backlog if self.max_clients is None else self.max_clients
