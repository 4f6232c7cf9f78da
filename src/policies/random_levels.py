"""Random weights: what untrained agents of Yao, Ding and Clausen (CIKM 2022) do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..components.spec import EnvSpec
from ..ranges import Positive
from ..registry import register
from .dispatch import Dispatch


@register("policy")
class RandomLevels(Dispatch):
    """Lets the environment draw a weight for every server of every balancer in each step, and use them with SED.

    Args:
        spec: sizes of the environment.
        levels: the environment's setting ``random_levels``: weights to draw from, all equally likely.
    """

    def __init__(self, spec: EnvSpec, *, levels: list[Positive]) -> None:
        super().__init__(spec, rule="sed")

    @classmethod
    def environment_settings(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Policy.environment_settings`: SED, with these weights."""
        return {"rule": "sed", "random_levels": settings["levels"]}
