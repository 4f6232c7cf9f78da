"""From observations, last actions and agent ids to what a network reads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..components.spec import EnvSpec
from ..modules.recipe import Recipe
from .obs_scaler import ObsScaler


class FlatInputs(nn.Module):
    """The observation, then the last action and the agent's id as one-hot vectors: ``[B, T, A, I]``.

    Attributes:
        input_dim: I.
        scaler: normalizes observations; ``None``: they stay as they are.
    """

    actions: Tensor
    ids: Tensor

    def __init__(self, spec: EnvSpec, *, agent_id: bool, last_action: bool, normalize_obs: bool) -> None:
        super().__init__()
        self.scaler = ObsScaler(spec.obs_dim) if normalize_obs else None
        self.input_dim = spec.obs_dim + (spec.n_actions if last_action else 0) + (spec.n_agents if agent_id else 0)
        self._n_actions, self._agent_id, self._last_action = spec.n_actions, agent_id, last_action
        self.register_buffer("actions", torch.arange(spec.n_actions), persistent=False)
        self.register_buffer("ids", torch.eye(spec.n_agents), persistent=False)

    def forward(self, obs: Tensor, last_actions: Tensor) -> Tensor:
        """From ``obs [B, T, A, O]`` and ``last_actions [B, T, A]`` (-1: none) to inputs."""
        obs, last_actions = obs.transpose(0, 1), last_actions.transpose(0, 1)
        inputs = obs.new_empty(*obs.shape[:-1], self.input_dim)  # T B A I: recurrent networks go along time
        widths = obs.shape[-1], self._n_actions * self._last_action, len(self.ids) * self._agent_id
        own, action, agent = inputs.split(widths, dim=-1)
        own.copy_(obs if self.scaler is None else self.scaler(obs))
        if self._last_action:
            torch.eq(last_actions.unsqueeze(-1), self.actions, out=action)
        if self._agent_id:
            agent.copy_(self.ids)
        return inputs.transpose(0, 1)

    def write(self, recipe: Recipe, obs: str, last_actions: str, agents: str) -> str:
        """Write down what `forward` does for N agents at one time; returns the name of the inputs ``[N, I]``.

        Args:
            recipe: to write into.
            obs: name of the observations ``[N, O]``.
            last_actions: of the last actions ``[N]``, -1 for none.
            agents: of the agents' numbers ``[N]``.
        """
        parts = [obs if self.scaler is None else self.scaler.write(recipe, obs)]
        if self._last_action:
            one_hot = np.eye(self._n_actions + 1, self._n_actions, dtype=np.float32)  # the last row: no action yet
            parts.append(recipe.constant("lookup", last_actions, self, one_hot_actions=one_hot))
        if self._agent_id:
            parts.append(recipe.constant("lookup", agents, self, one_hot_agents=self.ids.numpy()))
        return recipe.step("join", *parts) if len(parts) > 1 else parts[0]


class EntityInputs(nn.Module):
    """One row per entity, ``[B, T, A, K, I]``: its features, a flag per kind of action last taken on it, the rest.

    An action about no entity flags its kind on every entity; the rest of the observation is given to every entity.
    Nothing depends on which agent it is or how many there are.

    Attributes:
        input_dim: I.
    """

    def __init__(self, spec: EnvSpec, *, last_action: bool) -> None:
        super().__init__()
        entities = spec.entities
        if entities is None:
            raise ValueError("this environment's observation lists no entities; choose network=rnn or network=mlp")
        k, width = entities.n_entities, entities.n_entities * entities.n_features
        self._block = slice(entities.start, entities.start + width)
        self._shape = (k, entities.n_features)
        flags = torch.zeros(spec.n_actions + 1, k, entities.n_kinds)  # row 0: no action yet
        for action, (entity, kind) in enumerate(zip(entities.action_entity, entities.action_kind, strict=True)):
            flags[action + 1, entity if entity >= 0 else slice(None), kind] = 1.0
        self.register_buffer("flags", flags, persistent=False)
        self._last_action, self._has_rest, self._obs_dim = last_action, spec.obs_dim > width, spec.obs_dim
        self.input_dim = entities.n_features + (entities.n_kinds if last_action else 0) + spec.obs_dim - width

    def forward(self, obs: Tensor, last_actions: Tensor) -> Tensor:
        """From ``obs [B, T, A, O]`` and ``last_actions [B, T, A]`` (-1: none) to inputs."""
        parts = [obs[..., self._block].unflatten(-1, self._shape)]  # B T A K F
        if self._last_action:
            parts.append(self.get_buffer("flags")[last_actions + 1])
        if self._has_rest:
            rest = torch.cat([obs[..., : self._block.start], obs[..., self._block.stop :]], dim=-1)
            parts.append(rest.unsqueeze(-2).expand(*rest.shape[:-1], self._shape[0], -1))
        return torch.cat(parts, dim=-1)

    def write(self, recipe: Recipe, obs: str, last_actions: str, agents: str) -> str:
        """Write down what `forward` does for N agents at one time; returns the name of the inputs ``[N, K, I]``.

        Args:
            recipe: to write into.
            obs: name of the observations ``[N, O]``.
            last_actions: of the last actions ``[N]``, -1 for none.
            agents: of the agents' numbers ``[N]``, which are not used.
        """
        k, _ = self._shape
        own = np.arange(self._block.start, self._block.stop).reshape(self._shape)
        parts = [recipe.constant("choose", obs, self, own=own)]
        if self._last_action:
            flags = self.get_buffer("flags").roll(-1, 0).numpy()  # no action yet: the last row
            parts.append(recipe.constant("lookup", last_actions, self, flags=flags))
        if self._has_rest:
            rest = [*range(self._block.start), *range(self._block.stop, self._obs_dim)]
            parts.append(recipe.constant("choose", obs, self, rest=np.tile(rest, (k, 1))))
        return recipe.step("join", *parts) if len(parts) > 1 else parts[0]
