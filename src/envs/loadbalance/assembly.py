"""From settings to the numbers and array lengths that the compiled simulation takes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .layout import Floats, Sizes
from .parameters import (
    ACTION_MODES,
    AGENTS,
    BASES,
    COMPLETION,
    DURATION,
    FIELDS,
    N_STATISTICS,
    REWARDS,
    RULES,
    SCOPES,
    SIZES,
    STATES,
    Acting,
    Measuring,
    Parameters,
    Rewarding,
    Scenario,
    Traffic,
    as_declared,
)
from .settings import Settings
from .traces import Trace

_NEVER = np.array([math.inf, math.inf])
_STEADY = np.array([1.0, 1.0])
_MOST_GROWTH = 600.0
"""exp of this, and some hundreds of times more, still is a number."""

_MOST_ARRIVALS, _MOST_INTERVALS, _MOST_PACKETS, _MOST_SAMPLING = 1e6, 1e6, 1e6, 1e10
"""What one call of the compiled simulation may do, for some seconds per row: Ctrl-C does not end it. Packets are
those of a flow; the last is all servers' packets times the length of a reservoir, which is sorted."""


def mean_size(s: Settings, trace: Trace | None) -> float:
    """Mean job size in CPU-seconds.

    Raises:
        ValueError: that of a trace is absurd.
    """
    if trace is not None and s.trace_use != "times":
        mean = float(trace.sizes.mean())
        if not 1e-9 <= mean <= 1e9:
            raise ValueError(f"trace={s.trace}: the mean size of a request is {mean:g} CPU-seconds, which is no job")
        return mean
    if s.size_dist == "mix":
        return s.mix_wiki_share * s.mix_wiki_mean + (1.0 - s.mix_wiki_share) * s.mix_static_mean
    return s.size_mean


def episode_length(s: Settings, trace: Trace | None) -> int:
    """Steps of an episode; with a given number of flows as many as they need to arrive and to finish.

    Six standard deviations more than the mean time of arrival, and twice the mean time in which the smallest server
    works off a full backlog, are added.
    """
    if s.episode_limit is not None:
        return s.episode_limit
    assert s.episode_flows is not None
    size = mean_size(s, trace)
    rho = s.rho if s.rho_range is None else s.rho_range[0]
    largest = 1.0 if s.size_factors is None else s.size_factors[1]
    rate = rho * sum(s.cpus) * s.speed / (size * largest) * _slowest(s)
    arrivals = (s.episode_flows + 6.0 * math.sqrt(s.episode_flows)) / rate
    drain = size * largest * (20.0 + 2.0 * s.most_clients / min(s.cpus)) / s.speed
    return math.ceil((arrivals + drain) / s.dt)


def parameters(s: Settings, trace: Trace | None) -> Parameters:
    """What the simulator takes.

    Raises:
        ValueError: the decay over a whole episode exceeds the range of numbers, a trace has no duration, or so much
            happens in a call of the simulation that it would not end.
    """
    length = episode_length(s, trace)
    if s.decay_growth * (s.warmup + s.dt * length) > _MOST_GROWTH:
        raise ValueError(
            f"decay={s.decay} a second is too fast for warmup={s.warmup} s and {length:,} steps of dt={s.dt} s; raise "
            f"decay, or lower one of them"
        )
    made = Parameters(
        traffic=_traffic(s, trace),
        scenario=_scenario(s, length),
        measuring=_measuring(s),
        acting=Acting(
            mode=ACTION_MODES.index(s.action_mode),
            delta=float(s.delta),  # of one type always: another would be compiled for anew
            leak=float(s.leak),
            clip=float(s.clip),
            delay=float(s.action_delay),
            rule=AGENTS if s.rule is None else RULES.index(s.rule),
            learned_rule=RULES.index(s.dispatch),
            base=BASES.index(s.base),
            latency_gain=float(s.latency_gain),
            latency_leak=float(s.latency_leak),
            latency_clip=float(s.latency_clip),
            latency_proportional=float(s.latency_proportional),
            latency_trust=float(s.latency_trust),
            draws=s.random_draws,
            unit=float(s.weight_unit or 0),
            warmup_rule=RULES.index(s.warmup_rule),
            levels=_array(s.random_levels or []),
        ),
        rewarding=Rewarding(
            kind=REWARDS.index(s.reward),
            field=FIELDS.index(s.reward_field),
            scope=SCOPES.index(s.reward_scope),
            smoothing=1.0 if s.reward_ema is None else float(s.reward_ema),
            mix=float(s.reward_mix),
            drop_penalty=float(s.drop_penalty),
        ),
    )
    _check_calls(s, made)
    return as_declared(made)


