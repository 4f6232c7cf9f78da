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
    """Lets the environment place flows by weights that proportional-integral control finds from completion times.

    With e_j the mean over servers of log T, less log T_j, where T_j is the decayed mean of the completion times that a
    balancer itself has seen of server j, the weight of server j is ``nominal**trust * exp(u_j + proportional * e_j)``,
    and in every step ``u_j = clip(leak * (u_j + gain * e_j), -clip, clip)``. Without a sample of a server e_j is 0.

    A setting that is ``None`` is that of the environment.

    Args:
        spec: sizes of the environment.
        gain: of e_j in u_j (``latency_gain``).
        leak: factor by which u_j shrinks in a step (``latency_leak``).
        clip: largest u_j (``latency_clip``).
        proportional: factor of e_j in the weight (``latency_proportional``).
        trust: exponent of the nominal weight (``latency_trust``).
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
