"""Weights from a network that estimates the load of servers, trained beforehand: nothing is left to learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..components.spec import EnvSpec
from ..ranges import PathText
from ..registry import register
from .dispatch import Dispatch


@register("policy")
class Pretrained(Dispatch):
    """Lets the environment place flows by weights that follow from estimates of the servers' load.

    Each balancer estimates from its own observations how many flows all balancers have on each server, over what the
    server can do (`hymarl.envs.loadbalance.estimator`).

    Args:
        spec: sizes of the environment.
        file: numbers of the estimator; ``None``: as the environment says (``estimator``), else the shipped ones, which
            were trained for many situations and numbers of balancers and servers.
    """

    def __init__(self, spec: EnvSpec, *, file: PathText | None) -> None:
        super().__init__(spec, rule="pretrained")

    @classmethod
    def environment_settings(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Policy.environment_settings`: the rule, and the file unless that is left to the environment."""
        given = {} if settings["file"] is None else {"estimator": settings["file"]}
        return {"rule": "pretrained", "random_levels": None, **given}