def _check_calls(s: Settings, p: Parameters) -> None:
    """Refuse more than a call of the compiled simulation can do, which plays a control interval or the warm-up."""
    name, seconds = max(("dt", s.dt), ("warmup", s.warmup), key=lambda call: call[1])
    arrivals = min(seconds * _arrival_rate(p), p.traffic.n_flows)
    if arrivals > _MOST_ARRIVALS:
        raise ValueError(
            f"about {arrivals:.2g} flows would arrive in the {seconds:g} s of {name}, more than {_MOST_ARRIVALS:,.0f}; "
            f"lower {name} or the rate of arrivals, which follows from rho, speed, cpus and the mean size of a flow"
        )
    if p.scenario.warmup > _MOST_INTERVALS:
        raise ValueError(f"warmup={s.warmup} has more than {_MOST_INTERVALS:,.0f} intervals of dt={s.dt}; lower it")
    packets = seconds * s.ack_rate * len(s.cpus) * s.most_clients
    if packets * s.reservoir > _MOST_SAMPLING or seconds * s.ack_rate > _MOST_PACKETS:
        raise ValueError(
            f"servers with {s.most_clients:,} flows each would send {packets:.2g} packets in the {seconds:g} s of "
            f"{name}, too many for reservoir={s.reservoir}; lower ack_rate, workers, backlog, max_clients, {name} or "
            f"reservoir"
        )


def n_actions(s: Settings, n_slots: int) -> int:
    """Actions of a balancer."""
    return {"favour": n_slots, "favour0": n_slots + 1, "adjust": 2 * n_slots + 1}[s.action_mode]


def sizes(s: Settings, p: Parameters, rows: int, n_balancers: int) -> Sizes:
    """Lengths of the simulator's arrays."""
    n_slots = len(s.cpus) if s.slots is None else s.slots
    obs_dim = n_slots * p.measuring.n_features + s.obs_own_arrivals
    state_dims = {
        "server": n_slots * p.measuring.n_base,
        "concat": n_balancers * obs_dim,
        "privileged": 6 * n_slots + 2,
    }
    return Sizes(
        rows=rows,
        balancers=n_balancers,
        slots=n_slots,
        actions=n_actions(s, n_slots),
        served=max(s.cpus) if p.traffic.fifo else s.workers,
        max_clients=p.traffic.max_clients,
        reservoir=s.reservoir,
        instants=p.scenario.warmup + p.scenario.length,
        obs_dim=obs_dim,
        state_dim=state_dims[s.state],
        rewards=n_balancers if s.reward_scope == "local" else 1,
        records=_most_records(p) + n_slots * p.traffic.max_clients,
    )


def _traffic(s: Settings, trace: Trace | None) -> Traffic:
    mix = s.size_dist == "mix"
    mean, sigma = (s.mix_wiki_mean, s.mix_wiki_sigma) if mix else (s.size_mean, s.size_sigma)
    times, period = _trace_times(s, trace)
    seconds = s.dt * (s.episode_limit or 0) + s.warmup
    span = float(times[-1] - times[0])
    return Traffic(
        cpus=_array(s.cpus),
        nominal=_array(s.cpus if s.nominal_weights is None else s.nominal_weights),
        speed=s.speed,
        fifo=s.service == "fifo",
        workers=s.workers,
        max_clients=s.most_clients,
        rho=_array(s.rho_range or [s.rho, s.rho]),
        mean_size=mean_size(s, trace),
        size_factors=_array(s.size_factors or [1.0, 1.0]),
        size_kind=SIZES.index(s.size_dist),
        size_log_mean=math.log(mean) - sigma**2 / 2.0,
        size_sigma=sigma,
        wiki_share=s.mix_wiki_share,
        static_mean=s.mix_static_mean,
        n_flows=2**62 if s.episode_flows is None else s.episode_flows,
        split=0.0 if s.lb_split is None else s.lb_split,
        trace_times=times,
        trace_sizes=np.zeros(1) if trace is None else trace.sizes,
        trace_kinds=np.zeros(1, np.int64) if trace is None else trace.kinds,
        trace_period=period,
        use_trace_times=s.replays,
        use_trace_sizes=trace is not None and s.trace_use != "times",
        trace_loop=s.trace_loop,
        trace_slack=period if s.trace_loop else max(0.0, span - seconds),
        reject_seconds=-1.0 if s.reject_seconds is None else s.reject_seconds,
    )


def _trace_times(s: Settings, trace: Trace | None) -> tuple[Floats, float]:
    """Times of a trace from 0 on as they are to be replayed, and the period of its repetition."""
    if trace is None:
        return np.zeros(1), 1.0
    times = trace.times - trace.times[0]
    period = float(times[-1]) * len(trace) / max(len(trace) - 1, 1)
    factor = s.trace_speed
    if period <= 0.0 and (s.trace_loop or factor is None):
        raise ValueError(
            f"trace={s.trace}: all requests come at the same time, which has no rate; set trace_loop=false and a "
            f"trace_speed"
        )
    if factor is None:
        load = len(trace) * mean_size(s, trace) / period / (sum(s.cpus) * s.speed)
        factor = s.rho / load
    return times / factor, period / factor


