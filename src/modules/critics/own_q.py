"""Values of each agent's actions, from its own observations."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...components.episode import EpisodeBatch
from ...components.spec import EnvSpec
from ...registry import register
from .base import ActionCritic, OwnCritic


@register("critic")
class OwnQ(OwnCritic, ActionCritic):
    """The values of an agent's actions, given what it has seen; the others are part of its environment.

    See `OwnCritic`.

    Args:
        spec: sizes of the environment.
        settings: those of `OwnCritic`.
    """

    sees_others = False

    def __init__(self, spec: EnvSpec, **settings: Any) -> None:
        super().__init__(spec, spec.n_actions, **settings)

    def forward(self, batch: EpisodeBatch, actions: Tensor) -> Tensor:
        """See `ActionCritic`."""
        return self.outputs(batch)  # B T+1 A U
