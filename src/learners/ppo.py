"""Proximal policy optimization with a critic: IPPO and MAPPO are this learner with another critic."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ..components.episode import Column, EpisodeBatch
from ..components.optimizers.base import OptimizerFactory
from ..controllers.base import Controller
from ..modules.critics.base import StateCritic
from ..ranges import Fraction, HuberDelta, NonNegative, Range
from ..registry import register
from . import losses, targets
from .base import Learner, Loss
from .decisions import decisions
from .value_scaler import DECAY, ValueScaler


@register("learner")
class PPOLearner(Learner):
    """Makes actions with an advantage likelier, within a distance of the policy that took them.

    PPO (Schulman et al., 2017, eq. 7 and 9) for each agent, in the form of MAPPO (Yu et al., "The Surprising
    Effectiveness of PPO in Cooperative Multi-Agent Games", 2022). The controller's scores are the logits of actions.
    Advantages are generalized ones (Schulman et al., 2016, eq. 16), computed once for each collection with the critic
    that was newest then. With a critic of the state all agents have one advantage (MAPPO), with one of each agent's
    observations each has its own (IPPO). With one epoch and one minibatch nothing is clipped, and it is A2C.

    An agent with a single available action, such as one that is dead, decides nothing and does not count, neither for
    the policy nor, where each agent has a value of its own, for the critic. The gradients of policy and critic are
    clipped apart.

    Args:
        controller: the agents.
        critic: of states, or of the agents' observations.
        optimizer: makes the optimizer.
        gamma: discount per step.
        gae_lambda: lambda of the advantages: 0 one-step, 1 Monte Carlo.
        bootstrap_on_timeout: whether a truncated episode has a future value.
        clip: how far from 1 the ratio of new to old probabilities counts.
        entropy_weight: of the policy's entropy, which is added to what is maximized.
        value_weight: of the critic's loss.
        value_clip: how far the critic may move from its old output before its loss is flat; null: any distance.
        huber_delta: Huber's loss for the critic, linear beyond this error; null for the square.
        normalize_advantages: to mean 0 and standard deviation 1 over each collection.
        normalize_values: the critic learns returns relative to their running mean and standard deviation.
        settings: those of `Learner`.
    """

    metric_names: ClassVar[tuple[str, ...]] = (
        *Learner.metric_names,
        *("policy_loss", "value_loss", "entropy", "kl", "clipped", "value_mean"),
    )
    on_policy: ClassVar[bool] = True
    needs: tuple[str, ...] = ("log_prob",)
    clips_apart: ClassVar[bool] = True

    def __init__(
        self,
        controller: Controller,
        critic: StateCritic,
        optimizer: OptimizerFactory,
        *,
        gamma: Fraction,
        gae_lambda: Fraction,
        bootstrap_on_timeout: bool,
        clip: Annotated[float, Range(above=0, at_most=1e6)],
        entropy_weight: NonNegative,
        value_weight: NonNegative,
        value_clip: Annotated[float, Range(above=0, at_most=1e9)] | None,
        huber_delta: HuberDelta | None,
        normalize_advantages: bool,
        normalize_values: bool,
        **settings: Any,
    ) -> None:
        self.value_scaler = ValueScaler(DECAY) if normalize_values else None
        networks = {"controller": controller, "critic": critic}
        if self.value_scaler is not None:
            networks["value_scaler"] = self.value_scaler  # without it the critic's weights mean other values
        super().__init__(networks, optimizer, **settings)
        self.controller, self.critic = controller, critic
        self._gamma, self._gae_lambda, self._bootstrap_on_timeout = gamma, gae_lambda, bootstrap_on_timeout
        self._clip_ratio, self._entropy_weight, self._value_weight = clip, entropy_weight, value_weight
        self._value_clip, self._huber_delta = value_clip, huber_delta
        self._normalize_advantages = normalize_advantages
        self.extras = {
            name: Column((critic.n_values,), torch.float32, "T") for name in ("advantages", "returns", "old_outputs")
        }

    @torch.no_grad()
    def prepare(self, batch: EpisodeBatch) -> EpisodeBatch:
        """See `Learner.prepare`; adds advantages, returns and what the critic said."""
        batch = super().prepare(batch)
        outputs = self.critic(batch.to(self.device))
        outputs, state_values = outputs.to("cpu"), self._restored(outputs).to("cpu")  # B T+1 V
        ends = batch.terminated if self._bootstrap_on_timeout else batch.terminated | batch.truncated
        reward = self.rewards(batch, state_values.shape[-1])
        returns = targets.lambda_returns(reward, state_values[:, 1:], ends, batch.filled, self._gamma, self._gae_lambda)
        advantages = returns - state_values[:, :-1]
        if self._normalize_advantages:
            advantages = losses.standardized(advantages, self._counts(batch, advantages.shape[-1]))
        if self.value_scaler is not None:
            self.value_scaler.observe(returns.to(self.device), batch.filled.to(self.device))
        old = {"advantages": advantages, "returns": returns, "old_outputs": outputs[:, :-1]}
        filled = batch.filled.unsqueeze(-1)
        return batch.extended(self.extras, {name: torch.where(filled, x, 0.0) for name, x in old.items()})

    def loss(self, batch: EpisodeBatch, weights: Tensor | None = None) -> Loss:
        """See `Learner.loss`."""
        made = decisions(batch, self.controller.unroll(batch)[0])
        log_ratio = made.log_prob - batch.extras["log_prob"]
        ratio, advantages = log_ratio.exp(), batch.extras["advantages"]
        clipped = ratio.clamp(1 - self._clip_ratio, 1 + self._clip_ratio)
        gain = torch.minimum(ratio * advantages, clipped * advantages)
        chose = made.chose
        policy_loss, entropy = -losses.cell_mean(gain, chose, weights), losses.cell_mean(made.entropy, chose)
        outputs = self.critic(batch)[:, :-1]
        value_loss = self._value_loss(batch, outputs, weights)
        loss = policy_loss - self._entropy_weight * entropy + self._value_weight * value_loss
        with torch.no_grad():
            metrics = {
                "policy_loss": policy_loss.detach(),
                "value_loss": value_loss.detach(),
                "entropy": entropy.detach(),
                "kl": losses.cell_mean(ratio - 1 - log_ratio, chose),  # an estimate without bias, never below 0
                "clipped": losses.cell_mean((ratio != clipped).float(), chose),
                "value_mean": losses.masked_mean(self._restored(outputs), batch.filled),
            }
        return Loss(loss, metrics)

    def _restored(self, outputs: Tensor) -> Tensor:
        """The values that the critic's outputs mean, in units of rewards."""
        return outputs if self.value_scaler is None else self.value_scaler.restored(outputs)

    def _value_loss(self, batch: EpisodeBatch, outputs: Tensor, weights: Tensor | None) -> Tensor:
        """The critic's loss, in units of its outputs."""
        returns, old = batch.extras["returns"], batch.extras["old_outputs"]
        if self.value_scaler is not None:
            returns = self.value_scaler.normalized(returns)
        error = outputs - returns
        if self._value_clip is not None:  # the larger of both losses is that of the larger error
            near = old + (outputs - old).clamp(-self._value_clip, self._value_clip) - returns
            error = torch.where(near.abs() > error.abs(), near, error)
        cells = losses.td_cells(error, self._huber_delta)
        return losses.cell_mean(cells, self._counts(batch, error.shape[-1]), weights)

    @staticmethod
    def _counts(batch: EpisodeBatch, n_values: int) -> Tensor:
        """``[B, T, V]`` bool: executed steps, and with a value for each agent only those where it had a choice."""
        filled = batch.filled.unsqueeze(-1)
        return filled & (batch.avail[:, :-1].sum(dim=-1) > 1) if n_values > 1 else filled
