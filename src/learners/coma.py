"""Counterfactual multi-agent policy gradients."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ..components.episode import EpisodeBatch
from ..components.optimizers.base import OptimizerFactory
from ..controllers.base import Controller
from ..modules.critics.base import ActionCritic
from ..ranges import NonNegative
from ..registry import register
from . import losses, values
from .base import Loss
from .decisions import decisions
from .td import TDLearner


@register("learner")
class COMALearner(TDLearner):
    """Makes actions likelier that were better than what the agent would have done on average, others' actions fixed.

    COMA (Foerster et al., "Counterfactual Multi-Agent Policy Gradients", 2018, eq. 4 and 7): the advantage of an
    agent's action is Q_i(s, u) - sum_a pi_i(a) Q_i(s, (u_-i, a)); its mean under the agent's policy is 0. The
    controller's scores are the logits of the policy. The critic gives the values of all actions of an agent at once; it
    is regressed to TD(lambda) targets of the actions taken, with a target network. After the last step of an episode
    that was cut off, where nobody acted, the agents' likeliest actions are taken for theirs. Advantages are in units of
    rewards, also with normalized values.

    One update learns from whole collections, once. Gradients of policy and critic are clipped apart. An agent with a
    single available action does not count for the policy.

    Args:
        controller: the agents.
        critic: of actions.
        optimizer: makes the optimizer.
        entropy_weight: of the policy's entropy, which is added to what is maximized.
        settings: those of `TDLearner`.
    """

    metric_names: ClassVar[tuple[str, ...]] = (*TDLearner.metric_names, "policy_loss", "entropy")
    on_policy: ClassVar[bool] = True
    needs: tuple[str, ...] = ("log_prob",)
    max_lag: ClassVar[int | None] = 0
    clips_apart: ClassVar[bool] = True

    def __init__(
        self,
        controller: Controller,
        critic: ActionCritic,
        optimizer: OptimizerFactory,
        *,
        entropy_weight: NonNegative,
        **settings: Any,
    ) -> None:
        super().__init__({"controller": controller, "critic": critic}, ("critic",), optimizer, **settings)
        self.controller, self.critic, self._entropy_weight = controller, critic, entropy_weight

    def loss(self, batch: EpisodeBatch, weights: Tensor | None = None) -> Loss:
        """See `Learner.loss`."""
        scores, _ = self.controller.unroll(batch)  # B T+1 A U
        made = decisions(batch, scores)
        joint = values.greedy(scores, batch.avail)  # B T+1 A
        joint[:, :-1] = torch.where(batch.filled.unsqueeze(-1), batch.actions.long(), joint[:, :-1])
        q_values = self.critic(batch, joint)[:, :-1]  # B T A U
        with torch.no_grad():
            next_values = values.taken(self.targets.networks["critic"](batch, joint), joint)[:, 1:]
            restored, policy = self.restored(q_values), made.log_probs.exp()
            advantages = values.taken(restored, batch.actions) - (policy * restored).sum(dim=-1)  # B T A
        td = self.td_loss(batch, values.taken(q_values, batch.actions), self.td_targets(batch, next_values), weights)
        policy_loss = -losses.cell_mean(advantages * made.log_prob, made.chose, weights)
        entropy = losses.cell_mean(made.entropy, made.chose)
        metrics = {**td.metrics, "policy_loss": policy_loss.detach(), "entropy": entropy.detach()}
        return Loss(td.loss + policy_loss - self._entropy_weight * entropy, metrics, td.priorities)
