"""From observations, last actions and agent ids to what a network reads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..components.spec import EnvSpec, FloatArray, IntArray
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
        self._action_numbers, self._eye = np.arange(spec.n_actions), np.eye(spec.n_agents, dtype=np.float32)

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

    def arrays(self, obs: FloatArray, last_actions: IntArray) -> FloatArray:
        """`forward` for a single time step, in NumPy: ``obs [B, A, O]`` and ``last_actions [B, A]``."""
        inputs = np.empty((*last_actions.shape, self.input_dim), np.float32)
        width = obs.shape[-1]
        inputs[..., :width] = obs if self.scaler is None else self.scaler.arrays(obs)
        if self._last_action:
            action = inputs[..., width : width + self._n_actions]
            np.equal(last_actions[..., None], self._action_numbers, out=action)
        if self._agent_id:
            inputs[..., -len(self._eye) :] = self._eye
        return inputs


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
        self._flags = flags.numpy().copy() if last_action else np.zeros((len(flags), k, 0), np.float32)
        self._last_action, self._has_rest = last_action, spec.obs_dim > width
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

    def arrays(self, obs: FloatArray, last_actions: IntArray) -> FloatArray:
        """`forward` for a single time step, in NumPy: ``obs [B, A, O]`` and ``last_actions [B, A]``."""
        k, features = self._shape
        inputs = np.empty((*last_actions.shape, k, self.input_dim), np.float32)
        flags = self._flags[last_actions + 1]
        start = features + flags.shape[-1]
        inputs[..., :features] = obs[..., self._block].reshape(*last_actions.shape, k, features)
        inputs[..., features:start] = flags
        rest = np.concatenate([obs[..., : self._block.start], obs[..., self._block.stop :]], axis=-1)
        inputs[..., start:] = rest[..., None, :]
        return inputs
