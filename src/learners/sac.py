"""Discrete soft actor-critic: I-SAC, MASAC and S-SAC are this learner with another critic or another problem."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..components import rng
from ..components.episode import EpisodeBatch
from ..components.optimizers.base import OptimizerFactory
from ..controllers.base import Controller
from ..modules.critics.base import ActionCritic
from ..ranges import Range
from ..registry import register
from . import losses, values
from .base import Loss
from .decisions import expectation, log_policy
from .td import TDLearner


class Temperature(nn.Module):
    """The temperature alpha, by its logarithm, so that it stays positive.

    Args:
        start: its first value.
        learned: whether it is trained.
    """

    def __init__(self, start: float, *, learned: bool) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(start)), requires_grad=learned)

    def forward(self) -> Tensor:
        """Alpha, without gradient."""
        return self.log.detach().exp()


@register("learner")
class SACLearner(TDLearner):
    """Each agent maximizes its return and the entropy of its policy.

    Soft actor-critic (Haarnoja et al., "Soft Actor-Critic Algorithms and Applications", 2018) for discrete actions
    (Christodoulou, 2019), with expectations over the agent's own actions instead of samples. The controller's scores
    are the logits of the policies. Two critics, of which the smaller value counts, give the values of all actions of an
    agent; with a critic of the state and the others' actions it is MASAC, with one of each agent's own observations
    I-SAC. With pi, alpha and min Q:

    - critics: (Q(s, u) - y)^2 with y = r + gamma V(s'), V = sum_a pi(a) (min Q'(s', a) - alpha log pi(a)), Q' being
      target networks; with ``td_lambda`` the return goes on along the episode, entropies included;
    - policy: sum_a pi(a) (alpha log pi(a) - min Q(s, a));
    - temperature: log alpha * (H(pi) - target), where the target is a share of the largest entropy that there can be,
      the logarithm of the number of available actions.

    The entropy in an agent's value is its own. The others' actions are those taken where the critics are regressed, and
    samples of the current policies in V and for the policy. Gradients of networks are clipped apart. An agent with a
    single available action counts neither for the policy nor for the temperature.

    Args:
        controller: the agents.
        critic: of actions.
        make_critic: makes the second one.
        optimizer: makes the optimizer.
        temperature: alpha at the start.
        target_entropy: share of the largest entropy, which itself no temperature reaches; null: alpha stays as it is.
        settings: those of `TDLearner`; alpha is in units of what the critics give.

    Raises:
        ValueError: n-step returns, which leave out the entropies on the way.
    """

    metric_names: ClassVar[tuple[str, ...]] = (*TDLearner.metric_names, "policy_loss", "entropy", "temperature")
    clips_apart: ClassVar[bool] = True

    def __init__(
        self,
        controller: Controller,
        critic: ActionCritic,
        make_critic: Callable[[], ActionCritic],
        optimizer: OptimizerFactory,
        *,
        temperature: Annotated[float, Range(above=0, at_most=1e6)],
        target_entropy: Annotated[float, Range(at_least=0, below=1)] | None,
        **settings: Any,
    ) -> None:
        self.temperature = Temperature(temperature, learned=target_entropy is not None)
        critics = {"critic": critic, "twin": make_critic()}
        networks = {"controller": controller, **critics, "temperature": self.temperature}
        super().__init__(networks, tuple(critics), optimizer, **settings)
        if self._n_steps > 1:
            raise ValueError("its returns have entropies in them, which n_steps would leave out; set n_steps=1")
        self.controller, self.critics, self._target_entropy = controller, tuple(critics.values()), target_entropy

    def loss(self, batch: EpisodeBatch, weights: Tensor | None = None) -> Loss:
        """See `Learner.loss`."""
        scores, _ = self.controller.unroll(batch)
        avail = batch.avail | ~batch.avail.any(dim=-1, keepdim=True)
        log_probs, alpha = log_policy(scores, avail), self.temperature()  # B T+1 A U
        joint = self._sampled(log_probs, batch)  # B T+1 A
        taken = torch.cat([batch.actions.long(), joint[:, -1:]], dim=1)  # B T+1 A, the last are not used
        of_taken = [critic(batch, taken)[:, :-1] for critic in self.critics]
        with torch.no_grad():
            of_next = [self.targets.networks[name](batch, joint) for name in ("critic", "twin")]
            soft_values = expectation(log_probs, torch.minimum(*of_next) - alpha * log_probs)
            targets = self.td_targets(batch, soft_values[:, 1:], bonus=self._later_entropy(batch, log_probs, alpha))
            same = not self.critics[0].sees_others
            of_joint = of_taken if same else [critic(batch, joint)[:, :-1] for critic in self.critics]
            advised = torch.minimum(*of_joint)
        q_taken = torch.cat([values.taken(q_values, batch.actions) for q_values in of_taken], dim=-1)  # B T 2A
        td = self.td_loss(batch, q_taken, torch.cat([targets, targets], dim=-1), weights)

        log_probs, avail = log_probs[:, :-1], avail[:, :-1]
        n_available = avail.sum(dim=-1)
        chose = batch.filled.unsqueeze(-1) & (n_available > 1)
        entropy = -expectation(log_probs, log_probs)
        policy_loss = losses.cell_mean(-alpha * entropy - expectation(log_probs, advised), chose, weights)
        loss = 2 * td.loss + policy_loss  # the sum of both critics' losses
        if self._target_entropy is not None:
            excess = entropy.detach() - self._target_entropy * n_available.log()
            loss = loss + self.temperature.log * losses.cell_mean(excess, chose, weights)
        metrics = {
            **td.metrics,
            "policy_loss": policy_loss.detach(),
            "entropy": losses.cell_mean(entropy.detach(), chose),
            "temperature": alpha,
        }
        return Loss(loss, metrics, td.priorities)

    def _later_entropy(self, batch: EpisodeBatch, log_probs: Tensor, alpha: Tensor) -> Tensor | None:
        """What lambda-returns get for the entropy at the next step ``[B, T, A]``, where one was executed."""
        if self._td_lambda == 0:
            return None
        entropy = -alpha * expectation(log_probs, log_probs)
        later = torch.where(batch.filled[:, 1:, None], entropy[:, 1:-1], 0.0)
        later = torch.cat([later, torch.zeros_like(entropy[:, :1])], dim=1)
        in_rewards = self.restored_targets(later) - self.restored_targets(torch.zeros_like(later))
        return self._gamma * self._td_lambda * in_rewards

    @torch.no_grad()
    def _sampled(self, log_probs: Tensor, batch: EpisodeBatch) -> Tensor:
        """Actions of the policies ``[B, T+1, A]``, a function of the episode's key and the number of the update."""
        length, n_agents = log_probs.shape[1:3]
        keys = rng.derive(batch.key.cpu().numpy().view(np.uint64), rng.Stream.UPDATE_ACTIONS)
        draws = rng.draw(rng.derive(keys, self.updates)[:, None], np.arange(length * n_agents))
        chance = torch.from_numpy(rng.uniform(draws)).view(-1, length, n_agents, 1).to(log_probs.device)
        cumulative = log_probs.double().exp().cumsum(dim=-1)
        return (cumulative > chance * cumulative[..., -1:]).int().argmax(dim=-1)
