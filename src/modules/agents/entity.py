"""A permutation-equivariant agent network: one scorer shared by all entities of the observation."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from ...components.memory import gru_weights, linear_weights, require_memory_for_weights
from ...components.spec import EnvSpec
from ...ranges import Layers, Range, Width
from ...registry import register
from ..recipe import Recipe
from .base import Network, orthogonal_, run_gru


@register("network")
class EntityNetwork(Network):
    """Scores each action by the entity it is about; the weights fit any number of entities and agents.

    Each entity is embedded from its own inputs and their mean over entities, as in Deep Sets (Zaheer et al., 2017). The
    score of an action is a value read from the mean embedding plus an advantage read from the embedding of its entity
    (or from the mean embedding, for an action about none), centered over the actions. Exchanging two entities exchanges
    the scores of their actions and changes nothing else.

    Args:
        spec: sizes of the environment; it must list entities.
        input_dim: I, inputs per entity.
        hidden_dim: H, width of the layers.
        n_layers: number of layers of the embedding.
        rnn_dim: width of a GRU per entity after the embedding; 0 for none.
        orthogonal: orthogonal initialization, hidden layers with gain 1 and the heads with 0.01.
        layer_norm: layer normalization of each entity's embedding, before its mean and the heads.

    Raises:
        ValueError: the environment's observation lists no entities, or it does not fit into memory.
    """

    takes_entities: ClassVar[bool] = True

    def __init__(
        self,
        spec: EnvSpec,
        input_dim: int,
        *,
        hidden_dim: Width,
        n_layers: Layers,
        rnn_dim: Annotated[int, Range(at_least=0, at_most=10**6)],
        orthogonal: bool,
        layer_norm: bool,
    ) -> None:
        super().__init__()
        if spec.entities is None:
            raise ValueError("this environment's observation lists no entities; choose network=rnn or network=mlp")
        n_weights = linear_weights([2 * input_dim, *[hidden_dim] * n_layers]) + gru_weights(hidden_dim, rnn_dim)
        require_memory_for_weights(n_weights, "the network", "lower hidden_dim or rnn_dim")
        self.own = nn.Linear(input_dim, hidden_dim)
        self.mean = nn.Linear(input_dim, hidden_dim, bias=False)  # own + mean: one layer on both, without repeating
        rest = [layer for _ in range(n_layers - 1) for layer in (nn.Linear(hidden_dim, hidden_dim), nn.ReLU())]
        self.body = nn.Sequential(nn.ReLU(inplace=True), *rest)
        self.rnn = nn.GRU(hidden_dim, rnn_dim) if rnn_dim else None
        self.state_shape = (spec.entities.n_entities, rnn_dim) if rnn_dim else (0,)
        width = rnn_dim or hidden_dim
        self.norm = nn.LayerNorm(width) if layer_norm else nn.Identity()
        self.advantage = nn.Linear(width, spec.entities.n_kinds)
        self.value = nn.Linear(width, 1)
        if orthogonal:
            orthogonal_((self.own, self.mean, *self.body), self.advantage, self.value)
        k, kinds = spec.entities.n_entities, spec.entities.n_kinds
        places = [
            (entity if entity >= 0 else k) * kinds + kind
            for entity, kind in zip(spec.entities.action_entity, spec.entities.action_kind, strict=True)
        ]
        self.register_buffer(
            "places", torch.tensor(places), persistent=False
        )  # follows from the sizes: not in checkpoints

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Network.forward`."""
        x = self.body(self.own(inputs) + self.mean(inputs.mean(dim=-2, keepdim=True)))  # B T A K H
        if self.rnn is not None:
            x, state = run_gru(self.rnn, x.transpose(0, 1), state)
            x = x.transpose(0, 1)
        x = self.norm(x)
        summary = x.mean(dim=-2)  # B T A H
        of_none = self.advantage(summary).unsqueeze(-2)
        advantage = torch.cat([self.advantage(x), of_none], dim=-2).flatten(-2)  # B T A (K+1)*kinds
        advantage = advantage.index_select(-1, self.get_buffer("places"))  # B T A U
        scores = self.value(summary) + advantage - advantage.mean(dim=-1, keepdim=True)
        return scores, summary, state

    def write(self, recipe: Recipe, x: str, hidden: str) -> tuple[str, str, str]:
        """See `Network.write`."""
        of_all = recipe.layers(recipe.step("mean", x), self.mean)
        x = recipe.layers(recipe.step("add", recipe.layers(x, self.own), of_all), *self.body)  # N K H
        if self.rnn is not None:
            x = hidden = recipe.gru(x, hidden, self.rnn)
        x = recipe.layers(x, self.norm)
        summary = recipe.step("mean", x)  # N 1 H
        advantage = recipe.layers(recipe.step("append", x, summary), self.advantage)  # N K+1 kinds
        advantage = recipe.constant("choose", advantage, self, places=self.get_buffer("places").numpy())  # N U
        summary = recipe.step("flatten", summary)
        value = recipe.layers(summary, self.value)
        return recipe.step("add", recipe.step("center", advantage), value), summary, hidden
