"""The multi-agent controller of the PyMARL family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..components.episode import EpisodeBatch
from ..components.memory import require_memory_for_weights
from ..components.rng import UInt64Array
from ..components.spec import EnvSpec, FloatArray, IntArray
from ..modules.agents.base import Network, zero_state
from ..modules.recipe import NoRecipeError, Recipe
from ..portable.operations import Team, team
from ..ranges import Natural
from ..registry import register
from .base import Controller, Stepper
from .inputs import EntityInputs, FlatInputs


@register("controller")
class MAC(Controller):
    """Decentralised networks for A agents, sharing parameters or not.

    Args:
        spec: sizes of the environment.
        network: makes a network from (spec, input_dim).
        takes_entities: whether that network reads one row per entity.
        sharing: ``shared``, one network for all agents; ``independent``, one each; ``grouped``, as ``groups`` says.
        groups: for each agent the number of its network, from 0; only with ``sharing=grouped``.
        agent_id: append the agent's one-hot id to its input.
        last_action: append the agent's last action to its input.
        normalize_obs: normalize observations by running statistics, see `ObsScaler`; critics and mixers read them, and
            states, as they are.

    Raises:
        ValueError: ``groups`` does not fit, or an agent id or ``normalize_obs`` for a network that reads entities.
    """

    def __init__(
        self,
        spec: EnvSpec,
        network: Callable[[EnvSpec, int], Network],
        takes_entities: bool,
        *,
        sharing: Literal["shared", "independent", "grouped"],
        groups: list[Natural] | None,
        agent_id: bool,
        last_action: bool,
        normalize_obs: bool,
    ) -> None:
        super().__init__()
        if takes_entities and agent_id:
            raise ValueError(
                "an entity network fits any number of agents, so it cannot take agent_id; set agent_id=false"
            )
        if takes_entities and normalize_obs:
            raise ValueError(
                "an entity network fits any number of entities, so its observation has no fixed numbers to normalize; "
                "set normalize_obs=false"
            )
        self._n_agents, self._n_actions = spec.n_agents, spec.n_actions
        self.inputs: FlatInputs | EntityInputs
        if takes_entities:
            self.inputs = EntityInputs(spec, last_action=last_action)
        else:
            self.inputs = FlatInputs(spec, agent_id=agent_id, last_action=last_action, normalize_obs=normalize_obs)
        self.tells_agents_apart = agent_id or sharing != "shared"
        self.groups = _groups(spec.n_agents, sharing, groups)
        members = [[a for a in range(spec.n_agents) if self.groups[a] == g] for g in range(max(self.groups) + 1)]
        self._sizes = [len(group) for group in members]
        self.networks = self._networks(spec, network)
        order = torch.tensor([agent for group in members for agent in group])
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("inverse_order", order.argsort(), persistent=False)

    def _networks(self, spec: EnvSpec, network: Callable[[EnvSpec, int], Network]) -> nn.ModuleList:
        """One for each group; the first tells how much memory all of them take."""
        first = network(spec, self.inputs.input_dim)
        n, n_weights = len(self._sizes), sum(weight.numel() for weight in first.parameters())
        require_memory_for_weights(n * n_weights, f"{n} networks", "share them, or make them smaller")
        return nn.ModuleList([first, *(network(spec, self.inputs.input_dim) for _ in range(n - 1))])

    def observe(self, batch: EpisodeBatch) -> None:
        """See `Controller.observe`."""
        if isinstance(self.inputs, FlatInputs) and self.inputs.scaler is not None:
            self.inputs.scaler.observe(batch)

    def refresh(self) -> None:
        """See `Controller.refresh`."""
        if isinstance(self.inputs, FlatInputs) and self.inputs.scaler is not None:
            self.inputs.scaler.refresh()

    def initial_state(self, keys: Tensor) -> Tensor:
        """See `Controller.initial_state`; nothing is random."""
        network = self.networks[0]
        assert isinstance(network, Network)
        return zero_state(network, len(keys), self._n_agents, self.get_buffer("order").device)

    def step(self, obs: Tensor, last_actions: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Controller.step`."""
        scores, _, state = self._forward(self.inputs(obs.unsqueeze(1), last_actions.unsqueeze(1)), state)
        return scores.squeeze(1), state

    def stepper(self) -> Stepper:
        """See `Controller.stepper`; by NumPy, which is faster than PyTorch for a few rows, where that can be done."""
        forward = self._array_forward() if "_array_forward" in vars(type(self)) else None
        if forward is None:
            return super().stepper()

        def step(obs: FloatArray, last_actions: IntArray, state: Any, keys: UInt64Array) -> tuple[FloatArray, Any]:
            if state is None:
                state = self.initial_state(torch.from_numpy(keys.view(np.int64))).numpy()
            scores, _, state = forward(obs, last_actions, state)
            return scores, state

        return step

    def recipes(self) -> list[Recipe]:
        """See `Controller.recipes`."""
        if "recipes" not in vars(type(self)):
            raise NoRecipeError("does not say how to compute it without torch")
        return self._recipes()

    def _recipes(self) -> list[Recipe]:
        """See `Controller.recipes`.

        A subclass of this class or of a network may compute something else, so each class must define `recipes` and
        `_array_forward` (a network: `Network.write`) itself.
        """
        written = []
        for network in self.networks:
            assert isinstance(network, Network)
            if "write" not in vars(type(network)):
                raise NoRecipeError("has a network that does not say how to compute it without torch")
            recipe = Recipe(self)
            inputs = self.inputs.write(recipe, "obs", "last_actions", "agents")
            recipe.outputs = network.write(recipe, inputs, "hidden")
            written.append(recipe)
        return written

    def _array_forward(self) -> Team | None:
        """`_forward` of one step by NumPy, inputs included; ``None`` where a network or the device does not allow it.

        It gives scores ``[B, A, U]``, features ``[B, A, H]`` and the next recurrent state.
        """
        if any(x.device.type != "cpu" for x in (*self.parameters(), *self.buffers())):
            return None
        try:
            networks = [recipe.compiled(recipe.outputs) for recipe in self._recipes()]
        except NoRecipeError:
            return None
        return team(networks, self.groups, range(self._n_agents))

    def unroll(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """See `Controller.unroll`."""
        taken = batch.actions.long()
        last_actions = torch.cat([torch.full_like(taken[:, :1], -1), taken], dim=1)  # B T+1 A
        scores, features, _ = self._forward(self.inputs(batch.obs, last_actions), self.initial_state(batch.key))
        return scores, features

    def _forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Every agent through its own network: ``inputs [B, T, A, *]``, ``state [B, A, *]``."""
        if len(self.networks) == 1:
            scores, features, state = self.networks[0](inputs, state)
            return scores, features, state
        order, inverse_order = self.get_buffer("order"), self.get_buffer("inverse_order")
        groups = zip(
            self.networks,
            inputs.index_select(2, order).split(self._sizes, dim=2),
            state.index_select(1, order).split(self._sizes, dim=1),
            strict=True,
        )
        scores, features, states = zip(*(network(x, h) for network, x, h in groups), strict=True)
        return (
            torch.cat(scores, dim=2).index_select(2, inverse_order),
            torch.cat(features, dim=2).index_select(2, inverse_order),
            torch.cat(states, dim=1).index_select(1, inverse_order),
        )


def _groups(n_agents: int, sharing: str, groups: list[int] | None) -> list[int]:
    """The number of each agent's network."""
    if (sharing == "grouped") != (groups is not None):
        raise ValueError("groups goes together with sharing=grouped: give both or neither")
    if groups is None:
        groups = [0] * n_agents if sharing == "shared" else list(range(n_agents))
    if len(groups) != n_agents or set(groups) != set(range(len(set(groups)))):
        raise ValueError(
            f"groups needs one number from 0, without gaps, for each of the {n_agents} agents; got {groups}"
        )
    return groups
