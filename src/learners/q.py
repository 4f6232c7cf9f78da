"""Deep Q-learning with mixed values: IQL, VDN and QMIX are this learner with another mixer."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from ..components.episode import EpisodeBatch
from ..components.optimizers.base import OptimizerFactory
from ..components.replay.base import Sample
from ..components.threads import in_background
from ..controllers.base import Controller
from ..modules.mixers.base import Mixer, MixerInputs
from ..ranges import Count, Fraction, Positive
from ..registry import register
from . import losses, targets, values
from .base import Learner, Loss, Update
from .target_networks import TargetNetworks, Tau


class Estimates(NamedTuple):
    """What Q-learning knows about the episodes of a batch.

    Attributes:
        q_values: ``[B, T+1, A, U]``, of the agents' networks.
        features: ``[B, T+1, A, H]``, from which these networks computed them.
        q_taken: ``[B, T, V]``, the mixed value of the actions taken.
        td_targets: ``[B, T, V]``, the targets of ``q_taken``; without gradient.
    """

    q_values: Tensor
    features: Tensor
    q_taken: Tensor
    td_targets: Tensor


@register("learner")
class QLearner(Learner):
    """Regresses the (mixed) value of the actions taken to a TD(lambda) target made by target networks.

    DQN (Mnih et al., 2015) on whole episodes, with the target's action chosen by the online network when ``double_q``
    (van Hasselt et al., 2016); the mixer decides which value is learned: each agent's own (IQL), the sum (VDN), a
    monotonic mix (QMIX, eq. 6).

    A variant inherits from this class and overrides `loss` (to add terms to `td_loss`), `estimates`, or both.

    Args:
        controller: the agents.
        mixer: from the agents' values to what is learned.
        optimizer: makes the optimizer.
        gamma: discount per step.
        td_lambda: lambda of the return: 0 one-step, 1 Monte Carlo.
        double_q: choose the target's actions with the online network.
        bootstrap_on_timeout: whether a truncated episode has a future value; false only to reproduce papers that
            treated time limits as terminal.
        huber_delta: Huber's loss, linear beyond this TD error; null for the square.
        target_update: ``hard`` or ``soft``.
        target_interval_updates: hard: optimizer steps between copies.
        target_tau: soft: fraction moved per optimizer step.
        settings: those of `Learner`.
    """

    metric_names: ClassVar[tuple[str, ...]] = (*Learner.metric_names, "td_error_abs", "q_taken_mean", "target_mean")

    def __init__(
        self,
        controller: Controller,
        mixer: Mixer,
        optimizer: OptimizerFactory,
        *,
        gamma: Fraction,
        td_lambda: Fraction,
        double_q: bool,
        bootstrap_on_timeout: bool,
        huber_delta: Positive | None,
        target_update: Literal["hard", "soft"],
        target_interval_updates: Count,
        target_tau: Tau,
        **settings: Any,
    ) -> None:
        super().__init__({"controller": controller, "mixer": mixer}, optimizer, **settings)
        self.controller, self.mixer = controller, mixer
        self.targets = TargetNetworks(
            {"controller": controller, "mixer": mixer},
            mode=target_update,
            interval_updates=target_interval_updates,
            tau=target_tau,
        )
        self.state["targets"] = self.targets
        self._gamma, self._td_lambda, self._double_q = gamma, td_lambda, double_q
        self._bootstrap_on_timeout, self._huber_delta = bootstrap_on_timeout, huber_delta

    def loss(self, batch: EpisodeBatch, weights: Tensor | None = None) -> Loss:
        """See `Learner.loss`."""
        return self.td_loss(batch, self.estimates(batch), weights)

    def estimates(self, batch: EpisodeBatch) -> Estimates:
        """Values and targets of a batch; the target network works in the background where there is a second thread."""
        target_outputs = in_background(partial(self._target_outputs, batch))
        q_values, features = self.controller.unroll(batch)  # B T+1 A U
        taken = values.taken(q_values[:, :-1], batch.actions)
        best = values.best(q_values[:, :-1], batch.avail[:, :-1])
        inputs = MixerInputs(taken, best, batch.actions.long(), features[:, :-1], batch.state[:, :-1])
        q_taken = self.mixer(inputs)  # B T V
        td_targets = self._td_targets(batch, q_values, *target_outputs(), q_taken.shape[-1])
        return Estimates(q_values, features, q_taken, td_targets)

    def td_loss(self, batch: EpisodeBatch, estimates: Estimates, weights: Tensor | None = None) -> Loss:
        """Mean squared (or Huber's) TD error; for weighted samples also each episode's mean absolute one, its priority.

        Args:
            batch: the episodes.
            estimates: their values and targets.
            weights: how much each cell counts, ``[B]`` or anything that broadcasts to ``[B, T, V]``.
        """
        td_error = estimates.q_taken - estimates.td_targets
        loss = losses.td_loss(td_error, batch.filled, self._huber_delta, weights)
        with torch.no_grad():
            size = td_error.abs()
            metrics = {
                "td_error_abs": losses.masked_mean(size, batch.filled),
                "q_taken_mean": losses.masked_mean(estimates.q_taken, batch.filled),
                "target_mean": losses.masked_mean(estimates.td_targets, batch.filled),
            }
            priorities = None if weights is None else losses.episode_means(size, batch.filled)
        return Loss(loss, metrics, priorities)

    def update(self, sample: Sample) -> Update:
        """See `Learner.update`; the target networks follow."""
        update = super().update(sample)
        self.targets.follow(self.updates)
        return update

    def describe(self) -> dict[str, str]:
        """See `Learner.describe`."""
        return {"targets": self.targets.describe()}

    def weights_replaced(self) -> list[str]:
        """See `Learner.weights_replaced`."""
        self.targets.copy()
        return ["targets start as copies"]

    @torch.no_grad()
    def _target_outputs(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """Values and features of the target network, which unrolls from t = 0."""
        controller = self.targets.networks["controller"]
        assert isinstance(controller, Controller)
        return controller.unroll(batch)

    @torch.no_grad()
    def _td_targets(
        self, batch: EpisodeBatch, q_values: Tensor, target_q_values: Tensor, target_features: Tensor, n_values: int
    ) -> Tensor:
        """TD(lambda) targets ``[B, T, V]``; the first output of the target network is dropped."""
        actions = values.greedy(q_values if self._double_q else target_q_values, batch.avail)  # B T+1 A
        best = values.best(target_q_values, batch.avail)
        inputs = MixerInputs(values.taken(target_q_values, actions), best, actions, target_features, batch.state)
        next_values = self.targets.networks["mixer"](MixerInputs(*(x[:, 1:] for x in inputs)))  # B T V
        ends = batch.terminated if self._bootstrap_on_timeout else batch.terminated | batch.truncated
        reward = self.rewards(batch, n_values)
        return targets.lambda_returns(reward, next_values, ends, batch.filled, self._gamma, self._td_lambda)
