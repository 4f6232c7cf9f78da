"""Values of each agent's actions, from its own observations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ...components.episode import EpisodeBatch
from ...components.spec import EnvSpec
from ...registry import register
from .base import ActionCritic


@register("critic")
class OwnQ(ActionCritic):
    """The values of an agent's actions, given what it has seen; the others are part of its environment.

    Its networks are as those of the agents: made by the same options, shared in the same way, and with the same inputs.

    Args:
        spec: sizes of the environment.
        make_controller: makes further networks of the agents, see `hymarl.controllers.base.Controller`.
    """

    sees_others = False

    def __init__(self, spec: EnvSpec, make_controller: Callable[[], nn.Module]) -> None:
        super().__init__(spec)
        self.controller: Any = make_controller()  # modules know no controllers

    def forward(self, batch: EpisodeBatch, actions: Tensor) -> Tensor:
        """See `ActionCritic`."""
        q_values: Tensor = self.controller.unroll(batch)[0]
        return q_values  # B T+1 A U
