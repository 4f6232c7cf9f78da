"""Multi-agent variational exploration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..components.episode import EpisodeBatch
from ..components.memory import gru_weights, linear_weights, require_memory_for_weights
from ..components.optimizers.base import OptimizerFactory
from ..components.spec import EnvSpec
from ..controllers.latent import LatentMAC
from ..modules.agents.base import mlp_to_output, run_gru
from ..modules.mixers.base import Mixer
from ..ranges import NonNegative, Width
from ..registry import register
from . import losses, values
from .base import Loss
from .q import Estimates, QLearner


class Discriminator(nn.Module):
    """Which latent a trajectory was played with: a GRU over the states and the agents' policies, then a layer.

    Args:
        spec: sizes of the environment.
        n_latents: Z.
        hidden_dim: width of the GRU and of the layer.

    Raises:
        ValueError: it does not fit into memory.
    """

    def __init__(self, spec: EnvSpec, n_latents: int, hidden_dim: int) -> None:
        super().__init__()
        reads = spec.state_dim + spec.n_agents * spec.n_actions
        n_weights = gru_weights(reads, hidden_dim) + linear_weights([hidden_dim, hidden_dim, n_latents])
        require_memory_for_weights(n_weights, "the discriminator", "lower learner.discriminator_dim")
        self.rnn = nn.GRU(reads, hidden_dim)
        self.head = mlp_to_output(hidden_dim, hidden_dim, n_latents)

    def forward(self, state: Tensor, policies: Tensor) -> Tensor:
        """Log-probabilities ``[B, T, Z]`` after each time, from ``[B, T, S]`` and probabilities ``[B, T, A, U]``."""
        inputs = torch.cat([state, policies.flatten(2)], dim=-1).transpose(0, 1)  # T B *
        out, _ = run_gru(self.rnn, inputs, inputs.new_zeros(inputs.shape[1], self.rnn.hidden_size))
        log_probs: Tensor = self.head(out).log_softmax(dim=-1)
        return log_probs.transpose(0, 1)


@register("learner")
class MAVENLearner(QLearner):
    """Q-learning of agents with a latent variable z that makes them behave in recognizably different ways.

    Mahajan et al., "MAVEN: Multi-Agent Variational Exploration", 2019, section 4. Agents (`LatentMAC`) and mixer depend
    on z, which is uniform and the same for a whole episode. The mutual information of z and what the agents do is at
    least H(z) + E[log q(z | sigma(tau), s)] for any q (Barber and Agakov, 2003), where sigma(tau) are the agents'
    softmax policies, softmax of their values of available actions, along the trajectory. q is a discriminator that
    learns with the agents: the loss is L_td + mi_weight * CE with CE = -E[log q], and its gradient reaches the agents
    through sigma. E is the mean over all beginnings of trajectories, as q is asked after each step.

    With ``intrinsic_weight`` the reward of each step also gets that weight times log q(z | ...) + log Z, which is above
    0 where z is recognized better than by chance.

    The policy over z that the paper learns beside is not part of this: z stays uniform.

    Args:
        controller: the agents.
        make_mixer: makes the mixer; its state has z at the end, one-hot.
        spec: sizes of the environment.
        optimizer: makes the optimizer.
        mi_weight: of the discriminator's cross-entropy.
        intrinsic_weight: of what the discriminator adds to rewards; 0 for nothing.
        discriminator_dim: width of the discriminator's layers.
        settings: those of `QLearner`.
    """

    metric_names: ClassVar[tuple[str, ...]] = (*QLearner.metric_names, "mi_loss", "mi_bound")

    def __init__(
        self,
        controller: LatentMAC,
        make_mixer: Callable[[EnvSpec], Mixer],
        spec: EnvSpec,
        optimizer: OptimizerFactory,
        *,
        mi_weight: NonNegative,
        intrinsic_weight: NonNegative,
        discriminator_dim: Width,
        **settings: Any,
    ) -> None:
        if intrinsic_weight and not mi_weight:
            raise ValueError(
                "intrinsic_weight rewards what the discriminator recognizes, which learns nothing with mi_weight=0; "
                "set mi_weight above 0"
            )
        self._n_latents, self._latents = controller.n_latents, controller.latents
        self._mi_weight, self._intrinsic_weight = mi_weight, intrinsic_weight
        self.discriminator = Discriminator(spec, self._n_latents, discriminator_dim)
        mixer = make_mixer(replace(spec, state_dim=spec.state_dim + self._n_latents))
        super().__init__(controller, mixer, optimizer, **settings)

    def further_networks(self) -> Mapping[str, nn.Module]:
        """See `QLearner.further_networks`."""
        return {"discriminator": self.discriminator}

    def loss(self, batch: EpisodeBatch, weights: Tensor | None = None) -> Loss:
        """See `Learner.loss`."""
        estimates = self.estimates(batch)
        log_q = self.log_q(batch, estimates.q_values)  # B T 1
        td = self.td_loss(batch, estimates.q_taken, estimates.td_targets, weights)
        mi_loss = -losses.cell_mean(log_q, batch.filled.unsqueeze(-1), weights)
        with torch.no_grad():
            bound = math.log(self._n_latents) + losses.masked_mean(log_q, batch.filled)
        metrics = {**td.metrics, "mi_loss": mi_loss.detach(), "mi_bound": bound}
        return Loss(td.loss + self._mi_weight * mi_loss, metrics, td.priorities)

    def estimates(self, batch: EpisodeBatch) -> Estimates:
        """See `QLearner.estimates`; mixers see z."""
        one_hot = F.one_hot(self._latents(batch.key), self._n_latents).to(batch.state.dtype)  # B Z
        one_hot = one_hot.unsqueeze(1).expand(-1, batch.state.shape[1], -1)
        return super().estimates(replace(batch, state=torch.cat([batch.state, one_hot], dim=-1)))

    @torch.no_grad()
    def bonus(self, batch: EpisodeBatch, q_values: Tensor) -> Tensor | None:
        """See `QLearner.bonus`: weighted log q + log Z."""
        if not self._intrinsic_weight:
            return None
        log_q = self.log_q(replace(batch, state=batch.state[..., : -self._n_latents]), q_values)
        return self._intrinsic_weight * (log_q + math.log(self._n_latents))

    def log_q(self, batch: EpisodeBatch, q_values: Tensor) -> Tensor:
        """What the discriminator makes of the z that was drawn, log q ``[B, T, 1]``.

        Args:
            batch: the episodes.
            q_values: ``[B, T+1, A, U]``, of the agents.
        """
        filled = batch.filled.unsqueeze(-1)
        q_values = torch.where(filled.unsqueeze(-1), q_values[:, :-1], 0.0)
        available = batch.avail[:, :-1] | ~filled.unsqueeze(-1)  # so that padding is finite
        policies = q_values.masked_fill(~available, -torch.inf).softmax(dim=-1)
        log_probs = self.discriminator(torch.where(filled, batch.state[:, :-1], 0.0), policies)
        return values.taken(log_probs, self._latents(batch.key)[:, None].expand(filled.shape[:2])).unsqueeze(-1)
