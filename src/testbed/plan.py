"""What is tried: rules of the proxies, their weights, and what moves these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ..envs.loadbalance.parameters import DataPlane
from ..registry import ConfigError

BALANCE: Mapping[str, str] = {
    "leastconn": "leastconn",
    "roundrobin": "roundrobin",
    "random_n": "random({draws})",
    "sed": "sed",  # by Lua
}
"""Rules of the simulator, and what HAProxy calls them."""
DRIVEN = ("leastconn", "sed")
"""Rules for which moving weights is of use: under the others it does not steer how full servers are."""
UNIT = 16
"""Integer weight that stands for 1, unless the environment says otherwise; a CPU count up to 16 fits below 256."""

DEFAULT_ENV = "lb_haproxy"
"""The environment that is made for the testbed."""

Mover = Literal["", "latency", "pretrained", "policy"]


class Contestant(NamedTuple):
    """A rule with its weights.

    Attributes:
        rule: see `BALANCE`.
        true: whether weights are the servers' CPUs, at the beginning; else they are equal.
        mover: what moves the weights; nothing, a rule of the simulator with this name, or the policy of the run.
    """

    rule: DataPlane
    true: bool
    mover: Mover

    @property
    def name(self) -> str:
        """As in tables: ``leastconn, equal``."""
        return f"{self.rule}, {self.mover or ('true' if self.true else 'equal')}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A campaign.

    Attributes:
        settings: of the environment, as its option or a run says, and its ``name``.
        policy: a run directory, or ``None``.
        movers: what moves weights.
        rules: that take part.
        balancers: proxies.
        load: part of the capacity; a trace has its own unless ``trace_speed`` is null.
        seconds: simulated, after the warm-up.
        traces: how many episodes' traffic.
        seed: of the traffic.
        factor: simulated seconds per second.
        swap_at: simulated seconds after the warm-up; ``None``: capacities stay.
        port: the first that is used.
        parallel: beds at a time.
        haproxy: the executable, ``None`` to look for one.
    """

    settings: Mapping[str, Any]
    policy: str | None
    movers: Sequence[Mover]
    rules: Sequence[DataPlane]
    balancers: int
    load: float
    seconds: float
    traces: int
    seed: int
    factor: float
    swap_at: float | None
    port: int
    parallel: int
    haproxy: str | None

    def __post_init__(self) -> None:
        unknown = [rule for rule in self.rules if rule not in BALANCE]
        if unknown or not self.rules:
            raise ConfigError(f"testbed.rules: choose from {', '.join(BALANCE)}; got {list(self.rules)}")
        if self.swap_at is not None and not 0 < self.swap_at < self.seconds:
            raise ConfigError(f"testbed.swap_at={self.swap_at:g} must be within the {self.seconds:g} s of a trace")
        if self.settings["name"] != "loadbalance":
            raise ConfigError(
                f"testbed: {self.settings['name']} is no load balancing; an environment such as lb_haproxy is"
            )
        if self.settings["service"] != "ps" or self.settings["speed"] != 1.0:
            raise ConfigError("testbed.env: servers of the testbed have service=ps and speed=1")

    @property
    def contestants(self) -> list[Contestant]:
        """Everything that is tried, in the order of the table."""
        return [
            *(Contestant(rule, true, "") for rule in self.rules for true in (False, True)),
            *(Contestant(rule, False, mover) for mover in self.movers for rule in self.rules if rule in DRIVEN),
        ]

    @property
    def cpus(self) -> list[int]:
        """Of the servers."""
        return list(self.settings["cpus"])

    @property
    def warmup(self) -> float:
        """Simulated seconds until weights move and anything counts."""
        return float(self.settings["warmup"])

    def environment(self, contestant: Contestant) -> dict[str, Any]:
        """The settings of the simulator for a contestant: servers stay in their order, nothing changes by itself."""
        still = {"scenario": "static", "swaps": 0, "rho_range": None, "size_factors": None, "episode_flows": None}
        rule = None if contestant.mover == "policy" else contestant.mover or contestant.rule
        return {
            **{name: value for name, value in self.settings.items() if name != "name"},
            **still,
            "rule": rule,
            "dispatch": contestant.rule,
            "warmup_rule": contestant.rule,
            "random_levels": None,
            "nominal_weights": [float(c) for c in self.cpus] if contestant.true else [1.0] * len(self.cpus),
            "weight_unit": self.settings["weight_unit"] or UNIT,
            "slots": None,
            "balancers": self.balancers,
            "rho": self.load,
            "episode_limit": round(self.seconds / self.settings["dt"]),
            "metrics": ["jct", "swaps"],
            "threads": 1,
        }

    def balance(self, contestant: Contestant) -> str:
        """HAProxy's name of the rule."""
        return BALANCE[contestant.rule].format(draws=self.settings["random_draws"])

    def weights(self, contestant: Contestant) -> list[int]:
        """HAProxy's weights at the beginning."""
        unit = self.settings["weight_unit"] or UNIT
        return [min(unit * c, 256) if contestant.true else unit for c in self.cpus]
