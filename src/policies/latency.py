"""Weights that follow completion times: a simple rule for servers of unknown capacity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from ..components.spec import EnvSpec
from ..envs.loadbalance.parameters import DataPlane
from ..ranges import Fraction, Range
from ..registry import register
from .dispatch import Dispatch


@register("policy")
class Latency(Dispatch):
    """Lets the environment place flows by weights that integral control finds from completion times.

    In every step, each balancer moves the logarithm u_j of its weight of server j over the nominal one:
    ``u_j = clip(leak * (u_j + gain * (mean over servers of log T - log T_j)), -clip, clip)``, where T_j is the decayed
    mean of the completion times that the balancer itself has seen there. Servers that it has no sample of only leak.

    A setting that is ``None`` is that of the environment.

    Args:
        spec: sizes of the environment.
        gain: step of u_j for a completion time that is a factor e below the mean over servers (``latency_gain``).
        leak: factor by which u_j shrinks in a step (``latency_leak``).
        clip: largest u_j (``latency_clip``).
        decay: factor per second of age of a completion time in the mean (``decay``).
        dispatch: rule that uses the weights (``dispatch``).
    """

    def __init__(
        self,
        spec: EnvSpec,
        *,
        gain: Annotated[float, Range(at_least=0, at_most=100)] | None,
        leak: Fraction | None,
        clip: Annotated[float, Range(above=0, at_most=100)] | None,
        proportional: Annotated[float, Range(at_least=0, at_most=100)] | None,
        trust: Fraction | None,
        decay: Annotated[float, Range(above=0, at_most=1)] | None,
        dispatch: DataPlane | None,
    ) -> None:
        super().__init__(spec, rule="latency")

    @classmethod
    def environment_settings(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Policy.environment_settings`: the rule, and what is not left to the environment."""
        own = {
            **{f"latency_{name}": settings[name] for name in ("gain", "leak", "clip", "proportional", "trust")},
            **{name: settings[name] for name in ("decay", "dispatch")},
        }
        given = {name: value for name, value in own.items() if value is not None}
        return {"rule": "latency", "random_levels": None, **given}
