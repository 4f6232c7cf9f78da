"""The contract of multi-agent controllers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ..components.episode import EpisodeBatch


class Controller(nn.Module, ABC):
    """Builds the agents' inputs, decides which agents share parameters, acts step by step and unrolls whole batches.

    The recurrent state is passed in and out, never kept: acting, evaluating and learning cannot disturb one another.
    """

    @abstractmethod
    def initial_state(self, n_envs: int) -> Tensor:
        """The recurrent state ``[B, A, *]`` at the start of B episodes."""

    @abstractmethod
    def step(self, obs: Tensor, last_actions: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step of acting.

        Args:
            obs: ``[B, A, O]``.
            last_actions: ``[B, A]`` int64, -1 before the first.
            state: the recurrent state.

        Returns:
            Scores ``[B, A, U]`` and the next recurrent state.
        """

    @abstractmethod
    def unroll(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """Scores ``[B, T+1, A, U]`` and features ``[B, T+1, A, H]`` at every stored observation; equals repeated
        `step`."""
