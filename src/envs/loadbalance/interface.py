"""What a program must know that drives a real load balancer with a policy of `env=loadbalance`."""

from __future__ import annotations

from typing import Any

from .assembly import mean_size
from .settings import Settings
from .traces import Trace

STATISTICS = ("mean", "p90", "std", "decayed_mean", "decayed_p90")
"""Of a reservoir of times, in the order of an observation."""


def features(s: Settings) -> tuple[list[str], list[str]]:
    """Names of an observation's numbers: those of each server, and those after all servers."""
    quantities = {"all": ("completion", "duration"), "paper6": ("duration",), "completion": ("completion",)}[s.features]
    own = ["on_going_flows", *(f"{quantity}_{name}" for quantity in quantities for name in STATISTICS)]
    if s.obs_own_weight:
        own += ["own_weight", *(["base_weight"] if s.base != "nominal" else [])]
    return own + _chosen(s, "nominal_weight", "mask"), _chosen(s, "own_arrivals")


def interface(s: Settings, trace: Trace | None) -> dict[str, Any]:
    """Observations, actions and times of a policy that was trained with these settings, as plain data.

    Times are in seconds, sizes in CPU-seconds, weights in parts of the nominal ones.

    Args:
        s: the settings.
        trace: the one that they name.

    Raises:
        ValueError: the mean size of the trace's requests is absurd.
    """
    from .observations import OFFSET, RANGE  # numba takes its time

    per_server, after = features(s)
    action = ("action_mode", "delta", "leak", "clip", "dispatch", "weight_unit", "random_draws", "base", "action_delay")
    control = ("gain", "leak", "clip", "proportional", "trust") if s.base == "latency" else ()
    samples = ("ack_rate", "reservoir", "accept", "decay", "decay_norm", "fill", "obs_delay")
    return {
        "dt": s.dt,
        "observation": {
            "slots": len(s.cpus) if s.slots is None else s.slots,
            "per_server": per_server,
            "after_servers": after,
            "obs_norm": s.obs_norm,
            "obs_unit": s.obs_unit,
            "mean_job_size": mean_size(s, trace),
            "size_factors": s.size_factors,
            "max_clients": s.most_clients,
            "time_offset": OFFSET,
            "log_range": RANGE,
            **{name: getattr(s, name) for name in samples},
        },
        "action": {name: getattr(s, name) for name in (*action, *(f"latency_{name}" for name in control))},
    }


def _chosen(s: Settings, *names: str) -> list[str]:
    return [name for name in names if getattr(s, f"obs_{name}")]
