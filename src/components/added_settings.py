"""Settings that were added to components after runs and weights files had been saved."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

ADDED: Mapping[str, Mapping[str, Any]] = {
    "env": {
        "state": "own",
        "base": "nominal",
        "latency_gain": 0.02,
        "latency_leak": 1.0,
        "latency_clip": 2.5,
        "estimator": None,
        "latency_proportional": 0.0,
        "latency_trust": 1.0,
        "size_factors": None,
        "swaps": 0,
        "swap_window": [0.3, 0.7],
        "obs_unit": "size",
        "warmup_rule": "sed",
        "weight_unit": None,
        "random_draws": 2,
    },
    "controller": {"normalize_obs": False},
    "network": {"noisy": False, "noisy_sigma": 0.5, "layer_norm": False},
    "selector": {"explore": "agent"},
    "mixer": {"transform": True},
    "learner": {"n_steps": 1, "trace": "peng", "trace_epsilon": 0.0, "normalize_values": False},
    "policy": {"proportional": None, "trust": None},
    "logger": {"observer": "file", "database": "sacred", "timeout_s": 5.0},
}
"""By group, with the values that mean what the component did before; never changed, whatever the options say today."""


def with_added(group: str, names: Collection[str], saved: Mapping[str, Any]) -> dict[str, Any]:
    """Saved settings, and those of ``names``, the settings that the component has today, that were added since."""
    return {**{name: value for name, value in ADDED.get(group, {}).items() if name in names}, **saved}
