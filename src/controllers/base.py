"""The contract of multi-agent controllers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..components.episode import EpisodeBatch
from ..components.spec import FloatArray, IntArray

Stepper = Callable[[FloatArray, IntArray, Any], tuple[FloatArray, Any]]
"""One step of acting on arrays: from observations ``[B, A, O]``, last actions ``[B, A]`` (-1: none) and a recurrent
state (``None`` at the start of an episode) to scores ``[B, A, U]`` and the next recurrent state."""


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

    def stepper(self) -> Stepper:
        """`step` without gradients, on arrays, for as many calls as there are.

        It follows updates; weights that were moved or replaced count from the next start of an episode on.
        """
        device = next(iter(self.buffers())).device

        @torch.inference_mode()
        def step(obs: FloatArray, last_actions: IntArray, state: Any) -> tuple[FloatArray, Any]:
            if self.training:  # since the last update; a network with dropout must not roll dice while it acts
                self.eval()
            hidden = self.initial_state(len(obs)) if state is None else state
            inputs = torch.from_numpy(obs).to(device), torch.from_numpy(last_actions).to(device)
            scores, hidden = self.step(*inputs, hidden)
            return scores.cpu().numpy(), hidden

        return step

    @abstractmethod
    def unroll(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """Scores ``[B, T+1, A, U]`` and features ``[B, T+1, A, H]`` at every stored observation; equals repeated
        `step`."""
