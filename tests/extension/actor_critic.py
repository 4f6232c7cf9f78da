"""A small actor-critic: it trains a critic of states and learns from the newest episodes only."""

from typing import Any

import torch

from hymarl.components.episode import Column
from hymarl.components.optimizers.base import OptimizerFactory
from hymarl.controllers.base import Controller
from hymarl.learners import losses, targets, values
from hymarl.learners.base import Learner, Loss
from hymarl.modules.critics.base import StateCritic
from hymarl.ranges import Fraction
from hymarl.registry import register


@register("learner")
class ActorCritic(Learner):
    """Makes actions with an advantage likelier than they were when they were taken.

    Args:
        optimizer: makes the optimizer.
        critic: of the team's value.
        controller: its scores are the logits of the actions.
        gamma: discount per step.
        settings: those of `Learner`.
    """

    metric_names = (*Learner.metric_names, "value_loss")
    on_policy = True
    max_lag = 0
    needs = ("log_prob",)

    def __init__(
        self,
        optimizer: OptimizerFactory,
        critic: StateCritic,
        controller: Controller,
        *,
        gamma: Fraction,
        **settings: Any,
    ) -> None:
        super().__init__({"controller": controller, "critic": critic}, optimizer, **settings)
        self.controller, self.critic, self._gamma = controller, critic, gamma
        self.extras = {name: Column((1,), torch.float32, "T") for name in ("advantages", "returns")}

    @torch.no_grad()
    def prepare(self, batch):
        batch = super().prepare(batch)
        state_values = self.critic(batch.to(self.device)).to("cpu")  # B T+1 1
        returns = targets.one_step(self.rewards(batch, 1), state_values[:, 1:], batch.terminated, self._gamma)
        return batch.extended(self.extras, {"advantages": returns - state_values[:, :-1], "returns": returns})

    def loss(self, batch, weights=None):
        scores, _ = self.controller.unroll(batch)  # B T+1 A U
        log_probs = scores.masked_fill(~batch.avail, -torch.inf).log_softmax(dim=-1)[:, :-1]
        ratio = (values.taken(log_probs, batch.actions) - batch.extras["log_prob"]).exp()  # B T A
        gains = ratio * batch.extras["advantages"]
        value_loss = losses.td_loss(self.critic(batch)[:, :-1] - batch.extras["returns"], batch.filled)
        return Loss(value_loss - losses.masked_mean(gains, batch.filled), {"value_loss": value_loss.detach()})
