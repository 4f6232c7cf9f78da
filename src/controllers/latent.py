"""Agents that share a latent variable for the whole of an episode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..components.memory import require_memory_for_weights
from ..components.rng import Stream, derive, draw, uniform
from ..components.spec import EnvSpec, FloatArray, IntArray
from ..modules.agents.base import Network
from ..modules.recipe import NoRecipeError, Recipe
from ..portable.operations import Team
from ..ranges import Range
from ..registry import register
from .mac import MAC


class LatentHead(nn.Module):
    """What a latent variable adds to the scores: a linear layer whose weights a hypernetwork makes from it.

    The hypernetwork is one linear layer that reads the latent and, if there are ids, the agent's id as one-hot vectors.
    Its bias, the part of the weights that is the same for all of them, is the head that the networks have anyway.

    Args:
        n_latents: Z.
        n_ids: A, or 0 for no ids.
        features_dim: H.
        n_actions: U.

    Raises:
        ValueError: it does not fit into memory.
    """

    def __init__(self, n_latents: int, n_ids: int, features_dim: int, n_actions: int) -> None:
        super().__init__()
        n_weights = (n_latents + n_ids) * n_actions * (features_dim + 1)
        require_memory_for_weights(n_weights, "the latent's head", "lower n_latents or the network's width")
        self.hypernet = nn.Parameter(torch.empty(n_latents + n_ids, n_actions, features_dim + 1))  # the last: biases
        bound = len(self.hypernet) ** -0.5  # as PyTorch's linear layers, which the authors use: large enough to differ
        nn.init.uniform_(self.hypernet, -bound, bound)
        self.n_latents = n_latents

    def forward(self, features: Tensor, latents: Tensor) -> Tensor:
        """``[B, T, A, U]`` from features ``[B, T, A, H]`` and the episodes' latents ``[B]``."""
        of_latent, of_agent = self.hypernet.split([self.n_latents, len(self.hypernet) - self.n_latents])
        made = (F.one_hot(latents, self.n_latents).to(features.dtype) @ of_latent.flatten(1)).view(
            -1, 1, *self.hypernet.shape[1:]
        )
        if len(of_agent):
            made = made + of_agent  # B A U H+1
        weights, biases = made[..., :-1], made[..., -1:].transpose(-1, -2)
        added: Tensor = features.transpose(1, 2) @ weights.transpose(-1, -2) + biases  # B A T U
        return added.transpose(1, 2)

    def array_forward(self) -> Callable[[FloatArray, FloatArray], FloatArray]:
        """`forward` of one step by NumPy: features ``[B, A, H]`` and latents ``[B]`` to ``[B, A, U]``."""
        of_latent, of_agent = np.split(self.hypernet.detach().numpy(), [self.n_latents])

        def forward(features: FloatArray, latents: FloatArray) -> FloatArray:
            made = of_latent[latents.astype(np.int64)][:, None]
            if len(of_agent):
                made = made + of_agent  # B A U H+1
            added: FloatArray = (made[..., :-1] @ features[..., None])[..., 0]
            added += made[..., -1]
            return added

        return forward


@register("controller")
class LatentMAC(MAC):
    """Agents that all act on one latent variable z, drawn anew for each episode: different z, different joint behavior.

    The agents of MAVEN (Mahajan et al., "MAVEN: Multi-Agent Variational Exploration", 2019, section 4): z is discrete,
    and from z and the agent's id a hypernetwork makes weights with which the features of the agent's network become
    scores. Here these are added to the network's own scores, so that any network can have a latent.

    z is uniform and derives from the episode's key, in evaluation as in training. Nobody needs to tell the agents, and
    learning draws the z again with which an episode was played. Where a loaded policy acts on observations alone, its
    episodes have no keys of their own, so all of them have the same z; `PolicyState.start` takes keys.

    Args:
        spec: sizes of the environment.
        network: makes a network from (spec, input_dim).
        takes_entities: whether that network reads one row per entity.
        n_latents: Z, how many values z has.
        settings: those of `MAC`; without ``agent_id`` the hypernetwork does not know the agent either.
    """

    def __init__(
        self,
        spec: EnvSpec,
        network: Callable[[EnvSpec, int], Network],
        takes_entities: bool,
        *,
        n_latents: Annotated[int, Range(at_least=1, at_most=100_000)],
        **settings: Any,
    ) -> None:
        super().__init__(spec, network, takes_entities, **settings)
        with torch.no_grad():
            inputs = self.inputs(torch.zeros(1, 1, spec.n_agents, spec.obs_dim), torch.full((1, 1, spec.n_agents), -1))
            _, features, _ = super()._forward(inputs, super().initial_state(torch.zeros(1)))
        first = self.networks[0]
        assert isinstance(first, Network)
        self._state_shape = first.state_shape
        n_ids = spec.n_agents if settings["agent_id"] else 0
        self.latent_head = LatentHead(n_latents, n_ids, features.shape[-1], spec.n_actions)
        self.n_latents = n_latents

    def latents(self, keys: Tensor) -> Tensor:
        """The latents ``[B]`` int64, from 0, of the episodes with these keys ``[B]`` int64."""
        bits = draw(derive(keys.cpu().numpy().view(np.uint64), Stream.LATENT), 0)
        return torch.from_numpy((uniform(bits) * self.n_latents).astype(np.int64)).to(keys.device)

    def initial_state(self, keys: Tensor) -> Tensor:
        """See `Controller.initial_state`: ``[B, A, *]``, the networks' numbers and at last the latent."""
        hidden = super().initial_state(keys).flatten(2)
        latents = self.latents(keys).to(hidden)[:, None, None].expand(-1, hidden.shape[1], 1)
        return torch.cat([hidden, latents], dim=-1)

    def _forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, latents = state[..., :-1].unflatten(-1, self._state_shape), state[..., -1:]
        scores, features, hidden = super()._forward(inputs, hidden)
        scores = scores + self.latent_head(features, latents[:, 0, 0].long())
        return scores, features, torch.cat([hidden.flatten(2), latents], dim=-1)

    def recipes(self) -> list[Recipe]:
        """See `Controller.recipes`; there are none."""
        raise NoRecipeError("draws a latent variable for each episode")

    def _array_forward(self) -> Team | None:
        forward = super()._array_forward()
        if forward is None:
            return None
        added, shape = self.latent_head.array_forward(), self._state_shape

        def latent_forward(obs: FloatArray, last_actions: IntArray, state: FloatArray) -> tuple[FloatArray, ...]:
            hidden, latents = state[..., :-1].reshape(*state.shape[:2], *shape), state[..., -1:]
            scores, features, hidden = forward(obs, last_actions, hidden)
            scores = scores + added(features, latents[:, 0, 0])
            return scores, features, np.concatenate([hidden.reshape(*state.shape[:2], -1), latents], axis=-1)

        return latent_forward
