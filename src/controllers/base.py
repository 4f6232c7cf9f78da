"""The contract of multi-agent controllers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..components.episode import EpisodeBatch
from ..components.rng import UInt64Array
from ..components.spec import FloatArray, IntArray
from ..modules.recipe import NoRecipeError, Recipe


class Stepper(Protocol):
    """One step of acting on arrays, without gradients."""

    def __call__(
        self, obs: FloatArray, last_actions: IntArray, state: Any, keys: UInt64Array
    ) -> tuple[FloatArray, Any]:
        """Scores ``[B, A, U]`` and the next recurrent state.

        Args:
            obs: ``[B, A, O]``.
            last_actions: ``[B, A]``, -1 before the first.
            state: what the previous call returned, ``None`` at the start of an episode.
            keys: ``[B]``, the episodes' keys.
        """
        ...


class Controller(nn.Module, ABC):
    """Builds the agents' inputs, decides which agents share parameters, acts step by step and unrolls whole batches.

    The recurrent state is passed in and out, never kept: acting, evaluating and learning cannot disturb one another.

    Attributes:
        tells_agents_apart: whether it matters which agent is which, as where they have networks of their own; if not,
            the same weights act for any number of agents.
        groups: for each agent the number of its network.
    """

    tells_agents_apart: bool = False
    groups: Sequence[int] = ()

    @abstractmethod
    def initial_state(self, keys: Tensor) -> Tensor:
        """The recurrent state ``[B, A, *]`` at the start of B episodes.

        Args:
            keys: ``[B]`` int64, `EpisodeBatch.key`; a random initial state derives from it, so that learning starts
                from the same state as acting did.
        """

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
        """`step` as a function of arrays.

        It keeps references to the weights' memory: changes in place count from the next call on, but after the module
        was moved or its tensors were replaced a new stepper is needed.
        """
        device = next(iter((*self.parameters(), *self.buffers()))).device

        @torch.inference_mode()
        def step(obs: FloatArray, last_actions: IntArray, state: Any, keys: UInt64Array) -> tuple[FloatArray, Any]:
            if state is None:
                state = self.initial_state(torch.from_numpy(keys.view(np.int64)).to(device))
            inputs = torch.from_numpy(obs).to(device), torch.from_numpy(last_actions).to(device)
            scores, state = self.step(*inputs, state)
            return scores.cpu().numpy(), state

        return step

    def recipes(self) -> list[Recipe]:
        """What each network computes for agents that it belongs to, from their observations to their scores.

        Raises:
            NoRecipeError: that cannot be written down, as for a controller that does not define this method itself.
        """
        raise NoRecipeError("does not say how to compute it without torch")

    def observe(self, batch: EpisodeBatch) -> None:
        """Add newly collected episodes to running statistics, if there are any; they count from `refresh` on."""

    def refresh(self) -> None:
        """Use running statistics as they are now; called between the updates on a collection and playing the next."""

    @abstractmethod
    def unroll(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """Scores ``[B, T+1, A, U]`` and features ``[B, T+1, A, H]`` at every stored observation; equals repeated
        `step`."""
