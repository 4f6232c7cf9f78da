"""A value of each agent's observations."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...components.episode import EpisodeBatch
from ...components.spec import EnvSpec
from ...registry import register
from .base import OwnCritic, StateCritic


@register("critic")
class OwnV(OwnCritic, StateCritic):
    """A value for each agent of what it has seen (IPPO; de Witt et al., 2020); see `OwnCritic`.

    Args:
        spec: sizes of the environment.
        settings: those of `OwnCritic`.
    """

    def __init__(self, spec: EnvSpec, **settings: Any) -> None:
        super().__init__(spec, 1, **settings)

    @property
    def n_values(self) -> int:
        """See `StateCritic`."""
        return self.spec.n_agents

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """See `StateCritic`."""
        return self.outputs(batch).squeeze(-1)  # B T+1 A
