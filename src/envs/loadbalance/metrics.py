"""Metrics of an episode, computed once at its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .layout import Floats, World
from .parameters import PHASES, STEP_METRICS, Parameters

KINDS = ("wiki", "static")
_PERCENTILES = (50, 90, 99)


def metric_names(groups: Sequence[str], cpus: Sequence[int], n_balancers: int) -> tuple[str, ...]:
    """Names of the metrics of the chosen groups, in order; without CPUs, none for servers of a size."""
    names: dict[str, list[str]] = {
        "jct": [
            *("jct_mean", "jct_p50", "jct_p90", "jct_p99", "slowdown_mean", "throughput"),
            *("arrivals", "finished", "unfinished", "drops", "drop_rate"),
        ],
        "fairness": ["jain_q", "jain_util", "jain_tau", "fair_product", "fair_geo"],
        "load": [
            *("makespan", "makespan_final", "overload_frac", "util_mean", "util_min", "util_max"),
            *(f"busy_threads_{c}" for c in sorted(set(cpus))),
        ],
        "actions": ["action_entropy", "weight_range"],
        "balancers": [f"{m}_lb{i}" for i in range(n_balancers) for m in ("jct_mean", "throughput", "drops")],
        "swaps": [f"jct_mean_{phase}" for phase in PHASES],
        "kinds": [f"{m}_{kind}" for kind in KINDS for m in ("jct_mean", "jct_p90", "jct_p99", "throughput")],
    }
    return tuple(n for group in groups for n in names[group])


def episode_metrics(p: Parameters, w: World, b: int, groups: Sequence[str]) -> Floats:
    """The metrics of the episode that row b has just finished, in the order of `metric_names`.

    Completion times are in milliseconds and not a number where no flow finished; makespans are in seconds.
    """
    parts: dict[str, Callable[[Parameters, World, int], Iterator[float]]] = {
        "jct": _completion,
        "fairness": _fairness,
        "load": _load,
        "actions": _actions,
        "balancers": _balancers,
        "kinds": _kinds,
        "swaps": _swaps,
    }
    return np.array([x for group in groups for x in parts[group](p, w, b)])


def _recorded(w: World, b: int) -> tuple[Floats, np.ndarray]:
    n = int(w.episode["n_jct"][b])
    return 1e3 * w.jct[b, :n], w.label[b, :n]


def _seconds(p: Parameters) -> float:
    return p.scenario.dt * p.scenario.length


def _steps(p: Parameters, w: World, b: int) -> dict[str, float]:
    episode, steps = w.episode[b], p.scenario.length
    return {n: float(episode[n]) / (1 if n == "makespan_final" else steps) for n in STEP_METRICS}


def _percentiles(jct: Floats, which: Sequence[int]) -> list[float]:
    return np.percentile(jct, which).tolist() if len(jct) else [math.nan] * len(which)


def _mean(x: Floats) -> float:
    return float(x.mean()) if len(x) else math.nan


def _completion(p: Parameters, w: World, b: int) -> Iterator[float]:
    jct, _ = _recorded(w, b)
    arrivals, finished, drops = (int(w.balancers[n][b].sum()) for n in ("all_arrivals", "all_finished", "all_drops"))
    yield _mean(jct)
    yield from _percentiles(jct, _PERCENTILES)
    yield float(w.episode["slowdown"][b]) / finished if finished else math.nan
    yield finished / _seconds(p)
    yield from (arrivals, finished, int(w.servers["load"][b].sum()), drops)
    yield drops / max(arrivals, 1)


def _utilization(p: Parameters, w: World, b: int) -> Floats:
    servers = w.servers[b, : len(p.traffic.cpus)]
    return servers["all_core"] / servers["all_cpus"]


def _fairness(p: Parameters, w: World, b: int) -> Iterator[float]:
    steps, util = _steps(p, w, b), _utilization(p, w, b)
    squares = float((util**2).sum())
    yield steps["jain_q"]
    yield float(util.sum()) ** 2 / (len(util) * squares) if squares > 0 else 1.0
    yield from (steps["jain_tau"], steps["fair_product"], steps["fair_geo"])


def _load(p: Parameters, w: World, b: int) -> Iterator[float]:
    steps, util = _steps(p, w, b), _utilization(p, w, b)
    yield from (steps["makespan"], steps["makespan_final"], steps["overload_frac"])
    servers = w.servers[b]
    yield float(servers["all_core"].sum() / servers["all_cpus"].sum())
    yield from (float(util.min()), float(util.max()))
    for c in sorted(set(p.traffic.cpus.tolist())) if p.scenario.swaps == 0 else ():
        yield float(servers["all_busy"][servers["cpus"] == c].mean()) / _seconds(p)


def _actions(p: Parameters, w: World, b: int) -> Iterator[float]:
    """Entropy of a balancer's actions in parts of the largest possible, and how far weights are apart."""
    counts = w.choices[b]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    logs = np.log(np.where(share > 0, share, 1.0))
    yield float(-(share * logs).sum(axis=1).mean()) / math.log(counts.shape[1]) if counts.shape[1] > 1 else 0.0
    yield _steps(p, w, b)["weight_range"]


def _balancers(p: Parameters, w: World, b: int) -> Iterator[float]:
    jct, label = _recorded(w, b)
    for i in range(w.balancers.shape[1]):
        yield _mean(jct[label // 2 == i])
        yield int(w.balancers["all_finished"][b, i]) / _seconds(p)
        yield int(w.balancers["all_drops"][b, i])


def _kinds(p: Parameters, w: World, b: int) -> Iterator[float]:
    jct, label = _recorded(w, b)
    for kind in range(len(KINDS)):
        own = jct[label % 2 == kind]
        yield _mean(own)
        yield from _percentiles(own, (90, 99))
        yield len(own) / _seconds(p)


def _swaps(p: Parameters, w: World, b: int) -> Iterator[float]:
    for phase in PHASES:
        n = int(w.episode[f"n_{phase}"][b])
        yield 1e3 * float(w.episode[f"jct_{phase}"][b]) / n if n else math.nan