def _scenario(s: Settings, length: int) -> Scenario:
    chains: dict[str, dict[str, Any]] = {
        "misspec": {"bases": s.misspec_speeds},
        "bg": {"speeds": s.bg_speeds, "speed_dwell": s.bg_dwell},
        "burst": {"rates": s.burst_rates, "rate_dwell": s.burst_dwell},
        "mixed": {
            "bases": s.mixed_bases,
            "speeds": s.mixed_speeds,
            "speed_dwell": s.mixed_dwell,
            "rates": s.mixed_rates,
            "rate_dwell": s.mixed_rate_dwell,
        },
    }
    quiet = {"bases": [1.0], "speeds": _STEADY, "speed_dwell": _NEVER, "rates": _STEADY, "rate_dwell": _NEVER}
    warmup = round(s.warmup / s.dt)
    failure = [*s.failure_start, s.failure_length if s.scenario == "failure" else 0.0]
    return Scenario(
        dt=s.dt,
        warmup=warmup,
        length=length,
        permute=s.scenario == "unknown",
        rescale=s.scenario in ("misspec", "bg", "mixed"),
        failure=_array(failure),
        swaps=s.swaps,
        swap_window=_array(s.swap_window),
        detect_delay=min(s.detect_delay, s.dt * (warmup + length + 1)),
        **{name: _array(x) for name, x in {**quiet, **chains.get(s.scenario, {})}.items()},
    )


def _measuring(s: Settings) -> Measuring:
    first = DURATION if s.features == "paper6" else COMPLETION
    last = COMPLETION if s.features == "completion" else DURATION
    n_base = 1 + N_STATISTICS * (last - first + 1)
    return Measuring(
        ack_rate=s.ack_rate,
        reservoir=s.reservoir,
        accept=s.accept,
        growth=s.decay_growth,
        zero_fill=s.fill == "zero_fill",
        decay_norm=s.decay_norm,
        first=first,
        last=last,
        log=s.obs_norm == "log",
        own_unit=s.obs_unit == "own",
        n_base=n_base,
        n_features=n_base + s.obs_own_weight * (1 if s.base == "nominal" else 2) + s.obs_nominal_weight + s.obs_mask,
        own_weight=s.obs_own_weight,
        nominal_weight=s.obs_nominal_weight,
        mask=s.obs_mask,
        own_arrivals=s.obs_own_arrivals,
        state=STATES.index(s.state),
        delay=s.obs_delay,
    )


def _slowest(s: Settings) -> float:
    """A lower bound on the factor that a scenario applies to the arrival rate."""
    bases = {"misspec": min(s.misspec_speeds), "bg": min(s.bg_speeds), "burst": min(s.burst_rates)}
    return bases.get(s.scenario, min(s.mixed_bases) * min(s.mixed_speeds) if s.scenario == "mixed" else 1.0)


def _arrival_rate(p: Parameters) -> float:
    """Flows per second at the highest load and speed; of a trace that is played once 0, as it comes to an end."""
    traffic = p.traffic
    if traffic.use_trace_times:
        return len(traffic.trace_times) / traffic.trace_period if traffic.trace_loop else 0.0
    fastest = p.scenario.bases.max() * p.scenario.speeds.max() if p.scenario.rescale else 1.0
    capacity = traffic.cpus.sum() * traffic.speed * fastest * p.scenario.rates.max()
    return float(traffic.rho.max() * capacity / (traffic.mean_size * traffic.size_factors.min()))


def _most_records(p: Parameters) -> int:
    """Flows that can arrive in the rewarded part of an episode (ten standard deviations above the mean)."""
    seconds = p.scenario.dt * p.scenario.length
    traffic = p.traffic
    if traffic.use_trace_times:
        times = traffic.trace_times
        rounds = int(seconds / traffic.trace_period) + 1 if traffic.trace_loop else 0
        rest = seconds - (rounds - 1) * traffic.trace_period if rounds else seconds
        twice = np.concatenate([times, times + traffic.trace_period])
        most = int((np.searchsorted(twice, times + rest, side="right") - np.arange(len(times))).max())
        return max(rounds - 1, 0) * len(times) + most
    mean = _arrival_rate(p) * seconds
    return min(math.ceil(mean + 10.0 * math.sqrt(mean) + 100.0), traffic.n_flows)


def _array(values: Any) -> Floats:
    return np.array(values, np.float64)
