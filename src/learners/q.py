"""Deep Q-learning with mixed values: IQL, VDN and QMIX are this learner with another mixer."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..components.episode import EpisodeBatch
from ..components.optimizers.base import OptimizerFactory
from ..components.threads import beside
from ..controllers.base import Controller
from ..modules.mixers.base import Mixer, MixerInputs
from ..registry import register
from . import losses, targets, values
from .base import Learner


@register("learner")
class QLearner(Learner):
    """Regresses the (mixed) value of the actions taken to a TD(lambda) target made by slow copies of the networks.

    DQN (Mnih et al., 2015) on whole episodes, with the target's action chosen by the online network when ``double_q``
    (van Hasselt et al., 2016); the mixer says what the value is: each agent's own (IQL), the sum (VDN), a monotonic
    mix (QMIX, eq. 6).

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
        grad_clip: largest norm of the gradient; null for none.
        standardize_rewards: learn on rewards with running mean 0 and standard deviation 1.
        target_update: ``hard`` or ``soft``.
        target_interval_updates: hard: optimizer steps between copies.
        target_tau: soft: fraction moved per optimizer step.

    Raises:
        ValueError: a setting outside its range.
    """

    metric_names: ClassVar[tuple[str, ...]] = (*Learner.metric_names, "td_error_abs", "q_taken_mean", "target_mean")

    def __init__(
        self,
        controller: Controller,
        mixer: Mixer,
        optimizer: OptimizerFactory,
        *,
        gamma: float,
        td_lambda: float,
        double_q: bool,
        bootstrap_on_timeout: bool,
        huber_delta: float | None,
        grad_clip: float | None,
        standardize_rewards: bool,
        target_update: Literal["hard", "soft"],
        target_interval_updates: int,
        target_tau: float,
    ) -> None:
        if not (0 <= gamma <= 1 and 0 <= td_lambda <= 1):
            raise ValueError(f"gamma and td_lambda must be in [0, 1], got {gamma} and {td_lambda}")
        if huber_delta is not None and not huber_delta > 0:
            raise ValueError(f"huber_delta must be positive, or null for squared errors; got {huber_delta}")
        super().__init__(
            controller,
            mixer,
            optimizer,
            grad_clip=grad_clip,
            standardize_rewards=standardize_rewards,
            target_update=target_update,
            target_interval_updates=target_interval_updates,
            target_tau=target_tau,
        )
        self._gamma, self._td_lambda, self._double_q = gamma, td_lambda, double_q
        self._bootstrap_on_timeout, self._huber_delta = bootstrap_on_timeout, huber_delta

    def loss(self, batch: EpisodeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Learner.loss`."""
        slow = beside(partial(self._slow, batch))
        scores, features = self.controller.unroll(batch)  # B T+1 A U
        chosen = values.taken(scores[:, :-1], batch.actions)
        best = values.best(scores[:, :-1], batch.avail[:, :-1])
        inputs = MixerInputs(chosen, best, batch.actions.long(), features[:, :-1], batch.state[:, :-1])
        q = self.mixer(inputs)  # B T V
        target = self._target(batch, scores, *slow(), q.shape[-1])
        td_error = q - target
        loss = losses.td_loss(td_error, batch.filled, self._huber_delta)
        with torch.no_grad():
            metrics = {
                "td_error_abs": losses.masked_mean(td_error.abs(), batch.filled),
                "q_taken_mean": losses.masked_mean(q, batch.filled),
                "target_mean": losses.masked_mean(target, batch.filled),
            }
        return loss, metrics

    @torch.no_grad()
    def _slow(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """Scores and features of the slow network, which unrolls from t = 0."""
        controller = self.target.networks["controller"]
        assert isinstance(controller, Controller)
        return controller.unroll(batch)

    @torch.no_grad()
    def _target(self, batch: EpisodeBatch, scores: Tensor, slow: Tensor, features: Tensor, n_values: int) -> Tensor:
        """TD(lambda) targets ``[B, T, V]``; the first output of the slow network is dropped."""
        actions = values.greedy(scores if self._double_q else slow, batch.avail)  # B T+1 A
        best = values.best(slow, batch.avail)
        inputs = MixerInputs(values.taken(slow, actions), best, actions, features, batch.state)
        next_values = self.target.networks["mixer"](MixerInputs(*(x[:, 1:] for x in inputs)))  # B T V
        ends = batch.terminated if self._bootstrap_on_timeout else batch.terminated | batch.truncated
        reward = self.rewards(batch, n_values)
        return targets.lambda_returns(reward, next_values, ends, batch.filled, self._gamma, self._td_lambda)
